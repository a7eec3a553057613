// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cmath>

#include "npu-probe/bench.hpp"

namespace npu::probe {
namespace {

double median_of_sorted(const std::vector<double>& v) {
  const std::size_t middle = v.size() / 2;
  return v.size() % 2 == 1 ? v[middle] : (v[middle - 1] + v[middle]) / 2;
}

}  // namespace

BenchSpread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  BenchSpread spread;
  spread.samples = values.size();
  spread.min = values.front();
  spread.max = values.back();
  spread.median = median_of_sorted(values);
  for (double& v : values) v = std::abs(v - spread.median);
  std::sort(values.begin(), values.end());
  spread.mad = median_of_sorted(values);
  return spread;
}

double macs_per_second(const BenchRow& row) {
  return row.time.median > 0 ? static_cast<double>(row.macs) / row.time.median : 0;
}

double bytes_per_second(const BenchRow& row) {
  return row.time.median > 0 ? static_cast<double>(row.model.bytes) / row.time.median : 0;
}

double roof_share(const BenchRow& row) {
  return row.roof && row.time.median > 0 ? row.roof->seconds / row.time.median : 0;
}

}  // namespace npu::probe
