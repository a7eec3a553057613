// SPDX-License-Identifier: MIT
#include "llm-runtime/serve/api_keys.hpp"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>
#include <fstream>

#include "regdb/error.hpp"

namespace npu::llm::serve {
namespace {

/// Of equal length whatever the key's is.
std::array<unsigned char, 32> digest(std::string_view key) {
  std::array<unsigned char, 32> result{};
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), result.data());
  return result;
}

bool same_letter(char a, char b) {
  return (a >= 'A' && a <= 'Z' ? a - 'A' + 'a' : a) == (b >= 'A' && b <= 'Z' ? b - 'A' + 'a' : b);
}

}  // namespace

void ApiKeys::add(std::string_view key) {
  if (key.empty() || !std::ranges::all_of(key, [](char c) { return c > ' ' && c < 0x7F; })) {
    throw Error(ErrorCode::invalid_argument,
                "an API key must be visible ASCII characters without blanks");
  }
  digests_.push_back(digest(key));
}

void ApiKeys::add_file(const std::string& path) {
  std::ifstream in(path);
  if (!in) throw Error(ErrorCode::bad_file, fmt::format("{}: cannot be read", path));
  const std::size_t before = digests_.size();
  for (std::string line; std::getline(in, line);) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ' || line.back() == '\t')) {
      line.pop_back();
    }
    if (!line.empty() && line.front() != '#') add(line);
  }
  if (digests_.size() == before) {
    throw Error(ErrorCode::bad_file, fmt::format("{}: holds no key: write one on a line", path));
  }
}

bool ApiKeys::accepts(std::string_view authorization) const {
  constexpr std::string_view kScheme = "bearer ";
  if (authorization.size() < kScheme.size() ||
      !std::ranges::equal(authorization.substr(0, kScheme.size()), kScheme, same_letter)) {
    return false;
  }
  const auto given = digest(authorization.substr(kScheme.size()));
  bool found = false;
  // All of them, whichever it is.
  for (const auto& own : digests_) {
    found |= CRYPTO_memcmp(own.data(), given.data(), own.size()) == 0;
  }
  return found;
}

}  // namespace npu::llm::serve
