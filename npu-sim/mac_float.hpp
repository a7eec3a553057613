// SPDX-License-Identifier: MIT
// The MAC array's floating-point arithmetic on the host.
//
// What boards do [notes chips/rk3588, HW, about 130 million elements]: the products of an aligned
// group of 32 values of K are summed exactly and rounded once to fp32 (nearest even); the group
// sums are added in K order in fp32, from zero.
#pragma once

#include <cstddef>
#include <cstdint>

namespace npu::sim {

constexpr std::size_t kFloatKernels = 16;  ///< kernels of a weight block
constexpr std::size_t kFloatDepth = 32;    ///< products of a group, at most

/// Positions side by side in a block: as many as this CPU's registers take. At most 16.
std::size_t float_lanes();

/// Exponents of a run of values: the largest magnitude is below 2^top, every value is a multiple
/// of 2^bottom. Zeros do not count; a run of zeros has top < bottom.
struct FloatRange {
  std::int16_t top = -2000, bottom = 2000;
  void merge(const FloatRange& other) {
    top = other.top > top ? other.top : top;
    bottom = other.bottom < bottom ? other.bottom : bottom;
  }
};

/// Bits of the largest magnitude and of the smallest that is not 0, less one.
struct FloatExtremes {
  std::uint32_t largest, smallest_less_one;
};

/// The range of fp32 values that are multiples of 2^smallest_unit and have `mantissa_bits` behind
/// the leading one.
FloatRange float_range(const float* values, std::size_t count, int mantissa_bits,
                       int smallest_unit);
/// The same for fp16, read where it lies.
FloatRange fp16_range(const std::uint8_t* values, std::size_t count);

void fp16_to_floats(const std::uint8_t* in, std::size_t count, float* out);
void fp16_to_doubles(const std::uint8_t* in, std::size_t count, double* out);

/// Groups of products, in K order, for a block of positions by a block of kernels.
struct FloatGroups {
  std::size_t count;
  const double* x;            ///< [group][kFloatDepth][float_lanes()]; fp32 holds each exactly
  const double* w;            ///< [group][kFloatKernels][kFloatDepth]; fp32 holds each exactly
  const std::uint8_t* depth;  ///< [group] products, at most kFloatDepth
  const FloatRange* x_range;  ///< [group] of all lanes
  const double* x_bound;      ///< [group][float_lanes()] 2^top of each lane, 0 for zeros
  const FloatRange* w_range;  ///< [group] of all kernels
};

/// For each group g, kernel o and lane p:
///   acc[o][p] = fp32(acc[o][p] + fp32(exact sum over c < depth[g] of x[g][c][p] * w[g][o][c]))
/// Only the first `lanes` positions count; acc is [kFloatKernels][float_lanes()].
void mac_float_groups(const FloatGroups& groups, std::size_t lanes, float* acc);

}  // namespace npu::sim
