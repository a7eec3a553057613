// SPDX-License-Identifier: MIT
// Convolutions: fp16, int8 with raw sums, int8 requantised per tensor and per channel, depthwise,
// with the failures that the library's probes record [userspace tests/conv2d_*_rocket.c,
// conv_i8out_probe.c, cpend_wzp_probe.c, dw_perc_probe.c, conv_width_gate.c, HW].
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

std::vector<std::int32_t> random_values(std::size_t count, std::int32_t low, std::int32_t high,
                                        unsigned seed) {
  std::mt19937 rng(seed);
  std::uniform_int_distribution<std::int32_t> draw(low, high);
  std::vector<std::int32_t> v(count);
  for (auto& x : v) x = draw(rng);
  return v;
}

// A convolution's operands in plain order: x [c][y][x], w [o][c][ky][kx] (depthwise [c][ky][kx]).
struct Layer {
  ConvShape2d shape;
  bool depthwise = false;
  std::int32_t pad = 0;  ///< value outside the image
  std::vector<std::int32_t> x, w;

  std::uint32_t per_kernel() const { return depthwise ? 1 : shape.channels; }
  // Sum of products, and sum of the input alone, at one output element.
  std::pair<std::int64_t, std::int64_t> sums(std::uint32_t o, std::uint32_t oy,
                                             std::uint32_t ox) const {
    const ConvShape2d& s = shape;
    std::int64_t products = 0, window = 0;
    for (std::uint32_t c = 0; c < per_kernel(); ++c)
      for (std::uint32_t ky = 0; ky < s.kernel_height; ++ky)
        for (std::uint32_t kx = 0; kx < s.kernel_width; ++kx) {
          const std::int64_t y = std::int64_t{oy} * s.stride_y + ky * s.dilation_y - s.pad_top;
          const std::int64_t col = std::int64_t{ox} * s.stride_x + kx * s.dilation_x - s.pad_left;
          const bool in = y >= 0 && y < s.in_height && col >= 0 && col < s.in_width;
          const std::uint32_t channel = depthwise ? o : c;
          const std::int64_t v =
              in ? x[(std::size_t{channel} * s.in_height + static_cast<std::size_t>(y)) *
                         s.in_width +
                     static_cast<std::size_t>(col)]
                 : pad;
          const std::size_t tap = std::size_t{ky} * s.kernel_width + kx;
          const std::size_t taps = std::size_t{s.kernel_width} * s.kernel_height;
          products += v * w[(std::size_t{o} * per_kernel() + c) * taps + tap];
          window += v;
        }
    return {products, window};
  }
};

Layer layer(const ConvShape2d& shape, bool depthwise, std::int32_t low, std::int32_t high,
            unsigned seed) {
  Layer l;
  l.shape = shape;
  l.depthwise = depthwise;
  l.x = random_values(std::size_t{shape.channels} * shape.in_height * shape.in_width, low, high,
                      seed);
  l.w = random_values(
      std::size_t{shape.kernels} * l.per_kernel() * shape.kernel_height * shape.kernel_width, low,
      high, seed + 1);
  return l;
}

// Uploads the layer for a task whose programmed channels and kernels may be more than it has.
Board::Buffer place(Board& board, CubeTask& t, const Layer& l) {
  const ConvShape2d& s = l.shape;
  const bool half = t.in_code == code::fp16;
  const std::uint32_t atom = half ? 8 : 16;
  const std::size_t element = half ? 2 : 1;
  const auto store = [&](const Board::Buffer& b, std::size_t at, std::int32_t value) {
    if (half)
      b.as<std::uint16_t>()[at] = float_to_fp16(static_cast<float>(value));
    else
      b.as<std::int8_t>()[at] = static_cast<std::int8_t>(value);
  };
  const std::uint32_t channels = (t.channels + 63) / 64 * 64, kernels = (t.kernels + 63) / 64 * 64;
  const auto in = board.alloc(std::size_t{channels} * t.in_height * t.in_width * element);
  const auto w = board.alloc(std::size_t{l.depthwise ? 1 : kernels} * channels * s.kernel_height *
                             s.kernel_width * element);
  for (std::uint32_t c = 0; c < s.channels; ++c)
    for (std::uint32_t y = 0; y < s.in_height; ++y)
      for (std::uint32_t x = 0; x < s.in_width; ++x)
        store(in, cube_at(t.in_height, t.in_width, atom, c, y, x),
              l.x[(std::size_t{c} * s.in_height + y) * s.in_width + x]);
  std::size_t at = 0;
  for (std::uint32_t o = 0; o < s.kernels; ++o)
    for (std::uint32_t c = 0; c < l.per_kernel(); ++c)
      for (std::uint32_t ky = 0; ky < s.kernel_height; ++ky)
        for (std::uint32_t kx = 0; kx < s.kernel_width; ++kx, ++at) {
          if (l.depthwise) {
            store(w, depthwise_at(half ? 32 : 64, s.kernel_height, s.kernel_width, o, ky, kx),
                  l.w[at]);
            continue;
          }
          // A last group of kernels that is cut short holds only its own [Mesa; userspace probe].
          const std::uint32_t og = half ? 16 : 32, first = o / og * og;
          const std::uint32_t wide = std::min(og, t.kernels - first);
          store(w,
                std::size_t{first} * t.channels * s.kernel_height * s.kernel_width +
                    weight_at(wide, 32, t.channels, s.kernel_height, s.kernel_width, o - first, c,
                              ky, kx),
                l.w[at]);
        }
  const std::uint32_t out_atom = 128 / bits_of(t.out_code);
  const auto out = board.alloc(
      std::size_t{(t.kernels + out_atom - 1) / out_atom} * t.out_height * t.out_width * 16 + 4096,
      0xAA);
  t.input = in.iova;
  t.weights = w.iova;
  t.output = out.iova;
  return out;
}

template <class T>
T at(const Board::Buffer& out, const CubeTask& t, std::uint32_t o, std::uint32_t y,
     std::uint32_t x) {
  return out.as<T>()[cube_at(t.out_height, t.out_width, 16 / sizeof(T), o, y, x)];
}

// The converter's constants for a real scale, with the carry that Mesa's copy drops
// [notes out-cvt-converter, HW].
struct Pair {
  std::uint32_t scale, shift;
};
Pair converter_pair(float real) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(real);
  Pair p{(0x4000 | (bits >> 9 & 0x3FFF)) + 1, 141 - (bits >> 23)};
  if (p.scale == 0x8000) p = {0x4000, p.shift - 1};
  return p;
}

std::int64_t half_even(std::int64_t value, std::uint32_t shift) {
  if (shift == 0) return value;
  const std::int64_t floor = value >> shift, rest = value - (floor << shift);
  const std::int64_t half = std::int64_t{1} << (shift - 1);
  return floor + (rest > half || (rest == half && (floor & 1) != 0) ? 1 : 0);
}
std::int64_t sat32(std::int64_t v) { return std::clamp<std::int64_t>(v, INT32_MIN, INT32_MAX); }
std::int8_t requantise(std::int64_t v, Pair p, std::int32_t zero) {
  return static_cast<std::int8_t>(
      std::clamp<std::int64_t>(half_even(v * p.scale, p.shift) + zero, -128, 127));
}

TEST(Conv, Fp16IsExactOnWholeNumbers) {
  Board board;
  const ConvShape2d shapes[] = {{32, 8, 8, 32, 3, 3},
                                {64, 10, 12, 32, 3, 3, 2, 2, 1, 1},
                                {32, 7, 9, 16, 5, 3, 1, 2, 2, 1},
                                {32, 9, 11, 48, 3, 3, 1, 1, 2, 2, 2, 2},
                                {32, 8, 8, 32, 3, 3, 1, 1, 15, 15},
                                {64, 8, 8, 64, 1, 1}};
  for (const ConvShape2d& s : shapes)
    for (const std::uint32_t out_code : {code::fp32, code::fp16}) {
      const Layer l = layer(s, false, -2, 2, s.kernels);
      CubeTask t = conv_fp16(s, out_code);
      const auto out = place(board, t, l);
      ASSERT_TRUE(board.run(emit(t))) << board.fault();
      for (std::uint32_t o = 0; o < s.kernels; ++o)
        for (std::uint32_t y = 0; y < t.out_height; ++y)
          for (std::uint32_t x = 0; x < t.out_width; ++x) {
            const auto want = static_cast<float>(l.sums(o, y, x).first);
            const float got = out_code == code::fp32
                                  ? at<float>(out, t, o, y, x)
                                  : fp16_to_float(at<std::uint16_t>(out, t, o, y, x));
            ASSERT_EQ(got, want) << o << "," << y << "," << x;
          }
    }
}

TEST(Conv, Fp16DepthwiseIsExactOnWholeNumbers) {
  Board board;
  const ConvShape2d shapes[] = {{32, 8, 8, 32, 3, 3, 1, 1, 1, 1},
                                {64, 9, 9, 64, 3, 3, 2, 2, 1, 1},
                                {96, 8, 8, 96, 5, 5, 1, 1, 2, 2}};
  for (const ConvShape2d& s : shapes) {
    const Layer l = layer(s, true, -8, 8, s.channels);
    CubeTask t = conv_fp16(s, code::fp16, true);
    const auto out = place(board, t, l);
    ASSERT_TRUE(board.run(emit(t))) << board.fault();
    for (std::uint32_t o = 0; o < s.kernels; ++o)
      for (std::uint32_t y = 0; y < t.out_height; ++y)
        for (std::uint32_t x = 0; x < t.out_width; ++x)
          ASSERT_EQ(fp16_to_float(at<std::uint16_t>(out, t, o, y, x)),
                    static_cast<float>(l.sums(o, y, x).first));
  }
}

TEST(Conv, Int8RawSumsAreExact) {
  Board board;
  const ConvShape2d shapes[] = {{32, 8, 8, 32, 3, 3, 1, 1, 1, 1},
                                {64, 10, 12, 96, 3, 3, 2, 2, 1, 1},
                                {32, 12, 7, 32, 5, 3, 1, 1, 0, 0, 1, 2},
                                {1184, 60, 1, 32, 1, 1},  // one column: one bank of slack
                                {32, 4, 1500, 32, 1, 1}};
  for (const ConvShape2d& s : shapes) {
    const Layer l = layer(s, false, -128, 127, s.kernels);
    CubeTask t = conv_int8(s);
    const auto out = place(board, t, l);
    ASSERT_TRUE(board.run(emit(t))) << board.fault();
    for (std::uint32_t o = 0; o < s.kernels; o += 7)
      for (std::uint32_t y = 0; y < t.out_height; ++y)
        for (std::uint32_t x = 0; x < t.out_width; ++x)
          ASSERT_EQ(at<std::int32_t>(out, t, o, y, x), l.sums(o, y, x).first);
  }
}

// One requantised task: folds the input's zero point into the bias as the library does.
struct Requantised {
  Layer layer;
  std::int32_t zero_in, zero_weight, zero_out;
  std::vector<std::int32_t> bias;  // folded
  Pair pair;
  CubeTask task;
  Board::Buffer out;
};
Requantised requantised(Board& board, const ConvShape2d& s, bool depthwise, std::int32_t zero_in,
                        std::int32_t zero_weight, std::int32_t zero_out, unsigned seed,
                        std::uint32_t programmed_kernels = 0) {
  Requantised r{
      layer(s, depthwise, -128, 127, seed), zero_in, zero_weight, zero_out, {}, {}, {}, {}};
  r.layer.pad = zero_in;
  const std::uint32_t depth = r.layer.per_kernel() * s.kernel_height * s.kernel_width;
  r.pair = converter_pair(0.0006f * std::sqrt(576.0f / static_cast<float>(depth)));
  r.bias = random_values(s.kernels, -6000, 6000, seed + 2);
  for (std::uint32_t o = 0; o < s.kernels; ++o) {
    std::int64_t sum = 0;
    for (std::uint32_t i = 0; i < depth; ++i)
      sum += r.layer.w[std::size_t{o} * depth + i] - zero_weight;
    r.bias[o] -= static_cast<std::int32_t>(zero_in * sum);
  }
  ConvShape2d programmed = s;
  const std::uint32_t group = depthwise ? 64 : 32;
  programmed.kernels =
      programmed_kernels != 0 ? programmed_kernels : (s.kernels + group - 1) / group * group;
  if (depthwise) programmed.channels = programmed.kernels;
  r.task = conv_int8_out(programmed, depthwise, zero_in, zero_weight, zero_out, r.pair.scale,
                         r.pair.shift);
  r.out = place(board, r.task, r.layer);
  std::vector<std::int32_t> padded = r.bias;
  padded.resize((programmed.kernels + 63) / 64 * 64);
  r.task.bias = board.upload(padded).iova;
  return r;
}

// conv_i8out_probe and conv_dw_int8_runtime: every element equals TFLite's sum and the converter.
TEST(Conv, Int8OutputCarriesZeroPointsOfInputAndWeights) {
  Board board;
  const struct {
    ConvShape2d shape;
    bool depthwise;
  } cases[] = {{{32, 8, 8, 32, 1, 1}, false},
               {{64, 10, 12, 64, 3, 3, 1, 1, 1, 1}, false},
               {{96, 11, 9, 32, 3, 3, 2, 2, 1, 1}, false},
               {{32, 12, 12, 64, 5, 5, 2, 2, 2, 2}, false},
               {{32, 9, 9, 160, 3, 3, 1, 1, 1, 1}, false},
               {{32, 8, 8, 48, 3, 3, 1, 1, 1, 1}, false},  // programmed at 64
               {{64, 8, 8, 64, 3, 3, 1, 1, 1, 1}, true},
               {{128, 7, 5, 128, 3, 3, 1, 2, 1, 1}, true},
               {{96, 8, 8, 96, 3, 3, 1, 1, 1, 1}, true},  // programmed at 128
               {{64, 8, 11, 64, 5, 5, 1, 1, 2, 2}, true}};
  const std::int32_t zeros[][3] = {
      {23, 0, -7}, {23, -62, 5}, {-128, 90, 0}, {37, -11, -128}, {127, 25, 127}};
  unsigned seed = 1;
  for (const auto& c : cases)
    for (const auto& z : zeros) {
      const Requantised r = requantised(board, c.shape, c.depthwise, z[0], z[1], z[2], seed += 10);
      ASSERT_TRUE(board.run(emit(r.task))) << board.fault();
      for (std::uint32_t o = 0; o < c.shape.kernels; ++o)
        for (std::uint32_t y = 0; y < r.task.out_height; ++y)
          for (std::uint32_t x = 0; x < r.task.out_width; ++x) {
            const auto [products, window] = r.layer.sums(o, y, x);
            ASSERT_EQ(at<std::int8_t>(r.out, r.task, o, y, x),
                      requantise(products - z[1] * window + r.bias[o], r.pair, z[2]))
                << o << "," << y << "," << x;
          }
    }
}

// A group of kernels cut short stays unwritten, the whole ones are exact, the task never ends.
TEST(Conv, Int8OutputHangsOnAGroupCutShort) {
  Board board;
  const struct {
    ConvShape2d shape;
    bool depthwise;
    std::uint32_t whole;
  } cases[] = {{{32, 8, 8, 48, 3, 3, 1, 1, 1, 1}, false, 32},
               {{32, 8, 8, 16, 1, 1}, false, 0},
               {{96, 8, 8, 96, 3, 3, 1, 1, 1, 1}, true, 64},
               {{80, 6, 10, 80, 3, 3, 2, 1, 1, 1}, true, 64},
               {{144, 7, 5, 144, 3, 3, 1, 2, 1, 1}, true, 128}};
  for (const auto& c : cases) {
    const Requantised r = requantised(board, c.shape, c.depthwise, 23, 0, -7, 7, c.shape.kernels);
    EXPECT_FALSE(board.run(emit(r.task)));
    EXPECT_EQ(board.fault(), "hang: DPU.DATA_CUBE_CHANNEL.channel");
    for (std::uint32_t o = 0; o < c.shape.kernels; ++o)
      for (std::uint32_t y = 0; y < r.task.out_height; ++y)
        for (std::uint32_t x = 0; x < r.task.out_width; ++x)
          ASSERT_EQ(at<std::int8_t>(r.out, r.task, o, y, x),
                    o < c.whole ? requantise(r.layer.sums(o, y, x).first + r.bias[o], r.pair, -7)
                                : static_cast<std::int8_t>(0xAA))
              << o << "," << y << "," << x;
  }
}

TEST(Conv, Int8OutputHangsWithTheDepthwiseGeometry) {
  Board board;
  Requantised r = requantised(board, {64, 10, 12, 64, 3, 3, 1, 1, 1, 1}, false, 23, 0, -7, 7);
  r.task.size_e = 3;
  r.task.surface_multiple = 4;
  EXPECT_FALSE(board.run(emit(r.task)));
  EXPECT_EQ(board.fault(), "hang: DPU.BS_OW_CFG.size_e_0");
}

// dw_perc_probe and the per-channel arms of conv_i8out_probe: 64 bytes per 8 channels, add before
// multiply, product held wide under a shift, two shifts by sign, CPEND per channel with OW_SRC.
TEST(Conv, PerChannelMultiplierFollowsTheBoardsArithmetic) {
  Board board;
  const struct {
    std::uint32_t shift, negative;
    std::int32_t low, high, b;
    bool ow_src;
  } arms[] = {{0, 0, 1, 1, 0, false},           {14, 14, 8192, 32767, 0, false},
              {14, 6, 8192, 32767, 0, false},   {6, 14, 8192, 32767, 0, false},
              {20, 20, 1, 32767, 0, false},     {0, 0, 8192, 32767, 0, false},
              {14, 14, 8192, 32767, 20, false}, {14, 14, 8192, 32767, 20, true}};
  for (const bool depthwise : {false, true})
    for (const auto& a : arms) {
      const ConvShape2d s{64, 10, 12, 64, 3, 3, 1, 1, 1, 1};
      Requantised r = requantised(board, s, depthwise, 23, 0, -7, 31);
      const auto c = random_values(s.kernels, a.low, a.high, 5);
      const auto b = random_values(s.kernels, -a.b, a.b, 6);
      std::vector<std::uint8_t> stream(std::size_t{s.kernels} / 8 * 64);
      for (std::uint32_t o = 0; o < s.kernels; ++o) {
        std::uint8_t* group = stream.data() + o / 8 * 64;
        const auto b16 = static_cast<std::int16_t>(b[o]), c16 = static_cast<std::int16_t>(c[o]);
        std::memcpy(group + o % 8 * 4, &r.bias[o], 4);
        std::memcpy(group + 32 + o % 8 * 2, &b16, 2);
        std::memcpy(group + 48 + o % 8 * 2, &c16, 2);
      }
      r.task.bias = board.upload(stream).iova;
      r.task.brdma_data_use = 7;
      r.task.bs_cfg = 0x20140;
      r.task.bs_mul_cfg = a.shift << 8 | 1;
      r.task.bs_shift_negative = a.negative;
      r.task.ow_src = a.ow_src;
      ASSERT_TRUE(board.run(emit(r.task))) << board.fault();
      for (std::uint32_t o = 0; o < s.kernels; ++o)
        for (std::uint32_t y = 0; y < r.task.out_height; ++y)
          for (std::uint32_t x = 0; x < r.task.out_width; ++x) {
            const auto [products, window] = r.layer.sums(o, y, x);
            const std::int64_t p = (products + r.bias[o] + (a.ow_src ? b[o] * window : 0)) * c[o];
            const std::int64_t v = sat32(half_even(p, p >= 0 ? a.shift : a.negative));
            ASSERT_EQ(at<std::int8_t>(r.out, r.task, o, y, x), requantise(v, r.pair, -7))
                << a.shift << "/" << a.negative << " " << o << "," << y << "," << x;
          }
    }
}

// The one attempt at operands of BN from memory: all tasks hung [notes out-cvt-converter, HW].
TEST(Conv, OperandsOfBnFromMemoryHang) {
  Board board;
  Requantised r = requantised(board, {64, 8, 8, 64, 3, 3, 1, 1, 1, 1}, true, -2, 0, 5, 3);
  r.task.bn_cfg = 0x20140;
  r.task.bn_mul_cfg = 14u << 8 | 1;
  r.task.nrdma_data_use = 7;
  r.task.bn_stream = r.task.bias;
  EXPECT_FALSE(board.run(emit(r.task)));
  EXPECT_EQ(board.fault(), "hang: DPU.BN_MUL_CFG.bn_mul_src");
}

// BN's scalar multiplier in integer arithmetic is an unsigned 16-bit number
// [userspace int8 dequant gate: 0x3800 multiplies by 14336].
TEST(Conv, BnMultipliesIntegersByAnUnsignedNumber) {
  Board board;
  for (const std::uint32_t operand : {3u, 0x3800u, 0xFFFFu}) {
    const ConvShape2d s{32, 4, 4, 32, 1, 1};
    const Layer l = layer(s, false, -20, 20, 77);
    CubeTask t = conv_int8(s);
    t.bn_cfg = 0x42;  // multiplier alone
    t.bn_mul_cfg = operand << 16;
    const auto out = place(board, t, l);
    ASSERT_TRUE(board.run(emit(t))) << board.fault();
    for (std::uint32_t o = 0; o < s.kernels; ++o)
      for (std::uint32_t y = 0; y < 4; ++y)
        for (std::uint32_t x = 0; x < 4; ++x)
          ASSERT_EQ(at<std::int32_t>(out, t, o, y, x), sat32(l.sums(o, y, x).first * operand));
  }
}

// requant_edge_probe: bit 15 of the multiplier is its sign. requant_round_probe: an exact half goes
// to the even neighbour, with CVT_ROUND away from zero.
TEST(Conv, ConverterSignAndTies) {
  Board board;
  const ConvShape2d s{32, 4, 16, 32, 1, 1};
  for (const std::uint32_t round : {0u, 1u}) {
    const Layer l = layer(s, false, -3, 3, 5);
    CubeTask t = conv_int8(s);
    t.out_code = code::fp32;
    t.out_shift = 1;
    t.out_round = round;
    const auto out = place(board, t, l);
    ASSERT_TRUE(board.run(emit(t))) << board.fault();
    for (std::uint32_t o = 0; o < s.kernels; ++o)
      for (std::uint32_t y = 0; y < s.in_height; ++y)
        for (std::uint32_t x = 0; x < s.in_width; ++x) {
          const std::int64_t sum = l.sums(o, y, x).first;
          const std::int64_t away = sum >= 0 ? (sum + 1) / 2 : -((-sum + 1) / 2);
          ASSERT_EQ(at<float>(out, t, o, y, x),
                    static_cast<float>(round == 0 ? half_even(sum, 1) : away));
        }
  }
  const Layer l = layer(s, false, -3, 3, 6);
  CubeTask t = conv_int8(s);
  t.out_scale = 0x8000;
  t.out_shift = 15;
  const auto out = place(board, t, l);
  ASSERT_TRUE(board.run(emit(t))) << board.fault();
  EXPECT_EQ(at<std::int32_t>(out, t, 3, 1, 2), -l.sums(3, 1, 2).first);
}

// An int8 operand beside an int8 convolution: Mesa's residual addition, and the other operations of
// the same unit, exact without a convolution [notes sdp-stage-precision, HW].
TEST(Conv, Int8ElementWiseOperations) {
  Board board;
  const struct {
    std::uint32_t ew_cfg;
    std::int64_t (*op)(std::int64_t, std::int64_t);
  } ops[] = {{0x904202C0, [](std::int64_t a, std::int64_t b) { return a + b; }},
             {0x904002C0, [](std::int64_t a, std::int64_t b) { return std::max(a, b); }},
             {0x904102C0, [](std::int64_t a, std::int64_t b) { return std::min(a, b); }},
             {0x904402C0, [](std::int64_t a, std::int64_t b) { return a - b; }},
             {0x904002C4, [](std::int64_t a, std::int64_t b) { return a * b; }}};
  const ConvShape2d s{32, 8, 8, 96, 3, 3, 1, 1, 1, 1};
  for (const auto& op : ops) {
    Requantised r = requantised(board, s, false, 0, 0, 0, 9);
    const auto draws = random_values(std::size_t{96} * 64, -128, 127, 10);
    const std::vector<std::int8_t> operand(draws.begin(), draws.end());
    r.task.ew = EwOperand{op.ew_cfg, board.upload(operand).iova, 64 * 16, 64};
    auto words = emit(r.task);
    replace(words, 0x5034, 0x40000004);
    replace(words, 0x5044, 0x7D00);
    ASSERT_TRUE(board.run(words)) << board.fault();
    for (std::uint32_t o = 0; o < s.kernels; ++o)
      for (std::uint32_t y = 0; y < 8; ++y)
        for (std::uint32_t x = 0; x < 8; ++x) {
          const std::int64_t sum = r.layer.sums(o, y, x).first + r.bias[o];
          const std::int64_t v = op.op(sum, operand[cube_at(8, 8, 16, o, y, x)]);
          ASSERT_EQ(at<std::int8_t>(r.out, r.task, o, y, x), requantise(sat32(v), r.pair, 0));
        }
  }
}

// CNA's converter: multiply, shift with rounding, add, saturate (CVT_TYPE 0) or add first (1); an
// image of 1 to 4 bytes a pixel has constants for each channel [TRM; one channel: Mesa, HW].
TEST(Conv, InputConverterOnPixelsAndFeatures) {
  Board board;
  const ConvShape2d s{32, 6, 7, 32, 1, 1};
  std::mt19937 rng(3);
  std::uniform_int_distribution<int> byte(0, 255);
  const std::int32_t scale[] = {16384, -8192, 24576, 12288}, offset[] = {-128, 100, -37, 5};
  const auto converted = [&](int raw, std::uint32_t lane, bool add_first) {
    const std::int64_t v = add_first
                               ? half_even((raw + std::int64_t{offset[lane]}) * scale[lane], 14)
                               : half_even(std::int64_t{raw} * scale[lane], 14) + offset[lane];
    return static_cast<std::int32_t>(std::clamp<std::int64_t>(v, -128, 127));
  };
  for (std::uint32_t pixel = 0; pixel <= 4; ++pixel)  // 0: a feature cube
    for (const bool add_first : {false, true}) {
      Layer l = layer(s, false, -128, 127, 40 + pixel);
      std::vector<std::uint8_t> raw(std::size_t{s.in_height} * s.in_width * (pixel ? pixel : 32));
      for (auto& b : raw) b = static_cast<std::uint8_t>(byte(rng));
      CubeTask t = conv_int8(s);
      const auto out = place(board, t, l);
      const auto in = board.upload(raw);
      t.input = in.iova;
      for (std::uint32_t c = 0; c < s.channels; ++c)
        for (std::uint32_t y = 0; y < s.in_height; ++y)
          for (std::uint32_t x = 0; x < s.in_width; ++x) {
            auto& v = l.x[(std::size_t{c} * s.in_height + y) * s.in_width + x];
            if (pixel == 0)
              v = converted(raw[cube_at(s.in_height, s.in_width, 16, c, y, x)], 0, add_first);
            else if (c < pixel)
              v = converted(raw[(std::size_t{y} * s.in_width + x) * pixel + c], c, add_first);
            else
              v = 0;
          }
      auto words = emit(t);
      if (pixel != 0) {
        replace(words, 0x100C, 0x60000000 | (7 + pixel) << 12);
        replace(words, 0x107C, s.in_width);
        replace(words, 0x1080, 0);
      }
      replace(words, 0x104C, (add_first ? 2u : 0u) | 14u << 22 | 14u << 16 | 14u << 10 | 14u << 4);
      for (std::uint32_t lane = 0; lane < 4; ++lane) {
        const std::uint32_t from = pixel == 0 ? 0 : lane;
        replace(words, static_cast<std::uint16_t>(0x1050 + 4 * lane),
                static_cast<std::uint32_t>(scale[from]) << 16 |
                    static_cast<std::uint16_t>(offset[from]));
      }
      replace(words, 0x1180, 0xFFFF);
      ASSERT_TRUE(board.run(words)) << board.fault();
      for (std::uint32_t o = 0; o < s.kernels; ++o)
        for (std::uint32_t y = 0; y < s.in_height; ++y)
          for (std::uint32_t x = 0; x < s.in_width; ++x)
            ASSERT_EQ(at<std::int32_t>(out, t, o, y, x), l.sums(o, y, x).first) << pixel;
    }
}

// deconv_extent_probe: with the transposed extent programmed, DECONV computes the whole transposed
// convolution; the caller flips the kernel.
TEST(Conv, DeconvComputesTheTransposedConvolution) {
  Board board;
  const struct {
    std::uint32_t ic, oc, ih, iw, kh, kw, sy, sx, py, px, opy, opx;
  } cells[] = {{32, 32, 4, 4, 3, 3, 2, 2, 0, 0, 0, 0},   {32, 32, 16, 16, 3, 3, 4, 4, 0, 0, 0, 0},
               {32, 32, 32, 32, 4, 4, 2, 2, 1, 1, 0, 0}, {32, 32, 16, 16, 2, 2, 2, 2, 0, 0, 0, 0},
               {32, 32, 8, 16, 3, 3, 2, 2, 1, 1, 0, 0},  {32, 32, 8, 8, 3, 3, 2, 1, 0, 0, 0, 0},
               {64, 32, 16, 16, 3, 3, 2, 2, 1, 1, 0, 0}, {32, 32, 8, 8, 3, 3, 2, 2, 1, 1, 1, 1},
               {32, 32, 4, 4, 3, 3, 8, 8, 0, 0, 0, 0},   {32, 48, 10, 14, 4, 2, 2, 4, 1, 0, 1, 0}};
  for (const auto& c : cells) {
    const std::uint32_t oh = (c.ih - 1) * c.sy - 2 * c.py + c.kh + c.opy;
    const std::uint32_t ow = (c.iw - 1) * c.sx - 2 * c.px + c.kw + c.opx;
    const ConvShape2d s{c.ic, c.ih, c.iw, c.oc, c.kh, c.kw, 1, 1, c.kh - 1 - c.py, c.kw - 1 - c.px};
    const Layer l = layer(s, false, -3, 3, c.ic + c.kh);
    CubeTask t = conv_fp16(s, code::fp32);
    t.out_height = oh;
    t.out_width = ow;
    t.deconv = 1;
    t.deconv_y = c.sy - 1;
    t.deconv_x = c.sx - 1;
    const auto out = place(board, t, l);
    ASSERT_TRUE(board.run(emit(t))) << board.fault();
    // Scatter each input pixel times the flipped kernel.
    std::vector<std::int64_t> want(std::size_t{c.oc} * oh * ow);
    for (std::uint32_t o = 0; o < c.oc; ++o)
      for (std::uint32_t i = 0; i < c.ic; ++i)
        for (std::uint32_t y = 0; y < c.ih; ++y)
          for (std::uint32_t x = 0; x < c.iw; ++x)
            for (std::uint32_t ky = 0; ky < c.kh; ++ky)
              for (std::uint32_t kx = 0; kx < c.kw; ++kx) {
                const std::int64_t ty = std::int64_t{y} * c.sy + ky - c.py;
                const std::int64_t tx = std::int64_t{x} * c.sx + kx - c.px;
                if (ty < 0 || ty >= oh || tx < 0 || tx >= ow) continue;
                want[(std::size_t{o} * oh + static_cast<std::size_t>(ty)) * ow +
                     static_cast<std::size_t>(tx)] +=
                    std::int64_t{l.x[(std::size_t{i} * c.ih + y) * c.iw + x]} *
                    l.w[((std::size_t{o} * c.ic + i) * c.kh + (c.kh - 1 - ky)) * c.kw +
                        (c.kw - 1 - kx)];
              }
    for (std::uint32_t o = 0; o < c.oc; ++o)
      for (std::uint32_t y = 0; y < oh; ++y)
        for (std::uint32_t x = 0; x < ow; ++x)
          ASSERT_EQ(at<float>(out, t, o, y, x),
                    static_cast<float>(want[(std::size_t{o} * oh + y) * ow + x]))
              << o << "," << y << "," << x;
  }
}

// deconv_mode_probe: without the mode bit the stride fields do nothing; with it only 1, 3 and 7 do.
// The counts are those that the board gave for the same operands [notes conv-transpose, HW].
TEST(Conv, DeconvStridesAreLiveOnlyAsPowersOfTwo) {
  Board board;
  const ConvShape2d s{32, 8, 8, 32, 3, 3};
  Layer l = layer(s, false, 0, 0, 1);
  for (std::size_t i = 0; i < l.x.size(); ++i) l.x[i] = static_cast<std::int32_t>(i % 7) - 3;
  for (std::size_t i = 0; i < l.w.size(); ++i) l.w[i] = static_cast<std::int32_t>(i % 5) - 2;
  CubeTask plain = conv_fp16(s, code::fp16);
  const auto base = place(board, plain, l);
  ASSERT_TRUE(board.run(emit(plain)));
  for (const std::uint32_t bit : {0u, 1u})
    for (std::uint32_t field = 0; field < 8; ++field) {
      CubeTask t = plain;
      t.deconv = bit;
      t.deconv_x = t.deconv_y = field;
      const std::size_t elements = 32 * 36;
      const auto out = board.alloc(elements * 2);
      t.output = out.iova;
      ASSERT_TRUE(board.run(emit(t))) << board.fault();
      std::size_t differ = 0, zero = 0;
      for (std::size_t i = 0; i < elements; ++i) {
        differ += out.as<std::uint16_t>()[i] != base.as<std::uint16_t>()[i];
        zero += (out.as<std::uint16_t>()[i] & 0x7FFF) == 0;
      }
      const std::pair<std::size_t, std::size_t> want =
          bit == 0     ? std::pair{std::size_t{0}, zero}
          : field == 1 ? std::pair{std::size_t{1145}, std::size_t{49}}
          : field == 3 ? std::pair{std::size_t{1118}, std::size_t{640}}
          : field == 7 ? std::pair{std::size_t{1152}, std::size_t{1120}}
                       : std::pair{std::size_t{0}, zero};
      EXPECT_EQ(std::pair(differ, zero), want) << bit << " " << field;
    }
}

}  // namespace
}  // namespace npu::sim::test
