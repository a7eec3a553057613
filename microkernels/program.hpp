// SPDX-License-Identifier: MIT
// Register programs whose addresses are still symbolic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace npu::kernels {

/// The value of word `word` of task `task` is the IOVA of buffer `slot` plus `offset` bytes.
struct Relocation {
  std::uint32_t task = 0, word = 0;
  std::uint32_t slot = 0;
  std::uint64_t offset = 0;
  friend bool operator==(const Relocation&, const Relocation&) = default;
};

/// Regcmd words of the tasks of one core, trailer included, with the values of addresses left 0.
/// Plain data: it can be compared, printed and linted without a device.
struct Program {
  std::vector<std::string> slots;  ///< names of the buffers that relocations refer to
  std::vector<std::vector<std::uint64_t>> tasks;
  std::vector<Relocation> relocations;
  friend bool operator==(const Program&, const Program&) = default;
};

/// Programs start at multiples of 64 bytes, as Mesa places them.
inline constexpr std::size_t kProgramAlignment = 64;

/// A program with its addresses filled in, ready to be copied into a buffer.
struct BoundProgram {
  struct Task {
    std::size_t offset;   ///< bytes from the start of `words`, a multiple of kProgramAlignment
    std::uint32_t count;  ///< words, trailer included
  };
  std::vector<std::uint64_t> words;
  std::vector<Task> tasks;
};

/// Fills in the addresses: iova[i] is where slot i lies. Throws invalid_argument if a slot has no
/// address, a relocation points outside the program, or an address leaves the 4 GiB window.
BoundProgram bind(const Program& program, std::span<const std::uint32_t> iova);

/// Makes `count` tasks from `first` on one chain: the trailer of each redirects the PC to the next
/// one, the last one's link is cleared [control-and-uapi.md B.8; notes regcmd-task-model, HW].
/// `base` is the IOVA at which the words will lie. Throws invalid_argument for tasks that are not
/// there.
void link_tasks(BoundProgram& program, std::size_t first, std::size_t count, std::uint32_t base);

/// One line per word ("task 0 word 5 CNA.CONV_CON1 = 0x120 ..."), symbolic addresses by name.
std::string to_string(const Program& program);

}  // namespace npu::kernels
