// SPDX-License-Identifier: MIT
// The chip's limits on a task of a matrix product, and how an axis is cut. For the planner and the
// list of choices.
#pragma once

#include <cstdint>
#include <vector>

#include "microkernels/gemm_choice.hpp"
#include "microkernels/gemm_plan.hpp"

namespace npu::kernels {

inline constexpr std::uint32_t kCbufBanks = 12, kCbufBankBytes = 32768;  // [mesa rkt_ml.h]
inline constexpr std::uint64_t kMaxTaskMacs = std::uint64_t{1} << 30;

/// What is the same for every task of a product.
struct TaskRules {
  GemmTypes types;         ///< of the task
  MacFormat format{};      ///< of the operands
  bool adds = false;       ///< the DPU adds slices
  std::uint32_t row_step;  ///< of tiles
  std::uint32_t most_rows, most_columns;
};
/// `sliced`: K takes more than one task.
TaskRules task_rules(const GemmTypes& types, bool sliced, SliceSums sums);

/// The rows of a tile as a convolution's cube.
struct Rows {
  std::uint32_t padded, width, height;
};
Rows pad_rows(std::uint32_t rows, const TaskRules& rules);

/// Banks that a tile of features takes, with the spare one of integers.
std::uint32_t feature_banks(const TaskRules& rules, std::uint32_t rows, std::uint32_t k);
/// Most rows of a task with this K, 0 if not even the fewest fit beside a group of kernels.
std::uint32_t max_rows(const TaskRules& rules, std::uint32_t k);
/// Most columns of a task of this many rows.
std::uint32_t max_columns(const TaskRules& rules, std::uint32_t rows, std::uint32_t k);
/// Most columns of a task that adds to nothing, where others do.
std::uint32_t first_columns(const TaskRules& rules, std::uint32_t rows, std::uint32_t k);
/// Most columns whose weights stay in CBUF beside the features, 0 if not one group does.
std::uint32_t resident_columns(const TaskRules& rules, std::uint32_t rows, std::uint32_t k);
/// The longest K of a task.
std::uint32_t longest_k(const TaskRules& rules);
/// Most columns of a job that does all of K for a tile of rows, 0 if it cannot do a group.
std::uint32_t job_columns(const TaskRules& rules, std::uint32_t rows, std::uint32_t k);
/// Whether boards have shown that this operand may stay in CBUF: features in fp16 [notes
/// cbuf-reuse, HW], weights in fp16 [the same] and int8 [mesa rkt_task.c].
bool reuse_is_proven(DataType in, TaskOrder order);

/// Parts of at most `limit` (a multiple of step), as even as steps allow.
std::vector<Range> split_by_limit(Range whole, std::uint32_t limit, std::uint32_t step);
/// What each core computes.
struct CorePart {
  Range m, n;
};
std::vector<CorePart> divide(const GemmShape& shape, std::uint32_t cores, CoreSplit split,
                             std::uint32_t group);
/// By columns, so that no weights are stored twice, unless rows balance clearly better.
CoreSplit usual_split(const GemmShape& shape, std::uint32_t cores, std::uint32_t group);

/// Throws invalid_argument for an empty shape, types that are no pair, or K above their limit.
void check_gemm(const GemmShape& shape, const GemmTypes& types, unsigned cores);
/// Throws invalid_argument with the reason if the chip cannot do that.
void check_choice(const GemmShape& shape, const GemmTypes& types, unsigned cores,
                  const GemmChoice& choice);

}  // namespace npu::kernels
