// SPDX-License-Identifier: MIT
// Pools on the simulated NPU equal the reference bit for bit, on every path that can do them.
#include "microkernels/pool.hpp"

#include <gtest/gtest.h>

#include <array>

#include "gemm_cases.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

using enum DataType;
using M = PoolMethod;
using P = PoolPath;

template <class T>
std::vector<T> random_image(const Pool2dShape& s, std::mt19937& random) {
  std::vector<T> image(std::size_t{s.in_height} * s.in_width * s.channels);
  for (T& value : image) {
    value = static_cast<T>(random());
    // fp16 of all signs below 32, none of them an infinity; and no negative zero, for of two zeros
    // a path takes the one or the other.
    if constexpr (sizeof(T) == 2) {
      value = static_cast<T>((value & 0x83FF) | (random() % 20) << 10);
      if (value == 0x8000) value = 0;
    }
  }
  return image;
}

template <class T>
testing::AssertionResult equal(const Cores& cores, std::size_t count, const Pool2dShape& s,
                               DataType type, const Pool2dOptions& options, std::mt19937& random,
                               RunStats* stats = nullptr) {
  Pool2d pool(cores.first(count), s, type, options);
  const auto image = random_image<T>(s, random);
  std::vector<T> out(std::size_t{s.out_height()} * s.out_width() * s.channels, T{0x5A});
  auto want = out;
  pool.run(image, out, stats);
  ref_pool2d(pool.plan(), image, want);
  for (std::size_t i = 0; i < out.size(); ++i)
    if (out[i] != want[i])
      return testing::AssertionFailure() << to_string(pool.plan()) << "element " << i << ": "
                                         << +out[i] << ", expected " << +want[i];
  return testing::AssertionSuccess();
}

testing::AssertionResult equal(const Cores& cores, std::size_t count, const Pool2dShape& s,
                               DataType type, const Pool2dOptions& options, std::mt19937& random,
                               RunStats* stats = nullptr) {
  return type == i8 ? equal<std::int8_t>(cores, count, s, type, options, random, stats)
                    : equal<std::uint16_t>(cores, count, s, type, options, random, stats);
}

Pool2dShape random_shape(std::mt19937& random, std::uint32_t window, std::uint32_t stride) {
  Pool2dShape s;
  s.kernel_height = pick(random, 1, window), s.kernel_width = pick(random, 1, window);
  s.stride_y = pick(random, 1, stride), s.stride_x = pick(random, 1, stride);
  const auto pad = [&](std::uint32_t kernel) {
    return random() % 2 == 0 ? 0 : pick(random, 0, std::min(kernel - 1, 7u));
  };
  s.pad_top = pad(s.kernel_height), s.pad_bottom = pad(s.kernel_height);
  s.pad_left = pad(s.kernel_width), s.pad_right = pad(s.kernel_width);
  s.in_height = pick(random, s.kernel_height, s.kernel_height + 20);
  s.in_width = pick(random, s.kernel_width, s.kernel_width + 20);
  s.channels = pick(random, 1, 50);
  return s;
}

// Rows of windows that overlap on the PPU and are summed.
bool too_many_rows(const Pool2dShape& s) {
  return ppu_columns(s.kernel_height, s.stride_y) == 0 && s.out_height() > 1;
}

TEST(Pool2d, PpuEqualsTheReference) {
  const Cores cores(3);
  std::mt19937 random(1);
  for (int round = 0; round < 90; ++round) {
    const M method = std::array{M::max, M::min, M::average}[static_cast<std::size_t>(round) % 3];
    const DataType type = round % 2 == 0 ? i8 : f16;
    Pool2dShape s = random_shape(random, round % 5 == 0 ? 16 : 5, 6);
    if (method == M::average && too_many_rows(s)) s.stride_y = s.kernel_height;
    Pool2dOptions options{.method = method, .path = P::ppu, .count_padding = round % 4 != 0};
    if (type == i8) options.zero = static_cast<std::int8_t>(random());
    ASSERT_TRUE(equal(cores, pick(random, 1, 3), s, type, options, random)) << round;
  }
}

TEST(Pool2d, ShiftedViewsEqualTheReference) {
  const Cores cores(3);
  std::mt19937 random(2);
  for (int round = 0; round < 60; ++round) {
    const Pool2dShape s = random_shape(random, round % 5 == 0 ? 16 : 5, 6);
    const Pool2dOptions options{.method = round % 4 < 2 ? M::max : M::min, .path = P::shifted};
    ASSERT_TRUE(equal(cores, pick(random, 1, 3), s, round % 2 == 0 ? i8 : f16, options, random))
        << round;
  }
}

TEST(Pool2d, ConvolutionsEqualTheReference) {
  const Cores cores(3);
  std::mt19937 random(3);
  for (int round = 0; round < 40; ++round) {
    const Pool2dShape s = random_shape(random, round % 5 == 0 ? 16 : 5, round % 3 == 0 ? 16 : 4);
    const DataType type = round % 2 == 0 ? i8 : f16;
    Pool2dOptions options{
        .method = M::average, .path = P::convolution, .count_padding = round % 4 < 2};
    if (type == i8) options.zero = static_cast<std::int8_t>(random());
    if (s.kernel_height * s.kernel_width == 1) continue;  // is no average
    ASSERT_TRUE(equal(cores, pick(random, 1, 3), s, type, options, random)) << round;
  }
}

TEST(Pool2d, GlobalPoolsOfAllSizes) {
  const Cores cores(3);
  std::mt19937 random(4);
  // 34 = 2 * 17 and 37 are too much for the PPU.
  for (const auto& [height, width] : std::initializer_list<std::pair<std::uint32_t, std::uint32_t>>{
           {1, 1}, {1, 7}, {7, 7}, {16, 16}, {28, 20}, {56, 8}, {34, 5}, {37, 37}}) {
    const Pool2dShape s = global_pool(height, width, 37);
    for (const M method : {M::max, M::min, M::average})
      for (const DataType type : {i8, f16}) {
        for (const P path : {P::automatic, P::ppu, P::convolution, P::matrix, P::shifted}) {
          const Pool2dOptions options{.method = method, .path = path};
          try {
            plan_pool2d(s, type, options);
          } catch (const Error& error) {
            ASSERT_NE(path, P::automatic) << error.what();
            continue;
          }
          ASSERT_TRUE(equal(cores, 3, s, type, options, random));
        }
      }
  }
  EXPECT_EQ(plan_pool2d(global_pool(28, 28, 8), i8, {.path = P::ppu}).passes.size(), 2u);
}

TEST(Pool2d, ThePathIsTheFastestOnAStockDriver) {
  const auto path = [](const Pool2dShape& s, DataType type, M method) {
    return plan_pool2d(s, type, {.method = method}, 3).options.path;
  };
  const Pool2dShape s{.in_height = 56,
                      .in_width = 56,
                      .channels = 64,
                      .kernel_height = 3,
                      .kernel_width = 3,
                      .stride_y = 2,
                      .stride_x = 2,
                      .pad_top = 1,
                      .pad_left = 1};
  for (const DataType type : {i8, f16}) {
    EXPECT_EQ(path(s, type, M::max), P::shifted);
    EXPECT_EQ(path(s, type, M::average), P::convolution);
    EXPECT_NE(path(global_pool(7, 7, 1280), type, M::average), P::ppu);
  }
  // Half a second for each task: what nobody would choose who has another way.
  const double seconds = plan_pool2d(s, i8, {.path = P::ppu}, 3).seconds;
  EXPECT_GT(seconds, 100 * plan_pool2d(s, i8, {}, 3).seconds);
}

TEST(Pool2d, EveryPathTellsWhatItsRunTook) {
  const Cores cores(1);
  std::mt19937 random(11);
  const Pool2dShape whole{
      .in_height = 6, .in_width = 6, .channels = 40, .kernel_height = 6, .kernel_width = 6};
  const Pool2dShape twos{.in_height = 6,
                         .in_width = 6,
                         .channels = 40,
                         .kernel_height = 2,
                         .kernel_width = 2,
                         .stride_y = 2,
                         .stride_x = 2};
  const std::pair<Pool2dShape, Pool2dOptions> runs[] = {
      {whole, {.method = PoolMethod::average, .path = P::matrix}},
      {twos, {.method = PoolMethod::average, .path = P::convolution}},
      {twos, {.path = P::shifted}},
      {twos, {.path = P::ppu}}};
  for (const auto& [shape, options] : runs)
    for (const DataType type : {i8, f16}) {
      SCOPED_TRACE(to_string(options.path));
      RunStats stats;
      ASSERT_TRUE(equal(cores, 1, shape, type, options, random, &stats));
      EXPECT_GE(stats.submits, 1u);
      EXPECT_GE(stats.jobs, 1u);
      EXPECT_GE(stats.tasks, stats.jobs);
      EXPECT_GE(stats.regcmd_words, stats.tasks);
      EXPECT_GT(stats.device.count(), 0);  // modelled
    }
}

TEST(Pool2d, EveryTaskOfThePpuIsAJob) {
  const Cores cores(1);
  std::mt19937 random(5);
  RunStats stats;
  // 128 columns of two overlapping rows are two tasks.
  const Pool2dShape s{.in_height = 9,
                      .in_width = 257,
                      .channels = 16,
                      .kernel_height = 3,
                      .kernel_width = 3,
                      .stride_y = 2,
                      .stride_x = 2};
  ASSERT_TRUE(equal(cores, 1, s, i8, {.path = P::ppu}, random, &stats));
  EXPECT_EQ(stats.tasks, 2u);
  EXPECT_EQ(stats.jobs, 2u);
}

TEST(Pool2d, RunsAgainOnAnotherImage) {
  const Cores cores(2);
  std::mt19937 random(6);
  for (const P path : {P::ppu, P::shifted}) {
    const Pool2dShape s{.in_height = 8,
                        .in_width = 8,
                        .channels = 20,
                        .kernel_height = 2,
                        .kernel_width = 2,
                        .stride_y = 2,
                        .stride_x = 2};
    Pool2d pool(cores.first(2), s, i8, {.path = path});
    for (int round = 0; round < 3; ++round) {
      const auto image = random_image<std::int8_t>(s, random);
      std::vector<std::int8_t> out(4 * 4 * 20), want(out.size());
      pool.run(image, out);
      ref_pool2d(pool.plan(), image, want);
      ASSERT_EQ(out, want);
    }
  }
}

TEST(Pool2d, ReciprocalsOfThePpu) {
  EXPECT_EQ(ppu_reciprocal(i8, 3), 0x5555u);
  EXPECT_EQ(ppu_reciprocal(i8, 1), 0x10000u);
  // [notes ppu-pooling, HW], and 1/1 as every proven program has it.
  EXPECT_EQ(ppu_reciprocal(f16, 2), 0x7800u);
  EXPECT_EQ(ppu_reciprocal(f16, 3), 0x7555u);
  EXPECT_EQ(ppu_reciprocal(f16, 1), 0x7C00u);
  EXPECT_EQ(ppu_columns(3, 1), 32u);
  EXPECT_EQ(ppu_columns(2, 2), 128u);
  EXPECT_EQ(ppu_columns(16, 2), 16u);
  EXPECT_EQ(ppu_columns(9, 1), 0u);
}

TEST(Pool2d, ScalesOfAveragesAreTheNearest) {
  for (std::uint32_t n = 1; n <= 1024; ++n) {
    const Requant r = average_scale(n, 5);
    EXPECT_GE(r.scale, 0x4000) << n;
    const double have = std::ldexp(r.scale, -r.shift);
    EXPECT_LE(std::abs(have - 1.0 / n), std::ldexp(0.5, -r.shift)) << n;
    EXPECT_EQ(requantise(0, r), 5);
  }
}

TEST(Pool2d, WhatNoPathDoesIsRefused) {
  const Pool2dShape good{
      .in_height = 20, .in_width = 20, .channels = 16, .kernel_height = 3, .kernel_width = 3};
  const auto refused = [&](auto change, DataType type = i8, Pool2dOptions options = {}) {
    Pool2dShape s = good;
    change(s);
    try {
      plan_pool2d(s, type, options);
    } catch (const Error& error) {
      return error.code() == ErrorCode::invalid_argument;
    }
    return false;
  };
  EXPECT_FALSE(refused([](Pool2dShape&) {}));
  EXPECT_TRUE(refused([](Pool2dShape& s) { s.in_height = 0; }));
  EXPECT_TRUE(refused([](Pool2dShape& s) { s.in_width = 9000; }));
  EXPECT_TRUE(refused([](Pool2dShape& s) { s.channels = 0; }));
  EXPECT_TRUE(refused([](Pool2dShape& s) { s.kernel_width = 0; }));
  EXPECT_TRUE(refused([](Pool2dShape& s) { s.kernel_width = 21; }));
  EXPECT_TRUE(refused([](Pool2dShape& s) { s.kernel_height = 17; }));
  EXPECT_TRUE(refused([](Pool2dShape& s) { s.stride_x = 0; }));
  EXPECT_TRUE(refused([](Pool2dShape& s) { s.stride_x = 17; }));
  EXPECT_TRUE(refused([](Pool2dShape& s) { s.pad_left = 3; }));
  EXPECT_TRUE(refused([](Pool2dShape& s) { s.kernel_height = 16, s.pad_bottom = 8; }));
  EXPECT_TRUE(refused([](Pool2dShape&) {}, bf16));
  EXPECT_TRUE(refused([](Pool2dShape&) {}, f16, {.zero = 1}));
  EXPECT_TRUE(refused([](Pool2dShape&) {}, i8, {.path = P::convolution}));
  EXPECT_TRUE(refused([](Pool2dShape&) {}, i8, {.path = P::matrix}));
  EXPECT_TRUE(refused([](Pool2dShape&) {}, i8, {.method = M::average, .path = P::shifted}));
  EXPECT_TRUE(refused([](Pool2dShape& s) { s.kernel_height = 9; }, i8,
                      {.method = M::average, .path = P::ppu}));
  EXPECT_THROW(Pool2d({}, good, i8), Error);
  const Cores cores(1);
  Pool2d pool(cores.first(1), good, i8);
  std::vector<std::int8_t> in(20 * 20 * 16), out(18 * 18 * 16), small(5);
  EXPECT_THROW(pool.run(small, out), Error);
  EXPECT_THROW(pool.run(in, small), Error);
}

}  // namespace
}  // namespace npu::kernels
