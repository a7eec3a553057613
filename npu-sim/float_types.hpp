// SPDX-License-Identifier: MIT
// fp16, bf16 and tf32 as the NPU stores them, to and from fp32 (round to nearest even).
#pragma once

#include <bit>
#include <cstdint>

namespace npu::sim {

constexpr float fp16_to_float(std::uint16_t h) {
  const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000) << 16;
  const std::uint32_t exponent = h >> 10 & 0x1F, mantissa = h & 0x3FF;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000 | mantissa << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
  return sign != 0 ? -magnitude : magnitude;
}

constexpr std::uint16_t float_to_fp16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000);
  const std::uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return static_cast<std::uint16_t>(sign | 0x7E00);   // NaN
  if (magnitude >= 0x477FF000) return static_cast<std::uint16_t>(sign | 0x7C00);  // 65520 and up
  if (magnitude >= 0x38800000) {
    // Normal: keep 10 bits, round to nearest even; a carry moves into the exponent as it should.
    const std::uint32_t rounded = magnitude - 0x38000000 + 0xFFF + (magnitude >> 13 & 1);
    return static_cast<std::uint16_t>(sign | rounded >> 13);
  }
  if (magnitude < 0x33000000) return sign;  // below half of the smallest subnormal
  const std::uint32_t exponent = magnitude >> 23;
  const std::uint32_t mantissa = (magnitude & 0x7FFFFF) | 0x800000;
  const std::uint32_t shift = 126 - exponent;  // 14 to 24
  const std::uint32_t floor = mantissa >> shift;
  const std::uint32_t rest = mantissa & ((1u << shift) - 1), half = 1u << (shift - 1);
  return static_cast<std::uint16_t>(sign |
                                    (floor + (rest > half || (rest == half && (floor & 1) != 0))));
}

constexpr float bf16_to_float(std::uint16_t b) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(b) << 16);
}

/// fp32 with the mantissa rounded to 10 bits, as the MAC array takes tf32 operands.
constexpr float round_to_tf32(float value) {
  std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7F800000) == 0x7F800000) return value;
  bits += 0xFFF + (bits >> 13 & 1);
  return std::bit_cast<float>(bits & 0xFFFFE000);
}

static_assert(float_to_fp16(1.0f) == 0x3C00 && fp16_to_float(0x3C00) == 1.0f);
static_assert(float_to_fp16(65504.0f) == 0x7BFF && float_to_fp16(65520.0f) == 0x7C00);
static_assert(float_to_fp16(0x1p-24f) == 1 && float_to_fp16(0x1p-25f) == 0);
static_assert(float_to_fp16(0x1.8p-24f) == 2 && fp16_to_float(1) == 0x1p-24f);
static_assert(float_to_fp16(1.0f + 0x1p-11f) == 0x3C00);  // tie to even
static_assert(float_to_fp16(1.0f + 0x3p-11f) == 0x3C02);

}  // namespace npu::sim
