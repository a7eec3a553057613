// SPDX-License-Identifier: MIT
// Arithmetic in the plainest form that is obviously right: 128-bit integers and an exact sum of
// products of any exponent. Shares nothing with npu-sim.
#pragma once

#include <array>
#include <cstdint>

namespace npu::sim::property {

using Wide = __int128;

enum class Tie { even, up, away };

/// value / 2^shift to the nearest integer.
Wide shift_right(Wide value, unsigned shift, Tie tie);

/// Nearest number that a signed integer of `bits` bits holds.
std::int64_t clamp_bits(Wide value, unsigned bits);

double fp16_value(std::uint16_t bits);
double bf16_value(std::uint16_t bits);
/// An fp32 as the MAC array takes it for tf32: 10 bits of mantissa, ties to even.
double tf32_value(float value);
/// Nearest fp16, ties to even, 65520 and more to infinity.
std::uint16_t fp16_bits(double value);

/// Sum of products without any rounding. Products of fp16, bf16 or tf32 operands: each is exact in
/// a double, between 2^-300 and 2^260.
class ExactSum {
 public:
  void add(double a, double b);
  /// Nearest fp32, ties to even, subnormals included.
  float rounded() const;

 private:
  static constexpr int kLowest = -320, kLimbs = 20;
  std::array<std::int64_t, kLimbs> limbs_{};  // 32 bits each, weight 2^(kLowest + 32 i)
};

}  // namespace npu::sim::property
