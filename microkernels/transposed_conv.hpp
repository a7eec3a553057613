// SPDX-License-Identifier: MIT
// Transposed convolutions: each input position adds a copy of the kernel to a larger output. The
// NPU runs them as ordinary convolutions.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "microkernels/conv2d.hpp"

namespace npu::kernels {

/// One image, NHWC; kernels [out_channels][kernel_height][kernel_width][in_channels]. Input (y, x)
/// adds to the outputs (y * stride_y - pad_top + ky, x * stride_x - pad_left + kx).
struct TransposedShape {
  std::uint32_t in_height = 0, in_width = 0, in_channels = 0, out_channels = 0;
  std::uint32_t kernel_height = 1, kernel_width = 1;
  std::uint32_t stride_y = 1, stride_x = 1;
  std::uint32_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;  ///< cut off the output
  std::uint32_t output_pad_y = 0, output_pad_x = 0;  ///< added at the end; below the stride

  std::uint32_t out_height() const;
  std::uint32_t out_width() const;
  friend bool operator==(const TransposedShape&, const TransposedShape&) = default;
};

/// How the chip comes to the result.
enum class TransposedMethod : std::uint8_t {
  spread,       ///< the host puts zeros between the positions; a convolution with turned kernels
  chip_spread,  ///< the same, but the chip's reader puts them there: f16, strides of 1, 2, 4, 8
                ///< [notes conv-transpose, HW]
  phases,       ///< a convolution over the input as it is makes the stride_y * stride_x outputs of
                ///< each position as channels of their own; the host lays them out
};
std::string_view to_string(TransposedMethod method);

struct TransposedPlan {
  TransposedMethod method = TransposedMethod::spread;
  Conv2dShape conv;    ///< what runs
  double seconds = 0;  ///< modelled, of the busiest core
};

/// The method that is fastest in the timing model, of those that fit. The host's share, which is
/// least for chip_spread, is not counted. Throws invalid_argument for a shape that none can do,
/// with the reason of the last one.
TransposedPlan plan_transposed(const TransposedShape& shape, const Conv2dTypes& types,
                               unsigned cores = 1);
/// The convolution that a method runs; false if it does not take the shape.
bool transposed_as_conv(const TransposedShape& shape, TransposedMethod method, Conv2dShape& conv);

/// As Conv2d: i8 -> i8 (bias, scales, ReLU), i8 -> i32, f16 -> f32, f16 -> f16. All methods give
/// the same bits.
class TransposedConv2d {
 public:
  /// Throws what plan_transposed() and Conv2d throw.
  TransposedConv2d(std::span<device::Device* const> devices, const TransposedShape& shape,
                   const Conv2dTypes& types);
  TransposedConv2d(std::span<device::Device* const> devices, const TransposedShape& shape,
                   const Conv2dTypes& types, TransposedMethod method);

  /// As those of Conv2d.
  void set_weights(ConstElements weights, ConstElements bias = {}, std::int8_t input_zero = 0);
  void set_post(const Conv2dPost& post);
  void run(ConstElements in, Elements out, RunStats* stats = nullptr);

  TransposedMethod method() const { return method_; }
  const Conv2dPlan& plan() const { return conv_->plan(); }

 private:
  std::uint32_t phases() const;

  TransposedShape shape_;
  Conv2dTypes types_;
  TransposedMethod method_;
  std::unique_ptr<Conv2d> conv_;
  std::int8_t input_zero_ = 0;
};

}  // namespace npu::kernels
