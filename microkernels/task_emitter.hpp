// SPDX-License-Identifier: MIT
// One task under construction.
#pragma once

#include <cstdint>

#include "microkernels/program.hpp"
#include "regdb/regcmd.hpp"

namespace npu::kernels {

/// Where a DMA begins: a buffer of the program and bytes into it.
struct Place {
  std::uint32_t slot = 0;
  std::uint64_t offset = 0;
  friend bool operator==(const Place&, const Place&) = default;
};

/// Appends a task to a program. Addresses become relocations.
class TaskEmitter {
 public:
  explicit TaskEmitter(Program& program) : program_(program) {}

  template <class... R>
  void write(const R&... registers) {
    (stream_.write(registers), ...);
  }
  /// An address register; its own value is ignored.
  template <class R>
  void address(const R& reg, const Place& place) {
    program_.relocations.push_back({static_cast<std::uint32_t>(program_.tasks.size()),
                                    static_cast<std::uint32_t>(stream_.size()), place.slot,
                                    place.offset});
    stream_.write(reg);
  }
  /// Pads to pairs of words, as the PC fetches them, adds the trailer and the task.
  void end(std::uint32_t enable_mask) {
    if (stream_.size() % 2 != 0) stream_.word(0);
    stream_.end(enable_mask);
    program_.tasks.push_back(stream_.words());
  }

 private:
  Program& program_;
  regdb::RegcmdStream stream_;
};

}  // namespace npu::kernels
