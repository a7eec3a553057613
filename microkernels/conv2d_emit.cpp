// SPDX-License-Identifier: MIT
// Registers: compute.md 3.1 for int8 [mesa rkt_regcmd.c, recorded on boards' driver], 4 for fp16
// [rocket-userspace gen_conv2d_fill, HW].
#include <fmt/format.h>

#include <algorithm>

#include "microkernels/conv2d_plan.hpp"
#include "microkernels/layout.hpp"
#include "microkernels/mac_task.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

struct WriteForm {
  std::uint32_t size_e, planes;  // SURFACE_ADD in planes
  bool od_bypass;
  std::int32_t ow_op;
};

WriteForm write_form(const Conv2dShape& s, const Conv2dTypes& t) {
  switch (t.out) {
    case DataType::i8: return s.depthwise ? WriteForm{3, 4, false, 0} : WriteForm{1, 2, false, 0};
    case DataType::i32: return {7, 8, true, 0};
    case DataType::f32: return {3, 4, true, 0};
    // 0x80 as an fp16 is 2^-17; boards' programs have it [notes depthwise-conv, HW].
    default: return s.depthwise ? WriteForm{3, 4, false, 0x80} : WriteForm{1, 2, true, 0};
  }
}

}  // namespace

Program emit_conv2d(const Conv2dPlan& plan, std::size_t core_index, std::int8_t pad_value,
                    const Conv2dPost& post) {
  if (core_index >= plan.cores.size())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("core {} is not in a plan of {}", core_index, plan.cores.size()));
  if (post.requant.shift > 63)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("a requantisation shift of {} is not possible: use 0 to 63",
                            post.requant.shift));
  const Conv2dShape& s = plan.shape;
  const Conv2dCore& core = plan.cores[core_index];
  const std::uint32_t element = bits(plan.types.in) / 8;
  const std::uint32_t taps = s.kernel_height * s.kernel_width;
  const std::uint32_t out_width = s.out_width();
  const WriteForm form = write_form(s, plan.types);
  Program program{.slots = {"in", "weights", "bias", "out"}};
  for (const Conv2dTask& t : core.tasks) {
    const std::uint32_t kernels = t.kernels.size;
    const std::uint32_t mac_kernels = conv2d_mac_kernels(s, plan.types, t.kernels);
    const std::uint32_t first_kernel = t.kernels.begin - core.kernels.begin;
    const std::uint64_t surface = std::uint64_t{out_width} * core.rows.size;
    const std::uint32_t kernel_bytes = taps * plan.channels * element;
    const std::uint64_t first_plane = first_kernel / atom_elements(plan.types.out);
    MacTask mac{
        .in = plan.types.in,
        .out = plan.types.out,
        .in_width = s.in_width,
        .in_height = t.in_rows,
        .channels = plan.channels,
        .channels_real = s.in_channels,
        .line_stride = static_cast<std::int32_t>(4 * s.in_width),
        .surface_stride =
            static_cast<std::int32_t>(s.in_width) * (static_cast<std::int32_t>(core.in_rows) - 4),
        .entries = ceil_div(s.in_width * plan.channels * element, 64u),
        .grains = 50 + s.stride_y + 1,
        .features = {kConvIn, std::uint64_t{t.in_first - core.in_first} * s.in_width * kAtomBytes},
        .depthwise = s.depthwise,
        .kernels = mac_kernels,
        .kernel_width = s.kernel_width,
        .kernel_height = s.kernel_height,
        .stride_x = s.stride_x,
        .stride_y = s.stride_y,
        .dilation_x = s.dilation_x,
        .dilation_y = s.dilation_y,
        .pad_left = s.pad_left,
        .pad_top = t.pad_top,
        // The same byte in every lane: depthwise pads some channels with the second one
        // [notes depthwise-conv, HW].
        .pad_value =
            plan.types.in == DataType::i8 ? static_cast<std::uint8_t>(pad_value) * 0x01010101u : 0,
        .kernel_bytes = kernel_bytes,
        .weight_bytes = mac_kernels * kernel_bytes,
        .weights = {kConvWeights, s.depthwise ? 0 : std::uint64_t{first_kernel} * kernel_bytes},
        .data_banks = t.data_banks,
        .weight_banks = t.weight_banks,
        .weight_reuse = t.weight_reuse,
        .quantify = plan.types.out != DataType::i32,
        .output = {.size_e = form.size_e,
                   .od_bypass = form.od_bypass,
                   .ow_op = form.ow_op,
                   .width = out_width,
                   .height = t.rows.size,
                   .channels = kernels,
                   .original_channels = std::min(kernels, s.out_channels - t.kernels.begin),
                   .surface = static_cast<std::uint32_t>(surface),
                   .surface_add = static_cast<std::uint32_t>(surface) * form.planes,
                   .output = {kConvOut,
                              (first_plane * surface +
                               std::uint64_t{t.rows.begin - core.rows.begin} * out_width) *
                                  kAtomBytes}},
        .dpu = {}};
    if (plan.types.out == DataType::i8) {
      add_bias(mac.dpu, {kConvBias, std::uint64_t{first_kernel} * 4});
      requantise_output(mac.dpu, post.requant);
    }
    if (post.relu)
      relu(mac.dpu, post.relu_limit == 0
                        ? std::optional<std::int32_t>{}
                        : std::optional(static_cast<std::int32_t>(post.relu_limit)));
    if (plan.types.out == DataType::f16) narrow_to_f16(mac.dpu);
    emit(program, mac);
  }
  return program;
}

}  // namespace npu::kernels
