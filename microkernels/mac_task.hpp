// SPDX-License-Identifier: MIT
// One pass through CNA, CORE and DPU: a convolution, or a matrix product as one with 1x1 kernels.
#pragma once

#include <cstdint>

#include "microkernels/data_type.hpp"
#include "microkernels/dpu_setup.hpp"
#include "microkernels/task_emitter.hpp"

namespace npu::kernels {

/// Geometry of a task. Everything that a convolution can depend on is written by every task,
/// because registers keep the values of earlier tasks [compute.md 2.6].
struct MacTask {
  DataType in = DataType::i8, out = DataType::i32;

  // Features: [channels / C2][height][width][C2], the part that this task reads.
  std::uint32_t in_width = 1, in_height = 1;
  std::uint32_t channels = 0;       ///< whole weight blocks (int8 convolutions: of 16)
  std::uint32_t channels_real = 0;  ///< those that mean something
  std::int32_t line_stride = 0;     ///< quarter atoms (4 bytes) from row to row
  std::int32_t surface_stride = 0;  ///< atoms from plane to plane, less line_stride
  std::uint32_t entries = 0;        ///< CBUF_CON1.DATA_ENTRIES: 64-byte units of a row
  std::uint32_t grains = 0;         ///< FEATURE_GRAINS: rows buffered before the array starts
  Place features;

  // Kernels.
  bool depthwise = false;
  std::uint32_t kernels = 0;  ///< whole kernel groups; depthwise 1
  std::uint32_t kernel_width = 1, kernel_height = 1;
  std::uint32_t stride_x = 1, stride_y = 1;
  std::uint32_t dilation_x = 1, dilation_y = 1;
  std::uint32_t spread_x = 1, spread_y = 1;  ///< DECONV: input positions lie this far apart
  std::uint32_t pad_left = 0, pad_top = 0;
  std::uint32_t pad_value = 0;     ///< PAD_CON1
  std::uint32_t kernel_bytes = 0;  ///< of one kernel
  std::uint32_t weight_bytes = 0;  ///< of all
  Place weights;

  std::uint32_t data_banks = 0, weight_banks = 0;
  bool data_reuse = false, weight_reuse = false;

  bool quantify = false;            ///< CORE QD_EN: sums of features for the zero-point term
  std::uint32_t clip_truncate = 0;  ///< CORE_CLIP_TRUNCATE: right shift of the sum

  OutputGeometry output;
  DpuSetup dpu;
};

/// Appends the task to the program. Precisions of `output` are filled in from `in` and `out`.
void emit(Program& program, const MacTask& task);

}  // namespace npu::kernels
