// SPDX-License-Identifier: MIT
#include "llm-runtime/cpu/ops.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "llm-runtime/half.hpp"
#include "regdb/error.hpp"
#include "tests/llm-runtime/cpu/weights.hpp"

namespace npu::llm::cpu {
namespace {

using test::random_activations;
constexpr std::size_t kLengths[] = {1, 7, 16, 33, 896, 1537};

TEST(Ops, RmsNorm) {
  ThreadPool pool(2);
  for (const std::size_t n : kLengths) {
    const std::size_t m = 5, stride = n + 3;
    const auto x = random_activations(m * stride, 1), weight = random_activations(n, 2);
    std::vector<float> out(m * n);
    rms_norm(pool, x.data(), stride, weight.data(), 1e-6F, m, n, out.data(), n);
    for (std::size_t i = 0; i < m; ++i) {
      double sum = 0;
      for (std::size_t k = 0; k < n; ++k) sum += double{x[i * stride + k]} * x[i * stride + k];
      const double scale = 1 / std::sqrt(sum / static_cast<double>(n) + 1e-6);
      for (std::size_t k = 0; k < n; ++k) {
        const double expected = x[i * stride + k] * scale * weight[k];
        ASSERT_NEAR(out[i * n + k], expected, 1e-6 * (1 + std::abs(expected))) << n;
      }
    }
  }
}

TEST(Ops, RopeTurnsPairsThatLieHalfAHeadApart) {
  ThreadPool pool(2);
  for (const std::size_t head : {8U, 64U, 128U}) {
    const RopeTable table(40, head, 1e6);
    const std::size_t heads = 3, stride = heads * head + 1;
    const std::uint32_t positions[] = {0, 39, 5, 5};
    const auto before = random_activations(4 * stride, 3);
    auto x = before;
    rope_neox(pool, table, positions, heads, x.data(), stride);
    for (std::size_t i = 0; i < 4; ++i)
      for (std::size_t h = 0; h < heads; ++h)
        for (std::size_t k = 0; k < head / 2; ++k) {
          const double angle = positions[i] * std::pow(1e6, -2.0 * static_cast<double>(k) /
                                                                static_cast<double>(head));
          const std::size_t a = i * stride + h * head + k, b = a + head / 2;
          ASSERT_NEAR(x[a], before[a] * std::cos(angle) - before[b] * std::sin(angle), 2e-6);
          ASSERT_NEAR(x[b], before[a] * std::sin(angle) + before[b] * std::cos(angle), 2e-6);
        }
    const std::uint32_t beyond[] = {40};
    EXPECT_THROW(rope_neox(pool, table, beyond, heads, x.data(), stride), Error);
  }
  EXPECT_THROW(RopeTable(1, 7, 1e6), Error);
}

TEST(Ops, SiluTimesUp) {
  ThreadPool pool(2);
  for (const std::size_t n : {1U, 17U, 40000U}) {
    auto gate = random_activations(n, 4, true);
    const auto up = random_activations(n, 5);
    gate[0] = -200;  // exp overflows
    std::vector<float> out(n);
    silu_mul(pool, gate.data(), up.data(), out.data(), n);
    for (std::size_t i = 0; i < n; ++i) {
      const double expected = gate[i] / (1 + std::exp(-double{gate[i]})) * up[i];
      ASSERT_NEAR(out[i], expected, 1e-6 * std::abs(expected) + 1e-7) << i;
    }
  }
}

TEST(Ops, Add) {
  ThreadPool pool(2);
  const auto x = random_activations(100003, 6), y = random_activations(100003, 7);
  auto out = y;
  add(pool, x.data(), out.data(), out.size());
  for (std::size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i], x[i] + y[i]);
}

TEST(Ops, Softmax) {
  for (const std::size_t n : kLengths) {
    auto x = random_activations(n, 8, true);
    const auto before = x;
    softmax(x.data(), n, 2.0F);
    double sum = 0, largest = -1e30;
    for (const float value : before) largest = std::max(largest, double{value});
    for (const float value : before) sum += std::exp(2 * (value - largest));
    for (std::size_t i = 0; i < n; ++i)
      ASSERT_NEAR(x[i], std::exp(2 * (before[i] - largest)) / sum, 2e-6);
  }
}

TEST(Ops, HalvesAreRoundedToTheNearest) {
  std::vector<std::uint16_t> halves(65536);
  for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<std::uint16_t>(i);
  std::vector<float> floats(halves.size());
  to_f32(halves.data(), floats.data(), floats.size());
  std::vector<std::uint16_t> back(halves.size());
  to_f16(floats.data(), back.data(), back.size());
  for (std::size_t i = 0; i < halves.size(); ++i) {
    const std::uint32_t exponent = i >> 10 & 31, fraction = i & 1023;
    const double magnitude = exponent == 0
                                 ? std::ldexp(fraction, -24)
                                 : std::ldexp(1024 + fraction, static_cast<int>(exponent) - 25);
    if (exponent == 31) {
      EXPECT_EQ(std::isnan(floats[i]), fraction != 0);
      if (fraction != 0) continue;
    } else {
      ASSERT_EQ(floats[i], i < 32768 ? magnitude : -magnitude);
    }
    ASSERT_EQ(back[i], halves[i]);
  }
  // Halfway between neighbours: to the even one. Just beside: to the nearer one.
  for (std::uint16_t i = 0; i < 0x7BFF; ++i) {
    const float middle = (floats[i] + floats[i + 1]) / 2;
    const float three[] = {middle, std::nextafter(middle, 0.0F), std::nextafter(middle, 1e9F)};
    std::uint16_t out[3];
    to_f16(three, out, 3);
    ASSERT_EQ(out[0], i % 2 == 0 ? i : i + 1);
    ASSERT_EQ(out[1], i);
    ASSERT_EQ(out[2], i + 1);
  }
}

TEST(Ops, ArgmaxIsTheFirstOfTheLargest) {
  for (const std::size_t n : {1U, 5U, 100U, 151936U})
    for (const std::size_t at : {std::size_t{0}, n / 3, n - 1}) {
      std::vector<float> x(n, -3.0F);
      x[at] = x[n - 1] = 1;
      EXPECT_EQ(argmax(x.data(), n), at);
      if (at != 0) x[0] = std::numeric_limits<float>::quiet_NaN();
      EXPECT_EQ(argmax(x.data(), n), at);
    }
}

}  // namespace
}  // namespace npu::llm::cpu
