// SPDX-License-Identifier: MIT
// Stand-alone pools [allbilly expt/pooling.py and pool.py; userspace pool_fp16, pool_int8_native,
// reduce_mean and ppu_sub4_chain gates; all on boards].
#include <random>

#include "pool_program.hpp"

namespace npu::sim::programs {
namespace {

const Source kRamp = [](std::uint32_t y, std::uint32_t x, std::uint32_t c) {
  return (static_cast<double>((y * 4 + x) * 8 + c) - 32) / 8;
};

TEST_F(Pools, Fp16MethodsAndGlobalAverage) {
  Pool p{.recip_w = fp17(0.5), .recip_h = fp17(0.5)};
  EXPECT_EQ(p.recip_w, 0x7800u);
  for (p.method = kAverage; p.method <= kMin; ++p.method)
    expect(p, kRamp, 0, p.method == kAverage ? 0.0625 : 0);
  expect({.in_h = 3,
          .in_w = 5,
          .kernel_h = 3,
          .kernel_w = 5,
          .stride_y = 3,
          .stride_x = 5,
          .method = kAverage,
          .recip_w = fp17(1.0 / 5),
          .recip_h = fp17(1.0 / 3)},
         kRamp, 0, 0.0625);
  // FP17 holds 1/1, which the notes' fp16(65536 / k) would make infinite.
  EXPECT_EQ(fp17(1), 0x7C00u);
  expect({.kernel_h = 1, .method = kAverage, .recip_w = fp17(0.5), .recip_h = fp17(1)}, kRamp, 0,
         0.01);
}

TEST_F(Pools, TheFixedReciprocalDividesByFourWhateverTheWindow) {
  // pool.py's global average: 0x7800 twice, and the host divides by the height.
  const Pool p{.kernel_h = 4,
               .kernel_w = 4,
               .stride_y = 4,
               .stride_x = 4,
               .method = kAverage,
               .recip_w = 0x7800,
               .recip_h = 0x7800};
  const Source ramp = [](std::uint32_t y, std::uint32_t x, std::uint32_t c) {
    return static_cast<double>((y * 4 + x) * 8 + c) / 8;
  };
  ASSERT_TRUE(go(p, pack(p, ramp))) << board.message();
  for (std::uint32_t c = 0; c < 8; ++c) {
    EXPECT_NEAR(value(p, out, 0, 0, c) / 4, 7.5 + c / 8.0, 0.05) << c;
  }
}

TEST_F(Pools, IntegersPoolNatively) {
  const Source lanes = [](std::uint32_t y, std::uint32_t x, std::uint32_t c) {
    const int lane = static_cast<int>(c);
    const int rows[] = {-100 + lane, 50 - lane, -5 - lane, lane % 2 != 0 ? -120 : 100 - lane};
    return static_cast<double>(rows[y * 2 + x]);
  };
  for (const std::uint32_t type : {0u, 1u})
    for (const std::uint32_t method : {kMax, kMin})
      expect({.type = type,
              .in_h = 2,
              .in_w = 2,
              .channels = type == 0 ? 16u : 8u,
              .stride_y = 2,
              .stride_x = 2,
              .method = method},
             lanes);
  // The vendor's 1x1 token over two surfaces.
  expect({.type = 0, .in_h = 1, .in_w = 1, .channels = 32, .kernel_h = 1, .kernel_w = 1},
         [](std::uint32_t, std::uint32_t, std::uint32_t c) { return static_cast<double>(c) - 16; });
}

TEST_F(Pools, IntegerAveragesTakeReciprocalsOfSixteenBits) {
  const struct {
    std::uint32_t h, w;
    std::vector<int> pattern;
  } shapes[] = {{3, 3, {-4, -3, -2, -1, 0, 1, 2, 3, 4}}, {2, 3, {-3, -2, -1, 1, 2, 3}}};
  for (const std::uint32_t type : {0u, 1u})
    for (const auto& k : shapes)
      expect({.type = type,
              .in_h = k.h,
              .in_w = k.w,
              .channels = type == 0 ? 16u : 8u,
              .kernel_h = k.h,
              .kernel_w = k.w,
              .stride_y = k.h,
              .stride_x = k.w,
              .method = kAverage,
              .recip_w = static_cast<std::uint32_t>(std::lround(65536.0 / k.w)),
              .recip_h = static_cast<std::uint32_t>(std::lround(65536.0 / k.h))},
             [&](std::uint32_t y, std::uint32_t x, std::uint32_t c) {
               return k.pattern[y * k.w + x] + static_cast<double>(c) - 4;
             });
  // With the fp16 kind of reciprocal the result is 0.8789 of the mean: inexact as on the board.
  const Pool p{.type = 0,
               .in_h = 2,
               .in_w = 2,
               .channels = 16,
               .stride_y = 2,
               .stride_x = 2,
               .method = kAverage,
               .recip_w = 0x7800,
               .recip_h = 0x7800};
  const int offsets[] = {-40, 20, -8, 28};
  ASSERT_TRUE(go(p, pack(p, [&](std::uint32_t y, std::uint32_t x, std::uint32_t c) {
                   return offsets[y * 2 + x] + static_cast<double>(c);
                 })));
  const int inexact[] = {0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11, 11, 12, 13};
  for (std::uint32_t c = 0; c < 16; ++c) {
    EXPECT_EQ(value(p, out, 0, 0, c), inexact[c]) << c;
  }
}

TEST_F(Pools, TypesOfThirtyTwoBitsComeOutAsZeros) {
  for (const std::uint32_t type : {4u, 5u}) {
    const Pool p{.type = type, .in_h = 2, .in_w = 2, .channels = 4, .stride_y = 2, .stride_x = 2};
    ASSERT_TRUE(go(p, pack(p, kRamp))) << board.message();
    EXPECT_EQ(out, std::vector<std::uint8_t>(16, 0)) << type;
  }
}

TEST_F(Pools, ExtremesOfTheFields) {
  const Source big = [](std::uint32_t y, std::uint32_t x, std::uint32_t c) {
    return static_cast<double>((y * 16 + x) * 8 + c);
  };
  expect({.in_h = 16, .in_w = 16, .kernel_h = 16, .kernel_w = 16, .stride_y = 16, .stride_x = 16},
         big);
  expect(
      {.in_h = 8,
       .in_w = 8,
       .kernel_h = 8,
       .kernel_w = 8,
       .top = 7,
       .right = 7,
       .bottom = 7,
       .left = 7},
      [&](std::uint32_t y, std::uint32_t x, std::uint32_t c) { return 1 + (y * 8 + x) * 8.0 + c; });
  expect(
      {.in_h = 2, .in_w = 2, .top = 1, .right = 1, .bottom = 1, .left = 1, .fill = 0xFC00},
      [](std::uint32_t y, std::uint32_t x, std::uint32_t c) {
        return -1 - static_cast<double>((y * 2 + x) * 8 + c);
      },
      -INFINITY);
}

TEST_F(Pools, UseCountChangesNothing) {
  for (std::uint32_t count = 0; count < 8; ++count)
    expect(
        {.in_h = 1,
         .in_w = 1,
         .top = 1,
         .right = 1,
         .bottom = 1,
         .left = 1,
         .method = kAverage,
         .recip_w = fp17(0.5),
         .recip_h = fp17(0.5),
         .use_cnt = count},
        [](std::uint32_t, std::uint32_t, std::uint32_t) { return 8.0; }, 0, 0.0625);
}

TEST_F(Pools, PositionsHaveThreeBitsOfRowAndColumn) {
  const Pool small{.in_h = 2, .in_w = 2, .stride_y = 2, .stride_x = 2, .index = true};
  ASSERT_TRUE(
      go(small, pack(small, [](std::uint32_t y, std::uint32_t x,
                               std::uint32_t c) { return y * 2 + x == c % 4 ? 100.0 + c : 0.0; })))
      << board.message();
  const std::uint16_t small_want[] = {0, 1, 8, 9, 0, 1, 8, 9};
  for (std::uint32_t c = 0; c < 8; ++c) {
    std::uint16_t at;
    std::memcpy(&at, &out[32 + c * 2], 2);  // behind INDEX_ADD bytes
    EXPECT_EQ(at, small_want[c]);
    EXPECT_EQ(value(small, out, 0, 0, c), 100 + c);
  }
  const std::uint32_t spots[8][2] = {{0, 7}, {0, 8},  {7, 15}, {8, 0},
                                     {8, 8}, {15, 7}, {15, 8}, {15, 15}};
  const Pool wide{.in_h = 16,
                  .in_w = 16,
                  .kernel_h = 16,
                  .kernel_w = 16,
                  .stride_y = 16,
                  .stride_x = 16,
                  .index = true};
  ASSERT_TRUE(go(wide, pack(wide,
                            [&](std::uint32_t y, std::uint32_t x, std::uint32_t c) {
                              return y == spots[c][0] && x == spots[c][1] ? 100.0 + c : 0.0;
                            })))
      << board.message();
  for (std::uint32_t c = 0; c < 8; ++c) {
    std::uint16_t at;
    std::memcpy(&at, &out[32 + c * 2], 2);
    EXPECT_EQ(at, (spots[c][0] & 7) << 3 | (spots[c][1] & 7)) << c;
  }
}

TEST_F(Pools, PartialAtomsAndStrides) {
  const Pool three{.in_h = 2, .in_w = 2, .channels = 3, .stride_y = 2, .stride_x = 2};
  const double values[] = {1, 50, 3, 20, 2, 60, 4, 5, 6, 7, 8, 9};
  ASSERT_TRUE(go(three, pack(
                            three,
                            [&](std::uint32_t y, std::uint32_t x, std::uint32_t c) {
                              return values[(y * 2 + x) * 3 + c];
                            },
                            -99)));
  const double want[] = {20, 50, 60, -99, -99, -99, -99, -99};
  for (std::uint32_t c = 0; c < 8; ++c) {
    EXPECT_EQ(value(three, out, 0, 0, c), want[c]) << c;
  }
  const Source sixteen = [](std::uint32_t y, std::uint32_t x, std::uint32_t c) {
    return static_cast<double>((y * 3 + x) * 16 + c) - 40;
  };
  Pool strided{.in_h = 3, .in_w = 3, .channels = 16, .line = 80, .surface = 256};
  expect(strided, sixteen);
  // A notch moves the second row of the output: its place then holds nothing.
  strided.notch = 2;
  ASSERT_TRUE(go(strided, pack(strided, sixteen)));
  EXPECT_EQ(value(strided, out, 0, 1, 0), sixteen(1, 2, 0));
  EXPECT_NE(value(strided, out, 1, 0, 0), sixteen(2, 1, 0));
}

TEST_F(Pools, ChainsThroughSmallIntermediates) {
  const Source source = [](std::uint32_t y, std::uint32_t x, std::uint32_t c) {
    return (static_cast<double>((y * 8 + x) * 8 + c) - 200) / 8;
  };
  for (const std::uint32_t method : {kAverage, kMax, kMin}) {
    Pool p{.in_h = 8, .in_w = 8, .stride_y = 2, .stride_x = 2, .method = method};
    p.recip_w = p.recip_h = 0x7800;
    std::uint32_t in = pack(p, source);
    for (; p.in_h > 1; p.in_h = p.in_w = p.in_w / 2) {
      ASSERT_TRUE(go(p, in)) << board.message();
      in = out_iova;
    }
    for (std::uint32_t c = 0; c < 8; ++c) {
      const double low = source(0, 0, c), high = source(7, 7, c);
      const double want = method == kMax ? high : method == kMin ? low : (low + high) / 2;
      std::uint16_t h;
      std::memcpy(&h, &out[c * 2], 2);
      EXPECT_NEAR(number(h), want, method == kAverage ? 0.0625 : 0) << c;
    }
  }
}

TEST_F(Pools, GlobalMeansInTwoPasses) {
  // 28 = 4 * 7 rows; an asymmetric last pass splits the divisor over both reciprocals.
  std::mt19937 rng(5);
  std::vector<double> data(28 * 20 * 130);
  for (auto& v : data) v = number(half(static_cast<double>(rng() % 2001) / 1000 - 1));
  const Source source = [&](std::uint32_t y, std::uint32_t x, std::uint32_t c) {
    return data[(std::size_t{y} * 20 + x) * 130 + c];
  };
  Pool first{.in_h = 28,
             .in_w = 20,
             .channels = 130,
             .kernel_h = 2,
             .kernel_w = 2,
             .stride_y = 2,
             .stride_x = 2,
             .method = kAverage,
             .recip_w = 0x7800,
             .recip_h = 0x7800};
  ASSERT_TRUE(go(first, pack(first, source))) << board.message();
  const double each = 65536 / std::sqrt(14.0 * 10);
  const Pool second{.in_h = 14,
                    .in_w = 10,
                    .channels = 130,
                    .kernel_h = 14,
                    .kernel_w = 10,
                    .stride_y = 14,
                    .stride_x = 10,
                    .method = kAverage,
                    .recip_w = half(each),
                    .recip_h = half(each)};
  ASSERT_TRUE(go(second, out_iova)) << board.message();
  for (std::uint32_t c = 0; c < 130; ++c) {
    double mean = 0;
    for (std::uint32_t i = 0; i < 28 * 20; ++i) mean += data[std::size_t{i} * 130 + c];
    EXPECT_NEAR(value(second, out, 0, 0, c), mean / (28 * 20), 0.001) << c;
  }
}

}  // namespace
}  // namespace npu::sim::programs
