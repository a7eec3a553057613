// SPDX-License-Identifier: MIT
// Element-wise operations on the simulated NPU equal the reference bit for bit.
#include "microkernels/elementwise.hpp"

#include <gtest/gtest.h>

#include <cstring>

#include "gemm_cases.hpp"
#include "microkernels/flying_task.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

using enum DataType;
using Op = ElementwiseOp;
constexpr Op kOps[] = {Op::add, Op::sub, Op::mul, Op::max, Op::min};

template <class T>
testing::AssertionResult compare(const Cores& cores, std::size_t count, DataType type, Op op,
                                 std::size_t n, const std::optional<ElementwiseScales>& scales,
                                 std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<T> a(n), b(n), c(n);
  for (auto* vector : {&a, &b})
    for (T& value : *vector) {
      value = static_cast<T>(random());
      // Finite numbers only: the exponent's lowest bit cleared where all are set.
      if (type == f16 && (value & 0x7C00) == 0x7C00) value = static_cast<T>(value & ~0x400);
    }
  Elementwise(cores.first(count), type, op, n, scales).run(a, b, c);
  using Bits = std::make_unsigned_t<T>;
  for (std::size_t i = 0; i < n; ++i) {
    const auto want = static_cast<Bits>(
        ref_elementwise(type, op, scales, static_cast<Bits>(a[i]), static_cast<Bits>(b[i])));
    if (static_cast<Bits>(c[i]) != want)
      return testing::AssertionFailure()
             << to_string(type) << " " << to_string(op) << " at " << i << " of " << n << ": "
             << +a[i] << ", " << +b[i] << " give " << +c[i] << ", expected " << +want;
  }
  return testing::AssertionSuccess();
}

testing::AssertionResult compare(const Cores& cores, std::size_t count, DataType type, Op op,
                                 std::size_t n, std::uint32_t seed) {
  switch (type) {
    case i8: return compare<std::int8_t>(cores, count, type, op, n, {}, seed);
    case i16: return compare<std::int16_t>(cores, count, type, op, n, {}, seed);
    case i32: return compare<std::int32_t>(cores, count, type, op, n, {}, seed);
    default: return compare<std::uint16_t>(cores, count, type, op, n, {}, seed);
  }
}

TEST(Elementwise, EveryTypeAndOperationEqualsTheReference) {
  const Cores cores(3);
  std::uint32_t seed = 0;
  for (const DataType type : {i8, i16, i32, f16})
    for (const Op op : kOps) {
      if (type == i32 && op == Op::mul) continue;
      for (const std::size_t n : {1u, 7u, 8u, 9u, 100u, 4097u}) {
        ++seed;
        ASSERT_TRUE(compare(cores, seed % 3 + 1, type, op, n, seed));
      }
    }
}

TEST(Elementwise, LongVectorsAreCutIntoTasksAndStillEqual) {
  const Cores cores(2);
  for (const DataType type : {i8, f16}) {
    const std::size_t n = std::size_t{kMaxFlyingAtoms} * atom_elements(type) * 2 + 77;
    ASSERT_TRUE(compare(cores, 1, type, Op::add, n, 5));
    ASSERT_TRUE(compare(cores, 2, type, Op::mul, n, 6));
  }
}

TEST(Elementwise, QuantisedVectorsEqualTheReference) {
  const Cores cores(2);
  std::mt19937 random(4);
  for (std::uint32_t round = 0; round < 40; ++round) {
    const ElementwiseScales scales{
        {static_cast<std::int16_t>(random()), static_cast<std::uint8_t>(pick(random, 0, 20)),
         static_cast<std::int32_t>(random() % 256) - 128},
        {static_cast<std::int16_t>(random()), static_cast<std::uint8_t>(pick(random, 0, 30)),
         static_cast<std::int32_t>(random() % 256) - 128}};
    const Op op = round % 2 == 0 ? Op::add : Op::sub;
    ASSERT_TRUE(compare<std::int8_t>(cores, round % 2 + 1, i8, op, 500, scales, round)) << round;
  }
}

TEST(Elementwise, WhatTheChipCannotDoIsRefused) {
  const Cores cores(1);
  EXPECT_THROW(Elementwise(cores.first(1), i32, Op::mul, 4), Error);
  EXPECT_THROW(Elementwise(cores.first(1), i4, Op::add, 4), Error);
  EXPECT_THROW(Elementwise(cores.first(1), bf16, Op::add, 4), Error);
  EXPECT_THROW(Elementwise(cores.first(1), i8, Op::add, 0), Error);
  EXPECT_THROW(Elementwise({}, i8, Op::add, 4), Error);
  EXPECT_THROW(Elementwise(cores.first(1), f16, Op::add, 4, ElementwiseScales{}), Error);
  Elementwise add(cores.first(1), i8, Op::add, 4);
  std::vector<std::int8_t> a(4), c(3);
  EXPECT_THROW(add.run(a, a, c), Error);
  EXPECT_THROW(add.run(a, std::vector<std::int16_t>(4), a), Error);
}

}  // namespace
}  // namespace npu::kernels
