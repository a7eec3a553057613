// SPDX-License-Identifier: MIT
#include "llm-runtime/pretokenize.hpp"

#include <algorithm>
#include <array>
#include <iterator>

namespace npu::llm {
namespace {

constexpr std::uint32_t kRanges[] = {
#include "llm-runtime/unicode_ranges.inc"
};

constexpr std::uint32_t kReplacement = 0xfffd;

CodePointClass find_class(std::uint32_t code_point) {
  // The last range that begins at or before the code point; the first begins at 0.
  const auto* after = std::upper_bound(std::begin(kRanges), std::end(kRanges), code_point * 4 + 3);
  return static_cast<CodePointClass>(after[-1] & 3);
}

bool is_newline(std::uint32_t code_point) { return code_point == '\r' || code_point == '\n'; }

/// Lower case of ASCII letters only: U+017F and U+212A do not fold [llama-vocab.cpp].
std::uint32_t lower(std::uint32_t code_point) {
  return code_point >= 'A' && code_point <= 'Z' ? code_point + 32 : code_point;
}

/// Length of a contraction at the front of `text`, which begins with an apostrophe, or 0.
std::size_t contraction(std::span<const std::uint32_t> text) {
  if (text.size() < 2) return 0;
  const std::uint32_t first = lower(text[1]);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if (text.size() < 3) return 0;
  const std::uint32_t second = lower(text[2]);
  const bool found = (first == 'r' && second == 'e') || (first == 'v' && second == 'e') ||
                     (first == 'l' && second == 'l');
  return found ? 3 : 0;
}

/// Length of the word at the front of a text that is not empty; `classes` are its code points'.
std::size_t word_length(std::span<const std::uint32_t> text,
                        std::span<const CodePointClass> classes) {
  using enum CodePointClass;
  const std::size_t size = text.size();
  const auto run = [&](std::size_t from, CodePointClass wanted) {
    while (from < size && classes[from] == wanted) ++from;
    return from;
  };
  if (text[0] == '\'') {
    if (const std::size_t length = contraction(text)) return length;
  }
  if (classes[0] == letter) return run(1, letter);
  if (classes[0] != number && !is_newline(text[0]) && size > 1 && classes[1] == letter)
    return run(2, letter);
  if (classes[0] == number) return 1;

  const std::size_t symbols = text[0] == ' ' ? 1 : 0;
  if (const std::size_t end = run(symbols, other); end > symbols) {
    std::size_t length = end;
    while (length < size && is_newline(text[length])) ++length;
    return length;
  }

  const std::size_t spaces = run(0, space);
  for (std::size_t end = spaces; end > 0; --end) {
    if (is_newline(text[end - 1])) return end;
  }
  // The last of several spaces goes with what follows them.
  return spaces > 1 && spaces < size ? spaces - 1 : spaces;
}

}  // namespace

CodePointClass classify(std::uint32_t code_point) {
  static const auto ascii = [] {
    std::array<CodePointClass, 128> table{};
    for (std::uint32_t i = 0; i < table.size(); ++i) table[i] = find_class(i);
    return table;
  }();
  if (code_point < ascii.size()) return ascii[code_point];
  return code_point < 0x110000 ? find_class(code_point) : CodePointClass::other;
}

void append_utf8(std::string& out, std::uint32_t code_point) {
  const auto tail = [&](int shift) {
    out.push_back(static_cast<char>(0x80 | (code_point >> shift & 0x3f)));
  };
  if (code_point < 0x80) {
    out.push_back(static_cast<char>(code_point));
  } else if (code_point < 0x800) {
    out.push_back(static_cast<char>(0xc0 | code_point >> 6));
    tail(0);
  } else if (code_point < 0x10000) {
    out.push_back(static_cast<char>(0xe0 | code_point >> 12));
    tail(6), tail(0);
  } else {
    out.push_back(static_cast<char>(0xf0 | code_point >> 18));
    tail(12), tail(6), tail(0);
  }
}

std::vector<std::uint32_t> decode_utf8(std::string_view text) {
  std::vector<std::uint32_t> result;
  result.reserve(text.size());
  const auto byte = [&](std::size_t at) {
    return at < text.size() ? static_cast<unsigned char>(text[at]) : 0u;
  };
  for (std::size_t at = 0; at < text.size();) {
    const std::uint32_t lead = byte(at);
    std::size_t length = 1;
    if (lead >= 0xc0) length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf8 ? 4 : 1;
    std::uint32_t code_point = lead < 0x80 ? lead : kReplacement;
    if (length > 1) {
      code_point = lead & (0x7fu >> length);
      for (std::size_t i = 1; i < length; ++i) {
        if ((byte(at + i) & 0xc0) != 0x80) {
          code_point = 0x110000;
          break;
        }
        code_point = code_point << 6 | (byte(at + i) & 0x3f);
      }
      constexpr std::uint32_t kLowest[] = {0, 0, 0x80, 0x800, 0x10000};
      if (code_point >= 0x110000 || code_point < kLowest[length]) {
        code_point = kReplacement;
        length = 1;
      }
    }
    result.push_back(code_point);
    at += length;
  }
  return result;
}

std::vector<std::uint32_t> split_words(std::span<const std::uint32_t> text) {
  std::vector<CodePointClass> classes(text.size());
  std::transform(text.begin(), text.end(), classes.begin(), classify);
  std::vector<std::uint32_t> lengths;
  lengths.reserve(text.size() / 3 + 1);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length =
        word_length(text.subspan(at), std::span<const CodePointClass>(classes).subspan(at));
    lengths.push_back(static_cast<std::uint32_t>(length));
    at += length;
  }
  return lengths;
}

}  // namespace npu::llm
