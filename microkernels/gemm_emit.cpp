// SPDX-License-Identifier: MIT
// Sums: the cube form of compute.md 2.3 [mtx512 npu_matmul.c, rocket-userspace; both
// board-proven; bf16, tf32 and int4: notes precision-field, HW]. int8 output: the convolution of
// compute.md 3.1 with a 1x1 kernel [mesa rkt_regcmd.c].
#include "microkernels/gemm_emit.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "microkernels/elementwise.hpp"
#include "microkernels/layout.hpp"
#include "microkernels/mac_task.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

// The DPU adds what lies in memory to each element of a convolution in fp16: EW_CFG, ERDMA_CFG and
// FEATURE_MODE_CFG of the notes' program, where the main reader fetches the even planes of the
// operand and the other one the odd planes, each skipping one [notes k-accumulation, HW].
void add_f16(DpuSetup& s, const Place& sums, std::uint32_t rows) {
  set_elementwise(s, DataType::f16, ElementwiseOp::add,
                  {sums.slot, sums.offset + std::uint64_t{rows} * kAtomBytes});
  s.comb_use = 5;
  s.main_operand = sums;
  s.ew_surface = s.ew_notch = s.main_notch = rows;
}

// SIZE_E [notes size-e-quirk, HW; compute.md 2.3].
std::uint32_t size_e(DataType out) {
  switch (out) {
    case DataType::i16:
    case DataType::i32: return 7;
    case DataType::f32: return 3;
    default: return 1;
  }
}

MacTask mac_task(const GemmCore& core, const GemmTask& t, const GemmTypes& types,
                 const Requant& requant, const ChannelScales& channels) {
  const bool converted = types.out == DataType::i8;
  const auto in_bytes = [&](std::uint64_t elements) {
    return static_cast<std::uint32_t>(type_bytes(types.in, elements));
  };
  MacTask mac{.in = types.in,
              .out = types.out,
              .in_width = t.width,
              .in_height = t.height,
              .channels = t.k_padded,
              .channels_real = t.k_padded,
              .line_stride = static_cast<std::int32_t>(4 * t.width),
              .surface_stride =
                  static_cast<std::int32_t>(t.width) * (static_cast<std::int32_t>(t.height) - 4),
              .entries = ceil_div(in_bytes(std::uint64_t{t.width} * t.k_padded), 64u),
              // Mesa's 50 + stride + 1 for the convolution.
              .grains = converted ? 52 : t.height + 1,
              .features = {kGemmA + t.a_part, t.a_offset},
              .kernels = t.n_padded,
              .kernel_bytes = in_bytes(t.k_padded),
              .weight_bytes = in_bytes(std::uint64_t{t.n_padded} * t.k_padded),
              .weights = {kGemmB, t.b_offset},
              .data_banks = t.data_banks,
              .weight_banks = t.weight_banks,
              .data_reuse = t.data_reuse,
              .weight_reuse = t.weight_reuse,
              .quantify = converted || is_float(types.in),
              .output = {.size_e = size_e(types.out),
                         .od_bypass = !converted,
                         .width = t.width,
                         .height = t.height,
                         .channels = t.n_padded,
                         .original_channels = t.n_padded,
                         .surface = t.m_padded,
                         .surface_add = t.m_padded * (size_e(types.out) + 1),
                         .output = {t.to_scratch ? std::uint32_t{kGemmScratch}
                                                 : gemm_c_slot(core, t.c_part),
                                    t.c_offset}},
              .dpu = {}};
  if (converted) {
    if (channels.empty())
      add_bias(mac.dpu, {kGemmBias, t.bias_offset});
    else
      add_bias_and_multiply(mac.dpu, {kGemmBias, t.bias_offset * 2}, channels.shift);
    requantise_output(mac.dpu, requant);
  }
  if (types.out == DataType::f16) narrow_to_f16(mac.dpu);
  if (t.adds) add_f16(mac.dpu, {kGemmScratch, t.sums_offset}, t.m_padded);
  return mac;
}

}  // namespace

Program emit_gemm(const GemmPlan& plan, std::size_t core_index, std::uint32_t stage,
                  const Requant& requant, const ChannelScales& channels) {
  if (core_index >= plan.cores.size() || stage >= plan.stages.size()) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("core {} stage {} is not in a plan of {} core(s) and {} stage(s)",
                            core_index, stage, plan.cores.size(), plan.stages.size()));
  }
  if (requant.shift > 63 || channels.shift > 63) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("a requantisation shift of {} is not possible: use 0 to 63",
                            std::max(requant.shift, channels.shift)));
  }
  const GemmCore& core = plan.cores[core_index];
  Program program;
  for (const Slot& slot : gemm_slots(core)) program.slots.push_back(slot.name);
  for (const GemmTask& task : core.tasks) {
    if (task.stage != stage) continue;
    emit(program, mac_task(core, task, {plan.types.in, plan.task_output}, requant, channels));
  }
  return program;
}

}  // namespace npu::kernels
