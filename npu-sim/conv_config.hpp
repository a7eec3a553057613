// SPDX-License-Identifier: MIT
// What a convolution task asks for, read from the registers of CNA, CORE, DPU and DPU_RDMA.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "npu-sim/lut.hpp"
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
  const Lut* lut;

  std::uint32_t cna(std::uint32_t offset) const { return cna_file.get(groups.cna, offset); }
  std::uint32_t core(std::uint32_t offset) const { return core_file.get(groups.core, offset); }
  std::uint32_t dpu(std::uint32_t offset) const { return dpu_file.get(groups.dpu, offset); }
  std::uint32_t rdma(std::uint32_t offset) const {
    return dpu_rdma_file.get(groups.dpu_rdma, offset);
  }
};

/// Operand type of the MAC array [notes precision-field, board-proven].
enum class Precision : std::uint8_t { int8, int4, int16, fp16, bf16, tf32 };
constexpr bool is_float(Precision p) { return p >= Precision::fp16; }

/// Elements of an atom of 16 bytes, and the kernels by channels of a weight block [notes
/// tile-layouts, HW]. A block is also what the MAC array takes per cycle, and its kernels are what
/// the DPU writes as one group of surfaces.
struct PrecisionLayout {
  std::uint32_t bits, kernel_group, channel_group, depthwise_group;
  std::uint32_t atom() const { return 128 / bits; }
};
constexpr PrecisionLayout layout_of(Precision p) {
  switch (p) {
    case Precision::int8: return {8, 32, 32, 64};
    case Precision::int4: return {4, 64, 32, 0};
    case Precision::int16: return {16, 16, 32, 0};
    case Precision::fp16:
    case Precision::bf16: return {16, 16, 32, 32};
    case Precision::tf32: return {32, 16, 16, 0};
  }
  return {8, 32, 32, 64};
}

/// Input side: feature cube, kernels, window.
struct ConvShape {
  Precision precision;
  std::uint32_t in_width, in_height;
  std::uint32_t channels;  ///< padded to whole atoms of 16 bytes
  std::uint32_t out_width, out_height;
  std::uint32_t kernels;  ///< 1 for depthwise
  std::uint32_t kernel_width, kernel_height;
  std::uint32_t stride_x, stride_y;
  std::uint32_t dilation_x, dilation_y;
  std::uint32_t spread_x, spread_y;  ///< DECONV: input positions lie this far apart; else 1
  std::uint32_t pad_left, pad_top;
  std::uint32_t pad_value;  ///< PAD_CON1: its low element
  bool depthwise;
  bool operator==(const ConvShape&) const = default;
};

/// CNA's input converter. CVT_TYPE 0: sat8(round(x * scale >> shift) + offset); 1: add first [TRM].
struct InputConverter {
  bool active, is_signed, add_first, half_up;
  std::int32_t scale[4], offset[4];  ///< by channel of a pixel
  std::uint32_t shift[4];
  std::uint32_t lanes;  ///< CVT_CON5: channels of an atom that are converted
};

/// Where the feature bytes come from. Strides in bytes.
struct FeatureSource {
  std::uint64_t address;
  std::int64_t line_stride;
  std::int64_t plane_stride;  ///< between atoms of channels
  bool row_major;             ///< GROUP_LINE_OFF: all channels of a position side by side
  std::uint32_t pixel_bytes;  ///< of a position in memory where ARGB_IN says fewer channels, or 0
  std::uint32_t pixel_channels;  ///< one to four bytes a pixel, for the converter; 0: features
  InputConverter cvt;
  std::uint32_t bank_offset;  ///< FC_DATA_BANK: banks that the reader starts too far
};

enum class OutputType : std::uint8_t { int8, int16, int32, fp16, fp32 };
constexpr std::uint32_t bytes_of(OutputType t) {
  switch (t) {
    case OutputType::int8: return 1;
    case OutputType::int16:
    case OutputType::fp16: return 2;
    case OutputType::int32:
    case OutputType::fp32: return 4;
  }
  return 4;
}

struct BsStage {
  bool alu, alu_minus, alu_from_memory;
  std::int32_t alu_operand;
  bool mul, mul_from_memory;
  std::int32_t mul_operand;
  std::uint32_t mul_shift, mul_shift_negative;
  bool prelu;  ///< the multiplication touches negative values only
  bool relu, relux;
  std::int32_t relux_max;
  bool reads_stream;
  std::uint64_t stream;   ///< BRDMA address
  bool stream_is_vector;  ///< DATA_USE 1: int32 per channel; else 64 bytes per 8 channels
  bool ow_from_memory;    ///< per-channel CPEND operand
};

/// Operation of the element-wise unit, with the ALU's codes [TRM; notes, HW].
enum class EwOp : std::uint8_t { max = 0, min = 1, add = 2, div = 3, minus = 4, mul = 16 };

struct EwStage {
  bool active;         ///< an operand per pixel is read
  bool at_least_zero;  ///< maximum with a register that holds 0, behind a table
  EwOp op;
  std::uint32_t operand_bits;  ///< 8, 16 or 32
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

/// BN: x * mul + alu, in that order [notes dpu-lut-activation, HW]. In integer arithmetic the
/// multiplier is an unsigned 16-bit number [notes out-cvt-converter, HW].
struct BnStage {
  bool mul, alu, alu_minus, prelu, relu, relux;
  std::uint32_t mul_operand, alu_operand;  ///< bits: fp16 and fp32, or whole numbers
  std::uint32_t mul_shift, mul_shift_negative;
  std::int32_t relux_max;
};

struct OutCvt {
  std::int32_t scale, offset;
  std::uint32_t shift, minus_exp;
  bool add_first;
  bool half_away;
};

/// A task that writes part of its output and then never ends.
struct LateHang {
  std::string where, why;
  bool first_position_only;  ///< of the first group of kernels; else everything that is configured
};

struct ConvConfig {
  ConvShape shape;
  FeatureSource feature;
  std::uint64_t weights;
  std::uint64_t weight_bytes;
  bool weight_reuse, data_reuse;

  bool add_ow;  ///< add ow_op * sum(input) to every kernel's sum
  std::int32_t ow_op;
  std::uint32_t truncate;  ///< CLIP_TRUNCATE
  bool truncate_half_up;

  BsStage bs;
  BnStage bn;
  LutConfig lut;
  const Lut* tables;
  EwStage ew;
  OutCvt out_cvt;

  std::uint64_t macs;  ///< multiply-accumulates of the task, weighted by the rate of their type
  OutputType out_type;
  std::uint32_t out_channels;              ///< real ones (ORIG_CHANNEL)
  std::uint64_t dst, dst_plane, dst_line;  ///< bytes
  /// The DPU writes the kernels in groups as wide as a weight block: planes lie dst_plane apart
  /// inside a group, groups dst_group apart (SURFACE_ADD), and SIZE_E + 1 planes of a group are
  /// written [read off the sweeps of notes size-e-quirk; explains SIZE_E and SURFACE_ADD of every
  /// program of compute.md 2.3, 2.4 and 3.1].
  std::uint64_t dst_group;
  std::uint64_t surface(std::uint32_t plane) const {
    return dst + plane / group_planes * dst_group + plane % group_planes * dst_plane;
  }
  std::uint32_t group_planes, written_planes;
  std::uint32_t whole_groups_planes;  ///< planes from here on stay unwritten: a group cut short
  bool transposed;                    ///< TP_ORG_EN: int16 elements in the order of the transposer
  std::optional<LateHang> late_hang;
};

/// Reads and checks the registers. Throws TaskFault for what the model does not implement, for
/// contradictions between blocks, and for programs that hang on the chip or exceed `mac_budget`.
/// `feeds_pool`: the PPU is enabled with the task and takes its output.
ConvConfig read_conv_config(const BlockRegisters& registers, std::uint32_t dma_base,
                            std::uint64_t mac_budget, const ChipOptions& options,
                            bool feeds_pool = false);

}  // namespace npu::sim
