// SPDX-License-Identifier: MIT
// Which products go to the NPU: decided by times that are given here, so that the answer is known.
#include "llm-runtime/offload/plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "../graph/tiny_models.hpp"
#include "llm-runtime/cpu_projector.hpp"
#include "llm-runtime/engine.hpp"
#include "regdb/error.hpp"

namespace npu::llm {
namespace {

/// `fixed` seconds and `per_row` for each row, for every group.
CpuTimes cpu_of(double fixed, double per_row) {
  CpuTimes times{.modelled = true, .rows = {1, 2}, .seconds = {}};
  times.seconds.fill({fixed + per_row, fixed + 2 * per_row});
  return times;
}

TEST(CpuTimes, LieOnStraightLinesBetweenAndBeyondTheirEntries) {
  CpuTimes times{.modelled = true, .rows = {1, 5, 9}, .seconds = {}};
  times.seconds.fill({1.0, 3.0, 9.0});
  EXPECT_DOUBLE_EQ(times.of(Group::o, 1), 1.0);
  EXPECT_DOUBLE_EQ(times.of(Group::o, 3), 2.0);
  EXPECT_DOUBLE_EQ(times.of(Group::o, 5), 3.0);
  EXPECT_DOUBLE_EQ(times.of(Group::o, 7), 6.0);
  EXPECT_DOUBLE_EQ(times.of(Group::o, 11), 12.0);
}

TEST(CpuTimes, OfAnRk3588AreTheMemorysForOneRowAndTheArithmeticsForMany) {
  const Model model = tiny("Q8_0");
  sim::Calibration c = sim::default_calibration().values;
  c.cpu_bytes_per_second = 1e9;
  c.cpu_ops_per_second = 1e11;
  const CpuTimes times = modelled_cpu_times(model, c);
  for (const Group group : kGroups) {
    const double values =
        static_cast<double>(group_rows(model.shape(), group)) * group_columns(model.shape(), group);
    // Q8_0: 34 bytes for 32 weights.
    EXPECT_DOUBLE_EQ(group_file_bytes(model, group), values / 32 * 34);
    EXPECT_DOUBLE_EQ(times.of(group, 1), values / 32 * 34 / 1e9);
    EXPECT_NEAR(times.of(group, 1000), 2 * values * 1000 / 1e11, 1e-9 * values);
  }
}

TEST(CpuTimes, AreMeasuredForEveryGroupAndGrowWithTheRows) {
  const Model model = tiny("Q8_0");
  cpu::ThreadPool pool(1);
  CpuProjector projector(model, pool, false);
  const CpuTimes times = measured_cpu_times(model, projector);
  EXPECT_FALSE(times.modelled);
  for (const Group group : kGroups) {
    EXPECT_GT(times.of(group, 1), 0.0) << to_string(group);
    EXPECT_EQ(times.seconds[static_cast<std::size_t>(group)].size(), times.rows.size());
  }
}

TEST(Plan, KeepsAllOnACpuThatTakesNoTime) {
  const Plan plan = make_plan(tiny("Q8_0"), cpu_of(0, 0), {});
  EXPECT_EQ(plan.offload().from_rows, all_on_cpu().from_rows);
}

TEST(Plan, GivesAllToTheNpuBesideACpuThatTakesForEver) {
  const Plan plan = make_plan(tiny("Q8_0"), cpu_of(10, 0), {});
  EXPECT_EQ(plan.offload().from_rows, all_on_npu().from_rows);
}

TEST(Plan, SplitsBetweenTheHeightsWhereTheTimesCross) {
  const Model model = tiny("Q8_0");
  const Plan free = make_plan(model, cpu_of(0, 0), {});
  for (const Group group : kGroups) {
    // The CPU takes as long for 20 rows as the NPU does for 24: so at 21 rows, less than a
    // twentieth more, it still keeps them.
    const auto& npu = free.of(group).npu;
    const auto at = std::ranges::find(npu, 24u, &NpuTime::rows);
    ASSERT_NE(at, npu.end());
    ASSERT_EQ(std::prev(at)->rows, 16u);
    const Plan plan = make_plan(model, cpu_of(0, at->seconds() / 20), {});
    const std::uint32_t from = plan.of(group).from_rows;
    ASSERT_NE(from, OffloadPlan::kNever);
    EXPECT_GE(from, 22u);
    // From there on the NPU is faster at every number of rows.
    for (std::uint32_t m = from; m <= 256; ++m) {
      double seconds = 0;
      for_each_turn(plan.of(group), m, [&](const NpuTime& t) { seconds += t.seconds(); });
      EXPECT_LT(seconds, plan.cpu.of(group, m)) << to_string(group) << ", " << m << " rows";
    }
  }
}

TEST(Plan, CountsTheTimesThatThePlannerOfTheProductsGives) {
  const Model model = tiny("Q8_0");
  const PlanOptions options{
      .cores = 2, .offload = {.npu_hz = 1e9}, .dispatch = {}, .calibration = nullptr};
  const Plan plan = make_plan(model, cpu_of(0, 0), options);
  for (const Group group : kGroups) {
    const kernels::GemmPlan tallest = kernels::plan_gemm(
        {256, group_rows(model.shape(), group), group_columns(model.shape(), group)},
        {kernels::DataType::i8, kernels::DataType::i32}, 2, product_options(options.offload));
    EXPECT_EQ(plan.of(group).npu.back().rows, 256u);
    EXPECT_DOUBLE_EQ(plan.of(group).npu.back().gemm.seconds, tallest.time.seconds);
  }
}

TEST(ModelledPass, AddsUpTheProductsOfEveryLayer) {
  const Model model = tiny("Q8_0");
  const Plan plan = make_plan(model, cpu_of(0.5, 0), {});
  const Plan on_cpu = plan.with(all_on_cpu()), on_npu = plan.with(all_on_npu());
  const double layers = model.shape().layers;
  EXPECT_DOUBLE_EQ(modelled_pass(model, on_cpu, 7, 0, 1).cpu_products, (4 * layers + 1) * 0.5);
  EXPECT_DOUBLE_EQ(modelled_pass(model, on_cpu, 7, 0, 0).cpu_products, 4 * layers * 0.5);
  EXPECT_EQ(modelled_pass(model, on_cpu, 7, 0, 1).npu_submits, 0u);
  const ForwardTime npu = modelled_pass(model, on_npu, 7, 0, 1);
  EXPECT_EQ(npu.cpu_products, 0.0);
  EXPECT_GE(npu.npu_submits, 4 * model.shape().layers + 1);
  double seconds = 0;
  for (const Group group : kGroups) {
    const std::uint32_t m = group == Group::output ? 1 : 7;
    for_each_turn(on_npu.of(group), m,
                  [&](const NpuTime& t) { seconds += on_npu.of(group).layers * t.seconds(); });
  }
  EXPECT_NEAR(npu.seconds() - npu.attention - npu.layers, seconds, 1e-9);
}

TEST(ModelledPass, PromptsAreBatchesAndDecodingIsOneTokenAtATime) {
  const Model model = tiny("Q8_0");
  const Plan plan = make_plan(model, cpu_of(1e-3, 1e-5), {});
  const double whole = modelled_prefill(model, plan, 96, 32).seconds();
  double parts = 0;
  for (std::uint32_t i = 0; i < 3; ++i)
    parts += modelled_pass(model, plan, 32, 32 * i, i == 2 ? 1 : 0).seconds();
  EXPECT_DOUBLE_EQ(whole, parts);
  EXPECT_GT(modelled_decode(model, plan, 2, 1000).attention,
            modelled_decode(model, plan, 2, 10).attention);
}

std::vector<float> last_logits(Engine& engine, std::uint32_t tokens) {
  std::vector<std::int32_t> prompt(tokens);
  std::iota(prompt.begin(), prompt.end(), 5);
  const auto logits = engine.append(0, prompt);
  return {logits.begin(), logits.end()};
}

TEST(AutoDevice, IsTheCpuBitForBitWhereThePlanKeepsAllOnIt) {
  const Model model = tiny("Q8_0");
  Engine mixed(model, {.device = "auto:sim", .threads = 1, .context = 64});
  ASSERT_NE(mixed.plan(), nullptr);
  for (const std::uint32_t from : mixed.plan()->offload().from_rows)
    ASSERT_GT(from, 20u) << "this model is too small for an NPU";
  Engine cpu(model, {.device = "cpu", .threads = 1, .context = 64});
  EXPECT_EQ(cpu.plan(), nullptr);
  EXPECT_EQ(last_logits(mixed, 20), last_logits(cpu, 20));
  EXPECT_EQ(mixed.offload_stats()->jobs, 0u);
}

TEST(AutoDevice, IsRefusedForADeviceThatThereIsNot) {
  const Model model = tiny("Q8_0");
  EXPECT_THROW(Engine(model, {.device = "auto:nonsense", .threads = 1}), Error);
}

}  // namespace
}  // namespace npu::llm
