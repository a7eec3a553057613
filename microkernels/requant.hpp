// SPDX-License-Identifier: MIT
// From an int32 sum to an int8 output: the output converter (OUT_CVT) of the DPU.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace npu::kernels {

/// y = sat8(round((x * scale) / 2^shift) + offset), ties to even; x is the sum with its bias,
/// saturated to int32. The 16 bits of scale are signed; shift is 0 to 63 [rockchip-npu-notes
/// encodings/out-cvt-converter.md, swept on a board].
struct Requant {
  std::int16_t scale = 1;
  std::uint8_t shift = 0;
  std::int32_t offset = 0;
  friend bool operator==(const Requant&, const Requant&) = default;
};

/// The scale and shift nearest to `multiplier` (at least 2^-49, below 2^15): 15 significant bits.
/// The mantissa is cut to 14 bits and raised by one, as Mesa does [rkt_regcmd.c]; where that
/// carries, the exponent takes the carry (Mesa's result is wrong by a factor of two there).
/// Throws invalid_argument for anything that the converter cannot represent.
Requant requant_from_float(float multiplier, std::int32_t offset = 0);

/// What the converter makes of one sum, bit for bit.
std::int8_t requantise(std::int32_t sum, const Requant& requant);

/// A multiplier for each channel, before the converter:
///   v = sat32(round((sum + bias) * multipliers[channel] / 2^shift)), ties to even,
/// and v then goes through a Requant. The product is held wide. It runs in the stage BS of int8
/// convolutions, dense and depthwise [rockchip-npu-notes encodings/out-cvt-converter.md, swept on a
/// board].
struct ChannelScales {
  std::vector<std::int16_t> multipliers;  ///< empty: none
  std::uint8_t shift = 0;                 ///< 0 to 63
  bool empty() const { return multipliers.empty(); }
  friend bool operator==(const ChannelScales&, const ChannelScales&) = default;
};

/// What BS makes of a sum with its bias.
std::int32_t scale_channel(std::int64_t sum, std::int16_t multiplier, std::uint8_t shift);

/// What EW's converter makes of an operand: (x + offset) * scale / 2^shift, ties to even.
std::int64_t scale_operand(std::int8_t operand, const Requant& requant);

/// Constants for a factor per channel.
struct ChannelRequant {
  ChannelScales channels;
  Requant requant;
};

/// The largest factor gets the multiplier 32767; every factor is kept to within the largest one's
/// 65534th part, and half a unit of v. `largest_sum`: no |sum + bias| exceeds it; the smaller,
/// the finer v. Throws invalid_argument for factors that cannot be expressed (none, negative, all
/// 0), and what requant_from_float() throws.
ChannelRequant requant_per_channel(std::span<const float> factors, std::int32_t offset = 0,
                                   std::int64_t largest_sum = 0x7FFFFFFF);

}  // namespace npu::kernels
