// SPDX-License-Identifier: MIT
#include "llm-runtime/offload/cpu_times.hpp"

#include <algorithm>
#include <chrono>
#include <limits>
#include <random>
#include <set>

namespace npu::llm {
namespace {

// One row is decoding; the last two give the slope of long prompts.
constexpr std::uint32_t kRows[] = {1, 4, 16, 64, 128};
constexpr std::uint32_t kLayersTried = 3;
constexpr int kRuns = 3;
constexpr double kLong = 0.05;  // s: what takes longer is not repeated

std::uint32_t layers_of(const Model& model, Group group) {
  return group == Group::output ? 1 : model.shape().layers;
}

double file_bytes(const Model& model, Group group, std::uint32_t layer) {
  double bytes = 0;
  for (const GroupWeight& weight : group_weights(model, group, layer)) {
    bytes += static_cast<double>(row_bytes(weight.view.type, weight.view.columns)) *
             static_cast<double>(weight.view.rows);
  }
  return bytes;
}

}  // namespace

double group_file_bytes(const Model& model, Group group) {
  const std::uint32_t layers = layers_of(model, group);
  double bytes = 0;
  for (std::uint32_t layer = 0; layer < layers; ++layer) bytes += file_bytes(model, group, layer);
  return bytes / layers;
}

double CpuTimes::of(Group group, std::uint32_t m) const {
  const std::vector<double>& at = seconds[static_cast<std::size_t>(group)];
  const auto above = std::ranges::lower_bound(rows, m) - rows.begin();
  const auto i = std::clamp<std::size_t>(static_cast<std::size_t>(above), 1, rows.size() - 1);
  const double slope = (at[i] - at[i - 1]) / (rows[i] - rows[i - 1]);
  return std::max(0.0, at[i] + slope * (static_cast<double>(m) - rows[i]));
}

CpuTimes modelled_cpu_times(const Model& model, const sim::Calibration& c) {
  CpuTimes times{.modelled = true, .rows = {}, .seconds = {}};
  // The corner between memory and arithmetic lies at one height for each group; a dense list of
  // rows keeps straight lines close to it.
  for (std::uint32_t m = 1; m <= 512; m = std::max(m + 1, m * 9 / 8)) times.rows.push_back(m);
  for (const Group group : kGroups) {
    const double bytes = group_file_bytes(model, group);
    const double macs = static_cast<double>(group_rows(model.shape(), group)) *
                        static_cast<double>(group_columns(model.shape(), group));
    for (const std::uint32_t m : times.rows) {
      times.seconds[static_cast<std::size_t>(group)].push_back(
          std::max(bytes / c.cpu_bytes_per_second, 2 * macs * m / c.cpu_ops_per_second));
    }
  }
  return times;
}

CpuTimes measured_cpu_times(const Model& model, Projector& projector) {
  using Clock = std::chrono::steady_clock;
  CpuTimes times{.modelled = false, .rows = {std::begin(kRows), std::end(kRows)}, .seconds = {}};
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (const Group group : kGroups) {
    const std::uint32_t columns = group_columns(model.shape(), group);
    // Layers differ in their types: several, spread over the model, and the time for each byte.
    std::set<std::uint32_t> tried;
    const std::uint32_t layers = layers_of(model, group);
    for (std::uint32_t i = 0; i < kLayersTried; ++i) tried.insert(i * layers / kLayersTried);
    double tried_bytes = 0;
    for (const std::uint32_t layer : tried) tried_bytes += file_bytes(model, group, layer);
    const double scale = group_file_bytes(model, group) / tried_bytes;
    for (const std::uint32_t m : kRows) {
      std::vector<float> x(std::size_t{m} * columns);
      for (float& value : x) value = uniform(random);
      std::vector<std::vector<float>> results;
      std::vector<float*> outs;
      for (const GroupWeight& weight : group_weights(model, group, 0)) {
        outs.push_back(results.emplace_back(std::size_t{m} * weight.view.rows).data());
      }
      double best = std::numeric_limits<double>::max();
      for (int run = 0; run < kRuns && (run == 0 || best < kLong); ++run) {
        const auto start = Clock::now();
        for (const std::uint32_t layer : tried) projector.project(group, layer, x.data(), m, outs);
        best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
      }
      times.seconds[static_cast<std::size_t>(group)].push_back(best * scale);
    }
  }
  return times;
}

}  // namespace npu::llm
