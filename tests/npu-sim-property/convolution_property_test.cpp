// SPDX-License-Identifier: MIT
// Every operand type of the MAC array, in random windows with random stages behind it.
#include <gtest/gtest.h>

#include "conv_spec.hpp"

namespace npu::sim::property {
namespace {

void expect_nested_loops(Type type, int cases, const ConvLimits& limits) {
  Chip chip;
  for_each_case(cases, [&](Draw& draw) {
    Arena arena(draw);
    const ConvSpec spec = draw_conv(draw, arena, type, limits);
    return mismatch(chip, arena, {.tasks = {conv_task(arena, spec)}});
  });
}

constexpr ConvLimits kIntegers{}, kFloats{.side = 7, .channels = 72, .kernels = 40};

TEST(ConvolutionProperty, Int8EqualsTheNestedLoops) {
  expect_nested_loops(Type::int8, 150, kIntegers);
}
TEST(ConvolutionProperty, Int4EqualsTheNestedLoops) {
  expect_nested_loops(Type::int4, 60, kIntegers);
}
TEST(ConvolutionProperty, Int16EqualsTheNestedLoops) {
  expect_nested_loops(Type::int16, 60, kFloats);
}
TEST(ConvolutionProperty, Fp16EqualsTheNestedLoops) {
  expect_nested_loops(Type::fp16, 80, kFloats);
}
TEST(ConvolutionProperty, Bf16EqualsTheNestedLoops) {
  expect_nested_loops(Type::bf16, 60, kFloats);
}
TEST(ConvolutionProperty, Tf32EqualsTheNestedLoops) {
  expect_nested_loops(Type::tf32, 60, kFloats);
}

}  // namespace
}  // namespace npu::sim::property
