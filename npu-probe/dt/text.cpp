// SPDX-License-Identifier: MIT
#include "npu-probe/dt/text.hpp"

#include <algorithm>

namespace npu::probe {
namespace {

/// Length of the valid UTF-8 sequence at the start of `s`, or 0.
std::size_t utf8_length(std::string_view s) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
  const auto c = byte(0);
  std::size_t n = c < 0x80 ? 1 : c >= 0xC2 && c < 0xE0 ? 2 : (c & 0xF0) == 0xE0 ? 3 : 4;
  if (c >= 0x80 && (c < 0xC2 || c > 0xF4)) return 0;
  if (n > s.size()) return 0;
  for (std::size_t i = 1; i < n; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  if (n == 3 && c == 0xE0 && byte(1) < 0xA0) return 0;
  if (n == 3 && c == 0xED && byte(1) > 0x9F) return 0;  // surrogates
  if (n == 4 && c == 0xF0 && byte(1) < 0x90) return 0;
  if (n == 4 && c == 0xF4 && byte(1) > 0x8F) return 0;
  return n;
}

}  // namespace

std::string printable(std::string_view text, std::size_t limit) {
  std::string out;
  while (!text.empty()) {
    if (out.size() >= limit) return out + "...";
    const auto c = static_cast<unsigned char>(text.front());
    if (c < 0x20 || c == 0x7F) {
      out += c == '\t' || c == '\n' ? ' ' : '?';
      text.remove_prefix(1);
      continue;
    }
    const auto n = utf8_length(text);
    // C1 controls (U+0080..U+009F) steer some terminals too.
    const bool c1 = n == 2 && c == 0xC2 && static_cast<unsigned char>(text[1]) < 0xA0;
    if (n == 0 || c1)
      out += '?';
    else
      out.append(text.substr(0, n));
    text.remove_prefix(std::max<std::size_t>(n, 1));
  }
  return out;
}

std::vector<std::string> dt_strings(std::string_view property) {
  std::vector<std::string> strings;
  while (!property.empty() && strings.size() < 256) {
    const auto end = property.find('\0');
    if (const auto one = property.substr(0, end); !one.empty())
      strings.push_back(printable(one, 256));
    if (end == std::string_view::npos) break;
    property.remove_prefix(end + 1);
  }
  return strings;
}

std::vector<std::uint32_t> dt_cells(std::string_view property) {
  std::vector<std::uint32_t> cells;
  for (std::size_t i = 0; i + 4 <= property.size() && cells.size() < 4096; i += 4) {
    std::uint32_t cell = 0;
    for (std::size_t j = 0; j < 4; ++j)
      cell = cell << 8 | static_cast<unsigned char>(property[i + j]);
    cells.push_back(cell);
  }
  return cells;
}

}  // namespace npu::probe
