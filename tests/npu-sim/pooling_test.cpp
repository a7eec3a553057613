// SPDX-License-Identifier: MIT
// Stand-alone pools against plain loops.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "conv_case.hpp"
#include "npu-sim/float_types.hpp"
#include "regdb/registers.hpp"

namespace npu::sim::test {
namespace {

namespace rd = npu::regdb;

struct PoolCase {
  std::uint32_t width = 7, height = 5, channels = 24;
  std::uint32_t kernel_width = 2, kernel_height = 2, stride_x = 2, stride_y = 2;
  std::uint32_t left = 0, top = 0, right = 0, bottom = 0;
  std::uint32_t method = 1;  // 0 average, 1 max, 2 min
  bool fp16 = true;
  std::uint32_t lanes() const { return fp16 ? 8 : 16; }
  std::uint32_t out_width() const { return (width + left + right - kernel_width) / stride_x + 1; }
  std::uint32_t out_height() const {
    return (height + top + bottom - kernel_height) / stride_y + 1;
  }
  std::uint32_t planes() const { return (channels + lanes() - 1) / lanes(); }
};

std::vector<std::uint64_t> program(const PoolCase& c) {
  rd::RegcmdStream s;
  const auto recip = [&](std::uint32_t k) -> std::uint32_t {
    if (c.method != 0) return 0;
    return c.fp16 ? float_to_fp16(65536.0f / static_cast<float>(k)) : 0x10000 / k;
  };
  const std::uint32_t fill = c.method == 0 ? 0
                             : c.fp16      ? (c.method == 1 ? 0xFC00 : 0x7C00)
                                           : (c.method == 1 ? 0x7FF80 : 0x7F);
  s.write(rd::ppu::S_POINTER::decode(0xE)).write(rd::ppu_rdma::RDMA_S_POINTER::decode(0xE));
  s.write(rd::ppu::DATA_CUBE_IN_WIDTH{.cube_in_width = c.width});
  s.write(rd::ppu::DATA_CUBE_IN_HEIGHT{.cube_in_height = c.height});
  s.write(rd::ppu::DATA_CUBE_IN_CHANNEL{.cube_in_channel = c.channels});
  s.write(rd::ppu::DATA_CUBE_OUT_WIDTH{.cube_out_width = c.out_width()});
  s.write(rd::ppu::DATA_CUBE_OUT_HEIGHT{.cube_out_height = c.out_height()});
  s.write(rd::ppu::DATA_CUBE_OUT_CHANNEL{.cube_out_channel = c.channels});
  s.write(rd::ppu::OPERATION_MODE_CFG{.flying_mode = true, .pooling_method = c.method});
  s.write(rd::ppu::POOLING_KERNEL_CFG{.kernel_stride_height = c.stride_y,
                                      .kernel_stride_width = c.stride_x,
                                      .kernel_height = c.kernel_height,
                                      .kernel_width = c.kernel_width});
  s.write(rd::ppu::RECIP_KERNEL_WIDTH{.recip_kernel_width = recip(c.kernel_width)});
  s.write(rd::ppu::RECIP_KERNEL_HEIGHT{.recip_kernel_height = recip(c.kernel_height)});
  s.write(rd::ppu::POOLING_PADDING_CFG{
      .pad_bottom = c.bottom, .pad_right = c.right, .pad_top = c.top, .pad_left = c.left});
  s.write(rd::ppu::PADDING_VALUE_1_CFG{.pad_value_0 = fill});
  s.write(rd::ppu::DST_BASE_ADDR{.dst_base_addr = kOutputIova});
  s.write(rd::ppu::DST_SURF_STRIDE{.dst_surf_stride = c.out_width() * c.out_height()});
  s.write(rd::ppu::DATA_FORMAT{.index_add = c.out_width() * c.out_height(),
                               .proc_precision = c.fp16 ? 2u : 0u});
  s.write(rd::ppu::MISC_CTRL{.burst_len = 3});
  s.write(rd::ppu_rdma::RDMA_CUBE_IN_WIDTH{.cube_in_width = c.width});
  s.write(rd::ppu_rdma::RDMA_CUBE_IN_HEIGHT{.cube_in_height = c.height});
  s.write(rd::ppu_rdma::RDMA_CUBE_IN_CHANNEL{.cube_in_channel = c.channels});
  s.write(rd::ppu_rdma::RDMA_SRC_BASE_ADDR{.src_base_addr = kInputIova});
  s.write(rd::ppu_rdma::RDMA_SRC_LINE_STRIDE{.src_line_stride = c.width});
  s.write(rd::ppu_rdma::RDMA_SRC_SURF_STRIDE{.src_surf_stride = c.width * c.height});
  s.write(rd::ppu_rdma::RDMA_DATA_FORMAT{.in_precision = c.fp16 ? 2u : 1u});
  s.end(0x60);
  return s.words();
}

class Pool : public ::testing::Test {
 protected:
  // Fills the input, runs, and leaves the element (channel, y, x) of both to `in` and `out`.
  void run(const PoolCase& c, std::uint32_t seed) {
    std::mt19937 rng(seed);
    std::normal_distribution<float> normal(0, 3);
    const std::size_t bytes = std::size_t{c.planes()} * c.width * c.height * 16;
    std::vector<std::uint8_t> input(bytes);
    for (std::size_t i = 0; i < bytes; i += c.fp16 ? 2 : 1) {
      if (c.fp16) {
        const std::uint16_t half = float_to_fp16(normal(rng));
        std::memcpy(input.data() + i, &half, 2);
      } else {
        input[i] = static_cast<std::uint8_t>(rng());
      }
    }
    bench.map(kInputIova, input.data(), bytes);
    bench.map(kOutputIova, nullptr, 0,
              std::size_t{c.planes()} * c.out_width() * c.out_height() * 16);
    const auto words = program(c);
    bench.map(kProgramIova, words.data(), words.size() * 8);
    bench.start(kProgramIova, static_cast<std::uint32_t>(words.size()));
    ASSERT_FALSE(bench.chip.fault(0)) << bench.chip.fault(0)->message;
  }
  double element(const PoolCase& c, std::uint32_t iova, std::uint32_t w, std::uint32_t h,
                 std::uint32_t channel, std::uint32_t y, std::uint32_t x) {
    const std::byte* at = bench.at(iova, std::size_t{c.planes()} * w * h * 16) +
                          (std::size_t{channel / c.lanes()} * h + y) * w * 16 + x * 16;
    if (!c.fp16) return static_cast<std::int8_t>(at[channel % 16]);
    std::uint16_t half;
    std::memcpy(&half, at + channel % 8 * 2, 2);
    return static_cast<double>(fp16_to_float(half));
  }
  template <class Want>
  void expect(const PoolCase& c, Want want) {
    for (std::uint32_t channel = 0; channel < c.channels; ++channel)
      for (std::uint32_t y = 0; y < c.out_height(); ++y)
        for (std::uint32_t x = 0; x < c.out_width(); ++x) {
          std::vector<double> window;
          for (std::uint32_t ky = 0; ky < c.kernel_height; ++ky)
            for (std::uint32_t kx = 0; kx < c.kernel_width; ++kx) {
              const int iy = static_cast<int>(y * c.stride_y + ky) - static_cast<int>(c.top);
              const int ix = static_cast<int>(x * c.stride_x + kx) - static_cast<int>(c.left);
              if (iy >= 0 && ix >= 0 && iy < static_cast<int>(c.height) &&
                  ix < static_cast<int>(c.width))
                window.push_back(element(c, kInputIova, c.width, c.height, channel,
                                         static_cast<std::uint32_t>(iy),
                                         static_cast<std::uint32_t>(ix)));
            }
          want(element(c, kOutputIova, c.out_width(), c.out_height(), channel, y, x), window);
        }
  }
  Bench bench;
};

TEST_F(Pool, MaxAndMinAreExactWithPaddingInBothTypes) {
  std::uint32_t seed = 1;
  for (const bool fp16 : {true, false})
    for (const std::uint32_t method : {1u, 2u})
      for (const PoolCase& shape : {PoolCase{},
                                    PoolCase{.kernel_width = 3,
                                    .kernel_height = 3,
                                    .stride_x = 1,
                                    .stride_y = 1,
                                    .left = 1,
                                    .top = 1,
                                    .right = 1,
                                    .bottom = 1},
                                    PoolCase{.channels = 40,
                                    .kernel_width = 2,
                                    .kernel_height = 3,
                                    .stride_x = 1,
                                    .stride_y = 2,
                                    .top = 1}}) {
        PoolCase c = shape;
        c.fp16 = fp16;
        c.method = method;
        run(c, seed++);
        expect(c, [&](double got, const std::vector<double>& window) {
          EXPECT_EQ(got, method == 1 ? *std::max_element(window.begin(), window.end())
                                     : *std::min_element(window.begin(), window.end()));
        });
      }
}

TEST_F(Pool, Fp16AverageIsTheSumTimesTheReciprocals) {
  const PoolCase c{
      .kernel_width = 3, .kernel_height = 2, .stride_x = 1, .stride_y = 1, .method = 0};
  run(c, 9);
  expect(c, [&](double got, const std::vector<double>& window) {
    double sum = 0, scale = 0;
    for (const double v : window) {
      sum += v;
      scale += std::abs(v);
    }
    EXPECT_NEAR(got, sum / 6, 0.0006 * scale + 1e-6);
  });
}

TEST_F(Pool, TheDocumentedAverageExamplesComeOut) {
  // 2x2 of 1, 2, 3, 4 is 2.5; 3x3 of ones is 0.9995, because fp16(65536 / 3) is 21840.
  PoolCase c{.width = 2, .height = 2, .channels = 8, .method = 0};
  run(c, 1);
  auto* in = reinterpret_cast<std::uint16_t*>(bench.at(kInputIova, 64));
  for (int p = 0; p < 4; ++p) in[p * 8] = float_to_fp16(static_cast<float>(p + 1));
  bench.start(kProgramIova, static_cast<std::uint32_t>(program(c).size()));
  EXPECT_EQ(element(c, kOutputIova, 1, 1, 0, 0, 0), 2.5);
  c = {.width = 3, .height = 3, .channels = 8, .kernel_width = 3, .kernel_height = 3, .method = 0};
  run(c, 1);
  in = reinterpret_cast<std::uint16_t*>(bench.at(kInputIova, 9 * 16));
  for (int p = 0; p < 9; ++p) in[p * 8] = 0x3C00;
  bench.start(kProgramIova, static_cast<std::uint32_t>(program(c).size()));
  EXPECT_EQ(float_to_fp16(static_cast<float>(element(c, kOutputIova, 1, 1, 0, 0, 0))),
            float_to_fp16(0.99951f));
}

TEST_F(Pool, Int8AverageRoundsAsTheBoardDoes) {
  // Half away from zero; an exact half of an even window steps back: always where the reciprocal
  // was cut, else to the even neighbour [notes ppu-pooling, HW].
  for (const PoolCase& c :
       {PoolCase{.width = 8, .height = 8, .channels = 16, .method = 0, .fp16 = false},
        PoolCase{.width = 8,
        .height = 8,
        .channels = 16,
        .kernel_width = 4,
        .kernel_height = 4,
        .stride_x = 4,
        .stride_y = 4,
        .method = 0,
        .fp16 = false},
        PoolCase{.width = 8,
        .height = 9,
        .channels = 16,
        .kernel_width = 2,
        .kernel_height = 3,
        .stride_x = 1,
        .stride_y = 1,
        .method = 0,
        .fp16 = false}}) {
    run(c, 77);
    const int n = static_cast<int>(c.kernel_width * c.kernel_height);
    const bool exact = 65536 % c.kernel_width == 0 && 65536 % c.kernel_height == 0;
    expect(c, [&](double got, const std::vector<double>& window) {
      int sum = 0;
      for (const double v : window) sum += static_cast<int>(v);
      const int magnitude = std::abs(sum);
      int q = (magnitude + n / 2) / n;
      if (n % 2 == 0 && magnitude % n == n / 2 && (!exact || q % 2 != 0)) --q;
      EXPECT_EQ(got, sum < 0 ? -q : q) << "sum " << sum << " of " << n;
    });
  }
}

TEST_F(Pool, OnlyPpuBitsAreRaised) {
  run(PoolCase{}, 5);
  EXPECT_EQ(bench.chip.read(0, 0x2C) & 0x3FFFF, 0x400u);
  EXPECT_FALSE(bench.chip.irq(0));  // the driver's mask is 0x300
}

TEST_F(Pool, ConvolutionsEnableWordStartsNoPool) {
  run(PoolCase{}, 5);
  auto words = program(PoolCase{});
  words.back() = regdb::Regcmd{0x0081, 0x1D, 8}.pack();
  bench.chip.reset(0);
  EXPECT_FALSE(bench.run(words));
  EXPECT_TRUE(bench.chip.fault(0));
}

TEST_F(Pool, BadAddressesAreReported) {
  PoolCase c;
  run(c, 5);
  bench.space->unmap(kInputIova);
  bench.chip.reset(0);
  bench.start(kProgramIova, static_cast<std::uint32_t>(program(c).size()));
  ASSERT_TRUE(bench.chip.fault(0));
  EXPECT_EQ(bench.chip.fault(0)->where, "PPU_RDMA.RDMA_SRC_BASE_ADDR");
}

}  // namespace
}  // namespace npu::sim::test
