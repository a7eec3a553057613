// SPDX-License-Identifier: MIT
// Order and values of what is off: compute.md 2.3, 2.6 [mtx512 npu_matmul.c, mesa rkt_regcmd.c].
#include "microkernels/dpu_setup.hpp"

#include <algorithm>
#include <cstring>

namespace npu::kernels {
namespace {

namespace dpu = regdb::dpu;
namespace rdma = regdb::dpu_rdma;

template <class R>
void address_or_zero(TaskEmitter& e, const R& reg, const std::optional<Place>& place) {
  if (place)
    e.address(reg, *place);
  else
    e.write(reg);
}

// The address advances by itself.
void emit_table(TaskEmitter& e, bool lo, std::span<const std::int16_t> entries) {
  e.write(dpu::LUT_ACCESS_CFG{.lut_access_type = true, .lut_table_id = lo});
  for (const std::int16_t entry : entries)
    e.write(dpu::LUT_ACCESS_DATA{.lut_access_data = static_cast<std::uint16_t>(entry)});
}

void emit_rdma(TaskEmitter& e, const DpuSetup& s, const OutputGeometry& o) {
  e.write(rdma::RDMA_DATA_CUBE_WIDTH{.width = o.width},
          rdma::RDMA_DATA_CUBE_HEIGHT{.height = o.height},
          rdma::RDMA_DATA_CUBE_CHANNEL{.channel = o.channels});
  address_or_zero(e, rdma::RDMA_SRC_BASE_ADDR{}, s.main_operand);
  e.write(s.brdma);
  address_or_zero(e, rdma::RDMA_BS_BASE_ADDR{}, s.bs_operand);
  e.write(rdma::RDMA_NRDMA_CFG{}, rdma::RDMA_BN_BASE_ADDR{}, s.erdma);
  address_or_zero(e, rdma::RDMA_EW_BASE_ADDR{}, s.ew_operand);
  const bool fp16 = o.in_precision == dpu::DATA_FORMAT::IN_PRECISION::FP16;
  rdma::RDMA_FEATURE_MODE_CFG mode{.burst_len = 15, .comb_use = s.comb_use};
  mode.conv_mode = o.conv_mode;
  // A main reader that is neither disabled nor fed hangs the job [notes mrdma-trap, HW].
  mode.mrdma_disable = !s.main_operand;
  if (s.main_operand || s.ew_operand) mode.in_precision = o.in_precision;
  if (s.main_operand || s.ew_operand) mode.proc_precision = o.proc_precision;
  mode.mrdma_fp16tofp32_en =
      fp16 && (o.flying || o.out_precision == dpu::DATA_FORMAT::OUT_PRECISION::FP16) &&
      !(s.ew_operand && !o.flying);
  mode.flying_mode = o.flying;
  e.write(rdma::RDMA_EW_SURF_STRIDE{.ew_surf_stride = s.ew_surface}, mode, rdma::RDMA_SRC_DMA_CFG{},
          rdma::RDMA_SURF_NOTCH{.surf_notch_addr = s.main_notch}, rdma::RDMA_PAD_CFG{},
          rdma::RDMA_WEIGHT{.e_weight = 1, .n_weight = 1, .b_weight = 1, .m_weight = 1},
          rdma::RDMA_EW_SURF_NOTCH{.ew_surf_notch = s.ew_notch});
}

}  // namespace

void add_bias(DpuSetup& s, const Place& bias) {
  s.bs = {.bs_alu_algo = dpu::BS_CFG::BS_ALU_ALGO::ADD,
          .bs_alu_src = dpu::BS_CFG::BS_ALU_SRC::MEMORY,
          .bs_relu_bypass = true,
          .bs_mul_bypass = true};
  s.brdma.brdma_data_use = 1;
  s.bs_operand = bias;
}

void add_float_bias(DpuSetup& s, const Place& bias) { add_bias(s, bias); }

void add_bias_and_multiply(DpuSetup& s, const Place& stream, std::uint8_t shift) {
  s.bs = {.bs_alu_algo = dpu::BS_CFG::BS_ALU_ALGO::ADD,
          .bs_alu_src = dpu::BS_CFG::BS_ALU_SRC::MEMORY,
          .bs_relu_bypass = true};
  // The fields split by the sign of the product: both have to be there.
  s.bs_mul = {.bs_mul_shift_value = shift, .bs_mul_src = dpu::BS_MUL_CFG::BS_MUL_SRC::MEMORY};
  s.bs_mul_shift_neg = shift;
  s.brdma.brdma_data_use = 7;
  s.bs_operand = stream;
}

void pack_bias_and_multipliers(std::span<const std::int32_t> bias,
                               std::span<const std::int16_t> multipliers,
                               std::span<std::byte> stream) {
  std::fill(stream.begin(), stream.end(), std::byte{0});
  for (std::size_t c = 0; c * 8 < stream.size(); c += 8) {
    std::byte* group = stream.data() + c * 8;
    if (c < bias.size())
      std::memcpy(group, bias.data() + c, std::min<std::size_t>(8, bias.size() - c) * 4);
    if (c < multipliers.size())
      std::memcpy(group + 48, multipliers.data() + c,
                  std::min<std::size_t>(8, multipliers.size() - c) * 2);
  }
}

void read_operand_planes(DpuSetup& s, const Place& first, std::uint32_t plane,
                         std::uint32_t positions) {
  s.main_operand = first;
  s.ew_operand = {first.slot, first.offset + std::uint64_t{plane} * 16};
  s.ew_surface = plane;
  s.main_notch = s.ew_notch = 2 * plane - positions;
  s.comb_use = 5;
}

void scale_operand(DpuSetup& s, const Requant& requant) {
  s.ew.ew_cvt_type = dpu::EW_CFG::EW_CVT_TYPE::ADD_FIRST;
  s.ew_offset.ew_op_cvt_offset = requant.offset;
  s.ew_scale = {.ew_op_cvt_shift = requant.shift, .ew_op_cvt_scale = requant.scale};
}

void relu_after_operand(DpuSetup& s, std::optional<std::int32_t> limit) {
  s.ew.ew_relu_bypass = false;
  s.ew.ew_relux_en = limit.has_value();
  s.ew_relux = dpu::EW_RELUX_CMP_VALUE::decode(static_cast<std::uint32_t>(limit.value_or(0)));
}

void relu(DpuSetup& s, std::optional<std::int32_t> limit) {
  s.bn = {.bn_relux_en = limit.has_value(), .bn_mul_bypass = true, .bn_alu_bypass = true};
  s.bn_relux = dpu::BN_RELUX_CMP_VALUE::decode(static_cast<std::uint32_t>(limit.value_or(0)));
}

void requantise_output(DpuSetup& s, const Requant& requant) {
  s.out_offset.out_cvt_offset = requant.offset;
  s.out_scale = {.out_cvt_scale = requant.scale};
  s.out_shift = {.out_cvt_shift = requant.shift};
}

void narrow_to_f16(DpuSetup& s) { s.out_scale = {.fp32tofp16_en = true, .out_cvt_scale = 1}; }

void emit_dpu(TaskEmitter& e, const DpuSetup& s, const OutputGeometry& o) {
  e.write(dpu::FEATURE_MODE_CFG{.burst_len = 15,
                                .conv_mode = o.conv_mode,
                                .output_mode = dpu::FEATURE_MODE_CFG::OUTPUT_MODE::MEMORY,
                                .flying_mode = o.flying},
          dpu::DATA_FORMAT{.out_precision = o.out_precision,
                           .in_precision = o.in_precision,
                           .bn_mul_shift_value_neg = s.bn_mul_shift_neg,
                           .bs_mul_shift_value_neg = s.bs_mul_shift_neg,
                           .proc_precision = o.proc_precision},
          dpu::OFFSET_PEND{});
  e.address(dpu::DST_BASE_ADDR{}, o.output);
  e.write(dpu::DST_SURF_STRIDE{.dst_surf_stride = o.surface},
          dpu::DATA_CUBE_WIDTH{.width = o.width}, dpu::DATA_CUBE_HEIGHT{.height = o.height},
          dpu::DATA_CUBE_NOTCH_ADDR{},
          dpu::DATA_CUBE_CHANNEL{.orig_channel = o.original_channels, .channel = o.channels}, s.bs,
          s.bs_alu, s.bs_mul, s.bs_relux,
          dpu::BS_OW_CFG{.size_e_2 = o.size_e,
                         .size_e_1 = o.size_e,
                         .size_e_0 = o.size_e,
                         .od_bypass = o.od_bypass},
          dpu::BS_OW_OP{.ow_op = o.ow_op}, dpu::WDMA_SIZE_0{.channel_wdma = o.channels},
          dpu::WDMA_SIZE_1{.height_wdma = o.height, .width_wdma = o.width}, s.bn, s.bn_alu,
          s.bn_mul, s.bn_relux, s.ew, s.ew_offset, s.ew_scale, s.ew_relux, s.out_offset,
          s.out_scale, s.out_shift);
  e.write(dpu::EW_OP_VALUE_0{}, dpu::EW_OP_VALUE_1{}, dpu::EW_OP_VALUE_2{}, dpu::EW_OP_VALUE_3{},
          dpu::EW_OP_VALUE_4{}, dpu::EW_OP_VALUE_5{}, dpu::EW_OP_VALUE_6{}, dpu::EW_OP_VALUE_7{},
          dpu::SURFACE_ADD{.surf_add = o.surface_add}, dpu::UNDOC_40C4{});
  if (s.tables) {
    emit_table(e, false, s.tables->le);
    emit_table(e, true, s.tables->lo);
  } else {
    e.write(dpu::LUT_ACCESS_CFG{}, dpu::LUT_ACCESS_DATA{});
  }
  e.write(s.lut, s.lut_info, s.lut_le_start, s.lut_le_end, s.lut_lo_start, s.lut_lo_end,
          s.lut_le_slope_scale, s.lut_le_slope_shift, s.lut_lo_slope_scale, s.lut_lo_slope_shift);
  emit_rdma(e, s, o);
}

}  // namespace npu::kernels
