// SPDX-License-Identifier: MIT
#include "microkernels/requant.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

TEST(Requant, WorkedExamplesOfTheHardwareDocument) {  // compute.md 5.7 b
  struct {
    float multiplier;
    int scale, shift;
  } const cases[] = {
      {0.0123f, 25795, 21}, {0.3f, 19661, 16}, {0.02f, 20972, 20}, {0.0008f, 26844, 25}};
  for (const auto& c : cases) {
    const Requant r = requant_from_float(c.multiplier);
    EXPECT_EQ(r.scale, c.scale) << c.multiplier;
    EXPECT_EQ(r.shift, c.shift) << c.multiplier;
  }
  EXPECT_EQ(requantise(5000, requant_from_float(0.0123f, 3 - 128)), -63);
}

TEST(Requant, FactorIsKeptToFifteenBits) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> exponent(-48.9f, 14.9f);
  for (int i = 0; i < 100000; ++i) {
    const float multiplier = std::exp2(exponent(random));
    const Requant r = requant_from_float(multiplier);
    ASSERT_GE(r.scale, 0x4000);
    ASSERT_LE(r.shift, 63);
    const double value = std::ldexp(static_cast<double>(r.scale), -r.shift);
    ASSERT_GT(value, static_cast<double>(multiplier));  // Mesa's + 1 always rounds up
    ASSERT_LE(value, static_cast<double>(multiplier) * (1 + std::ldexp(1.0, -14)));
  }
}

TEST(Requant, CarryOutOfTheMantissaGoesToTheShift) {
  for (int e = -20; e <= 5; ++e) {
    const float below = std::nextafterf(std::ldexp(1.0f, e), 0.0f);  // mantissa of ones
    const Requant r = requant_from_float(below);
    EXPECT_EQ(r.scale, 0x4000);
    EXPECT_EQ(std::ldexp(static_cast<double>(r.scale), -r.shift), std::ldexp(1.0, e));
  }
}

TEST(Requant, FactorsThatCannotBeExpressedAreRefused) {
  for (const float bad : {0.0f, -0.5f, 32768.0f, std::ldexp(1.0f, -50), INFINITY, NAN,
                          std::nextafterf(32768.0f, 0.0f)}) {
    EXPECT_THROW(requant_from_float(bad), Error) << bad;
  }
  EXPECT_NO_THROW(requant_from_float(std::ldexp(1.0f, -49)));
  EXPECT_NO_THROW(requant_from_float(32000.0f));
}

TEST(Requant, TiesGoToEven) {
  const Requant half{1, 1, 0};
  EXPECT_EQ(requantise(3, half), 2);
  EXPECT_EQ(requantise(5, half), 2);
  EXPECT_EQ(requantise(-3, half), -2);
  EXPECT_EQ(requantise(-5, half), -2);
  EXPECT_EQ(requantise(-1, half), 0);
  EXPECT_EQ(requantise(3, Requant{1, 2, 0}), 1);
  EXPECT_EQ(requantise(-3, Requant{1, 2, 0}), -1);
}

TEST(Requant, NearestIntegerThenOffsetThenSaturation) {
  std::mt19937 random(2);
  for (int i = 0; i < 100000; ++i) {
    const std::int32_t sum = static_cast<std::int32_t>(random());
    const Requant r{static_cast<std::int16_t>(random()), static_cast<std::uint8_t>(random() % 40),
                    static_cast<std::int32_t>(random() % 400) - 200};
    // 47 bits of product divided by a power of two are exact in a double; nearbyint ties to even.
    const double exact = std::ldexp(static_cast<double>(sum) * r.scale, -r.shift);
    const double want = std::min(127.0, std::max(-128.0, std::nearbyint(exact) + r.offset));
    ASSERT_EQ(requantise(sum, r), static_cast<int>(want))
        << sum << " * " << r.scale << " >> " << int{r.shift} << " + " << r.offset;
  }
}

TEST(Requant, ExtremesSaturate) {
  EXPECT_EQ(requantise(INT32_MAX, {INT16_MAX, 0, INT32_MAX}), 127);
  EXPECT_EQ(requantise(INT32_MIN, {INT16_MAX, 0, INT32_MIN}), -128);
  EXPECT_EQ(requantise(INT32_MIN, {INT16_MIN, 63, 0}), 0);
}

}  // namespace
}  // namespace npu::kernels
