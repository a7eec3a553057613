// SPDX-License-Identifier: MIT
// Transposed convolutions equal a plain scatter of the kernels, by every method.
#include "microkernels/transposed_conv.hpp"

#include <numeric>

#include "conv2d_cases.hpp"
#include "microkernels/wide_sum.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

using enum DataType;

// The bits that a method may make of float sums: each tap's channels in blocks of 32, in the order
// of the turned kernel.
template <class In, class Out>
void reference(const TransposedShape& s, const Conv2dPost& post,
               const std::vector<std::int32_t>& bias, std::int8_t zero, const std::vector<In>& in,
               const std::vector<In>& w, std::vector<Out>& out) {
  for (std::uint32_t y = 0; y < s.out_height(); ++y)
    for (std::uint32_t x = 0; x < s.out_width(); ++x)
      for (std::uint32_t o = 0; o < s.out_channels; ++o) {
        std::int64_t integer = 0;
        float real = 0;
        for (std::uint32_t first = 0; first < s.in_channels; first += 32)
          for (std::uint32_t ky = s.kernel_height; ky-- > 0;)
            for (std::uint32_t kx = s.kernel_width; kx-- > 0;) {
              const std::int64_t at_y = std::int64_t{y} + s.pad_top - ky;
              const std::int64_t at_x = std::int64_t{x} + s.pad_left - kx;
              if (at_y < 0 || at_x < 0 || at_y % s.stride_y != 0 || at_x % s.stride_x != 0)
                continue;
              const auto iy = static_cast<std::size_t>(at_y / s.stride_y);
              const auto ix = static_cast<std::size_t>(at_x / s.stride_x);
              if (iy >= s.in_height || ix >= s.in_width) continue;
              WideSum wide;
              for (std::uint32_t c = first; c < std::min(first + 32, s.in_channels); ++c) {
                const In a = in[(iy * s.in_width + ix) * s.in_channels + c];
                const In b = w[((std::size_t{o} * s.kernel_height + ky) * s.kernel_width + kx) *
                                   s.in_channels +
                               c];
                if constexpr (sizeof(In) == 1)
                  integer += (std::int64_t{a} - zero) * b;
                else
                  wide.add(static_cast<double>(sim::fp16_to_float(a)) *
                           static_cast<double>(sim::fp16_to_float(b)));
              }
              real += wide.rounded();
            }
        Out& to = out[(std::size_t{y} * s.out_width() + x) * s.out_channels + o];
        if constexpr (sizeof(In) == 2) {
          if (!bias.empty()) real += std::bit_cast<float>(bias[o]);
          if (post.relu) real = std::max(real, 0.0f);
          if constexpr (sizeof(Out) == 2)
            to = sim::float_to_fp16(real);
          else
            to = real;
        } else {
          integer += bias.empty() ? 0 : bias[o];
          if constexpr (sizeof(Out) == 4) {
            to = static_cast<Out>(integer);
          } else {
            std::int64_t sum =
                post.channels.empty()
                    ? integer
                    : scale_channel(integer, post.channels.multipliers[o], post.channels.shift);
            if (post.relu) sum = std::max<std::int64_t>(sum, 0);
            to = requantise(static_cast<std::int32_t>(sum), post.requant);
          }
        }
      }
}

template <class In, class Out>
testing::AssertionResult equal(std::span<device::Device* const> devices, const TransposedShape& s,
                               const Conv2dTypes& types, TransposedMethod method,
                               std::uint32_t seed) {
  std::mt19937 random(seed);
  const std::size_t kernel = std::size_t{s.kernel_height} * s.kernel_width * s.in_channels;
  const auto in = random_tensor<In>(std::size_t{s.in_height} * s.in_width * s.in_channels, random);
  const auto weights = random_tensor<In>(kernel * s.out_channels, random);
  std::vector<std::int32_t> bias(seed % 3 == 0 ? 0 : s.out_channels);
  for (auto& b : bias) {
    b = static_cast<std::int32_t>(random() % 20001) - 10000;
    if (sizeof(In) == 2) b = std::bit_cast<std::int32_t>(static_cast<float>(b) / 7000);
  }
  const auto zero = static_cast<std::int8_t>(sizeof(In) == 1 ? random() % 256 : 0);
  Conv2dPost post;
  if (types.out == i8) post.requant = random_requant(kernel, random);
  post.relu = types.out != i32 && seed % 2 == 1;
  if (types.out == i8 && seed % 4 == 2) {
    post.channels.shift = 14;
    for (std::uint32_t i = 0; i < s.out_channels; ++i)
      post.channels.multipliers.push_back(static_cast<std::int16_t>(random() % 0x8000));
  }
  std::vector<Out> out(std::size_t{s.out_height()} * s.out_width() * s.out_channels),
      want(out.size());
  TransposedConv2d conv(devices, s, types, method);
  conv.set_weights(weights, bias, zero);
  conv.set_post(post);
  conv.run(in, out);
  reference(s, post, bias, zero, in, weights, want);
  for (std::size_t i = 0; i < out.size(); ++i)
    if (std::memcmp(&out[i], &want[i], sizeof(Out)) != 0)
      return testing::AssertionFailure()
             << to_string(method) << ", stride " << s.stride_y << "x" << s.stride_x << ", padding "
             << s.pad_top << " " << s.pad_left << " " << s.pad_bottom << " " << s.pad_right << ", "
             << to_string(conv.plan()) << "element " << i << " is " << +out[i] << ", expected "
             << +want[i];
  return testing::AssertionSuccess();
}

TransposedShape random_transposed(std::mt19937& random) {
  for (;;) {
    TransposedShape s{.in_height = pick(random, 1, 9),
                      .in_width = pick(random, 1, 9),
                      .in_channels = pick(random, 1, 40),
                      .out_channels = pick(random, 1, 36),
                      .kernel_height = pick(random, 1, 5),
                      .kernel_width = pick(random, 1, 5),
                      .stride_y = pick(random, 1, 4),
                      .stride_x = pick(random, 1, 4)};
    s.pad_top = pick(random, 0, s.kernel_height), s.pad_left = pick(random, 0, 2);
    s.pad_bottom = pick(random, 0, 2), s.pad_right = pick(random, 0, s.kernel_width);
    s.output_pad_y = pick(random, 0, s.stride_y - 1),
    s.output_pad_x = pick(random, 0, s.stride_x - 1);
    if (s.out_height() != 0 && s.out_width() != 0) return s;
  }
}

TEST(TransposedConv2d, EveryMethodEqualsThePlainScatter) {
  const Cores cores(3);
  std::mt19937 random(101);
  std::size_t ran[3] = {};
  for (std::uint32_t round = 0; round < 40; ++round) {
    const TransposedShape s = random_transposed(random);
    for (const TransposedMethod method :
         {TransposedMethod::spread, TransposedMethod::chip_spread, TransposedMethod::phases})
      for (const Conv2dTypes& types : {Conv2dTypes{i8, i8}, {i8, i32}, {f16, f32}, {f16, f16}}) {
        Conv2dShape conv;
        if (!transposed_as_conv(s, method, conv)) continue;
        if (method == TransposedMethod::chip_spread) try {
            plan_conv2d(conv, types);
          } catch (const Error&) {
            continue;  // int8, strides of 3
          }
        ++ran[static_cast<std::size_t>(method)];
        const auto devices = cores.first(round % 3 + 1);
        ASSERT_TRUE(types.out == i8
                        ? (equal<std::int8_t, std::int8_t>(devices, s, types, method, round))
                    : types.out == i32
                        ? (equal<std::int8_t, std::int32_t>(devices, s, types, method, round))
                    : types.out == f32
                        ? (equal<std::uint16_t, float>(devices, s, types, method, round))
                        : (equal<std::uint16_t, std::uint16_t>(devices, s, types, method, round)));
      }
  }
  for (const std::size_t count : ran) EXPECT_GT(count, 15u);
}

TEST(TransposedConv2d, TheFastestMethodIsTaken) {
  std::mt19937 random(102);
  for (int round = 0; round < 60; ++round) {
    TransposedShape s = random_transposed(random);
    s.in_height *= 4, s.in_width *= 4, s.in_channels *= 3;
    const Conv2dTypes types = round % 2 == 0 ? Conv2dTypes{i8, i8} : Conv2dTypes{f16, f16};
    const TransposedPlan plan = plan_transposed(s, types);
    for (const TransposedMethod method :
         {TransposedMethod::spread, TransposedMethod::chip_spread, TransposedMethod::phases}) {
      Conv2dShape conv;
      if (!transposed_as_conv(s, method, conv)) continue;
      try {
        EXPECT_LE(plan.seconds, plan_conv2d(conv, types).seconds) << to_string(method);
      } catch (const Error&) {
      }
    }
  }
}

TEST(TransposedConv2d, WhatCannotBeIsRefused) {
  const Cores cores(1);
  const TransposedShape good{.in_height = 3,
                             .in_width = 3,
                             .in_channels = 2,
                             .out_channels = 2,
                             .kernel_height = 2,
                             .kernel_width = 2,
                             .stride_y = 2,
                             .stride_x = 2};
  const auto refused = [&](auto change) {
    TransposedShape s = good;
    change(s);
    EXPECT_THROW(TransposedConv2d(cores.first(1), s, {i8, i8}), Error);
  };
  refused([](auto& s) { s.in_height = 0; });
  refused([](auto& s) { s.kernel_width = 32; });
  refused([](auto& s) { s.stride_x = 0; });
  refused([](auto& s) { s.output_pad_y = 2; });
  refused([](auto& s) { s.pad_top = 9; });
  refused([](auto& s) { s.out_channels = 0; });
  EXPECT_THROW(TransposedConv2d(cores.first(1), good, {i8, i8}, TransposedMethod::chip_spread),
               Error);
  EXPECT_THROW(TransposedConv2d({}, good, {i8, i8}), Error);
  TransposedConv2d conv(cores.first(1), good, {i8, i8});
  std::vector<std::int8_t> in(18), weights(16), out(6 * 6 * 2);
  EXPECT_THROW(conv.run(in, out), Error);
  EXPECT_THROW(conv.set_weights(in), Error);
  conv.set_weights(weights);
  conv.set_post({});
  EXPECT_THROW(conv.run(weights, out), Error);
  EXPECT_THROW(conv.run(in, weights), Error);
  EXPECT_NO_THROW(conv.run(in, out));
}

}  // namespace
}  // namespace npu::kernels
