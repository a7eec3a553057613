// SPDX-License-Identifier: MIT
// Tasks that are tiles of one operator, put together again.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "npu-probe/explain.hpp"

namespace npu::probe {

/// One operator and the tasks (indices into what was grouped) that compute it.
struct OperatorGroup {
  Operator whole;  ///< shapes of the whole; work and notes of all tiles
  std::vector<std::size_t> tasks;
  std::string tiling;     ///< "in 2 tiles of rows: 17, 16"; empty for one task
  double seconds = 0;     ///< modelled, of all tasks one after the other; 0 if one has none
  std::size_t timed = 0;  ///< tasks that have a modelled time
};

/// Consecutive tasks are one operator if they agree in all but their place, and their places tile
/// an input and an output without a gap: rows (with the rows that windows share), kernels, planes,
/// or for matrix products a grid of rows and columns.
std::vector<OperatorGroup> group_tiles(std::span<const Operator> tasks);

/// The modelled cycles, bytes and multiply-accumulates of a group.
struct GroupCost {
  double seconds = 0;
  std::uint64_t macs = 0, bytes = 0;
};
GroupCost cost_of(const OperatorGroup& group, std::span<const Operator> tasks);

}  // namespace npu::probe
