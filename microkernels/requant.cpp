// SPDX-License-Identifier: MIT
#include "microkernels/requant.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "regdb/error.hpp"

namespace npu::kernels {

Requant requant_from_float(float multiplier, std::int32_t offset) {
  // 1.m * 2^(e - 127) = (2^14 * 1.m) / 2^(141 - e)
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(multiplier);
  const std::uint32_t exponent = bits >> 23 & 0xFF;
  if ((bits >> 31) != 0 || exponent < 78 || exponent > 141) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("requantisation factor {} cannot be expressed: use one from 2^-49 up "
                            "to, but not including, 2^15",
                            multiplier));
  }
  std::uint32_t shift = 141 - exponent;
  std::uint32_t scale = 0x4000 + (bits >> 9 & 0x3FFF) + 1;
  if (scale == 0x8000) {
    if (shift == 0) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("requantisation factor {} rounds up to 2^15, which cannot be "
                              "expressed: use a smaller one",
                              multiplier));
    }
    scale = 0x4000;
    --shift;
  }
  return {static_cast<std::int16_t>(scale), static_cast<std::uint8_t>(shift), offset};
}

namespace {

// Ties to even.
std::int64_t shift_right(std::int64_t value, unsigned shift) {
  if (shift == 0) return value;
  const std::int64_t floor = value >> shift;
  const std::uint64_t rest = static_cast<std::uint64_t>(value) & ((std::uint64_t{1} << shift) - 1);
  const std::uint64_t half = std::uint64_t{1} << (shift - 1);
  return floor + (rest > half || (rest == half && (floor & 1) != 0) ? 1 : 0);
}

}  // namespace

std::int8_t requantise(std::int32_t sum, const Requant& requant) {
  const std::int64_t rounded = shift_right(std::int64_t{sum} * requant.scale, requant.shift);
  return static_cast<std::int8_t>(std::clamp<std::int64_t>(rounded + requant.offset, -128, 127));
}

std::int64_t scale_operand(std::int8_t operand, const Requant& requant) {
  return shift_right((std::int64_t{operand} + requant.offset) * requant.scale, requant.shift);
}

std::int32_t scale_channel(std::int64_t sum, std::int16_t multiplier, std::uint8_t shift) {
  return static_cast<std::int32_t>(std::clamp<std::int64_t>(
      shift_right(sum * multiplier, shift), std::numeric_limits<std::int32_t>::min(),
      std::numeric_limits<std::int32_t>::max()));
}

ChannelRequant requant_per_channel(std::span<const float> factors, std::int32_t offset,
                                   std::int64_t largest_sum) {
  constexpr int kMost = std::numeric_limits<std::int16_t>::max();
  float most = 0;
  for (const float factor : factors) {
    if (!(factor >= 0) || std::isinf(factor))
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("requantisation factor {} of a channel cannot be expressed: use "
                              "finite ones, 0 or more",
                              factor));
    most = std::max(most, factor);
  }
  if (most == 0)
    throw Error(ErrorCode::invalid_argument,
                "requantisation by channel needs a factor above 0 for at least one channel");
  ChannelRequant result;
  largest_sum = std::clamp<std::int64_t>(largest_sum, 1, std::int64_t{1} << 40);
  while (largest_sum * kMost >> result.channels.shift > std::numeric_limits<std::int32_t>::max())
    ++result.channels.shift;
  const double unit = std::ldexp(1.0, result.channels.shift);
  result.requant = requant_from_float(static_cast<float>(most * unit / kMost), offset);
  // The converter's factor as it came out, up to 2^-14 above what was asked for.
  const double gain = std::ldexp(result.requant.scale, -result.requant.shift);
  for (const float factor : factors)
    result.channels.multipliers.push_back(static_cast<std::int16_t>(
        std::min<long>(kMost, std::lround(static_cast<double>(factor) * unit / gain))));
  return result;
}

}  // namespace npu::kernels
