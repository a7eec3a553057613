// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <ostream>

#include "conv_case.hpp"

namespace npu::sim::test {

static void PrintTo(const ConvCase& c, std::ostream* os) {
  *os << (c.depthwise ? "depthwise " : "conv ") << c.in_width << "x" << c.in_height << "x"
      << c.in_channels << " -> " << c.out_channels << ", kernel " << c.kernel_width << "x"
      << c.kernel_height << " s" << c.stride << " d" << c.dilation << " pads " << c.pad_left << ","
      << c.pad_top << "," << c.pad_right << "," << c.pad_bottom << " out " << c.out_precision
      << " ow " << c.ow_op << " truncate " << c.truncate;
}

namespace {

void expect_equal(Bench& bench, const ConvCase& c, std::mt19937& rng, unsigned core = 0) {
  const ConvMemory memory = random_memory(c, rng);
  bench.load(c, memory);
  const bool done = bench.run(program(c), core);
  ASSERT_TRUE(done) << ::testing::PrintToString(c) << ": "
                    << (bench.chip.fault(core) ? bench.chip.fault(core)->message : "no fault");
  const auto want = reference(c, memory);
  const auto got = bench.output(c);
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i)
    ASSERT_EQ(got[i], want[i]) << ::testing::PrintToString(c) << ": element " << i;
}

// A scale and shift that keep most outputs inside int8.
void requantise(ConvCase& c, std::mt19937& rng) {
  c.scale = std::uniform_int_distribution<int>(0x4000, 0x7FFF)(rng);
  c.shift = std::uniform_int_distribution<std::uint32_t>(20, 27)(rng);
  c.offset = std::uniform_int_distribution<int>(-128, 127)(rng);
}

TEST(Convolution, RandomShapesEqualTheNestedLoops) {
  std::mt19937 rng(20261121);
  const auto pick = [&](std::uint32_t low, std::uint32_t high) {
    return std::uniform_int_distribution<std::uint32_t>(low, high)(rng);
  };
  Bench bench;
  for (int i = 0; i < 150; ++i) {
    ConvCase c;
    c.in_width = pick(1, 14);
    c.in_height = pick(1, 14);
    c.in_channels = pick(1, 70);
    c.kernel_width = pick(1, 5);
    c.kernel_height = pick(1, 5);
    c.stride = pick(1, 3);
    c.dilation = pick(0, 3) == 0 ? 2 : 1;
    c.depthwise = pick(0, 2) == 0;
    c.out_channels = c.depthwise ? c.in_channels : pick(1, 70);
    c.pad_left = pick(0, c.kernel_width);
    c.pad_top = pick(0, c.kernel_height);
    // At least one output: pad up to the extent of the kernel.
    const auto fill = [](std::uint32_t in, std::uint32_t pad, std::uint32_t extent) {
      return in + pad >= extent ? 0 : extent - in - pad;
    };
    c.pad_right = fill(c.in_width, c.pad_left, (c.kernel_width - 1) * c.dilation + 1) + pick(0, 2);
    c.pad_bottom =
        fill(c.in_height, c.pad_top, (c.kernel_height - 1) * c.dilation + 1) + pick(0, 2);
    c.pad_value = static_cast<std::int32_t>(pick(0, 255)) - 128;
    c.ow_op = static_cast<std::int32_t>(pick(0, 255)) - 127;
    c.truncate = pick(0, 3) == 0 ? pick(1, 4) : 0;
    c.relu = pick(0, 3) == 0;
    // SIZE_E has no room for the 16 surfaces of an int32 depthwise group.
    c.out_precision = !c.depthwise && pick(0, 3) == 0 ? 4 : 0;
    if (c.out_precision == 0) requantise(c, rng);
    if (c.out_width() * c.out_height() >= 12 && c.out_precision == 0 && pick(0, 2) == 0) {
      c.residual = true;
      c.ew_offset = static_cast<std::int32_t>(pick(0, 255)) - 128;
      c.ew_scale = static_cast<std::int32_t>(pick(0, 0x7FFF));
      c.ew_shift = pick(0, 10);
    }
    expect_equal(bench, c, rng);
    if (HasFatalFailure()) return;
  }
}

TEST(Convolution, SumsAsFloatAreTheExactSums) {
  std::mt19937 rng(5);
  Bench bench;
  ConvCase c;
  c.out_precision = 5;
  c.out_channels = 34;
  expect_equal(bench, c, rng);
}

TEST(Convolution, MatrixProductOfOneColumnImages) {
  std::mt19937 rng(6);
  Bench bench;
  for (std::uint32_t m : {1u, 4u, 37u, 300u}) {
    ConvCase c;
    c.in_width = 1;
    c.in_height = m;
    c.kernel_width = c.kernel_height = 1;
    c.in_channels = 96;
    c.out_channels = 64;
    c.out_precision = 4;
    expect_equal(bench, c, rng);
  }
}

TEST(Convolution, ExtremeOperandsDoNotSaturateInside) {
  // -128 * -128 in every product is what breaks kernels that add pairs in int16.
  Bench bench;
  ConvCase c;
  c.in_channels = 512;
  c.kernel_width = c.kernel_height = 1;
  c.out_channels = 32;
  c.out_precision = 4;
  std::mt19937 rng(1);
  ConvMemory memory = random_memory(c, rng);
  std::fill(memory.input.begin(), memory.input.end(), std::int8_t{-128});
  std::fill(memory.weights.begin(), memory.weights.end(), std::int8_t{-128});
  std::fill(memory.bias.begin(), memory.bias.end(), 0);
  bench.load(c, memory);
  ASSERT_TRUE(bench.run(program(c)));
  for (const std::int32_t value : bench.output(c)) ASSERT_EQ(value, 512 * 128 * 128);
}

TEST(Convolution, EveryCoreGivesTheSameBytes) {
  std::mt19937 rng(8);
  Bench bench;
  ConvCase c;
  for (unsigned core = 0; core < 3; ++core) expect_equal(bench, c, rng, core);
}

TEST(Convolution, ResultsDoNotDependOnTheNumberOfThreads) {
  ConvCase c;
  c.in_channels = 48;
  c.out_channels = 80;
  for (unsigned threads : {1u, 2u, 5u}) {
    std::mt19937 rng(9);
    ChipOptions options;
    options.threads = threads;
    Bench bench(options);
    expect_equal(bench, c, rng);
  }
}

TEST(Convolution, WeightReuseKeepsTheKernelsOfTheTaskBefore) {
  std::mt19937 rng(10);
  Bench bench;
  ConvCase c;
  const ConvMemory memory = random_memory(c, rng);
  bench.load(c, memory);
  ASSERT_TRUE(bench.run(program(c)));
  // Other bytes behind DCOMP_ADDR0: the reusing task must not look at them.
  const std::vector<std::int8_t> other(memory.weights.size(), 77);
  bench.map(kWeightsIova, other.data(), other.size());
  c.weight_reuse = true;
  ASSERT_TRUE(bench.run(program(c)));
  EXPECT_EQ(bench.output(c), reference(c, memory));
}

TEST(Convolution, DataReuseKeepsTheFeaturesOfTheTaskBefore) {
  std::mt19937 rng(11);
  Bench bench;
  ConvCase c;
  const ConvMemory memory = random_memory(c, rng);
  bench.load(c, memory);
  ASSERT_TRUE(bench.run(program(c)));
  const std::vector<std::int8_t> other(memory.input.size(), 1);
  bench.map(kInputIova, other.data(), other.size());
  c.data_reuse = true;
  ASSERT_TRUE(bench.run(program(c)));
  EXPECT_EQ(bench.output(c), reference(c, memory));
}

TEST(Convolution, SizeECountsTheSurfacesThatAreWritten) {
  // As swept on a board: int32 output needs 7; with 3 only half of each group of 32 is there.
  std::mt19937 rng(13);
  Bench bench;
  ConvCase c;
  c.out_precision = 4;
  c.out_channels = 64;
  const ConvMemory memory = random_memory(c, rng);
  bench.load(c, memory);
  c.size_e = 3;
  ASSERT_TRUE(bench.run(program(c)));
  const auto want = reference(c, memory), got = bench.output(c);
  const std::size_t plane = std::size_t{c.out_width()} * c.out_height();
  for (std::size_t i = 0; i < want.size(); ++i)
    ASSERT_EQ(got[i], i / plane % 32 < 16 ? want[i] : 0) << i;
  // More surfaces than the group has: the depthwise setting in a dense program times out.
  c.out_precision = 0;
  EXPECT_FALSE(bench.run(program(c)));
  EXPECT_EQ(bench.chip.fault(0)->kind, FaultKind::hang);
  EXPECT_EQ(bench.chip.fault(0)->where, "DPU.BS_OW_CFG.size_e_0");
}

TEST(Convolution, SumsWithCpendLiveAreRefused) {
  // On a board every one is wrong, with any OW_OP and QD_EN [userspace cpend_wzp_probe].
  std::mt19937 rng(14);
  ConvCase c;
  c.out_precision = 4;
  const ConvMemory memory = random_memory(c, rng);
  for (const std::int32_t ow_op : {0, 37, -37}) {
    Bench bench;
    bench.load(c, memory);
    c.ow_op = ow_op;
    auto words = program(c);
    ASSERT_TRUE(bench.run(words));
    EXPECT_EQ(bench.output(c), reference(c, memory)) << "bypassed, " << ow_op;
    for (std::uint64_t& word : words)
      if ((word & 0xFFFF) == 0x4050) word &= ~(std::uint64_t{2} << 16);
    EXPECT_FALSE(bench.run(words)) << ow_op;
    ASSERT_TRUE(bench.chip.fault(0));
    EXPECT_EQ(bench.chip.fault(0)->kind, FaultKind::not_modelled);
    EXPECT_EQ(bench.chip.fault(0)->where, "DPU.BS_OW_CFG.od_bypass");
  }
}

TEST(Convolution, ReuseOfAnEmptyBufferIsRefused) {
  std::mt19937 rng(12);
  Bench bench;
  ConvCase c;
  c.weight_reuse = true;
  bench.load(c, random_memory(c, rng));
  EXPECT_FALSE(bench.run(program(c)));
  ASSERT_TRUE(bench.chip.fault(0));
  EXPECT_EQ(bench.chip.fault(0)->where, "CNA.CBUF_CON0.weight_reuse");
}

}  // namespace
}  // namespace npu::sim::test
