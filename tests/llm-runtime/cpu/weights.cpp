// SPDX-License-Identifier: MIT
#include "tests/llm-runtime/cpu/weights.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "llm-runtime/half.hpp"

namespace npu::llm::cpu::test {
namespace {

template <class T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

bool k_quant(TensorType type) { return block_shape(type).values == 256; }

/// Offset of the halves d (and dmin) in a block.
std::size_t d_offset(TensorType type) { return type == TensorType::q6_k ? 208 : 0; }

struct Codes {
  std::vector<int> q;
  float d;
};

/// A block of activations, rounded to the nearest of 255 steps.
Codes quantise(const float* x, std::size_t n) {
  float largest = 0;
  for (std::size_t i = 0; i < n; ++i) largest = std::max(largest, std::fabs(x[i]));
  Codes codes{std::vector<int>(n), largest * (1.0F / 127)};
  for (std::size_t i = 0; i < n && largest > 1e-35F; ++i)
    codes.q[i] = static_cast<int>(std::nearbyintf(x[i] * (127.0F / largest)));
  return codes;
}

}  // namespace

Weights random_weights(TensorType type, std::uint32_t rows, std::uint32_t columns,
                       std::uint32_t seed) {
  Weights weights{type, rows, columns, std::vector<std::byte>(rows * row_bytes(type, columns))};
  std::mt19937 random(seed);
  const BlockShape block = block_shape(type);
  std::normal_distribution<float> normal(0, 0.05F);
  std::uniform_real_distribution<float> scale(0.2F, 1.0F);
  if (type == TensorType::f32 || type == TensorType::f16 || type == TensorType::bf16) {
    for (std::size_t i = 0; i < std::size_t{rows} * columns; ++i) {
      const float value = normal(random);
      const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
      const std::uint16_t half =
          type == TensorType::f16 ? float_to_f16(value) : static_cast<std::uint16_t>(bits >> 16);
      if (type == TensorType::f32)
        std::memcpy(&weights.bytes[4 * i], &value, 4);
      else
        std::memcpy(&weights.bytes[2 * i], &half, 2);
    }
    return weights;
  }
  for (auto& byte : weights.bytes) byte = static_cast<std::byte>(random());
  for (std::size_t at = 0; at < weights.bytes.size(); at += block.bytes) {
    const float largest = type == TensorType::q8_0   ? 127
                          : type == TensorType::q4_0 ? 8
                          : type == TensorType::q5_0 ? 16
                          : type == TensorType::q4_k ? 15 * 63
                          : type == TensorType::q5_k ? 31 * 63
                                                     : 32 * 128;
    const std::uint16_t d = float_to_f16(scale(random) * (random() % 2 ? 1 : -1) / largest);
    std::memcpy(&weights.bytes[at + d_offset(type)], &d, 2);
    const std::uint16_t dmin = float_to_f16(scale(random) / 63);
    if (type == TensorType::q4_k || type == TensorType::q5_k)
      std::memcpy(&weights.bytes[at + 2], &dmin, 2);
  }
  return weights;
}

std::vector<float> random_activations(std::size_t n, std::uint32_t seed, bool outliers) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (float& value : x) value = normal(random) * (outliers && random() % 100 == 0 ? 10.0F : 1.0F);
  return x;
}

Value value_at(const WeightView& weights, std::size_t row, std::size_t column) {
  const BlockShape shape = block_shape(weights.type);
  const std::byte* block = weights.data + row * row_bytes(weights.type, weights.columns) +
                           column / shape.values * shape.bytes;
  const std::size_t i = column % shape.values;
  const auto bytes = [&](std::size_t at) { return std::to_integer<unsigned>(block[at]); };
  const auto half = [&](std::size_t at) { return f16_to_float(load<std::uint16_t>(block + at)); };
  const auto nibble = [](unsigned byte, bool high) {
    return static_cast<int>(high ? byte >> 4 : byte & 15);
  };
  Value value;
  value.d = half(d_offset(weights.type));
  switch (weights.type) {
    case TensorType::q4_0: value.q = nibble(bytes(2 + i % 16), i >= 16) - 8; break;
    case TensorType::q5_0: {
      const int fifth = static_cast<int>(load<std::uint32_t>(block + 2) >> i & 1);
      value.q = (nibble(bytes(6 + i % 16), i >= 16) | fifth << 4) - 16;
      break;
    }
    case TensorType::q8_0: value.q = static_cast<std::int8_t>(bytes(2 + i)); break;
    case TensorType::q4_k:
    case TensorType::q5_k: {
      const bool five = weights.type == TensorType::q5_k;
      const std::size_t g = i / 32, qs = five ? 48 : 16;
      value.q = nibble(bytes(qs + g / 2 * 32 + i % 32), g % 2 == 1);
      if (five) value.q |= static_cast<int>(bytes(16 + i % 32) >> g & 1) << 4;
      const auto packed = [&](std::size_t s) { return bytes(4 + s); };
      value.scale = static_cast<int>(g < 4 ? packed(g) & 63
                                           : (packed(g + 4) & 15) | (packed(g - 4) >> 6) << 4);
      value.minimum =
          static_cast<int>(g < 4 ? packed(g + 4) & 63 : packed(g + 4) >> 4 | (packed(g) >> 6) << 4);
      value.dmin = half(2);
      break;
    }
    case TensorType::q6_k: {
      const std::size_t part = i / 128, quarter = i % 128 / 32, l = i % 32;
      value.q = nibble(bytes(part * 64 + quarter % 2 * 32 + l), quarter >= 2);
      value.q |= static_cast<int>(bytes(128 + part * 32 + l) >> (2 * quarter) & 3) << 4;
      value.q -= 32;
      value.scale = static_cast<std::int8_t>(bytes(192 + i / 16));
      break;
    }
    case TensorType::f32: value = {1, 1, 0, load<float>(block), 0}; break;
    case TensorType::f16: value = {1, 1, 0, half(0), 0}; break;
    case TensorType::bf16: value = {1, 1, 0, bf16_to_float(load<std::uint16_t>(block)), 0}; break;
  }
  return value;
}

float quantised_product(const WeightView& weights, std::size_t row, const float* x) {
  float total = 0;
  const std::size_t block = k_quant(weights.type) ? 256 : 32;
  const std::size_t group = weights.type == TensorType::q6_k ? 16 : 32;
  for (std::size_t k = 0; k < weights.columns; k += block) {
    const Codes codes = quantise(x + k, block);
    float scaled = 0;
    int minima = 0;
    Value value;
    for (std::size_t g = 0; g < block; g += group) {
      int dot = 0, sum = 0;
      for (std::size_t i = g; i < g + group; ++i) {
        value = value_at(weights, row, k + i);
        dot += value.q * codes.q[i];
        sum += codes.q[i];
      }
      minima += value.minimum * sum;
      if (k_quant(weights.type))
        scaled = std::fma(static_cast<float>(dot), static_cast<float>(value.scale), scaled);
      else
        scaled = static_cast<float>(dot);
    }
    total = std::fma(scaled, value.d * codes.d, total);
    if (weights.type == TensorType::q4_k || weights.type == TensorType::q5_k)
      total = std::fma(-static_cast<float>(minima), value.dmin * codes.d, total);
  }
  return total;
}

}  // namespace npu::llm::cpu::test
