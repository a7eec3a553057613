// SPDX-License-Identifier: MIT
// Programs that boards have run: notes encodings/dpu-lut-activation.md and sdp-stage-precision.md
// (HW); allbilly examples/elementwise.py, where.py, silu.py and expt/elementwise_int.py (board).
#include "npu-sim/flying_config.hpp"

#include <algorithm>

#include "npu-sim/dpu_known_bits.hpp"
#include "npu-sim/pool_feed.hpp"
#include "npu-sim/precision_codes.hpp"
#include "npu-sim/quirks.hpp"
#include "regdb/registers.hpp"

namespace npu::sim {
namespace {

namespace rd = npu::regdb;

constexpr std::uint32_t kAll = 0xFFFFFFFF;
constexpr KnownBits kDpu[] = {
    {rd::dpu::OPERATION_ENABLE::offset, kAll},
    {rd::dpu::FEATURE_MODE_CFG::offset, 0x1FF},
    {rd::dpu::DATA_FORMAT::offset, 0xFC00FFF7},
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
    {rd::dpu::EW_CVT_OFFSET_VALUE::offset, kAll},
    {rd::dpu::EW_CVT_SCALE_VALUE::offset, 0x003FFFFF},
    {rd::dpu::EW_RELUX_CMP_VALUE::offset, kAll},
    {rd::dpu::OUT_CVT_OFFSET::offset, kAll},
    {rd::dpu::OUT_CVT_SCALE::offset, 0x1FFFF},
    {rd::dpu::OUT_CVT_SHIFT::offset, 0xC00FF03F},
    {rd::dpu::SURFACE_ADD::offset, kAll},
};
// A stage's registers have the same layout in BS and BN; names for faults differ.
struct StageNames {
  const char *bypass, *algo, *relux, *mul_shift, *truncate, *reader, *data_use;
};
constexpr StageNames kBs = {"DPU.BS_CFG.bs_bypass",
                            "DPU.BS_CFG.bs_alu_algo",
                            "DPU.BS_CFG.bs_relux_en",
                            "DPU.BS_MUL_CFG.bs_mul_shift_value",
                            "DPU.BS_MUL_CFG.bs_truncate_src",
                            "DPU_RDMA.RDMA_BRDMA_CFG",
                            "DPU_RDMA.RDMA_BRDMA_CFG.brdma_data_use"};
constexpr StageNames kBn = {"DPU.BN_CFG.bn_bypass",
                            "DPU.BN_CFG.bn_alu_algo",
                            "DPU.BN_CFG.bn_relux_en",
                            "DPU.BN_MUL_CFG.bn_mul_shift_value",
                            "DPU.BN_MUL_CFG.bn_truncate_src",
                            "DPU_RDMA.RDMA_NRDMA_CFG",
                            "DPU_RDMA.RDMA_NRDMA_CFG.nrdma_data_use"};

struct StageRegisters {
  std::uint32_t cfg, alu, mul, relux, reader;
  std::uint64_t stream;
  std::uint32_t shift_negative;
};

FlyingStage read_stage(const StageRegisters& r, const StageNames& names, bool floating) {
  FlyingStage s{};
  // Programs that run on boards leave BS_CFG and BN_CFG at 0: such a stage passes data through
  // [allbilly elementwise.py].
  const auto cfg = rd::dpu::BS_CFG::decode(r.cfg);
  if (r.cfg == 0 || cfg.bs_bypass) return s;
  const auto mul = rd::dpu::BS_MUL_CFG::decode(r.mul);
  s.alu = !cfg.bs_alu_bypass;
  if (s.alu) {
    require(cfg.bs_alu_algo == 2 || cfg.bs_alu_algo == 4, names.algo, cfg.bs_alu_algo);
    s.minus = cfg.bs_alu_algo == 4;  // main less operand, in both stages [allbilly expt, board]
    s.alu_memory = cfg.bs_alu_src != 0;
    s.alu_operand = r.alu;
  }
  s.mul = !cfg.bs_mul_bypass;
  if (s.mul) {
    s.mul_memory = mul.bs_mul_src != 0;
    s.mul_operand = mul.bs_mul_operand;
    s.prelu = cfg.bs_mul_prelu;
    s.shift = mul.bs_mul_shift_value;
    s.shift_negative = r.shift_negative;
    require(mul.bs_truncate_src == 0, names.truncate, 1);
    require(!floating || s.shift == 0, names.mul_shift, s.shift);
  }
  s.relu = !cfg.bs_relu_bypass;
  s.relux = s.relu && cfg.bs_relux_en;
  s.relux_max = r.relux;
  if (!s.from_memory()) return s;
  // One kind of operand at a time: dense int32 or fp32 for the ALU, dense fp16 for the multiplier.
  // Both at once in NVDLA's interleaving gives zeros or nonsense [allbilly expt, board].
  if ((r.reader & 1) != 0) hang(names.reader, "the stage waits for an operand that nobody reads");
  const std::uint32_t use = r.reader >> 1 & 0xF;
  require(s.alu_memory != s.mul_memory, names.data_use, use);
  require(use == (s.alu_memory ? 1u : 4u), names.data_use, use);
  require(floating || s.alu_memory, names.data_use, use);
  s.stream = r.stream;
  return s;
}

void read_stages(const FlyingRegisters& r, std::uint32_t dma_base, FlyingConfig& c) {
  const auto format = rd::dpu::DATA_FORMAT::decode(r.dpu(rd::dpu::DATA_FORMAT::offset));
  c.bs = read_stage({r.dpu(rd::dpu::BS_CFG::offset), r.dpu(rd::dpu::BS_ALU_CFG::offset),
                     r.dpu(rd::dpu::BS_MUL_CFG::offset), r.dpu(rd::dpu::BS_RELUX_CMP_VALUE::offset),
                     r.rdma(rd::dpu_rdma::RDMA_BRDMA_CFG::offset),
                     std::uint64_t{dma_base} + r.rdma(rd::dpu_rdma::RDMA_BS_BASE_ADDR::offset),
                     format.bs_mul_shift_value_neg},
                    kBs, c.floating());
  c.bn = read_stage({r.dpu(rd::dpu::BN_CFG::offset), r.dpu(rd::dpu::BN_ALU_CFG::offset),
                     r.dpu(rd::dpu::BN_MUL_CFG::offset), r.dpu(rd::dpu::BN_RELUX_CMP_VALUE::offset),
                     r.rdma(rd::dpu_rdma::RDMA_NRDMA_CFG::offset),
                     std::uint64_t{dma_base} + r.rdma(rd::dpu_rdma::RDMA_BN_BASE_ADDR::offset),
                     format.bn_mul_shift_value_neg},
                    kBn, c.floating());
  if (c.floating())
    require(format.bn_mul_shift_value_neg == 0, "DPU.DATA_FORMAT.bn_mul_shift_value_neg",
            format.bn_mul_shift_value_neg);
  // BN on integers has run on int8, with operands in registers [iree-rocket activation.rs, board].
  if (!c.floating() && (c.bn.alu || c.bn.mul))
    require(c.type == kInt8 && !c.bn.from_memory(), "DPU.BN_CFG.bn_bypass", 0);
}

void read_operand(const FlyingRegisters& r, std::uint32_t dma_base, FlyingConfig& c) {
  const auto cfg = rd::dpu::EW_CFG::decode(r.dpu(rd::dpu::EW_CFG::offset));
  FlyingEw& ew = c.ew;
  if (!cfg.ew_op_src) {
    // fp32 bits for the ALU, fp16 for the multiplier, signed 16 bits for integers
    // [allbilly expt/elementwise_int.py, board].
    ew.source = FlyingEw::Source::registers;
    for (std::uint32_t i = 0; i < 8; ++i)
      ew.values[i] = r.dpu(rd::dpu::EW_OP_VALUE_0::offset + 4 * i);
    // The second atom of a cube does not take the first value [iree-rocket tests/ew_round_hw.rs,
    // board]; which one an atom takes is not known, so they have to be equal.
    if (c.channels * c.element_bytes() > 16 || c.width * c.height > 1)
      for (std::uint32_t i = 1; i < 8; ++i)
        require(ew.values[i] == ew.values[0], "DPU.EW_OP_VALUE_1.ew_operand_1", ew.values[i]);
    return;
  }
  const auto erdma =
      rd::dpu_rdma::RDMA_ERDMA_CFG::decode(r.rdma(rd::dpu_rdma::RDMA_ERDMA_CFG::offset));
  if (erdma.erdma_disable)
    hang("DPU_RDMA.RDMA_ERDMA_CFG.erdma_disable", "EW waits for an operand that nobody reads");
  require(cfg.ew_data_mode <= 1, "DPU.EW_CFG.ew_data_mode", cfg.ew_data_mode);
  require(erdma.erdma_data_mode == cfg.ew_data_mode, "DPU_RDMA.RDMA_ERDMA_CFG.erdma_data_mode",
          erdma.erdma_data_mode);
  require(4u << cfg.edata_size == c.element_bytes() * 8, "DPU.EW_CFG.edata_size", cfg.edata_size);
  require(erdma.erdma_data_size == cfg.edata_size, "DPU_RDMA.RDMA_ERDMA_CFG.erdma_data_size",
          erdma.erdma_data_size);
  require(!erdma.erdma_surf_mode, "DPU_RDMA.RDMA_ERDMA_CFG.erdma_surf_mode", 1);
  ew.source = cfg.ew_data_mode == 0 ? FlyingEw::Source::per_channel : FlyingEw::Source::per_pixel;
  ew.operand = std::uint64_t{dma_base} + r.rdma(rd::dpu_rdma::RDMA_EW_BASE_ADDR::offset);
  // Surfaces per pixel follow each other as those of the main reader do: two of 3x3 positions are
  // right with a stride of 12 in the register [iree-rocket tests/ew_binary_hw.rs, board].
  ew.operand_plane = ew.source == FlyingEw::Source::per_channel
                         ? r.rdma(rd::dpu_rdma::RDMA_EW_SURF_STRIDE::offset) & ~0xFu
                         : std::uint64_t{c.width} * c.height * 16 +
                               (r.rdma(rd::dpu_rdma::RDMA_EW_SURF_NOTCH::offset) & ~0xFu);
}

void read_ew(const FlyingRegisters& r, const Lut& lut, std::uint32_t dma_base, const Quirks& quirks,
             FlyingConfig& c) {
  const auto cfg = rd::dpu::EW_CFG::decode(r.dpu(rd::dpu::EW_CFG::offset));
  if (cfg.ew_bypass) return;
  c.ew_relu = !cfg.ew_relu_bypass;
  c.ew_relux = c.ew_relu && cfg.ew_relux_en;
  c.ew_relux_max = r.dpu(rd::dpu::EW_RELUX_CMP_VALUE::offset);
  if (!cfg.ew_lut_bypass) {
    // fp16 and int8 have run; integers leave by an ordinary converter.
    require(c.floating() || c.type == kInt8, "DPU.EW_CFG.ew_lut_bypass", 0);
    if (!c.floating())
      require(rd::dpu::OUT_CVT_SHIFT::decode(r.dpu(rd::dpu::OUT_CVT_SHIFT::offset)).cvt_type == 0,
              "DPU.OUT_CVT_SHIFT.cvt_type", 1);
    c.lut = read_lut(r.dpu_file, r.dpu_group, lut, quirks);
    // EW_CFG 0x300 leaves a maximum with register 0 (value 0) on. It acts on what the table gives:
    // the slope below the table would take a gate's tail below zero, and on boards it stays at
    // zero; before the table it would cut off every negative input [userspace activation gates,
    // HW; inferred]. Operands from memory behind a table have not run.
    require(!cfg.ew_op_src || cfg.ew_op_bypass, "DPU.EW_CFG.ew_op_src", 1);
  }
  if (cfg.ew_op_bypass) return;
  // BINARY_EN gave zeros on a board in every layout tried [allbilly expt].
  require(!cfg.ew_binary_en, "DPU.EW_CFG.ew_binary_en", 1);
  FlyingEw& ew = c.ew;
  ew.active = true;
  if (cfg.ew_op_type == 1) {
    ew.op = FlyingOp::mul;
  } else {
    require(cfg.ew_alu_algo <= 8, "DPU.EW_CFG.ew_alu_algo", cfg.ew_alu_algo);
    ew.op = static_cast<FlyingOp>(cfg.ew_alu_algo);
  }
  ew.prelu = cfg.ew_mul_prelu && ew.op == FlyingOp::mul;
  read_operand(r, dma_base, c);
  ew.bypass_converter = cfg.ew_op_cvt_bypass;
  if (c.floating() && ew.op == FlyingOp::mul && !ew.bypass_converter &&
      ew.source != FlyingEw::Source::registers)
    hang("DPU.EW_CFG.ew_op_cvt_bypass", "an fp16 multiplication with its converter live");
  require(c.type != kInt32 || ew.bypass_converter || ew.source == FlyingEw::Source::registers,
          "DPU.EW_CFG.ew_op_cvt_bypass", 0);
  const auto scale =
      rd::dpu::EW_CVT_SCALE_VALUE::decode(r.dpu(rd::dpu::EW_CVT_SCALE_VALUE::offset));
  ew.offset = static_cast<std::int32_t>(r.dpu(rd::dpu::EW_CVT_OFFSET_VALUE::offset));
  ew.scale = static_cast<std::int16_t>(scale.ew_op_cvt_scale);
  ew.shift = scale.ew_op_cvt_shift;
  ew.add_first = cfg.ew_cvt_type;
  ew.half_up = cfg.ew_cvt_round;
  if (c.floating() && !ew.bypass_converter) {
    // At fp16 boards take scale 0 and 1 alike; nothing else has run.
    require(ew.scale == 0 || ew.scale == 1, "DPU.EW_CVT_SCALE_VALUE.ew_op_cvt_scale",
            scale.ew_op_cvt_scale);
    require(ew.shift == 0, "DPU.EW_CVT_SCALE_VALUE.ew_op_cvt_shift", ew.shift);
    require(ew.offset == 0, "DPU.EW_CVT_OFFSET_VALUE.ew_op_cvt_offset",
            r.dpu(rd::dpu::EW_CVT_OFFSET_VALUE::offset));
  }
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
  if (c.floating() && !(c.ew.active && c.ew.op == FlyingOp::div))
    require(mode.mrdma_fp16tofp32_en, "DPU_RDMA.RDMA_FEATURE_MODE_CFG.mrdma_fp16tofp32_en", 0);
}

// The types that leave: as wide as the ones that come in, or wider (several surfaces per group).
// fp16 to int16 and int16 to int32 have run on boards [allbilly expt/elementwise_int.py].
OutputType output_type(std::uint32_t code, const FlyingConfig& c, bool to_fp16) {
  const char* where = "DPU.DATA_FORMAT.out_precision";
  switch (code) {
    case kFp16: require(c.floating(), where, code); return OutputType::fp16;
    case kFp32: require(!c.floating() || !to_fp16, where, code); return OutputType::fp32;
    case kInt8: require(c.type == kInt8, where, code); return OutputType::int8;
    case kInt16: require(c.type != kInt32, where, code); return OutputType::int16;
    case kInt32: return OutputType::int32;
    default: not_modelled(where, code);
  }
}

void read_output(const FlyingRegisters& r, std::uint32_t dma_base, FlyingConfig& c) {
  const auto format = rd::dpu::DATA_FORMAT::decode(r.dpu(rd::dpu::DATA_FORMAT::offset));
  const auto notch =
      rd::dpu::DATA_CUBE_NOTCH_ADDR::decode(r.dpu(rd::dpu::DATA_CUBE_NOTCH_ADDR::offset));
  const auto scale = rd::dpu::OUT_CVT_SCALE::decode(r.dpu(rd::dpu::OUT_CVT_SCALE::offset));
  const auto shift = rd::dpu::OUT_CVT_SHIFT::decode(r.dpu(rd::dpu::OUT_CVT_SHIFT::offset));
  const auto ow = rd::dpu::BS_OW_CFG::decode(r.dpu(rd::dpu::BS_OW_CFG::offset));
  c.out_type = output_type(format.out_precision, c, scale.fp32tofp16_en);
  c.cvt = {static_cast<std::int16_t>(scale.out_cvt_scale),
           static_cast<std::int32_t>(r.dpu(rd::dpu::OUT_CVT_OFFSET::offset)),
           shift.out_cvt_shift,
           shift.minus_exp,
           shift.cvt_type != 0,
           shift.cvt_round != 0};
  const bool float_out = c.out_type == OutputType::fp16 || c.out_type == OutputType::fp32;
  if (c.floating() && float_out && !c.cvt.add_first)
    require((c.cvt.scale == 0 || c.cvt.scale == 1) && c.cvt.offset == 0,
            "DPU.OUT_CVT_SCALE.out_cvt_scale", static_cast<std::uint16_t>(c.cvt.scale));
  require(notch.notch_addr_0 == notch.notch_addr_1, "DPU.DATA_CUBE_NOTCH_ADDR.notch_addr_1",
          notch.notch_addr_1);
  c.dst = std::uint64_t{dma_base} + r.dpu(rd::dpu::DST_BASE_ADDR::offset);
  c.dst_plane = r.dpu(rd::dpu::DST_SURF_STRIDE::offset) & ~0xFu;
  c.dst_line = (std::uint64_t{c.width} + notch.notch_addr_0) * 16;
  c.group_planes = bytes_of(c.out_type) / c.element_bytes();
  c.written_planes = std::min(ow.size_e_0 + 1, c.group_planes);
  // Some programs leave SURFACE_ADD at 0 for one group of surfaces; then it is not used.
  const std::uint32_t add = r.dpu(rd::dpu::SURFACE_ADD::offset) & ~0xFu;
  c.dst_group = add != 0 ? add : c.dst_plane * c.group_planes;
}

}  // namespace

FlyingConfig read_flying_config(const FlyingRegisters& r, const Lut& lut, std::uint32_t dma_base,
                                const Quirks& quirks, bool feeds_pool) {
  check_known(
      rd::Block::dpu, kDpu, [&](std::uint32_t o) { return r.dpu(o); }, dpu_operand);
  check_known(
      rd::Block::dpu_rdma, kDpuRdmaBits, [&](std::uint32_t o) { return r.rdma(o); },
      [](std::uint32_t) { return false; });
  const auto mode = rd::dpu::FEATURE_MODE_CFG::decode(r.dpu(rd::dpu::FEATURE_MODE_CFG::offset));
  const auto format = rd::dpu::DATA_FORMAT::decode(r.dpu(rd::dpu::DATA_FORMAT::offset));
  const auto channel =
      rd::dpu::DATA_CUBE_CHANNEL::decode(r.dpu(rd::dpu::DATA_CUBE_CHANNEL::offset));
  if (mode.flying_mode == 0)
    hang("DPU.FEATURE_MODE_CFG.flying_mode", "the DPU waits for a MAC array that is not enabled");
  require(mode.conv_mode == 0, "DPU.FEATURE_MODE_CFG.conv_mode", mode.conv_mode);

  FlyingConfig c{};
  c.type = format.in_precision;
  require(c.type == kInt8 || c.type == kInt16 || c.type == kFp16 || c.type == kInt32,
          "DPU.DATA_FORMAT.in_precision", c.type);
  require(format.proc_precision == c.type, "DPU.DATA_FORMAT.proc_precision", format.proc_precision);
  c.width = rd::dpu::DATA_CUBE_WIDTH::decode(r.dpu(rd::dpu::DATA_CUBE_WIDTH::offset)).width;
  c.height = rd::dpu::DATA_CUBE_HEIGHT::decode(r.dpu(rd::dpu::DATA_CUBE_HEIGHT::offset)).height;
  c.channels = channel.channel;
  // Above ORIG_CHANNEL products of two operands are wrong on a board [allbilly expt], what takes no
  // operand from memory is right [iree-rocket tests/ew_round_hw.rs]: the operand is missing there.
  c.operand_channels = std::min(channel.orig_channel, channel.channel);
  const auto rdma = [&](std::uint32_t offset) { return (r.rdma(offset) & 0x1FFF) + 1; };
  if (rdma(rd::dpu_rdma::RDMA_DATA_CUBE_WIDTH::offset) != c.width ||
      rdma(rd::dpu_rdma::RDMA_DATA_CUBE_HEIGHT::offset) != c.height ||
      rdma(rd::dpu_rdma::RDMA_DATA_CUBE_CHANNEL::offset) != c.channels)
    hang("DPU_RDMA.RDMA_DATA_CUBE_WIDTH",
         "the reader's cube is not the one that the DPU waits for");
  read_stages(r, dma_base, c);
  read_ew(r, lut, dma_base, quirks, c);
  read_reader(r, c);
  read_output(r, dma_base, c);
  place_output(
      mode.output_mode, feeds_pool,
      {&c.dst, &c.dst_plane, &c.dst_group, &c.dst_line, c.width, c.height, c.group_planes});
  c.src = std::uint64_t{dma_base} + r.rdma(rd::dpu_rdma::RDMA_SRC_BASE_ADDR::offset);
  c.src_plane = std::uint64_t{c.width} * c.height * 16 +
                (r.rdma(rd::dpu_rdma::RDMA_SURF_NOTCH::offset) & ~0xFu);
  return c;
}

}  // namespace npu::sim
