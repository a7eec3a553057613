// SPDX-License-Identifier: MIT
#include "microkernels/transposed_conv.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "microkernels/layout.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

using u32 = std::uint32_t;
constexpr TransposedMethod kMethods[] = {TransposedMethod::chip_spread, TransposedMethod::phases,
                                         TransposedMethod::spread};

struct Axis {
  u32 in, kernel, stride, before, after, output_pad;
};
Axis axis_y(const TransposedShape& s) {
  return {s.in_height, s.kernel_height, s.stride_y, s.pad_top, s.pad_bottom, s.output_pad_y};
}
Axis axis_x(const TransposedShape& s) {
  return {s.in_width, s.kernel_width, s.stride_x, s.pad_left, s.pad_right, s.output_pad_x};
}

u32 out_size(const Axis& a) {
  const std::int64_t whole = (std::int64_t{a.in} - 1) * a.stride + a.kernel + a.output_pad;
  return static_cast<u32>(std::max<std::int64_t>(0, whole - a.before - a.after));
}

std::int64_t floor_div(std::int64_t a, std::int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

// Outputs stride * t to stride * t + stride - 1 take the inputs t + first to t + first + taps - 1:
// output o gets input i by tap o + before - stride * i of the kernel.
struct Window {
  std::int64_t first;
  u32 taps, outputs;
};
Window window(const Axis& a) {
  const std::int64_t first = -floor_div(std::int64_t{a.kernel} - 1 - a.before, a.stride);
  const std::int64_t last = floor_div(std::int64_t{a.stride} - 1 + a.before, a.stride);
  return {first, static_cast<u32>(last - first + 1), ceil_div(out_size(a), a.stride)};
}

[[noreturn]] void refuse(const std::string& why) {
  throw Error(ErrorCode::invalid_argument, "transposed convolution: " + why);
}

void check(const TransposedShape& s) {
  for (const Axis& a : {axis_y(s), axis_x(s)}) {
    if (a.in == 0 || a.in > 2047 || a.kernel == 0 || a.kernel > 31 || a.stride == 0 ||
        a.stride > 64)
      refuse(
          fmt::format("an axis of {} positions, a kernel of {}, a stride of {}: use 1 to 2047, 1 "
                      "to 31, 1 to 64",
                      a.in, a.kernel, a.stride));
    if (a.output_pad >= a.stride)
      refuse(fmt::format("an output padding of {} is not below the stride of {}", a.output_pad,
                         a.stride));
    if (a.before > kMostSource || a.after > kMostSource || out_size(a) == 0)
      refuse(
          fmt::format("the padding of {} and {} leaves nothing of the output", a.before, a.after));
  }
  if (s.in_channels == 0 || s.out_channels == 0) refuse("no channels");
}

// Sources of the rows or columns that the convolution sees, -1 for zeros and padding.
std::vector<std::int32_t> sources(const Axis& a, TransposedMethod method) {
  std::vector<std::int32_t> map;
  if (method == TransposedMethod::phases) {
    const Window w = window(a);
    for (u32 i = 0; i < w.outputs + w.taps - 1; ++i) {
      const std::int64_t at = w.first + i;
      map.push_back(at >= 0 && at < a.in ? static_cast<std::int32_t>(at) : -1);
    }
    return map;
  }
  const u32 size = out_size(a) + a.kernel - 1;
  for (u32 i = 0; i < size; ++i) {
    const std::int64_t at = std::int64_t{i} - (std::int64_t{a.kernel} - 1 - a.before);
    const bool real = at >= 0 && at % a.stride == 0 && at / a.stride < a.in;
    map.push_back(real ? static_cast<std::int32_t>(at / a.stride) : -1);
  }
  return map;
}

// A kernel's taps in the order of the convolution; -1: none.
std::int64_t source_tap(const Axis& a, TransposedMethod method, u32 phase, u32 tap) {
  if (method != TransposedMethod::phases) return std::int64_t{a.kernel} - 1 - tap;
  const Window w = window(a);
  const std::int64_t at = std::int64_t{phase} + a.before - (w.first + tap) * a.stride;
  return at >= 0 && at < a.kernel ? at : -1;
}

}  // namespace

u32 TransposedShape::out_height() const { return out_size(axis_y(*this)); }
u32 TransposedShape::out_width() const { return out_size(axis_x(*this)); }

std::string_view to_string(TransposedMethod method) {
  switch (method) {
    case TransposedMethod::spread: return "spread by the host";
    case TransposedMethod::chip_spread: return "spread by the chip";
    case TransposedMethod::phases: return "phases as channels";
  }
  return "?";
}

bool transposed_as_conv(const TransposedShape& s, TransposedMethod method, Conv2dShape& conv) {
  check(s);
  const Axis y = axis_y(s), x = axis_x(s);
  conv = {.in_height = static_cast<u32>(sources(y, method).size()),
          .in_width = static_cast<u32>(sources(x, method).size()),
          .in_channels = s.in_channels,
          .out_channels = s.out_channels,
          .kernel_height = s.kernel_height,
          .kernel_width = s.kernel_width};
  switch (method) {
    case TransposedMethod::spread: return true;
    case TransposedMethod::phases:
      conv.kernel_height = window(y).taps, conv.kernel_width = window(x).taps;
      conv.out_channels *= s.stride_y * s.stride_x;
      return true;
    case TransposedMethod::chip_spread: break;
  }
  // A margin of the spread image that is negative would cut it.
  for (const Axis& a : {y, x})
    if (a.before >= a.kernel || a.after >= a.kernel + a.output_pad) return false;
  conv.in_height = s.in_height, conv.in_width = s.in_width;
  conv.spread_y = s.stride_y, conv.spread_x = s.stride_x;
  conv.pad_top = s.kernel_height - 1 - s.pad_top;
  conv.pad_left = s.kernel_width - 1 - s.pad_left;
  conv.pad_bottom = s.kernel_height - 1 - s.pad_bottom + s.output_pad_y;
  conv.pad_right = s.kernel_width - 1 - s.pad_right + s.output_pad_x;
  return true;
}

TransposedPlan plan_transposed(const TransposedShape& shape, const Conv2dTypes& types,
                               unsigned cores) {
  std::optional<TransposedPlan> best;
  std::optional<Error> why;
  for (const TransposedMethod method : kMethods) {
    TransposedPlan plan{.method = method, .conv = {}, .seconds = 0};
    if (!transposed_as_conv(shape, method, plan.conv)) continue;
    try {
      plan.seconds = plan_conv2d(plan.conv, types, cores).seconds;
    } catch (const Error& error) {
      why = error;
      continue;
    }
    if (!best || plan.seconds < best->seconds) best = plan;
  }
  if (!best) throw *why;
  return *best;
}

TransposedConv2d::TransposedConv2d(std::span<device::Device* const> devices,
                                   const TransposedShape& shape, const Conv2dTypes& types)
    : TransposedConv2d(
          devices, shape, types,
          plan_transposed(shape, types,
                          static_cast<unsigned>(std::max<std::size_t>(1, devices.size())))
              .method) {}

TransposedConv2d::TransposedConv2d(std::span<device::Device* const> devices,
                                   const TransposedShape& shape, const Conv2dTypes& types,
                                   TransposedMethod method)
    : shape_(shape), types_(types), method_(method) {
  Conv2dShape conv;
  if (!transposed_as_conv(shape, method, conv))
    refuse("the chip's reader cannot cut the image: use another method");
  conv_ = std::make_unique<Conv2d>(devices, conv, types);
}

u32 TransposedConv2d::phases() const {
  return method_ == TransposedMethod::phases ? shape_.stride_y * shape_.stride_x : 1;
}

void TransposedConv2d::set_weights(ConstElements weights, ConstElements bias,
                                   std::int8_t input_zero) {
  const std::size_t taps = std::size_t{shape_.kernel_height} * shape_.kernel_width;
  const std::size_t element = host_bytes(types_.in);
  if (weights.size() != taps * shape_.in_channels * shape_.out_channels ||
      weights.element_bytes() != element)
    refuse(fmt::format("{} weights of {} bytes; {} of {} are needed", weights.size(),
                       weights.element_bytes(), taps * shape_.in_channels * shape_.out_channels,
                       element));
  if (!bias.empty() && (bias.size() != shape_.out_channels || bias.element_bytes() != 4))
    refuse(fmt::format("{} values of bias for {} channels", bias.size(), shape_.out_channels));
  const u32 count = phases();
  Conv2dShape conv;
  transposed_as_conv(shape_, method_, conv);
  const Axis y = axis_y(shape_), x = axis_x(shape_);
  const std::size_t tap_bytes = shape_.in_channels * element;
  std::vector<std::byte> turned(std::size_t{conv.out_channels} * conv.kernel_height *
                                conv.kernel_width * tap_bytes);
  std::byte* to = turned.data();
  for (u32 channel = 0; channel < conv.out_channels; ++channel) {
    const u32 phase = channel / shape_.out_channels, kernel = channel % shape_.out_channels;
    for (u32 ky = 0; ky < conv.kernel_height; ++ky)
      for (u32 kx = 0; kx < conv.kernel_width; ++kx, to += tap_bytes) {
        const std::int64_t from_y = source_tap(y, method_, phase / shape_.stride_x, ky);
        const std::int64_t from_x = source_tap(x, method_, phase % shape_.stride_x, kx);
        if (from_y < 0 || from_x < 0) continue;
        const std::size_t tap = static_cast<std::size_t>(from_y) * shape_.kernel_width +
                                static_cast<std::size_t>(from_x);
        std::memcpy(to, weights.data() + (kernel * taps + tap) * tap_bytes, tap_bytes);
      }
  }
  std::vector<std::int32_t> biases(bias.size() * count);
  for (std::size_t i = 0; i < biases.size(); ++i)
    std::memcpy(&biases[i], bias.data() + i % bias.size() * 4, 4);
  input_zero_ = input_zero;
  if (element == 1) {
    conv_->set_weights(
        std::span(reinterpret_cast<const std::int8_t*>(turned.data()), turned.size()), biases,
        input_zero);
  } else {
    std::vector<std::uint16_t> halves(turned.size() / 2);
    std::memcpy(halves.data(), turned.data(), turned.size());
    conv_->set_weights(halves, biases, input_zero);
  }
}

void TransposedConv2d::set_post(const Conv2dPost& post) {
  Conv2dPost all = post;
  const std::vector<std::int16_t>& multipliers = post.channels.multipliers;
  if (!multipliers.empty() && multipliers.size() != shape_.out_channels)
    refuse(fmt::format("{} multipliers for {} channels", multipliers.size(), shape_.out_channels));
  for (u32 phase = 1; phase < phases(); ++phase)
    all.channels.multipliers.insert(all.channels.multipliers.end(), multipliers.begin(),
                                    multipliers.end());
  conv_->set_post(all);
}

void TransposedConv2d::run(ConstElements in, Elements out, RunStats* stats) {
  const std::size_t element = host_bytes(types_.in);
  const std::size_t size = std::size_t{shape_.in_height} * shape_.in_width * shape_.in_channels;
  const std::size_t height = shape_.out_height(), width = shape_.out_width();
  const std::size_t pixel = shape_.out_channels * host_bytes(types_.out);
  if (in.size() != size || in.element_bytes() != element)
    refuse(fmt::format("an input of {} elements of {} bytes; {} of {} are needed", in.size(),
                       in.element_bytes(), size, element));
  if (out.size() != height * width * shape_.out_channels ||
      out.element_bytes() != host_bytes(types_.out))
    refuse(fmt::format("an output of {} elements of {} bytes; {} of {} are needed", out.size(),
                       out.element_bytes(), height * width * shape_.out_channels,
                       host_bytes(types_.out)));
  if (method_ == TransposedMethod::chip_spread) {
    conv_->run(in, out, stats);
    return;
  }
  Conv2dImage image;
  transposed_as_conv(shape_, method_, image.shape);
  image.rows = sources(axis_y(shape_), method_);
  image.columns = sources(axis_x(shape_), method_);
  Conv2dShape source;
  source.in_width = shape_.in_width, source.in_channels = shape_.in_channels;
  const std::vector<std::byte> gathered =
      gather(source, image, element, static_cast<std::byte>(input_zero_), in.data());
  const auto run = [&](Elements to) {
    if (element == 1) {
      conv_->run(std::span(reinterpret_cast<const std::int8_t*>(gathered.data()), gathered.size()),
                 to, stats);
      return;
    }
    std::vector<std::uint16_t> halves(gathered.size() / 2);
    std::memcpy(halves.data(), gathered.data(), gathered.size());
    conv_->run(halves, to, stats);
  };
  if (method_ == TransposedMethod::spread) {
    run(out);
    return;
  }
  // [t_y][t_x][phase][channel] to [y][x][channel].
  const std::size_t across = image.shape.out_width(), count = phases();
  const std::size_t all = std::size_t{image.shape.out_height()} * across * count * pixel;
  std::vector<std::uint32_t> words(
      types_.out == DataType::i32 || types_.out == DataType::f32 ? all / 4 : 0);
  std::vector<std::uint16_t> halves(types_.out == DataType::f16 ? all / 2 : 0);
  std::vector<std::int8_t> bytes(types_.out == DataType::i8 ? all : 0);
  const Elements parts = !words.empty()    ? Elements(words)
                         : !halves.empty() ? Elements(halves)
                                           : Elements(bytes);
  run(parts);
  for (std::size_t y = 0; y < height; ++y)
    for (std::size_t x = 0; x < width; ++x) {
      const std::size_t at = y / shape_.stride_y * across + x / shape_.stride_x;
      const std::size_t phase = y % shape_.stride_y * shape_.stride_x + x % shape_.stride_x;
      std::memcpy(out.data() + (y * width + x) * pixel, parts.data() + (at * count + phase) * pixel,
                  pixel);
    }
}

}  // namespace npu::kernels
