// SPDX-License-Identifier: MIT
#include "microkernels/conv2d.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "microkernels/layout.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

Conv2dPlan checked_plan(std::span<device::Device* const> devices, const Conv2dShape& shape,
                        const Conv2dTypes& types) {
  if (devices.empty())
    throw Error(ErrorCode::invalid_argument,
                "a convolution needs one open device per core: open one and pass it");
  return plan_conv2d(shape, types, static_cast<unsigned>(devices.size()));
}

std::vector<std::vector<Slot>> slots(const Conv2dPlan& plan) {
  std::vector<std::vector<Slot>> cores;
  for (const Conv2dCore& core : plan.cores) {
    using enum Slot::Role;
    cores.push_back({{"in", core.in_bytes, input},
                     {"weights", core.weight_bytes, input},
                     {"bias", core.bias_bytes, core.bias_bytes != 0 ? input : unused},
                     {"out", core.out_bytes, output}});
  }
  return cores;
}

void check(const char* what, std::size_t count, std::size_t element, std::uint64_t want,
           DataType type) {
  if (count != want || element != host_bytes(type))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} has {} elements of {} bytes; the shape asks for {} of {}", what,
                            count, element, want, to_string(type)));
}

std::uint64_t weight_count(const Conv2dShape& s) {
  return std::uint64_t{s.kernel_height} * s.kernel_width * s.in_channels *
         (s.depthwise ? 1 : s.out_channels);
}

// [O/G][C/B][KH][KW][G][B]; the last blocks of C are as wide as the channels left, the last group
// holds the kernels that the array is told of [compute.md 3.2, 4].
void pack_dense(const Conv2dPlan& plan, Range kernels, const std::byte* from,
                std::span<std::byte> to) {
  const Conv2dShape& s = plan.shape;
  const MacFormat format = mac_format(plan.types.in);
  const std::size_t size = host_bytes(plan.types.in);
  const std::size_t taps = std::size_t{s.kernel_height} * s.kernel_width;
  const std::size_t all = conv2d_mac_kernels(s, plan.types, kernels);
  std::fill(to.begin(), to.end(), std::byte{0});
  for (std::uint32_t i = 0; i < kernels.size; ++i) {
    const std::uint32_t o = kernels.begin + i;
    if (o >= s.out_channels) break;
    const std::size_t group = i / format.kernel_group * format.kernel_group;
    const std::size_t in_group = std::min<std::size_t>(format.kernel_group, all - group);
    for (std::uint32_t c = 0; c < s.in_channels; c += format.channel_block) {
      const std::size_t block = std::min(format.channel_block, plan.channels - c);
      const std::size_t real = std::min<std::size_t>(block, s.in_channels - c);
      for (std::size_t tap = 0; tap < taps; ++tap) {
        const std::size_t at = group * taps * plan.channels + (c * taps + tap * block) * in_group +
                               (i - group) * block;
        std::memcpy(to.data() + at * size, from + ((o * taps + tap) * s.in_channels + c) * size,
                    real * size);
      }
    }
  }
}

// [C/G][KH][KW][G]; the last group of int8 is as wide as the atoms that are left.
void pack_depthwise(const Conv2dPlan& plan, const std::byte* from, std::span<std::byte> to) {
  const Conv2dShape& s = plan.shape;
  const std::size_t size = host_bytes(plan.types.in);
  const std::size_t group = conv2d_group(s, plan.types.in);
  const std::size_t taps = std::size_t{s.kernel_height} * s.kernel_width;
  std::fill(to.begin(), to.end(), std::byte{0});
  for (std::size_t c = 0; c < s.in_channels; c += group) {
    const std::size_t wide = std::min<std::size_t>(group, plan.channels - c);
    const std::size_t real = std::min<std::size_t>(group, s.in_channels - c);
    for (std::size_t tap = 0; tap < taps; ++tap)
      std::memcpy(to.data() + (c * taps + tap * wide) * size,
                  from + (tap * s.in_channels + c) * size, real * size);
  }
}

}  // namespace

Conv2d::Conv2d(std::span<device::Device* const> devices, const Conv2dShape& shape,
               const Conv2dTypes& types)
    : plan_(checked_plan(devices, shape, types)),
      executor_(devices, slots(plan_)),
      has_post_(types.out != DataType::i8) {}

void Conv2d::set_weights(ConstElements weights, std::span<const std::int32_t> bias,
                         std::int8_t input_zero) {
  const Conv2dShape& s = plan_.shape;
  const bool floats = is_float(plan_.types.in);
  check("the weights", weights.size(), weights.element_bytes(), weight_count(s), plan_.types.in);
  if (!bias.empty()) check("the bias", bias.size(), 4, s.out_channels, DataType::i32);
  if (floats && (!bias.empty() || input_zero != 0))
    throw Error(
        ErrorCode::invalid_argument,
        "a convolution of floats takes neither bias nor zero point: add the bias on the host");
  input_zero_ = input_zero;
  bias_.assign(plan_.out_channels, 0);
  std::copy(bias.begin(), bias.end(), bias_.begin());
  if (input_zero != 0) {
    const auto* w = reinterpret_cast<const std::int8_t*>(weights.data());
    const std::size_t taps = std::size_t{s.kernel_height} * s.kernel_width;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const std::size_t channel = s.depthwise ? i % s.in_channels : i / (taps * s.in_channels);
      bias_[channel] -= std::int32_t{input_zero} * w[i];
    }
  }
  for (std::size_t i = 0; i < executor_.cores(); ++i) {
    const Conv2dCore& core = plan_.cores[i];
    if (s.depthwise)
      pack_depthwise(plan_, weights.data(), executor_.host(i, kConvWeights));
    else
      pack_dense(plan_, core.kernels, weights.data(), executor_.host(i, kConvWeights));
    executor_.written(i, kConvWeights);
    if (core.bias_bytes == 0) continue;
    std::copy_n(bias_.begin() + core.kernels.begin, core.kernels.size,
                executor_.as<std::int32_t>(i, kConvBias).begin());
    executor_.written(i, kConvBias);
  }
  has_weights_ = true;
  has_programs_ = false;
}

void Conv2d::set_post(const Conv2dPost& post) {
  if (plan_.types.out == DataType::i32 && post.relu)
    throw Error(ErrorCode::invalid_argument,
                "int32 sums come as they are: apply the ReLU on the host");
  post_ = post;
  has_post_ = true;
  has_programs_ = false;
}

void Conv2d::upload_programs() {
  std::vector<std::vector<Stage>> stages;
  for (std::size_t i = 0; i < plan_.cores.size(); ++i) {
    const Conv2dCore& core = plan_.cores[i];
    Stage stage{.program = emit_conv2d(plan_, i, input_zero_, post_), .tasks = {}};
    const std::uint64_t positions = std::uint64_t{core.rows.size} * plan_.shape.out_width();
    for (const Conv2dTask& task : core.tasks) {
      // Planes lie one after the other, rows of a plane too.
      const std::uint64_t planes =
          ceil_div(std::min(task.kernels.end(), plan_.shape.out_channels) - core.kernels.begin,
                   atom_elements(plan_.types.out));
      const std::uint64_t last =
          (planes - 1) * positions +
          std::uint64_t{task.rows.end() - core.rows.begin} * plan_.shape.out_width();
      stage.tasks.push_back({.macs = task.macs,
                             .bytes = task.bytes,
                             .out_slot = kConvOut,
                             .last_atom = (last - 1) * kAtomBytes});
    }
    stages.push_back({std::move(stage)});
  }
  executor_.set_programs(stages);
  has_programs_ = true;
}

void Conv2d::run(ConstElements in, Elements out, RunStats* stats) {
  const Conv2dShape& s = plan_.shape;
  if (!has_weights_)
    throw Error(ErrorCode::invalid_argument,
                "the convolution has no weights: call set_weights() first");
  if (!has_post_)
    throw Error(ErrorCode::invalid_argument,
                "the convolution has no requantisation: call set_post() first");
  const std::uint64_t out_positions = std::uint64_t{s.out_height()} * s.out_width();
  check("the input", in.size(), in.element_bytes(),
        std::uint64_t{s.in_height} * s.in_width * s.in_channels, plan_.types.in);
  check("the output", out.size(), out.element_bytes(), out_positions * s.out_channels,
        plan_.types.out);
  if (!has_programs_) upload_programs();
  for (std::size_t i = 0; i < executor_.cores(); ++i) {
    const Conv2dCore& core = plan_.cores[i];
    const std::size_t rows = std::size_t{core.in_rows} * s.in_width;
    const std::size_t first = std::size_t{core.in_first} * s.in_width * s.in_channels;
    pack_features(plan_.types.in,
                  {in.data() + first * in.element_bytes(), rows, s.in_channels, s.in_channels},
                  rows, plan_.channels, executor_.host(i, kConvIn));
    executor_.written(i, kConvIn);
  }
  RunStats run;
  executor_.run(0, run);
  for (std::size_t i = 0; i < executor_.cores(); ++i) {
    const Conv2dCore& core = plan_.cores[i];
    if (core.kernels.begin >= s.out_channels) continue;  // padding only
    const std::size_t rows = std::size_t{core.rows.size} * s.out_width();
    const std::size_t first =
        std::size_t{core.rows.begin} * s.out_width() * s.out_channels + core.kernels.begin;
    const std::size_t columns = std::min(core.kernels.size, s.out_channels - core.kernels.begin);
    unpack(plan_.types.out, executor_.host(i, kConvOut), rows,
           {out.data() + first * out.element_bytes(), rows, columns, s.out_channels});
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
