// SPDX-License-Identifier: MIT
#include "plain.hpp"

#include <cmath>
#include <limits>

namespace npu::sim::property {

Wide shift_right(Wide value, unsigned shift, Tie tie) {
  const Wide unit = Wide{1} << shift;
  Wide quotient = value / unit;  // towards zero
  const Wide rest = value % unit;
  const Wide sign = value < 0 ? -1 : 1;
  const Wide twice = 2 * rest * sign;
  if (twice > unit) quotient += sign;
  if (twice == unit) {
    if (tie == Tie::away) quotient += sign;
    if (tie == Tie::up && sign > 0) quotient += 1;
    if (tie == Tie::even && quotient % 2 != 0) quotient += sign;
  }
  return quotient;
}

std::int64_t clamp_bits(Wide value, unsigned bits) {
  const Wide high = (Wide{1} << (bits - 1)) - 1, low = -high - 1;
  return static_cast<std::int64_t>(value < low ? low : value > high ? high : value);
}

double fp16_value(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  if (exponent == 31)
    return mantissa != 0 ? std::numeric_limits<double>::quiet_NaN()
                         : sign * std::numeric_limits<double>::infinity();
  return sign *
         (exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25));
}

double bf16_value(std::uint16_t bits) {
  const int exponent = bits >> 7 & 255, mantissa = bits & 127;
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  return sign *
         (exponent == 0 ? std::ldexp(mantissa, -133) : std::ldexp(128 + mantissa, exponent - 134));
}

double tf32_value(float value) {
  if (value == 0) return 0;
  int exponent;
  const double wide = static_cast<double>(value);
  std::frexp(wide, &exponent);
  if (exponent < -125) exponent = -125;  // the last place of subnormals is that of 2^-126
  return std::ldexp(std::nearbyint(std::ldexp(wide, 11 - exponent)), exponent - 11);
}

std::uint16_t fp16_bits(double value) {
  const std::uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::abs(value);
  if (std::isnan(value)) return 0x7E00;
  if (magnitude >= 65520) return sign | 0x7C00;
  int exponent;
  std::frexp(magnitude, &exponent);  // magnitude below 2^exponent
  if (magnitude == 0 || exponent < -13) exponent = -13;
  // In units of the last place; a carry to 2048 is the next exponent's 1024.
  const int units = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 11 - exponent)));
  return static_cast<std::uint16_t>(
      sign | (units < 1024 ? units : ((exponent + 14) << 10) + units - 1024));
}

void ExactSum::add(double a, double b) {
  const double product = a * b;
  if (product == 0) return;
  int exponent;
  // Two operands of 11 bits at most.
  const auto mantissa = static_cast<std::int64_t>(std::ldexp(std::frexp(product, &exponent), 22));
  const int position = exponent - 22 - kLowest;
  const Wide shifted = static_cast<Wide>(mantissa < 0 ? -mantissa : mantissa) << (position % 32);
  for (int i = 0; i < 2; ++i) {
    const auto part = static_cast<std::int64_t>(shifted >> (32 * i) & 0xFFFFFFFF);
    limbs_[static_cast<std::size_t>(position / 32 + i)] += mantissa < 0 ? -part : part;
  }
}

float ExactSum::rounded() const {
  std::array<std::int64_t, kLimbs> limbs = limbs_;
  const auto carry = [&] {
    for (int i = 0; i + 1 < kLimbs; ++i) {
      auto& limb = limbs[static_cast<std::size_t>(i)];
      const std::int64_t up = limb >> 32;
      limb -= up * (std::int64_t{1} << 32);
      limbs[static_cast<std::size_t>(i) + 1] += up;
    }
  };
  carry();
  const bool negative = limbs.back() < 0;
  if (negative) {
    for (auto& limb : limbs) limb = -limb;
    carry();
  }
  const auto bit = [&](int position) {
    return (limbs[static_cast<std::size_t>(position / 32)] >> (position % 32) & 1) != 0;
  };
  int top = 32 * kLimbs - 1;
  while (top >= 0 && !bit(top)) --top;
  if (top < 0) return 0;
  // The last place that an fp32 of this size has.
  const int last = std::max(top - 23, -149 - kLowest);
  std::int64_t mantissa = 0;
  for (int i = top; i >= last; --i) mantissa = 2 * mantissa + (bit(i) ? 1 : 0);
  bool half = bit(last - 1), more = false;
  for (int i = 0; i < last - 1; ++i) more = more || bit(i);
  if (half && (more || mantissa % 2 != 0)) ++mantissa;
  const auto value = static_cast<float>(std::ldexp(static_cast<double>(mantissa), last + kLowest));
  return negative ? -value : value;
}

}  // namespace npu::sim::property
