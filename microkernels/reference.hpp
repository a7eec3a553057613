// SPDX-License-Identifier: MIT
// What the operators compute, in plain C++ on the host: the oracle of the tests.
#pragma once

#include <cstdint>
#include <span>

#include "microkernels/conv2d_plan.hpp"
#include "microkernels/elements.hpp"
#include "microkernels/gemm_plan.hpp"
#include "microkernels/requant.hpp"

namespace npu::kernels {

/// c[m][n] = sum over k of a[m][k] * b[n][k]; row-major. Uses all host threads for large shapes.
/// Throws invalid_argument if a span's size is not that of its matrix, or K exceeds kMaxGemmK.
void ref_gemm_i8i32(const GemmShape& shape, std::span<const std::int8_t> a,
                    std::span<const std::int8_t> b, std::span<std::int32_t> c);

/// c[m][n] = requantise(sum + bias[n]); `bias` is empty or holds n values. The sum with its bias
/// is saturated to int32.
void ref_gemm_i8i8(const GemmShape& shape, const Requant& requant,
                   std::span<const std::int32_t> bias, std::span<const std::int8_t> a,
                   std::span<const std::int8_t> b, std::span<std::int8_t> c);

/// The second half of the above: int32 sums [m][n] to int8. With `channels` a sum with its bias is
/// scaled by its column's multiplier instead of saturated.
void ref_requantise(const GemmShape& shape, const Requant& requant,
                    std::span<const std::int32_t> bias, std::span<const std::int32_t> sums,
                    std::span<std::int8_t> c, const ChannelScales& channels = {});

/// Any pair of GemmTypes but those with int8 output, as the chip and the host make it: floats in
/// groups of 32 products (tf32 16) that are summed exactly and rounded once, such sums added in
/// fp32 in K order, from 0 for each of `slices`, whose sums are added in fp32 again. No slices: one
/// of all K. Slow, and exact for any finite operands: wide fixed-point sums.
/// f16 -> f16 with slices that the chip adds: each slice's fp32 sum plus the sum so far, rounded to
/// fp16.
void ref_gemm(const GemmShape& shape, const GemmTypes& types, ConstElements a, ConstElements b,
              Elements c, std::span<const Range> slices = {}, SliceSums sums = SliceSums::host);

/// A convolution of Conv2d. int8: exact sums of (x - input_zero) * w inside of the image, plus
/// bias, scaled by channel or else saturated to int32, plus the addend, ReLU, requantised; i32
/// output: the sums modulo 2^32. Floats: for each block of 32 channels and then each tap one exact
/// sum, rounded and added in fp32; depthwise all taps in one; bias and addend are added in fp32.
/// `bias` and `addend` may be empty.
void ref_conv2d(const Conv2dShape& shape, const Conv2dTypes& types, const Conv2dPost& post,
                ConstElements bias, std::int8_t input_zero, ConstElements in, ConstElements weights,
                Elements out, ConstElements addend = {});

}  // namespace npu::kernels
