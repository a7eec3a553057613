// SPDX-License-Identifier: MIT
// Sources as in conv_config.cpp.
#include "npu-sim/conv_config_dpu.hpp"

#include <fmt/format.h>

#include "npu-sim/dpu_known_bits.hpp"
#include "npu-sim/fault.hpp"
#include "npu-sim/pool_feed.hpp"
#include "npu-sim/precision_codes.hpp"
#include "regdb/registers.hpp"

namespace npu::sim {
namespace {

namespace rd = npu::regdb;
using rd::Block;

constexpr std::uint32_t kAll = 0xFFFFFFFF;

constexpr KnownBits kDpu[] = {
    {rd::dpu::OPERATION_ENABLE::offset, kAll},
    {rd::dpu::FEATURE_MODE_CFG::offset, 0x000001FF},  // not FLYING's companions TP, RGP, NONALIGN
    {rd::dpu::DATA_FORMAT::offset, 0xFC00FFF7},       // not MC_SURF_OUT and EW negative shift
    {rd::dpu::DST_BASE_ADDR::offset, kAll},
    {rd::dpu::DST_SURF_STRIDE::offset, kAll},
    {rd::dpu::DATA_CUBE_WIDTH::offset, kAll},
    {rd::dpu::DATA_CUBE_HEIGHT::offset, 0x00001FFF},
    {rd::dpu::DATA_CUBE_NOTCH_ADDR::offset, kAll},
    {rd::dpu::DATA_CUBE_CHANNEL::offset, kAll},
    {rd::dpu::BS_CFG::offset, 0x000F01F3},
    {rd::dpu::BS_ALU_CFG::offset, kAll},
    {rd::dpu::BS_MUL_CFG::offset, 0xFFFF3F01},  // not TRUNCATE_SRC
    {rd::dpu::BS_RELUX_CMP_VALUE::offset, kAll},
    {rd::dpu::BS_OW_CFG::offset, 0x080007FF},  // TP_ORG_EN, SIZE_E, OD_BYPASS, OW_SRC
    {rd::dpu::BS_OW_OP::offset, kAll},
    {rd::dpu::WDMA_SIZE_0::offset, 0x08001FFF},  // not SIZE_C
    {rd::dpu::WDMA_SIZE_1::offset, kAll},
    {rd::dpu::BN_CFG::offset, 0x000F01F3},
    {rd::dpu::BN_ALU_CFG::offset, kAll},
    {rd::dpu::BN_MUL_CFG::offset, kAll},
    {rd::dpu::BN_RELUX_CMP_VALUE::offset, kAll},
    {rd::dpu::EW_CFG::offset, kAll},
    {rd::dpu::EW_CVT_OFFSET_VALUE::offset, kAll},
    {rd::dpu::EW_CVT_SCALE_VALUE::offset, 0x003FFFFF},  // not EW_TRUNCATE
    {rd::dpu::EW_RELUX_CMP_VALUE::offset, kAll},
    {rd::dpu::OUT_CVT_OFFSET::offset, kAll},
    {rd::dpu::OUT_CVT_SCALE::offset, 0x0001FFFF},
    {rd::dpu::OUT_CVT_SHIFT::offset, 0xC00FF03F},  // MINUS_EXP has no effect on integers [notes]
    {rd::dpu::SURFACE_ADD::offset, kAll},
    {rd::dpu::UNDOC_40C4::offset, 0},
};

// What DPU.DATA_FORMAT says of data that come from the MAC array.
std::uint32_t dpu_code(Precision p) {
  switch (p) {
    case Precision::int8: return kInt8;
    case Precision::int4: return kInt4;
    case Precision::int16: return kInt16;
    case Precision::fp16: return kFp16;
    case Precision::bf16: return kBf16;
    case Precision::tf32: return kFp32;
  }
  return kInt8;
}

void check_readers(const BlockRegisters& r, const Quirks& quirks) {
  check_known(
      Block::dpu_rdma, kDpuRdmaBits, [&](std::uint32_t o) { return r.rdma(o); },
      [](std::uint32_t) { return false; });
  const auto mode = rd::dpu_rdma::RDMA_FEATURE_MODE_CFG::decode(
      r.rdma(rd::dpu_rdma::RDMA_FEATURE_MODE_CFG::offset));
  const auto ew = rd::dpu::EW_CFG::decode(r.dpu(rd::dpu::EW_CFG::offset));
  const bool fed = !ew.ew_bypass && !ew.ew_op_bypass;  // COMB_USE gives the main reader work
  if (quirks.mrdma_trap && !mode.mrdma_disable && !fed)
    hang("DPU_RDMA.RDMA_FEATURE_MODE_CFG.mrdma_disable",
         "the main reader is enabled and unfed (quirk mrdma_trap)");
  require(!mode.flying_mode, "DPU_RDMA.RDMA_FEATURE_MODE_CFG.flying_mode", 1);
}

void read_bs(const BlockRegisters& r, std::uint32_t dma_base, ConvConfig& c) {
  const auto cfg = rd::dpu::BS_CFG::decode(r.dpu(rd::dpu::BS_CFG::offset));
  const auto mul = rd::dpu::BS_MUL_CFG::decode(r.dpu(rd::dpu::BS_MUL_CFG::offset));
  const auto ow = rd::dpu::BS_OW_CFG::decode(r.dpu(rd::dpu::BS_OW_CFG::offset));
  const auto format = rd::dpu::DATA_FORMAT::decode(r.dpu(rd::dpu::DATA_FORMAT::offset));
  BsStage& bs = c.bs;
  bs = {};
  bs.ow_from_memory = c.add_ow && ow.ow_src;
  if (!cfg.bs_bypass) {
    bs.alu = !cfg.bs_alu_bypass;
    if (bs.alu) {
      require(cfg.bs_alu_algo == 2 || cfg.bs_alu_algo == 4, "DPU.BS_CFG.bs_alu_algo",
              cfg.bs_alu_algo);
      bs.alu_minus = cfg.bs_alu_algo == 4;
      bs.alu_from_memory = cfg.bs_alu_src;
      bs.alu_operand = static_cast<std::int32_t>(r.dpu(rd::dpu::BS_ALU_CFG::offset));
    }
    bs.mul = !cfg.bs_mul_bypass;
    bs.prelu = cfg.bs_mul_prelu;
    if (bs.mul) {
      if (is_float(c.shape.precision)) {
        require(!mul.bs_mul_src, "DPU.BS_MUL_CFG.bs_mul_src", 1);
        require(mul.bs_mul_shift_value == 0, "DPU.BS_MUL_CFG.bs_mul_shift_value",
                mul.bs_mul_shift_value);
      }
      bs.mul_from_memory = mul.bs_mul_src;
      bs.mul_operand = static_cast<std::int16_t>(mul.bs_mul_operand);
      bs.mul_shift = mul.bs_mul_shift_value;
      bs.mul_shift_negative = format.bs_mul_shift_value_neg;
    }
    bs.relu = !cfg.bs_relu_bypass;
    bs.relux = bs.relu && cfg.bs_relux_en;
    bs.relux_max = static_cast<std::int32_t>(r.dpu(rd::dpu::BS_RELUX_CMP_VALUE::offset));
  }
  bs.reads_stream =
      (bs.alu && bs.alu_from_memory) || (bs.mul && bs.mul_from_memory) || bs.ow_from_memory;
  if (!bs.reads_stream) return;
  if (!r.rdma_enabled)
    hang("DPU.BS_CFG", "an operand comes from memory, but DPU_RDMA is not enabled");
  const std::uint32_t use =
      rd::dpu_rdma::RDMA_BRDMA_CFG::decode(r.rdma(rd::dpu_rdma::RDMA_BRDMA_CFG::offset))
          .brdma_data_use;
  // 1: dense int32 per channel; 7: 64 bytes per 8 channels with ALU, CPEND and MUL operands
  // [notes out-cvt-converter, HW; wid].
  require(use == 1 || use == 7, "DPU_RDMA.RDMA_BRDMA_CFG.brdma_data_use", use);
  bs.stream_is_vector = use == 1;
  if (use == 1 && ((bs.mul && bs.mul_from_memory) || bs.ow_from_memory))
    hang("DPU_RDMA.RDMA_BRDMA_CFG.brdma_data_use", "the stream does not carry the operand");
  bs.stream = std::uint64_t{dma_base} + r.rdma(rd::dpu_rdma::RDMA_BS_BASE_ADDR::offset);
}

void read_bn(const BlockRegisters& r, ConvConfig& c) {
  const auto cfg = rd::dpu::BN_CFG::decode(r.dpu(rd::dpu::BN_CFG::offset));
  const auto format = rd::dpu::DATA_FORMAT::decode(r.dpu(rd::dpu::DATA_FORMAT::offset));
  BnStage& bn = c.bn;
  bn = {};
  if (cfg.bn_bypass) return;
  bn.relu = !cfg.bn_relu_bypass;
  bn.relux = bn.relu && cfg.bn_relux_en;
  bn.relux_max = static_cast<std::int32_t>(r.dpu(rd::dpu::BN_RELUX_CMP_VALUE::offset));
  bn.mul = !cfg.bn_mul_bypass;
  bn.alu = !cfg.bn_alu_bypass;
  bn.prelu = cfg.bn_mul_prelu;
  const auto mul = rd::dpu::BN_MUL_CFG::decode(r.dpu(rd::dpu::BN_MUL_CFG::offset));
  // The one program with operands of BN from memory that was tried never ended
  // [notes out-cvt-converter, HW: NRDMA_DATA_USE 7, ALU and multiplier].
  if (bn.mul && mul.bn_mul_src && bn.alu && cfg.bn_alu_src)
    hang("DPU.BN_MUL_CFG.bn_mul_src", "BN waits for operands from memory");
  if (bn.mul) {
    require(mul.bn_mul_src == 0, "DPU.BN_MUL_CFG.bn_mul_src", 1);
    require(!mul.bn_truncate_src, "DPU.BN_MUL_CFG.bn_truncate_src", 1);
    bn.mul_operand = static_cast<std::uint16_t>(mul.bn_mul_operand);
    bn.mul_shift = mul.bn_mul_shift_value;
    bn.mul_shift_negative = format.bn_mul_shift_value_neg;
    if (is_float(c.shape.precision))
      require(bn.mul_shift == 0, "DPU.BN_MUL_CFG.bn_mul_shift_value", bn.mul_shift);
  }
  if (bn.alu) {
    require(cfg.bn_alu_algo == 2 || cfg.bn_alu_algo == 4, "DPU.BN_CFG.bn_alu_algo",
            cfg.bn_alu_algo);
    bn.alu_minus = cfg.bn_alu_algo == 4;
    require(cfg.bn_alu_src == 0, "DPU.BN_CFG.bn_alu_src", 1);
    bn.alu_operand = r.dpu(rd::dpu::BN_ALU_CFG::offset);
  }
}

void read_ew(const BlockRegisters& r, std::uint32_t dma_base, const Quirks& quirks, ConvConfig& c) {
  const auto cfg = rd::dpu::EW_CFG::decode(r.dpu(rd::dpu::EW_CFG::offset));
  EwStage& ew = c.ew;
  ew = {};
  if (cfg.ew_bypass) return;
  require(!cfg.ew_equal_en, "DPU.EW_CFG.ew_equal_en", 1);
  require(!cfg.ew_binary_en, "DPU.EW_CFG.ew_binary_en", 1);
  require(!cfg.ew_mul_prelu, "DPU.EW_CFG.ew_mul_prelu", 1);
  ew.relu = !cfg.ew_relu_bypass;
  ew.relux = ew.relu && cfg.ew_relux_en;
  ew.relux_max = static_cast<std::int32_t>(r.dpu(rd::dpu::EW_RELUX_CMP_VALUE::offset));
  if (!cfg.ew_lut_bypass) {
    // Activations of fp16 convolutions are what boards have run [userspace conv_act gate, HW].
    require(c.shape.precision == Precision::fp16, "DPU.EW_CFG.ew_lut_bypass", 0);
    c.lut = read_lut(r.dpu_file, r.groups.dpu, *r.lut, quirks);
    c.tables = r.lut;
    // Programs leave a maximum with register 0 on, which cuts the table's output off at zero.
    if (cfg.ew_op_bypass) return;
    require(!cfg.ew_op_src, "DPU.EW_CFG.ew_op_src", 1);
    require(cfg.ew_op_type == 0 && cfg.ew_alu_algo == 0, "DPU.EW_CFG.ew_alu_algo", cfg.ew_alu_algo);
    require(r.dpu(rd::dpu::EW_OP_VALUE_0::offset) == 0, "DPU.EW_OP_VALUE_0.ew_operand_0",
            r.dpu(rd::dpu::EW_OP_VALUE_0::offset));
    ew.at_least_zero = true;
    return;
  }
  if (cfg.ew_op_bypass) return;

  const bool floating = is_float(c.shape.precision);
  if (cfg.ew_op_type == 1) {
    ew.op = EwOp::mul;
  } else {
    require(cfg.ew_alu_algo <= 2 || cfg.ew_alu_algo == 4, "DPU.EW_CFG.ew_alu_algo",
            cfg.ew_alu_algo);
    ew.op = static_cast<EwOp>(cfg.ew_alu_algo);
  }
  require(cfg.ew_op_src, "DPU.EW_CFG.ew_op_src", 0);
  ew.operand_bits = 4u << cfg.edata_size;
  if (floating) {
    require(c.shape.precision == Precision::fp16, "DPU.EW_CFG.ew_bypass", 0);
    require(ew.operand_bits == 16, "DPU.EW_CFG.edata_size", cfg.edata_size);
    // At fp16 the operand converter has to be live for the ALU and bypassed for the multiplier:
    // a live one never ends, a bypassed one passes half of the main operand through
    // [notes sdp-stage-precision, HW].
    if (ew.op == EwOp::mul && !cfg.ew_op_cvt_bypass)
      hang("DPU.EW_CFG.ew_op_cvt_bypass", "an fp16 multiplication with its converter live");
    if (ew.op != EwOp::mul) require(!cfg.ew_op_cvt_bypass, "DPU.EW_CFG.ew_op_cvt_bypass", 1);
  } else {
    // Mesa's residual addition is the proven case behind an int8 convolution; the other operations
    // are proven without one [notes sdp-stage-precision, HW]. Int32 operands are garbage behind a
    // convolution [notes k-accumulation, HW].
    require(ew.operand_bits == 8, "DPU.EW_CFG.edata_size", cfg.edata_size);
  }
  require(cfg.ew_data_mode == 1, "DPU.EW_CFG.ew_data_mode", cfg.ew_data_mode);
  if (!r.rdma_enabled) hang("DPU.EW_CFG.ew_op_src", "the operand comes from a disabled DPU_RDMA");
  const auto erdma =
      rd::dpu_rdma::RDMA_ERDMA_CFG::decode(r.rdma(rd::dpu_rdma::RDMA_ERDMA_CFG::offset));
  const auto mode = rd::dpu_rdma::RDMA_FEATURE_MODE_CFG::decode(
      r.rdma(rd::dpu_rdma::RDMA_FEATURE_MODE_CFG::offset));
  if (erdma.erdma_disable)
    hang("DPU_RDMA.RDMA_ERDMA_CFG.erdma_disable", "EW waits for an operand that nobody reads");
  require(erdma.erdma_data_mode == 1, "DPU_RDMA.RDMA_ERDMA_CFG.erdma_data_mode",
          erdma.erdma_data_mode);
  require(erdma.erdma_data_size == cfg.edata_size, "DPU_RDMA.RDMA_ERDMA_CFG.erdma_data_size",
          erdma.erdma_data_size);
  require(!erdma.erdma_nonalign, "DPU_RDMA.RDMA_ERDMA_CFG.erdma_nonalign", 1);
  require(!erdma.erdma_surf_mode, "DPU_RDMA.RDMA_ERDMA_CFG.erdma_surf_mode", 1);
  require(mode.comb_use == 5, "DPU_RDMA.RDMA_FEATURE_MODE_CFG.comb_use", mode.comb_use);
  require(!mode.mrdma_disable, "DPU_RDMA.RDMA_FEATURE_MODE_CFG.mrdma_disable", 1);

  ew.active = true;
  ew.convert = !cfg.ew_op_cvt_bypass;
  const auto scale =
      rd::dpu::EW_CVT_SCALE_VALUE::decode(r.dpu(rd::dpu::EW_CVT_SCALE_VALUE::offset));
  ew.offset = static_cast<std::int32_t>(r.dpu(rd::dpu::EW_CVT_OFFSET_VALUE::offset));
  ew.scale = static_cast<std::int16_t>(scale.ew_op_cvt_scale);
  ew.shift = scale.ew_op_cvt_shift;
  ew.add_first = cfg.ew_cvt_type;
  ew.half_up = cfg.ew_cvt_round;

  // COMB_USE 5: the main reader fetches the even planes from SRC_BASE, ERDMA the odd ones from
  // EW_BASE; each skips its notch after a plane of W * H atoms [TRM; inferred from Mesa's
  // addresses, where a row slice of an operand has a longer notch].
  const std::uint64_t src = r.rdma(rd::dpu_rdma::RDMA_SRC_BASE_ADDR::offset);
  const std::uint64_t odd = r.rdma(rd::dpu_rdma::RDMA_EW_BASE_ADDR::offset);
  if (odd <= src) not_modelled("DPU_RDMA.RDMA_EW_BASE_ADDR.ew_base_addr", odd);
  ew.even_planes = dma_base + src;
  ew.odd_planes = dma_base + odd;
  ew.even_step = ew.odd_step = 2 * (odd - src);
  if (quirks.ew_operand_notch) {
    const std::uint64_t plane = std::uint64_t{c.shape.out_width} * c.shape.out_height * 16;
    ew.even_step = plane + (r.rdma(rd::dpu_rdma::RDMA_SURF_NOTCH::offset) & ~0xFu);
    ew.odd_step = plane + (r.rdma(rd::dpu_rdma::RDMA_EW_SURF_NOTCH::offset) & ~0xFu);
  }
  ew.line_stride = std::uint64_t{c.shape.out_width} * 16;
}

// TP_ORG_EN: int16 elements in an order of their own. What boards showed [notes
// output-transpose-int16, HW]: exact for up to 32 kernels with SIZE_E 7; with 16 kernels the task
// hangs after it wrote everything.
void read_transposed(const BlockRegisters& r, ConvConfig& c) {
  const auto ow = rd::dpu::BS_OW_CFG::decode(r.dpu(rd::dpu::BS_OW_CFG::offset));
  const auto wdma = rd::dpu::WDMA_SIZE_0::decode(r.dpu(rd::dpu::WDMA_SIZE_0::offset));
  require(c.shape.precision == Precision::int16, "DPU.BS_OW_CFG.tp_org_en", 1);
  require(wdma.tp_precision, "DPU.WDMA_SIZE_0.tp_precision", 0);
  require(ow.size_e_0 == 7 && ow.size_e_1 == 7 && ow.size_e_2 == 7, "DPU.BS_OW_CFG.size_e_0",
          ow.size_e_0);
  require(c.shape.out_width == 1, "DPU.DATA_CUBE_WIDTH.width", c.shape.out_width);
  require(c.out_channels <= 32 && c.out_channels % 16 == 0, "DPU.DATA_CUBE_CHANNEL.orig_channel",
          c.out_channels);
  c.transposed = true;
  if (c.out_channels == 16)
    c.late_hang = {"DPU.DATA_CUBE_CHANNEL.channel",
                   "the transposed writer does not end with 16 kernels", false};
}

void read_output(const BlockRegisters& r, std::uint32_t dma_base, const Quirks& quirks,
                 bool feeds_pool, ConvConfig& c) {
  const auto mode = rd::dpu::FEATURE_MODE_CFG::decode(r.dpu(rd::dpu::FEATURE_MODE_CFG::offset));
  const auto format = rd::dpu::DATA_FORMAT::decode(r.dpu(rd::dpu::DATA_FORMAT::offset));
  const auto width = rd::dpu::DATA_CUBE_WIDTH::decode(r.dpu(rd::dpu::DATA_CUBE_WIDTH::offset));
  const auto height = rd::dpu::DATA_CUBE_HEIGHT::decode(r.dpu(rd::dpu::DATA_CUBE_HEIGHT::offset));
  const auto channel =
      rd::dpu::DATA_CUBE_CHANNEL::decode(r.dpu(rd::dpu::DATA_CUBE_CHANNEL::offset));
  const auto notch =
      rd::dpu::DATA_CUBE_NOTCH_ADDR::decode(r.dpu(rd::dpu::DATA_CUBE_NOTCH_ADDR::offset));
  const auto scale = rd::dpu::OUT_CVT_SCALE::decode(r.dpu(rd::dpu::OUT_CVT_SCALE::offset));
  const auto shift = rd::dpu::OUT_CVT_SHIFT::decode(r.dpu(rd::dpu::OUT_CVT_SHIFT::offset));

  require(!mode.flying_mode, "DPU.FEATURE_MODE_CFG.flying_mode", 1);
  if ((mode.conv_mode == 3) != c.shape.depthwise)
    bad_program("DPU.FEATURE_MODE_CFG.conv_mode", "contradicts CNA.CONV_CON1.conv_mode");
  const Precision precision = c.shape.precision;
  const bool floating = is_float(precision);
  const bool nothing = quirks.dpu_code_7_writes_nothing && format.in_precision == kTf32;
  require(nothing || format.in_precision == dpu_code(precision), "DPU.DATA_FORMAT.in_precision",
          format.in_precision);
  require(nothing || format.proc_precision == dpu_code(precision), "DPU.DATA_FORMAT.proc_precision",
          format.proc_precision);
  switch (nothing ? kFp32 : format.out_precision) {
    case kInt8:
      c.out_type = OutputType::int8;
      require(precision == Precision::int8, "DPU.DATA_FORMAT.out_precision", format.out_precision);
      break;
    case kInt16:
      require(precision != Precision::int16, "DPU.DATA_FORMAT.out_precision", format.out_precision);
      if (precision != Precision::int4)
        hang("DPU.DATA_FORMAT.out_precision", "int16 output of an int8 convolution [wid]");
      c.out_type = OutputType::int16;
      break;
    case kInt32:
      c.out_type = OutputType::int32;
      require(precision == Precision::int8 || precision == Precision::int16,
              "DPU.DATA_FORMAT.out_precision", format.out_precision);
      // With OD_BYPASS clear a dense int8 task wrote 2560 of 2560 sums wrong, whatever OW_OP and
      // QD_EN were; to what is not known [userspace cpend_wzp_probe, HW]. Row-major programs have
      // it clear and are exact [allbilly gemm_int8.py, board].
      if (precision == Precision::int8 && !c.shape.depthwise && !c.feature.row_major)
        require(rd::dpu::BS_OW_CFG::decode(r.dpu(rd::dpu::BS_OW_CFG::offset)).od_bypass,
                "DPU.BS_OW_CFG.od_bypass", 0);
      break;
    case kFp16:
      c.out_type = OutputType::fp16;  // of int8: a cast too [userspace int8 dequant gate, HW]
      require((floating || precision == Precision::int8) && scale.fp32tofp16_en,
              "DPU.DATA_FORMAT.out_precision", format.out_precision);
      break;
    case kFp32:
      c.out_type = OutputType::fp32;  // of int8: exact cast of the sum [notes, HW]
      require(precision != Precision::int16 || nothing, "DPU.DATA_FORMAT.out_precision",
              format.out_precision);
      require(!scale.fp32tofp16_en, "DPU.OUT_CVT_SCALE.fp32tofp16_en", 1);
      break;
    default: not_modelled("DPU.DATA_FORMAT.out_precision", format.out_precision);
  }
  if (width.width != c.shape.out_width || height.height != c.shape.out_height)
    bad_program("DPU.DATA_CUBE_WIDTH",
                fmt::format("{} x {}, but CORE.DATAOUT_SIZE_0 says {} x {}", width.width,
                            height.height, c.shape.out_width, c.shape.out_height));
  if (channel.orig_channel > channel.channel)
    bad_program("DPU.DATA_CUBE_CHANNEL", "orig_channel is larger than channel");
  c.out_channels = channel.orig_channel;
  if (c.shape.depthwise && c.out_channels > c.shape.channels)
    bad_program("DPU.DATA_CUBE_CHANNEL.orig_channel",
                fmt::format("{}, but the depthwise input has {} channels", c.out_channels,
                            c.shape.channels));
  c.out_cvt = {static_cast<std::int16_t>(scale.out_cvt_scale),
               static_cast<std::int32_t>(r.dpu(rd::dpu::OUT_CVT_OFFSET::offset)),
               shift.out_cvt_shift,
               shift.minus_exp,
               shift.cvt_type != 0,
               shift.cvt_round != 0};
  if (floating && !c.out_cvt.add_first) {
    // Boards run scale 0 and 1 alike here; anything else is unknown [allbilly gemm.py; mtx512].
    require(c.out_cvt.scale == 0 || c.out_cvt.scale == 1, "DPU.OUT_CVT_SCALE.out_cvt_scale",
            scale.out_cvt_scale);
    require(c.out_cvt.offset == 0 && c.out_cvt.shift == 0, "DPU.OUT_CVT_OFFSET.out_cvt_offset",
            static_cast<std::uint32_t>(c.out_cvt.offset));
  }

  // Address of 16-byte atom (plane g, row y, column x): base + g*plane + (y*(W + notch) + x)*16.
  if (notch.notch_addr_0 != notch.notch_addr_1)
    not_modelled("DPU.DATA_CUBE_NOTCH_ADDR.notch_addr_1", notch.notch_addr_1);
  c.dst = std::uint64_t{dma_base} + r.dpu(rd::dpu::DST_BASE_ADDR::offset);
  c.dst_plane = r.dpu(rd::dpu::DST_SURF_STRIDE::offset) & ~0xFu;
  c.dst_line = (std::uint64_t{c.shape.out_width} + notch.notch_addr_0) * 16;
  const PrecisionLayout layout = layout_of(precision);
  const std::uint32_t group = c.shape.depthwise ? layout.depthwise_group : layout.kernel_group;
  c.group_planes = group * bytes_of(c.out_type) / 16;
  c.dst_group = r.dpu(rd::dpu::SURFACE_ADD::offset) & ~0xFu;
  c.written_planes = nothing ? 0 : c.group_planes;
  c.whole_groups_planes = UINT32_MAX;
  const auto ow = rd::dpu::BS_OW_CFG::decode(r.dpu(rd::dpu::BS_OW_CFG::offset));
  place_output(mode.output_mode, feeds_pool,
               {&c.dst, &c.dst_plane, &c.dst_group, &c.dst_line, c.shape.out_width,
                c.shape.out_height, c.group_planes});
  if (ow.tp_org_en) {
    require(!feeds_pool, "DPU.BS_OW_CFG.tp_org_en", 1);
    read_transposed(r, c);
  } else if (quirks.size_e_counts_surfaces && !nothing) {
    require(ow.size_e_0 == ow.size_e_1 && ow.size_e_0 == ow.size_e_2, "DPU.BS_OW_CFG.size_e_2",
            ow.size_e_2);
    c.written_planes = ow.size_e_0 + 1;
    const std::uint32_t planes = (channel.channel % group * bytes_of(c.out_type) + 15) / 16;
    if (c.written_planes > c.group_planes) {
      c.late_hang = {"DPU.BS_OW_CFG.size_e_0",
                     fmt::format("the writer waits for {} surfaces of each group of kernels, which "
                                 "has {} (quirk size_e_counts_surfaces)",
                                 c.written_planes, c.group_planes),
                     true};
    } else if (planes != 0 && planes < c.written_planes) {
      c.whole_groups_planes = channel.channel / group * c.group_planes;
      c.late_hang = {"DPU.DATA_CUBE_CHANNEL.channel",
                     fmt::format("the writer waits for {} surfaces of each group of kernels; the "
                                 "last group has {}: pad to whole groups of {} (quirk "
                                 "size_e_counts_surfaces)",
                                 c.written_planes, planes, group),
                     false};
    }
  }
}

}  // namespace

void check_dpu(const BlockRegisters& r) {
  check_known(
      Block::dpu, kDpu, [&](std::uint32_t o) { return r.dpu(o); }, dpu_operand);
}

void read_dpu(const BlockRegisters& r, std::uint32_t dma_base, const Quirks& quirks,
              bool feeds_pool, ConvConfig& c) {
  if (r.rdma_enabled) check_readers(r, quirks);
  read_bs(r, dma_base, c);
  read_bn(r, c);
  read_ew(r, dma_base, quirks, c);
  read_output(r, dma_base, quirks, feeds_pool, c);
}

}  // namespace npu::sim
