// SPDX-License-Identifier: MIT
// The NPU path on the simulator: int32 sums are those of the CPU's integer reference, so what the
// projector gives is equal bit for bit to the same floats made from the reference's sums.
#include "llm-runtime/offload/npu_projector.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../graph/tiny_models.hpp"
#include "llm-runtime/cpu_projector.hpp"
#include "npu_cases.hpp"
#include "regdb/error.hpp"

namespace npu::llm {
namespace {

TEST(ProductHeights, HoldEveryNumberOfRowsWithFewPaddedOnes) {
  const auto heights = product_heights(256);
  EXPECT_THAT(heights, testing::ElementsAre(4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256));
  for (std::uint32_t m = 16; m <= 256; ++m) {
    EXPECT_LE(*std::ranges::lower_bound(heights, m), m + m / 2);
  }
  EXPECT_THAT(product_heights(4), testing::ElementsAre(4));
  EXPECT_THAT(product_heights(20), testing::ElementsAre(4, 8, 12, 16, 20));
}

TEST(NpuProjector, EveryGroupEqualsTheIntegerReference) {
  const Model model = tiny("Q4_K_M");
  cpu::ThreadPool pool(2);
  const auto check = [&](std::size_t cores, const QuantisationOptions& options,
                         std::initializer_list<std::uint32_t> heights) {
    const Npu npu(cores);
    NpuProjector projector(model, pool, npu.pointers, nullptr,
                           {.quantisation = options, .most_rows = 16});
    std::uint32_t seed = 1;
    for (const Group group : kGroups) {
      for (const std::uint32_t m : heights) {
        const std::uint32_t layer = group == Group::output ? 0 : seed % 2;
        const auto x = random_rows(m * group_columns(model.shape(), group), ++seed);
        ASSERT_EQ(project(projector, model, group, layer, x, m),
                  reference(model, group, layer, x, m, options, pool))
            << to_string(group) << " of " << m << " rows, " << to_text(options);
      }
    }
  };
  check(1, {}, {1, 16, 21});  // 21: in two turns
  check(3, {}, {5});
  check(3, {.part = 128}, {6});
  check(2, kPlainQuantisation, {3});
  check(3, {.part = 96, .equalise = false}, {2});
  check(1, {.part = 160, .wide = true}, {1, 9});  // 18 rows: in two turns
}

TEST(NpuProjector, OneSubmitPerCoreForAFusedGroup) {
  const Model model = tiny("Q4_K_M");
  cpu::ThreadPool pool(1);
  const Npu npu(3);
  NpuProjector projector(model, pool, npu.pointers, nullptr, {.most_rows = 32});
  const auto x = random_rows(16 * 256, 1);
  project(projector, model, Group::qkv, 0, x, 16);
  const OffloadStats& stats = projector.stats();
  EXPECT_EQ(stats.calls, 1u);
  EXPECT_EQ(stats.products, 1u);
  EXPECT_LE(stats.submits, 3u);
  EXPECT_GT(stats.device.count(), 0);
  EXPECT_EQ(stats.macs, 16u * 512 * 256);
}

TEST(NpuProjector, ThePlanLeavesTheRestToTheCpu) {
  const Model model = tiny("Q4_K_M");
  cpu::ThreadPool pool(1);
  const Npu npu(1);
  CpuProjector cpu(model, pool, false);
  OffloadOptions options{.most_rows = 32};
  options.plan.from_rows = {8, OffloadPlan::kNever, 1, 1, OffloadPlan::kNever};
  NpuProjector projector(model, pool, npu.pointers, &cpu, options);
  const auto x = random_rows(8 * 256, 2);
  EXPECT_EQ(project(projector, model, Group::qkv, 1, x, 7),
            project(cpu, model, Group::qkv, 1, x, 7));
  EXPECT_EQ(project(projector, model, Group::o, 1, x, 8), project(cpu, model, Group::o, 1, x, 8));
  EXPECT_EQ(projector.stats().calls, 0u);
  EXPECT_NE(project(projector, model, Group::qkv, 1, x, 8),
            project(cpu, model, Group::qkv, 1, x, 8));
  EXPECT_EQ(projector.stats().calls, 1u);
  // Weights that never go there are not packed: qkv, gate, up and down of two layers.
  EXPECT_EQ(projector.weight_bytes(), 2u * (512 * 256 + 3 * 512 * 256));
}

TEST(NpuProjector, RefusesHeightsThatTheChipDoesNotTake) {
  const Model model = tiny("Q4_K_M");
  cpu::ThreadPool pool(1);
  const Npu npu(1);
  for (const std::uint32_t rows : {0u, 2u, 30u, 8192u}) {
    EXPECT_THROW(NpuProjector(model, pool, npu.pointers, nullptr, {.most_rows = rows}), Error)
        << rows;
  }
}

}  // namespace
}  // namespace npu::llm
