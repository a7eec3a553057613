// SPDX-License-Identifier: MIT
// fp16 with BN, LUT or one element-wise operation; int8, int16, int32 with one element-wise
// operation. Programs and arithmetic: notes encodings/dpu-lut-activation.md and
// sdp-stage-precision.md (HW); allbilly examples/elementwise.py (board-proven).
#include "npu-sim/flying.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "npu-sim/conv_config.hpp"
#include "npu-sim/float_types.hpp"
#include "npu-sim/known_bits.hpp"
#include "npu-sim/rounding.hpp"
#include "regdb/registers.hpp"

namespace npu::sim {
namespace {

namespace rd = npu::regdb;

constexpr std::uint32_t kAll = 0xFFFFFFFF;
constexpr std::size_t kMaxOutputBytes = 512u << 20;
constexpr std::uint32_t kInt8 = 0, kInt16 = 1, kFp16 = 2, kInt32 = 4, kFp32 = 5;

constexpr KnownBits kDpu[] = {
    {rd::dpu::OPERATION_ENABLE::offset, kAll},
    {rd::dpu::FEATURE_MODE_CFG::offset, 0x1FF},
    {rd::dpu::DATA_FORMAT::offset, 0xFC000007},
    {rd::dpu::DST_BASE_ADDR::offset, kAll},
    {rd::dpu::DST_SURF_STRIDE::offset, kAll},
    {rd::dpu::DATA_CUBE_WIDTH::offset, kAll},
    {rd::dpu::DATA_CUBE_HEIGHT::offset, 0x1FFF},
    {rd::dpu::DATA_CUBE_NOTCH_ADDR::offset, kAll},
    {rd::dpu::DATA_CUBE_CHANNEL::offset, kAll},
    {rd::dpu::BS_CFG::offset, kAll},
    {rd::dpu::BS_ALU_CFG::offset, kAll},
    {rd::dpu::BS_MUL_CFG::offset, kAll},
    {rd::dpu::BS_RELUX_CMP_VALUE::offset, kAll},
    {rd::dpu::BS_OW_CFG::offset, 0x7FF},
    {rd::dpu::BS_OW_OP::offset, kAll},
    {rd::dpu::WDMA_SIZE_0::offset, 0x1FFF},
    {rd::dpu::WDMA_SIZE_1::offset, kAll},
    {rd::dpu::BN_CFG::offset, kAll},
    {rd::dpu::BN_ALU_CFG::offset, kAll},
    {rd::dpu::BN_MUL_CFG::offset, kAll},
    {rd::dpu::BN_RELUX_CMP_VALUE::offset, kAll},
    {rd::dpu::EW_CFG::offset, kAll},
    {rd::dpu::EW_CVT_OFFSET_VALUE::offset, 0},
    {rd::dpu::EW_CVT_SCALE_VALUE::offset, 1},  // boards take 0 and 1 alike
    {rd::dpu::EW_RELUX_CMP_VALUE::offset, kAll},
    {rd::dpu::OUT_CVT_OFFSET::offset, kAll},
    {rd::dpu::OUT_CVT_SCALE::offset, 0x1FFFF},
    {rd::dpu::OUT_CVT_SHIFT::offset, 0xC00FF03F},
    {rd::dpu::SURFACE_ADD::offset, kAll},
};
constexpr KnownBits kRdma[] = {
    {rd::dpu_rdma::RDMA_OPERATION_ENABLE::offset, kAll},
    {rd::dpu_rdma::RDMA_DATA_CUBE_WIDTH::offset, kAll},
    {rd::dpu_rdma::RDMA_DATA_CUBE_HEIGHT::offset, 0x1FFF},
    {rd::dpu_rdma::RDMA_DATA_CUBE_CHANNEL::offset, kAll},
    {rd::dpu_rdma::RDMA_SRC_BASE_ADDR::offset, kAll},
    {rd::dpu_rdma::RDMA_BRDMA_CFG::offset, kAll},  // left enabled, it changes nothing [notes, HW]
    {rd::dpu_rdma::RDMA_BS_BASE_ADDR::offset, kAll},
    {rd::dpu_rdma::RDMA_NRDMA_CFG::offset, kAll},
    {rd::dpu_rdma::RDMA_BN_BASE_ADDR::offset, kAll},
    {rd::dpu_rdma::RDMA_ERDMA_CFG::offset, kAll},
    {rd::dpu_rdma::RDMA_EW_BASE_ADDR::offset, kAll},
    {rd::dpu_rdma::RDMA_EW_SURF_STRIDE::offset, kAll},
    {rd::dpu_rdma::RDMA_FEATURE_MODE_CFG::offset, kAll},
    {rd::dpu_rdma::RDMA_SURF_NOTCH::offset, kAll},
    {rd::dpu_rdma::RDMA_WEIGHT::offset, kAll},
};

struct LutConfig {
  bool active;
  std::int32_t start[2], end[2];
  std::uint32_t select[2];
  std::int32_t underflow_scale[2], overflow_scale[2];
  std::uint32_t underflow_shift[2], overflow_shift[2];
};

struct FlyingConfig {
  std::uint32_t width, height, channels, live_channels;
  std::uint32_t type;  // of main operand and arithmetic
  OutputType out_type;
  BnStage bn;
  LutConfig lut;
  bool ew;
  EwOp op;
  bool ew_relu;
  OutCvt cvt;
  std::uint64_t src, src_plane, operand, operand_plane, dst, dst_plane, dst_line;
  bool floating() const { return type == kFp16; }
  std::uint32_t element_bytes() const { return type == kInt8 ? 1 : type == kInt32 ? 4 : 2; }
};

void read_bn(const FlyingRegisters& r, FlyingConfig& c) {
  // Programs that run on boards leave BS_CFG and BN_CFG at 0: such a stage passes data through
  // [allbilly elementwise.py].
  const std::uint32_t bs = r.dpu(rd::dpu::BS_CFG::offset);
  require(bs == 0 || rd::dpu::BS_CFG::decode(bs).bs_bypass, "DPU.BS_CFG.bs_bypass", 0);
  const std::uint32_t bn = r.dpu(rd::dpu::BN_CFG::offset);
  const auto cfg = rd::dpu::BN_CFG::decode(bn);
  c.bn = {};
  if (bn == 0 || cfg.bn_bypass) return;
  require(c.floating(), "DPU.BN_CFG.bn_bypass", 0);
  require(cfg.bn_relu_bypass, "DPU.BN_CFG.bn_relu_bypass", 0);
  require(!cfg.bn_mul_prelu, "DPU.BN_CFG.bn_mul_prelu", 1);
  if (!cfg.bn_mul_bypass) {
    const auto mul = rd::dpu::BN_MUL_CFG::decode(r.dpu(rd::dpu::BN_MUL_CFG::offset));
    require(mul.bn_mul_src == 0, "DPU.BN_MUL_CFG.bn_mul_src", 1);
    require(mul.bn_mul_shift_value == 0, "DPU.BN_MUL_CFG.bn_mul_shift_value",
            mul.bn_mul_shift_value);
    c.bn.mul = true;
    c.bn.mul_operand = fp16_to_float(static_cast<std::uint16_t>(mul.bn_mul_operand));
  }
  if (!cfg.bn_alu_bypass) {
    require(cfg.bn_alu_algo == 2, "DPU.BN_CFG.bn_alu_algo", cfg.bn_alu_algo);
    require(cfg.bn_alu_src == 0, "DPU.BN_CFG.bn_alu_src", 1);
    c.bn.alu = true;
    c.bn.alu_operand = std::bit_cast<float>(r.dpu(rd::dpu::BN_ALU_CFG::offset));
  }
}

void read_lut(const FlyingRegisters& r, FlyingConfig& c) {
  LutConfig& l = c.lut;
  const auto cfg = rd::dpu::LUT_CFG::decode(r.dpu(rd::dpu::LUT_CFG::offset));
  require(c.floating(), "DPU.EW_CFG.ew_lut_bypass", 0);
  // The one setting that boards have run: LE and LO as two halves, LO first where both apply.
  const std::uint32_t raw = r.dpu(rd::dpu::LUT_CFG::offset);
  require(raw == 0x68, "DPU.LUT_CFG.lut_lo_le_mux", cfg.lut_lo_le_mux);
  const auto info = rd::dpu::LUT_INFO::decode(r.dpu(rd::dpu::LUT_INFO::offset));
  const auto at = [&](std::uint32_t offset) { return static_cast<std::int32_t>(r.dpu(offset)); };
  l.active = true;
  l.select[0] = info.lut_le_index_select;
  l.select[1] = info.lut_lo_index_select;
  l.start[0] = at(rd::dpu::LUT_LE_START::offset);
  l.end[0] = at(rd::dpu::LUT_LE_END::offset);
  l.start[1] = at(rd::dpu::LUT_LO_START::offset);
  l.end[1] = at(rd::dpu::LUT_LO_END::offset);
  require(l.select[0] < 31 && l.select[1] < 31, "DPU.LUT_INFO.lut_lo_index_select", l.select[1]);
  const std::uint32_t scale[] = {r.dpu(rd::dpu::LUT_LE_SLOPE_SCALE::offset),
                                 r.dpu(rd::dpu::LUT_LO_SLOPE_SCALE::offset)};
  const std::uint32_t shift[] = {r.dpu(rd::dpu::LUT_LE_SLOPE_SHIFT::offset),
                                 r.dpu(rd::dpu::LUT_LO_SLOPE_SHIFT::offset)};
  for (int id = 0; id < 2; ++id) {
    l.underflow_scale[id] = static_cast<std::int16_t>(scale[id] & 0xFFFF);
    l.overflow_scale[id] = static_cast<std::int16_t>(scale[id] >> 16);
    l.underflow_shift[id] = shift[id] & 0x1F;
    l.overflow_shift[id] = shift[id] >> 5 & 0x1F;
  }
}

void read_ew(const FlyingRegisters& r, std::uint32_t dma_base, FlyingConfig& c) {
  const auto cfg = rd::dpu::EW_CFG::decode(r.dpu(rd::dpu::EW_CFG::offset));
  if (cfg.ew_bypass) return;
  c.ew_relu = !cfg.ew_relu_bypass;
  require(!cfg.ew_relux_en || !c.ew_relu, "DPU.EW_CFG.ew_relux_en", 1);
  if (!cfg.ew_lut_bypass) {
    read_lut(r, c);
    // With the operand in a register the operation does not take part: boards give the same with
    // it bypassed (0x302) and not (0x300).
    require(!cfg.ew_op_src, "DPU.EW_CFG.ew_op_src", 1);
    return;
  }
  if (cfg.ew_op_bypass) return;
  require(cfg.ew_op_src, "DPU.EW_CFG.ew_op_src", 0);
  require(cfg.ew_data_mode == 1, "DPU.EW_CFG.ew_data_mode", cfg.ew_data_mode);
  require(!cfg.ew_binary_en, "DPU.EW_CFG.ew_binary_en", 1);
  require(!cfg.ew_mul_prelu, "DPU.EW_CFG.ew_mul_prelu", 1);
  c.ew = true;
  if (cfg.ew_op_type == 1) {
    c.op = EwOp::mul;
  } else {
    require(cfg.ew_alu_algo <= 4, "DPU.EW_CFG.ew_alu_algo", cfg.ew_alu_algo);
    c.op = static_cast<EwOp>(cfg.ew_alu_algo);
  }
  require(4u << cfg.edata_size == c.element_bytes() * 8, "DPU.EW_CFG.edata_size", cfg.edata_size);
  if (c.floating()) {
    if (c.op == EwOp::mul && !cfg.ew_op_cvt_bypass)
      hang("DPU.EW_CFG.ew_op_cvt_bypass", "an fp16 multiplication with its converter live");
    if (c.op != EwOp::mul && c.op != EwOp::div)
      require(!cfg.ew_op_cvt_bypass, "DPU.EW_CFG.ew_op_cvt_bypass", 1);
  } else {
    require(c.op != EwOp::div, "DPU.EW_CFG.ew_alu_algo", cfg.ew_alu_algo);
    require(c.type != kInt32 || cfg.ew_op_cvt_bypass, "DPU.EW_CFG.ew_op_cvt_bypass", 0);
  }
  const auto erdma =
      rd::dpu_rdma::RDMA_ERDMA_CFG::decode(r.rdma(rd::dpu_rdma::RDMA_ERDMA_CFG::offset));
  if (erdma.erdma_disable)
    hang("DPU_RDMA.RDMA_ERDMA_CFG.erdma_disable", "EW waits for an operand that nobody reads");
  require(erdma.erdma_data_mode == 1, "DPU_RDMA.RDMA_ERDMA_CFG.erdma_data_mode",
          erdma.erdma_data_mode);
  require(erdma.erdma_data_size == cfg.edata_size, "DPU_RDMA.RDMA_ERDMA_CFG.erdma_data_size",
          erdma.erdma_data_size);
  c.operand = std::uint64_t{dma_base} + r.rdma(rd::dpu_rdma::RDMA_EW_BASE_ADDR::offset);
  const std::uint32_t stride = r.rdma(rd::dpu_rdma::RDMA_EW_SURF_STRIDE::offset) & ~0xFu;
  c.operand_plane = stride != 0 ? stride : std::uint64_t{c.width} * c.height * 16;
}

void read_reader(const FlyingRegisters& r, const FlyingConfig& c) {
  const auto mode = rd::dpu_rdma::RDMA_FEATURE_MODE_CFG::decode(
      r.rdma(rd::dpu_rdma::RDMA_FEATURE_MODE_CFG::offset));
  if (mode.mrdma_disable)
    hang("DPU_RDMA.RDMA_FEATURE_MODE_CFG.mrdma_disable", "nobody reads the main operand");
  if (!mode.flying_mode)
    hang("DPU_RDMA.RDMA_FEATURE_MODE_CFG.flying_mode", "the readers wait for the MAC array");
  // Bit 0 (both readers on the same tensor) never ends here [notes sdp-stage-precision, HW].
  if ((mode.comb_use & 1) != 0)
    hang("DPU_RDMA.RDMA_FEATURE_MODE_CFG.comb_use", "both readers are told to share a tensor");
  require(mode.comb_use == 0 || mode.comb_use == 4, "DPU_RDMA.RDMA_FEATURE_MODE_CFG.comb_use",
          mode.comb_use);
  require(mode.in_precision == c.type, "DPU_RDMA.RDMA_FEATURE_MODE_CFG.in_precision",
          mode.in_precision);
  require(mode.proc_precision == c.type, "DPU_RDMA.RDMA_FEATURE_MODE_CFG.proc_precision",
          mode.proc_precision);
  const bool divides = c.ew && c.op == EwOp::div;
  if (c.floating() && !divides)
    require(mode.mrdma_fp16tofp32_en, "DPU_RDMA.RDMA_FEATURE_MODE_CFG.mrdma_fp16tofp32_en", 0);
}

OutputType output_type(std::uint32_t code, const FlyingConfig& c, bool to_fp16) {
  switch (code) {
    case kFp16:
      require(c.floating() && (to_fp16 || (c.ew && c.op == EwOp::div)),
              "DPU.DATA_FORMAT.out_precision", code);
      return OutputType::fp16;
    case kFp32:
      require(c.floating() && !to_fp16, "DPU.DATA_FORMAT.out_precision", code);
      return OutputType::fp32;
    case kInt8:
      require(c.type == kInt8, "DPU.DATA_FORMAT.out_precision", code);
      return OutputType::int8;
    case kInt16:
      require(c.type == kInt16, "DPU.DATA_FORMAT.out_precision", code);
      return OutputType::int16;
    case kInt32:
      require(c.type == kInt32, "DPU.DATA_FORMAT.out_precision", code);
      return OutputType::int32;
    default: not_modelled("DPU.DATA_FORMAT.out_precision", code);
  }
}

FlyingConfig read_config(const FlyingRegisters& r, std::uint32_t dma_base) {
  check_known(
      rd::Block::dpu, kDpu, [&](std::uint32_t o) { return r.dpu(o); },
      [](std::uint32_t o) {
        return o >= rd::dpu::LUT_ACCESS_CFG::offset ||
               (o >= rd::dpu::EW_OP_VALUE_0::offset && o <= rd::dpu::EW_OP_VALUE_7::offset);
      });
  check_known(
      rd::Block::dpu_rdma, kRdma, [&](std::uint32_t o) { return r.rdma(o); },
      [](std::uint32_t) { return false; });
  const auto mode = rd::dpu::FEATURE_MODE_CFG::decode(r.dpu(rd::dpu::FEATURE_MODE_CFG::offset));
  const auto format = rd::dpu::DATA_FORMAT::decode(r.dpu(rd::dpu::DATA_FORMAT::offset));
  const auto channel =
      rd::dpu::DATA_CUBE_CHANNEL::decode(r.dpu(rd::dpu::DATA_CUBE_CHANNEL::offset));
  const auto notch =
      rd::dpu::DATA_CUBE_NOTCH_ADDR::decode(r.dpu(rd::dpu::DATA_CUBE_NOTCH_ADDR::offset));
  const auto scale = rd::dpu::OUT_CVT_SCALE::decode(r.dpu(rd::dpu::OUT_CVT_SCALE::offset));
  const auto shift = rd::dpu::OUT_CVT_SHIFT::decode(r.dpu(rd::dpu::OUT_CVT_SHIFT::offset));
  if (mode.flying_mode == 0)
    hang("DPU.FEATURE_MODE_CFG.flying_mode", "the DPU waits for a MAC array that is not enabled");
  require(mode.output_mode == 2, "DPU.FEATURE_MODE_CFG.output_mode", mode.output_mode);
  require(mode.conv_mode == 0, "DPU.FEATURE_MODE_CFG.conv_mode", mode.conv_mode);

  FlyingConfig c{};
  c.type = format.in_precision;
  require(c.type == kInt8 || c.type == kInt16 || c.type == kFp16 || c.type == kInt32,
          "DPU.DATA_FORMAT.in_precision", c.type);
  require(format.proc_precision == c.type, "DPU.DATA_FORMAT.proc_precision", format.proc_precision);
  c.width = rd::dpu::DATA_CUBE_WIDTH::decode(r.dpu(rd::dpu::DATA_CUBE_WIDTH::offset)).width;
  c.height = rd::dpu::DATA_CUBE_HEIGHT::decode(r.dpu(rd::dpu::DATA_CUBE_HEIGHT::offset)).height;
  c.channels = channel.channel;
  // Lanes above ORIG_CHANNEL come out wrong on boards; the model leaves them 0.
  c.live_channels = std::min(channel.orig_channel, channel.channel);
  const auto rdma = [&](std::uint32_t offset) { return (r.rdma(offset) & 0x1FFF) + 1; };
  if (rdma(rd::dpu_rdma::RDMA_DATA_CUBE_WIDTH::offset) != c.width ||
      rdma(rd::dpu_rdma::RDMA_DATA_CUBE_HEIGHT::offset) != c.height ||
      rdma(rd::dpu_rdma::RDMA_DATA_CUBE_CHANNEL::offset) != c.channels)
    hang("DPU_RDMA.RDMA_DATA_CUBE_WIDTH",
         "the reader's cube is not the one that the DPU waits for");
  read_bn(r, c);
  read_ew(r, dma_base, c);
  read_reader(r, c);
  c.out_type = output_type(format.out_precision, c, scale.fp32tofp16_en);
  c.cvt = {static_cast<std::int16_t>(scale.out_cvt_scale),
           static_cast<std::int32_t>(r.dpu(rd::dpu::OUT_CVT_OFFSET::offset)),
           shift.out_cvt_shift,
           shift.minus_exp,
           shift.cvt_type != 0,
           shift.cvt_round != 0};
  if (c.floating() && !c.cvt.add_first)
    require((c.cvt.scale == 0 || c.cvt.scale == 1) && c.cvt.offset == 0,
            "DPU.OUT_CVT_SCALE.out_cvt_scale", static_cast<std::uint16_t>(c.cvt.scale));
  require(notch.notch_addr_0 == notch.notch_addr_1, "DPU.DATA_CUBE_NOTCH_ADDR.notch_addr_1",
          notch.notch_addr_1);
  c.src = std::uint64_t{dma_base} + r.rdma(rd::dpu_rdma::RDMA_SRC_BASE_ADDR::offset);
  c.src_plane = std::uint64_t{c.width} * c.height * 16 +
                (r.rdma(rd::dpu_rdma::RDMA_SURF_NOTCH::offset) & ~0xFu);
  c.dst = std::uint64_t{dma_base} + r.dpu(rd::dpu::DST_BASE_ADDR::offset);
  c.dst_plane = r.dpu(rd::dpu::DST_SURF_STRIDE::offset) & ~0xFu;
  c.dst_line = (std::uint64_t{c.width} + notch.notch_addr_0) * 16;
  return c;
}

// Table by the sign of the scaled input, cell and fraction by the index register, linear between
// two entries, a slope outside [notes, HW; how the index becomes an integer is inferred].
std::int32_t look_up(const LutConfig& l, const Lut& lut, float scaled, float index) {
  const int id = scaled < 0 ? 0 : 1;
  const auto& table = lut.table(static_cast<unsigned>(id));
  const double rounded = std::nearbyint(static_cast<double>(index));
  const std::int64_t v =
      std::isnan(rounded)
          ? 0
          : static_cast<std::int64_t>(std::clamp(rounded, -2147483648.0, 2147483647.0));
  const std::int64_t below = v - l.start[id], above = v - l.end[id];
  std::int64_t q;
  if (below < 0) {
    q = table[0] + (below * l.underflow_scale[id] >> l.underflow_shift[id]);
  } else if (above > 0) {
    q = table[Lut::kEntries - 1] + (above * l.overflow_scale[id] >> l.overflow_shift[id]);
  } else {
    const std::int64_t cell = below >> l.select[id];
    const std::int64_t fraction = below & ((std::int64_t{1} << l.select[id]) - 1);
    if (cell >= static_cast<std::int64_t>(Lut::kEntries) - 1) {
      q = table[Lut::kEntries - 1];
    } else {
      const std::int64_t left = table[static_cast<std::size_t>(cell)];
      const std::int64_t right = table[static_cast<std::size_t>(cell) + 1];
      q = left + ((right - left) * fraction >> l.select[id]);
    }
  }
  return saturate<std::int16_t>(q);
}

float float_element(const FlyingConfig& c, const Lut& lut, const std::uint8_t* main,
                    const std::uint8_t* operand) {
  std::uint16_t half;
  std::memcpy(&half, main, 2);
  float v = fp16_to_float(half);
  if (c.bn.mul) v *= c.bn.mul_operand;
  const float scaled = v;
  if (c.bn.alu) v += c.bn.alu_operand;
  if (c.lut.active) v = static_cast<float>(look_up(c.lut, lut, scaled, v));
  if (c.ew) {
    std::memcpy(&half, operand, 2);
    const float e = fp16_to_float(half);
    switch (c.op) {
      case EwOp::max: v = std::max(v, e); break;
      case EwOp::min: v = std::min(v, e); break;
      case EwOp::add: v += e; break;
      case EwOp::minus: v -= e; break;
      case EwOp::div: v /= e; break;
      case EwOp::mul: v *= e; break;
    }
  }
  if (c.ew_relu) v = std::max(v, 0.0f);
  if (c.cvt.add_first)
    v = std::ldexp((v + static_cast<float>(c.cvt.offset)) * static_cast<float>(c.cvt.scale),
                   -static_cast<int>(c.cvt.minus_exp));
  return v;
}

std::int64_t load_int(std::uint32_t type, const std::uint8_t* at) {
  if (type == kInt8) return static_cast<std::int8_t>(*at);
  if (type == kInt16) {
    std::int16_t v;
    std::memcpy(&v, at, 2);
    return v;
  }
  std::int32_t v;
  std::memcpy(&v, at, 4);
  return v;
}

std::int64_t int_element(const FlyingConfig& c, const std::uint8_t* main,
                         const std::uint8_t* operand) {
  std::int64_t v = load_int(c.type, main);
  if (c.ew) {
    std::int64_t e = load_int(c.type, operand);
    switch (c.op) {
      case EwOp::max: v = std::max(v, e); break;
      case EwOp::min: v = std::min(v, e); break;
      case EwOp::add: v += e; break;
      case EwOp::minus: v -= e; break;
      case EwOp::mul:
        // The second operand of an int32 product is read as signed int16 [notes, HW].
        if (c.type == kInt32) e = static_cast<std::int16_t>(e);
        v *= e;
        break;
      case EwOp::div: break;
    }
  }
  v = saturate<std::int32_t>(v);
  if (c.ew_relu) v = std::max<std::int64_t>(v, 0);
  const TieRule rule = c.cvt.half_away ? TieRule::half_away : TieRule::half_even;
  v = c.cvt.add_first ? round_shift((v + c.cvt.offset) * c.cvt.scale, c.cvt.shift, rule)
                      : round_shift(v * c.cvt.scale, c.cvt.shift, rule) + c.cvt.offset;
  return v;
}

void store(const FlyingConfig& c, std::uint8_t* at, float f, std::int64_t v) {
  switch (c.out_type) {
    case OutputType::fp16: {
      const std::uint16_t half = float_to_fp16(f);
      std::memcpy(at, &half, 2);
      break;
    }
    case OutputType::fp32: std::memcpy(at, &f, 4); break;
    case OutputType::int8: *at = static_cast<std::uint8_t>(saturate<std::int8_t>(v)); break;
    case OutputType::int16: {
      const std::int16_t s = saturate<std::int16_t>(v);
      std::memcpy(at, &s, 2);
      break;
    }
    case OutputType::int32: {
      const std::int32_t s = saturate<std::int32_t>(v);
      std::memcpy(at, &s, 4);
      break;
    }
  }
}

TaskRecord record_of(const FlyingConfig& c) {
  TaskRecord record;
  const std::uint32_t in_atom = 16 / c.element_bytes(), out_atom = 16 / bytes_of(c.out_type);
  const std::uint64_t plane = std::uint64_t{c.width} * c.height * 16;
  const std::uint64_t in_planes = (c.channels + in_atom - 1) / in_atom;
  constexpr std::string_view kNames[] = {"max", "min", "add", "div", "minus"};
  const std::string_view what = c.lut.active        ? "lut"
                                : !c.ew             ? "copy"
                                : c.op == EwOp::mul ? "mul"
                                                    : kNames[static_cast<unsigned>(c.op)];
  constexpr std::string_view kTypes[] = {"int8", "int16", "fp16", "", "int32"};
  record.operation =
      fmt::format("{} {} {}x{}x{}", what, kTypes[c.type], c.height, c.width, c.channels);
  TaskWork& w = record.work;
  w.type = c.type == kInt8 ? MacType::int8 : c.type == kInt32 ? MacType::fp32 : MacType::fp16;
  w.positions = std::uint64_t{c.width} * c.height;
  w.output_elements = w.positions * c.channels;
  record.transfers.push_back({Engine::mrdma, c.src, plane, 1, 0, in_planes, c.src_plane});
  if (c.ew)
    record.transfers.push_back({Engine::erdma, c.operand, plane, 1, 0, in_planes, c.operand_plane});
  record.transfers.push_back({Engine::dpu_write, c.dst, std::uint64_t{c.width} * 16, c.height,
                              c.dst_line, (c.channels + out_atom - 1) / out_atom, c.dst_plane});
  sum_transfers(record);
  return record;
}

std::span<std::byte> plane_of(const AddressSpace& space, std::uint64_t address, std::size_t bytes,
                              FaultKind kind, const char* where) {
  const auto view = space.resolve(
      address, bytes, kind == FaultKind::dma_write ? Access::write : Access::read);
  if (view.empty()) dma_fault(kind, where, address);
  return view;
}

}  // namespace

std::uint64_t run_flying(const FlyingRegisters& registers, const Lut& lut,
                         const AddressSpace& space, std::uint32_t dma_base, std::uint64_t budget,
                         ThreadPool& pool, const TaskHook* hook) {
  const FlyingConfig c = read_config(registers, dma_base);
  const std::uint32_t in_bytes = c.element_bytes(), out_bytes = bytes_of(c.out_type);
  const std::uint32_t in_atom = 16 / in_bytes, out_atom = 16 / out_bytes;
  const std::uint32_t in_planes = (c.channels + in_atom - 1) / in_atom;
  const std::uint32_t out_planes = (c.channels + out_atom - 1) / out_atom;
  const std::size_t positions = std::size_t{c.width} * c.height;
  const std::uint64_t work = std::uint64_t{positions} * c.channels * 256;
  if (work > budget) hang("DPU.DATA_CUBE_WIDTH", "more elements than 500 ms allow");
  const std::size_t out_plane_bytes = positions * 16;
  if (out_plane_bytes * out_planes > kMaxOutputBytes)
    bad_program("DPU.DATA_CUBE_WIDTH", "an output of more than 512 MiB");

  std::vector<const std::uint8_t*> main, operand;
  std::vector<std::uint8_t*> targets;
  const std::size_t target_bytes =
      (std::size_t{c.height} - 1) * c.dst_line + std::size_t{c.width} * 16;
  for (std::uint32_t p = 0; p < in_planes; ++p) {
    main.push_back(reinterpret_cast<const std::uint8_t*>(
        plane_of(space, c.src + p * c.src_plane, positions * 16, FaultKind::dma_read,
                 "DPU_RDMA.RDMA_SRC_BASE_ADDR")
            .data()));
    if (c.ew)
      operand.push_back(reinterpret_cast<const std::uint8_t*>(
          plane_of(space, c.operand + p * c.operand_plane, positions * 16, FaultKind::dma_read,
                   "DPU_RDMA.RDMA_EW_BASE_ADDR")
              .data()));
  }
  for (std::uint32_t p = 0; p < out_planes; ++p)
    targets.push_back(
        reinterpret_cast<std::uint8_t*>(plane_of(space, c.dst + p * c.dst_plane, target_bytes,
                                                 FaultKind::dma_write, "DPU.DST_BASE_ADDR")
                                            .data()));

  if (hook != nullptr) (*hook)(record_of(c));

  // Made aside: the output may lie over an operand.
  std::vector<std::uint8_t> out(out_plane_bytes * out_planes);
  constexpr std::size_t kChunk = 512;
  pool.parallel_for((positions + kChunk - 1) / kChunk, [&](std::size_t chunk) {
    const std::size_t last = std::min(positions, (chunk + 1) * kChunk);
    for (std::size_t p = chunk * kChunk; p < last; ++p)
      for (std::uint32_t ch = 0; ch < c.live_channels; ++ch) {
        const std::size_t at = p * 16 + std::size_t{ch % in_atom} * in_bytes;
        const std::uint8_t* a = main[ch / in_atom] + at;
        const std::uint8_t* b = c.ew ? operand[ch / in_atom] + at : nullptr;
        std::uint8_t* to = out.data() + ch / out_atom * out_plane_bytes + p * 16 +
                           std::size_t{ch % out_atom} * out_bytes;
        if (c.floating())
          store(c, to, float_element(c, lut, a, b), 0);
        else
          store(c, to, 0, int_element(c, a, b));
      }
  });
  for (std::uint32_t p = 0; p < out_planes; ++p)
    for (std::uint32_t y = 0; y < c.height; ++y)
      std::memcpy(targets[p] + y * c.dst_line,
                  out.data() + p * out_plane_bytes + std::size_t{y} * c.width * 16,
                  std::size_t{c.width} * 16);
  return work;
}

}  // namespace npu::sim
