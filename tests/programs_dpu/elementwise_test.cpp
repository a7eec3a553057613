// SPDX-License-Identifier: MIT
// Two operands from memory: what the probes of independent projects demand, and what they found
// broken.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

#include "cube.hpp"

namespace npu::sim::programs {
namespace {

double apply(std::uint32_t op, double a, double b) {
  switch (op) {
    case kMax: return std::max(a, b);
    case kMin: return std::min(a, b);
    case kAdd: return a + b;
    case kDiv: return a / b;
    case kMinus: return a - b;
    case kAbs: return std::abs(a);
    case kNeg: return -a;
    default: return a * b;
  }
}

Halves halves(std::initializer_list<double> values) {
  Halves out;
  for (const double v : values) out.push_back(half(v));
  return out;
}

TEST(Fp16Vectors, TheBareProgramRunsEveryOperation) {
  const Halves a = halves({1, 2, 3, 4, 5, 6, 7, 8}), b = halves({8, 7, 6, 5, 4, 3, 2, 1});
  for (const std::uint32_t op : {kAdd, kMul, kMinus, kMax, kMin, kDiv}) {
    Board board;
    Cube c{.ew = ew_cfg(kFp16, op, op == kMul || op == kDiv), .bare = true};
    if (op == kDiv) {  // its own reader and converter
      c.widen = false;
      c.out_scale = 1;
    }
    const auto got = run_as<std::uint16_t>(board, c, {board.put(a), board.put(b)}, 8);
    ASSERT_EQ(got.size(), 8u) << op << ": " << board.message();
    for (std::size_t i = 0; i < 8; ++i) {
      EXPECT_EQ(got[i], half(apply(op, number(a[i]), number(b[i])))) << op << " at " << i;
    }
  }
}

TEST(Fp16Vectors, SinglePrecisionOutputFillsFourOfEightLanes) {
  Board board;
  Cube c{.out_type = kFp32, .ew = ew_cfg(kFp16, kAdd, false), .out_scale = 0, .bare = true};
  const Halves a = halves({1, 2, 3, 4, 5, 6, 7, 8});
  const auto got = run_as<float>(board, c, {board.put(a), board.put(a)}, 8);
  ASSERT_EQ(got.size(), 8u) << board.message();
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(got[i], static_cast<float>(2 * (i + 1)));
  }
  for (std::size_t i = 4; i < 8; ++i) {
    EXPECT_EQ(std::bit_cast<std::uint32_t>(got[i]), 0xAAAAAAAAu);
  }
}

// The probe of 4096 elements: eighths in +-125, so that half precision is exact or rounds.
class Fp16Probe : public ::testing::Test {
 protected:
  Fp16Probe() : a(4096), b(4096) {
    std::mt19937 rng(7);
    for (auto& h : a) h = half(static_cast<double>(rng() % 2001) / 8 - 125);
    for (auto& h : b) h = half(static_cast<double>(rng() % 2001) / 8 - 125);
  }
  Halves go(const Cube& c) {
    return run_as<std::uint16_t>(board, c, {board.put(a), board.put(b)}, 4096);
  }
  std::size_t exact(const Halves& got, std::uint32_t op) const {
    std::size_t n = 0;
    for (std::size_t i = 0; i < got.size(); ++i)
      n += got[i] == half(static_cast<float>(apply(op, number(a[i]), number(b[i]))));
    return n;
  }
  static Cube cube(std::uint32_t op) { return {.width = 512, .ew = ew_cfg(kFp16, op, op == kMul)}; }
  Halves a, b;
  Board board;
};

TEST_F(Fp16Probe, EveryOperationIsExact) {
  for (const std::uint32_t op : {kAdd, kMax, kMin, kMinus, kMul}) {
    Cube c = cube(op);
    if (op == kMax || op == kMin) c.ew |= 1u << 21;  // EQUAL_EN, without effect
    EXPECT_EQ(exact(go(c), op), 4096u) << op << ": " << board.message();
    c.brdma = c.nrdma = 0;  // left enabled
    EXPECT_EQ(exact(go(c), op), 4096u) << op << ": " << board.message();
  }
}

TEST_F(Fp16Probe, OrigChannelZeroLeavesOneLaneRight) {
  Cube c = cube(kMul);
  c.orig_channels = 1;
  const Halves got = go(c);
  ASSERT_EQ(got.size(), 4096u) << board.message();
  for (std::size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(number(got[i]), i % 8 == 0 ? number(half(number(a[i]) * number(b[i]))) : 0) << i;
  }
}

TEST_F(Fp16Probe, CombUseBitZeroNeverEnds) {
  for (const std::uint32_t comb : {1u, 5u}) {
    Cube c = cube(kMul);
    c.comb_use = comb;
    EXPECT_TRUE(go(c).empty()) << comb;
    EXPECT_EQ(board.fault(), "DPU_RDMA.RDMA_FEATURE_MODE_CFG.comb_use");
    board.chip.reset(0);
  }
  Cube c = cube(kMul);
  c.comb_use = 4;
  EXPECT_EQ(exact(go(c), kMul), 4096u);
}

TEST_F(Fp16Probe, TheConverterBypassIsForMultiplicationsOnly) {
  Cube c = cube(kMul);
  c.ew &= ~(1u << 8);
  EXPECT_TRUE(go(c).empty());
  EXPECT_EQ(board.fault(), "DPU.EW_CFG.ew_op_cvt_bypass");
  board.chip.reset(0);
  c = cube(kAdd);
  c.ew |= 1u << 8;
  const Halves got = go(c);
  ASSERT_EQ(got.size(), 4096u) << board.message();
  std::size_t passed = 0;
  for (std::size_t i = 0; i < got.size(); ++i) passed += got[i] == a[i];
  EXPECT_NEAR(static_cast<double>(passed), 2048, 200);  // "about half the elements"
}

// The gates of a third project [iree-rocket tests/ew_binary_hw.rs]: every element differs, and a
// surface of 3x3 is smaller than EW_SURF_STRIDE may be.
TEST(Surfaces, TwoOperandsOfManySurfaces) {
  const struct {
    std::uint32_t width, height, channels;
  } shapes[] = {{4, 4, 16}, {3, 3, 16}, {7, 5, 24}, {14, 14, 64}, {197, 1, 768}, {197, 1, 3072}};
  for (const auto& shape : shapes)
    for (const std::uint32_t op : {kAdd, kMinus, kMul, kMax, kMin}) {
      SCOPED_TRACE(testing::Message() << shape.channels << " channels, operation " << op);
      if (shape.channels > 768 && op != kMul) continue;
      Cube c{.width = shape.width,
             .channels = (shape.channels + 15) / 16 * 16,
             .height = shape.height,
             .orig_channels = shape.channels,
             .ew = ew_cfg(kFp16, op, op == kMul)};
      c.ew_stride = std::max(c.row(), 12u * 16);
      Board board;
      Halves a(c.row() / 2 * c.channels / 8), b(a.size());
      for (std::size_t i = 0; i < a.size(); ++i) {
        a[i] = half((static_cast<double>(i * 7 % 13) - 6) / 4);
        b[i] = half((static_cast<double>(i * 5 % 11) - 5) / 2);
      }
      const auto got = run_as<std::uint16_t>(board, c, {board.put(a), board.put(b)}, a.size());
      ASSERT_EQ(got.size(), a.size()) << board.message();
      for (std::size_t i = 0; i < std::size_t{shape.width} * shape.height * shape.channels; ++i)
        ASSERT_EQ(number(got[i]), apply(op, number(a[i]), number(b[i]))) << i;
    }
}

// One channel of sixteen is live, but what takes no second operand is right on all lanes
// [iree-rocket tests/ew_round_hw.rs and ew_unary_hw.rs].
TEST(Surfaces, OneOperandOnEveryLane) {
  Cube c{.width = 4, .channels = 16, .height = 4, .orig_channels = 1};
  const auto run_one = [&](std::uint32_t op, double v, float constant) {
    c.ew = ew_cfg(kFp16, op, false) & ~kFromRegister;
    c.ew_value = std::bit_cast<std::uint32_t>(constant);
    Board board;
    const auto got = run_as<std::uint16_t>(board, c, {board.put(Halves(256, half(v)))}, 256);
    EXPECT_EQ(got.size(), 256u) << board.message();
    for (const std::uint16_t h : got) {
      if (h != got[0]) return std::nan("");
    }
    return got.empty() ? std::nan("") : number(got[0]);
  };
  for (const double v : {-6.0, -4.75, -2.0, -0.5, 0.0, 0.5, 1.75, 4.5, 6.0}) {
    EXPECT_EQ(run_one(kAdd, v, 0.5f), v + 0.5);
    EXPECT_EQ(run_one(kFloor, v, 0), std::floor(v));
    EXPECT_EQ(run_one(kCeil, v, 0), std::ceil(v));
    EXPECT_EQ(run_one(kAbs, v, 0), std::abs(v));
    EXPECT_EQ(run_one(kNeg, v, 0), -v);
  }
}

template <class T>
std::int64_t saturated(std::int64_t v) {
  return std::clamp<std::int64_t>(v, std::numeric_limits<T>::min(), std::numeric_limits<T>::max());
}

template <class T>
std::int64_t integer_op(std::uint32_t op, std::int64_t a, std::int64_t b) {
  const bool wide = sizeof(T) == 4;
  const std::int64_t low = std::numeric_limits<std::int32_t>::min();
  switch (op) {
    case kMax: return std::max(a, b);
    case kMin: return std::min(a, b);
    case kAdd: return saturated<T>(a + b);
    case kMinus: return wide && b == low ? low : saturated<T>(a - b);
    case kAbs: return wide && a == low ? low : saturated<T>(std::abs(a));
    case kNeg: return wide && a == low ? low : saturated<T>(-a);
    default: return saturated<T>(a * (wide ? static_cast<std::int16_t>(b) : b));
  }
}

template <class T>
constexpr std::uint32_t kTypeOf = sizeof(T) == 1   ? kInt8
                                  : sizeof(T) == 2 ? kInt16
                                                   : kInt32;

template <class T>
class Integers : public ::testing::Test {};
using IntegerTypes = ::testing::Types<std::int8_t, std::int16_t, std::int32_t>;
TYPED_TEST_SUITE(Integers, IntegerTypes);

TYPED_TEST(Integers, ProbeOf4096ElementsIsExact) {
  using T = TypeParam;
  std::mt19937 rng(11);
  std::vector<T> a(4096), b(4096);
  for (std::size_t i = 0; i < 4096; ++i) {
    // int32: past 2^24 and odd, a quarter near the rails, so that a float unit would show.
    std::uint32_t x = rng(), y = rng();
    if (sizeof(T) == 4) {
      x = i % 4 == 0 ? 0x70000001u + x % 0x0FFFFFFEu : x % (1u << 28) - (1u << 27);
      y = i % 4 == 0 ? 0x70000001u + y % 0x0FFFFFFEu : y % (1u << 28) - (1u << 27);
      if (i % 8 == 4) x = ~x;
      if (i % 16 > 8) y = ~y;
    }
    a[i] = static_cast<T>(x | 1);
    b[i] = static_cast<T>(y | 1);
  }
  Board board;
  const Operands in = {board.put(a), board.put(b)};
  for (const std::uint32_t op : {kAdd, kMax, kMin, kMinus, kMul}) {
    const std::uint32_t type = kTypeOf<T>;
    Cube c{.type = type,
           .out_type = type,
           .width = static_cast<std::uint32_t>(4096 * sizeof(T) / 16),
           .channels = static_cast<std::uint32_t>(16 / sizeof(T)),
           .ew = ew_cfg(type, op, type == kInt32)};
    const auto got = run_as<T>(board, c, in, 4096);
    ASSERT_EQ(got.size(), 4096u) << op << ": " << board.message();
    for (std::size_t i = 0; i < 4096; ++i) {
      ASSERT_EQ(got[i], integer_op<T>(op, a[i], b[i])) << op << " at " << i;
    }
  }
}

// [channels / atom][width][atom], as every layout run.
template <class T>
std::vector<T> packed(const std::vector<T>& wc, std::uint32_t width, std::uint32_t channels) {
  const std::size_t atom = 16 / sizeof(T);
  std::vector<T> out((channels + atom - 1) / atom * width * atom);
  for (std::size_t x = 0; x < width; ++x)
    for (std::size_t ch = 0; ch < channels; ++ch)
      out[(ch / atom * width + x) * atom + ch % atom] = wc[x * channels + ch];
  return out;
}

TYPED_TEST(Integers, LayoutsOfPartialAndSeveralSurfaces) {
  using T = TypeParam;
  constexpr T low = std::numeric_limits<T>::min(), high = std::numeric_limits<T>::max();
  const T edge_a[] = {high, low, high, low, -1, 0, 1, static_cast<T>(high / 2)};
  const T edge_b[] = {1, -1, high, low, low, high, -1, 3};
  Board board;
  for (const bool edge : {false, true})
    for (const std::uint32_t width : {1u, 2u, 3u})
      for (const std::uint32_t channels : {3u, 7u, 8u, 9u, 15u, 16u, 17u, 31u, 32u, 33u})
        for (const std::uint32_t op : {kAdd, kMax, kMin, kMinus, kMul, kAbs, kNeg}) {
          std::vector<T> a(width * channels), b(width * channels);
          for (std::size_t i = 0; i < a.size(); ++i) {
            a[i] = edge ? edge_a[i % 8] : static_cast<T>(static_cast<int>(i * 17 + 3) % 101 - 50);
            b[i] = edge ? edge_b[i % 8] : static_cast<T>(static_cast<int>(i * 11 + 7) % 31 - 15);
          }
          const std::uint32_t type = kTypeOf<T>;
          const Cube c{
              .type = type,
              .out_type = type,
              .width = width,
              .channels = channels,
              .ew = ew_cfg(type, op, type == kInt32) | (op == kMax || op == kMin ? 1u << 21 : 0u)};
          const auto pa = packed(a, width, channels), pb = packed(b, width, channels);
          const auto got = run_as<T>(board, c, {board.put(pa), board.put(pb)}, pa.size());
          ASSERT_EQ(got.size(), pa.size()) << board.message();
          std::vector<T> want(a.size());
          for (std::size_t i = 0; i < a.size(); ++i)
            want[i] = static_cast<T>(integer_op<T>(op, a[i], b[i]));
          const std::size_t atom = 16 / sizeof(T);
          for (std::size_t i = 0; i < a.size(); ++i) {
            const std::size_t ch = i % channels, x = i / channels;
            ASSERT_EQ(got[(ch / atom * width + x) * atom + ch % atom], want[i])
                << "op " << op << ", width " << width << ", channels " << channels << " at " << i;
          }
        }
}

TYPED_TEST(Integers, DivisionFloorAndCeilingAreNoIntegerOperations) {
  using T = TypeParam;
  Board board;
  const std::vector<T> a = {-100, -24, -7, -1, 0, 1, 24, 100}, b = {20, -6, 2, -1, 1, 2, -3, 5};
  for (const std::uint32_t op : {kDiv, kFloor, kCeil}) {
    const std::uint32_t type = kTypeOf<T>;
    const Cube c{.type = type,
                 .out_type = type,
                 .width = type == kInt32 ? 2u : 1u,
                 .channels = type == kInt32 ? 4u : 8u,
                 .ew = ew_cfg(type, op, type == kInt32)};
    const auto got = run_as<T>(board, c, {board.put(a, 16), board.put(b, 16)}, 8);
    ASSERT_EQ(got.size(), 8u) << board.message();
    std::vector<T> integer(8);
    for (std::size_t i = 0; i < 8; ++i)
      integer[i] = op == kDiv ? static_cast<T>(a[i] / b[i]) : a[i];
    EXPECT_NE(got, integer) << op;
  }
}

TEST(Conversions, Int16SumsLeaveAsInt32WithTwoSurfacesPerGroup) {
  const std::vector<std::int16_t> a = {-30000, -1200, -7, -1, 0, 1, 1200, 30000};
  const std::vector<std::int16_t> b = {1000, -30, 2, -1, 1, 2, -30, 30000};
  Board board;
  Cube c{.type = kInt16,
         .out_type = kInt32,
         .bs_ow = 1u << 8 | 1u << 5 | 1u << 2 | 2,
         .ew = ew_cfg(kInt16, kAdd, false) | 3u << 30};
  const Operands in = {board.put(a), board.put(b)};
  auto got = run_as<std::int32_t>(board, c, in, 8);
  ASSERT_EQ(got.size(), 8u) << board.message();
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(got[i], a[i] + b[i]);
  }
  c.bs_ow = 2;  // "required to regroup all eight lanes"
  got = run_as<std::int32_t>(board, c, in, 8);
  ASSERT_EQ(got.size(), 8u);
  EXPECT_EQ(got[3], a[3] + b[3]);
  EXPECT_EQ(static_cast<std::uint32_t>(got[4]), 0xAAAAAAAAu);
}

}  // namespace
}  // namespace npu::sim::programs
