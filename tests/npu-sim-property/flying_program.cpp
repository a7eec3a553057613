// SPDX-License-Identifier: MIT
// Registers of compute.md 6.1 and 5.6 [allbilly elementwise.py; notes dpu-lut-activation, HW].
#include <fmt/format.h>

#include <algorithm>

#include "pool_spec.hpp"
#include "regdb/registers.hpp"

namespace npu::sim::property {

namespace rd = npu::regdb;

namespace {

// EDATA_SIZE: 1, 2, 3 for 8, 16, 32 bits.
std::uint32_t operand_size(const FlyingSpec& s) {
  return s.bytes() == 1 ? 1 : s.bytes() == 2 ? 2 : 3;
}

// A reader of BS or BN operands: off, dense ALU operands, dense multipliers.
std::uint32_t data_use(const StageSpec& s) { return s.alu_memory ? 1 : s.mul_memory ? 4 : 0; }

void put_lut(Task& t, const FlyingSpec& s) {
  namespace dpu = rd::dpu;
  for (std::size_t id = 0; id < 2; ++id) {
    put(t, dpu::LUT_ACCESS_CFG{.lut_access_type = true, .lut_table_id = id != 0});
    for (const std::int16_t entry : s.tables[id])
      put(t, dpu::LUT_ACCESS_DATA{.lut_access_data = static_cast<std::uint16_t>(entry)});
  }
  put(t, dpu::LUT_CFG{.lut_hybrid_priority = s.hybrid,
                      .lut_oflow_priority = s.overflow,
                      .lut_uflow_priority = s.underflow,
                      .lut_lo_le_mux = 2});
  put(t, dpu::LUT_INFO{.lut_lo_index_select = s.select[1], .lut_le_index_select = s.select[0]});
  put(t, dpu::LUT_LE_START{.lut_le_start = s.start[0]});
  put(t, dpu::LUT_LE_END{.lut_le_end = s.end[0]});
  put(t, dpu::LUT_LO_START{.lut_lo_start = s.start[1]});
  put(t, dpu::LUT_LO_END{.lut_lo_end = s.end[1]});
  const auto half = [](std::int32_t v) { return static_cast<std::uint16_t>(v); };
  put(t, dpu::LUT_LE_SLOPE_SCALE{.lut_le_slope_oflow_scale = half(s.overflow_scale[0]),
                                 .lut_le_slope_uflow_scale = half(s.underflow_scale[0])});
  put(t, dpu::LUT_LE_SLOPE_SHIFT{.lut_le_slope_oflow_shift = s.overflow_shift[0],
                                 .lut_le_slope_uflow_shift = s.underflow_shift[0]});
  put(t, dpu::LUT_LO_SLOPE_SCALE{.lut_lo_slope_oflow_scale = half(s.overflow_scale[1]),
                                 .lut_lo_slope_uflow_scale = half(s.underflow_scale[1])});
  put(t, dpu::LUT_LO_SLOPE_SHIFT{.lut_lo_slope_oflow_shift = s.overflow_shift[1],
                                 .lut_lo_slope_uflow_shift = s.underflow_shift[1]});
}

void put_dpu(Task& t, const Arena& arena, const FlyingSpec& s) {
  namespace dpu = rd::dpu;
  put(t, dpu::FEATURE_MODE_CFG{.burst_len = 15, .output_mode = 2, .flying_mode = 1});
  put(t, dpu::DATA_FORMAT{.out_precision = s.out,
                          .in_precision = s.type,
                          .bs_mul_shift_value_neg = s.bs.shift_negative,
                          .proc_precision = s.type});
  put(t, dpu::DST_BASE_ADDR{.dst_base_addr = arena.address(s.dst)});
  put(t, dpu::DST_SURF_STRIDE{.dst_surf_stride = s.dst_plane / 16});
  put(t, dpu::DATA_CUBE_WIDTH{.width = s.width});
  put(t, dpu::DATA_CUBE_HEIGHT{.height = s.height});
  put(t, dpu::DATA_CUBE_NOTCH_ADDR{.notch_addr_1 = s.dst_notch, .notch_addr_0 = s.dst_notch});
  put(t, dpu::DATA_CUBE_CHANNEL{.orig_channel = s.channels(), .channel = s.channels()});
  put(t, dpu::BS_CFG{.bs_alu_algo = s.bs.minus ? 4u : 2u,
                     .bs_alu_src = s.bs.alu_memory ? 1u : 0u,
                     .bs_relux_en = s.bs.relu.limited,
                     .bs_relu_bypass = !s.bs.relu.on,
                     .bs_mul_prelu = s.bs.prelu,
                     .bs_mul_bypass = !s.bs.mul,
                     .bs_alu_bypass = !s.bs.alu,
                     .bs_bypass = s.bs.off()});
  put(t, dpu::BS_ALU_CFG{.bs_alu_operand = static_cast<std::int32_t>(s.bs.alu_operand)});
  put(t, dpu::BS_MUL_CFG{.bs_mul_operand = static_cast<std::int16_t>(s.bs.mul_operand),
                         .bs_mul_shift_value = s.bs.shift,
                         .bs_mul_src = s.bs.mul_memory ? 1u : 0u});
  put(t, dpu::BS_RELUX_CMP_VALUE{.bs_relux_cmp_dat = static_cast<std::int32_t>(s.bs.relu.limit)});
  put(t, dpu::BS_OW_CFG{.size_e_2 = s.size_e, .size_e_1 = s.size_e, .size_e_0 = s.size_e});
  put(t, dpu::BS_OW_OP{});
  put(t, dpu::WDMA_SIZE_0{.channel_wdma = s.channels()});
  put(t, dpu::WDMA_SIZE_1{.height_wdma = s.height, .width_wdma = s.width});
  put(t, dpu::BN_CFG{.bn_alu_algo = s.bn.minus ? 4u : 2u,
                     .bn_alu_src = s.bn.alu_memory ? 1u : 0u,
                     .bn_relux_en = s.bn.relu.limited,
                     .bn_relu_bypass = !s.bn.relu.on,
                     .bn_mul_prelu = s.bn.prelu,
                     .bn_mul_bypass = !s.bn.mul,
                     .bn_alu_bypass = !s.bn.alu,
                     .bn_bypass = s.bn.off()});
  put(t, dpu::BN_ALU_CFG{.bn_alu_operand = s.bn.alu_operand});
  put(t,
      dpu::BN_MUL_CFG{.bn_mul_operand = s.bn.mul_operand, .bn_mul_src = s.bn.mul_memory ? 1u : 0u});
  put(t, dpu::BN_RELUX_CMP_VALUE{.bn_relux_cmp_dat = s.bn.relu.limit});
  const bool memory = s.ew && s.source != Source::registers;
  put(t, dpu::EW_CFG{.ew_cvt_type = s.ew_add_first ? 1u : 0u,
                     .ew_cvt_round = s.ew_up,
                     .ew_data_mode = memory && s.source == Source::per_pixel ? 1u : 0u,
                     .edata_size = memory ? operand_size(s) : 0u,
                     .ew_alu_algo = s.algo,
                     .ew_relux_en = s.relu.limited,
                     .ew_relu_bypass = !s.relu.on,
                     .ew_op_cvt_bypass = !s.convert,
                     .ew_lut_bypass = !s.lut,
                     .ew_op_src = memory ? 1u : 0u,
                     .ew_mul_prelu = s.prelu,
                     .ew_op_type = s.ew && s.multiply ? 1u : 0u,
                     .ew_op_bypass = !s.ew,
                     .ew_bypass = !s.ew && !s.lut && !s.relu.on});
  put(t, dpu::EW_CVT_OFFSET_VALUE{.ew_op_cvt_offset = s.ew_offset});
  put(t, dpu::EW_CVT_SCALE_VALUE{.ew_op_cvt_shift = s.ew_shift, .ew_op_cvt_scale = s.ew_scale});
  put(t, dpu::EW_RELUX_CMP_VALUE{.ew_relux_cmp_dat = s.relu.limit});
  put(t, dpu::EW_OP_VALUE_0{.ew_operand_0 = s.value});
  put(t, dpu::EW_OP_VALUE_1{.ew_operand_1 = s.value});
  put(t, dpu::EW_OP_VALUE_2{.ew_operand_2 = s.value});
  put(t, dpu::EW_OP_VALUE_3{.ew_operand_3 = s.value});
  put(t, dpu::EW_OP_VALUE_4{.ew_operand_4 = s.value});
  put(t, dpu::EW_OP_VALUE_5{.ew_operand_5 = s.value});
  put(t, dpu::EW_OP_VALUE_6{.ew_operand_6 = s.value});
  put(t, dpu::EW_OP_VALUE_7{.ew_operand_7 = s.value});
  put(t, dpu::OUT_CVT_OFFSET{.out_cvt_offset = s.offset});
  put(t, dpu::OUT_CVT_SCALE{.fp32tofp16_en = s.out == kOutFp16, .out_cvt_scale = s.scale});
  put(t, dpu::OUT_CVT_SHIFT{.cvt_type = s.add_first ? 1u : 0u,
                            .cvt_round = s.away,
                            .minus_exp = s.minus_exp,
                            .out_cvt_shift = s.shift});
  put(t, dpu::SURFACE_ADD{.surf_add = s.dst_group / 16});
  put(t, dpu::UNDOC_40C4{});
  if (s.lut) put_lut(t, s);
}

void put_rdma(Task& t, const Arena& arena, const FlyingSpec& s) {
  namespace rdma = rd::dpu_rdma;
  put(t, rdma::RDMA_DATA_CUBE_WIDTH{.width = s.width});
  put(t, rdma::RDMA_DATA_CUBE_HEIGHT{.height = s.height});
  put(t, rdma::RDMA_DATA_CUBE_CHANNEL{.channel = s.channels()});
  put(t, rdma::RDMA_SRC_BASE_ADDR{.src_base_addr = arena.address(s.src)});
  put(t, rdma::RDMA_BRDMA_CFG{.brdma_data_use = data_use(s.bs)});
  put(t, rdma::RDMA_BS_BASE_ADDR{.bs_base_addr =
                                     data_use(s.bs) != 0 ? arena.address(s.bs.stream) : 0});
  put(t, rdma::RDMA_NRDMA_CFG{.nrdma_data_use = data_use(s.bn)});
  put(t, rdma::RDMA_BN_BASE_ADDR{.bn_base_addr =
                                     data_use(s.bn) != 0 ? arena.address(s.bn.stream) : 0});
  const bool memory = s.ew && s.source != Source::registers;
  if (memory)
    put(t, rdma::RDMA_ERDMA_CFG{.erdma_data_mode = s.source == Source::per_pixel ? 1u : 0u,
                                .erdma_data_size = operand_size(s)});
  else
    put(t, rdma::RDMA_ERDMA_CFG{.erdma_disable = true});
  put(t, rdma::RDMA_EW_BASE_ADDR{.ew_base_addr = memory ? arena.address(s.operand) : 0});
  // Per pixel only the notch counts.
  const std::uint32_t plane = s.width * s.height;
  const bool pixels = s.source == Source::per_pixel;
  put(t, rdma::RDMA_EW_SURF_STRIDE{.ew_surf_stride = !memory  ? 0
                                                     : pixels ? std::max(plane, 12u)
                                                              : s.operand_plane / 16});
  put(t, rdma::RDMA_EW_SURF_NOTCH{.ew_surf_notch =
                                      memory && pixels ? s.operand_plane / 16 - plane : 0});
  put(t, rdma::RDMA_FEATURE_MODE_CFG{.in_precision = s.type,
                                     .burst_len = 15,
                                     .comb_use = s.comb_use,
                                     .proc_precision = s.type,
                                     .mrdma_fp16tofp32_en = s.type == kFp16 && !s.divides(),
                                     .flying_mode = 1});
  put(t, rdma::RDMA_SRC_DMA_CFG{});
  put(t, rdma::RDMA_SURF_NOTCH{.surf_notch_addr = (s.src_plane - s.width * s.height * 16) / 16});
  put(t, rdma::RDMA_PAD_CFG{});
  put(t, rdma::RDMA_WEIGHT{.e_weight = 1, .n_weight = 1, .b_weight = 1, .m_weight = 1});
}

}  // namespace

void flying_effect(const FlyingSpec& spec, Image& image);

Task flying_task(const Arena& arena, const FlyingSpec& s) {
  Task t;
  put(t, rd::dpu::S_POINTER::decode(0xE));
  put(t, rd::dpu_rdma::RDMA_S_POINTER::decode(0xE));
  put_dpu(t, arena, s);
  put_rdma(t, arena, s);
  t.enable = rd::enable_mask::dpu | rd::enable_mask::dpu_rdma;
  t.may_drop = !s.lut;
  t.text = fmt::format(
      "flying type {} to {}{} {}x{}x{}, BS alu {} mul {} relu {}, BN alu {} mul {} relu {}, EW {} "
      "algo {} mul {} source {} convert {} relu {}, notch {} size_e {}, OUT_CVT {} >> {} + {} {}",
      s.type, s.out, s.lut ? " table" : "", s.height, s.width, s.channels(), s.bs.alu, s.bs.mul,
      s.bs.relu.on, s.bn.alu, s.bn.mul, s.bn.relu.on, s.ew, s.algo, s.multiply,
      static_cast<int>(s.source), s.convert, s.relu.on, s.dst_notch, s.size_e, s.scale, s.shift,
      s.offset, s.add_first ? "(add first)" : "");
  t.effect = [s](Image& image, PlainCbuf&) { flying_effect(s, image); };
  return t;
}

}  // namespace npu::sim::property
