// SPDX-License-Identifier: MIT
#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "microkernels/layout.hpp"
#include "microkernels/reference.hpp"
#include "microkernels/wide_sum.hpp"
#include "npu-sim/float_types.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

struct Window {
  const Conv2dShape& s;
  std::uint32_t y, x;
  // Whether tap (ky, kx) lies inside of the image, and its position.
  bool inside(std::uint32_t ky, std::uint32_t kx, std::size_t& position) const {
    const std::int64_t iy =
        std::int64_t{y} * s.stride_y + std::int64_t{ky} * s.dilation_y - s.pad_top;
    const std::int64_t ix =
        std::int64_t{x} * s.stride_x + std::int64_t{kx} * s.dilation_x - s.pad_left;
    position = static_cast<std::size_t>(iy * s.in_width + ix);
    return iy >= 0 && ix >= 0 && iy < s.in_height && ix < s.in_width;
  }
};

std::size_t weight_at(const Conv2dShape& s, std::uint32_t o, std::uint32_t ky, std::uint32_t kx,
                      std::uint32_t c) {
  const std::size_t tap = std::size_t{ky} * s.kernel_width + kx;
  const std::size_t taps = std::size_t{s.kernel_height} * s.kernel_width;
  return s.depthwise ? tap * s.in_channels + o : (o * taps + tap) * (s.in_channels / s.groups) + c;
}

// First input channel of the group that makes output channel o.
std::uint32_t first_channel(const Conv2dShape& s, std::uint32_t o) {
  return s.depthwise ? o : o / (s.out_channels / s.groups) * (s.in_channels / s.groups);
}

// Calls use(ky, kx, position) for the taps inside of the image, in order.
template <class Use>
void for_each_tap(const Window& window, Use use) {
  for (std::uint32_t ky = 0; ky < window.s.kernel_height; ++ky)
    for (std::uint32_t kx = 0; kx < window.s.kernel_width; ++kx)
      if (std::size_t position; window.inside(ky, kx, position)) use(ky, kx, position);
}

std::int64_t integer_sum(const Window& window, const std::int8_t* in, const std::int8_t* w,
                         std::uint32_t o, std::int8_t zero) {
  const Conv2dShape& s = window.s;
  const std::uint32_t first = first_channel(s, o),
                      count = s.depthwise ? 1 : s.in_channels / s.groups;
  std::int64_t sum = 0;
  for_each_tap(window, [&](std::uint32_t ky, std::uint32_t kx, std::size_t position) {
    for (std::uint32_t c = 0; c < count; ++c)
      sum += (std::int64_t{in[position * s.in_channels + first + c]} - zero) *
             w[weight_at(s, o, ky, kx, c)];
  });
  return sum;
}

float half(const std::byte* data, std::size_t index, DataType type = DataType::f16) {
  std::uint16_t value;
  std::memcpy(&value, data + index * 2, 2);
  return type == DataType::bf16 ? std::bit_cast<float>(std::uint32_t{value} << 16)
                                : sim::fp16_to_float(value);
}

float float_sum(const Window& window, DataType type, const std::byte* in, const std::byte* w,
                std::uint32_t o) {
  const Conv2dShape& s = window.s;
  if (s.depthwise) {
    WideSum sum;
    for_each_tap(window, [&](std::uint32_t ky, std::uint32_t kx, std::size_t position) {
      sum.add(static_cast<double>(half(in, position * s.in_channels + o)) *
              half(w, weight_at(s, o, ky, kx, o)));
    });
    return sum.rounded();
  }
  const std::uint32_t group = first_channel(s, o), count = s.in_channels / s.groups;
  float total = 0;
  for (std::uint32_t first = 0; first < count; first += 32)
    for_each_tap(window, [&](std::uint32_t ky, std::uint32_t kx, std::size_t position) {
      WideSum sum;
      for (std::uint32_t c = first; c < std::min(first + 32, count); ++c)
        sum.add(static_cast<double>(half(in, position * s.in_channels + group + c, type)) *
                half(w, weight_at(s, o, ky, kx, c), type));
      total += sum.rounded();
    });
  return total;
}

}  // namespace

void ref_conv2d(const Conv2dShape& s, const Conv2dTypes& types, const Conv2dPost& post,
                ConstElements bias, std::int8_t input_zero, ConstElements in, ConstElements weights,
                Elements out, ConstElements addend) {
  const auto limit = [&](auto value, auto most) {
    if (post.relu) value = std::max(value, decltype(value){0});
    return post.relu && post.relu_limit != 0 ? std::min(value, most) : value;
  };
  const auto saturate = [](std::int64_t value) {
    return std::clamp<std::int64_t>(value, std::numeric_limits<std::int32_t>::min(),
                                    std::numeric_limits<std::int32_t>::max());
  };
  const auto bias_at = [&]<class T>(std::uint32_t o, T none) {
    T value = none;
    if (!bias.empty()) std::memcpy(&value, bias.data() + std::size_t{o} * 4, 4);
    return value;
  };
  for (std::uint32_t y = 0; y < s.out_height(); ++y)
    for (std::uint32_t x = 0; x < s.out_width(); ++x)
      for (std::uint32_t o = 0; o < s.out_channels; ++o) {
        const Window window{s, y, x};
        const std::size_t at = (std::size_t{y} * s.out_width() + x) * s.out_channels + o;
        if (is_float(types.in)) {
          float sum = float_sum(window, types.in, in.data(), weights.data(), o);
          if (!bias.empty()) sum += bias_at(o, 0.0f);
          if (!addend.empty()) sum += half(addend.data(), at);
          sum = limit(sum, std::bit_cast<float>(post.relu_limit));
          const std::uint16_t narrow = sim::float_to_fp16(sum);
          if (types.out == DataType::f16)
            std::memcpy(out.data() + at * 2, &narrow, 2);
          else
            std::memcpy(out.data() + at * 4, &sum, 4);
          continue;
        }
        std::int64_t sum =
            integer_sum(window, reinterpret_cast<const std::int8_t*>(in.data()),
                        reinterpret_cast<const std::int8_t*>(weights.data()), o, input_zero) +
            bias_at(o, std::int32_t{0});
        if (types.out == DataType::i16) {
          const auto narrow = static_cast<std::int16_t>(sum);
          std::memcpy(out.data() + at * 2, &narrow, 2);
          continue;
        }
        if (types.out == DataType::i32) {
          const auto wrapped = static_cast<std::int32_t>(static_cast<std::uint64_t>(sum));
          std::memcpy(out.data() + at * 4, &wrapped, 4);
          continue;
        }
        sum = post.channels.empty()
                  ? saturate(sum)
                  : scale_channel(sum, post.channels.multipliers[o], post.channels.shift);
        if (!addend.empty()) {
          const auto byte = static_cast<std::int8_t>(addend.data()[at]);
          sum = saturate(sum + scale_operand(byte, post.addend));
        }
        sum = limit(sum, std::int64_t{post.relu_limit});
        const std::int8_t value = requantise(static_cast<std::int32_t>(sum), post.requant);
        std::memcpy(out.data() + at, &value, 1);
      }
}

}  // namespace npu::kernels
