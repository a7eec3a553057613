// SPDX-License-Identifier: MIT
// A convolution's tensors, from the host's layouts to those of a plan's buffers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "microkernels/conv2d_plan.hpp"

namespace npu::kernels {

/// The image that the chip sees: rows and columns of the original one, some more than once, some of
/// padding only. So the host takes over what the chip cannot: padding beyond its fields or as large
/// as the kernel is written out; for strides above 7 and dilations above 32 the windows are laid
/// side by side, and the kernel's size becomes the stride.
struct Conv2dImage {
  Conv2dShape shape;                        ///< what to plan
  std::vector<std::int32_t> rows, columns;  ///< sources, -1: padding; empty: as they are
  bool changed() const { return !rows.empty() || !columns.empty(); }
};
/// A shape that stays impossible comes back as it is.
Conv2dImage chip_image(const Conv2dShape& shape);
inline constexpr std::uint32_t kMostSource = 1u << 20;  ///< of an axis, padding, dilation, kernel

/// The image for the chip. `pad`: every byte of an element of padding.
std::vector<std::byte> gather(const Conv2dShape& shape, const Conv2dImage& image,
                              std::size_t element, std::byte pad, const std::byte* in);

/// The bias that makes sums of x * w those of (x - zero) * w, padding being `zero`.
void fold_input_zero(const Conv2dShape& shape, const std::int8_t* weights, std::int8_t zero,
                     std::span<std::int32_t> bias);

/// Into a core's buffers; `weights`, `bias` and `multipliers` are those of all output channels.
void pack_conv2d_weights(const Conv2dPlan& plan, std::size_t core, const std::byte* weights,
                         std::span<std::byte> to);
/// fp32 as their bits. No multipliers: dense addends.
void pack_conv2d_bias(const Conv2dPlan& plan, std::size_t core, std::span<const std::int32_t> bias,
                      std::span<const std::int16_t> multipliers, std::span<std::byte> to);
/// `stride`: elements from position to position.
void pack_conv2d_addend(const Conv2dPlan& plan, std::size_t core, std::uint32_t stride,
                        const std::byte* addend, std::span<std::byte> to);

}  // namespace npu::kernels
