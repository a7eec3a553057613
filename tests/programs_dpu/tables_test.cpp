// SPDX-License-Identifier: MIT
// The gates that table programs pass on boards, with their tolerances, and the faults that boards
// show, at the inputs where they show them [userspace tests activation_lut, lut_tanh, exp_lut,
// leaky_relu, elu, softplus_mish, recip_rsqrt, x0 probe; notes dpu-lut-activation, HW].
#include "tables.hpp"

#include <gtest/gtest.h>

#include <random>

namespace npu::sim::programs {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double hard_sigmoid(double x) { return std::clamp(x / 6 + 0.5, 0.0, 1.0); }
double silu(double x) { return x * sigmoid(x); }
double softplus(double x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }
double gelu_gate(double x) { return 0.5 * (1 + std::erf(x / std::sqrt(2.0))); }
double mish_gate(double x) { return std::tanh(softplus(x)); }
double elu(double x) { return x >= 0 ? x : std::exp(x) - 1; }

Halves even_steps(double x0, double x1, std::size_t n) {
  Halves x(n);
  for (std::size_t i = 0; i < n; ++i)
    x[i] = half(x0 + (x1 - x0) * static_cast<double>(i) / static_cast<double>(n - 1));
  return x;
}

Halves log_steps(double x0, double x1, std::size_t n) {
  Halves x(n);
  for (std::size_t i = 0; i < n; ++i)
    x[i] = half(x0 * std::pow(x1 / x0, static_cast<double>(i) / static_cast<double>(n - 1)));
  return x;
}

class Table : public ::testing::Test {
 protected:
  double worst(const Tables& t, const Halves& x, const Function& want) {
    const Halves y = apply(board, t, x);
    EXPECT_EQ(y.size(), x.size()) << board.message();
    double error = y.size() == x.size() ? 0 : INFINITY;
    for (std::size_t i = 0; i < y.size(); ++i)
      error = std::max(error, std::abs(number(y[i]) - want(number(x[i]))));
    return error;
  }
  double worst_relative(const Tables& t, const Halves& x, const Function& want, double least = 0) {
    const Halves y = apply(board, t, x);
    EXPECT_EQ(y.size(), x.size()) << board.message();
    double error = y.size() == x.size() ? 0 : INFINITY;
    for (std::size_t i = 0; i < y.size(); ++i)
      if (const double w = want(number(x[i])); std::abs(w) >= least)
        error = std::max(error, std::abs(number(y[i]) - w) / (std::abs(w) + 1e-9));
    return error;
  }
  Board board;
};

TEST_F(Table, UnitFunctionsStayWithinTheirGates) {
  for (const std::size_t n : {128u, 1024u}) {
    EXPECT_LE(worst(unit_tables(sigmoid), even_steps(-8, 8, n), sigmoid), 0.005);
    EXPECT_LE(worst(unit_tables(hard_sigmoid), even_steps(-8, 8, n), hard_sigmoid), 0.005);
    EXPECT_LE(worst(unit_tables(gelu_gate), even_steps(-12, 12, n), gelu_gate), 0.005);
    EXPECT_LE(worst(unit_tables(mish_gate), even_steps(-10, 10, n), mish_gate), 0.005);
  }
}

TEST_F(Table, GatedActivationsTimesTheirInput) {
  const struct {
    Function gate;
    double reach, tolerance;
  } cases[] = {{sigmoid, 8, 0.03}, {hard_sigmoid, 8, 0.03}, {gelu_gate, 12, 0.03}};
  for (const auto& c : cases) {
    const Halves x = even_steps(-c.reach, c.reach, 1024), g = apply(board, unit_tables(c.gate), x);
    ASSERT_EQ(g.size(), x.size()) << board.message();
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double v = number(x[i]);
      ASSERT_NEAR(number(half(v * number(g[i]))), v * c.gate(v), c.tolerance) << v;
    }
  }
}

TEST_F(Table, SignedOutputsThroughTheConverter) {
  const Function tanh = [](double x) { return std::tanh(x); };
  Tables t = affine_tables(tanh, 5216, -1, 1);
  t.le_underflow_scale = 23107;
  t.le_underflow_shift = 22;
  for (const std::size_t n : {128u, 1024u}) EXPECT_LE(worst(t, even_steps(-10, 10, n), tanh), 0.01);
  EXPECT_LE(worst(affine_tables(silu, 1024, -0.5, 5), even_steps(-8, 8, 1024), silu), 0.02);
  const Function hard_swish = [](double x) { return x * hard_sigmoid(x); };
  EXPECT_LE(worst(affine_tables(hard_swish, 5461, -0.5, 2), even_steps(-3, 3, 1024), hard_swish),
            0.02);
}

TEST_F(Table, ShiftedTablesCoverNegativeInputsToo) {
  const Function exp = [](double x) { return std::exp(x); };
  const Tables t = shifted_tables(exp, -16, 0, 0, 0);
  for (const double low : {-16.0, -12.0}) {
    EXPECT_LE(worst(t, even_steps(low, 0, 1024), exp), 2e-3);
    EXPECT_LE(worst_relative(t, even_steps(low, 0, 1024), exp, std::exp(-4)), 0.01);
  }
  EXPECT_LE(worst(shifted_tables(softplus, -16, 16, 0, 5), even_steps(-16, 16, 2048), softplus),
            3e-2);
  EXPECT_LE(worst_relative(shifted_tables(softplus, -16, 16, 0, 5), even_steps(-16, 16, 2048),
                           softplus, 0.5),
            0.03);
  const Function abs = [](double x) { return std::abs(x); };
  EXPECT_LE(worst(shifted_tables(abs, -16, 16, 0, 5), even_steps(-16, 16, 2048), abs), 1.5e-2);
}

TEST_F(Table, PositiveDomainFunctions) {
  const Function root = [](double x) { return std::sqrt(x); };
  const Function inverse_root = [](double x) { return 1 / std::sqrt(x); };
  const Function inverse = [](double x) { return 1 / x; };
  const Function log = [](double x) { return std::log(x); };
  EXPECT_LE(worst_relative(shifted_tables(root, 0.25, 64, 0, 3), log_steps(0.3, 60, 1024), root),
            0.02);
  EXPECT_LE(worst_relative(shifted_tables(inverse_root, 0.5, 64, 0, 1), log_steps(0.6, 60, 1024),
                           inverse_root),
            0.02);
  EXPECT_LE(
      worst_relative(shifted_tables(inverse, 0.25, 32, 0, 2), log_steps(0.3, 30, 1024), inverse),
      0.03);
  EXPECT_LE(worst(shifted_tables(log, 0.25, 32, std::log(0.25), 3), log_steps(0.3, 30, 1024), log),
            0.03);
}

TEST_F(Table, SoftmaxSumsComeOut) {
  const Tables t = shifted_tables([](double x) { return std::exp(x); }, -16, 0, 0, 0);
  std::mt19937 rng(3);
  for (const double spread : {8.0, 20.0}) {
    std::uniform_real_distribution<double> uniform(-spread, spread);
    Halves x(512);
    for (auto& h : x) h = half(uniform(rng) - spread);
    const Halves y = apply(board, t, x);
    ASSERT_EQ(y.size(), x.size());
    double got = 0, want = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      got += number(y[i]);
      want += std::exp(number(x[i]));
    }
    EXPECT_NEAR(got / want, 1, 0.01);
  }
}

TEST_F(Table, VectorsLongerThanATask) {
  std::mt19937 rng(4);
  std::uniform_real_distribution<double> uniform(-8, 8);
  Halves x(40000);
  for (auto& h : x) h = half(uniform(rng));
  EXPECT_LE(worst(shifted_tables(softplus, -16, 16, 0, 5), x, softplus), 3e-2);
}

TEST_F(Table, SiluWithoutAnOffsetDecodesZeroAsZero) {
  // allbilly's program: signed entries, EW operation bypassed, CVT_TYPE 0, slope above the range.
  constexpr double kScale = 5664.8;
  Tables t;
  for (std::size_t i = 0; i <= 512; ++i) {
    const double x = static_cast<double>(i) * 32 / 2824;
    t.le[512 - i] = static_cast<std::int32_t>(std::lround(silu(-x) * kScale));
    t.lo[i] = static_cast<std::int32_t>(std::clamp(std::lround(silu(x) * kScale), -32768L, 32767L));
  }
  t.bn_mul = 0x6984;
  t.add_first = false;
  t.ew_cfg = 0x302;
  t.lo_overflow_scale = 16434;
  t.lo_overflow_shift = 13;
  Halves x;
  for (const double v : {-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0}) x.push_back(half(v));
  const Halves y = apply(board, t, x);
  ASSERT_EQ(y.size(), 8u) << board.message();
  for (std::size_t i = 0; i < 8; ++i)
    EXPECT_NEAR(number(y[i]) / kScale, silu(number(x[i])), 0.01) << number(x[i]);
  EXPECT_EQ(y[4], 0);
}

// What a sum of zero in front of the converter does: 2^17 before MINUS_EXP.
std::size_t count_of(const Halves& y, double value) {
  std::size_t n = 0;
  for (const std::uint16_t h : y) n += number(h) == value;
  return n;
}

TEST_F(Table, ZeroEntriesDecodeAsOnTheBoard) {
  const Function exp = [](double x) { return std::exp(x); };
  const Halves x = even_steps(-16, 0, 1024),
               y = apply(board, shifted_tables(exp, -16, 0, 0, 0, 0), x);
  ASSERT_EQ(y.size(), x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double v = number(x[i]);
    if (v <= -11.2) {
      EXPECT_EQ(number(y[i]), 4) << v;
    }
    if (v >= -10) {
      EXPECT_LT(std::abs(number(y[i]) - std::exp(v)), 2e-3) << v;
    }
  }
}

TEST_F(Table, LeakyReluSpikesOnceInTheBoardsScan) {
  const Function leaky = [](double x) { return x >= 0 ? x : 0.1 * x; };
  const Tables t = affine_tables(leaky, 1024, -1.6, 5);
  const Halves x = even_steps(-16, 16, 16385), y = apply(board, t, x);
  ASSERT_EQ(y.size(), x.size());
  EXPECT_EQ(count_of(y, 128), 1u);
  EXPECT_EQ(number(y[8192]), 128);
  for (std::size_t i = 0; i < x.size(); ++i)
    if (i != 8192) {
      ASSERT_NEAR(number(y[i]), leaky(number(x[i])), 0.02) << number(x[i]);
    }
}

TEST_F(Table, LeakyReluIsRightOnceTheBandIsRepaired) {
  for (const double alpha : {0.01, 0.1, 0.125, 0.2, 0.25, 0.5}) {
    const Function leaky = [&](double x) { return x >= 0 ? x : alpha * x; };
    const Tables t = affine_tables(leaky, 1024, -16 * alpha, 5);
    const Halves x = even_steps(-15.9, 15.9, 1200), y = apply(board, t, x);
    ASSERT_EQ(y.size(), x.size());
    for (std::size_t i = 0; i < x.size(); ++i)
      if (const double v = number(x[i]); std::abs(v) > 16.0 / 1024) {
        ASSERT_NEAR(number(y[i]), leaky(v), 0.02) << alpha << " at " << v;
      }
  }
}

TEST_F(Table, EluSpikesInNinetySevenOfTheProbesSamples) {
  const Tables t = shifted_tables(elu, -8, 8, -1, 4);
  const Halves x = even_steps(-0.02, 0.02, 4001), y = apply(board, t, x);
  ASSERT_EQ(y.size(), x.size());
  EXPECT_EQ(count_of(y, 64), 97u);
  for (std::size_t i = 0; i < x.size(); ++i)
    if (std::abs(number(x[i])) > 8.0 / 1024) {
      ASSERT_NEAR(number(y[i]), elu(number(x[i])), 0.02) << number(x[i]);
    }
}

TEST_F(Table, UnsignedKindsAreCleanInTheSameProbe) {
  const Halves x = even_steps(-0.02, 0.02, 4001);
  EXPECT_LE(worst(shifted_tables(softplus, -16, 16, 0, 5), x, softplus), 0.02);
  EXPECT_LE(worst(shifted_tables([](double v) { return std::abs(v); }, -16, 16, 0, 5), x,
                  [](double v) { return std::abs(v); }),
            0.02);
  EXPECT_LE(worst(unit_tables(mish_gate), x, mish_gate), 0.02);
}

TEST_F(Table, FlatTailsSpikeByTheExponent) {
  const Function hard_swish = [](double x) { return x * hard_sigmoid(x); };
  // Knee table: the flat tail lies below the table and shows 16; wide table: inside it, 128.
  const Halves x = even_steps(-8, -4, 64);
  EXPECT_EQ(count_of(apply(board, affine_tables(hard_swish, 5461, -0.5, 2), x), 16), 64u);
  EXPECT_EQ(count_of(apply(board, affine_tables(hard_swish, 1024, -0.5, 5), x), 128), 64u);
  const Tables t = affine_tables([](double v) { return std::tanh(v); }, 5216, -1, 1);
  EXPECT_EQ(count_of(apply(board, t, Halves(8, 0)), 8), 8u);
  ChipOptions off;
  off.quirks.lut_zero_decodes_as_2_17 = false;
  Board ideal(off);
  EXPECT_EQ(count_of(apply(ideal, t, Halves(8, 0)), 0), 8u);
}

TEST_F(Table, TablesHaveToComeWithEveryStart) {
  const Tables t = unit_tables(sigmoid);
  const std::uint32_t in = board.put(Halves(8, 0x3C00)), out = board.room(16);
  ASSERT_TRUE(board.run(table_program(t, 8, in, out)));
  EXPECT_FALSE(board.run(table_program(t, 8, in, out, false)));
  EXPECT_EQ(board.fault(), "DPU.LUT_ACCESS_DATA");
  board.chip.reset(0);
  EXPECT_TRUE(board.run(table_program(t, 8, in, out))) << board.message();
}

TEST_F(Table, TheWidestCubeSpoilsItsTail) {
  const Tables t = unit_tables(sigmoid);
  constexpr std::uint32_t kElements = 8191 * 8;
  const std::uint32_t in = board.put(Halves(kElements, 0x3C00)), out = board.room(kElements * 2);
  ASSERT_TRUE(board.run(table_program(t, kElements, in, out))) << board.message();
  const Halves y = board.get<std::uint16_t>(out, kElements);
  std::size_t wrong = 0;
  for (const std::uint16_t h : y) wrong += h != y[0];
  EXPECT_GT(wrong, 40u);
  EXPECT_LT(wrong, 64u);
  EXPECT_NEAR(number(y[0]), sigmoid(1), 0.001);
}

}  // namespace
}  // namespace npu::sim::programs
