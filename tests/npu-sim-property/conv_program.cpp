// SPDX-License-Identifier: MIT
// Every register of CNA, CORE, DPU and DPU_RDMA that takes part, so that nothing of an earlier task
// is left; values as the open drivers choose them where they do not matter here.
#include <algorithm>

#include "conv_spec.hpp"
#include "regdb/registers.hpp"

namespace npu::sim::property {

namespace rd = npu::regdb;

namespace {

void put_cna(Task& t, const Arena& arena, const ConvSpec& s) {
  namespace cna = rd::cna;
  const TypeFacts f = facts(s.type);
  const std::uint32_t kernel_bytes = s.kernel_width * s.kernel_height * s.channels * f.bits / 8;
  put(t, cna::CBUF_CON0{.weight_reuse = s.weight_reuse,
                        .data_reuse = s.data_reuse,
                        .weight_bank = 11,
                        .data_bank = 1});
  put(t, cna::CONV_CON1{.nonalign_dma = s.pixels,
                        .group_line_off = s.row_major || s.pixels,
                        .argb_in = s.pixels ? 8u : 0u,
                        .proc_precision = f.code,
                        .in_precision = f.code,
                        .conv_mode = s.depthwise ? 3u : 0u});
  put(t, cna::CONV_CON2{.feature_grains = s.in_height + 1});
  put(t, cna::CONV_CON3{.atrous_y_dilation = s.dilation_y,
                        .atrous_x_dilation = s.dilation_x,
                        .conv_y_stride = s.stride_y,
                        .conv_x_stride = s.stride_x});
  put(t, cna::DATA_SIZE0{.datain_width = s.in_width, .datain_height = s.in_height});
  put(t, cna::DATA_SIZE1{.datain_channel_real = s.pixels ? 1 : s.channels,
                         .datain_channel = s.channels});
  put(t, cna::DATA_SIZE2{.dataout_width = s.out_width});
  put(t, cna::DATA_SIZE3{.dataout_atomics = s.out_width * s.out_height});
  put(t, cna::WEIGHT_SIZE0{.weight_bytes = kernel_bytes * s.kernels});
  put(t, cna::WEIGHT_SIZE1{.weight_bytes_per_kernel = kernel_bytes});
  put(t, cna::WEIGHT_SIZE2{.weight_width = s.kernel_width,
                           .weight_height = s.kernel_height,
                           .weight_kernels = s.kernels});
  put(t, cna::CBUF_CON1{.data_entries = (s.in_width * s.channels * f.bits / 8 + 63) / 64});
  if (s.pixels) {
    put(t, cna::CVT_CON0{.cvt_truncate_3 = s.cvt_shift,
                         .cvt_truncate_2 = s.cvt_shift,
                         .cvt_truncate_1 = s.cvt_shift,
                         .cvt_truncate_0 = s.cvt_shift,
                         .round_type = s.cvt_round});
    put(t, cna::CVT_CON1{.cvt_scale0 = s.cvt_scale, .cvt_offset0 = s.cvt_offset});
    put(t, cna::CVT_CON2{.cvt_scale1 = s.cvt_scale, .cvt_offset1 = s.cvt_offset});
    put(t, cna::CVT_CON3{.cvt_scale2 = s.cvt_scale, .cvt_offset2 = s.cvt_offset});
    put(t, cna::CVT_CON4{.cvt_scale3 = s.cvt_scale, .cvt_offset3 = s.cvt_offset});
  } else {
    put(t, cna::CVT_CON0{.data_sign = true, .cvt_type = 1, .cvt_bypass = true});
    put(t, cna::CVT_CON1{.cvt_scale0 = 1});
    put(t, cna::CVT_CON2{.cvt_scale1 = 1});
    put(t, cna::CVT_CON3{.cvt_scale2 = 1});
    put(t, cna::CVT_CON4{.cvt_scale3 = 1});
  }
  put(t, cna::CVT_CON5{.per_channel_cvt_en = s.pixels ? 0xFFFFu : 0});
  put(t, cna::PAD_CON0{.pad_left = s.pad_left, .pad_top = s.pad_top});
  put(t, cna::PAD_CON1{.pad_value = s.pad_word});
  put(t, cna::FEATURE_DATA_ADDR{.feature_base_addr = arena.address(s.features)});
  put(t, cna::DMA_CON0{.weight_burst_len = 15, .data_burst_len = 15});
  // Units: bytes of a pixel line, atoms of a row-major one, else 4 bytes [mesa; allbilly gemm.py].
  const std::uint32_t line = s.pixels ? s.line : s.row_major ? s.line / 16 : s.line / 4;
  put(t, cna::DMA_CON1{.line_stride = line});
  put(t, cna::DMA_CON2{.surf_stride = s.pixels || s.row_major
                                          ? 0
                                          : static_cast<std::int32_t>(s.plane / 16) -
                                                static_cast<std::int32_t>(line)});
  put(t, cna::FC_DATA_SIZE0{.dma_width = s.in_width, .dma_height = s.in_height});
  put(t, cna::FC_DATA_SIZE1{.dma_channel = s.channels});
  put(t, cna::DCOMP_ADDR0{.decompress_addr0 = arena.address(s.weights)});
}

void put_bs_bn(Task& t, const ConvSpec& s) {
  namespace dpu = rd::dpu;
  put(t, dpu::BS_CFG{.bs_alu_algo = s.bs_minus ? 4u : 2u,
                     .bs_alu_src = s.bs_alu_memory ? 1u : 0u,
                     .bs_relux_en = s.bs_relu.limited,
                     .bs_relu_bypass = !s.bs_relu.on,
                     .bs_mul_prelu = s.bs_prelu,
                     .bs_mul_bypass = !s.bs_mul,
                     .bs_alu_bypass = !s.bs_alu,
                     .bs_bypass = s.bs_bypass});
  put(t, dpu::BS_ALU_CFG{.bs_alu_operand = static_cast<std::int32_t>(s.bs_alu_operand)});
  put(t, dpu::BS_MUL_CFG{.bs_mul_operand = s.bs_mul_operand,
                         .bs_mul_shift_value = s.bs_shift,
                         .bs_mul_src = s.bs_mul_memory ? 1u : 0u});
  put(t, dpu::BS_RELUX_CMP_VALUE{.bs_relux_cmp_dat = static_cast<std::int32_t>(s.bs_relu.limit)});
  put(t, dpu::BS_OW_CFG{.size_e_2 = s.size_e,
                        .size_e_1 = s.size_e,
                        .size_e_0 = s.size_e,
                        .od_bypass = s.od_bypass,
                        .ow_src = s.ow_memory ? 1u : 0u});
  put(t, dpu::BS_OW_OP{.ow_op = s.ow});
  put(t, dpu::BN_CFG{.bn_alu_algo = s.bn_minus ? 4u : 2u,
                     .bn_relux_en = s.bn_relu.limited,
                     .bn_relu_bypass = !s.bn_relu.on,
                     .bn_mul_prelu = s.bn_prelu,
                     .bn_mul_bypass = !s.bn_mul,
                     .bn_alu_bypass = !s.bn_alu,
                     .bn_bypass = !s.bn_mul && !s.bn_alu && !s.bn_relu.on});
  put(t, dpu::BN_ALU_CFG{.bn_alu_operand = s.bn_alu_operand});
  put(t, dpu::BN_MUL_CFG{.bn_mul_operand = s.bn_mul_operand, .bn_mul_shift_value = s.bn_shift});
  put(t, dpu::BN_RELUX_CMP_VALUE{.bn_relux_cmp_dat = s.bn_relu.limit});
}

void put_dpu(Task& t, const Arena& arena, const ConvSpec& s) {
  namespace dpu = rd::dpu;
  const TypeFacts f = facts(s.type);
  put(t,
      dpu::FEATURE_MODE_CFG{.burst_len = 15, .conv_mode = s.depthwise ? 3u : 0u, .output_mode = 2});
  put(t, dpu::DATA_FORMAT{.out_precision = s.out,
                          .in_precision = f.dpu_code,
                          .bn_mul_shift_value_neg = s.bn_shift_negative,
                          .bs_mul_shift_value_neg = s.bs_shift_negative,
                          .proc_precision = f.dpu_code});
  put(t, dpu::DST_BASE_ADDR{.dst_base_addr = arena.address(s.dst)});
  put(t, dpu::DST_SURF_STRIDE{.dst_surf_stride = s.dst_plane / 16});
  put(t, dpu::DATA_CUBE_WIDTH{.width = s.out_width});
  put(t, dpu::DATA_CUBE_HEIGHT{.height = s.out_height});
  put(t, dpu::DATA_CUBE_NOTCH_ADDR{.notch_addr_1 = s.dst_notch, .notch_addr_0 = s.dst_notch});
  const std::uint32_t channels = s.depthwise ? s.channels : s.kernels;
  // Whole groups of kernels: the writer waits for a group that is cut short.
  const std::uint32_t padded =
      (std::max(channels, s.out_channels) + s.group() - 1) / s.group() * s.group();
  put(t, dpu::DATA_CUBE_CHANNEL{.orig_channel = s.out_channels, .channel = padded});
  put_bs_bn(t, s);
  put(t, dpu::WDMA_SIZE_0{.channel_wdma = channels});
  put(t, dpu::WDMA_SIZE_1{.height_wdma = s.out_height, .width_wdma = s.out_width});
  put(t, dpu::EW_CFG{.ew_cvt_type = s.ew_add_first ? 1u : 0u,
                     .ew_cvt_round = s.ew_up,
                     .ew_data_mode = s.ew ? 1u : 0u,
                     .edata_size = !s.ew             ? 0u
                                   : is_real(s.type) ? 2u
                                                     : 1u,
                     .ew_alu_algo = s.ew_algo,
                     .ew_relux_en = s.ew_relu.limited,
                     .ew_relu_bypass = !s.ew_relu.on,
                     .ew_op_cvt_bypass = !s.ew_convert,
                     .ew_lut_bypass = true,
                     .ew_op_src = s.ew ? 1u : 0u,
                     .ew_op_type = s.ew && s.ew_multiply ? 1u : 0u,
                     .ew_op_bypass = !s.ew,
                     .ew_bypass = !s.ew && !s.ew_relu.on});
  put(t, dpu::EW_CVT_OFFSET_VALUE{.ew_op_cvt_offset = s.ew_offset});
  put(t, dpu::EW_CVT_SCALE_VALUE{.ew_op_cvt_shift = s.ew_shift, .ew_op_cvt_scale = s.ew_scale});
  put(t, dpu::EW_RELUX_CMP_VALUE{.ew_relux_cmp_dat = s.ew_relu.limit});
  put(t, dpu::OUT_CVT_OFFSET{.out_cvt_offset = s.offset});
  put(t, dpu::OUT_CVT_SCALE{.fp32tofp16_en = s.out == kOutFp16, .out_cvt_scale = s.scale});
  put(t, dpu::OUT_CVT_SHIFT{.cvt_type = s.add_first ? 1u : 0u,
                            .cvt_round = s.away,
                            .minus_exp = s.minus_exp,
                            .out_cvt_shift = s.shift});
  put(t, dpu::SURFACE_ADD{.surf_add = s.dst_group / 16});
  put(t, dpu::UNDOC_40C4{});
}

void put_rdma(Task& t, const Arena& arena, const ConvSpec& s) {
  namespace rdma = rd::dpu_rdma;
  const std::uint32_t plane = s.out_width * s.out_height;
  put(t, rdma::RDMA_DATA_CUBE_WIDTH{.width = s.out_width});
  put(t, rdma::RDMA_DATA_CUBE_HEIGHT{.height = s.out_height});
  put(t, rdma::RDMA_DATA_CUBE_CHANNEL{.channel = s.out_channels});
  put(t, rdma::RDMA_SRC_BASE_ADDR{.src_base_addr = s.ew ? arena.address(s.addend) : 0});
  put(t, rdma::RDMA_BRDMA_CFG{.brdma_data_use = !s.reads_stream()  ? 0u
                                                : s.dense_stream() ? 1u
                                                                   : 7u});
  put(t, rdma::RDMA_BS_BASE_ADDR{.bs_base_addr = s.reads_stream() ? arena.address(s.stream) : 0});
  put(t, rdma::RDMA_NRDMA_CFG{});
  put(t, rdma::RDMA_BN_BASE_ADDR{});
  if (s.ew)
    put(t,
        rdma::RDMA_ERDMA_CFG{.erdma_data_mode = 1, .erdma_data_size = is_real(s.type) ? 2u : 1u});
  else
    put(t, rdma::RDMA_ERDMA_CFG{.erdma_disable = true});
  put(t, rdma::RDMA_EW_BASE_ADDR{.ew_base_addr = s.ew ? arena.address(s.addend) + plane * 16 : 0});
  put(t, rdma::RDMA_EW_SURF_STRIDE{.ew_surf_stride = s.ew ? plane : 0});
  const std::uint32_t code = facts(s.type).dpu_code;
  put(t, rdma::RDMA_FEATURE_MODE_CFG{.in_precision = code,
                                     .burst_len = 15,
                                     .comb_use = s.ew ? 5u : 0u,
                                     .proc_precision = code,
                                     .mrdma_disable = !s.ew});
  put(t, rdma::RDMA_SRC_DMA_CFG{});
  put(t, rdma::RDMA_SURF_NOTCH{.surf_notch_addr = s.ew ? plane : 0});
  put(t, rdma::RDMA_PAD_CFG{});
  put(t, rdma::RDMA_WEIGHT{.e_weight = 1, .n_weight = 1, .b_weight = 1, .m_weight = 1});
  put(t, rdma::RDMA_EW_SURF_NOTCH{.ew_surf_notch = s.ew ? plane : 0});
}

}  // namespace

void conv_effect(const ConvSpec& spec, Image& image, PlainCbuf& cbuf);

Task conv_task(const Arena& arena, const ConvSpec& s) {
  Task t;
  put(t, rd::dpu::S_POINTER::decode(0xE));
  put(t, rd::dpu_rdma::RDMA_S_POINTER::decode(0xE));
  put_cna(t, arena, s);
  put(t, rd::core::MISC_CFG{
             .proc_precision = facts(s.type).code, .dw_en = s.depthwise, .qd_en = s.qd});
  put(t, rd::core::DATAOUT_SIZE_0{.dataout_height = s.out_height, .dataout_width = s.out_width});
  put(t, rd::core::DATAOUT_SIZE_1{.dataout_channel = s.depthwise ? s.channels : s.kernels});
  put(t,
      rd::core::CLIP_TRUNCATE{.round_type = s.truncate_up ? 1u : 0u, .clip_truncate = s.truncate});
  put(t, rd::core::UNDOC_3030{});
  put_dpu(t, arena, s);
  put_rdma(t, arena, s);
  t.enable = rd::enable_mask::cna | rd::enable_mask::core | rd::enable_mask::dpu |
             rd::enable_mask::dpu_rdma;
  t.text = describe(s);
  t.effect = [s](Image& image, PlainCbuf& cbuf) { conv_effect(s, image, cbuf); };
  return t;
}

}  // namespace npu::sim::property
