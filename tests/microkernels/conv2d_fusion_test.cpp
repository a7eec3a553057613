// SPDX-License-Identifier: MIT
// What runs with a convolution in the same job, and what the host rewrites for it.
#include <functional>

#include "conv2d_cases.hpp"
#include "microkernels/activation.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

using enum DataType;

TEST(Conv2dFusion, ScalesByChannelEqualTheReference) {
  const Cores cores(3);
  std::mt19937 random(91);
  for (std::uint32_t round = 0; round < 24; ++round)
    ASSERT_TRUE(compare(
        cores.first(round % 3 + 1),
        {.shape = random_shape(random, round % 2 == 1), .types = {i8, i8}, .per_channel = true},
        round));
}

// Also several tasks of rows.
TEST(Conv2dFusion, AddendsEqualTheReference) {
  const Cores cores(3);
  std::mt19937 random(92);
  for (std::uint32_t round = 0; round < 30; ++round) {
    Conv2dShape s = random_shape(random, false);
    if (round % 5 == 0)
      s = {.in_height = 50, .in_width = 60, .in_channels = 80, .out_channels = 40};
    while (s.out_height() * s.out_width() < 12) s = random_shape(random, false);
    for (const Conv2dTypes& types : {Conv2dTypes{i8, i8}, {f16, f16}})
      ASSERT_TRUE(compare(cores.first(round % 3 + 1),
                          {.shape = s,
                           .types = types,
                           .fusion = {.activation = {}, .addend = true},
                           .per_channel = types.in == i8 && round % 2 == 0},
                          round));
  }
}

TEST(Conv2dFusion, GroupsEqualTheReference) {
  const Cores cores(2);
  std::mt19937 random(93);
  for (std::uint32_t round = 0; round < 16; ++round) {
    Conv2dShape s = random_shape(random, false);
    s.groups = pick(random, 2, 5);
    s.in_channels = s.groups * pick(random, 1, 20);
    s.out_channels = s.groups * pick(random, 1, 20);
    for (const Conv2dTypes& types : {Conv2dTypes{i8, i8}, {i8, i32}, {f16, f32}, {f16, f16}})
      ASSERT_TRUE(compare(
          cores.first(round % 2 + 1),
          {.shape = s,
           .types = types,
           .fusion = {.activation = {},
                      .addend = types.in == types.out && s.out_height() * s.out_width() >= 12},
           .per_channel = types.out == i8 && round % 2 == 0},
          round));
  }
}

// Padding beyond 15 and beyond the kernel, strides above 7, dilations above 32.
TEST(Conv2dFusion, ShapesThatTheHostRewritesEqualTheReference) {
  const Cores cores(2);
  std::mt19937 random(94);
  for (std::uint32_t round = 0; round < 24; ++round) {
    Conv2dShape s = random_shape(random, round % 3 == 0);
    const auto kernel = [&] { return pick(random, 1, 5); };
    switch (round % 4) {
      case 0: s.pad_top = pick(random, 5, 20), s.pad_right = pick(random, 5, 20); break;
      case 1:
        s.stride_x = pick(random, 8, 12), s.kernel_width = kernel(), s.in_width = 40;
        s.pad_left = pick(random, 0, 6);
        break;
      case 2: s.stride_y = pick(random, 8, 40), s.in_height += 60; break;
      case 3:
        s.dilation_y = pick(random, 33, 40), s.kernel_height = 2, s.in_height = 60;
        s.pad_bottom = pick(random, 0, 50);
        break;
    }
    for (const Conv2dTypes& types : {Conv2dTypes{i8, i8}, {f16, f16}})
      ASSERT_TRUE(compare(cores.first(round % 2 + 1), {.shape = s, .types = types}, round));
  }
}

double expected(Activation f, double x) {
  switch (f) {
    case Activation::relu: return std::max(x, 0.0);
    case Activation::relu6: return std::clamp(x, 0.0, 6.0);
    case Activation::sigmoid: return 1 / (1 + std::exp(-x));
    case Activation::hard_sigmoid: return std::clamp(x / 6 + 0.5, 0.0, 1.0);
    case Activation::tanh: return std::tanh(x);
    case Activation::exp: return std::exp(x);
    case Activation::silu: return x / (1 + std::exp(-x));
    case Activation::gelu: return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
  }
  return 0;
}

// The errors that activation.hpp states, and half a last place of the fp16 result (of x for those
// in two steps, and of an fp16 input of up to 8).
double allowed(Activation f) {
  switch (f) {
    case Activation::relu:
    case Activation::relu6: return 0.004;
    case Activation::sigmoid: return 0.0004 + 0.002;
    case Activation::hard_sigmoid: return 0.001 + 0.001;
    case Activation::tanh: return 0.0005 + 0.004;
    case Activation::exp: return 0.0009 + 0.004;
    case Activation::silu: return 0.006 + 0.004;
    case Activation::gelu: return 0.002 + 0.004;
  }
  return 0;
}

TEST(Conv2dFusion, FunctionsHaveTheErrorOfTheirTables) {
  const Cores cores(2);
  std::mt19937 random(95);
  for (const Activation f :
       {Activation::relu, Activation::relu6, Activation::sigmoid, Activation::hard_sigmoid,
        Activation::tanh, Activation::exp, Activation::silu, Activation::gelu})
    for (const bool depthwise : {false, true})
      for (const bool addend : {false, true}) {
        if (depthwise && addend) continue;
        Conv2dShape s = random_shape(random, depthwise);
        while (s.out_height() * s.out_width() < 12) s = random_shape(random, depthwise);
        const std::size_t kernel =
            std::size_t{s.kernel_height} * s.kernel_width * (depthwise ? 1 : s.in_channels);
        const auto in = random_tensor<std::uint16_t>(
            std::size_t{s.in_height} * s.in_width * s.in_channels, random);
        std::vector<std::uint16_t> weights(kernel * s.out_channels);
        for (auto& w : weights)
          w = sim::float_to_fp16((static_cast<float>(random() % 2001) / 1000.0f - 1.0f) * 4 /
                                 std::sqrt(static_cast<float>(kernel)));
        std::vector<float> bias(s.out_channels);
        for (auto& b : bias) b = static_cast<float>(random() % 1000) / 1000.0f;
        const std::size_t size = std::size_t{s.out_height()} * s.out_width() * s.out_channels;
        std::vector<std::uint16_t> out(size);
        std::vector<float> sums(size);
        auto more = random_tensor<std::uint16_t>(addend ? size : 0, random);
        Conv2d conv(cores.first(2), s, {f16, f16}, {f, addend});
        conv.set_weights(weights, bias);
        conv.run(in, more, out);
        ref_conv2d(s, {f16, f32}, {}, bias, 0, in, weights, sums, more);
        std::size_t checked = 0;
        for (std::size_t i = 0; i < size; ++i) {
          const double x = static_cast<double>(sums[i]);
          if (std::abs(x) > 8 || (f == Activation::exp && x > 0)) continue;
          ++checked;
          ASSERT_NEAR(static_cast<double>(sim::fp16_to_float(out[i])), expected(f, x), allowed(f))
              << to_string(conv.plan()) << i << " x " << x;
        }
        EXPECT_GT(checked, 0u) << to_string(conv.plan());
      }
}

TEST(Conv2dFusion, OneTableIsPartOfTheConvolutionsTask) {
  const Conv2dShape s{.in_height = 8, .in_width = 8, .in_channels = 32, .out_channels = 32};
  const auto tasks = [&](Activation f) {
    return emit_conv2d(plan_conv2d(s, {f16, f16}, 1, {f, false}), 0, 0, {}).tasks.size();
  };
  EXPECT_EQ(tasks(Activation::sigmoid), 1u);
  EXPECT_EQ(tasks(Activation::relu6), 1u);
  EXPECT_EQ(tasks(Activation::gelu), 3u);
}

TEST(Conv2dFusion, FactorsByChannelKeepTheirRatio) {
  std::mt19937 random(96);
  for (int round = 0; round < 200; ++round) {
    std::vector<float> factors(1 + random() % 40);
    float most = 0;
    for (float& f : factors) {
      f = std::ldexp(static_cast<float>(random() % 1000), -static_cast<int>(random() % 20) - 8);
      most = std::max(most, f);
    }
    if (most == 0) continue;
    const std::int64_t largest = 1 + static_cast<std::int64_t>(random() % 0x7FFFFFFF);
    const ChannelRequant r = requant_per_channel(factors, 3, largest);
    EXPECT_EQ(r.requant.offset, 3);
    ASSERT_EQ(r.channels.multipliers.size(), factors.size());
    const double gain = std::ldexp(r.requant.scale, -r.requant.shift - r.channels.shift);
    for (std::size_t i = 0; i < factors.size(); ++i) {
      const std::int16_t m = r.channels.multipliers[i];
      EXPECT_NEAR(m * gain, static_cast<double>(factors[i]), static_cast<double>(most) / 30000);
      // Nothing saturates on the way.
      const std::int64_t wide = largest * m >> r.channels.shift;
      EXPECT_LE(wide, 0x7FFFFFFF);
    }
  }
  for (const std::vector<float>& bad : {std::vector<float>{}, {0.0f}, {-1.0f}, {NAN}, {INFINITY}})
    EXPECT_THROW(requant_per_channel(bad), Error);
}

TEST(Conv2dFusion, WhatCannotBeCombinedIsRefused) {
  const Cores cores(1);
  const Conv2dShape good{.in_height = 9, .in_width = 9, .in_channels = 4, .out_channels = 4};
  const auto message = [&](auto make) -> std::string {
    try {
      make();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  using testing::HasSubstr;
  const auto conv = [&](const Conv2dShape& s, Conv2dTypes t, Conv2dFusion f) {
    return message([&] { Conv2d(cores.first(1), s, t, f); });
  };
  Conv2dShape depthwise = good, groups = good, wide = good;
  depthwise.depthwise = true;
  groups.groups = 3;
  wide.in_width = 1100, wide.in_channels = 192;
  EXPECT_EQ(conv(good, {f16, f16}, {Activation::tanh, true}), "no error");
  EXPECT_THAT(conv(good, {i8, i8}, {Activation::tanh, false}), HasSubstr("no activation"));
  EXPECT_THAT(conv(good, {f16, f32}, {{}, true}), HasSubstr("no addend"));
  EXPECT_THAT(conv(depthwise, {i8, i8}, {{}, true}), HasSubstr("use Elementwise"));
  Conv2dShape tiny = good;
  tiny.in_height = 1;
  EXPECT_THAT(conv(tiny, {i8, i8}, {{}, true}), HasSubstr("9 positions"));
  EXPECT_THAT(conv(groups, {i8, i8}, {}), HasSubstr("no 3 groups"));
  Conv2dShape far = good;
  far.stride_x = 9, far.kernel_width = 8;
  EXPECT_THAT(conv(far, {i8, i8}, {}), HasSubstr("stride_x is 9"));
  EXPECT_THAT(conv(wide, {i8, i8}, {}), HasSubstr("strips"));
  Conv2d table(cores.first(1), good, {f16, f16}, {Activation::tanh, false});
  EXPECT_THAT(message([&] { table.set_post({.relu = true}); }), HasSubstr("no ReLU besides"));
  Conv2d bytes(cores.first(1), good, {i8, i8});
  Conv2dPost post;
  post.channels.multipliers = {1, 2, 3};
  EXPECT_THAT(message([&] { bytes.set_post(post); }), HasSubstr("one per channel"));
  Conv2d adds(cores.first(1), good, {i8, i8}, {{}, true});
  std::vector<std::int8_t> image(9 * 9 * 4), weights(16);
  adds.set_weights(weights);
  adds.set_post({});
  EXPECT_THAT(message([&] { adds.run(image, image); }), HasSubstr("adds a tensor"));
  EXPECT_THAT(message([&] { adds.run(image, weights, image); }), HasSubstr("the addend"));
  EXPECT_NO_THROW(adds.run(image, image, image));
}

}  // namespace
}  // namespace npu::kernels
