// SPDX-License-Identifier: MIT
#include "microkernels/requant.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

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

std::int8_t requantise(std::int32_t sum, const Requant& requant) {
  const std::int64_t product = std::int64_t{sum} * requant.scale;
  std::int64_t rounded = product;
  const unsigned shift = requant.shift;
  if (shift > 0) {
    const std::int64_t floor = product >> shift;
    const std::uint64_t rest =
        static_cast<std::uint64_t>(product) & ((std::uint64_t{1} << shift) - 1);
    const std::uint64_t half = std::uint64_t{1} << (shift - 1);
    const bool up = rest > half || (rest == half && (floor & 1) != 0);
    rounded = floor + (up ? 1 : 0);
  }
  return static_cast<std::int8_t>(std::clamp<std::int64_t>(rounded + requant.offset, -128, 127));
}

}  // namespace npu::kernels
