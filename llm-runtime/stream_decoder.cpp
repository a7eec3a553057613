// SPDX-License-Identifier: MIT
#include <utility>

#include "llm-runtime/tokenizer.hpp"

namespace npu::llm {
namespace {

/// Bytes of the sequence at `at`: its length if whole, how much of it is there if it is cut off by
/// the end (`cut`), 0 for a byte that begins none.
std::size_t sequence_length(std::string_view bytes, std::size_t at, bool& cut) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  cut = false;
  const unsigned lead = byte(at);
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  const std::size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  // The second byte has a narrower range where a form would be overlong, a surrogate or too large.
  unsigned low = 0x80, high = 0xbf;
  if (lead == 0xe0) low = 0xa0;
  if (lead == 0xed) high = 0x9f;
  if (lead == 0xf0) low = 0x90;
  if (lead == 0xf4) high = 0x8f;
  for (std::size_t i = 1; i < length; ++i) {
    if (at + i == bytes.size()) {
      cut = true;
      return i;
    }
    if (byte(at + i) < low || byte(at + i) > high) return 0;
    low = 0x80, high = 0xbf;
  }
  return length;
}

}  // namespace

std::string take_valid_utf8(std::string& bytes, bool all) {
  std::string valid;
  std::size_t at = 0;
  while (at < bytes.size()) {
    bool cut = false;
    const std::size_t length = sequence_length(bytes, at, cut);
    if (cut && !all) break;
    if (cut || length == 0) {
      valid += "\xef\xbf\xbd";
      // Skip what could have been the front of a sequence, so that it counts once.
      std::size_t skip = cut ? length : 1;
      for (std::size_t i = skip + 1; !cut && i <= 3 && at + i <= bytes.size(); ++i) {
        bool front = false;
        sequence_length(std::string_view(bytes).substr(0, at + i), at, front);
        if (!front) break;
        skip = i;
      }
      at += skip;
      continue;
    }
    valid.append(bytes, at, length);
    at += length;
  }
  bytes.erase(0, at);
  return valid;
}

std::string StreamDecoder::push(TokenId token) {
  pending_ += tokenizer_.piece(token, special_);
  return take_valid_utf8(pending_, false);
}

std::string StreamDecoder::flush() { return take_valid_utf8(pending_, true); }

}  // namespace npu::llm
