// SPDX-License-Identifier: MIT
// Convolutions on the NPU: shape -> plan -> programs -> run.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "microkernels/conv2d_plan.hpp"
#include "microkernels/elements.hpp"
#include "microkernels/executor.hpp"
#include "npu-device/device.hpp"

namespace npu::kernels {

/// A convolution with its buffers on the devices: weights are packed once and serve any number of
/// images. One device per core, which must outlive it.
///
/// Elements: i8 std::int8_t, i32 std::int32_t, f16 std::uint16_t (the bits), f32 float; layouts as
/// Conv2dShape says.
class Conv2d {
 public:
  /// Throws what plan_conv2d() and Device::create_buffer() throw.
  Conv2d(std::span<device::Device* const> devices, const Conv2dShape& shape,
         const Conv2dTypes& types);

  /// Before the first run(). `bias` is empty or holds one value per output channel (int8 input; the
  /// chip adds it for int8 output, the host for int32). `input_zero`: the integer that stands for
  /// 0; padding counts as it, and the sums are of (x - input_zero) * w. Floats: neither of both.
  void set_weights(ConstElements weights, std::span<const std::int32_t> bias = {},
                   std::int8_t input_zero = 0);
  /// Before the first run() with int8 output; else only for a ReLU (not for i32 output).
  void set_post(const Conv2dPost& post);

  /// One image. Throws invalid_argument for tensors of the wrong size; what Executor::run() throws.
  void run(ConstElements in, Elements out, RunStats* stats = nullptr);

  const Conv2dPlan& plan() const { return plan_; }

 private:
  void upload_programs();

  Conv2dPlan plan_;
  Conv2dPost post_;
  Executor executor_;
  std::int8_t input_zero_ = 0;
  std::vector<std::int32_t> bias_;  ///< with what input_zero adds
  bool has_weights_ = false, has_post_ = false, has_programs_ = false;
};

}  // namespace npu::kernels
