// SPDX-License-Identifier: MIT
#include "llm-runtime/quantize.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

#include "llm-runtime/dequantize.hpp"
#include "llm-runtime/half.hpp"

namespace npu::llm {
namespace {

constexpr TensorType kQuantised[] = {TensorType::q4_0, TensorType::q5_0, TensorType::q8_0,
                                     TensorType::q4_k, TensorType::q5_k, TensorType::q6_k};

TEST(Half, EveryHalfSurvivesTheWayToFloatAndBack) {
  for (std::uint32_t half = 0; half < 0x10000; ++half) {
    const float value = f16_to_float(static_cast<std::uint16_t>(half));
    if (std::isnan(value)) {
      EXPECT_TRUE((half & 0x7c00) == 0x7c00 && (half & 0x3ff) != 0);
      EXPECT_TRUE(std::isnan(f16_to_float(float_to_f16(value))));
    } else {
      EXPECT_EQ(float_to_f16(value), half);
    }
    const float wide = bf16_to_float(static_cast<std::uint16_t>(half));
    if (std::isnan(wide)) {
      EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(wide))));
    } else {
      EXPECT_EQ(float_to_bf16(wide), half);
    }
  }
}

TEST(Half, RoundsToNearestTiesToEven) {
  // Halves are in order of their bits: the midpoint of two goes to the even one, all beyond to the
  // nearer one.
  for (std::uint16_t half = 0; half < 0x7bff; ++half) {
    const double low = f16_to_float(half), high = f16_to_float(half + 1);
    const auto middle = static_cast<float>((low + high) / 2);  // exact
    ASSERT_EQ(float_to_f16(middle), half + (half & 1)) << half;
    ASSERT_EQ(float_to_f16(std::nextafter(middle, 0.0f)), half) << half;
    ASSERT_EQ(float_to_f16(std::nextafter(middle, 1e9f)), half + 1) << half;
    ASSERT_EQ(float_to_f16(-middle), (half + (half & 1)) | 0x8000) << half;
  }
  EXPECT_EQ(float_to_f16(65504.0f), 0x7bff);
  EXPECT_EQ(float_to_f16(65519.99f), 0x7bff);
  EXPECT_EQ(float_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(float_to_f16(-std::numeric_limits<float>::infinity()), 0xfc00);
  EXPECT_EQ(float_to_bf16(1.00390625f), 0x3f80);    // tie, down to even
  EXPECT_EQ(float_to_bf16(1.01171875f), 0x3f82);    // tie, up to even
  EXPECT_EQ(float_to_bf16(3.4028235e38f), 0x7f80);  // rounds to infinity
}

TEST(Dequantize, EqualsGgmlBitForBit) {
  std::ifstream in(ROSENBLATT_VECTORS_DIR "/llm/dequant.json");
  const nlohmann::json cases = nlohmann::json::parse(in);
  ASSERT_EQ(cases.size(), 7u);
  for (const auto& entry : cases) {
    const auto hex = entry["raw_hex"].get<std::string>();
    std::vector<std::byte> raw(hex.size() / 2);
    for (std::size_t i = 0; i < raw.size(); ++i)
      raw[i] = static_cast<std::byte>(std::stoi(hex.substr(2 * i, 2), nullptr, 16));
    const auto want = entry["values"].get<std::vector<float>>();
    const auto type = tensor_type(entry["type_id"].get<std::uint32_t>());
    ASSERT_TRUE(type);
    ASSERT_EQ(block_shape(*type).values, entry["block_values"].get<std::uint32_t>());
    ASSERT_EQ(row_bytes(*type, want.size()), raw.size());
    std::vector<float> got(want.size());
    dequantize_row(*type, raw.data(), got);
    for (std::size_t i = 0; i < got.size(); ++i) {
      if (want[i] == 0 && got[i] == 0) continue;  // the vectors write -0 as 0
      ASSERT_EQ(std::bit_cast<std::uint32_t>(got[i]), std::bit_cast<std::uint32_t>(want[i]))
          << to_string(*type) << " value " << i << ": " << got[i] << " not " << want[i];
    }
  }
}

TEST(Dequantize, Q5KIsQ4KWithAFifthBit) {
  std::mt19937 random(5);
  BlockQ4_K four;
  BlockQ5_K five;
  four.d = five.d = float_to_f16(0.03f);
  four.dmin = five.dmin = float_to_f16(0.07f);
  for (int i = 0; i < 12; ++i)
    four.scales[i] = five.scales[i] = static_cast<std::uint8_t>(random());
  for (int i = 0; i < 128; ++i) four.qs[i] = five.qs[i] = static_cast<std::uint8_t>(random());
  std::memset(five.qh, 0, sizeof five.qh);
  std::vector<float> a(256), b(256);
  dequantize_row(TensorType::q4_k, reinterpret_cast<const std::byte*>(&four), a);
  dequantize_row(TensorType::q5_k, reinterpret_cast<const std::byte*>(&five), b);
  EXPECT_EQ(a, b);
  // The fifth bit of one value adds sixteen steps of its group's scale, and changes no other.
  five.qh[9] = 1 << 5;
  dequantize_row(TensorType::q5_k, reinterpret_cast<const std::byte*>(&five), b);
  const float scale = f16_to_float(five.d) * unpack_scale_min(five.scales, 5).scale;
  for (std::size_t i = 0; i < 256; ++i) {
    if (i == 5 * 32 + 9) {
      EXPECT_NEAR(b[i] - a[i], 16 * scale, 1e-4f);
    } else {
      EXPECT_EQ(a[i], b[i]);
    }
  }
}

TEST(Dequantize, ScalesAndMinimaUnpackAsTheyWerePacked) {
  std::mt19937 random(6);
  for (int round = 0; round < 100; ++round) {
    std::array<ScaleMin, 8> values;
    for (ScaleMin& value : values)
      value = {static_cast<std::uint8_t>(random() % 64), static_cast<std::uint8_t>(random() % 64)};
    std::uint8_t packed[12];
    pack_scale_min(packed, values);
    for (int group = 0; group < 8; ++group) {
      const ScaleMin got = unpack_scale_min(packed, group);
      EXPECT_EQ(got.scale, values[static_cast<std::size_t>(group)].scale);
      EXPECT_EQ(got.min, values[static_cast<std::size_t>(group)].min);
    }
  }
}

TEST(Quantize, ErrsByLessThanTheTypeAllows) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.0f, 0.05f);
  std::vector<float> values(256 * 64);
  for (float& value : values) value = normal(random);
  double power = 0;
  for (const float value : values) power += double{value} * value;
  // Relative RMS for normal values: half a step of the range that a block takes, uniform error.
  const std::pair<TensorType, double> limits[] = {
      {TensorType::q4_0, 0.10},  {TensorType::q5_0, 0.05},  {TensorType::q8_0, 0.006},
      {TensorType::q4_k, 0.085}, {TensorType::q5_k, 0.045}, {TensorType::q6_k, 0.025},
      {TensorType::f16, 3e-4},   {TensorType::bf16, 3e-3},  {TensorType::f32, 0}};
  for (const auto& [type, limit] : limits) {
    std::vector<float> back(values.size());
    dequantize_row(type, quantize(type, values).data(), back);
    double error = 0;
    for (std::size_t i = 0; i < values.size(); ++i)
      error += (double{back[i]} - values[i]) * (double{back[i]} - values[i]);
    EXPECT_LE(std::sqrt(error / power), limit) << to_string(type);
  }
}

TEST(Quantize, WhatIsOnTheGridStaysThere) {
  // Quantising what has been dequantised must change nothing beyond rounding of the scale.
  std::vector<float> values(256);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(static_cast<int>(i * 37 % 16) - 8) * 0.25f;
  for (const TensorType type : kQuantised) {
    std::vector<float> back(values.size());
    dequantize_row(type, quantize(type, values).data(), back);
    for (std::size_t i = 0; i < values.size(); ++i)
      ASSERT_NEAR(back[i], values[i], type == TensorType::q8_0 ? 0.009f : 0.07f)
          << to_string(type) << " " << i;
  }
}

TEST(Quantize, ZerosConstantsAndTinyValuesGiveFiniteBlocks) {
  for (const TensorType type : kQuantised) {
    for (const float value : {0.0f, 1.0f, -1.0f, 1e-30f, -1e-8f, 0.05f, 1e-39f, -1e-45f}) {
      const std::vector<float> values(256, value);
      std::vector<float> back(256);
      dequantize_row(type, quantize(type, values).data(), back);
      for (const float got : back) {
        ASSERT_TRUE(std::isfinite(got)) << to_string(type) << " " << value;
        ASSERT_NEAR(got, value, std::fabs(value) * 0.02f + 1e-7f) << to_string(type);
      }
    }
  }
}

}  // namespace
}  // namespace npu::llm
