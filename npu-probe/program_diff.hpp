// SPDX-License-Identifier: MIT
// What differs between two sets of register programs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "npu-probe/program_set.hpp"

namespace npu::probe {

/// Positions in the two lists of tasks; one is empty for a task that the other side lacks.
struct TaskPair {
  std::optional<std::size_t> a, b;
  friend bool operator==(const TaskPair&, const TaskPair&) = default;
};

/// Aligns the tasks so that those alike (same blocks enabled, most registers equal, addresses left
/// out) stand together, in order: one inserted task does not shift the others.
std::vector<TaskPair> align_tasks(std::span<const ProgramTask> a, std::span<const ProgramTask> b);

/// A register of an aligned task that differs. `a`, `b`: index of the word in the task; empty where
/// a side does not write it.
struct WordChange {
  std::optional<std::size_t> a, b;
  std::string where_a, where_b;  ///< "buffer 7 + 0x40", for addresses
};

/// The buffers of one job against those of another, by position: in order of their handles, those
/// of equal size together, so that one buffer more does not shift the others.
std::vector<std::optional<std::size_t>> pair_buffers(const std::vector<ProgramBuffer>& a,
                                                     const std::vector<ProgramBuffer>& b);

struct DiffOptions {
  bool raw_addresses = false;  ///< else: as buffer and offset
};

struct TaskChanges {
  std::vector<WordChange> words;
  /// Addresses that could not be compared because one side's buffers are not known.
  std::size_t unknown_addresses = 0;
};
TaskChanges diff_task(const ProgramTask& a, const ProgramTask& b, const DiffOptions& options);

}  // namespace npu::probe
