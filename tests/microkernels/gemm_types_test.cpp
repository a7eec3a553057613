// SPDX-License-Identifier: MIT
// Products of every pair of types on the simulated NPU equal the reference bit for bit.
#include <gmock/gmock.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "gemm_cases.hpp"
#include "npu-sim/float_types.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

using enum DataType;

// Host elements of a type as 32-bit patterns, narrowed by the caller.
template <class T>
std::vector<T> random_elements(DataType type, std::size_t count, std::mt19937& random) {
  std::vector<T> values(count);
  // Magnitudes of 2^-4 to 2^4 and now and then far from that, so that sums round and cancel.
  const auto real = [&] {
    const float scale = std::ldexp(1.0f, static_cast<int>(pick(random, 0, 8)) - 4);
    const float value = (static_cast<float>(random() % 20001) / 10000.0f - 1.0f) * scale;
    return pick(random, 0, 30) == 0 ? std::ldexp(value, 8) : value;
  };
  for (T& value : values) {
    switch (type) {
      case i4: value = static_cast<T>(static_cast<int>(random() % 16) - 8); break;
      case f16: value = static_cast<T>(sim::float_to_fp16(real())); break;
      case bf16: value = static_cast<T>(std::bit_cast<std::uint32_t>(real()) >> 16); break;
      case tf32: value = static_cast<T>(real()); break;
      default: value = static_cast<T>(random()); break;
    }
  }
  return values;
}

// As bits, so that -0 and 0 differ.
template <class T>
testing::AssertionResult same_bits(const std::vector<T>& got, const std::vector<T>& want,
                                   std::size_t columns) {
  for (std::size_t i = 0; i < got.size(); ++i)
    if (std::memcmp(&got[i], &want[i], sizeof(T)) != 0)
      return testing::AssertionFailure() << "element [" << i / columns << "][" << i % columns
                                         << "] is " << got[i] << ", expected " << want[i];
  return testing::AssertionSuccess();
}

template <class In, class Out>
testing::AssertionResult equals_reference(const Cores& cores, std::size_t count,
                                          const GemmShape& shape, const GemmTypes& types,
                                          std::uint32_t seed) {
  std::mt19937 random(seed);
  const auto a = random_elements<In>(types.in, std::size_t{shape.m} * shape.k, random);
  const auto b = random_elements<In>(types.in, std::size_t{shape.n} * shape.k, random);
  std::vector<Out> c(std::size_t{shape.m} * shape.n), want(c.size());
  Gemm product(cores.first(count), shape, types);
  product.set_weights(b);
  product.run(a, c);
  ref_gemm(shape, types, a, b, want, product.plan().k_slices);
  return same_bits(c, want, shape.n) << " " << describe(shape) << " " << to_string(types);
}

testing::AssertionResult equals_reference(const Cores& cores, std::size_t count,
                                          const GemmShape& shape, const GemmTypes& types,
                                          std::uint32_t seed) {
  const auto with_output = [&]<class In>(In) {
    switch (types.out) {
      case i16: return equals_reference<In, std::int16_t>(cores, count, shape, types, seed);
      case i32: return equals_reference<In, std::int32_t>(cores, count, shape, types, seed);
      case f16: return equals_reference<In, std::uint16_t>(cores, count, shape, types, seed);
      default: return equals_reference<In, float>(cores, count, shape, types, seed);
    }
  };
  switch (types.in) {
    case i4:
    case i8: return with_output(std::int8_t{});
    case tf32: return with_output(float{});
    default: return with_output(std::uint16_t{});
  }
}

constexpr GemmTypes kPairs[] = {{i8, i32},  {i4, i16},   {i4, i32},  {f16, f32},
                                {f16, f16}, {bf16, f32}, {tf32, f32}};

TEST(GemmTypes, RandomShapesEqualTheReference) {
  const Cores cores(3);
  std::mt19937 random(71);
  for (std::uint32_t round = 0; round < 12; ++round)
    for (const GemmTypes& types : kPairs) {
      const GemmShape shape{pick(random, 1, 40), pick(random, 1, 150), pick(random, 1, 300)};
      ASSERT_TRUE(equals_reference(cores, round % 3 + 1, shape, types, round));
    }
}

TEST(GemmTypes, EverySmallSizeEqualsTheReference) {
  const Cores cores(1);
  for (const GemmTypes& types : kPairs)
    for (std::uint32_t size = 1; size <= 20; ++size)
      ASSERT_TRUE(equals_reference(cores, 1, {size, 2 * size + 1, 3 * size}, types, size));
}

TEST(GemmTypes, LongKIsSlicedAndStillEqual) {
  const Cores cores(2);
  for (const GemmTypes& types :
       {GemmTypes{i4, i32}, {f16, f32}, {f16, f16}, {bf16, f32}, {tf32, f32}}) {
    const GemmShape shape{5, 40, 13000};
    EXPECT_GT(plan_gemm(shape, types).slices, 1u) << to_string(types);
    ASSERT_TRUE(equals_reference(cores, 2, shape, types, 3));
  }
}

TEST(GemmTypes, ManyRowsAndColumnsAreTiledAndStillEqual) {
  const Cores cores(1);
  for (const GemmTypes& types : kPairs) {
    ASSERT_TRUE(equals_reference(cores, 1, {1100, 20, 40}, types, 1));
    ASSERT_TRUE(equals_reference(cores, 1, {3, 4200, 33}, types, 2));
  }
}

TEST(GemmTypes, Int16IsExactOverItsWholeRange) {
  const Cores cores(2);
  std::mt19937 random(9);
  for (const GemmShape shape : {GemmShape{1, 1, 1}, {7, 33, 65}, {40, 20, 700}}) {
    std::vector<std::int16_t> a(shape.m * shape.k), b(shape.n * shape.k);
    for (auto* matrix : {&a, &b})
      for (std::int16_t& value : *matrix) {
        const std::uint32_t kind = pick(random, 0, 9);
        value = kind == 0 ? INT16_MIN : kind == 1 ? INT16_MAX : static_cast<std::int16_t>(random());
      }
    std::vector<std::int64_t> c(shape.m * shape.n);
    gemm_i16i64(cores.first(2), shape, a, b, c);
    for (std::uint32_t m = 0; m < shape.m; ++m)
      for (std::uint32_t n = 0; n < shape.n; ++n) {
        std::int64_t want = 0;
        for (std::uint32_t k = 0; k < shape.k; ++k)
          want += std::int64_t{a[m * shape.k + k]} * b[n * shape.k + k];
        ASSERT_EQ(c[m * shape.n + n], want) << m << " " << n;
      }
  }
}

TEST(GemmTypes, WhatTheChipCannotDoIsRefused) {
  const auto message = [](const GemmShape& shape, const GemmTypes& types) -> std::string {
    try {
      plan_gemm(shape, types);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(message({4, 4, 4}, {i16, i32}), testing::HasSubstr("no GEMM i16->i32"));
  EXPECT_THAT(message({4, 4, 4}, {f32, f32}), testing::HasSubstr("no GEMM"));
  EXPECT_THAT(message({4, 4, 481}, {i4, i16}), testing::HasSubstr("i32 output"));
  const Cores cores(1);
  Gemm product(cores.first(1), {4, 4, 4}, {f16, f32});
  EXPECT_THROW(product.set_weights(std::vector<float>(16)), Error);  // not fp16
  product.set_weights(std::vector<std::uint16_t>(16));
  std::vector<std::int16_t> c(16);
  EXPECT_THROW(product.run(std::vector<std::uint16_t>(16), c), Error);
}

}  // namespace
}  // namespace npu::kernels
