// SPDX-License-Identifier: MIT
// The stated errors of the activation functions, on every fp16 of their range.
#include "microkernels/activation.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "gemm_cases.hpp"
#include "microkernels/flying_task.hpp"
#include "npu-sim/float_types.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

double exact(Activation f, double x) {
  switch (f) {
    case Activation::relu: return std::max(x, 0.0);
    case Activation::relu6: return std::clamp(x, 0.0, 6.0);
    case Activation::sigmoid: return 1 / (1 + std::exp(-x));
    case Activation::hard_sigmoid: return std::clamp(x / 6 + 0.5, 0.0, 1.0);
    case Activation::tanh: return std::tanh(x);
    case Activation::exp: return std::exp(x);
    case Activation::silu: return x / (1 + std::exp(-x));
    case Activation::gelu: return x * 0.5 * (1 + std::erf(x / std::sqrt(2.0)));
  }
  return 0;
}

// Every fp16 in [low, high].
std::vector<std::uint16_t> range(double low, double high) {
  std::vector<std::uint16_t> values;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const double x = sim::fp16_to_float(static_cast<std::uint16_t>(bits));
    if (x >= low && x <= high) values.push_back(static_cast<std::uint16_t>(bits));
  }
  return values;
}

double worst(Activation f, double low, double high, double* where = nullptr) {
  const Cores cores(2);
  const auto x = range(low, high);
  std::vector<std::uint16_t> y(x.size());
  ActivationF16(cores.first(2), f, x.size()).run(x, y);
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double v = sim::fp16_to_float(x[i]);
    const double error = std::abs(sim::fp16_to_float(y[i]) - exact(f, v));
    if (!(error <= worst)) {
      worst = error;
      if (where != nullptr) *where = v;
    }
  }
  return worst;
}

TEST(ActivationF16, ErrorsAreNotLargerThanStated) {
  const struct {
    Activation function;
    double low, high, error;
  } cases[] = {
      {Activation::relu, -65504, 65504, 0},      {Activation::relu6, -65504, 65504, 0},
      {Activation::sigmoid, -10, 10, 0.0004},    {Activation::hard_sigmoid, -10, 10, 0.001},
      {Activation::tanh, -65504, 65504, 0.0005}, {Activation::exp, -16, 0, 0.0009},
      {Activation::silu, -10, 10, 0.006},        {Activation::gelu, -10, 10, 0.002},
  };
  for (const auto& c : cases) {
    double where = 0;
    const double error = worst(c.function, c.low, c.high, &where);
    EXPECT_LE(error, c.error) << to_string(c.function) << " at " << where;
    RecordProperty(std::string(to_string(c.function)), std::to_string(error));
  }
}

TEST(ActivationF16, LongVectorsAreCutAndEndWhereTheyShould) {
  const Cores cores(3);
  const std::size_t n = std::size_t{kMaxFlyingAtoms} * 8 * 3 + 13;
  std::mt19937 random(3);
  std::vector<std::uint16_t> x(n), y(n), alone(1);
  for (auto& value : x)
    value = sim::float_to_fp16(static_cast<float>(random() % 2001) / 100.0f - 10.0f);
  RunStats stats;
  ActivationF16(cores.first(3), Activation::silu, n).run(x, y, &stats);
  EXPECT_GE(stats.tasks, 8u);
  ActivationF16 one(cores.first(1), Activation::silu, 1);
  for (std::size_t i = 0; i < n; i += 997) {
    one.run(std::span(x).subspan(i, 1), alone);
    ASSERT_EQ(y[i], alone[0]) << i;
  }
}

TEST(ActivationF16, MisuseIsRefused) {
  const Cores cores(1);
  EXPECT_THROW(ActivationF16(cores.first(1), Activation::relu, 0), Error);
  EXPECT_THROW(ActivationF16({}, Activation::relu, 4), Error);
  ActivationF16 relu(cores.first(1), Activation::relu, 4);
  std::vector<std::uint16_t> four(4), three(3);
  EXPECT_THROW(relu.run(four, three), Error);
}

}  // namespace
}  // namespace npu::kernels
