// SPDX-License-Identifier: MIT
// BS, BN and EW with operands in registers, per channel and from their own readers
// [allbilly expt/elementwise_int.py and where.py, board].
#include <gtest/gtest.h>

#include <bit>

#include "cube.hpp"

namespace npu::sim::programs {
namespace {

// BS_CFG and BN_CFG.
constexpr std::uint32_t kAlu = 2u << 16, kAluMinus = 4u << 16, kAluMemory = 1u << 8,
                        kRelux = 1u << 7, kNoRelu = 1u << 6, kPrelu = 1u << 5, kNoMul = 1u << 4,
                        kNoAlu = 1u << 1;

std::uint32_t bits(float f) { return std::bit_cast<std::uint32_t>(f); }
std::uint32_t mul_bits(double v) { return std::uint32_t{half(v)} << 16; }

class Stages : public ::testing::Test {
 protected:
  // Eight elements through the cube; `want` of each.
  template <class Want>
  void expect(const Cube& c, const Operands& in, Want want) {
    const auto got = run_as<std::uint16_t>(board, c, in, 8);
    ASSERT_EQ(got.size(), 8u) << board.message();
    for (std::size_t i = 0; i < 8; ++i) {
      EXPECT_EQ(got[i], half(want(x[i], i))) << "x = " << x[i];
    }
  }
  Operands main() {
    Halves h;
    for (const double v : x) h.push_back(half(v));
    return {board.put(h)};
  }
  std::vector<double> x = {-3, -2, -1, 0, 1, 2, 3, 4};
  Board board;
};

constexpr std::uint32_t from_register(std::uint32_t type, std::uint32_t op, bool bypass) {
  return ew_cfg(type, op, bypass) & ~kFromRegister;
}

TEST_F(Stages, EwOperandsInRegisters) {
  expect({.ew = from_register(kFp16, kAdd, false), .ew_value = bits(2)}, main(),
         [](double v, std::size_t) { return v + 2; });
  expect({.ew = from_register(kFp16, kMul, true), .ew_value = half(1.5)}, main(),
         [](double v, std::size_t) { return v * 1.5; });
  expect({.ew = from_register(kFp16, kMax, false), .ew_value = bits(0.5)}, main(),
         [](double v, std::size_t) { return std::max(v, 0.5); });
  const std::vector<std::int16_t> a = {-30000, -7, 0, 1, 2, 3, 1200, 30000};
  const Cube c{.type = kInt16,
               .out_type = kInt16,
               .ew = from_register(kInt16, kAdd, false),
               .ew_value = static_cast<std::uint16_t>(-5)};
  const auto got = run_as<std::int16_t>(board, c, {board.put(a)}, 8);
  ASSERT_EQ(got.size(), 8u) << board.message();
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(got[i], a[i] - 5);
  }
}

TEST_F(Stages, ThreeAndFiveScalarOperationsInOneTask) {
  Cube c{.bs_cfg = kAlu | kNoRelu | kNoMul,
         .bs_alu = bits(2),
         .bn_cfg = kAlu | kNoRelu | kNoMul,
         .bn_alu = bits(3),
         .ew = from_register(kFp16, kAdd, false),
         .ew_value = bits(4)};
  expect(c, main(), [](double v, std::size_t) { return v + 9; });
  c.bs_cfg = c.bn_cfg = kAlu | kNoRelu;  // BS: (x + alu) * mul, BN: x * mul + alu
  c.bs_mul = mul_bits(3);
  c.bn_alu = bits(1);
  c.bn_mul = mul_bits(2);
  expect(c, main(), [](double v, std::size_t) { return (v + 2) * 3 * 2 + 1 + 4; });
}

TEST_F(Stages, ConfiguredDifferencesAndActivations) {
  const struct {
    std::uint32_t cfg;
    double (*want)(double);
  } cases[] = {{kAluMinus | kNoRelu | kNoMul, [](double v) { return v - 2; }},
               {kRelux | kNoMul | kNoAlu, [](double v) { return std::clamp(v, 0.0, 2.0); }},
               {kNoRelu | kPrelu | kNoAlu, [](double v) { return v < 0 ? v / 4 : v; }}};
  for (const auto& k : cases) {
    const auto want = [&](double v, std::size_t) { return k.want(v); };
    expect({.bs_cfg = k.cfg, .bs_alu = bits(2), .bs_mul = mul_bits(0.25), .bs_relux = bits(2)},
           main(), want);
    expect({.bn_cfg = k.cfg, .bn_alu = bits(2), .bn_mul = mul_bits(0.25), .bn_relux = bits(2)},
           main(), want);
  }
}

TEST_F(Stages, FourTensorsInOneTask) {
  std::vector<float> bs, bn;
  Halves ew;
  for (int i = 1; i <= 8; ++i) {
    bs.push_back(static_cast<float>(10 * i));
    bn.push_back(static_cast<float>(i));
    ew.push_back(half(0.5 * i));
  }
  Operands in = main();
  in.bs = board.put(bs);
  in.bn = board.put(bn);
  in.ew = board.put(ew);
  constexpr std::uint32_t kMemoryAdd = kAlu | kAluMemory | kNoRelu | kNoMul;
  expect({.bs_cfg = kMemoryAdd,
          .bn_cfg = kMemoryAdd,
          .ew = ew_cfg(kFp16, kAdd, false),
          .brdma = 2,
          .nrdma = 2},
         in, [](double v, std::size_t i) { return v + 11.5 * static_cast<double>(i + 1); });
  // A stage whose reader is disabled waits for ever.
  EXPECT_TRUE(run(board, {.bs_cfg = kMemoryAdd}, in, 16).empty());
  EXPECT_EQ(board.fault(), "DPU_RDMA.RDMA_BRDMA_CFG");
}

TEST_F(Stages, MultipliersFromMemoryByLayout) {
  for (const bool bn : {false, true})
    for (const std::uint32_t width : {1u, 2u, 3u})
      for (const std::uint32_t channels : {3u, 7u, 8u, 9u, 15u, 16u, 17u, 31u, 32u, 33u}) {
        Cube c{.width = width, .channels = channels};
        (bn ? c.bn_cfg : c.bs_cfg) = kNoRelu | kNoAlu;
        (bn ? c.bn_mul : c.bs_mul) = 1;
        (bn ? c.nrdma : c.brdma) = 8;
        const std::size_t surfaces = (channels + 7) / 8;
        Halves main(surfaces * width * 8), mul(surfaces * 8);
        for (std::size_t i = 0; i < main.size(); ++i) main[i] = half(static_cast<int>(i % 17) - 8);
        for (std::size_t i = 0; i < mul.size(); ++i) mul[i] = half(static_cast<int>(i * 3 % 9) - 4);
        Operands in{board.put(main)};
        (bn ? in.bn : in.bs) = board.put(mul);
        const auto got = run_as<std::uint16_t>(board, c, in, main.size());
        ASSERT_EQ(got.size(), main.size()) << board.message();
        // A partial last surface behind whole ones is "unavailable/zero".
        for (std::size_t ch = 0; ch < channels; ++ch)
          for (std::size_t column = 0; column < width; ++column) {
            const std::size_t at = (ch / 8 * width + column) * 8 + ch % 8;
            const bool lost = channels > 8 && ch >= channels / 8 * 8;
            ASSERT_EQ(number(got[at]), lost ? 0 : number(main[at]) * number(mul[ch]))
                << "bn " << bn << ", width " << width << ", channel " << ch << "/" << channels;
          }
      }
}

TEST_F(Stages, PerChannelOperandRepeatsOverPixels) {
  Halves zero(32), channel(16);
  for (std::size_t i = 0; i < 16; ++i) channel[i] = half(static_cast<double>(i + 1));
  const Cube c{
      .width = 2, .channels = 16, .ew = ew_cfg(kFp16, kAdd, false) & ~(3u << 28), .ew_stride = 16};
  const auto got = run_as<std::uint16_t>(board, c, {board.put(zero), board.put(channel)}, 32);
  ASSERT_EQ(got.size(), 32u) << board.message();
  for (std::size_t i = 0; i < 32; ++i) {
    EXPECT_EQ(got[i], channel[i / 16 * 8 + i % 8]) << i;
  }
}

// (x - 2^-24) * 2 * infinity, cut to [0, 1].
Cube compare_cube() {
  return {.bs_cfg = kAluMinus | kNoRelu,
          .bs_alu = 0x33800000,
          .bs_mul = 0x40000000,
          .bn_cfg = kAluMinus | kRelux | kNoAlu,
          .bn_mul = 0x7C000000,
          .bn_relux = bits(1),
          .ew = kEwOff,
          .erdma = 0x40000008};
}

TEST_F(Stages, ComparisonsLeaveAsHalvesOrIntegers) {
  x = {-2, -0.5, -0.0, 0, 0.25, 0.5, 1, 2};
  Operands in = main();
  in.ew = in.main;
  Cube c = compare_cube();
  expect(c, in, [](double v, std::size_t) { return v > 0 ? 1.0 : 0.0; });
  c.out_type = kInt16;
  const auto got = run_as<std::int16_t>(board, c, in, 8);
  ASSERT_EQ(got.size(), 8u) << board.message();
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(got[i], x[i] > 0 ? 1 : 0);
  }
}

TEST_F(Stages, WhereIsSixTasks) {
  x = {0, 0.25, 0.5, 0.75, 1, -1, 2, 0.49};
  const Operands in = main();
  Halves a, ones(8, half(1)), limit(8, half(0.5));
  for (int i = 10; i < 18; ++i) a.push_back(half(i));
  const std::uint32_t pa = board.put(a), pone = board.put(ones);
  const auto step = [&](const Cube& c, std::uint32_t m, std::uint32_t e) {
    const std::uint32_t out = board.room(16);
    EXPECT_TRUE(board.run(cube_program(c, {m, e}, out))) << board.message();
    return out;
  };
  const Cube minus{.ew = ew_cfg(kFp16, kMinus, false)}, times{.ew = ew_cfg(kFp16, kMul, true)};
  const std::uint32_t difference = step(minus, in.main, board.put(limit));
  const std::uint32_t mask = step(compare_cube(), difference, difference);
  const std::uint32_t kept = step(times, pa, mask), rest = step(minus, pone, mask);
  const std::uint32_t other = step(times, pone, rest);
  const Halves got =
      board.get<std::uint16_t>(step({.ew = ew_cfg(kFp16, kAdd, false)}, kept, other), 8);
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(got[i], x[i] > 0.5 ? a[i] : half(1)) << i;
  }
}

}  // namespace
}  // namespace npu::sim::programs
