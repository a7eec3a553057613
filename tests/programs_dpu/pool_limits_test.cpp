// SPDX-License-Identifier: MIT
// How wide a pool may be: shapes that ended and shapes that did not on a board [iree-rocket
// LIMITS.md, pooling.rs, tests/pooling_oracle_hw.rs].
#include "pool_program.hpp"

namespace npu::sim::programs {
namespace {

const Source kSource = [](std::uint32_t y, std::uint32_t x, std::uint32_t c) {
  return static_cast<double>((y * 37 + x * 11 + c * 5) % 127) - 60;
};

Pool square(std::uint32_t kernel, std::uint32_t stride, std::uint32_t width) {
  return {.in_h = 8,
          .in_w = width,
          .kernel_h = kernel,
          .kernel_w = kernel,
          .stride_y = stride,
          .stride_x = stride};
}

TEST_F(Pools, TheLineBufferHoldsWhatABoardShowed) {
  const struct {
    std::uint32_t kernel, stride, ends, hangs;
  } cases[] = {
      {3, 1, 34, 35},   {4, 1, 34, 36},   {5, 1, 20, 24}, {8, 1, 20, 24},
      {3, 2, 129, 131}, {2, 2, 256, 258}, {2, 1, 40, 66},
  };
  for (const auto& k : cases) {
    SCOPED_TRACE(testing::Message() << k.kernel << "x" << k.kernel << " stride " << k.stride);
    expect(square(k.kernel, k.stride, k.ends), kSource);
    Board fresh;
    const Pool p = square(k.kernel, k.stride, k.hangs);
    EXPECT_FALSE(fresh.run(program(p, fresh.room(0x10000), fresh.room(0x10000))));
    EXPECT_EQ(fresh.fault(), "PPU.DATA_CUBE_OUT_WIDTH");
  }
}

TEST_F(Pools, OnlyTheVerticalOverlapCounts) {
  expect({.in_h = 24, .in_w = 24, .channels = 16, .kernel_h = 3, .kernel_w = 2, .stride_y = 2},
         kSource);
  // 65 columns of int8 with windows side by side.
  expect({.type = 0, .in_h = 4, .in_w = 130, .channels = 16, .stride_y = 2, .stride_x = 2},
         kSource);
  // 8x8 with stride 3: three rows overlap.
  expect({.type = 0,
          .in_h = 48,
          .in_w = 64,
          .channels = 16,
          .kernel_h = 8,
          .kernel_w = 8,
          .stride_y = 3,
          .stride_x = 3},
         kSource);
}

TEST_F(Pools, WideImagesGoInTilesThatShareAnOutput) {
  // 3x3, stride 2: 256 columns in tiles of 63 and 64, whose rows a notch keeps apart.
  const Pool whole{
      .in_h = 9, .in_w = 256, .kernel_h = 3, .kernel_w = 3, .stride_y = 2, .stride_x = 2};
  const std::uint32_t in = pack(whole, kSource);
  const std::size_t bytes = std::size_t{whole.area()} * 16;
  out_iova = board.room(bytes);
  std::uint32_t first = 0;
  for (const std::uint32_t columns : {63u, 64u}) {
    Pool tile = whole;
    tile.in_w = (columns - 1) * 2 + 3;
    tile.line = whole.in_w * 16;
    tile.surface = tile.line * tile.in_h;
    tile.notch = whole.out_w() - columns;
    ASSERT_EQ(tile.out_w(), columns);
    ASSERT_TRUE(board.run(program(tile, in + first * 2 * 16, out_iova + first * 16)))
        << board.message();
    first += columns;
  }
  out = board.get<std::uint8_t>(out_iova, bytes);
  for (std::uint32_t y = 0; y < whole.out_h(); ++y)
    for (std::uint32_t x = 0; x < whole.out_w(); ++x) {
      double want = -1000;
      for (std::uint32_t k = 0; k < 9; ++k)
        want = std::max(want, kSource(y * 2 + k / 3, x * 2 + k % 3, 3));
      ASSERT_EQ(value(whole, out, y, x, 3), want) << y << ", " << x;
    }
}

TEST(PoolLimits, AStrideWiderThanTheKernelHangs) {
  for (const auto& [y, x] : {std::pair{4u, 3u}, {5u, 3u}, {3u, 8u}}) {
    Pool p{.type = 0,
           .in_h = 31,
           .in_w = 64,
           .channels = 16,
           .kernel_h = 3,
           .kernel_w = 3,
           .stride_y = y,
           .stride_x = x};
    Board board;
    EXPECT_FALSE(board.run(program(p, board.room(0x10000), board.room(0x10000))));
    EXPECT_EQ(board.fault(), y > 3 ? "PPU.POOLING_KERNEL_CFG.kernel_stride_height"
                                   : "PPU.POOLING_KERNEL_CFG.kernel_stride_width");
    ChipOptions options;
    options.quirks.pool_stride_beyond_kernel = false;
    Board other(options);
    EXPECT_TRUE(other.run(program(p, other.room(0x10000), other.room(0x10000)))) << other.message();
  }
}

TEST(PoolLimits, WithoutTheSwitchAnyWidthEnds) {
  ChipOptions options;
  options.quirks.pool_line_buffer = false;
  Board board(options);
  const Pool p = square(3, 1, 35);
  EXPECT_TRUE(board.run(program(p, board.room(0x10000), board.room(0x10000)))) << board.message();
}

}  // namespace
}  // namespace npu::sim::programs
