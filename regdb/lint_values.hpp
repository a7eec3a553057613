// SPDX-License-Identifier: MIT
// What the registers hold while lint() goes through the tasks of a core.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "regdb/lint.hpp"

namespace npu::regdb {

/// "CNA.CBUF_CON0" or "CNA.CBUF_CON0.data_bank".
std::string path_of(const LintOperand& operand);
bool compare(LintCompare op, std::int64_t left, std::int64_t right);

/// Two groups of registers, which change sides after each task that enables their block; blocks
/// whose POINTER_PP_EN is 0 stay with one. The driver sets it for CNA and CORE before each task
/// [rocket_job.c].
class LintValues {
 public:
  struct Value {
    std::uint32_t bits = 0;
    std::size_t task = 0, word = 0;  ///< that wrote it
    bool written = false;
  };
  LintValues();
  /// The value before, of this group.
  Value write(const RegisterInfo& reg, std::uint32_t bits, std::size_t task, std::size_t word);
  /// Reset value if nobody wrote it.
  const Value& of(const RegisterInfo& reg) const;
  /// Whether anything but S_POINTER was ever written to the block's group.
  bool set_up(Block block) const;
  /// S_POINTER exists once; nothing if it was never written.
  std::optional<std::uint32_t> pointer(Block block) const;
  /// A task with this enable mask ran.
  void ran(std::uint32_t mask);

  static constexpr std::uint32_t kDriverPointer = 0xE;  ///< [rocket_job.c]

 private:
  std::size_t index(const RegisterInfo& reg) const;
  std::vector<Value> groups_[2];
  std::uint32_t group_ = 0;  // bit per block (enable bits)
  std::uint32_t cna_pointer_ = kDriverPointer, core_pointer_ = kDriverPointer;
};

/// Bit of the block in the enable mask; 0: none.
std::uint32_t enable_bit(Block block);

}  // namespace npu::regdb
