// SPDX-License-Identifier: MIT
// Registers: compute.md 3.1 for int8 [mesa rkt_regcmd.c, recorded on boards' driver], 4 for fp16
// [rocket-userspace gen_conv2d_fill, HW].
#include <fmt/format.h>

#include <algorithm>

#include "microkernels/activation.hpp"
#include "microkernels/conv2d_plan.hpp"
#include "microkernels/elementwise.hpp"
#include "microkernels/executor.hpp"
#include "microkernels/flying_task.hpp"
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
    case DataType::i16:
    case DataType::i32: return {7, 8, true, 0};
    case DataType::f32: return {3, 4, true, 0};
    // 0x80 as an fp16 is 2^-17; boards' programs have it [notes depthwise-conv, HW].
    default: return s.depthwise ? WriteForm{3, 4, false, 0x80} : WriteForm{1, 2, true, 0};
  }
}

Place place(const Conv2dPlacement& p, Conv2dSlot slot, std::uint64_t offset) {
  return {p.slot[slot], p.offset[slot] + offset};
}

std::optional<std::int32_t> limit(const Conv2dPost& post) {
  if (post.relu_limit == 0) return {};
  return static_cast<std::int32_t>(post.relu_limit);
}

// The stages of the DPU, for a task that computes kernels from `first_kernel` of the core on.
void set_stages(const Conv2dPlan& plan, const Conv2dCore& core, const Conv2dTask& t,
                const Conv2dPost& post, const Conv2dPlacement& p, DpuSetup& dpu) {
  const std::uint32_t first_kernel = t.kernels.begin - core.kernels.begin;
  const std::uint32_t width = plan.shape.out_width();
  const bool bytes = plan.types.out == DataType::i8;
  if (bytes && !post.channels.empty())
    add_bias_and_multiply(dpu, place(p, kConvBias, std::uint64_t{first_kernel} * 8),
                          post.channels.shift);
  else if (bytes)
    add_bias(dpu, place(p, kConvBias, std::uint64_t{first_kernel} * 4));
  else if (post.bias)
    add_float_bias(dpu, place(p, kConvBias, std::uint64_t{first_kernel} * 4));
  if (plan.fusion.activation && conv2d_after(plan) == Conv2dAfter::nothing)
    set_activation(dpu, *plan.fusion.activation);
  if (plan.fusion.addend) {
    const std::uint64_t first_plane = first_kernel / atom_elements(plan.types.out);
    const Place first = place(
        p, kConvAddend,
        (first_plane * core.addend_plane + std::uint64_t{t.rows.begin - core.rows.begin} * width) *
            kAtomBytes);
    set_elementwise(dpu, plan.types.out, ElementwiseOp::add, first);
    read_operand_planes(dpu, first, core.addend_plane, width * t.rows.size);
    if (bytes) scale_operand(dpu, post.addend);
    if (post.relu) relu_after_operand(dpu, limit(post));
  } else if (post.relu) {
    relu(dpu, limit(post));
  }
  if (bytes) requantise_output(dpu, post.requant);
  if (plan.types.out == DataType::f16) dpu.out_scale.fp32tofp16_en = true;
}

// The function of what the array's tasks left between, or its gate and then the product of both.
void append_after(Stage& stage, const Conv2dPlan& plan, const Conv2dCore& core,
                  const Conv2dPlacement& p) {
  const Conv2dAfter after = conv2d_after(plan);
  if (after == Conv2dAfter::nothing) return;
  const std::uint32_t real =
      std::min(core.kernels.size, plan.shape.out_channels - core.kernels.begin);
  const std::uint64_t all = std::uint64_t{ceil_div(real, atom_elements(plan.types.out))} *
                            core.rows.size * plan.shape.out_width();
  const auto add = [&](Conv2dSlot to, std::uint64_t at, auto set_up) {
    const auto atoms =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(kMaxFlyingAtoms, all - at));
    const std::uint64_t offset = at * kAtomBytes;
    FlyingTask task{.type = plan.types.out,
                    .atoms = atoms,
                    .main = place(p, kConvBetween, offset),
                    .output = place(p, to, offset),
                    .dpu = {}};
    set_up(task.dpu, offset);
    emit(stage.program, task);
    stage.tasks.push_back(
        {.macs = 0,
         .bytes = std::uint64_t{atoms} * kAtomBytes * 3,
         .out_slot = task.output.slot,
         .last_atom = task.output.offset + (atoms - std::uint64_t{1}) * kAtomBytes});
  };
  for (std::uint64_t at = 0; at < all; at += kMaxFlyingAtoms) {
    add(after == Conv2dAfter::gate ? kConvGate : kConvOut, at,
        [&](DpuSetup& dpu, std::uint64_t) { set_activation(dpu, *plan.fusion.activation); });
    if (after == Conv2dAfter::gate)
      add(kConvOut, at, [&](DpuSetup& dpu, std::uint64_t offset) {
        set_elementwise(dpu, plan.types.out, ElementwiseOp::mul, place(p, kConvGate, offset));
      });
  }
}

}  // namespace

std::vector<std::string> conv2d_slot_names() {
  return {"in", "weights", "bias", "out", "addend", "between", "gate"};
}

Program emit_conv2d(const Conv2dPlan& plan, std::size_t core_index, std::int8_t pad_value,
                    const Conv2dPost& post) {
  Stage stage{.program = {.slots = conv2d_slot_names()}, .tasks = {}};
  append_conv2d(stage, plan, core_index, pad_value, post);
  return std::move(stage.program);
}

void append_conv2d(Stage& stage, const Conv2dPlan& plan, std::size_t core_index,
                   std::int8_t pad_value, const Conv2dPost& post,
                   const Conv2dPlacement& placement) {
  if (core_index >= plan.cores.size())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("core {} is not in a plan of {}", core_index, plan.cores.size()));
  for (const std::uint8_t shift : {post.requant.shift, post.addend.shift, post.channels.shift})
    if (shift > 63)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("a requantisation shift of {} is not possible: use 0 to 63", shift));
  const Conv2dShape& s = plan.shape;
  const Conv2dCore& core = plan.cores[core_index];
  const auto bytes = [&](std::uint32_t elements) { return elements * bits(plan.types.in) / 8; };
  const std::uint32_t taps = s.kernel_height * s.kernel_width;
  const std::uint32_t out_width = s.out_width();
  const WriteForm form = write_form(s, plan.types);
  const Conv2dSlot out = conv2d_after(plan) == Conv2dAfter::nothing ? kConvOut : kConvBetween;
  for (const Conv2dTask& t : core.tasks) {
    const std::uint32_t kernels = t.kernels.size;
    const std::uint32_t real = std::min(kernels, s.out_channels - t.kernels.begin);
    const std::uint32_t mac_kernels = conv2d_mac_kernels(s, plan.types, t.kernels);
    const std::uint32_t first_kernel = t.kernels.begin - core.kernels.begin;
    const std::uint64_t surface = std::uint64_t{out_width} * core.rows.size;
    const std::uint32_t kernel_bytes = bytes(taps * plan.channels);
    const std::uint64_t first_plane = first_kernel / atom_elements(plan.types.out);
    const std::uint64_t first_row = std::uint64_t{t.rows.begin - core.rows.begin} * out_width;
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
        .entries = ceil_div(bytes(s.in_width * plan.channels), 64u),
        .grains = 50 + s.stride_y + 1,
        .features = place(placement, kConvIn,
                          std::uint64_t{t.in_first - core.in_first} * s.in_width * kAtomBytes),
        .depthwise = s.depthwise,
        .kernels = mac_kernels,
        .kernel_width = s.kernel_width,
        .kernel_height = s.kernel_height,
        .stride_x = s.stride_x,
        .stride_y = s.stride_y,
        .dilation_x = s.dilation_x,
        .dilation_y = s.dilation_y,
        .spread_x = s.spread_x,
        .spread_y = s.spread_y,
        .pad_left = s.pad_left,
        .pad_top = t.pad_top,
        // The same byte in every lane: depthwise pads some channels with the second one
        // [notes depthwise-conv, HW].
        .pad_value =
            plan.types.in == DataType::i8 ? static_cast<std::uint8_t>(pad_value) * 0x01010101u : 0,
        .kernel_bytes = kernel_bytes,
        .weight_bytes = mac_kernels * kernel_bytes,
        .weights = place(placement, kConvWeights,
                         s.depthwise ? 0 : std::uint64_t{first_kernel} * kernel_bytes),
        .data_banks = t.data_banks,
        .weight_banks = t.weight_banks,
        .weight_reuse = t.weight_reuse,
        .quantify = plan.types.out != DataType::i32 && plan.types.out != DataType::i16,
        .output = {.size_e = form.size_e,
                   .od_bypass = form.od_bypass,
                   .ow_op = form.ow_op,
                   .width = out_width,
                   .height = t.rows.size,
                   .channels = kernels,
                   .original_channels = real,
                   .surface = static_cast<std::uint32_t>(surface),
                   .surface_add = static_cast<std::uint32_t>(surface) * form.planes,
                   .output =
                       place(placement, out, (first_plane * surface + first_row) * kAtomBytes)},
        .dpu = {}};
    set_stages(plan, core, t, post, placement, mac.dpu);
    emit(stage.program, mac);
    // Planes lie one after the other, rows of a plane too.
    const std::uint64_t last_plane = ceil_div(real, atom_elements(plan.types.out)) - 1;
    stage.tasks.push_back(
        {.macs = t.macs,
         .bytes = t.bytes,
         .out_slot = mac.output.output.slot,
         .last_atom =
             mac.output.output.offset +
             (last_plane * surface + std::uint64_t{t.rows.size} * out_width - 1) * kAtomBytes});
  }
  append_after(stage, plan, core, placement);
}

}  // namespace npu::kernels
