// SPDX-License-Identifier: MIT
// Convolutions on the simulated NPU equal the reference bit for bit.
#include "microkernels/conv2d.hpp"

#include <gmock/gmock.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "gemm_cases.hpp"
#include "microkernels/reference.hpp"
#include "npu-sim/float_types.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

using enum DataType;

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

template <class In, class Out>
testing::AssertionResult compare(std::span<device::Device* const> devices, const Conv2dShape& s,
                                 const Conv2dTypes& types, std::uint32_t seed) {
  std::mt19937 random(seed);
  const auto in = random_tensor<In>(std::size_t{s.in_height} * s.in_width * s.in_channels, random);
  const auto weights = random_tensor<In>(std::size_t{s.kernel_height} * s.kernel_width *
                                             s.in_channels * (s.depthwise ? 1 : s.out_channels),
                                         random);
  std::vector<std::int32_t> bias(is_float(types.in) || seed % 3 == 0 ? 0 : s.out_channels);
  for (auto& value : bias) value = static_cast<std::int32_t>(random() % 20001) - 10000;
  const auto zero = static_cast<std::int8_t>(is_float(types.in) ? 0 : random() % 256);
  Conv2dPost post;
  if (types.out == i8) {
    std::uint32_t shift = 20;
    for (std::size_t k = weights.size() / (s.depthwise ? s.in_channels : s.out_channels); k > 1;
         k /= 4)
      ++shift;
    post.requant = {static_cast<std::int16_t>(pick(random, 0x4000, 0x7FFF)),
                    static_cast<std::uint8_t>(shift),
                    static_cast<std::int32_t>(random() % 100) - 50};
  }
  post.relu = types.out != i32 && seed % 2 == 1;
  if (post.relu && seed % 4 == 1)
    post.relu_limit = is_float(types.in) ? std::bit_cast<std::uint32_t>(0.75f) : 30000;
  std::vector<Out> out(std::size_t{s.out_height()} * s.out_width() * s.out_channels),
      want(out.size());
  Conv2d conv(devices, s, types);
  conv.set_weights(weights, bias, zero);
  conv.set_post(post);
  conv.run(in, out);
  ref_conv2d(s, types, post, bias, zero, in, weights, want);
  for (std::size_t i = 0; i < out.size(); ++i)
    if (std::memcmp(&out[i], &want[i], sizeof(Out)) != 0)
      return testing::AssertionFailure()
             << to_string(conv.plan()) << "[" << i / s.out_channels / s.out_width() << "]["
             << i / s.out_channels % s.out_width() << "][" << i % s.out_channels << "] is "
             << +out[i] << ", expected " << +want[i];
  return testing::AssertionSuccess();
}

testing::AssertionResult compare(std::span<device::Device* const> devices, const Conv2dShape& s,
                                 const Conv2dTypes& types, std::uint32_t seed) {
  if (types.out == i8) return compare<std::int8_t, std::int8_t>(devices, s, types, seed);
  if (types.out == i32) return compare<std::int8_t, std::int32_t>(devices, s, types, seed);
  if (types.out == f16) return compare<std::uint16_t, std::uint16_t>(devices, s, types, seed);
  return compare<std::uint16_t, float>(devices, s, types, seed);
}

Conv2dShape random_shape(std::mt19937& random, bool depthwise) {
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

TEST(Conv2d, RandomShapesEqualTheReference) {
  const Cores cores(3);
  std::mt19937 random(81);
  for (std::uint32_t round = 0; round < 24; ++round)
    for (const Conv2dTypes& types : {Conv2dTypes{i8, i8}, {i8, i32}, {f16, f32}, {f16, f16}})
      ASSERT_TRUE(compare(cores.first(round % 3 + 1), random_shape(random, false), types, round));
}

TEST(Conv2d, RandomDepthwiseShapesEqualTheReference) {
  const Cores cores(3);
  std::mt19937 random(82);
  for (std::uint32_t round = 0; round < 24; ++round)
    for (const Conv2dTypes& types : {Conv2dTypes{i8, i8}, {f16, f16}})
      ASSERT_TRUE(compare(cores.first(round % 3 + 1), random_shape(random, true), types, round));
}

TEST(Conv2d, ImagesLargerThanCbufAreCutAndStillEqual) {
  const Cores cores(2);
  // Kernels that stay, and kernels that stream.
  const Conv2dShape wide{.in_height = 60,
                         .in_width = 110,
                         .in_channels = 64,
                         .out_channels = 5,
                         .kernel_height = 3,
                         .kernel_width = 3,
                         .pad_top = 1,
                         .pad_left = 1,
                         .pad_bottom = 1,
                         .pad_right = 1};
  const Conv2dShape deep{.in_height = 7,
                         .in_width = 8,
                         .in_channels = 256,
                         .out_channels = 200,
                         .kernel_height = 3,
                         .kernel_width = 3,
                         .stride_y = 2,
                         .stride_x = 2,
                         .pad_bottom = 1,
                         .pad_right = 1};
  const Conv2dPlan plan = plan_conv2d(wide, {i8, i8});
  ASSERT_GT(plan.cores[0].tasks.size(), 1u);
  EXPECT_FALSE(plan.cores[0].tasks[0].weight_reuse);
  EXPECT_TRUE(plan.cores[0].tasks[1].weight_reuse);
  for (const Conv2dTypes& types : {Conv2dTypes{i8, i8}, {f16, f16}}) {
    ASSERT_TRUE(compare(cores.first(2), wide, types, 1));
    ASSERT_TRUE(compare(cores.first(2), deep, types, 3));
  }
}

TEST(Conv2d, PlansCoverEachOutputOnce) {
  std::mt19937 random(83);
  for (int round = 0; round < 200; ++round) {
    Conv2dShape s = random_shape(random, round % 4 == 0);
    s.in_height = pick(random, s.in_height, 300);
    s.in_width = pick(random, s.in_width, 300);
    const Conv2dPlan plan = plan_conv2d(s, {i8, i8}, pick(random, 1, 3));
    std::vector<std::uint8_t> seen(std::size_t{s.out_height()} * plan.out_channels / 16);
    for (const Conv2dCore& core : plan.cores)
      for (const Conv2dTask& task : core.tasks) {
        EXPECT_LE(task.in_first + task.in_rows, s.in_height);
        EXPECT_EQ(task.data_banks + task.weight_banks, 12u);
        for (std::uint32_t row = task.rows.begin; row < task.rows.end(); ++row)
          for (std::uint32_t k = task.kernels.begin; k < task.kernels.end(); k += 16)
            ++seen[std::size_t{row} * plan.out_channels / 16 + k / 16];
      }
    ASSERT_THAT(seen, testing::Each(1));
  }
}

TEST(Conv2d, WhatTheChipCannotDoIsRefusedWithTheReason) {
  const auto message = [](Conv2dShape s, const Conv2dTypes& types) -> std::string {
    try {
      plan_conv2d(s, types);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  const Conv2dShape good{.in_height = 9, .in_width = 9, .in_channels = 3, .out_channels = 5};
  const auto with = [&](auto change) {
    Conv2dShape s = good;
    change(s);
    return s;
  };
  using testing::HasSubstr;
  EXPECT_EQ(message(good, {i8, i8}), "no error");
  EXPECT_THAT(message(good, {i4, i16}), HasSubstr("no convolution i4->i16"));
  EXPECT_THAT(message(with([](auto& s) { s.stride_x = 8; }), {i8, i8}), HasSubstr("stride_x is 8"));
  EXPECT_THAT(message(with([](auto& s) { s.in_width = 2048; }), {i8, i8}), HasSubstr("2047"));
  EXPECT_THAT(message(with([](auto& s) { s.kernel_height = 10; }), {i8, i8}), HasSubstr("10x1"));
  EXPECT_THAT(message(with([](auto& s) { s.pad_top = 1; }), {i8, i8}), HasSubstr("padding"));
  EXPECT_THAT(message(with([](auto& s) { s.depthwise = true; }), {i8, i8}),
              HasSubstr("per channel"));
  EXPECT_THAT(message(with([](auto& s) {
                        s.in_channels = 4096;
                        s.kernel_height = s.kernel_width = 9;
                        s.in_width = 500;
                      }),
                      {f16, f16}),
              HasSubstr("kernel has"));
  const Cores cores(1);
  Conv2d conv(cores.first(1), good, {i8, i8});
  std::vector<std::int8_t> in(9 * 9 * 3), weights(15), out(9 * 9 * 5);
  EXPECT_THROW(conv.run(in, out), Error);  // no weights
  conv.set_weights(weights);
  EXPECT_THROW(conv.run(in, out), Error);  // no requantisation
  conv.set_post({});
  EXPECT_THROW(conv.run(weights, out), Error);
  EXPECT_NO_THROW(conv.run(in, out));
}

}  // namespace
}  // namespace npu::kernels
