// SPDX-License-Identifier: MIT
// Random convolutions, run on the simulated NPU and compared with the reference bit for bit.
#pragma once

#include <gmock/gmock.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "gemm_cases.hpp"
#include "microkernels/conv2d.hpp"
#include "microkernels/reference.hpp"
#include "npu-sim/float_types.hpp"

namespace npu::kernels {

struct Conv2dCase {
  Conv2dShape shape;
  Conv2dTypes types;
  Conv2dFusion fusion{};
  bool per_channel = false;
};

template <class T>
std::vector<T> random_tensor(std::size_t count, std::mt19937& random) {
  std::vector<T> values(count);
  for (T& value : values) {
    const float real = std::ldexp(static_cast<float>(random() % 2001) / 1000.0f - 1.0f,
                                  static_cast<int>(random() % 7) - 3);
    value = sizeof(T) == 1 ? static_cast<T>(random()) : static_cast<T>(sim::float_to_fp16(real));
  }
  return values;
}

// A requantisation that spreads sums of `products` products over the bytes.
inline Requant random_requant(std::size_t products, std::mt19937& random) {
  std::uint32_t shift = 20;
  for (; products > 1; products /= 4) ++shift;
  return {static_cast<std::int16_t>(pick(random, 0x4000, 0x7FFF)), static_cast<std::uint8_t>(shift),
          static_cast<std::int32_t>(random() % 100) - 50};
}

inline Conv2dPost random_post(const Conv2dCase& c, std::size_t products, std::uint32_t seed,
                              std::mt19937& random) {
  Conv2dPost post;
  if (c.types.out == DataType::i8) post.requant = random_requant(products, random);
  post.relu = c.types.out != DataType::i32 && c.types.out != DataType::i16 &&
              !c.fusion.activation && seed % 2 == 1;
  if (post.relu && seed % 4 == 1)
    post.relu_limit = is_float(c.types.in) ? std::bit_cast<std::uint32_t>(0.75f) : 30000;
  if (c.per_channel) {
    post.channels.shift = static_cast<std::uint8_t>(pick(random, 10, 16));
    for (std::uint32_t i = 0; i < c.shape.out_channels; ++i)
      post.channels.multipliers.push_back(static_cast<std::int16_t>(random()));
  }
  if (c.fusion.addend && c.types.out == DataType::i8)
    post.addend = {static_cast<std::int16_t>(pick(random, 0x4000, 0x7FFF)),
                   static_cast<std::uint8_t>(pick(random, 5, 12)),
                   static_cast<std::int32_t>(random() % 200) - 100};
  return post;
}

template <class In, class Out>
testing::AssertionResult compare(std::span<device::Device* const> devices, const Conv2dCase& c,
                                 std::uint32_t seed) {
  const Conv2dShape& s = c.shape;
  std::mt19937 random(seed);
  const std::size_t kernel_size =
      std::size_t{s.kernel_height} * s.kernel_width * (s.depthwise ? 1 : s.in_channels / s.groups);
  auto in = random_tensor<In>(std::size_t{s.in_height} * s.in_width * s.in_channels, random);
  auto weights = random_tensor<In>(kernel_size * s.out_channels, random);
  const bool nibbles = c.types.in == DataType::i4;
  for (auto* tensor : {&in, &weights})
    for (In& value : *tensor) {
      if (nibbles) value = static_cast<In>(static_cast<int>(random() % 16) - 8);
      if (c.types.in == DataType::bf16)
        value = static_cast<In>(
            std::bit_cast<std::uint32_t>(sim::fp16_to_float(static_cast<std::uint16_t>(value))) >>
            16);
    }
  std::vector<std::int32_t> bias(nibbles || seed % 3 == 0 ? 0 : s.out_channels);
  for (auto& value : bias) {
    value = static_cast<std::int32_t>(random() % 20001) - 10000;
    if (is_float(c.types.in)) value = std::bit_cast<std::int32_t>(static_cast<float>(value) / 7000);
  }
  const auto zero = static_cast<std::int8_t>(is_float(c.types.in) || nibbles ? 0 : random() % 256);
  const Conv2dPost post = random_post(c, kernel_size, seed, random);
  std::vector<Out> out(std::size_t{s.out_height()} * s.out_width() * s.out_channels),
      want(out.size());
  const auto addend = random_tensor<Out>(c.fusion.addend ? out.size() : 0, random);
  Conv2d conv(devices, s, c.types, c.fusion);
  conv.set_weights(weights, bias, zero);
  conv.set_post(post);
  conv.run(in, addend, out);
  ref_conv2d(s, c.types, post, bias, zero, in, weights, want, addend);
  for (std::size_t i = 0; i < out.size(); ++i)
    if (std::memcmp(&out[i], &want[i], sizeof(Out)) != 0)
      return testing::AssertionFailure()
             << to_string(conv.plan()) << s.groups << " group(s), ["
             << i / s.out_channels / s.out_width() << "][" << i / s.out_channels % s.out_width()
             << "][" << i % s.out_channels << "] is " << +out[i] << ", expected " << +want[i];
  return testing::AssertionSuccess();
}

inline testing::AssertionResult compare(std::span<device::Device* const> devices,
                                        const Conv2dCase& c, std::uint32_t seed) {
  using enum DataType;
  if (c.types.out == i8) return compare<std::int8_t, std::int8_t>(devices, c, seed);
  if (c.types.out == i16) return compare<std::int8_t, std::int16_t>(devices, c, seed);
  if (c.types.out == i32) return compare<std::int8_t, std::int32_t>(devices, c, seed);
  if (c.types.out == f16) return compare<std::uint16_t, std::uint16_t>(devices, c, seed);
  return compare<std::uint16_t, float>(devices, c, seed);
}

inline Conv2dShape random_shape(std::mt19937& random, bool depthwise) {
  for (;;) {
    Conv2dShape s;
    s.in_height = pick(random, 1, 24);
    s.in_width = pick(random, 1, 24);
    s.in_channels = pick(random, 1, 70);
    s.out_channels = depthwise ? s.in_channels : pick(random, 1, 70);
    s.kernel_height = pick(random, 1, 5);
    s.kernel_width = pick(random, 1, 5);
    s.stride_y = pick(random, 1, 3);
    s.stride_x = pick(random, 1, 3);
    if (pick(random, 0, 3) == 0) s.dilation_y = pick(random, 1, 3);
    if (pick(random, 0, 3) == 0) s.dilation_x = pick(random, 1, 3);
    s.pad_top = pick(random, 0, s.kernel_height - 1);
    s.pad_bottom = pick(random, 0, s.kernel_height - 1);
    s.pad_left = pick(random, 0, s.kernel_width - 1);
    s.pad_right = pick(random, 0, s.kernel_width - 1);
    s.depthwise = depthwise;
    if (s.out_height() != 0 && s.out_width() != 0) return s;
  }
}

}  // namespace npu::kernels
