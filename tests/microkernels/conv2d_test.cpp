// SPDX-License-Identifier: MIT
// Convolutions on the simulated NPU equal the reference bit for bit.
#include "conv2d_cases.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

using enum DataType;

TEST(Conv2d, RandomShapesEqualTheReference) {
  const Cores cores(3);
  std::mt19937 random(81);
  for (std::uint32_t round = 0; round < 24; ++round)
    for (const Conv2dTypes& types : {Conv2dTypes{i8, i8}, {i8, i32}, {f16, f32}, {f16, f16}})
      ASSERT_TRUE(compare(cores.first(round % 3 + 1), {random_shape(random, false), types}, round));
}

TEST(Conv2d, RandomShapesOfBfloat16AndInt4EqualTheReference) {
  const Cores cores(3);
  std::mt19937 random(84);
  for (std::uint32_t round = 0; round < 24; ++round) {
    Conv2dShape s = random_shape(random, false);
    ASSERT_TRUE(compare(cores.first(round % 3 + 1), {s, {bf16, f32}}, round));
    if (round % 4 == 0) {
      s.out_channels = s.groups = 4;
      s.in_channels = 4 * pick(random, 1, 12);
      ASSERT_TRUE(compare(cores.first(round % 3 + 1), {s, {bf16, f32}}, round));
    }
    s.in_channels =
        std::max(1u, std::min(s.in_channels / s.groups, 511 / (s.kernel_height * s.kernel_width))) *
        s.groups;
    ASSERT_TRUE(compare(cores.first(round % 3 + 1), {s, {i4, i16}}, round));
  }
}

TEST(Conv2d, RandomDepthwiseShapesEqualTheReference) {
  const Cores cores(3);
  std::mt19937 random(82);
  for (std::uint32_t round = 0; round < 24; ++round)
    for (const Conv2dTypes& types : {Conv2dTypes{i8, i8}, {f16, f16}})
      ASSERT_TRUE(compare(cores.first(round % 3 + 1), {random_shape(random, true), types}, round));
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
    ASSERT_TRUE(compare(cores.first(2), {wide, types}, 1));
    ASSERT_TRUE(compare(cores.first(2), {deep, types}, 3));
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
  EXPECT_THAT(message(good, {i4, i16}), HasSubstr("no error"));
  EXPECT_THAT(message(good, {i4, i32}), HasSubstr("no convolution i4->i32"));
  EXPECT_THAT(message(with([](auto& s) { s.in_channels = 512; }), {i4, i16}), HasSubstr("511"));
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
