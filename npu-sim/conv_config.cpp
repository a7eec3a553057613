// SPDX-License-Identifier: MIT
// Sources: registers.csv for positions; compute.md 2, 3 and 5 (Mesa's programs and board sweeps)
// for what the values mean.
#include "npu-sim/conv_config.hpp"

#include <fmt/format.h>

#include "npu-sim/conv_config_dpu.hpp"
#include "npu-sim/fault.hpp"
#include "npu-sim/known_bits.hpp"
#include "npu-sim/precision_codes.hpp"
#include "regdb/registers.hpp"

namespace npu::sim {
namespace {

namespace rd = npu::regdb;
using rd::Block;

constexpr std::uint32_t kAll = 0xFFFFFFFF;

constexpr KnownBits kCna[] = {
    {rd::cna::OPERATION_ENABLE::offset, kAll}, {rd::cna::CONV_CON1::offset, 0x6001F3FF},
    {rd::cna::CONV_CON2::offset, 0x00FF3FF0},  // KERNEL_GROUP, FEATURE_GRAINS: timing only
    {rd::cna::CONV_CON3::offset, 0x03FF3F3F},  // not NN_MODE
    {rd::cna::DATA_SIZE0::offset, kAll},       {rd::cna::DATA_SIZE1::offset, kAll},
    {rd::cna::DATA_SIZE2::offset, kAll},       {rd::cna::DATA_SIZE3::offset, 0x003FFFFF},
    {rd::cna::WEIGHT_SIZE0::offset, kAll},     {rd::cna::WEIGHT_SIZE1::offset, kAll},
    {rd::cna::WEIGHT_SIZE2::offset, kAll},     {rd::cna::CBUF_CON0::offset, 0x000037FF},
    {rd::cna::CBUF_CON1::offset, kAll},        {rd::cna::CVT_CON0::offset, kAll},
    {rd::cna::CVT_CON1::offset, kAll},         {rd::cna::CVT_CON2::offset, kAll},
    {rd::cna::CVT_CON3::offset, kAll},         {rd::cna::CVT_CON4::offset, kAll},
    {rd::cna::PAD_CON0::offset, kAll},         {rd::cna::FEATURE_DATA_ADDR::offset, kAll},
    {rd::cna::DMA_CON0::offset, kAll},  // burst lengths: timing only
    {rd::cna::DMA_CON1::offset, kAll},         {rd::cna::DMA_CON2::offset, kAll},
    {rd::cna::FC_DATA_SIZE0::offset, kAll},    {rd::cna::FC_DATA_SIZE1::offset, kAll},
    {rd::cna::CLK_GATE::offset, kAll},         {rd::cna::DCOMP_ADDR0::offset, kAll},
    {rd::cna::CVT_CON5::offset, kAll},         {rd::cna::PAD_CON1::offset, kAll},
};

constexpr KnownBits kCore[] = {
    {rd::core::OPERATION_ENABLE::offset, kAll}, {rd::core::MAC_GATING::offset, kAll},
    {rd::core::MISC_CFG::offset, 0x000FC703},   {rd::core::DATAOUT_SIZE_0::offset, kAll},
    {rd::core::DATAOUT_SIZE_1::offset, kAll},   {rd::core::CLIP_TRUNCATE::offset, 0x5F},
    {rd::core::UNDOC_3030::offset, kAll},  // other values changed nothing on a board [notes]
};

bool none(std::uint32_t) { return false; }

Precision mac_precision(std::uint32_t code, const char* where) {
  switch (code) {
    case kInt8: return Precision::int8;
    case kInt16: return Precision::int16;
    case kFp16: return Precision::fp16;
    case kBf16: return Precision::bf16;
    case kInt4: return Precision::int4;
    case kTf32: return Precision::tf32;
    default: not_modelled(where, code);
  }
}

// DECONV puts the input on a grid this wide; the field holds the step less one, and only powers of
// two are live [notes conv-transpose, HW sweep].
std::uint32_t spread(std::uint32_t field) {
  return field == 1 || field == 3 || field == 7 ? field + 1 : 1;
}

InputConverter read_converter(const BlockRegisters& r) {
  const auto con0 = rd::cna::CVT_CON0::decode(r.cna(rd::cna::CVT_CON0::offset));
  InputConverter c{};
  c.active = true;
  c.is_signed = con0.data_sign;
  c.add_first = con0.cvt_type != 0;
  c.half_up = con0.round_type != 0;
  const std::uint16_t constants[] = {rd::cna::CVT_CON1::offset, rd::cna::CVT_CON2::offset,
                                     rd::cna::CVT_CON3::offset, rd::cna::CVT_CON4::offset};
  const std::uint32_t shifts[] = {con0.cvt_truncate_0, con0.cvt_truncate_1, con0.cvt_truncate_2,
                                  con0.cvt_truncate_3};
  for (int lane = 0; lane < 4; ++lane) {
    const std::uint32_t word = r.cna(constants[lane]);
    c.scale[lane] = static_cast<std::int16_t>(word >> 16);
    c.offset[lane] = static_cast<std::int16_t>(word & 0xFFFF);
    c.shift[lane] = shifts[lane];
  }
  c.lanes = r.cna(rd::cna::CVT_CON5::offset);
  return c;
}

void read_cna(const BlockRegisters& r, std::uint32_t dma_base, const Quirks& quirks,
              ConvConfig& c) {
  const auto con1 = rd::cna::CONV_CON1::decode(r.cna(rd::cna::CONV_CON1::offset));
  const auto con3 = rd::cna::CONV_CON3::decode(r.cna(rd::cna::CONV_CON3::offset));
  const auto size0 = rd::cna::DATA_SIZE0::decode(r.cna(rd::cna::DATA_SIZE0::offset));
  const auto size1 = rd::cna::DATA_SIZE1::decode(r.cna(rd::cna::DATA_SIZE1::offset));
  const auto weight2 = rd::cna::WEIGHT_SIZE2::decode(r.cna(rd::cna::WEIGHT_SIZE2::offset));
  const auto cbuf = rd::cna::CBUF_CON0::decode(r.cna(rd::cna::CBUF_CON0::offset));
  const auto cvt = rd::cna::CVT_CON0::decode(r.cna(rd::cna::CVT_CON0::offset));
  const auto pad = rd::cna::PAD_CON0::decode(r.cna(rd::cna::PAD_CON0::offset));

  const Precision precision = mac_precision(con1.in_precision, "CNA.CONV_CON1.in_precision");
  if (con1.proc_precision != con1.in_precision)
    not_modelled("CNA.CONV_CON1.proc_precision", con1.proc_precision);
  const PrecisionLayout layout = layout_of(precision);
  require(con1.conv_mode == 0 || con1.conv_mode == 3, "CNA.CONV_CON1.conv_mode", con1.conv_mode);

  ConvShape& s = c.shape;
  s.precision = precision;
  s.in_width = size0.datain_width;
  s.in_height = size0.datain_height;
  s.channels = size1.datain_channel;
  s.kernels = weight2.weight_kernels;
  s.kernel_width = weight2.weight_width;
  s.kernel_height = weight2.weight_height;
  s.stride_x = con3.conv_x_stride;
  s.stride_y = con3.conv_y_stride;
  s.dilation_x = con3.atrous_x_dilation;
  s.dilation_y = con3.atrous_y_dilation;
  s.spread_x = con1.deconv ? spread(con3.deconv_x_stride) : 1;
  s.spread_y = con1.deconv ? spread(con3.deconv_y_stride) : 1;
  s.pad_left = pad.pad_left;
  s.pad_top = pad.pad_top;
  s.pad_value = r.cna(rd::cna::PAD_CON1::offset);
  s.depthwise = con1.conv_mode == 3;

  if (s.in_width == 0 || s.in_height == 0) bad_program("CNA.DATA_SIZE0", "an empty feature cube");
  if (s.channels == 0) bad_program("CNA.DATA_SIZE1.datain_channel", "no input channel");
  require(s.channels % layout.atom() == 0, "CNA.DATA_SIZE1.datain_channel", s.channels);
  if (s.kernel_width == 0 || s.kernel_height == 0 || s.kernels == 0)
    bad_program("CNA.WEIGHT_SIZE2", "an empty kernel");
  if (s.stride_x == 0 || s.stride_y == 0) bad_program("CNA.CONV_CON3", "a stride of 0");
  if (s.depthwise) {
    require(s.kernels == 1, "CNA.WEIGHT_SIZE2.weight_kernels", s.kernels);
    require(layout.depthwise_group != 0, "CNA.CONV_CON1.conv_mode", 3);
  }
  if (cbuf.data_bank + cbuf.weight_bank > 12)
    bad_program("CNA.CBUF_CON0", fmt::format("{} data and {} weight banks; there are 12",
                                             cbuf.data_bank, cbuf.weight_bank));

  c.weights = std::uint64_t{dma_base} + r.cna(rd::cna::DCOMP_ADDR0::offset);
  c.weight_bytes =
      std::uint64_t{s.kernel_width} * s.kernel_height * s.channels * s.kernels * layout.bits / 8;
  // A depthwise cube may be filled up to a whole group of channels [userspace, HW].
  if (s.depthwise) {
    const std::uint64_t whole = std::uint64_t{s.kernel_width} * s.kernel_height *
                                ((s.channels + layout.depthwise_group - 1) /
                                 layout.depthwise_group * layout.depthwise_group) *
                                layout.bits / 8;
    if (r.cna(rd::cna::WEIGHT_SIZE0::offset) == whole) c.weight_bytes = whole;
  }
  if (c.weight_bytes != r.cna(rd::cna::WEIGHT_SIZE0::offset))
    bad_program("CNA.WEIGHT_SIZE0",
                fmt::format("{} bytes, but {} kernels of {}x{}x{} are {}",
                            r.cna(rd::cna::WEIGHT_SIZE0::offset), s.kernels, s.kernel_height,
                            s.kernel_width, s.channels, c.weight_bytes));
  c.weight_reuse = cbuf.weight_reuse;
  c.data_reuse = cbuf.data_reuse;

  FeatureSource& f = c.feature;
  f = {};
  f.bank_offset = quirks.fc_data_bank_shifts_features ? cbuf.fc_data_bank : 0;
  f.address = std::uint64_t{dma_base} + r.cna(rd::cna::FEATURE_DATA_ADDR::offset);
  const std::int64_t line = rd::cna::DMA_CON1::decode(r.cna(rd::cna::DMA_CON1::offset)).line_stride;
  const std::int64_t surface =
      rd::cna::DMA_CON2::decode(r.cna(rd::cna::DMA_CON2::offset)).surf_stride;
  if (con1.argb_in != 0 && precision == Precision::fp16) {
    // Codes 8 to 11: 1 to 4 halves a pixel, side by side; the other channels of the atom are 0 and
    // LINE_STRIDE counts pixels [allbilly simple_conv_fp16.py, board; the unit fits its sizes].
    require(con1.argb_in >= 8 && con1.argb_in <= 11, "CNA.CONV_CON1.argb_in", con1.argb_in);
    require(con1.nonalign_dma, "CNA.CONV_CON1.nonalign_dma", 0);
    require(con1.group_line_off, "CNA.CONV_CON1.group_line_off", 0);
    require(cvt.cvt_bypass, "CNA.CVT_CON0.cvt_bypass", 0);
    require(s.channels == layout.atom(), "CNA.DATA_SIZE1.datain_channel", s.channels);
    f.row_major = true;
    f.pixel_bytes = (con1.argb_in - 7) * 2;
    f.line_stride = line * f.pixel_bytes;
  } else if (con1.argb_in != 0) {
    require(precision == Precision::int8, "CNA.CONV_CON1.argb_in", con1.argb_in);
    // Codes 8 to 11: one to four bytes a pixel, made int8 by the converter; LINE_STRIDE counts
    // pixels [one channel: mesa, TRM; more: inferred from the fp16 programs of allbilly].
    require(con1.argb_in >= 8 && con1.argb_in <= 11, "CNA.CONV_CON1.argb_in", con1.argb_in);
    require(con1.nonalign_dma, "CNA.CONV_CON1.nonalign_dma", 0);
    require(!cvt.cvt_bypass, "CNA.CVT_CON0.cvt_bypass", 1);
    f.pixel_channels = con1.argb_in - 7;
    f.line_stride = line * f.pixel_channels;
    f.cvt = read_converter(r);
  } else {
    require(!con1.nonalign_dma, "CNA.CONV_CON1.nonalign_dma", 1);
    if (!cvt.cvt_bypass) {
      require(precision == Precision::int8, "CNA.CVT_CON0.cvt_bypass", 0);
      f.cvt = read_converter(r);
      // Which of the four constants a channel of a feature takes is not known.
      for (int lane = 1; lane < 4; ++lane)
        require(f.cvt.scale[lane] == f.cvt.scale[0] && f.cvt.offset[lane] == f.cvt.offset[0] &&
                    f.cvt.shift[lane] == f.cvt.shift[0],
                "CNA.CVT_CON2.cvt_scale1", static_cast<std::uint16_t>(f.cvt.scale[lane]));
    }
    f.row_major = con1.group_line_off;
    if (f.row_major) {
      // A plain matrix, one position per line, line stride in atoms [allbilly gemm.py, board;
      // the unit is inferred from its sizes].
      require(s.in_width == 1, "CNA.CONV_CON1.group_line_off", 1);
      require(surface == 0, "CNA.DMA_CON2.surf_stride", static_cast<std::uint64_t>(surface));
      f.line_stride = line * 16;
    } else {
      f.line_stride = line * 4;
      f.plane_stride = (surface + line) * 16;
    }
  }
}

void read_core(const BlockRegisters& r, const Quirks& quirks, ConvConfig& c) {
  const auto misc = rd::core::MISC_CFG::decode(r.core(rd::core::MISC_CFG::offset));
  const auto out0 = rd::core::DATAOUT_SIZE_0::decode(r.core(rd::core::DATAOUT_SIZE_0::offset));
  const auto clip = rd::core::CLIP_TRUNCATE::decode(r.core(rd::core::CLIP_TRUNCATE::offset));
  const auto size2 = rd::cna::DATA_SIZE2::decode(r.cna(rd::cna::DATA_SIZE2::offset));
  const auto size3 = rd::cna::DATA_SIZE3::decode(r.cna(rd::cna::DATA_SIZE3::offset));
  if (quirks.mac_gating_bit_24 && (r.core(rd::core::MAC_GATING::offset) & 1u << 24) == 0)
    hang("CORE.MAC_GATING.slcg_op_en", "bit 24 is clear (quirk mac_gating_bit_24)");
  if (mac_precision(misc.proc_precision, "CORE.MISC_CFG.proc_precision") != c.shape.precision)
    bad_program("CORE.MISC_CFG.proc_precision", "contradicts CNA.CONV_CON1.in_precision");
  if (misc.dw_en != c.shape.depthwise)
    bad_program("CORE.MISC_CFG.dw_en", "contradicts CNA.CONV_CON1.conv_mode");
  c.shape.out_width = out0.dataout_width;
  c.shape.out_height = out0.dataout_height;
  if (size2.dataout_width != c.shape.out_width)
    bad_program(
        "CNA.DATA_SIZE2.dataout_width",
        fmt::format("{}, but CORE.DATAOUT_SIZE_0 says {}", size2.dataout_width, c.shape.out_width));
  if (size3.dataout_atomics != c.shape.out_width * c.shape.out_height)
    bad_program("CNA.DATA_SIZE3.dataout_atomics",
                fmt::format("{}, but {} x {} positions are computed", size3.dataout_atomics,
                            c.shape.out_width, c.shape.out_height));
  c.truncate = clip.clip_truncate;
  c.truncate_half_up = clip.round_type;
  // QD_EN adds BS_OW_OP ("CPEND") times the window sum; OD_BYPASS switches it off [vec; TRM].
  const auto ow = rd::dpu::BS_OW_CFG::decode(r.dpu(rd::dpu::BS_OW_CFG::offset));
  c.ow_op = static_cast<std::int16_t>(r.dpu(rd::dpu::BS_OW_OP::offset) & 0xFFFF);
  c.add_ow = misc.qd_en && !ow.od_bypass;
  if (is_float(c.shape.precision)) {
    // Floating-point programs set QD_EN with OD_BYPASS, or (depthwise) leave OW_OP at 0x80, which
    // as an fp16 is 2^-17 and changes nothing that boards showed [notes depthwise-conv, HW].
    require(c.truncate == 0, "CORE.CLIP_TRUNCATE.clip_truncate", c.truncate);
    require(!c.add_ow || c.ow_op == 0 || c.ow_op == 0x80, "DPU.BS_OW_OP.ow_op", c.ow_op & 0xFFFF);
    c.add_ow = false;
    return;
  }
  if (c.shape.precision == Precision::int16) {
    require(c.truncate == 0, "CORE.CLIP_TRUNCATE.clip_truncate", c.truncate);
    require(!c.add_ow || c.ow_op == 0, "DPU.BS_OW_OP.ow_op", c.ow_op & 0xFFFF);
    c.add_ow = false;
  }
  if (!misc.qd_en && !ow.od_bypass) require(c.ow_op == 0, "DPU.BS_OW_OP.ow_op", c.ow_op & 0xFFFF);
}

}  // namespace

ConvConfig read_conv_config(const BlockRegisters& r, std::uint32_t dma_base,
                            std::uint64_t mac_budget, const ChipOptions& options, bool feeds_pool) {
  check_known(
      Block::cna, kCna, [&](std::uint32_t o) { return r.cna(o); }, none);
  check_known(
      Block::core, kCore, [&](std::uint32_t o) { return r.core(o); }, none);
  check_dpu(r);

  ConvConfig c{};
  read_cna(r, dma_base, options.quirks, c);
  read_core(r, options.quirks, c);
  read_dpu(r, dma_base, options.quirks, feeds_pool, c);
  if (!c.shape.depthwise && c.out_channels > c.shape.kernels)
    bad_program("DPU.DATA_CUBE_CHANNEL.orig_channel", "more output channels than kernels");

  // 2^17 products of int8 reach the sign bit of an int32 sum; the chip's accumulator is wider
  // but its width is unpublished.
  const std::uint64_t products = std::uint64_t{c.shape.kernel_width} * c.shape.kernel_height *
                                 (c.shape.depthwise ? 1 : c.shape.channels);
  if (products >= 131072 && c.shape.precision < Precision::int16)
    not_modelled("CNA.WEIGHT_SIZE1.weight_bytes_per_kernel", products);
  const std::uint64_t positions = std::uint64_t{c.shape.out_width} * c.shape.out_height;
  const std::uint64_t per_position =
      products * (c.shape.depthwise ? c.shape.channels : c.shape.kernels);
  // In units of the int8 array's rate: the other types are slower, and a depthwise kernel keeps
  // one of 32 rows busy [TRM rates; compute.md 1.4].
  const std::uint64_t slowness =
      (c.shape.depthwise ? 32u : 1u) * (c.shape.precision == Precision::tf32    ? 4u
                                        : c.shape.precision >= Precision::int16 ? 2u
                                                                                : 1u);
  c.macs = positions * per_position * slowness;
  if (per_position > mac_budget / slowness / positions)
    hang("CORE.DATAOUT_SIZE_0",
         fmt::format("{} positions of {} products each are more than 500 ms allow", positions,
                     per_position));
  return c;
}

}  // namespace npu::sim
