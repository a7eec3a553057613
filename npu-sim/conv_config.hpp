// SPDX-License-Identifier: MIT
// What a convolution task asks for, read from the registers of CNA, CORE, DPU and DPU_RDMA.
#pragma once

#include <cstdint>

#include "npu-sim/register_file.hpp"

namespace npu::sim {

struct ChipOptions;

/// The register group of each block that runs this task.
struct BlockGroups {
  unsigned cna, core, dpu, dpu_rdma;
};

struct BlockRegisters {
  const RegisterFile& cna_file;
  const RegisterFile& core_file;
  const RegisterFile& dpu_file;
  const RegisterFile& dpu_rdma_file;
  BlockGroups groups;
  bool rdma_enabled;

  std::uint32_t cna(std::uint32_t offset) const { return cna_file.get(groups.cna, offset); }
  std::uint32_t core(std::uint32_t offset) const { return core_file.get(groups.core, offset); }
  std::uint32_t dpu(std::uint32_t offset) const { return dpu_file.get(groups.dpu, offset); }
  std::uint32_t rdma(std::uint32_t offset) const {
    return dpu_rdma_file.get(groups.dpu_rdma, offset);
  }
};

/// Input side: feature cube, kernels, window.
struct ConvShape {
  std::uint32_t in_width, in_height;
  std::uint32_t channels;     ///< padded, a multiple of 16
  std::uint32_t out_width, out_height;
  std::uint32_t kernels;      ///< 1 for depthwise
  std::uint32_t kernel_width, kernel_height;
  std::uint32_t stride_x, stride_y;
  std::uint32_t dilation_x, dilation_y;
  std::uint32_t pad_left, pad_top;
  std::int8_t pad_value;
  bool depthwise;
  bool operator==(const ConvShape&) const = default;
};

/// Where the feature bytes come from. Strides in bytes.
struct FeatureSource {
  std::uint64_t address;
  std::int64_t line_stride;
  std::int64_t plane_stride;  ///< between groups of 16 channels
  bool pixels;                ///< one uint8 channel, converted by CVT
  std::int32_t cvt_scale, cvt_offset;
  std::uint32_t cvt_shift;
  bool cvt_half_up;
};

enum class OutputType : std::uint8_t { int8, int32, fp32 };

struct BsStage {
  bool alu, alu_minus, alu_from_memory;
  std::int32_t alu_operand;
  bool mul, mul_from_memory;
  std::int32_t mul_operand;
  std::uint32_t mul_shift, mul_shift_negative;
  bool relu, relux;
  std::int32_t relux_max;
  bool reads_stream;
  std::uint64_t stream;        ///< BRDMA address
  bool stream_is_vector;       ///< DATA_USE 1: int32 per channel; else 64 bytes per 8 channels
  bool ow_from_memory;         ///< per-channel CPEND operand
};

struct EwStage {
  bool add;  ///< integer addition of an 8-bit operand per pixel
  std::int32_t offset, scale;
  std::uint32_t shift;
  bool convert, add_first;
  bool half_up;
  bool relu, relux;
  std::int32_t relux_max;
  std::uint64_t even_planes, odd_planes;  ///< plane 0 and plane 1 of the operand
  std::uint64_t even_step, odd_step;      ///< bytes from a plane to the one after the next
  std::uint64_t line_stride;
};

struct OutCvt {
  std::int32_t scale, offset;
  std::uint32_t shift;
  bool add_first;
  bool half_away;
};

struct ConvConfig {
  ConvShape shape;
  FeatureSource feature;
  std::uint64_t weights;
  std::uint64_t weight_bytes;
  bool weight_reuse, data_reuse;

  bool add_ow;              ///< add ow_op * sum(input) to every kernel's sum
  std::int32_t ow_op;
  std::uint32_t truncate;   ///< CLIP_TRUNCATE
  bool truncate_half_up;

  BsStage bs;
  bool bn_relu, bn_relux;
  std::int32_t bn_relux_max;
  EwStage ew;
  OutCvt out_cvt;

  std::uint64_t macs;  ///< multiply-accumulates of the task
  OutputType out_type;
  std::uint32_t out_channels;      ///< real ones (ORIG_CHANNEL)
  std::uint64_t dst, dst_plane, dst_line;  ///< bytes
};

/// Reads and checks the registers. Throws TaskFault for what the model does not implement, for
/// contradictions between blocks, and for programs that hang on the chip or exceed `mac_budget`.
ConvConfig read_conv_config(const BlockRegisters& registers, std::uint32_t dma_base,
                            std::uint64_t mac_budget, const ChipOptions& options);

}  // namespace npu::sim
