// SPDX-License-Identifier: MIT
// Stand-alone pools and DPU programs without a MAC array against plain loops.
#include <gtest/gtest.h>

#include "pool_spec.hpp"

namespace npu::sim::property {
namespace {

TEST(PoolingProperty, EqualsThePlainLoops) {
  Chip chip;
  for_each_case(300, [&](Draw& draw) {
    Arena arena(draw);
    const PoolSpec spec = draw_pool(draw, arena);
    return mismatch(chip, arena, {.tasks = {pool_task(arena, spec)}});
  });
}

void expect_flying(std::uint32_t type, bool lut, int cases) {
  Chip chip;
  for_each_case(cases, [&](Draw& draw) {
    Arena arena(draw);
    const FlyingSpec spec = draw_flying(draw, arena, type, lut);
    return mismatch(chip, arena, {.tasks = {flying_task(arena, spec)}});
  });
}

TEST(ElementwiseProperty, Int8EqualsThePlainLoops) { expect_flying(kInt8, false, 150); }
TEST(ElementwiseProperty, Int16EqualsThePlainLoops) { expect_flying(kInt16, false, 150); }
TEST(ElementwiseProperty, Int32EqualsThePlainLoops) { expect_flying(kInt32, false, 150); }
TEST(ElementwiseProperty, Fp16EqualsThePlainLoops) { expect_flying(kFp16, false, 300); }
TEST(TableProperty, InterpolatesAndExtrapolatesAsThePlainRule) { expect_flying(kFp16, true, 100); }

}  // namespace
}  // namespace npu::sim::property
