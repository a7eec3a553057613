// SPDX-License-Identifier: MIT
// Raw bytes of a device tree as text and numbers. Pure functions: any bytes may come in.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace npu::probe {

/// `text` as valid UTF-8 on one line without control characters, shortened to `limit` bytes:
/// nothing read from a tree may steer a terminal or break JSON.
std::string printable(std::string_view text, std::size_t limit = 4096);

/// Strings of a device-tree string list.
std::vector<std::string> dt_strings(std::string_view property);
/// Big-endian 32-bit cells; a rest of less than four bytes is dropped.
std::vector<std::uint32_t> dt_cells(std::string_view property);

}  // namespace npu::probe
