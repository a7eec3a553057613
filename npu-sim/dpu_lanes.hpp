// SPDX-License-Identifier: MIT
// The DPU's integer stages with vectors of doubles: every intermediate value fits into 53 bits, so
// nothing is lost, and rounding a double to an integer is the chip's half to even.
//
// Dpu::stages() says what the stages do, one value at a time; this is the same, faster, for the
// configurations that integer_lanes() accepts. Whoever adds to one has to look at the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "npu-sim/conv_config.hpp"
#include "npu-sim/quirks.hpp"

namespace npu::sim {

constexpr std::size_t kDpuStrip = 16;  ///< channels that pass the stages together

struct Limits {
  double low, high;
};

/// A configuration in the terms of the vector code.
struct IntegerLanes {
  bool window;                           ///< add ow * window before anything else
  bool first_clip;                       ///< shift out of the accumulator and saturate
  double truncate;                       ///< 2^-CLIP_TRUNCATE
  bool alu, mul;                         ///< BS: + operand, * operand (both per channel)
  double mul_shift, mul_shift_negative;  ///< 2^-shift
  Limits bs_bn;                          ///< saturation and RELUs of BS and BN
  bool bs_bn_clip;
  bool ew, ew_convert, ew_add_first;
  double ew_offset, ew_factor;
  Limits ew_limits;
  bool cvt_add_first;
  double cvt_offset, cvt_factor;
  Limits out;
};

/// nullopt if the configuration rounds otherwise than half to even where it has bits to round, or
/// uses what the vector code does not do.
std::optional<IntegerLanes> integer_lanes(const ConvConfig& config, const Quirks& quirks,
                                          bool add_window);

/// Sums of one strip of channels for positions side by side.
struct IntegerStrip {
  std::size_t positions;
  const std::int32_t* sums;  ///< [position * sums_stride + channel]
  std::size_t sums_stride;
  const std::int32_t* windows;  ///< [position * window_stride (+ channel)]
  std::size_t window_stride;
  bool window_per_channel;
  const double *ow, *alu, *mul;  ///< [kDpuStrip]
  const std::int8_t* operand;    ///< EW, [position][kDpuStrip]
};

/// Through all stages; out is [position][kDpuStrip].
void run_integer_lanes(const IntegerLanes& lanes, const IntegerStrip& strip, std::int8_t* out);
void run_integer_lanes(const IntegerLanes& lanes, const IntegerStrip& strip, std::int32_t* out);

}  // namespace npu::sim
