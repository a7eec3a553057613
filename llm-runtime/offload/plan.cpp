// SPDX-License-Identifier: MIT
#include "llm-runtime/offload/plan.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <utility>

#include "microkernels/gemm_plan.hpp"

namespace npu::llm {
namespace {

constexpr double kGain = 0.95;  // of the CPU's time: a tie is not worth a second copy of weights
constexpr kernels::GemmTypes kTypes{kernels::DataType::i8, kernels::DataType::i32};

const sim::Calibration& calibration(const PlanOptions& options) {
  return options.calibration != nullptr ? *options.calibration : sim::default_calibration().values;
}

void add(kernels::GemmTime& to, const kernels::GemmTime& t) {
  to.seconds += t.seconds;
  to.pack += t.pack;
  to.copy += t.copy;
  to.sync += t.sync;
  to.dispatch += t.dispatch;
  to.device += t.device;
  to.mac += t.mac;
  to.read += t.read;
  to.tasks += t.tasks;
  to.jobs += t.jobs;
  to.kicks += t.kicks;
  to.bytes += t.bytes;
}

/// Sizes of the parts that the columns are cut into, as quantised_matrix() does.
std::vector<std::uint32_t> parts(std::uint32_t columns, std::uint32_t part) {
  std::vector<std::uint32_t> sizes;
  if (part == 0) part = columns;
  for (std::uint32_t begin = 0; begin < columns; begin += part)
    sizes.push_back(std::min(part, columns - begin));
  return sizes;
}

/// As NpuProjector plans them: the tallest product cuts the weights, the others follow.
std::vector<NpuTime> npu_times(const ModelShape& shape, Group group, const PlanOptions& o) {
  const std::uint32_t n = group_rows(shape, group), columns = group_columns(shape, group);
  const auto heights = product_heights(o.offload.most_rows);
  std::vector<NpuTime> times;
  for (const std::uint32_t rows : heights) times.push_back({.rows = rows, .gemm = {}});
  const auto sizes = parts(columns, o.offload.quantisation.part);
  std::map<std::uint32_t, std::uint32_t> counts;
  for (const std::uint32_t k : sizes) ++counts[k];
  for (const auto& [k, count] : counts) {
    kernels::GemmOptions options = product_options(o.offload, o.calibration);
    options.dispatch = o.dispatch;
    const auto tallest = kernels::plan_gemm({heights.back(), n, k}, kTypes, o.cores, options);
    options = kernels::like_weights_of(tallest, options);
    for (std::size_t i = 0; i < heights.size(); ++i) {
      const auto plan = i + 1 == heights.size()
                            ? tallest
                            : kernels::plan_gemm({heights[i], n, k}, kTypes, o.cores, options);
      for (std::uint32_t c = 0; c < count; ++c) add(times[i].gemm, plan.time);
    }
  }
  // Inputs are rounded after some operations for each step of the rotation. Outputs are scaled
  // while they are read back, which the product's time has; those of wide inputs afterwards.
  const sim::Calibration& c = calibration(o);
  const QuantisationOptions& q = o.offload.quantisation;
  const double elements =
      columns + (q.wide ? static_cast<double>(n) * static_cast<double>(sizes.size()) : 0);
  const double steps = q.rotate ? std::log2(rotation_block(columns)) : 0;
  for (NpuTime& time : times) {
    const double tokens = static_cast<double>(time.rows) / (q.wide ? 2 : 1);
    time.convert = elements * time.rows * c.llm_activation_ns * 1e-9 +
                   steps * columns * tokens / c.llm_attention_flops;
  }
  return times;
}

}  // namespace

OffloadPlan Plan::offload() const {
  OffloadPlan plan;
  for (const GroupPlan& group : groups)
    plan.from_rows[static_cast<std::size_t>(group.group)] = group.from_rows;
  return plan;
}

Plan Plan::with(const OffloadPlan& other) const {
  Plan plan = *this;
  for (GroupPlan& group : plan.groups) group.from_rows = other.of(group.group);
  return plan;
}

OffloadPlan all_on_npu() { return {}; }
OffloadPlan all_on_cpu() {
  OffloadPlan plan;
  plan.from_rows.fill(OffloadPlan::kNever);
  return plan;
}

Plan make_plan(const Model& model, const CpuTimes& cpu, const PlanOptions& options) {
  Plan plan{.options = options, .cpu = cpu, .groups = {}};
  const ModelShape& shape = model.shape();
  for (const Group group : kGroups) {
    GroupPlan& g = plan.groups.emplace_back();
    g.group = group;
    g.layers = group == Group::output ? 1 : shape.layers;
    g.file_bytes = group_file_bytes(model, group);
    g.rows_per_token = options.offload.quantisation.wide ? 2 : 1;
    g.npu_bytes = static_cast<double>(group_rows(shape, group)) * group_columns(shape, group);
    g.npu = npu_times(shape, group, options);
    // From the tallest product down, as long as the NPU is the faster one.
    const std::uint32_t most = g.npu.back().rows / g.rows_per_token;
    for (std::uint32_t m = most; m != 0; --m) {
      double seconds = 0;
      for_each_turn(g, m, [&](const NpuTime& time) { seconds += time.seconds(); });
      if (seconds >= kGain * cpu.of(group, m)) break;
      g.from_rows = m;
    }
  }
  return plan;
}

std::string_view ForwardTime::binds() const {
  const std::pair<double, std::string_view> parts[] = {
      {cpu_products, "matrix products on the CPU"}, {npu_mac, "the NPU's MAC array"},
      {npu_memory, "the NPU's memory port"},        {npu_dispatch, "submits and interrupts"},
      {transfer, "packing, reading, scaling"},      {convert, "rounding to int8"},
      {attention, "attention on the CPU"},          {layers, "the fixed part of each layer"}};
  return std::ranges::max_element(parts, {}, &std::pair<double, std::string_view>::first)->second;
}

ForwardTime& ForwardTime::operator+=(const ForwardTime& o) {
  cpu_products += o.cpu_products;
  npu_mac += o.npu_mac;
  npu_memory += o.npu_memory;
  npu_dispatch += o.npu_dispatch;
  transfer += o.transfer;
  convert += o.convert;
  attention += o.attention;
  layers += o.layers;
  npu_submits += o.npu_submits;
  return *this;
}

ForwardTime modelled_pass(const Model& model, const Plan& plan, std::uint32_t rows,
                          std::uint32_t past, std::uint32_t outputs, bool decoding) {
  const sim::Calibration& c = calibration(plan.options);
  const ModelShape& shape = model.shape();
  ForwardTime t;
  for (const GroupPlan& g : plan.groups) {
    const std::uint32_t m = g.group == Group::output ? outputs : rows;
    const double layers = g.layers;
    if (m == 0) continue;
    if (m < g.from_rows) {
      t.cpu_products += layers * plan.cpu.of(g.group, m);
      continue;
    }
    for_each_turn(g, m, [&](const NpuTime& time) {
      const kernels::GemmTime& gemm = time.gemm;
      t.npu_mac += layers * gemm.mac;
      t.npu_memory += layers * (gemm.device - gemm.mac);
      t.npu_dispatch += layers * gemm.dispatch;
      t.transfer += layers * std::max(0.0, gemm.seconds - gemm.device - gemm.dispatch);
      t.convert += layers * time.convert;
      t.npu_submits += static_cast<std::uint64_t>(gemm.jobs) * g.layers;
    });
  }
  // Each row looks at what lies before it: two products of that length and the head's size.
  const double seen =
      decoding ? static_cast<double>(rows) * (past + 1.0) : rows * (past + (rows + 1.0) / 2);
  t.attention = 4.0 * seen * shape.q_size() * shape.layers / c.llm_attention_flops;
  t.layers = shape.layers * c.cpu_layer_ms * 1e-3;
  return t;
}

ForwardTime modelled_prefill(const Model& model, const Plan& plan, std::uint32_t tokens,
                             std::uint32_t batch) {
  ForwardTime sum;
  for (std::uint32_t done = 0; done < tokens;) {
    const std::uint32_t rows = std::min(tokens - done, batch);
    sum += modelled_pass(model, plan, rows, done, done + rows == tokens ? 1 : 0);
    done += rows;
  }
  return sum;
}

ForwardTime modelled_decode(const Model& model, const Plan& plan, std::uint32_t tokens,
                            std::uint32_t past) {
  ForwardTime sum;
  for (std::uint32_t i = 0; i < tokens; ++i) sum += modelled_pass(model, plan, 1, past + i, 1);
  return sum;
}

}  // namespace npu::llm
