// SPDX-License-Identifier: MIT
#include "microkernels/layout.hpp"

#include "random_matrix.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

// The formulas of compute.md 2.2 for int8, written out anew.
std::size_t a_index(std::size_t m, std::size_t k, std::size_t rows) {
  return ((k / 16) * rows + m) * 16 + k % 16;
}
std::size_t b_index(std::size_t n, std::size_t k, std::size_t channels) {
  return ((n / 32) * (channels / 32) + k / 32) * 1024 + (n % 32) * 32 + k % 32;
}
std::size_t c_index(std::size_t m, std::size_t n, std::size_t rows, std::size_t c2) {
  return ((n / c2) * rows + m) * c2 + n % c2;
}

struct Sizes {
  std::size_t rows, columns, stride, padded_rows, padded_columns;
};

Sizes random_sizes(std::mt19937& random) {
  Sizes s;
  s.rows = pick(random, 1, 90);
  s.columns = pick(random, 1, 130);
  s.stride = s.columns + pick(random, 0, 9);
  s.padded_rows = align_up<std::size_t>(s.rows, 32) + 32 * pick(random, 0, 1);
  s.padded_columns = align_up<std::size_t>(s.columns, 32) + 32 * pick(random, 0, 1);
  return s;
}

TEST(Layout, FeatureCubeHoldsEachElementAtItsIndexAndZerosElsewhere) {
  std::mt19937 random(1);
  for (int round = 0; round < 50; ++round) {
    const Sizes s = random_sizes(random);
    const auto a = random_i8(s.rows * s.stride, random);
    std::vector<std::int8_t> want(s.padded_rows * s.padded_columns, 0);
    for (std::size_t m = 0; m < s.rows; ++m) {
      for (std::size_t k = 0; k < s.columns; ++k) {
        want[a_index(m, k, s.padded_rows)] = a[m * s.stride + k];
      }
    }
    std::vector<std::int8_t> cube(want.size(), 77);
    pack_features_i8({a.data(), s.rows, s.columns, s.stride}, s.padded_rows, s.padded_columns,
                     cube);
    ASSERT_TRUE(same(cube, want, 16)) << s.rows << " x " << s.columns;
  }
}

TEST(Layout, WeightBlocksHoldEachElementAtItsIndexAndZerosElsewhere) {
  std::mt19937 random(2);
  for (int round = 0; round < 50; ++round) {
    const Sizes s = random_sizes(random);
    const auto b = random_i8(s.rows * s.stride, random);
    std::vector<std::int8_t> want(s.padded_rows * s.padded_columns, 0);
    for (std::size_t n = 0; n < s.rows; ++n) {
      for (std::size_t k = 0; k < s.columns; ++k) {
        want[b_index(n, k, s.padded_columns)] = b[n * s.stride + k];
      }
    }
    std::vector<std::int8_t> blocks(want.size(), 77);
    pack_weights_i8({b.data(), s.rows, s.columns, s.stride}, s.padded_rows, s.padded_columns,
                    blocks);
    ASSERT_TRUE(same(blocks, want, 32)) << s.rows << " x " << s.columns;
  }
}

TEST(Layout, OutputCubesComeBackRowMajorAndTouchNothingElse) {
  std::mt19937 random(3);
  for (int round = 0; round < 50; ++round) {
    const Sizes s = random_sizes(random);
    std::vector<std::int32_t> sums(s.padded_rows * s.padded_columns);
    for (auto& value : sums) value = static_cast<std::int32_t>(random());
    const auto bytes = random_i8(sums.size(), random);
    std::vector<std::int32_t> c32(s.rows * s.stride, -5), added(s.rows * s.stride, -5);
    std::vector<std::int8_t> c8(s.rows * s.stride, -5);
    unpack_i32(sums, s.padded_rows, {c32.data(), s.rows, s.columns, s.stride});
    add_unpack_i32(sums, s.padded_rows, {added.data(), s.rows, s.columns, s.stride});
    unpack_i8(bytes, s.padded_rows, {c8.data(), s.rows, s.columns, s.stride});
    for (std::size_t m = 0; m < s.rows; ++m) {
      for (std::size_t n = 0; n < s.stride; ++n) {
        const std::size_t at = m * s.stride + n;
        const bool inside = n < s.columns;
        const std::int32_t sum = inside ? sums[c_index(m, n, s.padded_rows, 4)] : 0;
        ASSERT_EQ(c32[at], inside ? sum : -5);
        const std::uint32_t total = static_cast<std::uint32_t>(sum) - 5u;
        ASSERT_EQ(added[at], inside ? static_cast<std::int32_t>(total) : -5);
        ASSERT_EQ(c8[at], inside ? bytes[c_index(m, n, s.padded_rows, 16)] : -5);
      }
    }
  }
}

TEST(Layout, PackedWeightsDependOnlyOnTheirKernelGroup) {
  // What lets a plan start a tile at any multiple of 32 kernels: offset n * channels.
  std::mt19937 random(4);
  const auto b = random_i8(96 * 64, random);
  std::vector<std::int8_t> whole(96 * 64), part(32 * 64);
  pack_weights_i8({b.data(), 96, 64, 64}, 96, 64, whole);
  pack_weights_i8({b.data() + 32 * 64, 32, 64, 64}, 32, 64, part);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + 32 * 64));
}

TEST(Layout, BuffersOfTheWrongSizeAreRefused) {
  std::vector<std::int8_t> a(64), cube(63), full(64);
  std::vector<std::int32_t> sums(16), c(64);
  EXPECT_THROW(pack_features_i8({a.data(), 4, 16, 16}, 4, 16, cube), Error);
  EXPECT_THROW(pack_features_i8({a.data(), 4, 16, 15}, 4, 16, full), Error);  // stride too small
  EXPECT_THROW(pack_features_i8({a.data(), 5, 12, 12}, 4, 16, full), Error);  // too many rows
  EXPECT_THROW(pack_weights_i8({a.data(), 2, 32, 32}, 2, 32, full), Error);   // not whole groups
  EXPECT_THROW(unpack_i32(sums, 4, {c.data(), 4, 5, 5}), Error);
}

}  // namespace
}  // namespace npu::kernels
