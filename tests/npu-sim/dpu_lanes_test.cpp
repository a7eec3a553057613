// SPDX-License-Identifier: MIT
// The DPU's stages with vectors of doubles against 64-bit integers.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <vector>

#include "npu-sim/dpu_lanes.hpp"
#include "npu-sim/mac_int8.hpp"
#include "npu-sim/rounding.hpp"

namespace npu::sim::test {
namespace {

constexpr std::size_t kPositions = 7, kStride = 32;

struct Operands {
  std::vector<std::int32_t> sums, windows;
  std::array<double, kDpuStrip> ow, alu, mul;
  std::vector<std::int8_t> operand;
};

// Values that reach the limits and the ties more often than chance would.
std::int32_t draw(std::mt19937& rng, std::int64_t low, std::int64_t high) {
  switch (std::uniform_int_distribution<int>(0, 9)(rng)) {
    case 0: return static_cast<std::int32_t>(low);
    case 1: return static_cast<std::int32_t>(high);
    case 2: return static_cast<std::int32_t>(std::clamp<std::int64_t>(0, low, high));
    case 3:
    case 4:
    case 5:
      return static_cast<std::int32_t>(std::uniform_int_distribution<std::int64_t>(
          std::max<std::int64_t>(low, -300), std::min<std::int64_t>(high, 300))(rng));
    default:
      return static_cast<std::int32_t>(std::uniform_int_distribution<std::int64_t>(low, high)(rng));
  }
}
std::int32_t draw32(std::mt19937& rng) { return draw(rng, INT32_MIN, INT32_MAX); }
bool coin(std::mt19937& rng) { return rng() % 2 != 0; }

ConvConfig random_config(std::mt19937& rng) {
  ConvConfig c{};
  c.truncate = static_cast<std::uint32_t>(coin(rng) ? 0 : draw(rng, 0, 31));
  c.bs.alu = coin(rng);
  c.bs.mul = coin(rng);
  c.bs.mul_shift = static_cast<std::uint32_t>(draw(rng, 0, 63));
  c.bs.mul_shift_negative = coin(rng) ? c.bs.mul_shift : static_cast<std::uint32_t>(rng() % 64);
  c.bs.relu = coin(rng);
  c.bs.relux = coin(rng);
  c.bs.relux_max = draw32(rng);
  c.bn.relu = coin(rng);
  c.bn.relux = coin(rng);
  c.bn.relux_max = draw32(rng);
  c.ew.active = coin(rng);
  c.ew.op = EwOp::add;
  c.ew.operand_bits = 8;
  c.ew.convert = coin(rng);
  c.ew.add_first = coin(rng);
  c.ew.offset = draw32(rng);
  c.ew.scale = draw(rng, INT16_MIN, INT16_MAX);
  c.ew.shift = static_cast<std::uint32_t>(draw(rng, 0, 63));
  c.ew.relu = coin(rng);
  c.ew.relux = coin(rng);
  c.ew.relux_max = draw32(rng);
  c.out_cvt.add_first = coin(rng);
  c.out_cvt.offset = draw32(rng);
  c.out_cvt.scale = draw(rng, INT16_MIN, INT16_MAX);
  c.out_cvt.shift = static_cast<std::uint32_t>(draw(rng, 0, 63));
  c.out_type = coin(rng) ? OutputType::int8 : coin(rng) ? OutputType::int16 : OutputType::int32;
  return c;
}

Operands random_operands(std::mt19937& rng) {
  Operands o;
  o.sums.resize(kPositions * kStride);
  o.windows.resize(kPositions * kStride);
  o.operand.resize(kPositions * kDpuStrip);
  for (auto& v : o.sums) v = draw32(rng);
  for (auto& v : o.windows) v = draw32(rng);
  for (auto& v : o.operand) v = static_cast<std::int8_t>(rng());
  for (auto& v : o.ow) v = draw(rng, INT16_MIN, INT16_MAX);
  for (auto& v : o.alu) v = draw32(rng);
  for (auto& v : o.mul) v = draw(rng, INT16_MIN, INT16_MAX);
  return o;
}

std::int64_t relu(std::int64_t v, bool on, bool limited, std::int32_t limit) {
  if (!on) return v;
  v = std::max<std::int64_t>(v, 0);
  return limited ? std::min<std::int64_t>(v, limit) : v;
}

std::int64_t reference(const ConvConfig& c, const Operands& o, bool window, bool per_channel,
                       std::size_t p, std::size_t ch) {
  constexpr TieRule kEven = TieRule::half_even;
  std::int64_t v = o.sums[p * kStride + ch];
  if (window)
    v += static_cast<std::int64_t>(o.ow[ch]) * o.windows[p * kStride + (per_channel ? ch : 0)];
  v = saturate<std::int32_t>(round_shift(v, c.truncate, kEven));
  if (c.bs.alu) v += static_cast<std::int64_t>(o.alu[ch]);
  if (c.bs.mul) {
    v *= static_cast<std::int64_t>(o.mul[ch]);
    v = round_shift(v, v >= 0 ? c.bs.mul_shift : c.bs.mul_shift_negative, kEven);
  }
  v = saturate<std::int32_t>(v);
  v = relu(v, c.bs.relu, c.bs.relux, c.bs.relux_max);
  v = relu(v, c.bn.relu, c.bn.relux, c.bn.relux_max);
  if (c.ew.active) {
    std::int64_t e = o.operand[p * kDpuStrip + ch];
    if (c.ew.convert)
      e = c.ew.add_first ? round_shift((e + c.ew.offset) * c.ew.scale, c.ew.shift, kEven)
                         : round_shift(e * c.ew.scale, c.ew.shift, kEven) + c.ew.offset;
    v = saturate<std::int32_t>(v + e);
  }
  v = relu(v, c.ew.relu, c.ew.relux, c.ew.relux_max);
  v = c.out_cvt.add_first
          ? round_shift((v + c.out_cvt.offset) * c.out_cvt.scale, c.out_cvt.shift, kEven)
          : round_shift(v * c.out_cvt.scale, c.out_cvt.shift, kEven) + c.out_cvt.offset;
  return c.out_type == OutputType::int8    ? saturate<std::int8_t>(v)
         : c.out_type == OutputType::int16 ? saturate<std::int16_t>(v)
                                           : saturate<std::int32_t>(v);
}

TEST(DpuLanes, EqualTheIntegerStages) {
  std::mt19937 rng(1);
  for (int round = 0; round < 3000; ++round) {
    const ConvConfig c = random_config(rng);
    const Operands o = random_operands(rng);
    const bool window = coin(rng), per_channel = coin(rng);
    const auto lanes = integer_lanes(c, Quirks{}, window);
    ASSERT_TRUE(lanes);
    const IntegerStrip strip{kPositions,   o.sums.data(),
                             kStride,      window ? o.windows.data() : nullptr,
                             kStride,      per_channel,
                             o.ow.data(),  o.alu.data(),
                             o.mul.data(), c.ew.active ? o.operand.data() : nullptr};
    std::vector<std::int32_t> wide(kPositions * kDpuStrip);
    std::vector<std::int8_t> narrow(wide.size());
    run_integer_lanes(*lanes, strip, wide.data());
    if (c.out_type == OutputType::int8) run_integer_lanes(*lanes, strip, narrow.data());
    for (std::size_t p = 0; p < kPositions; ++p)
      for (std::size_t ch = 0; ch < kDpuStrip; ++ch) {
        const std::int64_t want = reference(c, o, window, per_channel, p, ch);
        ASSERT_EQ(wide[p * kDpuStrip + ch], want) << "round " << round << " " << p << "," << ch;
        if (c.out_type == OutputType::int8) {
          ASSERT_EQ(narrow[p * kDpuStrip + ch], want) << "round " << round << " " << p << "," << ch;
        }
      }
  }
}

TEST(DpuLanes, OtherTieRulesAreLeftToTheIntegers) {
  ConvConfig c{};
  c.out_cvt.scale = 1;
  Quirks quirks;
  quirks.out_cvt_tie = quirks.clip_truncate_tie = quirks.ew_cvt_tie = TieRule::half_up;
  EXPECT_TRUE(integer_lanes(c, quirks, false));  // nothing is rounded
  c.out_cvt.shift = 1;
  EXPECT_FALSE(integer_lanes(c, quirks, false));
  EXPECT_TRUE(integer_lanes(c, Quirks{}, false));
  c.out_cvt.half_away = true;
  EXPECT_FALSE(integer_lanes(c, Quirks{}, false));
  c.out_cvt.half_away = false;
  c.truncate = 1;
  c.truncate_half_up = true;
  EXPECT_FALSE(integer_lanes(c, Quirks{}, false));
}

TEST(DepthwiseMac, EqualsThePlainLoop) {
  std::mt19937 rng(2);
  const std::uint8_t flip = mac_layout().input_xor;
  for (const std::size_t channels : {16, 48, 96})
    for (const std::size_t taps : {1, 9, 25}) {
      std::vector<std::uint8_t> in(taps * channels);
      std::vector<std::int8_t> w(in.size());
      for (auto& v : in) v = static_cast<std::uint8_t>(rng());
      for (auto& v : w) v = static_cast<std::int8_t>(rng() % 8 == 0 ? -128 : rng());
      std::vector<const std::uint8_t*> rows;
      for (std::size_t tap = 0; tap < taps; ++tap) rows.push_back(in.data() + tap * channels);
      std::vector<std::int32_t> sums(channels), windows(channels), alone(channels);
      mac_depthwise_int8(rows.data(), w.data(), taps, channels, sums.data(), windows.data());
      mac_depthwise_int8(rows.data(), w.data(), taps, channels, alone.data(), nullptr);
      std::vector<std::int32_t> totals(taps);  // of the channels of each tap
      sum_channels_int8(in.data(), taps, channels, totals.data());
      for (std::size_t tap = 0; tap < taps; ++tap) {
        std::int32_t total = 0;
        for (std::size_t c = 0; c < channels; ++c)
          total += static_cast<std::int8_t>(in[tap * channels + c] ^ flip);
        ASSERT_EQ(totals[tap], total);
      }
      for (std::size_t c = 0; c < channels; ++c) {
        std::int32_t sum = 0, window = 0;
        for (std::size_t tap = 0; tap < taps; ++tap) {
          const std::int32_t value = static_cast<std::int8_t>(in[tap * channels + c] ^ flip);
          sum += value * w[tap * channels + c];
          window += value;
        }
        ASSERT_EQ(sums[c], sum);
        ASSERT_EQ(alone[c], sum);
        ASSERT_EQ(windows[c], window);
      }
    }
}

}  // namespace
}  // namespace npu::sim::test
