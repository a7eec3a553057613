// SPDX-License-Identifier: MIT
// Plans, programs and packers together: the simulated NPU equals the reference bit for bit.
#include <gmock/gmock.h>

#include "gemm_cases.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

TEST(GemmSim, RandomSmallShapesEqualTheReference) {
  const Cores cores(1);
  std::mt19937 random(31);
  for (std::uint32_t round = 0; round < 40; ++round) {
    const GemmShape shape{pick(random, 1, 70), pick(random, 1, 140), pick(random, 1, 200)};
    SCOPED_TRACE(describe(shape));
    GemmCase test(shape, round);
    ASSERT_TRUE(test.sums_equal(cores.first(1)));
    ASSERT_TRUE(test.requantised_equal(cores.first(1), round % 4 != 0));
  }
}

TEST(GemmSim, EverySmallHeightEqualsTheReference) {
  const Cores cores(1);
  for (std::uint32_t m = 1; m <= 40; ++m) {
    GemmCase test({m, 34, 65}, m);
    ASSERT_TRUE(test.sums_equal(cores.first(1))) << "m " << m;
    ASSERT_TRUE(test.requantised_equal(cores.first(1))) << "m " << m;
  }
}

TEST(GemmSim, ShapesCutAlongEachAxisEqualTheReference) {
  const Cores cores(1);
  for (const GemmShape shape : {GemmShape{1100, 33, 40},  // more rows than FEATURE_GRAINS allows
                                {9, 4200, 40},            // more columns than one task takes
                                {200, 40, 2100},          // more features than CBUF holds
                                {5, 40, 10000}}) {        // K is sliced
    SCOPED_TRACE(describe(shape));
    GemmCase test(shape, 7);
    GemmStats stats;
    ASSERT_TRUE(test.sums_equal(cores.first(1), &stats));
    EXPECT_GT(stats.run.tasks, 1u);
    ASSERT_TRUE(test.requantised_equal(cores.first(1)));
  }
}

TEST(GemmSim, NumberOfCoresDoesNotChangeTheResult) {
  const Cores cores(3);
  for (const GemmShape shape :
       {GemmShape{33, 200, 100}, {130, 20, 64}, {1, 70, 40}, {3, 5, 9500}}) {
    for (std::size_t count = 1; count <= 3; ++count) {
      SCOPED_TRACE(testing::Message() << describe(shape) << ", " << count << " cores");
      GemmCase test(shape, 5);
      ASSERT_TRUE(test.sums_equal(cores.first(count)));
      ASSERT_TRUE(test.requantised_equal(cores.first(count)));
    }
  }
}

TEST(GemmSim, IdentityWeightsGiveTheFeaturesBack) {
  const Cores cores(1);
  constexpr std::uint32_t size = 100, rows = 21;
  std::mt19937 random(3);
  const auto a = random_i8(rows * size, random);
  std::vector<std::int8_t> b(size * size, 0), c(a.size());
  for (std::uint32_t i = 0; i < size; ++i) b[i * size + i] = 1;
  std::vector<std::int32_t> sums(a.size());
  gemm_i8i32(*cores.devices[0], {rows, size, size}, a, b, sums);
  EXPECT_TRUE(std::equal(sums.begin(), sums.end(), a.begin()));
  gemm_i8i8(*cores.devices[0], {rows, size, size}, {1, 0, 0}, {}, a, b, c);
  EXPECT_TRUE(same(c, a, size));
}

TEST(GemmSim, SumOfWeightsGivesSumOfProducts) {
  const Cores cores(1);
  const GemmShape shape{17, 40, 90};
  std::mt19937 random(4);
  const auto a = random_i8(17 * 90, random);
  std::vector<std::int8_t> b1(40 * 90), b2(b1.size()), b12(b1.size());
  for (std::size_t i = 0; i < b1.size(); ++i) {
    b1[i] = static_cast<std::int8_t>(static_cast<int>(random() % 128) - 64);
    b2[i] = static_cast<std::int8_t>(static_cast<int>(random() % 127) - 63);
    b12[i] = static_cast<std::int8_t>(b1[i] + b2[i]);
  }
  std::vector<std::int32_t> c1(17 * 40), c2(c1.size()), c12(c1.size());
  gemm_i8i32(*cores.devices[0], shape, a, b1, c1);
  gemm_i8i32(*cores.devices[0], shape, a, b2, c2);
  gemm_i8i32(*cores.devices[0], shape, a, b12, c12);
  for (std::size_t i = 0; i < c1.size(); ++i) ASSERT_EQ(c1[i] + c2[i], c12[i]);
}

TEST(GemmSim, ExtremeValuesDoNotOverflow) {
  const Cores cores(1);
  for (const std::int8_t value : {std::int8_t{-128}, std::int8_t{127}}) {
    const std::vector<std::int8_t> a(3 * 9000, value), b(2 * 9000, -128);
    std::vector<std::int32_t> c(6);
    gemm_i8i32(*cores.devices[0], {3, 2, 9000}, a, b, c);
    EXPECT_THAT(c, testing::Each(9000 * -128 * value));
    const std::vector<std::int32_t> bias{INT32_MAX, INT32_MIN};
    std::vector<std::int8_t> q(6), want(6);
    for (const std::uint32_t k : {9000u, 64u}) {  // requantised on the host and on the NPU
      const Requant requant{0x4000, 38, 0};
      const std::span<const std::int8_t> ak(a.data(), 3 * k), bk(b.data(), 2 * k);
      ref_gemm_i8i8({3, 2, k}, requant, bias, ak, bk, want);
      gemm_i8i8(*cores.devices[0], {3, 2, k}, requant, bias, ak, bk, q);
      EXPECT_TRUE(same(q, want, 2)) << "k " << k;
    }
  }
}

TEST(GemmSim, TiesRoundToEvenOnTheNpuToo) {
  const Cores cores(1);
  std::vector<std::int8_t> a(101), b(1, 1), c(101), want(101);
  for (int i = 0; i < 101; ++i) a[static_cast<std::size_t>(i)] = static_cast<std::int8_t>(i - 50);
  for (const std::int16_t scale : {std::int16_t{1}, std::int16_t{3}, std::int16_t{-1}}) {
    const Requant requant{scale, 1, 0};
    ref_gemm_i8i8({101, 1, 1}, requant, {}, a, b, want);
    gemm_i8i8(*cores.devices[0], {101, 1, 1}, requant, {}, a, b, c);
    EXPECT_TRUE(same(c, want, 1)) << "scale " << scale;
  }
}

TEST(GemmSim, ConstantOutputEqualToAMarkIsAccepted) {
  // All results are 0x5A, the first mark that the executor looks for.
  const Cores cores(1);
  const std::vector<std::int8_t> a(8 * 32, 0), b(32 * 32, 0);
  for (const std::int32_t value : {0x5A, -0x5B}) {
    std::vector<std::int8_t> c(8 * 32, 0);
    gemm_i8i8(*cores.devices[0], {8, 32, 32}, {1, 0, value}, {}, a, b, c);
    EXPECT_THAT(c, testing::Each(value));
  }
}

TEST(GemmSim, WeightsArePackedOnceForManyRuns) {
  const Cores cores(2);
  const GemmShape shape{20, 96, 300};
  Gemm gemm(cores.first(2), shape, {DataType::i8, DataType::i32});
  for (std::uint32_t seed = 0; seed < 3; ++seed) {
    GemmCase test(shape, 40 + seed);
    gemm.set_weights(test.b);
    for (int run = 0; run < 3; ++run) {
      std::vector<std::int32_t> c(test.sums.size()), want(test.sums.size());
      const auto a = random_i8(test.a.size(), test.random);
      ref_gemm_i8i32(shape, a, test.b, want);
      GemmStats stats;
      gemm.run(a, c, &stats);
      ASSERT_TRUE(same(c, want, shape.n));
      EXPECT_EQ(stats.cores, 2u);
      EXPECT_EQ(stats.macs, 20u * 96u * 300u);
      EXPECT_GE(stats.run.jobs, 2u);
      EXPECT_GE(stats.run.tasks, stats.run.jobs);
      EXPECT_GT(stats.run.regcmd_words, 100u);
      EXPECT_GT(stats.run.wait.count() + stats.run.submit.count(), 0);
    }
  }
}

// A K of 120000 comes in slices that the host adds, and then scales by the same arithmetic.
TEST(GemmSim, ScalesByColumnEqualTheReference) {
  const Cores cores(3);
  std::mt19937 random(17);
  for (const GemmShape& shape :
       {GemmShape{5, 70, 200}, {33, 3, 31}, {1, 40, 64}, {70, 130, 96}, {3, 2, 120000}}) {
    std::vector<std::int8_t> a(std::size_t{shape.m} * shape.k), b(std::size_t{shape.n} * shape.k);
    for (auto* matrix : {&a, &b})
      for (std::int8_t& value : *matrix) value = static_cast<std::int8_t>(random());
    std::vector<std::int32_t> bias(shape.n), sums(std::size_t{shape.m} * shape.n);
    ChannelScales channels{.multipliers = {}, .shift = 15};
    for (std::int32_t& value : bias) {
      value = static_cast<std::int32_t>(random() % 20001) - 10000;
      channels.multipliers.push_back(static_cast<std::int16_t>(random()));
    }
    const Requant requant{20000, shape.k > 1000 ? std::uint8_t{25} : std::uint8_t{23}, -3};
    Gemm gemm(cores.first(3), shape, {DataType::i8, DataType::i8});
    gemm.set_weights(b);
    std::vector<std::int8_t> c(sums.size()), want(c.size());
    ref_gemm_i8i32(shape, a, b, sums);
    for (const bool scaled : {true, false, true}) {
      const ChannelScales chosen = scaled ? channels : ChannelScales{};
      gemm.set_requant(requant, bias, chosen);
      gemm.run(a, c);
      ref_requantise(shape, requant, bias, sums, want, chosen);
      ASSERT_EQ(c, want) << shape.m << " " << shape.n << " " << shape.k;
    }
    channels.multipliers.pop_back();
    EXPECT_THROW(gemm.set_requant(requant, bias, channels), Error);
  }
}

TEST(GemmSim, RequantisationCanChangeBetweenRuns) {
  const Cores cores(1);
  const GemmShape shape{6, 40, 50};
  GemmCase test(shape, 50);
  Gemm gemm(cores.first(1), shape, {DataType::i8, DataType::i8});
  gemm.set_weights(test.b);
  for (const Requant& requant : {Requant{1, 8, 0}, Requant{20000, 25, -7}, Requant{-9, 12, 100}}) {
    std::vector<std::int8_t> c(test.sums.size()), want(c.size());
    ref_requantise(shape, requant, {}, test.sums, want);
    gemm.set_requant(requant);
    gemm.run(test.a, c);
    EXPECT_TRUE(same(c, want, shape.n));
  }
}

TEST(GemmSim, MisuseIsRefused) {
  const Cores cores(1);
  const GemmShape shape{2, 3, 4};
  std::vector<std::int8_t> a(8), b(12), q(6);
  std::vector<std::int32_t> c(6);
  EXPECT_THROW(Gemm({}, shape, GemmTypes{}), Error);
  Gemm sums(cores.first(1), shape, {DataType::i8, DataType::i32});
  EXPECT_THROW(sums.run(a, c), Error);  // no weights
  EXPECT_THROW(sums.set_weights(a), Error);
  EXPECT_THROW(sums.set_requant({}), Error);
  sums.set_weights(b);
  EXPECT_THROW(sums.run(a, q), Error);  // wrong type
  EXPECT_THROW(sums.run(b, c), Error);
  EXPECT_NO_THROW(sums.run(a, c));
  Gemm bytes(cores.first(1), shape, {DataType::i8, DataType::i8});
  bytes.set_weights(b);
  EXPECT_THROW(bytes.run(a, q), Error);  // no requantisation
  EXPECT_THROW(bytes.set_requant({1, 64, 0}), Error);
  EXPECT_THROW(bytes.set_requant({}, std::vector<std::int32_t>(2)), Error);
  bytes.set_requant({});
  EXPECT_NO_THROW(bytes.run(a, q));
}

}  // namespace
}  // namespace npu::kernels
