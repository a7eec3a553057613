// SPDX-License-Identifier: MIT
// The goals of the planner in figures: arithmetic on the default calibration, no clock involved.
// The plans are those that `plan_quality` prints.
#include <gtest/gtest.h>

#include <algorithm>

#include "../bench/plan_quality.hpp"

namespace npu::kernels {
namespace {

using bench::kQwen;
using bench::published;

constexpr double kHz = 600e6;
constexpr GemmTypes kHalf{DataType::f16, DataType::f16};

GemmPlan best_half(const GemmShape& shape, bool chained = false) {
  GemmOptions options;
  options.on_chip_sums = true;
  options.chained = chained;
  return plan_gemm(shape, kHalf, 3, options);
}

TEST(GemmGoals, ThePublishedPlanComesOutNearItsFigure) {
  const GemmShape shape{512, 4096, 3840};
  const double rate = bench::operations(shape) / published(shape, kHz, true).seconds;
  EXPECT_NEAR(rate / bench::kPublishedRate, 1, 0.1);
}

TEST(GemmGoals, ItsShapeIsTwiceAsFastOnAStockKernel) {
  const GemmShape shape{512, 4096, 3840};
  const GemmPlan plan = best_half(shape);
  EXPECT_FALSE(plan.choice.chained);
  EXPECT_GE(bench::operations(shape) / plan.seconds, 2 * bench::kPublishedRate);
  EXPECT_GE(published(shape, kHz, true).seconds / plan.seconds, 2);
}

TEST(GemmGoals, PrefillIsTwiceAsFastAsThePublishedPlanOnAStockKernel) {
  for (const std::uint32_t m : {128u, 512u})
    for (const bench::Operator& op : kQwen) {
      const GemmShape shape{m, op.n, op.k};
      const GemmPlan plan = best_half(shape);
      // To the published plan for this shape, or to its best figure where it comes near that.
      const double ratio =
          std::max(published(shape, kHz, true).seconds / plan.seconds,
                   bench::operations(shape) / plan.seconds / bench::kPublishedRate);
      // Not reached by gate or up alone: loading and interrupts take 1.7 of its 4.1 ms
      // (docs/benchmarks.md).
      const double goal = m == 128 && op.n == 8960 ? 1.8 : 2.0;
      EXPECT_GE(ratio, goal) << op.name << " M " << m << ": " << to_string(plan.choice);
    }
}

TEST(GemmGoals, NoPlanIsSlowerThanTheLibraryIsToday) {
  for (const std::uint32_t m : {128u, 512u})
    for (const bench::Operator& op : kQwen) {
      const GemmShape shape{m, op.n, op.k};
      EXPECT_LE(best_half(shape).seconds, published(shape, kHz, false).seconds) << op.name;
    }
}

TEST(GemmGoals, ChainsAreNeverSlower) {
  for (const std::uint32_t m : {128u, 512u})
    for (const bench::Operator& op : kQwen) {
      const GemmShape shape{m, op.n, op.k};
      EXPECT_LE(best_half(shape, true).seconds, best_half(shape).seconds) << op.name;
    }
}

TEST(GemmGoals, DecodeStreamsWeightsAtHalfOfTheMemorysBandwidthAtLeast) {
  const double dram = sim::default_calibration().values.dram_bytes_per_second;
  for (const std::uint32_t m : {1u, 4u, 8u})
    for (const bench::Operator& op : kQwen)
      for (const GemmTypes& types :
           {kHalf, GemmTypes{DataType::f16, DataType::f32}, {DataType::i8, DataType::i32}}) {
        const GemmPlan plan = plan_gemm({m, op.n, op.k}, types, 3);
        const double bytes = static_cast<double>(op.n) * op.k * bits(types.in) / 8;
        EXPECT_GE(bytes / plan.time.device, dram / 2)
            << op.name << " M " << m << " " << to_string(types) << ": " << to_string(plan.choice);
      }
}

}  // namespace
}  // namespace npu::kernels
