// SPDX-License-Identifier: MIT
// Slices of K that the DPU adds, and operands that stay in CBUF: equal to the reference bit for bit
// on the simulated NPU, and a wrong bit is noticed.
#include <gtest/gtest.h>

#include <cmath>

#include "gemm_cases.hpp"
#include "microkernels/gemm_emit.hpp"
#include "microkernels/layout.hpp"
#include "npu-sim/float_types.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

constexpr GemmTypes kHalf{DataType::f16, DataType::f16};

std::vector<std::uint16_t> random_halves(std::size_t count, std::mt19937& random) {
  std::vector<std::uint16_t> values(count);
  for (std::uint16_t& value : values)
    value = sim::float_to_fp16(std::ldexp(static_cast<float>(random() % 4001) / 2000.0f - 1.0f,
                                          static_cast<int>(random() % 6) - 3));
  return values;
}

struct HalfCase {
  HalfCase(const GemmShape& s, std::uint32_t seed) : shape(s), random(seed) {
    a = random_halves(std::size_t{s.m} * s.k, random);
    b = random_halves(std::size_t{s.n} * s.k, random);
  }
  std::vector<std::uint16_t> run(std::span<device::Device* const> devices,
                                 const GemmOptions& options, GemmPlan* plan = nullptr) const {
    std::vector<std::uint16_t> c(std::size_t{shape.m} * shape.n, 0x5A5A);
    Gemm product(devices, shape, kHalf, options);
    product.set_weights(b);
    product.run(a, c);
    if (plan != nullptr) *plan = product.plan();
    return c;
  }
  std::vector<std::uint16_t> reference(const GemmPlan& plan) const {
    std::vector<std::uint16_t> want(std::size_t{shape.m} * shape.n);
    ref_gemm(shape, kHalf, a, b, want, plan.k_slices, plan.choice.sums);
    return want;
  }
  GemmShape shape;
  std::mt19937 random;
  std::vector<std::uint16_t> a, b;
};

GemmOptions chip_sums(const GemmShape& shape, std::uint32_t k, std::uint32_t rows,
                      std::uint32_t columns, std::uint32_t cores = 1) {
  GemmOptions options;
  options.on_chip_sums = true;
  options.choice = GemmChoice{.cores = cores,
                              .rows = rows,
                              .columns = columns,
                              .k = k,
                              .reuse = columns < shape.n,
                              .sums = SliceSums::chip};
  return options;
}

TEST(GemmChipSums, RandomCutsEqualTheReference) {
  const Cores cores(3);
  std::mt19937 random(5);
  for (std::uint32_t round = 0; round < 40; ++round) {
    const GemmShape shape{pick(random, 1, 60), pick(random, 1, 120), pick(random, 40, 400)};
    const std::uint32_t k = 32 * pick(random, 1, (shape.k - 1) / 32);
    const std::uint32_t count = pick(random, 1, 3);
    GemmOptions options =
        chip_sums(shape, k, 4 * pick(random, 3, 20), 16 * pick(random, 1, 8), count);
    options.choice->row_passes = pick(random, 1, 6);
    options.choice->column_passes = pick(random, 1, 3);
    SCOPED_TRACE(testing::Message() << describe(shape) << ", " << to_string(*options.choice));
    const HalfCase test(shape, round);
    GemmPlan plan;
    const auto got = test.run(cores.first(3), options, &plan);
    ASSERT_GT(plan.slices, 1u);
    ASSERT_TRUE(same(got, test.reference(plan), shape.n));
  }
}

TEST(GemmChipSums, WhatThePlannerChoosesEqualsTheReference) {
  const Cores cores(3);
  GemmOptions options;
  options.on_chip_sums = true;
  for (const GemmShape shape : {GemmShape{130, 60, 1600}, {12, 50, 12000}, {520, 20, 500}}) {
    const HalfCase test(shape, 3);
    GemmPlan plan;
    const auto got = test.run(cores.first(3), options, &plan);
    EXPECT_TRUE(same(got, test.reference(plan), shape.n)) << to_string(plan.choice);
  }
}

// What gemm_choice.hpp promises: half a unit in the last place of the largest partial sum per
// slice, beside the exact product's own rounding.
TEST(GemmChipSums, TheErrorIsWithinHalfAnUlpPerSlice) {
  const Cores cores(1);
  const GemmShape shape{24, 48, 1024};
  const HalfCase test(shape, 8);
  const GemmOptions options = chip_sums(shape, 128, 24, 48);
  const auto got = test.run(cores.first(1), options);
  std::vector<double> exact(got.size()), largest(got.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    double sum = 0;
    for (std::size_t k = 0; k < shape.k; ++k) {
      sum += double{sim::fp16_to_float(test.a[i / shape.n * shape.k + k])} *
             sim::fp16_to_float(test.b[i % shape.n * shape.k + k]);
      if ((k + 1) % 128 == 0) largest[i] = std::max(largest[i], std::abs(sum));
    }
    exact[i] = sum;
  }
  for (std::size_t i = 0; i < got.size(); ++i) {
    // Sums that round up to the next power of two have its unit.
    const double ulp = std::ldexp(1.0, std::ilogb(largest[i] * 1.01) - 10);
    // The array's own fp32 rounding is far below.
    ASSERT_LE(std::abs(sim::fp16_to_float(got[i]) - exact[i]), 8 * 0.5 * ulp * 1.01) << i;
  }
}

TEST(GemmChains, OneStartGivesTheSameBitsInLessModelledTime) {
  const std::unique_ptr<device::Device> device = device::open_device("sim:chain");
  device::Device* devices[] = {device.get()};
  const GemmShape shape{40, 200, 300};
  const HalfCase half(shape, 4);
  const GemmCase bytes(shape, 4);
  GemmOptions options = chip_sums(shape, 96, 40, 64);
  const auto modelled = [&](bool chained, std::vector<std::uint16_t>& c) {
    options.choice->chained = chained;
    Gemm product(devices, shape, kHalf, options);
    product.set_weights(half.b);
    GemmStats stats;
    product.run(half.a, c, &stats);
    EXPECT_GT(stats.run.tasks, stats.run.jobs);
    return stats.run.device;
  };
  std::vector<std::uint16_t> apart(std::size_t{shape.m} * shape.n), together(apart.size());
  const auto longer = modelled(false, apart), shorter = modelled(true, together);
  EXPECT_LT(shorter, longer);
  EXPECT_EQ(apart, together);

  options = {};
  options.choice = GemmChoice{.rows = 40, .columns = 64, .k = 320, .chained = true};
  std::vector<std::int32_t> sums(bytes.sums.size());
  Gemm product(devices, shape, {DataType::i8, DataType::i32}, options);
  product.set_weights(bytes.b);
  product.run(bytes.a, sums);
  EXPECT_TRUE(same(sums, bytes.sums, shape.n));
}

TEST(GemmChains, ADeviceThatCannotSaysSo) {
  const Cores cores(1);
  GemmOptions options;
  options.choice = GemmChoice{.rows = 40, .columns = 64, .k = 32, .chained = true};
  Gemm product(cores.first(1), {40, 200, 32}, {DataType::i8, DataType::i32}, options);
  product.set_weights(std::vector<std::int8_t>(200 * 32));
  std::vector<std::int32_t> c(40 * 200);
  EXPECT_THROW(product.run(std::vector<std::int8_t>(40 * 32), c), Error);
}

TEST(GemmReuse, EitherOrderGivesTheSameBits) {
  const Cores cores(1);
  const GemmShape shape{90, 200, 96};
  const HalfCase test(shape, 9);
  GemmOptions options;
  std::vector<std::uint16_t> first;
  for (const TaskOrder order : {TaskOrder::features, TaskOrder::weights})
    for (const bool reuse : {false, true}) {
      options.choice =
          GemmChoice{.rows = 32, .columns = 48, .k = 96, .order = order, .reuse = reuse};
      GemmPlan plan;
      const auto got = test.run(cores.first(1), options, &plan);
      if (first.empty()) first = got;
      EXPECT_EQ(got, first) << to_string(*options.choice);
      std::size_t reused = 0;
      for (const GemmTask& task : plan.cores[0].tasks) {
        reused += task.data_reuse || task.weight_reuse;
        ASSERT_FALSE(task.starts_job && (task.data_reuse || task.weight_reuse));
      }
      // 3 tiles of rows, 5 of columns: all tasks but the first of each tile that stays.
      EXPECT_EQ(reused, !reuse ? 0u : order == TaskOrder::features ? 12u : 10u);
    }
  EXPECT_TRUE(same(first, test.reference({}), shape.n));
}

// Programs with the reuse bit where another tile is needed compute with what CBUF holds.
TEST(GemmReuse, AWrongBitSpoilsTheResult) {
  const Cores cores(1);
  device::Device& device = *cores.devices[0];
  const GemmShape shape{64, 96, 64};
  const HalfCase test(shape, 10);
  GemmOptions options;
  options.choice = GemmChoice{.rows = 32, .columns = 48, .k = 64, .reuse = true};
  const GemmPlan plan = plan_gemm(shape, kHalf, 1, options);
  for (const bool wrong : {false, true}) {
    GemmPlan changed = plan;
    for (GemmTask& task : changed.cores[0].tasks)
      if (wrong && !task.starts_job) task.data_reuse = true;  // over tiles of rows too
    const GemmCore& core = changed.cores[0];
    device::Device* devices[] = {&device};
    Executor executor(devices, {gemm_slots(core)});
    Stage stage{.program = emit_gemm(changed, 0, 0), .tasks = {}};
    for (const GemmTask& task : core.tasks) stage.tasks.push_back(task_info(changed, core, task));
    executor.set_programs({{stage}});
    for (const GemmTask& task : core.tasks)
      if (task.n.begin == 0)
        pack_features(
            DataType::f16,
            {reinterpret_cast<const std::byte*>(&test.a[task.m.begin * shape.k]), 32, 64, 64}, 32,
            64, executor.host(0, kGemmA).subspan(task.a_offset, 32 * 64 * 2));
    pack_weights(DataType::f16, {reinterpret_cast<const std::byte*>(test.b.data()), 96, 64, 64}, 96,
                 64, executor.host(0, kGemmB));
    executor.written(0, kGemmA);
    executor.written(0, kGemmB);
    RunStats stats;
    executor.run(0, stats);
    std::vector<std::uint16_t> got(std::size_t{shape.m} * shape.n);
    for (const GemmTask& task : core.tasks)
      unpack(DataType::f16, executor.host(0, gemm_c_slot(core)).subspan(task.c_offset, 32 * 48 * 2),
             32,
             {reinterpret_cast<std::byte*>(&got[task.m.begin * shape.n + task.n.begin]), 32, 48,
              shape.n});
    const auto want = test.reference(plan);
    EXPECT_EQ(static_cast<bool>(same(got, want, shape.n)), !wrong);
    // The rows of the first tile are right either way.
    EXPECT_TRUE(std::equal(want.begin(), want.begin() + 32 * 96, got.begin()));
  }
}

}  // namespace
}  // namespace npu::kernels
