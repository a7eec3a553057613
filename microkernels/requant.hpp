// SPDX-License-Identifier: MIT
// From an int32 sum to an int8 output: the output converter (OUT_CVT) of the DPU.
#pragma once

#include <cstdint>

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

}  // namespace npu::kernels
