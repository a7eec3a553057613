// SPDX-License-Identifier: MIT
// The two register groups of a block and the pointers that choose between them.
#pragma once

#include <array>
#include <cstdint>

namespace npu::sim {

/// Registers of one block: S_STATUS (+0) and S_POINTER (+4) exist once, everything from
/// OPERATION_ENABLE (+8) on exists twice. The producer group takes writes, the executer group
/// runs; with ping-pong enabled both change sides after each task [TRM; control-and-uapi B.7].
/// Values survive tasks and jobs; only a reset clears them.
class RegisterFile {
 public:
  static constexpr std::uint32_t kBytes = 0x1000;

  std::uint32_t read(std::uint32_t offset) const {
    offset &= kBytes - 1;
    if (offset == 0) return 0;  // S_STATUS: both groups idle between tasks
    if (offset == 4) return pointer_config_ | producer_ | executer_ << 16;
    return groups_[producer_][offset / 4];
  }

  void write(std::uint32_t offset, std::uint32_t value) {
    offset &= kBytes - 1;
    if (offset == 0) return;  // read only
    if (offset == 4) {
      pointer_config_ = value & ~(kPointer | kPointerClear | kExecuterClear | kExecuter);
      if ((value & kPointerEnable) == 0) producer_ = value & kPointer;
      if ((value & kPointerClear) != 0) producer_ = 0;
      if ((value & kExecuterClear) != 0) executer_ = 0;
      return;
    }
    groups_[producer_][offset / 4] = value;
    starts_[producer_][offset / 4] = start_;
  }

  /// Writes from now on belong to the next start.
  void next_start() { ++start_; }
  /// Whether a register of a group still holds what an earlier start wrote.
  bool stale(unsigned group, std::uint32_t offset) const {
    const std::uint32_t at = (offset & (kBytes - 1)) / 4;
    return groups_[group][at] != 0 && starts_[group][at] != start_;
  }

  /// Hands the producer group to the executer; returns the group that runs.
  unsigned start() {
    if ((pointer_config_ & kExecuterEnable) == 0) executer_ = producer_;
    if ((pointer_config_ & kPointerEnable) != 0) producer_ ^= 1;
    return executer_;
  }
  void finish() {
    if ((pointer_config_ & kExecuterEnable) != 0) executer_ ^= 1;
  }

  /// Value of a register in a group; `offset` with or without the block base.
  std::uint32_t get(unsigned group, std::uint32_t offset) const {
    return groups_[group][(offset & (kBytes - 1)) / 4];
  }

  /// The group that runs, or ran last.
  unsigned executer() const { return executer_; }

  /// Bits 29:28 of S_POINTER, which the driver sets to the core's index.
  std::uint32_t core_index() const { return pointer_config_ >> 28 & 3; }

  void reset() { *this = RegisterFile(); }

 private:
  static constexpr std::uint32_t kPointer = 1, kPointerEnable = 2, kExecuterEnable = 4,
                                 kPointerClear = 16, kExecuterClear = 32, kExecuter = 1 << 16;
  std::uint32_t pointer_config_ = 0;
  std::uint32_t producer_ = 0;
  std::uint32_t executer_ = 0;
  std::array<std::array<std::uint32_t, kBytes / 4>, 2> groups_{};
  std::uint32_t start_ = 1;
  std::array<std::array<std::uint32_t, kBytes / 4>, 2> starts_{};  // that wrote the register
};

}  // namespace npu::sim
