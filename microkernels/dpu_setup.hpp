// SPDX-License-Identifier: MIT
// What the DPU does with each value between its input and memory. Everything is off at first; the
// functions below switch on one thing each. The same for convolutions, matrix products and tasks
// without the MAC array.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "microkernels/requant.hpp"
#include "microkernels/task_emitter.hpp"
#include "regdb/registers.hpp"

namespace npu::kernels {

/// The two tables of the lookup: LE answers for the left half of the range, LO for the right one.
struct LutTables {
  std::array<std::int16_t, 513> le{}, lo{};
};

/// Registers of the stages BS, BN, EW (with its table) and OUT_CVT, and of the DMAs that feed them,
/// in the order in which values pass them.
struct DpuSetup {
  regdb::dpu::BS_CFG bs{
      .bs_relu_bypass = true, .bs_mul_bypass = true, .bs_alu_bypass = true, .bs_bypass = true};
  regdb::dpu::BS_ALU_CFG bs_alu;
  regdb::dpu::BS_MUL_CFG bs_mul;
  regdb::dpu::BS_RELUX_CMP_VALUE bs_relux;
  std::uint32_t bs_mul_shift_neg = 0;  ///< DATA_FORMAT
  regdb::dpu_rdma::RDMA_BRDMA_CFG brdma;
  std::optional<Place> bs_operand;  ///< per channel, by BRDMA

  regdb::dpu::BN_CFG bn{
      .bn_relu_bypass = true, .bn_mul_bypass = true, .bn_alu_bypass = true, .bn_bypass = true};
  regdb::dpu::BN_ALU_CFG bn_alu;
  regdb::dpu::BN_MUL_CFG bn_mul;
  regdb::dpu::BN_RELUX_CMP_VALUE bn_relux;
  std::uint32_t bn_mul_shift_neg = 0;  ///< DATA_FORMAT

  regdb::dpu::EW_CFG ew{.ew_relu_bypass = true,
                        .ew_op_cvt_bypass = true,
                        .ew_lut_bypass = true,
                        .ew_op_bypass = true,
                        .ew_bypass = true};
  regdb::dpu::EW_CVT_OFFSET_VALUE ew_offset;
  regdb::dpu::EW_CVT_SCALE_VALUE ew_scale{.ew_op_cvt_scale = 1};
  regdb::dpu::EW_RELUX_CMP_VALUE ew_relux;
  regdb::dpu_rdma::RDMA_ERDMA_CFG erdma{.erdma_disable = true};
  std::optional<Place> ew_operand;                             ///< by ERDMA
  std::optional<Place> main_operand;                           ///< by MRDMA
  std::uint32_t ew_surface = 0, ew_notch = 0, main_notch = 0;  ///< in atoms of 16 bytes
  std::uint32_t comb_use = 0;  ///< which of the two readers fetches what

  std::shared_ptr<const LutTables> tables;  ///< null: none are loaded
  regdb::dpu::LUT_CFG lut;
  regdb::dpu::LUT_INFO lut_info;
  regdb::dpu::LUT_LE_START lut_le_start;
  regdb::dpu::LUT_LE_END lut_le_end;
  regdb::dpu::LUT_LO_START lut_lo_start;
  regdb::dpu::LUT_LO_END lut_lo_end;
  regdb::dpu::LUT_LE_SLOPE_SCALE lut_le_slope_scale;
  regdb::dpu::LUT_LE_SLOPE_SHIFT lut_le_slope_shift;
  regdb::dpu::LUT_LO_SLOPE_SCALE lut_lo_slope_scale;
  regdb::dpu::LUT_LO_SLOPE_SHIFT lut_lo_slope_shift;

  regdb::dpu::OUT_CVT_OFFSET out_offset;
  regdb::dpu::OUT_CVT_SCALE out_scale{.out_cvt_scale = 1};
  regdb::dpu::OUT_CVT_SHIFT out_shift;
};

/// BS: adds an int32 per channel from memory (4 bytes each, dense) [mesa rkt_regcmd.c].
void add_bias(DpuSetup& dpu, const Place& bias);

/// BS of floats: adds an fp32 per channel from memory [iree-rocket conv_fp16_bias_activation_hw].
void add_float_bias(DpuSetup& dpu, const Place& bias);

/// BS: adds an int32 and multiplies with an int16 per channel from memory, then shifts right. The
/// stream is that of pack_bias_and_multipliers() [notes out-cvt-converter, HW].
void add_bias_and_multiply(DpuSetup& dpu, const Place& stream, std::uint8_t shift);
/// Of 8 channels: int32 addends, 8 halves that are not read, int16 multipliers; 64 bytes. Channels
/// beyond those given are 0.
void pack_bias_and_multipliers(std::span<const std::int32_t> bias,
                               std::span<const std::int16_t> multipliers,
                               std::span<std::byte> stream);

/// EW of an operand that is added behind a convolution: after the stages BS and BN.
/// `plane`: atoms from plane to plane of the operand, at least 12; `positions`: of this task. Even
/// planes come by the main reader, odd ones by EW's [mesa rkt_regcmd.c; notes k-accumulation, HW].
void read_operand_planes(DpuSetup& dpu, const Place& first, std::uint32_t plane,
                         std::uint32_t positions);
inline constexpr std::uint32_t kLeastOperandPlane = 12;

/// EW's converter of int8 operands: (operand + offset) * scale / 2^shift, ties to even.
void scale_operand(DpuSetup& dpu, const Requant& requant);

/// EW: max(x, 0) or min(max(x, 0), *limit) behind the operation [iree-rocket conv_residual_add_hw,
/// without a convolution before].
void relu_after_operand(DpuSetup& dpu, std::optional<std::int32_t> limit = {});

/// BN: max(x, 0), or min(max(x, 0), *limit) in units of the sum; fp32 bits for floats [trm].
void relu(DpuSetup& dpu, std::optional<std::int32_t> limit = {});

/// OUT_CVT of integers.
void requantise_output(DpuSetup& dpu, const Requant& requant);

/// OUT_CVT: fp32 to fp16.
void narrow_to_f16(DpuSetup& dpu);

/// What the DPU writes, and where: the geometry beside the stages.
struct OutputGeometry {
  std::uint32_t size_e = 1;
  bool od_bypass = true;
  std::int32_t ow_op = 0;
  std::uint32_t width = 1, height = 1;  ///< of the output
  std::uint32_t channels = 0;           ///< written, whole groups
  std::uint32_t original_channels = 0;  ///< those that mean something
  std::uint32_t surface = 0;            ///< atoms from plane to plane
  std::uint32_t surface_add = 0;        ///< atoms from group to group of kernels
  std::uint32_t conv_mode = 0;
  bool flying = false;  ///< main operand from memory, no convolution before
  std::uint32_t in_precision = 0, proc_precision = 0, out_precision = 0;
  Place output;
};

/// All registers of DPU from S_POINTER on (table contents excepted), then those of DPU_RDMA.
void emit_dpu(TaskEmitter& e, const DpuSetup& dpu, const OutputGeometry& out);

}  // namespace npu::kernels
