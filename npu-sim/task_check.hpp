// SPDX-License-Identifier: MIT
// What the chip would say to a program, without memory and without the work.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "npu-sim/chip.hpp"
#include "npu-sim/conv_config.hpp"
#include "npu-sim/observer.hpp"
#include "npu-sim/pool_config.hpp"

namespace npu::sim {

/// A task as its registers describe it when its enable word comes.
struct TaskCheck {
  std::uint32_t blocks = 0;         ///< enable mask; 0: the words hold no enable word
  std::optional<Fault> fault;       ///< why it would not end, or what the model does not know
  std::vector<TaskRecord> records;  ///< of the DPU, then of the PPU; what came before the fault
  std::optional<ConvConfig> conv;   ///< of a task of the MAC array
  std::uint32_t cbuf_con0 = 0;      ///< CNA's, with `conv`
  std::uint32_t data_entries = 0;   ///< CBUF_CON1
  std::optional<PoolConfig> pool;   ///< of a task of the PPU
};

/// Goes through the tasks of a core in order, with its register groups, tables and the shapes of
/// what CBUF holds, and applies the checks that a start applies before it moves data. Memory is
/// not looked at: `records` say what would be read and written.
class TaskChecker {
 public:
  /// `chained`: all tasks belong to one start, so tables survive between them. Else each is
  /// started by itself, as mainline does [rocket_job.c].
  explicit TaskChecker(const ChipOptions& options = {}, bool chained = false);
  ~TaskChecker();
  TaskChecker(const TaskChecker&) = delete;
  TaskChecker& operator=(const TaskChecker&) = delete;

  /// One task: the words up to its enable word; what follows it is not looked at.
  TaskCheck check(std::span<const std::uint64_t> words);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace npu::sim
