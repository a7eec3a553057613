// SPDX-License-Identifier: MIT
#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

#include "regdb/error.hpp"
#include "regdb/tables.hpp"

namespace npu::regdb {

const BlockInfo& info(Block block) {
  const auto all = blocks();
  return *std::find_if(all.begin(), all.end(), [&](const auto& b) { return b.block == block; });
}

const RegisterInfo* find_register(Block block, std::uint16_t offset) {
  const auto all = registers();
  const auto it =
      std::lower_bound(all.begin(), all.end(), offset,
                       [](const RegisterInfo& r, std::uint16_t o) { return r.offset < o; });
  return it != all.end() && it->offset == offset && it->block == block ? &*it : nullptr;
}

const RegisterInfo* find_register(std::string_view block, std::string_view name) {
  const auto which = find_block(block);
  if (!which) return nullptr;
  for (const RegisterInfo& r : registers())
    if (r.block == *which && r.name == name) return &r;
  return nullptr;
}

std::int64_t own_value(const FieldInfo& field, std::uint32_t bits) {
  switch (field.encoding) {
    case Encoding::count_minus_1: return std::int64_t{bits} + 1;
    case Encoding::signed_value: {
      const std::int64_t sign = std::int64_t{1} << (field.high - field.low);
      return (std::int64_t{bits} ^ sign) - sign;
    }
    case Encoding::address: return std::int64_t{bits} << field.low;
    default: return bits;
  }
}

std::string lower_name(std::string_view name) {
  std::string out(name);
  std::transform(out.begin(), out.end(), out.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return out;
}

std::optional<Block> find_block(std::string_view name) {
  for (const BlockInfo& b : blocks())
    if (b.name == name) return b.block;
  return std::nullopt;
}

Target target_of(Block block) { return info(block).target; }

std::optional<Block> block_of_target(std::uint16_t target) {
  if (target == 0) return std::nullopt;
  for (const BlockInfo& b : blocks())
    if (static_cast<std::uint16_t>(b.target) == target) return b.block;
  return std::nullopt;
}

std::vector<std::span<const std::uint64_t>> split_tasks(std::span<const std::uint64_t> words) {
  std::vector<std::span<const std::uint64_t>> tasks;
  std::size_t first = 0;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (Regcmd::unpack(words[i]).target != static_cast<std::uint16_t>(Target::enable)) continue;
    tasks.push_back(words.subspan(first, i + 1 - first));
    first = i + 1;
  }
  if (first < words.size()) tasks.push_back(words.subspan(first));
  return tasks;
}

std::vector<std::uint64_t> parse_regcmd_bytes(std::span<const std::byte> bytes) {
  if (bytes.empty())
    throw Error(ErrorCode::bad_file, "there are no register commands: the input is empty");
  if (bytes.size() % 8 != 0)
    throw Error(ErrorCode::bad_file,
                "register commands are 64-bit words, but " + std::to_string(bytes.size()) +
                    " bytes are no multiple of 8: the input is cut or not a regcmd file");
  static_assert(std::endian::native == std::endian::little);
  std::vector<std::uint64_t> words(bytes.size() / 8);
  std::memcpy(words.data(), bytes.data(), bytes.size());
  return words;
}

}  // namespace npu::regdb
