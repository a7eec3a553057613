// SPDX-License-Identifier: MIT
#include "cube_task.hpp"

#include <algorithm>
#include <stdexcept>

#include "regdb/registers.hpp"

namespace npu::sim::test {
namespace {

namespace rd = npu::regdb;
namespace cna = rd::cna;
namespace core = rd::core;
namespace dpu = rd::dpu;
namespace rdma = rd::dpu_rdma;

constexpr std::uint32_t kBanks = 12, kBankBytes = 32768;
constexpr std::uint32_t kPointers = 0xE;  // ping-pong of both pointers
constexpr std::uint32_t kEnableAll = 0x1D;

template <class R>
void raw(rd::RegcmdStream& s, std::uint32_t value) {
  s.raw(static_cast<std::uint16_t>(R::target), value, R::offset);
}
template <class... R>
void zero(rd::RegcmdStream& s) {
  (raw<R>(s, 0), ...);
}

std::uint32_t banks_for(std::uint64_t bytes) {
  return static_cast<std::uint32_t>((bytes + kBankBytes - 1) / kBankBytes);
}

std::uint64_t feature_bytes(const CubeTask& t) {
  return (std::uint64_t{t.in_width} * t.in_height * t.channels * bits_of(t.in_code) + 7) / 8;
}

// The feature takes the banks that its bytes need, int8 one more [notes cbuf-bank-slack, HW].
void split_cbuf(CubeTask& t) {
  t.data_bank = banks_for(feature_bytes(t)) + (t.in_code == code::int8 ? 1 : 0);
  if (t.data_bank > kBanks - 1) throw std::invalid_argument("the feature does not fit the CBUF");
}

// (H - 4) lines, never negative [userspace: needed on the board for fewer than four rows].
std::uint32_t feature_surface_stride(const CubeTask& t) {
  return t.in_height < 4 ? 0 : t.in_width * (t.in_height - 4);
}

void emit_cna(rd::RegcmdStream& s, const CubeTask& t) {
  s.write(cna::CONV_CON1{.deconv = t.deconv != 0,
                         .proc_precision = t.in_code,
                         .in_precision = t.in_code,
                         .conv_mode = t.depthwise ? 3u : 0u});
  s.write(cna::CONV_CON2{.feature_grains = t.feature_grains & 0x3FF});
  s.write(cna::CONV_CON3{.atrous_y_dilation = t.dilation_y,
                         .atrous_x_dilation = t.dilation_x,
                         .deconv_y_stride = t.deconv_y,
                         .deconv_x_stride = t.deconv_x,
                         .conv_y_stride = t.stride_y,
                         .conv_x_stride = t.stride_x});
  s.write(cna::DATA_SIZE0{.datain_width = t.in_width, .datain_height = t.in_height});
  s.write(cna::DATA_SIZE1{.datain_channel_real = t.channels, .datain_channel = t.channels});
  s.write(cna::DATA_SIZE2{.dataout_width = t.out_width});
  s.write(cna::DATA_SIZE3{.dataout_atomics = t.out_width * t.out_height});
  raw<cna::WEIGHT_SIZE0>(s, t.weight_bytes());
  raw<cna::WEIGHT_SIZE1>(s, t.kernel_bytes());
  s.write(cna::WEIGHT_SIZE2{.weight_width = t.kernel_width,
                            .weight_height = t.kernel_height,
                            .weight_kernels = t.depthwise ? 1 : t.kernels});
  s.write(cna::CBUF_CON0{.weight_reuse = t.weight_reuse,
                         .data_reuse = t.data_reuse,
                         .fc_data_bank = t.fc_data_bank,
                         .weight_bank = kBanks - t.data_bank,
                         .data_bank = t.data_bank});
  // Entries of 64 bytes in a row of the input.
  const std::uint32_t per_entry = 512 / bits_of(t.in_code);
  s.write(cna::CBUF_CON1{.data_entries = (t.in_width * t.channels + per_entry - 1) / per_entry});
  raw<cna::CVT_CON0>(s, 0xB);
  raw<cna::CVT_CON1>(s, 0x10000);
  raw<cna::CVT_CON2>(s, 0x10000);
  raw<cna::CVT_CON3>(s, 0x10000);
  raw<cna::CVT_CON4>(s, 0x10000);
  zero<cna::FC_CON0, cna::FC_CON1>(s);
  s.write(cna::PAD_CON0{.pad_left = t.pad_left, .pad_top = t.pad_top});
  raw<cna::FEATURE_DATA_ADDR>(s, t.input);
  zero<cna::FC_CON2>(s);
  s.write(cna::DMA_CON0{.weight_burst_len = 15, .data_burst_len = 15});
  raw<cna::DMA_CON1>(s, 4 * t.in_width);
  raw<cna::DMA_CON2>(s, feature_surface_stride(t));
  s.write(cna::FC_DATA_SIZE0{.dma_width = t.in_width, .dma_height = t.in_height});
  s.write(cna::FC_DATA_SIZE1{.dma_channel = t.channels});
  zero<cna::DCOMP_CTRL, cna::DCOMP_REGNUM>(s);
  raw<cna::DCOMP_ADDR0>(s, t.weights);
  zero<cna::DCOMP_AMOUNT0, cna::DCOMP_AMOUNT1, cna::DCOMP_AMOUNT2, cna::DCOMP_AMOUNT3,
       cna::DCOMP_AMOUNT4, cna::DCOMP_AMOUNT5, cna::DCOMP_AMOUNT6, cna::DCOMP_AMOUNT7,
       cna::DCOMP_AMOUNT8, cna::DCOMP_AMOUNT9, cna::DCOMP_AMOUNT10, cna::DCOMP_AMOUNT11,
       cna::DCOMP_AMOUNT12, cna::DCOMP_AMOUNT13, cna::DCOMP_AMOUNT14, cna::DCOMP_AMOUNT15,
       cna::CVT_CON5>(s);
  raw<cna::PAD_CON1>(s, t.pad_value);
}

void emit_core(rd::RegcmdStream& s, const CubeTask& t) {
  s.write(core::MISC_CFG{.proc_precision = t.core_code, .dw_en = t.depthwise, .qd_en = t.qd_en});
  s.write(core::DATAOUT_SIZE_0{.dataout_height = t.out_height, .dataout_width = t.out_width});
  s.write(core::DATAOUT_SIZE_1{.dataout_channel = t.kernels});
  zero<core::CLIP_TRUNCATE, core::UNDOC_3030>(s);
}

void emit_tables(rd::RegcmdStream& s, const LutEpilogue& l) {
  for (const bool lo : {false, true}) {
    s.write(dpu::LUT_ACCESS_CFG{.lut_access_type = true, .lut_table_id = lo, .lut_addr = 0});
    for (const std::int16_t entry : lo ? l.lo : l.le)
      raw<dpu::LUT_ACCESS_DATA>(s, static_cast<std::uint16_t>(entry));
  }
  raw<dpu::LUT_CFG>(s, 0x68);
  s.write(
      dpu::LUT_INFO{.lut_lo_index_select = l.index_select, .lut_le_index_select = l.index_select});
  raw<dpu::LUT_LE_START>(s, l.le_start);
  zero<dpu::LUT_LE_END, dpu::LUT_LO_START>(s);
  raw<dpu::LUT_LO_END>(s, l.lo_end);
  raw<dpu::LUT_LE_SLOPE_SCALE>(s, l.le_slope_scale);
  raw<dpu::LUT_LE_SLOPE_SHIFT>(s, l.le_slope_shift & 0x1F);
  raw<dpu::LUT_LO_SLOPE_SCALE>(s, l.lo_slope_scale);
  raw<dpu::LUT_LO_SLOPE_SHIFT>(s, l.lo_slope_shift & 0x1F);
}

void emit_dpu(rd::RegcmdStream& s, const CubeTask& t) {
  s.write(
      dpu::FEATURE_MODE_CFG{.burst_len = 15, .conv_mode = t.depthwise ? 3u : 0u, .output_mode = 2});
  s.write(dpu::DATA_FORMAT{.out_precision = t.out_code,
                           .in_precision = t.dpu_code,
                           .bn_mul_shift_value_neg = t.bn_shift_negative,
                           .bs_mul_shift_value_neg = t.bs_shift_negative,
                           .proc_precision = t.dpu_code});
  zero<dpu::OFFSET_PEND>(s);
  raw<dpu::DST_BASE_ADDR>(s, t.output);
  const std::uint32_t plane = t.out_width * t.out_height;
  raw<dpu::DST_SURF_STRIDE>(s, plane << 4);
  s.write(dpu::DATA_CUBE_WIDTH{.width = t.out_width});
  s.write(dpu::DATA_CUBE_HEIGHT{.height = t.out_height});
  zero<dpu::DATA_CUBE_NOTCH_ADDR>(s);
  s.write(dpu::DATA_CUBE_CHANNEL{.orig_channel = t.kernels, .channel = t.kernels});
  raw<dpu::BS_CFG>(s, t.bs_cfg);
  zero<dpu::BS_ALU_CFG>(s);
  raw<dpu::BS_MUL_CFG>(s, t.bs_mul_cfg);
  zero<dpu::BS_RELUX_CMP_VALUE>(s);
  s.write(dpu::BS_OW_CFG{.tp_org_en = t.tp_org_en,
                         .size_e_2 = t.size_e,
                         .size_e_1 = t.size_e,
                         .size_e_0 = t.size_e,
                         .od_bypass = t.od_bypass,
                         .ow_src = t.ow_src});
  raw<dpu::BS_OW_OP>(s, t.ow_op & 0xFFFF);
  s.write(dpu::WDMA_SIZE_0{.tp_precision = t.tp_precision, .channel_wdma = t.kernels});
  s.write(dpu::WDMA_SIZE_1{.height_wdma = t.out_height, .width_wdma = t.out_width});
  if (t.lut) {
    raw<dpu::BN_CFG>(s, 0x20040);
    raw<dpu::BN_ALU_CFG>(s, t.lut->bn_alu_cfg);
    raw<dpu::BN_MUL_CFG>(s, std::uint32_t{t.lut->bn_mul_operand} << 16);
  } else {
    raw<dpu::BN_CFG>(s, t.bn_cfg);
    raw<dpu::BN_ALU_CFG>(s, t.bn_alu_cfg);
    raw<dpu::BN_MUL_CFG>(s, t.bn_mul_cfg);
  }
  zero<dpu::BN_RELUX_CMP_VALUE>(s);
  raw<dpu::EW_CFG>(s, t.lut ? 0x300 : t.ew ? t.ew->ew_cfg : 0x383);
  zero<dpu::EW_CVT_OFFSET_VALUE>(s);
  raw<dpu::EW_CVT_SCALE_VALUE>(s, 1);
  zero<dpu::EW_RELUX_CMP_VALUE>(s);
  if (t.lut) {
    raw<dpu::OUT_CVT_OFFSET>(s, t.lut->out_cvt_offset);
    raw<dpu::OUT_CVT_SCALE>(s, 1u << 16 | t.lut->out_cvt_scale);
    s.write(dpu::OUT_CVT_SHIFT{.cvt_type = 1, .minus_exp = t.lut->minus_exp});
  } else {
    raw<dpu::OUT_CVT_OFFSET>(s, static_cast<std::uint32_t>(t.out_offset));
    raw<dpu::OUT_CVT_SCALE>(s, (t.narrow ? 1u << 16 : 0u) | t.out_scale);
    s.write(dpu::OUT_CVT_SHIFT{.cvt_type = t.out_cvt_type,
                               .cvt_round = t.out_round,
                               .minus_exp = t.minus_exp,
                               .out_cvt_shift = t.out_shift});
  }
  zero<dpu::EW_OP_VALUE_0, dpu::EW_OP_VALUE_1, dpu::EW_OP_VALUE_2, dpu::EW_OP_VALUE_3,
       dpu::EW_OP_VALUE_4, dpu::EW_OP_VALUE_5, dpu::EW_OP_VALUE_6, dpu::EW_OP_VALUE_7>(s);
  raw<dpu::SURFACE_ADD>(s, plane * t.surface_multiple << 4);
  zero<dpu::UNDOC_40C4>(s);
  if (t.lut)
    emit_tables(s, *t.lut);
  else
    zero<dpu::LUT_ACCESS_CFG, dpu::LUT_ACCESS_DATA, dpu::LUT_CFG, dpu::LUT_INFO, dpu::LUT_LE_START,
         dpu::LUT_LE_END, dpu::LUT_LO_START, dpu::LUT_LO_END, dpu::LUT_LE_SLOPE_SCALE,
         dpu::LUT_LE_SLOPE_SHIFT, dpu::LUT_LO_SLOPE_SCALE, dpu::LUT_LO_SLOPE_SHIFT>(s);
}

void emit_rdma(rd::RegcmdStream& s, const CubeTask& t) {
  s.write(rdma::RDMA_DATA_CUBE_WIDTH{.width = t.out_width});
  s.write(rdma::RDMA_DATA_CUBE_HEIGHT{.height = t.out_height});
  s.write(rdma::RDMA_DATA_CUBE_CHANNEL{.channel = t.kernels});
  raw<rdma::RDMA_SRC_BASE_ADDR>(s, t.ew ? t.ew->address : 0);
  s.write(rdma::RDMA_BRDMA_CFG{.brdma_data_use = t.brdma_data_use});
  raw<rdma::RDMA_BS_BASE_ADDR>(s, t.brdma_data_use != 0 ? t.bias : 0);
  s.write(rdma::RDMA_NRDMA_CFG{.nrdma_data_use = t.nrdma_data_use});
  raw<rdma::RDMA_BN_BASE_ADDR>(s, t.bn_stream);
  raw<rdma::RDMA_ERDMA_CFG>(s, t.ew ? 0x40000008 : 1);
  raw<rdma::RDMA_EW_BASE_ADDR>(s, t.ew ? t.ew->address + t.ew->base_offset : 0);
  raw<rdma::RDMA_EW_SURF_STRIDE>(s, t.ew ? t.ew->stride << 4 : 0);
  raw<rdma::RDMA_FEATURE_MODE_CFG>(
      s, t.ew ? 0x17D40 : 0x7810u | (t.narrow || t.lut ? 8u : 0u) | (t.depthwise ? 6u : 0u));
  zero<rdma::RDMA_SRC_DMA_CFG>(s);
  raw<rdma::RDMA_SURF_NOTCH>(s, t.ew ? t.ew->stride << 4 : 0);
  zero<rdma::RDMA_PAD_CFG>(s);
  raw<rdma::RDMA_WEIGHT>(s, 0x01010101);
  raw<rdma::RDMA_EW_SURF_NOTCH>(s, t.ew ? t.ew->stride << 4 : 0);
}

// Common part of the convolutions.
CubeTask conv(const ConvShape2d& c, std::uint32_t precision, std::uint32_t out_code,
              bool depthwise) {
  CubeTask t;
  t.channels = c.channels;
  t.in_width = c.in_width;
  t.in_height = c.in_height;
  t.kernels = c.kernels;
  t.out_width = c.out_width();
  t.out_height = c.out_height();
  t.kernel_width = c.kernel_width;
  t.kernel_height = c.kernel_height;
  t.stride_x = c.stride_x;
  t.stride_y = c.stride_y;
  t.dilation_x = c.dilation_x;
  t.dilation_y = c.dilation_y;
  t.pad_left = c.pad_left;
  t.pad_top = c.pad_top;
  t.depthwise = depthwise;
  t.in_code = t.core_code = t.dpu_code = precision;
  t.out_code = out_code;
  t.feature_grains = depthwise ? 50 + c.stride_y + 1 : c.in_height + 1;
  split_cbuf(t);
  return t;
}

}  // namespace

std::uint32_t CubeTask::kernel_bytes() const {
  return (kernel_width * kernel_height * channels * bits_of(in_code) + 7) / 8;
}

std::uint32_t CubeTask::weight_bytes() const {
  if (!depthwise) return kernel_bytes() * kernels;
  const std::uint32_t group = in_code == code::int8 ? 64 : 32;
  return kernel_width * kernel_height * ((channels + group - 1) / group * group) *
         bits_of(in_code) / 8;
}

CubeTask matmul(std::uint32_t precision, std::uint32_t out_code, std::uint32_t m, std::uint32_t k,
                std::uint32_t n) {
  CubeTask t;
  t.channels = k;
  t.in_height = t.out_height = m;
  t.kernels = n;
  t.in_code = t.core_code = t.dpu_code = precision;
  if (precision == code::tf32) t.dpu_code = code::fp32;  // the DPU has no code for tf32
  t.out_code = out_code;
  t.feature_grains = m + 1;
  t.qd_en = precision != code::int8 && precision != code::int4;
  t.narrow = out_code == code::fp16 && precision != code::int8;
  // int8 and int4 write 8 surfaces of each group of kernels, the others as many as bytes
  // [notes size-e-quirk, HW].
  const bool narrow_input = precision == code::int8 || precision == code::int4;
  t.surface_multiple = narrow_input ? 8 : bits_of(out_code) / 8;
  t.size_e = t.surface_multiple - 1;
  split_cbuf(t);
  return t;
}

CubeTask conv_fp16(const ConvShape2d& shape, std::uint32_t out_code, bool depthwise) {
  CubeTask t = conv(shape, code::fp16, out_code, depthwise);
  t.qd_en = true;
  t.narrow = out_code == code::fp16;
  t.surface_multiple = bits_of(out_code) / 8;
  t.size_e = t.surface_multiple - 1;
  if (depthwise) {  // [notes depthwise-conv, HW]
    t.size_e = 3;
    t.surface_multiple *= 2;
    t.od_bypass = false;
    t.ow_op = 0x80;
  }
  return t;
}

CubeTask conv_int8(const ConvShape2d& shape) {
  CubeTask t = conv(shape, code::int8, code::int32, false);
  t.size_e = 7;
  t.surface_multiple = 8;
  return t;
}

CubeTask conv_int8_out(const ConvShape2d& shape, bool depthwise, std::int32_t zero_in,
                       std::int32_t zero_weight, std::int32_t zero_out, std::uint32_t scale,
                       std::uint32_t shift) {
  CubeTask t = conv(shape, code::int8, code::int8, depthwise);
  t.qd_en = true;
  t.od_bypass = false;
  t.ow_op = static_cast<std::uint16_t>(-zero_weight);
  t.size_e = depthwise ? 3 : 1;
  t.surface_multiple = depthwise ? 4 : 2;
  // The byte in every lane: some lanes of a depthwise group read byte 1 [notes depthwise-conv, HW].
  t.pad_value = 0x01010101u * static_cast<std::uint8_t>(zero_in);
  t.bs_cfg = 0x20150;
  t.brdma_data_use = 1;
  t.out_scale = scale;
  t.out_shift = shift;
  t.out_offset = zero_out;
  return t;
}

std::vector<std::uint64_t> emit(const CubeTask& task) {
  rd::RegcmdStream s;
  raw<dpu::S_POINTER>(s, kPointers);
  raw<rdma::RDMA_S_POINTER>(s, kPointers);
  emit_cna(s, task);
  emit_core(s, task);
  emit_dpu(s, task);
  emit_rdma(s, task);
  s.end(kEnableAll);
  return s.words();
}

std::uint32_t value_of(const std::vector<std::uint64_t>& words, std::uint16_t offset) {
  for (auto word = words.rbegin(); word != words.rend(); ++word)
    if (const auto command = rd::Regcmd::unpack(*word); command.offset == offset && *word != 0)
      return command.value;
  throw std::invalid_argument("the program does not write the register");
}

void replace(std::vector<std::uint64_t>& words, std::uint16_t offset, std::uint32_t value) {
  bool found = false;
  for (std::uint64_t& word : words) {
    auto command = rd::Regcmd::unpack(word);
    if (command.offset != offset || word == 0) continue;
    command.value = value;
    word = command.pack();
    found = true;
  }
  if (!found) throw std::invalid_argument("the program does not write the register");
}

}  // namespace npu::sim::test
