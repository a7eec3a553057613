// SPDX-License-Identifier: MIT
// The columns of a report, as every table shows them.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "npu-probe/bench.hpp"

namespace npu::probe {

struct BenchColumn {
  std::string title;
  bool right = true;  ///< numbers
  std::vector<std::string> cells;
};

/// The columns of these rows that are not empty in all of them.
std::vector<BenchColumn> bench_columns(std::span<const BenchRow* const> rows);

/// "weight 61 %"; the largest share of a row's modelled time. Empty: there is none.
std::string what_binds(const BenchRow& row);

/// Rows by operator, in their order.
std::vector<std::vector<const BenchRow*>> rows_by_op(const BenchReport& report);

/// Sentences about the whole: device, clock, where figures come from.
std::vector<std::string> bench_preamble(const BenchReport& report);

/// "sum of medians on 1 core: 812.4 us", for each type and number of cores in turn.
std::vector<std::string> bench_sums(std::span<const BenchRow* const> rows);

}  // namespace npu::probe
