// SPDX-License-Identifier: MIT
#include "microkernels/conv2d_pack.hpp"

#include <algorithm>
#include <cstring>

#include "microkernels/dpu_setup.hpp"
#include "microkernels/layout.hpp"

namespace npu::kernels {
namespace {

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
        const std::byte* channels = from + ((o * taps + tap) * s.in_channels + c) * size;
        if (plan.types.in != DataType::i4) {
          std::memcpy(to.data() + at * size, channels, real * size);
          continue;
        }
        for (std::size_t j = 0; j < real; ++j)  // the first of two in the low half
          to[(at + j) / 2] |= (channels[j] & std::byte{15}) << (j % 2 * 4);
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

// Source positions of an axis: where the chip's windows lie on the original one.
struct Axis {
  std::uint32_t size, kernel, stride, dilation, before, after;
};

bool rewritten(const Axis& a) {
  const std::uint32_t extent = (a.kernel - 1) * a.dilation + 1;
  // The kernel's size becomes the stride.
  if (a.stride > 7 || a.dilation > 32) return a.kernel <= 7;
  return a.before > 15 || std::max(a.before, a.after) >= extent;
}

// Changes the axis to what the chip takes; the sources of its positions, -1 for padding.
std::vector<std::int32_t> rewrite(Axis& a) {
  const auto inside = [&](std::int64_t at) {
    return at >= 0 && at < a.size ? static_cast<std::int32_t>(at) : -1;
  };
  std::vector<std::int32_t> map;
  const std::int64_t padded = std::int64_t{a.size} + a.before + a.after;
  if (a.stride <= 7 && a.dilation <= 32) {
    for (std::int64_t i = 0; i < padded; ++i) map.push_back(inside(i - a.before));
    a.size = static_cast<std::uint32_t>(padded);
  } else {
    // Each window by itself, side by side.
    const std::int64_t extent = std::int64_t{a.kernel - 1} * a.dilation + 1;
    for (std::int64_t begin = 0; begin + extent <= padded; begin += a.stride)
      for (std::int64_t tap = 0; tap < a.kernel; ++tap)
        map.push_back(inside(begin + tap * a.dilation - a.before));
    a.size = static_cast<std::uint32_t>(map.size());
    a.stride = a.kernel;
    a.dilation = 1;
  }
  a.before = a.after = 0;
  return map;
}

}  // namespace

Conv2dImage chip_image(const Conv2dShape& shape) {
  Conv2dImage image{.shape = shape, .rows = {}, .columns = {}};
  Conv2dShape& s = image.shape;
  if (s.spread_y != 1 || s.spread_x != 1) return image;
  Axis y{s.in_height, s.kernel_height, s.stride_y, s.dilation_y, s.pad_top, s.pad_bottom};
  Axis x{s.in_width, s.kernel_width, s.stride_x, s.dilation_x, s.pad_left, s.pad_right};
  for (const Axis& a : {y, x})
    if (a.size == 0 || a.kernel == 0 || a.stride == 0 || a.dilation == 0 || a.size > kMostSource ||
        a.before > kMostSource || a.after > kMostSource || a.dilation > kMostSource ||
        a.kernel > kMostSource)
      return image;  // for plan_conv2d() to refuse
  if (rewritten(y)) {
    image.rows = rewrite(y);
    s.in_height = y.size, s.stride_y = y.stride, s.dilation_y = y.dilation;
    s.pad_top = s.pad_bottom = 0;
  }
  if (rewritten(x)) {
    image.columns = rewrite(x);
    s.in_width = x.size, s.stride_x = x.stride, s.dilation_x = x.dilation;
    s.pad_left = s.pad_right = 0;
  }
  return image;
}

std::vector<std::byte> gather(const Conv2dShape& shape, const Conv2dImage& image,
                              std::size_t element, std::byte pad, const std::byte* in) {
  const std::size_t pixel = shape.in_channels * element, line = shape.in_width * pixel;
  std::vector<std::byte> out(std::size_t{image.shape.in_height} * image.shape.in_width * pixel,
                             pad);
  std::byte* to = out.data();
  for (std::size_t y = 0; y < image.shape.in_height; ++y) {
    const std::int32_t row = image.rows.empty() ? static_cast<std::int32_t>(y) : image.rows[y];
    for (std::size_t x = 0; x < image.shape.in_width; ++x, to += pixel) {
      const std::int32_t column =
          image.columns.empty() ? static_cast<std::int32_t>(x) : image.columns[x];
      if (row >= 0 && column >= 0)
        std::memcpy(
            to,
            in + static_cast<std::size_t>(row) * line + static_cast<std::size_t>(column) * pixel,
            pixel);
    }
  }
  return out;
}

void fold_input_zero(const Conv2dShape& s, const std::int8_t* weights, std::int8_t zero,
                     std::span<std::int32_t> bias) {
  if (zero == 0) return;
  const std::size_t taps = std::size_t{s.kernel_height} * s.kernel_width;
  const std::size_t per_kernel = taps * s.in_channels / s.groups;
  const std::size_t count = s.depthwise ? taps * s.in_channels : per_kernel * s.out_channels;
  for (std::size_t i = 0; i < count; ++i) {
    std::int32_t& sum = bias[s.depthwise ? i % s.in_channels : i / per_kernel];
    sum = static_cast<std::int32_t>(static_cast<std::uint32_t>(sum) -
                                    static_cast<std::uint32_t>(std::int32_t{zero} * weights[i]));
  }
}

void pack_conv2d_weights(const Conv2dPlan& plan, std::size_t core, const std::byte* weights,
                         std::span<std::byte> to) {
  if (plan.shape.depthwise)
    pack_depthwise(plan, weights, to);
  else
    pack_dense(plan, plan.cores[core].kernels, weights, to);
}

void pack_conv2d_bias(const Conv2dPlan& plan, std::size_t core, std::span<const std::int32_t> bias,
                      std::span<const std::int16_t> multipliers, std::span<std::byte> to) {
  const Range kernels = plan.cores[core].kernels;
  const std::size_t real = std::min(kernels.size, plan.shape.out_channels - kernels.begin);
  if (!multipliers.empty()) {
    pack_bias_and_multipliers(bias.subspan(kernels.begin, real),
                              multipliers.subspan(kernels.begin, real), to);
    return;
  }
  std::fill(to.begin(), to.end(), std::byte{0});
  std::memcpy(to.data(), bias.data() + kernels.begin, real * sizeof(std::int32_t));
}

void pack_conv2d_addend(const Conv2dPlan& plan, std::size_t core_index, std::uint32_t stride,
                        const std::byte* addend, std::span<std::byte> to) {
  const Conv2dCore& core = plan.cores[core_index];
  const std::size_t element = host_bytes(plan.types.out);
  const std::size_t lanes = atom_elements(plan.types.out);
  const std::size_t width = plan.shape.out_width(), positions = core.rows.size * width;
  const std::size_t real =
      std::min(core.kernels.size, plan.shape.out_channels - core.kernels.begin);
  std::fill(to.begin(), to.end(), std::byte{0});
  const std::byte* from =
      addend + (core.rows.begin * width * stride + core.kernels.begin) * element;
  for (std::size_t position = 0; position < positions; ++position)
    for (std::size_t c = 0; c < real; c += lanes)
      std::memcpy(to.data() + (c / lanes * core.addend_plane + position) * kAtomBytes,
                  from + (position * stride + c) * element, std::min(lanes, real - c) * element);
}

}  // namespace npu::kernels
