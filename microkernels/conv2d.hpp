// SPDX-License-Identifier: MIT
// Convolutions on the NPU: shape -> plan -> programs -> run.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "microkernels/conv2d_pack.hpp"
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
///
/// Beyond what plan_conv2d() takes: groups, each a plan's tasks; padding beyond the chip's fields
/// or as large as the kernel; strides above 7 and dilations above 32, as long as the windows laid
/// side by side fit an image (chip_image()).
class Conv2d {
 public:
  /// Throws what plan_conv2d() and Device::create_buffer() throw.
  Conv2d(std::span<device::Device* const> devices, const Conv2dShape& shape,
         const Conv2dTypes& types, const Conv2dFusion& fusion = {});

  /// Before the first run(). `bias` is empty or holds one value per output channel, int32 for int8
  /// (added by the chip for int8 output, by the host for int32), fp32 for floats. `input_zero`: the
  /// integer that stands for 0; padding counts as it, and the sums are of (x - input_zero) * w.
  void set_weights(ConstElements weights, ConstElements bias = {}, std::int8_t input_zero = 0);
  /// Before the first run() with int8 output; else only for a ReLU (not for i32 output).
  void set_post(const Conv2dPost& post);

  /// One image. Throws invalid_argument for tensors of the wrong size; what Executor::run() throws.
  void run(ConstElements in, Elements out, RunStats* stats = nullptr);
  /// With Conv2dFusion::addend.
  void run(ConstElements in, ConstElements addend, Elements out, RunStats* stats = nullptr);

  /// What the chip does for one group.
  const Conv2dPlan& plan() const { return plan_; }

 private:
  std::span<std::byte> buffer(std::size_t core, Conv2dSlot slot, std::uint32_t group) const;
  void upload_programs();

  Conv2dShape shape_;
  Conv2dImage image_;
  Conv2dPlan plan_;
  Conv2dPost post_;
  Executor executor_;
  std::int8_t input_zero_ = 0;
  std::vector<std::int32_t> bias_;  ///< with what input_zero adds; fp32 as their bits
  bool has_weights_ = false, has_post_ = false, has_programs_ = false;
};

}  // namespace npu::kernels
