// SPDX-License-Identifier: MIT
#include "microkernels/conv2d.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "microkernels/activation.hpp"
#include "microkernels/layout.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

[[noreturn]] void refuse(const std::string& why) { throw Error(ErrorCode::invalid_argument, why); }

Conv2dPlan checked_plan(std::span<device::Device* const> devices, Conv2dShape shape,
                        const Conv2dTypes& types, const Conv2dFusion& fusion) {
  if (devices.empty()) refuse("a convolution needs one open device per core: open one and pass it");
  if (shape.groups == 0 || shape.in_channels % shape.groups != 0 ||
      shape.out_channels % shape.groups != 0 || (shape.depthwise && shape.groups != 1))
    refuse(
        fmt::format("conv2d: {} and {} channels are no {} groups: use a number that divides both "
                    "(depthwise: 1)",
                    shape.in_channels, shape.out_channels, shape.groups));
  shape.in_channels /= shape.groups;
  shape.out_channels /= shape.groups;
  shape.groups = 1;
  return plan_conv2d(shape, types, static_cast<unsigned>(devices.size()), fusion);
}

// Each group has a part of every buffer.
std::uint64_t part(std::uint64_t bytes) { return align_up<std::uint64_t>(bytes, 64); }

std::array<std::uint64_t, kConvSlots> sizes(const Conv2dCore& core) {
  return {core.in_bytes,     core.weight_bytes,  core.bias_bytes, core.out_bytes,
          core.addend_bytes, core.between_bytes, core.gate_bytes};
}

std::vector<std::vector<Slot>> slots(const Conv2dPlan& plan, std::uint32_t groups) {
  std::vector<std::vector<Slot>> cores;
  for (const Conv2dCore& core : plan.cores) {
    using enum Slot::Role;
    std::vector<Slot> all = {{"in", 0, input},    {"weights", 0, input}, {"bias", 0, input},
                             {"out", 0, output},  {"addend", 0, input},  {"between", 0, scratch},
                             {"gate", 0, scratch}};
    for (std::size_t i = 0; i < all.size(); ++i) {
      all[i].bytes = part(sizes(core)[i]) * groups;
      if (all[i].bytes == 0) all[i].role = unused;
    }
    cores.push_back(std::move(all));
  }
  return cores;
}

void check(const char* what, std::size_t count, std::size_t element, std::uint64_t want,
           DataType type) {
  if (count != want || element != host_bytes(type))
    refuse(fmt::format("{} has {} elements of {} bytes; the shape asks for {} of {}", what, count,
                       element, want, to_string(type)));
}

std::uint64_t weight_count(const Conv2dShape& s) {
  return std::uint64_t{s.kernel_height} * s.kernel_width * s.in_channels *
         (s.depthwise ? 1 : s.out_channels / s.groups);
}

}  // namespace

Conv2d::Conv2d(std::span<device::Device* const> devices, const Conv2dShape& shape,
               const Conv2dTypes& types, const Conv2dFusion& fusion)
    : shape_(shape),
      image_(chip_image(shape)),
      plan_(checked_plan(devices, image_.shape, types, fusion)),
      executor_(devices, slots(plan_, shape.groups)),
      has_post_(types.out != DataType::i8) {}

std::span<std::byte> Conv2d::buffer(std::size_t core, Conv2dSlot slot, std::uint32_t group) const {
  const std::uint64_t bytes = sizes(plan_.cores[core])[slot];
  return executor_.host(core, slot).subspan(part(bytes) * group, bytes);
}

void Conv2d::set_weights(ConstElements weights, ConstElements bias, std::int8_t input_zero) {
  const Conv2dShape& s = shape_;
  const bool floats = is_float(plan_.types.in);
  check("the weights", weights.size(), weights.element_bytes(), weight_count(s), plan_.types.in);
  if (!bias.empty())
    check("the bias", bias.size(), bias.element_bytes(), s.out_channels,
          floats ? DataType::f32 : DataType::i32);
  if (plan_.types.in == DataType::i4 && (input_zero != 0 || !bias.empty()))
    refuse("a convolution of int4 takes neither bias nor zero point: its sums come as they are");
  if (floats && input_zero != 0) refuse("a convolution of floats takes no zero point: use 0");
  input_zero_ = input_zero;
  post_.bias = floats && !bias.empty();
  bias_.assign(s.out_channels, 0);
  if (!bias.empty()) std::memcpy(bias_.data(), bias.data(), bias.size() * sizeof(std::int32_t));
  if (!floats)
    fold_input_zero(s, reinterpret_cast<const std::int8_t*>(weights.data()), input_zero, bias_);
  const std::size_t group_bytes = weights.size() / s.groups * weights.element_bytes();
  for (std::size_t core = 0; core < executor_.cores(); ++core) {
    for (std::uint32_t g = 0; g < s.groups; ++g)
      pack_conv2d_weights(plan_, core, weights.data() + g * group_bytes,
                          buffer(core, kConvWeights, g));
    executor_.written(core, kConvWeights);
  }
  has_weights_ = true;
  has_programs_ = false;
}

void Conv2d::set_post(const Conv2dPost& post) {
  if ((plan_.types.out == DataType::i32 || plan_.types.out == DataType::i16) && post.relu)
    refuse("integer sums come as they are: apply the ReLU on the host");
  if (plan_.fusion.activation && post.relu)
    refuse(fmt::format("the convolution ends with {}: it takes no ReLU besides",
                       to_string(*plan_.fusion.activation)));
  if (!post.channels.empty() &&
      (plan_.types.out != DataType::i8 || post.channels.multipliers.size() != shape_.out_channels))
    refuse(fmt::format("{} multipliers for {} channels of {}: one per channel, i8->i8 only",
                       post.channels.multipliers.size(), shape_.out_channels,
                       to_string(plan_.types)));
  const bool bias = post_.bias;
  post_ = post;
  post_.bias = bias;
  has_post_ = true;
  has_programs_ = false;
}

void Conv2d::upload_programs() {
  // Kernels that stay in CBUF stay for a job: a stage for each group if the executor would cut.
  bool together = true;
  for (const Conv2dCore& core : plan_.cores) {
    std::uint64_t macs = 0, moved = 0;
    for (const Conv2dTask& task : core.tasks) macs += task.macs, moved += task.bytes;
    together &= macs * shape_.groups <= kMaxJobMacs && moved * shape_.groups <= kMaxJobBytes;
  }
  std::vector<std::vector<Stage>> stages;
  for (std::size_t core = 0; core < plan_.cores.size(); ++core) {
    const std::array<std::uint64_t, kConvSlots> bytes = sizes(plan_.cores[core]);
    if (bytes[kConvBias] != 0) {
      const std::uint32_t channels = plan_.shape.out_channels;
      const std::span<const std::int16_t> multipliers = post_.channels.multipliers;
      for (std::uint32_t g = 0; g < shape_.groups; ++g)
        pack_conv2d_bias(
            plan_, core, std::span<const std::int32_t>(bias_).subspan(g * channels, channels),
            multipliers.empty() ? multipliers : multipliers.subspan(g * channels, channels),
            buffer(core, kConvBias, g));
      executor_.written(core, kConvBias);
    }
    std::vector<Stage>& list = stages.emplace_back();
    for (std::uint32_t g = 0; g < shape_.groups; ++g) {
      if (g == 0 || !together)
        list.push_back({.program = {.slots = conv2d_slot_names()}, .tasks = {}});
      Conv2dPlacement placement;
      for (std::size_t slot = 0; slot < kConvSlots; ++slot)
        placement.offset[slot] = part(bytes[slot]) * g;
      append_conv2d(list.back(), plan_, core, input_zero_, post_, placement);
    }
  }
  executor_.set_programs(stages);
  has_programs_ = true;
}

void Conv2d::run(ConstElements in, Elements out, RunStats* stats) {
  if (plan_.fusion.addend) refuse("the convolution adds a tensor: call run() with it");
  run(in, ConstElements(), out, stats);
}

void Conv2d::run(ConstElements in, ConstElements addend, Elements out, RunStats* stats) {
  const Conv2dShape& s = shape_;
  if (!has_weights_) refuse("the convolution has no weights: call set_weights() first");
  if (!has_post_) refuse("the convolution has no requantisation: call set_post() first");
  const std::uint64_t positions = std::uint64_t{plan_.shape.out_height()} * plan_.shape.out_width();
  check("the input", in.size(), in.element_bytes(),
        std::uint64_t{s.in_height} * s.in_width * s.in_channels, plan_.types.in);
  check("the output", out.size(), out.element_bytes(), positions * s.out_channels, plan_.types.out);
  if (plan_.fusion.addend)
    check("the addend", addend.size(), addend.element_bytes(), positions * s.out_channels,
          plan_.types.out);
  else if (!addend.empty())
    refuse("the convolution was made without an addend: say so in its Conv2dFusion");
  if (!has_programs_) upload_programs();

  std::vector<std::byte> gathered;
  if (image_.changed())
    gathered =
        gather(s, image_, in.element_bytes(), static_cast<std::byte>(input_zero_), in.data());
  const std::byte* pixels = image_.changed() ? gathered.data() : in.data();
  const std::uint32_t in_part = plan_.shape.in_channels, out_part = plan_.shape.out_channels;
  for (std::size_t i = 0; i < executor_.cores(); ++i) {
    const Conv2dCore& core = plan_.cores[i];
    const std::size_t rows = std::size_t{core.in_rows} * plan_.shape.in_width;
    const std::size_t first = std::size_t{core.in_first} * plan_.shape.in_width * s.in_channels;
    for (std::uint32_t g = 0; g < s.groups; ++g) {
      pack_features(
          plan_.types.in,
          {pixels + (first + g * in_part) * in.element_bytes(), rows, in_part, s.in_channels}, rows,
          plan_.channels, buffer(i, kConvIn, g));
      if (plan_.fusion.addend)
        pack_conv2d_addend(plan_, i, s.out_channels,
                           addend.data() + std::size_t{g} * out_part * addend.element_bytes(),
                           buffer(i, kConvAddend, g));
    }
    executor_.written(i, kConvIn);
    if (plan_.fusion.addend) executor_.written(i, kConvAddend);
  }
  RunStats run;
  for (std::size_t stage = 0; stage < executor_.stages(); ++stage) executor_.run(stage, run);
  for (std::size_t i = 0; i < executor_.cores(); ++i) {
    const Conv2dCore& core = plan_.cores[i];
    if (core.kernels.begin >= out_part) continue;  // padding only
    const std::size_t rows = std::size_t{core.rows.size} * plan_.shape.out_width();
    const std::size_t first =
        std::size_t{core.rows.begin} * plan_.shape.out_width() * s.out_channels +
        core.kernels.begin;
    const std::size_t columns = std::min(core.kernels.size, out_part - core.kernels.begin);
    for (std::uint32_t g = 0; g < s.groups; ++g)
      unpack(plan_.types.out, buffer(i, kConvOut, g), rows,
             {out.data() + (first + std::size_t{g} * out_part) * out.element_bytes(), rows, columns,
              s.out_channels});
  }
  if (plan_.types.out == DataType::i32) {
    auto* sums = reinterpret_cast<std::int32_t*>(out.data());
    for (std::size_t i = 0; i < out.size(); ++i)
      sums[i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(sums[i]) +
                                          static_cast<std::uint32_t>(bias_[i % s.out_channels]));
  }
  if (stats != nullptr) *stats = run;
}

}  // namespace npu::kernels
