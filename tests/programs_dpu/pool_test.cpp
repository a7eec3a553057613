// SPDX-License-Identifier: MIT
// Stand-alone pools [allbilly expt/pooling.py and pool.py; userspace pool_fp16, pool_int8_native,
// reduce_mean and ppu_sub4_chain gates; all on boards].
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>

#include "board.hpp"
#include "regdb/registers.hpp"

namespace npu::sim::programs {
namespace {

namespace rd = npu::regdb;

constexpr std::uint32_t kAverage = 0, kMax = 1, kMin = 2;

struct Pool {
  std::uint32_t type = 2;  // precision code
  std::uint32_t in_h = 4, in_w = 4, channels = 8;
  std::uint32_t kernel_h = 2, kernel_w = 2, stride_y = 1, stride_x = 1;
  std::uint32_t top = 0, right = 0, bottom = 0, left = 0;
  std::uint32_t method = kMax;
  std::uint32_t fill = 0;
  std::uint32_t recip_w = 0, recip_h = 0;
  std::uint32_t line = 0, surface = 0;  // bytes; 0: packed
  std::uint32_t use_cnt = 0, notch = 0;
  bool index = false;
  std::uint32_t storage() const { return type == 0 ? 1 : type >= 4 ? 3 : 2; }
  std::uint32_t bytes() const { return type == 0 ? 1 : type >= 4 ? 4 : 2; }
  std::uint32_t lanes() const { return 16 / bytes(); }
  std::uint32_t planes() const { return (channels + lanes() - 1) / lanes(); }
  std::uint32_t out_w() const { return (in_w + left + right - kernel_w) / stride_x + 1; }
  std::uint32_t out_h() const { return (in_h + top + bottom - kernel_h) / stride_y + 1; }
  std::uint32_t area() const { return out_w() * out_h(); }
};

// 6 bits of exponent, 10 of fraction.
std::uint32_t fp17(double v) {
  int exponent = 0;
  const double f = std::frexp(v, &exponent);
  auto fraction = static_cast<std::uint32_t>(std::lround((2 * f - 1) * 1024));
  if (fraction == 1024) {
    fraction = 0;
    ++exponent;
  }
  return static_cast<std::uint32_t>(exponent + 30) << 10 | fraction;
}

std::vector<std::uint64_t> program(const Pool& p, std::uint32_t in, std::uint32_t out) {
  rd::RegcmdStream s;
  const std::uint32_t line = p.line != 0 ? p.line : p.in_w * 16;
  const std::uint32_t surface = p.surface != 0 ? p.surface : p.in_h * p.in_w * 16;
  s.write(rd::ppu::S_POINTER::decode(0xE)).write(rd::ppu_rdma::RDMA_S_POINTER::decode(0xE));
  s.write(rd::ppu::DATA_CUBE_IN_WIDTH{.cube_in_width = p.in_w});
  s.write(rd::ppu::DATA_CUBE_IN_HEIGHT{.cube_in_height = p.in_h});
  s.write(rd::ppu::DATA_CUBE_IN_CHANNEL{.cube_in_channel = p.channels});
  s.write(rd::ppu::DATA_CUBE_OUT_WIDTH{.cube_out_width = p.out_w()});
  s.write(rd::ppu::DATA_CUBE_OUT_HEIGHT{.cube_out_height = p.out_h()});
  s.write(rd::ppu::DATA_CUBE_OUT_CHANNEL{.cube_out_channel = p.channels});
  s.write(rd::ppu::OPERATION_MODE_CFG{.index_en = p.index,
                                      .notch_addr = p.notch,
                                      .use_cnt = p.use_cnt,
                                      .flying_mode = true,
                                      .pooling_method = p.method});
  s.write(rd::ppu::POOLING_KERNEL_CFG{.kernel_stride_height = p.stride_y,
                                      .kernel_stride_width = p.stride_x,
                                      .kernel_height = p.kernel_h,
                                      .kernel_width = p.kernel_w});
  s.write(rd::ppu::RECIP_KERNEL_WIDTH{.recip_kernel_width = p.recip_w});
  s.write(rd::ppu::RECIP_KERNEL_HEIGHT{.recip_kernel_height = p.recip_h});
  s.write(rd::ppu::POOLING_PADDING_CFG{
      .pad_bottom = p.bottom, .pad_right = p.right, .pad_top = p.top, .pad_left = p.left});
  s.write(rd::ppu::PADDING_VALUE_1_CFG::decode(p.fill)).write(rd::ppu::PADDING_VALUE_2_CFG{});
  s.write(rd::ppu::DST_BASE_ADDR::decode(out));
  s.write(rd::ppu::DST_SURF_STRIDE::decode(p.area() * 16));
  s.write(rd::ppu::DATA_FORMAT::decode((p.area() * (p.index ? 2u : 1u)) << 4 | p.type));
  s.write(rd::ppu::MISC_CTRL::decode(3));
  s.write(rd::ppu_rdma::RDMA_CUBE_IN_WIDTH{.cube_in_width = p.in_w});
  s.write(rd::ppu_rdma::RDMA_CUBE_IN_HEIGHT{.cube_in_height = p.in_h});
  s.write(rd::ppu_rdma::RDMA_CUBE_IN_CHANNEL{.cube_in_channel = p.channels});
  s.write(rd::ppu_rdma::RDMA_SRC_BASE_ADDR{.src_base_addr = in});
  s.write(rd::ppu_rdma::RDMA_SRC_LINE_STRIDE::decode(line));
  s.write(rd::ppu_rdma::RDMA_SRC_SURF_STRIDE::decode(surface));
  s.write(rd::ppu_rdma::RDMA_DATA_FORMAT{.in_precision = p.storage()});
  s.write(rd::ppu_rdma::RDMA_OPERATION_ENABLE::decode(1));
  s.raw(0x0081, 0x60, 0x0008);
  return s.words();
}

using Source = std::function<double(std::uint32_t y, std::uint32_t x, std::uint32_t channel)>;

class Pools : public ::testing::Test {
 protected:
  std::uint32_t pack(const Pool& p, const Source& source, double tail = 0) {
    const std::size_t line = p.line != 0 ? p.line : p.in_w * 16;
    const std::size_t surface = p.surface != 0 ? p.surface : p.in_h * p.in_w * 16;
    std::vector<std::uint8_t> cube(p.planes() * surface);
    for (std::uint32_t ch = 0; ch < p.planes() * p.lanes(); ++ch)
      for (std::uint32_t y = 0; y < p.in_h; ++y)
        for (std::uint32_t x = 0; x < p.in_w; ++x)
          put(p, &cube[ch / p.lanes() * surface + y * line + x * 16 + ch % p.lanes() * p.bytes()],
              ch < p.channels ? source(y, x, ch) : tail);
    return board.put(cube);
  }
  static void put(const Pool& p, std::uint8_t* at, double v) {
    const auto i = static_cast<std::int32_t>(v);
    const std::uint16_t h = half(v);
    const auto f = static_cast<float>(v);
    if (p.type == 2)
      std::memcpy(at, &h, 2);
    else if (p.type == 5)
      std::memcpy(at, &f, 4);
    else
      std::memcpy(at, &i, p.bytes());
  }
  double value(const Pool& p, const std::vector<std::uint8_t>& cube, std::uint32_t y,
               std::uint32_t x, std::uint32_t ch) const {
    const std::uint8_t* at =
        &cube[(std::size_t{ch / p.lanes()} * p.area() + y * p.out_w() + x) * 16 +
              ch % p.lanes() * p.bytes()];
    std::uint16_t h;
    std::int16_t s;
    if (p.type == 0) return static_cast<std::int8_t>(*at);
    std::memcpy(&h, at, 2);
    std::memcpy(&s, at, 2);
    return p.type == 1 ? s : number(h);
  }
  // Runs; leaves the output's bytes in `out`.
  bool go(const Pool& p, std::uint32_t in) {
    const std::size_t bytes = std::size_t{p.planes()} * p.area() * 16 * (p.index ? 3 : 1);
    out_iova = board.room(bytes);
    const bool done = board.run(program(p, in, out_iova));
    out = board.get<std::uint8_t>(out_iova, bytes);
    return done;
  }
  void expect(const Pool& p, const Source& source, double pad = 0, double tolerance = 0) {
    ASSERT_TRUE(go(p, pack(p, source))) << board.message();
    for (std::uint32_t ch = 0; ch < p.channels; ++ch)
      for (std::uint32_t y = 0; y < p.out_h(); ++y)
        for (std::uint32_t x = 0; x < p.out_w(); ++x) {
          double sum = 0, low = INFINITY, high = -INFINITY;
          for (std::uint32_t ky = 0; ky < p.kernel_h; ++ky)
            for (std::uint32_t kx = 0; kx < p.kernel_w; ++kx) {
              const std::uint32_t iy = y * p.stride_y + ky - p.top;
              const std::uint32_t ix = x * p.stride_x + kx - p.left;
              const double v = iy < p.in_h && ix < p.in_w ? source(iy, ix, ch) : pad;
              sum += v;
              low = std::min(low, v);
              high = std::max(high, v);
            }
          const double want = p.method == kMax   ? high
                              : p.method == kMin ? low
                                                 : sum / (p.kernel_h * p.kernel_w);
          ASSERT_NEAR(value(p, out, y, x, ch), want, tolerance)
              << "channel " << ch << " at " << y << ", " << x;
        }
  }
  Board board;
  std::vector<std::uint8_t> out;
  std::uint32_t out_iova = 0;
};

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
