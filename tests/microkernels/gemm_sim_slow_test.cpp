// SPDX-License-Identifier: MIT
// Large products on the simulated NPU, bit for bit.
#include <sstream>

#include "gemm_cases.hpp"

namespace npu::kernels {
namespace {

class GemmLarge : public testing::TestWithParam<GemmShape> {};

TEST_P(GemmLarge, EqualsTheReferenceOnOneAndOnThreeCores) {
  const Cores cores(3);
  GemmCase test(GetParam(), 99);
  EXPECT_TRUE(test.sums_equal(cores.first(1)));
  EXPECT_TRUE(test.sums_equal(cores.first(3)));
  EXPECT_TRUE(test.requantised_equal(cores.first(1)));
  EXPECT_TRUE(test.requantised_equal(cores.first(3)));
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, GemmLarge,
    testing::Values(GemmShape{1, 4096, 4096}, GemmShape{4096, 1, 4096}, GemmShape{4096, 4096, 1},
                    GemmShape{4096, 4096, 32}, GemmShape{4096, 64, 4096}, GemmShape{512, 512, 512},
                    GemmShape{33, 65, 20000}, GemmShape{3, 7, kMaxGemmK}, GemmShape{1, 1, 4096},
                    GemmShape{1, 9001, 333}, GemmShape{7001, 3, 77}, GemmShape{1023, 1025, 1021},
                    GemmShape{128, 4864, 896}, GemmShape{57, 896, 4864}),
    [](const testing::TestParamInfo<GemmShape>& param) {
      std::ostringstream name;
      name << "m" << param.param.m << "_n" << param.param.n << "_k" << param.param.k;
      return name.str();
    });

TEST(GemmLargeRandom, ShapesUpToAThousandEqualTheReference) {
  const Cores cores(3);
  std::mt19937 random(71);
  for (std::uint32_t round = 0; round < 40; ++round) {
    const GemmShape shape{pick(random, 1, 1000), pick(random, 1, 1000), pick(random, 1, 1500)};
    SCOPED_TRACE(describe(shape));
    GemmCase test(shape, round);
    const std::size_t count = pick(random, 1, 3);
    ASSERT_TRUE(test.sums_equal(cores.first(count)));
    ASSERT_TRUE(test.requantised_equal(cores.first(count)));
  }
}

TEST(GemmLargeRandom, ManySmallShapesEqualTheReference) {
  const Cores cores(3);
  std::mt19937 random(72);
  for (std::uint32_t round = 0; round < 500; ++round) {
    const GemmShape shape{pick(random, 1, 100), pick(random, 1, 300), pick(random, 1, 500)};
    SCOPED_TRACE(describe(shape));
    GemmCase test(shape, round);
    const std::size_t count = pick(random, 1, 3);
    ASSERT_TRUE(test.sums_equal(cores.first(count)));
    ASSERT_TRUE(test.requantised_equal(cores.first(count)));
  }
}

}  // namespace
}  // namespace npu::kernels
