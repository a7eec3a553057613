// SPDX-License-Identifier: MIT
// int32 output: the cube form of compute.md 2.3 [mtx512 npu_matmul.c, rocket-userspace; both
// board-proven]. int8 output: the convolution of compute.md 3.1 with a 1x1 kernel [mesa
// rkt_regcmd.c].
#include "microkernels/gemm_emit.hpp"

#include <fmt/format.h>

#include "microkernels/layout.hpp"
#include "microkernels/mac_task.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

MacTask mac_task(const GemmTask& t, bool raw, const Requant& requant) {
  const std::uint32_t size_e = raw ? 7 : 1;  // 7 for every raw integer output
  MacTask mac{.in = DataType::i8,
              .out = raw ? DataType::i32 : DataType::i8,
              .in_width = t.width,
              .in_height = t.height,
              .channels = t.k_padded,
              .channels_real = t.k_padded,
              .line_stride = static_cast<std::int32_t>(4 * t.width),
              .surface_stride =
                  static_cast<std::int32_t>(t.width) * (static_cast<std::int32_t>(t.height) - 4),
              .entries = ceil_div(t.width * t.k_padded, 64u),
              // Mesa's 50 + stride + 1 for the convolution.
              .grains = raw ? t.height + 1 : 52,
              .features = {kGemmA, t.a_offset},
              .kernels = t.n_padded,
              .kernel_bytes = t.k_padded,
              .weight_bytes = t.n_padded * t.k_padded,
              .weights = {kGemmB, t.b_offset},
              .data_banks = t.data_banks,
              .weight_banks = t.weight_banks,
              .data_reuse = t.data_reuse,
              .weight_reuse = t.weight_reuse,
              .quantify = !raw,
              .output = {.size_e = size_e,
                         .od_bypass = raw,
                         .width = t.width,
                         .height = t.height,
                         .channels = t.n_padded,
                         .original_channels = t.n_padded,
                         .surface = t.m_padded,
                         .surface_add = t.m_padded * (size_e + 1),
                         .output = {kGemmC, t.c_offset}},
              .dpu = {}};
  if (!raw) {
    add_bias(mac.dpu, {kGemmBias, t.bias_offset});
    requantise_output(mac.dpu, requant);
  }
  return mac;
}

}  // namespace

Program emit_gemm(const GemmPlan& plan, std::size_t core_index, std::uint32_t slice,
                  const Requant& requant) {
  if (core_index >= plan.cores.size() || slice >= plan.slices) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("core {} slice {} is not in a plan of {} core(s) and {} slice(s)",
                            core_index, slice, plan.cores.size(), plan.slices));
  }
  if (requant.shift > 63) {
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("a requantisation shift of {} is not possible: use 0 to 63", requant.shift));
  }
  const bool raw = plan.task_output == GemmOutput::i32;
  Program program{.slots = {"a", "b", "c", "bias"}};
  for (const GemmTask& task : plan.cores[core_index].tasks) {
    if (task.slice != slice) continue;
    emit(program, mac_task(task, raw, requant));
  }
  return program;
}

}  // namespace npu::kernels
