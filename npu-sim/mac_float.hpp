// SPDX-License-Identifier: MIT
// The MAC array's floating-point arithmetic on the host.
//
// What boards do [notes chips/rk3588, HW, about 130 million elements]: the products of an aligned
// group of 32 values of K are summed exactly and rounded once to fp32 (nearest even); the group
// sums are added in K order in fp32, from zero.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace npu::sim {

constexpr std::size_t kFloatPanel = 16;  ///< kernels side by side

/// Exponents of a run of values: the largest magnitude is below 2^top, every value is a multiple
/// of 2^bottom. Zeros do not count; a run of zeros has top < bottom.
struct FloatRange {
  std::int16_t top = -2000, bottom = 2000;
  void merge(const FloatRange& other) {
    top = other.top > top ? other.top : top;
    bottom = other.bottom < bottom ? other.bottom : bottom;
  }
};
FloatRange float_range(std::span<const float> values);

/// One group: for p in [0, pixels) and o in [0, kFloatPanel):
///   acc[p * acc_stride + o] = fp32(acc + fp32(exact sum over c < channels of x[p][c] * w[c][o]))
/// `channels` is at most 32, `pixels` at most 8. `x` points to values that fp32 holds exactly.
/// `range_x` and `range_w` bound the operands; where they prove that no double can lose a bit the
/// fast path is taken.
void mac_float_group(const float* const* x, std::size_t pixels, const float* w,
                     std::size_t channels, FloatRange range_x, FloatRange range_w, float* acc,
                     std::size_t acc_stride);

}  // namespace npu::sim
