// SPDX-License-Identifier: MIT
// Matrix products: each data type on the shapes of the library's gates, with the failures that
// its probes record [userspace tests/matmul_*_rocket.c, int16_native_probe.c, HW].
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>

#include "board.hpp"
#include "cube_task.hpp"
#include "npu-sim/float_types.hpp"

namespace npu::sim::test {
namespace {

struct Mkn {
  std::uint32_t m, k, n;
};

struct Layout {
  std::uint32_t og, cg;  // kernels and channels of a weight block
};
Layout layout_of_code(std::uint32_t precision) {
  switch (precision) {
    case code::int8: return {32, 32};
    case code::int4: return {64, 32};
    case code::tf32: return {16, 16};
    default: return {16, 32};
  }
}

// Operands as row-major matrices of whole numbers, packed for the type.
struct Operands {
  std::vector<std::int32_t> a, b;  // [m][k], [n][k]
};
Operands random_operands(const Mkn& s, std::int32_t low_a, std::int32_t high_a, std::int32_t low_b,
                         std::int32_t high_b, unsigned seed) {
  std::mt19937 rng(seed);
  std::uniform_int_distribution<std::int32_t> a(low_a, high_a), b(low_b, high_b);
  Operands o;
  o.a.resize(std::size_t{s.m} * s.k);
  o.b.resize(std::size_t{s.n} * s.k);
  for (auto& v : o.a) v = a(rng);
  for (auto& v : o.b) v = b(rng);
  return o;
}

std::int64_t dot(const Operands& o, const Mkn& s, std::uint32_t m, std::uint32_t n) {
  std::int64_t sum = 0;
  for (std::uint32_t k = 0; k < s.k; ++k)
    sum += std::int64_t{o.a[std::size_t{m} * s.k + k]} * o.b[std::size_t{n} * s.k + k];
  return sum;
}

void put(std::byte* data, std::uint32_t precision, std::size_t index, std::int32_t value) {
  const auto v = static_cast<float>(value);
  std::uint16_t half = 0;
  switch (precision) {
    case code::int4: {
      auto& byte = reinterpret_cast<std::uint8_t*>(data)[index / 2];
      const unsigned shift = index % 2 * 4;
      byte = static_cast<std::uint8_t>((byte & ~(0xFu << shift)) |
                                       (static_cast<unsigned>(value) & 0xF) << shift);
      return;
    }
    case code::int8: data[index] = static_cast<std::byte>(value); return;
    case code::int16: half = static_cast<std::uint16_t>(value); break;
    case code::fp16: half = float_to_fp16(v); break;
    case code::bf16:
      half = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(v) >> 16);
      break;
    default: std::memcpy(data + index * 4, &v, 4); return;
  }
  std::memcpy(data + index * 2, &half, 2);
}

// Uploads both operands in the layouts of the type and fills the task's addresses.
Board::Buffer place(Board& board, CubeTask& t, const Operands& o, const Mkn& s) {
  const std::uint32_t atom = 128 / bits_of(t.in_code);
  const Layout l = layout_of_code(t.in_code);
  const auto in = board.alloc(std::size_t{s.m} * s.k * 4),
             w = board.alloc(std::size_t{s.n} * s.k * 4);
  for (std::uint32_t m = 0; m < s.m; ++m)
    for (std::uint32_t k = 0; k < s.k; ++k)
      put(in.data, t.in_code, cube_at(s.m, 1, atom, k, m, 0), o.a[std::size_t{m} * s.k + k]);
  for (std::uint32_t n = 0; n < s.n; ++n)
    for (std::uint32_t k = 0; k < s.k; ++k)
      put(w.data, t.in_code, weight_at(l.og, l.cg, s.k, 1, 1, n, k, 0, 0),
          o.b[std::size_t{n} * s.k + k]);
  const auto out = board.alloc(std::size_t{s.m} * s.n * 8, 0xAA);
  t.input = in.iova;
  t.weights = w.iova;
  t.output = out.iova;
  return out;
}

template <class T>
T at(const Board::Buffer& out, const Mkn& s, std::uint32_t m, std::uint32_t n) {
  return out.as<T>()[cube_at(s.m, 1, 16 / sizeof(T), n, m, 0)];
}

TEST(Matmul, ProgramsHaveTheLengthThatTheLibraryStates) {
  EXPECT_EQ(emit(matmul(code::int8, code::int32, 64, 256, 64)).size(), 126u);
  EXPECT_EQ(emit(matmul(code::fp16, code::fp32, 64, 256, 64)).size(), 126u);
}

TEST(Matmul, Int8GivesTheExactSums) {
  Board board;
  for (const Mkn s : {Mkn{4, 64, 32}, {64, 256, 64}, {144, 672, 96}, {128, 1024, 128}}) {
    CubeTask t = matmul(code::int8, code::int32, s.m, s.k, s.n);
    const Operands o = random_operands(s, -128, 127, -128, 127, s.k);
    const auto out = place(board, t, o, s);
    ASSERT_TRUE(board.run(emit(t))) << board.fault();
    for (std::uint32_t m = 0; m < s.m; ++m)
      for (std::uint32_t n = 0; n < s.n; ++n)
        ASSERT_EQ(at<std::int32_t>(out, s, m, n), dot(o, s, m, n)) << m << "," << n;
  }
}

// [userspace matmul_int8_dequant_rocket.c]: cast and whole scales are exact at any shape; the fp16
// form is right only while one group of kernels is written, because SURFACE_ADD is too small.
TEST(Matmul, Int8OutputConverterCastsAndScales) {
  Board board;
  const Mkn s{16, 64, 32};
  const Operands o = random_operands(s, -8, 7, -8, 7, 9);
  for (const std::uint32_t scale : {1u, 3u}) {
    CubeTask t = matmul(code::int8, code::fp32, s.m, s.k, s.n);
    t.out_scale = scale;
    t.out_cvt_type = 1;  // no effect on whole numbers, as is minus_exp
    const auto out = place(board, t, o, s);
    ASSERT_TRUE(board.run(emit(t))) << board.fault();
    for (std::uint32_t m = 0; m < s.m; ++m)
      for (std::uint32_t n = 0; n < s.n; ++n)
        ASSERT_EQ(at<float>(out, s, m, n), static_cast<float>(dot(o, s, m, n) * scale));
  }
  for (const std::uint32_t n_total : {32u, 64u}) {
    const Mkn wide{16, 64, n_total};
    const Operands p = random_operands(wide, -8, 7, -8, 7, 10);
    CubeTask t = matmul(code::int8, code::fp16, wide.m, wide.k, wide.n);
    t.out_cvt_type = 1;
    t.narrow = true;
    t.size_e = 3;
    t.surface_multiple = 2;
    const auto out = place(board, t, p, wide);
    ASSERT_TRUE(board.run(emit(t))) << board.fault();
    std::size_t wrong = 0;
    for (std::uint32_t m = 0; m < wide.m; ++m)
      for (std::uint32_t n = 0; n < wide.n; ++n)
        wrong += fp16_to_float(at<std::uint16_t>(out, wide, m, n)) !=
                 static_cast<float>(dot(p, wide, m, n));
    if (n_total == 32)
      EXPECT_EQ(wrong, 0u);
    else
      EXPECT_GT(wrong, 0u) << "wrong on the board too";
  }
}

TEST(Matmul, Int8SurfacesBeyondSizeEStayUnwritten) {
  Board board;
  const Mkn s{16, 64, 64};
  const Operands o = random_operands(s, -128, 127, -128, 127, 11);
  CubeTask t = matmul(code::int8, code::int32, s.m, s.k, s.n);
  t.size_e = 3;
  t.surface_multiple = 4;
  const auto out = place(board, t, o, s);
  ASSERT_TRUE(board.run(emit(t))) << board.fault();
  std::size_t untouched = 0;
  for (std::uint32_t m = 0; m < s.m; ++m)
    for (std::uint32_t n = 0; n < s.n; ++n)
      untouched += at<std::uint32_t>(out, s, m, n) == 0xAAAAAAAA;
  EXPECT_GT(untouched, 0u);
}

TEST(Matmul, Int4WritesAsManyColumnsAsSizeESays) {
  Board board;
  for (const Mkn s : {Mkn{4, 32, 64}, {8, 64, 128}, {64, 256, 256}}) {
    const Operands o = random_operands(s, -2, 2, -2, 2, s.n);
    for (const std::uint32_t size_e : {1u, 3u, 7u}) {
      CubeTask t = matmul(code::int4, code::int16, s.m, s.k, s.n);
      t.size_e = size_e;
      const auto out = place(board, t, o, s);
      ASSERT_TRUE(board.run(emit(t))) << board.fault();
      const std::uint32_t columns = (size_e + 1) * 8;
      for (std::uint32_t m = 0; m < s.m; ++m)
        for (std::uint32_t n = 0; n < s.n; ++n) {
          const auto want = static_cast<std::int16_t>(n % 64 < columns ? dot(o, s, m, n) : 0xAAAA);
          ASSERT_EQ(at<std::int16_t>(out, s, m, n), want) << m << "," << n << " " << size_e;
        }
    }
  }
}

TEST(Matmul, Int4SaturatesItsSums) {
  Board board;
  const Mkn s{4, 768, 64};
  Operands o = random_operands(s, 7, 7, 7, 7, 1);
  CubeTask t = matmul(code::int4, code::int16, s.m, s.k, s.n);
  const auto out = place(board, t, o, s);
  ASSERT_TRUE(board.run(emit(t))) << board.fault();
  EXPECT_EQ(at<std::int16_t>(out, s, 3, 63), 32767);  // 37632 as a sum
}

// int16_native_probe: exact against the saturated 64-bit product at every fill.
TEST(Matmul, Int16WritesSaturatedSumsWithTheGeometryOfFp16) {
  Board board;
  for (const Mkn s :
       {Mkn{4, 32, 64}, {8, 64, 48}, {12, 256, 80}, {36, 512, 112}, {100, 1024, 64}}) {
    const auto bound = static_cast<std::int32_t>(INT32_MAX / (std::int64_t{s.k} * 32768));
    const Operands fills[] = {random_operands(s, -16, 15, -16, 15, s.k),
                              random_operands(s, -32768, 32767, -bound, bound, s.k + 1),
                              random_operands(s, -bound, bound, -32768, 32767, s.k + 2),
                              random_operands(s, -32768, 32767, -32768, 32767, s.k + 3)};
    for (const Operands& o : fills) {
      CubeTask t = matmul(code::int16, code::int32, s.m, s.k, s.n);
      const auto out = place(board, t, o, s);
      ASSERT_TRUE(board.run(emit(t))) << board.fault();
      for (std::uint32_t m = 0; m < s.m; ++m)
        for (std::uint32_t n = 0; n < s.n; ++n)
          ASSERT_EQ(at<std::int32_t>(out, s, m, n),
                    std::clamp<std::int64_t>(dot(o, s, m, n), INT32_MIN, INT32_MAX))
              << s.m << "x" << s.k << "x" << s.n << " " << m << "," << n;
    }
  }
}

// The same program with int8's geometry writes row 0 of the first 16 channels and never ends.
TEST(Matmul, Int16HangsWithTheGeometryOfInt8) {
  Board board;
  const Mkn s{36, 512, 112};
  const Operands o = random_operands(s, -16, 15, -16, 15, 3);
  CubeTask t = matmul(code::int16, code::int32, s.m, s.k, s.n);
  t.size_e = 7;
  t.surface_multiple = 8;
  const auto out = place(board, t, o, s);
  EXPECT_FALSE(board.run(emit(t)));
  EXPECT_EQ(board.fault(), "hang: DPU.BS_OW_CFG.size_e_0");
  for (std::uint32_t m = 0; m < s.m; ++m)
    for (std::uint32_t n = 0; n < s.n; ++n)
      ASSERT_EQ(at<std::int32_t>(out, s, m, n), m == 0 && n < 16
                                                    ? static_cast<std::int32_t>(dot(o, s, m, n))
                                                    : static_cast<std::int32_t>(0xAAAAAAAA))
          << m << "," << n;
  // The watchdog's reset makes the core usable again.
  CubeTask good = matmul(code::int16, code::int32, s.m, s.k, s.n);
  const auto again = place(board, good, o, s);
  ASSERT_TRUE(board.run(emit(good))) << board.fault();
  EXPECT_EQ(at<std::int32_t>(again, s, 35, 111), dot(o, s, 35, 111));
}

// The transposed writer: low 16 bits of the clamped sum, element by element in its own order
// [notes output-transpose-int16, HW].
TEST(Matmul, Int16TransposedWriterKeepsTheLowHalf) {
  Board board;
  for (const Mkn s : {Mkn{4, 32, 32}, {8, 64, 32}, {16, 32, 32}, {32, 32, 32}, {12, 64, 16}}) {
    for (const std::int32_t range : {16, 1024, 32767}) {
      const Operands o = random_operands(s, -range, range, -range, range, s.m);
      CubeTask t = matmul(code::int16, code::int32, s.m, s.k, s.n);
      t.tp_org_en = t.tp_precision = true;
      t.size_e = 7;
      t.surface_multiple = 8;
      const auto out = place(board, t, o, s);
      // At 16 kernels everything is written and the task still never ends.
      EXPECT_EQ(board.run(emit(t)), s.n != 16) << board.fault();
      for (std::uint32_t m = 0; m < s.m; ++m)
        for (std::uint32_t n = 0; n < s.n; ++n) {
          const std::size_t slot = 4 * m + n / 4 % 4 + n / 16 * 4 * s.m + n % 4 * 16 * s.m;
          const auto sum = std::clamp<std::int64_t>(dot(o, s, m, n), INT32_MIN, INT32_MAX);
          ASSERT_EQ(out.as<std::int16_t>()[slot], static_cast<std::int16_t>(sum)) << m << "," << n;
        }
    }
  }
}

TEST(Matmul, FloatTypesGiveExactSumsOfSmallWholeNumbers) {
  Board board;
  for (const std::uint32_t precision : {code::fp16, code::bf16, code::tf32})
    for (const Mkn s : {Mkn{4, 32, 64}, {64, 512, 96}, {256, 192, 128}, {4, 48, 64}}) {
      if (precision != code::tf32 && s.k % 32 != 0) continue;
      const Operands o = random_operands(s, -8, 8, -8, 8, s.k);
      CubeTask t = matmul(precision, code::fp32, s.m, s.k, s.n);
      const auto out = place(board, t, o, s);
      ASSERT_TRUE(board.run(emit(t))) << board.fault();
      for (std::uint32_t m = 0; m < s.m; ++m)
        for (std::uint32_t n = 0; n < s.n; ++n)
          ASSERT_EQ(at<float>(out, s, m, n), static_cast<float>(dot(o, s, m, n)));
    }
}

TEST(Matmul, Fp16OutputRoundsOnce) {
  Board board;
  const Mkn s{64, 512, 96};
  const Operands o = random_operands(s, -60, 60, -60, 60, 5);  // sums past 2048
  CubeTask t = matmul(code::fp16, code::fp16, s.m, s.k, s.n);
  const auto out = place(board, t, o, s);
  ASSERT_TRUE(board.run(emit(t))) << board.fault();
  for (std::uint32_t m = 0; m < s.m; ++m)
    for (std::uint32_t n = 0; n < s.n; ++n)
      ASSERT_EQ(at<std::uint16_t>(out, s, m, n),
                float_to_fp16(static_cast<float>(dot(o, s, m, n))));
}

// Code 7 in the DPU: the task completes and writes nothing [notes precision-field, HW].
TEST(Matmul, Tf32CodeInTheDpuWritesNothing) {
  Board board;
  const Mkn s{4, 32, 32};
  const Operands o = random_operands(s, -8, 8, -8, 8, 5);
  CubeTask t = matmul(code::tf32, code::tf32, s.m, s.k, s.n);
  t.dpu_code = code::tf32;
  t.size_e = 3;
  t.surface_multiple = 4;
  const auto out = place(board, t, o, s);
  ASSERT_TRUE(board.run(emit(t))) << board.fault();
  for (std::size_t i = 0; i < out.bytes; ++i) ASSERT_EQ(out.data[i], std::byte{0xAA});
}

// Below four rows the library's clamped plane stride no longer describes its own layout: boards
// give wrong products [notes matmul-as-conv, HW].
TEST(Matmul, OneRowIsWrongInTheCubeForm) {
  Board board;
  const Mkn s{1, 64, 32};
  const Operands o = random_operands(s, -100, 100, -100, 100, 5);
  CubeTask t = matmul(code::int8, code::int32, s.m, s.k, s.n);
  const auto out = place(board, t, o, s);
  ASSERT_TRUE(board.run(emit(t))) << board.fault();
  std::size_t wrong = 0;
  for (std::uint32_t n = 0; n < s.n; ++n)
    wrong += at<std::int32_t>(out, s, 0, n) != dot(o, s, 0, n);
  EXPECT_GT(wrong, 0u);
}

// CBUF_CON0.FC_DATA_BANK other than 0 spoils the products without stopping the task
// [userspace fc_data_bank_sweep_rocket.c, HW].
TEST(Matmul, FcDataBankSpoilsTheResult) {
  Board board;
  const Mkn s{256, 384, 64};
  const Operands o = random_operands(s, -2, 2, -2, 2, 5);
  std::vector<std::uint16_t> want;
  for (std::uint32_t bank = 0; bank < 8; ++bank) {
    CubeTask t = matmul(code::fp16, code::fp16, s.m, s.k, s.n);
    t.fc_data_bank = bank;
    const auto out = place(board, t, o, s);
    ASSERT_TRUE(board.run(emit(t))) << board.fault();
    std::size_t wrong = 0;
    for (std::uint32_t m = 0; m < s.m; ++m)
      for (std::uint32_t n = 0; n < s.n; ++n)
        wrong +=
            fp16_to_float(at<std::uint16_t>(out, s, m, n)) != static_cast<float>(dot(o, s, m, n));
    if (bank == 0)
      EXPECT_EQ(wrong, 0u);
    else
      EXPECT_GT(wrong, s.m * s.n / 2) << bank;
  }
}

// Partial sums over K through the element-wise adder, ping-pong between two buffers
// [userspace matmul_accum_rocket.c chain, HW]: each step rounds to fp16.
TEST(Matmul, KAccumulationAddsThePartialBefore) {
  Board board;
  const Mkn s{64, 160, 96};
  const Operands o = random_operands(s, -6, 6, -5, 5, 5);
  const Mkn part{64, 32, 96};
  std::vector<std::uint16_t> want(std::size_t{s.m} * s.n);
  const Board::Buffer pair[] = {board.alloc(std::size_t{s.m} * s.n * 2, 0xAA),
                                board.alloc(std::size_t{s.m} * s.n * 2, 0xAA)};
  std::vector<std::vector<std::uint64_t>> programs;
  for (std::uint32_t step = 0; step < s.k / part.k; ++step) {
    Operands slice;
    for (std::uint32_t m = 0; m < s.m; ++m)
      for (std::uint32_t k = 0; k < part.k; ++k)
        slice.a.push_back(o.a[std::size_t{m} * s.k + step * part.k + k]);
    for (std::uint32_t n = 0; n < s.n; ++n)
      for (std::uint32_t k = 0; k < part.k; ++k)
        slice.b.push_back(o.b[std::size_t{n} * s.k + step * part.k + k]);
    CubeTask t = matmul(code::fp16, code::fp16, part.m, part.k, part.n);
    place(board, t, slice, part);
    t.output = pair[step % 2].iova;
    if (step > 0) t.ew = EwOperand{kEwAdd, pair[(step - 1) % 2].iova, part.m * 16, part.m};
    programs.push_back(emit(t));
    ASSERT_TRUE(board.run(programs.back())) << board.fault();
    for (std::uint32_t m = 0; m < s.m; ++m)
      for (std::uint32_t n = 0; n < s.n; ++n) {
        auto& sum = want[cube_at(s.m, 1, 8, n, m, 0)];
        const auto partial = static_cast<float>(dot(slice, part, m, n));
        sum = float_to_fp16(step == 0 ? partial : partial + fp16_to_float(sum));
      }
  }
  const auto& last = pair[(s.k / part.k - 1) % 2];
  for (std::size_t i = 0; i < want.size(); ++i) ASSERT_EQ(last.as<std::uint16_t>()[i], want[i]);

  // All steps in one start: a task sees what the one before wrote.
  for (const auto& buffer : pair) buffer.fill(0xAA);
  const unsigned before = board.interrupts();
  ASSERT_TRUE(board.run_chained(programs)) << board.fault();
  EXPECT_EQ(board.interrupts(), before + 1);
  for (std::size_t i = 0; i < want.size(); ++i) ASSERT_EQ(last.as<std::uint16_t>()[i], want[i]);
}

// Element-wise operation between a product and a tensor of its shape [userspace ew_minmax_rocket.c,
// ew_mul_rocket.c, HW]; planes of fewer than 12 positions are mis-strided, because the library
// rounds the notch up to 12 atoms [notes k-accumulation, HW].
TEST(Matmul, ElementWiseOperandBesideAProduct) {
  Board board;
  const struct {
    std::uint32_t ew_cfg;
    float (*op)(float, float);
  } ops[] = {{kEwAdd, [](float a, float b) { return a + b; }},
             {kEwMax, [](float a, float b) { return std::max(a, b); }},
             {kEwMin, [](float a, float b) { return std::min(a, b); }},
             {kEwMul, [](float a, float b) { return a * b; }}};
  for (const auto& op : ops)
    for (const Mkn s : {Mkn{16, 32, 16}, {16, 64, 80}, {36, 32, 64}, {4, 64, 16}, {4, 64, 64}}) {
      const Operands o = random_operands(s, -3, 3, -3, 3, s.m + s.n);
      std::vector<std::uint16_t> addend(std::size_t{s.m} * s.n);
      std::mt19937 rng(s.n);
      std::uniform_int_distribution<int> draw(-9, 9);
      for (auto& e : addend) e = float_to_fp16(static_cast<float>(draw(rng)));
      CubeTask t = matmul(code::fp16, code::fp16, s.m, s.k, s.n);
      const auto out = place(board, t, o, s);
      const auto operand = board.alloc(addend.size() * 2 + 65536);
      std::memcpy(operand.data, addend.data(), addend.size() * 2);
      t.ew = EwOperand{op.ew_cfg, operand.iova, s.m * 16, std::max(s.m, 12u)};
      ASSERT_TRUE(board.run(emit(t))) << board.fault();
      std::size_t wrong = 0, wrong_first_planes = 0;
      for (std::uint32_t m = 0; m < s.m; ++m)
        for (std::uint32_t n = 0; n < s.n; ++n) {
          const float e = fp16_to_float(addend[cube_at(s.m, 1, 8, n, m, 0)]);
          const float want = op.op(static_cast<float>(dot(o, s, m, n)), e);
          const bool bad = at<std::uint16_t>(out, s, m, n) != float_to_fp16(want);
          wrong += bad;
          wrong_first_planes += bad && n < 16;
        }
      EXPECT_EQ(wrong_first_planes, 0u);
      EXPECT_EQ(wrong > 0, s.m < 12 && s.n > 16) << s.m << "x" << s.n;
    }
}

TEST(Matmul, Fp16MultiplicationHangsWithALiveConverter) {
  Board board;
  const Mkn s{16, 32, 16};
  const Operands o = random_operands(s, -3, 3, -3, 3, 1);
  CubeTask t = matmul(code::fp16, code::fp16, s.m, s.k, s.n);
  place(board, t, o, s);
  const auto operand = board.alloc(4096);
  t.ew = EwOperand{kEwMul & ~0x100u, operand.iova, s.m * 16, s.m};
  EXPECT_FALSE(board.run(emit(t)));
  EXPECT_EQ(board.fault(), "hang: DPU.EW_CFG.ew_op_cvt_bypass");
}

// A program that leaves the main reader of DPU_RDMA enabled and unfed never ends, and writes
// nothing [notes mrdma-trap, HW].
TEST(Matmul, EnabledAndUnfedReaderHangs) {
  Board board;
  const Mkn s{16, 32, 16};
  const Operands o = random_operands(s, -3, 3, -3, 3, 1);
  CubeTask t = matmul(code::fp16, code::fp16, s.m, s.k, s.n);
  const auto out = place(board, t, o, s);
  auto words = emit(t);
  replace(words, 0x5044, value_of(words, 0x5044) & ~0x10u);
  EXPECT_FALSE(board.run(words));
  EXPECT_EQ(board.fault(), "hang: DPU_RDMA.RDMA_FEATURE_MODE_CFG.mrdma_disable");
  for (std::size_t i = 0; i < out.bytes; ++i) ASSERT_EQ(out.data[i], std::byte{0xAA});
}

// MAC_GATING [notes chips/rk3588, HW sweep]: 0 or bit 24 clear stops the array, the reset value
// and bits that clock nothing on this path change nothing.
TEST(Matmul, MacGating) {
  Board board;
  const Mkn s{16, 32, 16};
  const Operands o = random_operands(s, -3, 3, -3, 3, 1);
  for (const std::uint32_t gating : {0x07800800u, 0xFFFFFFFFu, 0u, 0x06800800u}) {
    CubeTask t = matmul(code::fp16, code::fp32, s.m, s.k, s.n);
    const auto out = place(board, t, o, s);
    auto words = emit(t);
    words.insert(words.begin() + 2, regdb::Regcmd{0x0801, gating, 0x300C}.pack());
    EXPECT_EQ(board.run(words), (gating & 1u << 24) != 0) << board.fault();
    if ((gating & 1u << 24) != 0) {
      EXPECT_EQ(at<float>(out, s, 5, 7), static_cast<float>(dot(o, s, 5, 7)));
    }
  }
}

}  // namespace
}  // namespace npu::sim::test
