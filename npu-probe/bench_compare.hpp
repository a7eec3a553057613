// SPDX-License-Identifier: MIT
// Two reports of the same shapes: what became faster, what slower.
#pragma once

#include <string>
#include <vector>

#include "npu-probe/bench.hpp"

namespace npu::probe {

struct BenchPair {
  const BenchRow* before = nullptr;
  const BenchRow* after = nullptr;
  double ratio = 0;     ///< before / after: above 1 is faster
  bool slower = false;  ///< by more than the threshold
};

struct BenchComparison {
  double threshold = 0.1;
  std::vector<BenchPair> pairs;              ///< in the order of the new report
  std::vector<const BenchRow*> only_before;  ///< and those that did not run
  std::vector<const BenchRow*> only_after;
  std::vector<std::string> notes;  ///< what else differs: clock, calibration
  std::size_t slower = 0;
  double geometric_mean = 0;  ///< of the ratios
};

/// Rows are the same if operator, name, shape, types and cores are; of several equal ones the first
/// goes with the first. Points into both reports. Throws bad_file if the times of one report are
/// measured and those of the other modelled, or if they have no row in common.
BenchComparison compare_reports(const BenchReport& before, const BenchReport& after,
                                double threshold);

std::string to_markdown(const BenchComparison& comparison);
std::string to_json(const BenchComparison& comparison);

}  // namespace npu::probe
