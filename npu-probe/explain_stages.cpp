// SPDX-License-Identifier: MIT
// The DPU's stages. What the bits mean: npu-sim/conv_config_dpu.cpp and flying_config.cpp, with
// their sources.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "npu-probe/explain_parts.hpp"
#include "npu-sim/float_types.hpp"
#include "npu-sim/precision_codes.hpp"
#include "regdb/registers.hpp"

namespace npu::probe::explain {
namespace {

namespace rd = npu::regdb;

bool floating(ElementType type) {
  return type == ElementType::fp16 || type == ElementType::bf16 || type == ElementType::fp32 ||
         type == ElementType::tf32;
}

// A constant of the ALU: int32, or the bits of an fp32.
std::string alu_constant(std::uint32_t bits, bool is_float) {
  return is_float ? fmt::format("{:g}", static_cast<double>(std::bit_cast<float>(bits)))
                  : fmt::format("{}", static_cast<std::int32_t>(bits));
}
std::string mul_constant(std::uint32_t bits, bool is_float, bool is_signed) {
  if (is_float)
    return fmt::format("{:g}",
                       static_cast<double>(sim::fp16_to_float(static_cast<std::uint16_t>(bits))));
  return is_signed ? fmt::format("{}", static_cast<std::int16_t>(bits))
                   : fmt::format("{}", bits & 0xFFFF);
}

void relu_part(const char* stage, bool limited, std::uint32_t limit, bool is_float, Operator& op) {
  if (!limited) {
    op.fused.push_back({stage, "relu", ""});
    return;
  }
  const bool six = is_float && std::bit_cast<float>(limit) == 6.0f;
  op.fused.push_back(
      {stage, six ? "relu6" : "relux", fmt::format("at most {}", alu_constant(limit, is_float))});
}

// BS and BN have the same layout of bits; so BS's names decode both.
struct StageRegisters {
  const char* name;
  std::uint32_t cfg, alu, mul, relux;
  std::uint32_t data_use;
  std::uint64_t stream;
};

NpuTensor channel_vector(TensorRole role, ElementType type, std::uint64_t iova,
                         std::uint32_t channels) {
  NpuTensor t;
  t.role = role, t.type = type, t.kind = LayoutKind::vector, t.iova = iova, t.c = channels;
  return t;
}

void describe_stage(const StageRegisters& s, const StageContext& context, Operator& op) {
  const auto cfg = rd::dpu::BS_CFG::decode(s.cfg);
  if (cfg.bs_bypass || (context.flying && s.cfg == 0)) return;
  const auto mul = rd::dpu::BS_MUL_CFG::decode(s.mul);
  const bool is_float = floating(context.in);
  const bool blocks = s.data_use == 7;  // ALU, CPEND and MUL side by side
  const auto tensor = [&](TensorRole role, ElementType type, std::uint32_t offset) {
    NpuTensor t = channel_vector(role, type, s.stream + (blocks ? offset : 0), context.channels);
    if (blocks) t.kind = LayoutKind::bias_blocks;
    op.tensors.push_back(t);
  };
  const bool bn = s.name[1] == 'N';
  const auto alu_part = [&] {
    if (cfg.bs_alu_bypass) return;
    const bool minus = cfg.bs_alu_algo == 4;
    if (cfg.bs_alu_algo != 2 && cfg.bs_alu_algo != 4)
      note(op, Note::Kind::unknown, fmt::format("DPU.{}_CFG", s.name),
           fmt::format("ALU algorithm {}: 2 adds, 4 subtracts", cfg.bs_alu_algo));
    if (cfg.bs_alu_src != 0) {
      op.fused.push_back({s.name, minus ? "minus bias" : "bias", "per channel from memory"});
      tensor(TensorRole::bias, is_float ? ElementType::fp32 : ElementType::int32, 0);
    } else if ((s.alu & (is_float ? 0x7FFFFFFFu : ~0u)) != 0) {
      op.fused.push_back(
          {s.name, minus ? "minus constant" : "add constant", alu_constant(s.alu, is_float)});
    }
  };
  const auto mul_part = [&] {
    if (cfg.bs_mul_bypass) return;
    const char* what = cfg.bs_mul_prelu ? "prelu" : "scale";
    const std::string shift =
        mul.bs_mul_shift_value != 0 ? fmt::format(" >> {}", mul.bs_mul_shift_value) : "";
    if (mul.bs_mul_src != 0) {
      op.fused.push_back({s.name, what, "per channel from memory" + shift});
      tensor(TensorRole::multiplier, is_float ? ElementType::fp16 : ElementType::int16, 48);
    } else {
      const std::string constant =
          mul_constant(static_cast<std::uint32_t>(mul.bs_mul_operand) & 0xFFFF, is_float, !bn);
      op.fused.push_back({s.name, cfg.bs_mul_prelu ? "leaky relu" : what, "x " + constant + shift});
    }
  };
  // BS adds first, BN multiplies first [notes dpu-lut-activation, HW].
  if (bn) mul_part();
  alu_part();
  if (!bn) mul_part();
  if (!cfg.bs_relu_bypass) relu_part(s.name, cfg.bs_relux_en, s.relux, is_float, op);
}

std::string_view ew_name(const rd::dpu::EW_CFG& cfg) {
  constexpr std::string_view kNames[] = {"max", "min", "add",   "div", "minus",
                                         "abs", "neg", "floor", "ceil"};
  if (cfg.ew_op_type == 1) return cfg.ew_mul_prelu ? "prelu" : "mul";
  return cfg.ew_alu_algo < std::size(kNames) ? kNames[cfg.ew_alu_algo] : "unknown operation";
}

ElementType ew_element(std::uint32_t size, bool is_float) {
  switch (size) {
    case 0: return ElementType::int4;
    case 1: return ElementType::int8;
    case 2: return is_float ? ElementType::fp16 : ElementType::int16;
    default: return is_float ? ElementType::fp32 : ElementType::int32;
  }
}

// Behind the MAC array the main reader fetches the even planes of the operand, ERDMA the odd ones.
void operand_tensor(const TaskRegisters& r, const StageContext& context, const rd::dpu::EW_CFG& cfg,
                    Operator& op) {
  const auto at = [&](std::uint32_t offset) { return r.rdma(offset); };
  NpuTensor t;
  t.role = TensorRole::operand;
  t.type = ew_element(cfg.edata_size, floating(context.in));
  t.h = context.h, t.w = context.w, t.c = context.channels;
  t.line_stride = std::int64_t{t.w} * 16;
  const std::int64_t plane = t.line_stride * t.h;
  const std::uint64_t odd = at(rd::dpu_rdma::RDMA_EW_BASE_ADDR::offset);
  if (context.flying) {
    t.iova = r.address(static_cast<std::uint32_t>(odd));
    if (cfg.ew_data_mode == 0) {
      t.kind = LayoutKind::atoms;
      t.h = t.w = 1;
      t.group_stride = at(rd::dpu_rdma::RDMA_EW_SURF_STRIDE::offset) & ~0xFu;
    } else {
      t.group_stride = plane + (at(rd::dpu_rdma::RDMA_EW_SURF_NOTCH::offset) & ~0xFu);
    }
    t.plane_stride = t.group_stride;
    op.tensors.push_back(t);
    return;
  }
  const std::uint64_t even = at(rd::dpu_rdma::RDMA_SRC_BASE_ADDR::offset);
  t.iova = r.address(static_cast<std::uint32_t>(even));
  t.plane_stride = static_cast<std::int64_t>(odd) - static_cast<std::int64_t>(even);
  const std::int64_t even_step = plane + (at(rd::dpu_rdma::RDMA_SURF_NOTCH::offset) & ~0xFu);
  const std::int64_t odd_step = plane + (at(rd::dpu_rdma::RDMA_EW_SURF_NOTCH::offset) & ~0xFu);
  t.group_planes = t.group_written = 2;
  t.group_stride = even_step;
  if (even_step != odd_step)
    note(op, Note::Kind::unknown, "DPU_RDMA.RDMA_EW_SURF_NOTCH",
         "even and odd planes of the operand step differently; the coordinates of the odd ones "
         "follow the even ones");
  if (t.group_stride == 2 * t.plane_stride) {
    t.group_planes = t.group_written = 1;
    t.group_stride = t.plane_stride;
  }
  op.tensors.push_back(t);
}

void describe_table(const TaskRegisters& r, Operator& op) {
  const auto info = get<rd::dpu::LUT_INFO>(r);
  const auto at = [&](std::uint32_t offset) { return static_cast<std::int32_t>(r.dpu(offset)); };
  op.fused.push_back(
      {"LUT", "table",
       fmt::format("LE [{}, {}] step 2^{}, LO [{}, {}] step 2^{}",
                   at(rd::dpu::LUT_LE_START::offset), at(rd::dpu::LUT_LE_END::offset),
                   info.lut_le_index_select, at(rd::dpu::LUT_LO_START::offset),
                   at(rd::dpu::LUT_LO_END::offset), info.lut_lo_index_select)});
  if (!r.state.lut.loaded(0) && !r.state.lut.loaded(1))
    note(op, Note::Kind::info, "DPU.LUT_ACCESS_DATA",
         "this start loads no table, so the contents come from earlier");
}

void describe_ew(const TaskRegisters& r, const StageContext& context, Operator& op) {
  const auto cfg = get<rd::dpu::EW_CFG>(r);
  if (cfg.ew_bypass) return;
  const bool is_float = floating(context.in);
  const bool table = !cfg.ew_lut_bypass;
  if (table) describe_table(r, op);
  if (!cfg.ew_op_bypass) {
    const std::uint32_t first = r.dpu(rd::dpu::EW_OP_VALUE_0::offset);
    std::string name(ew_name(cfg));
    if (cfg.ew_op_src != 0) {
      std::string detail = cfg.ew_data_mode == 0 ? "per channel" : "per element";
      const auto scale = get<rd::dpu::EW_CVT_SCALE_VALUE>(r);
      if (!cfg.ew_op_cvt_bypass && !is_float)
        detail +=
            fmt::format(", operand x {} >> {} with offset {}",
                        static_cast<std::int16_t>(scale.ew_op_cvt_scale), scale.ew_op_cvt_shift,
                        static_cast<std::int32_t>(r.dpu(rd::dpu::EW_CVT_OFFSET_VALUE::offset)));
      op.fused.push_back({"EW", std::move(name), std::move(detail)});
      operand_tensor(r, context, cfg, op);
    } else if (table && cfg.ew_op_type == 0 && cfg.ew_alu_algo == 0 && first == 0) {
      op.fused.push_back({"EW", "at least zero", "maximum with register 0"});
    } else {
      const bool unary = cfg.ew_op_type == 0 && cfg.ew_alu_algo >= 5;
      const std::string constant =
          cfg.ew_op_type == 1 ? mul_constant(first, is_float, true) : alu_constant(first, is_float);
      op.fused.push_back({"EW", std::move(name), unary ? "" : "constant " + constant});
    }
  }
  if (!cfg.ew_relu_bypass)
    relu_part("EW", cfg.ew_relux_en, r.dpu(rd::dpu::EW_RELUX_CMP_VALUE::offset), is_float, op);
}

void describe_converter(const TaskRegisters& r, const StageContext& context, Operator& op) {
  const auto scale = get<rd::dpu::OUT_CVT_SCALE>(r);
  const auto shift = get<rd::dpu::OUT_CVT_SHIFT>(r);
  const auto format = get<rd::dpu::DATA_FORMAT>(r);
  const auto offset = static_cast<std::int32_t>(r.dpu(rd::dpu::OUT_CVT_OFFSET::offset));
  const auto multiplier = static_cast<std::int16_t>(scale.out_cvt_scale);
  const bool add_first = shift.cvt_type != 0;
  if (floating(context.in)) {
    if (add_first)
      op.fused.push_back(
          {"OUT_CVT", "affine",
           fmt::format("(x + {}) * {} * 2^-{}", offset, multiplier, shift.minus_exp)});
    return;
  }
  const bool trivial = multiplier == 1 && shift.out_cvt_shift == 0 && offset == 0;
  const auto clip = get<rd::core::CLIP_TRUNCATE>(r);
  const std::uint32_t truncate = context.flying ? 0 : clip.clip_truncate;
  const bool integer_out = format.out_precision == sim::kInt8 ||
                           format.out_precision == sim::kInt16 ||
                           format.out_precision == sim::kInt32;
  if (trivial && truncate == 0) return;
  Quantisation q = op.quantisation.value_or(Quantisation{});
  q.multiplier = multiplier;
  q.shift = shift.out_cvt_shift & 63;
  q.truncate = truncate;
  q.scale = std::ldexp(static_cast<double>(multiplier), -static_cast<int>(q.shift + truncate));
  if (!add_first) q.output_zero = offset;
  op.quantisation = q;
  op.fused.push_back({"OUT_CVT", "requantise",
                      add_first ? fmt::format("(x + {}) * {:.6g}", offset, q.scale)
                                : fmt::format("x * {:.6g}{}", q.scale,
                                              offset != 0 ? fmt::format(" + {}", offset) : "")});
  const std::int32_t low = format.out_precision == sim::kInt8    ? -128
                           : format.out_precision == sim::kInt16 ? -32768
                                                                 : 0;
  if (integer_out && low != 0 && !add_first && offset == low)
    op.fused.push_back(
        {"OUT_CVT", "relu", fmt::format("zero point {}: saturation cuts at 0", low)});
}

}  // namespace

void describe_stages(const TaskRegisters& r, const StageContext& context, Operator& op) {
  const auto ow = get<rd::dpu::BS_OW_CFG>(r);
  const auto misc = get<rd::core::MISC_CFG>(r);
  const auto brdma = get<rd::dpu_rdma::RDMA_BRDMA_CFG>(r);
  const std::uint64_t bs_stream = r.address(r.rdma(rd::dpu_rdma::RDMA_BS_BASE_ADDR::offset));
  if (!context.flying && !floating(context.in) && misc.qd_en && !ow.od_bypass) {
    Quantisation q = op.quantisation.value_or(Quantisation{});
    if (ow.ow_src != 0) {
      NpuTensor t = channel_vector(TensorRole::weight_zero, ElementType::int16, bs_stream + 32,
                                   context.channels);
      t.kind = LayoutKind::bias_blocks;
      op.tensors.push_back(t);
    } else {
      q.weight_zero = -static_cast<std::int16_t>(r.dpu(rd::dpu::BS_OW_OP::offset) & 0xFFFF);
    }
    op.quantisation = q;
  }
  describe_stage({"BS", r.dpu(rd::dpu::BS_CFG::offset), r.dpu(rd::dpu::BS_ALU_CFG::offset),
                  r.dpu(rd::dpu::BS_MUL_CFG::offset), r.dpu(rd::dpu::BS_RELUX_CMP_VALUE::offset),
                  brdma.brdma_data_use, bs_stream},
                 context, op);
  describe_stage({"BN", r.dpu(rd::dpu::BN_CFG::offset), r.dpu(rd::dpu::BN_ALU_CFG::offset),
                  r.dpu(rd::dpu::BN_MUL_CFG::offset), r.dpu(rd::dpu::BN_RELUX_CMP_VALUE::offset),
                  get<rd::dpu_rdma::RDMA_NRDMA_CFG>(r).nrdma_data_use,
                  r.address(r.rdma(rd::dpu_rdma::RDMA_BN_BASE_ADDR::offset))},
                 context, op);
  describe_ew(r, context, op);
  describe_converter(r, context, op);
}

bool dpu_writes_memory(const TaskRegisters& r) {
  return (get<rd::dpu::FEATURE_MODE_CFG>(r).output_mode & 2) != 0;
}

NpuTensor dpu_output(const TaskRegisters& r, std::uint32_t group, std::uint32_t h, std::uint32_t w,
                     std::uint32_t channels, Operator& op) {
  const auto format = get<rd::dpu::DATA_FORMAT>(r);
  const auto ow = get<rd::dpu::BS_OW_CFG>(r);
  NpuTensor t;
  t.role = TensorRole::output;
  t.type = element_of(format.out_precision, "DPU.DATA_FORMAT.out_precision", op);
  t.iova = r.address(r.dpu(rd::dpu::DST_BASE_ADDR::offset));
  t.h = h, t.w = w, t.c = channels;
  if (ow.tp_org_en) {
    t.kind = LayoutKind::transposed;
    t.type = ElementType::int16;
    return t;
  }
  t.line_stride = (std::int64_t{w} + get<rd::dpu::DATA_CUBE_NOTCH_ADDR>(r).notch_addr_0) * 16;
  t.plane_stride = r.dpu(rd::dpu::DST_SURF_STRIDE::offset) & ~0xFu;
  t.group_stride = r.dpu(rd::dpu::SURFACE_ADD::offset) & ~0xFu;
  t.group_planes = std::max(1u, group * bits_of(t.type) / 128);
  t.group_written = std::min(ow.size_e_0 + 1, t.group_planes);
  const std::uint32_t planes = (channels + t.atom() - 1) / t.atom();
  if (t.group_stride == 0) t.group_stride = t.plane_stride * t.group_planes;
  // One group, or groups without air between: planes are all that is left to say.
  if ((planes <= t.group_planes || t.group_stride == t.plane_stride * t.group_planes) &&
      (t.group_written == t.group_planes || planes <= t.group_written)) {
    t.group_planes = t.group_written = 1;
    t.group_stride = t.plane_stride;
  }
  return t;
}

}  // namespace npu::probe::explain
