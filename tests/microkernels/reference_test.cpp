// SPDX-License-Identifier: MIT
#include "microkernels/reference.hpp"

#include "random_matrix.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

TEST(Reference, SmallProductByHand) {
  const std::int8_t a[] = {1, 2, 3, -4, 5, -6};
  const std::int8_t b[] = {7, 8, 9, -1, 0, 1};
  std::int32_t c[4];
  ref_gemm_i8i32({2, 2, 3}, a, b, c);
  EXPECT_EQ(c[0], 50);
  EXPECT_EQ(c[1], 2);
  EXPECT_EQ(c[2], -42);
  EXPECT_EQ(c[3], -2);
  const std::int32_t bias[] = {1, -1};
  std::int8_t q[4];
  ref_gemm_i8i8({2, 2, 3}, {1, 1, 10}, bias, a, b, q);
  EXPECT_EQ(q[0], 36);   // 51 / 2 = 25.5 -> 26
  EXPECT_EQ(q[1], 10);   // 1 / 2 = 0.5 -> 0
  EXPECT_EQ(q[2], -10);  // -41 / 2 = -20.5 -> -20
  EXPECT_EQ(q[3], 8);    // -3 / 2 = -1.5 -> -2
}

TEST(Reference, BlocksAndThreadsDoNotChangeTheSum) {
  std::mt19937 random(5);
  // The last shape is large enough for several threads.
  for (const GemmShape shape : {GemmShape{1, 1, 1}, {3, 700, 301}, {190, 211, 307}}) {
    const auto a = random_i8(std::size_t{shape.m} * shape.k, random);
    const auto b = random_i8(std::size_t{shape.n} * shape.k, random);
    std::vector<std::int32_t> c(std::size_t{shape.m} * shape.n, -1), want(c.size());
    ref_gemm_i8i32(shape, a, b, c);
    for (std::size_t m = 0; m < shape.m; ++m) {
      for (std::size_t n = 0; n < shape.n; ++n) {
        std::int64_t sum = 0;
        for (std::size_t k = shape.k; k-- > 0;) sum += a[m * shape.k + k] * b[n * shape.k + k];
        want[m * shape.n + n] = static_cast<std::int32_t>(sum);
      }
    }
    EXPECT_TRUE(same(c, want, shape.n));
  }
}

TEST(Reference, LongestSumOfExtremesStaysInInt32) {
  const std::vector<std::int8_t> a(kMaxGemmK, -128), b(kMaxGemmK, -128), d(kMaxGemmK, 127);
  std::int32_t c[1];
  ref_gemm_i8i32({1, 1, kMaxGemmK}, a, b, c);
  EXPECT_EQ(c[0], std::int64_t{kMaxGemmK} * 16384);
  ref_gemm_i8i32({1, 1, kMaxGemmK}, a, d, c);
  EXPECT_EQ(c[0], std::int64_t{kMaxGemmK} * -16256);
}

TEST(Reference, BiasSaturatesTheSum) {
  const std::int8_t a[] = {127}, b[] = {127};
  const std::int32_t bias[] = {INT32_MAX};
  std::int8_t c[1];
  ref_gemm_i8i8({1, 1, 1}, {1, 24, 0}, bias, a, b, c);
  EXPECT_EQ(c[0], 127);  // 2^31 - 1 >> 24 = 127.99 -> 128 -> 127; a wrapped sum gives -128
}

TEST(Reference, WrongSizesAreRefused) {
  std::vector<std::int8_t> a(6), b(6);
  std::vector<std::int32_t> c(4);
  EXPECT_THROW(ref_gemm_i8i32({2, 2, 4}, a, b, c), Error);
  EXPECT_THROW(ref_gemm_i8i32({2, 3, 3}, a, b, c), Error);
  std::vector<std::int8_t> q(4);
  const std::int32_t bias[] = {1, 2, 3};
  EXPECT_THROW(ref_gemm_i8i8({2, 2, 3}, {}, bias, a, b, q), Error);
}

}  // namespace
}  // namespace npu::kernels
