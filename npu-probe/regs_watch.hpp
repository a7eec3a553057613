// SPDX-License-Identifier: MIT
// Registers over and over: what changes.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <vector>

#include "npu-probe/regs.hpp"

namespace npu::probe {

struct WatchOptions {
  std::chrono::milliseconds interval{200};
  std::uint64_t count = 0;  ///< rounds; 0: until `stop`
  bool screen = false;      ///< redraw in place, else a line for each change
  bool colour = false, json = false;
};

/// Reads the registers once in each interval. On a screen all of them stand there, with what
/// changed since the round before in bold; else the first round is printed whole, then changes
/// only. `pause` waits between two rounds and returns false to end.
void watch_registers(device::RegisterAccess& access, unsigned core,
                     const std::vector<ChipRegister>& registers, Group group,
                     const WatchOptions& options, std::ostream& out,
                     const std::function<bool(std::chrono::milliseconds)>& pause);

/// A pause that SIGINT and SIGTERM end; the handlers before it come back with the destructor.
class InterruptiblePause {
 public:
  InterruptiblePause();
  ~InterruptiblePause();
  InterruptiblePause(const InterruptiblePause&) = delete;
  InterruptiblePause& operator=(const InterruptiblePause&) = delete;
  bool operator()(std::chrono::milliseconds time) const;
};

}  // namespace npu::probe
