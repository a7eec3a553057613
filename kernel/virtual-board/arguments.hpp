// SPDX-License-Identifier: MIT
// What stands behind the file name in "-plugin rosenblatt-vboard.so,KEY=VALUE,...".
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace npu::vboard {

struct Arguments {
  std::string inject;  ///< faults, as npusim_options.inject has them
  std::string trace;   ///< file for a line per event; empty: none
  std::uint64_t npu_hz = 0;
  unsigned threads = 0;
  /// How long the cores may work before the guest's clock is stopped; nullopt: it never is.
  std::optional<std::int64_t> hold_after_ns;
};

/// Faults that may be parted by "+", since QEMU parts arguments at commas.
std::string as_npusim_has_it(std::string faults);

/// False if an argument makes no sense; `error` then says which, and what would.
bool parse_arguments(int count, char** values, Arguments& out, std::string& error);

}  // namespace npu::vboard
