// SPDX-License-Identifier: MIT
// Packing and unpacking equal the layout's index formulas for every type, for sizes that fill no
// atom, for strides, for any number of threads and for what goes past the caches.
#include <cstring>

#include "microkernels/layout.hpp"
#include "random_matrix.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

using enum DataType;
using Bytes = std::vector<std::byte>;

Bytes random_bytes(std::size_t count, std::mt19937& random) {
  Bytes bytes(count);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

struct Case {
  DataType type;
  std::size_t rows, columns, stride, all_rows, all_columns;
  unsigned threads;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << to_string(c.type) << " " << c.rows << " x " << c.columns << " stride " << c.stride
             << " in " << c.all_rows << " x " << c.all_columns << ", threads " << c.threads;
}

// Element `from` of the matrix at element `to` of what is packed.
void put(DataType type, const Bytes& a, std::size_t from, Bytes& packed, std::size_t to) {
  if (type == i4) {
    const std::byte value = a[from] & std::byte{0xF};
    packed[to / 2] |= to % 2 != 0 ? value << 4 : value;
  } else {
    std::memcpy(&packed[to * host_bytes(type)], &a[from * host_bytes(type)], host_bytes(type));
  }
}

testing::AssertionResult equal(const Bytes& have, const Bytes& want, const Case& c) {
  const auto at = std::mismatch(have.begin(), have.end(), want.begin()).first - have.begin();
  if (at == static_cast<std::ptrdiff_t>(have.size())) return testing::AssertionSuccess();
  return testing::AssertionFailure() << c << ": byte " << at;
}

Case random_case(DataType type, std::size_t row_step, std::size_t column_step,
                 std::mt19937& random) {
  Case c{type, pick(random, 1, 150), pick(random, 1, 200), 0, 0, 0, pick(random, 0, 4)};
  c.stride = c.columns + (random() % 2 == 0 ? 0 : pick(random, 1, 70));
  c.all_rows = align_up(c.rows, row_step) + row_step * pick(random, 0, 1);
  c.all_columns = align_up(c.columns, column_step) + column_step * pick(random, 0, 2);
  return c;
}

constexpr DataType kAll[] = {i4, i8, i16, f16, bf16, tf32, i32, f32};

testing::AssertionResult features(const Case& c, std::mt19937& random) {
  const Bytes a = random_bytes(c.rows * c.stride * host_bytes(c.type), random);
  Bytes want(c.all_rows * c.all_columns * bits(c.type) / 8), cube(want.size(), std::byte{77});
  for (std::size_t r = 0; r < c.rows; ++r)
    for (std::size_t k = 0; k < c.columns; ++k)
      put(c.type, a, r * c.stride + k, want, cube_index(r, k, c.all_rows, atom_elements(c.type)));
  pack_features(c.type, {a.data(), c.rows, c.columns, c.stride}, c.all_rows, c.all_columns, cube,
                c.threads);
  const auto packed = equal(cube, want, c);
  if (!packed || c.type == i4) return packed;
  Bytes back(a.size(), std::byte{99}), expected = back;
  for (std::size_t r = 0; r < c.rows; ++r)
    std::memcpy(&expected[r * c.stride * host_bytes(c.type)], &a[r * c.stride * host_bytes(c.type)],
                c.columns * host_bytes(c.type));
  unpack(c.type, cube, c.all_rows, {back.data(), c.rows, c.columns, c.stride}, c.threads);
  return equal(back, expected, c) << " unpacked";
}

TEST(LayoutTypes, CubesOfAllTypesHoldEachElementAndComeBack) {
  std::mt19937 random(11);
  for (int round = 0; round < 30; ++round)
    for (const DataType type : kAll) {
      Case c = random_case(type, 1, atom_elements(type), random);
      ASSERT_TRUE(features(c, random));
    }
}

TEST(LayoutTypes, WeightsOfAllTypesHoldEachElement) {
  std::mt19937 random(12);
  for (int round = 0; round < 30; ++round)
    for (const DataType type : {i4, i8, i16, f16, bf16, tf32}) {
      const MacFormat format = mac_format(type);
      const Case c = random_case(type, format.kernel_group, format.channel_block, random);
      const Bytes b = random_bytes(c.rows * c.stride * host_bytes(type), random);
      Bytes want(c.all_rows * c.all_columns * bits(type) / 8), blocks(want.size(), std::byte{77});
      for (std::size_t n = 0; n < c.rows; ++n)
        for (std::size_t k = 0; k < c.columns; ++k)
          put(type, b, n * c.stride + k, want, weight_index(format, n, k, c.all_columns));
      pack_weights(type, {b.data(), c.rows, c.columns, c.stride}, c.all_rows, c.all_columns, blocks,
                   c.threads);
      ASSERT_TRUE(equal(blocks, want, c));
    }
}

// Sums are compared with the plain loop; i32 modulo 2^32.
template <class Value, class Sum>
void expect_added(DataType type, std::mt19937& random) {
  const Case c = random_case(type, 1, atom_elements(type), random);
  std::vector<Value> cube(c.all_rows * c.all_columns);
  std::vector<Sum> sums(c.rows * c.stride);
  const auto value = [&] { return static_cast<Value>(static_cast<std::int32_t>(random())); };
  for (Value& v : cube) v = value();
  for (Sum& s : sums) s = static_cast<Sum>(value());
  std::vector<Sum> want = sums, widened = sums, only = sums;
  for (std::size_t r = 0; r < c.rows; ++r)
    for (std::size_t k = 0; k < c.columns; ++k) {
      const Value v = cube[cube_index(r, k, c.all_rows, atom_elements(type))];
      Sum& s = want[r * c.stride + k];
      if constexpr (std::is_floating_point_v<Sum>)
        s += v;
      else
        s = static_cast<Sum>(static_cast<std::uint32_t>(s) + static_cast<std::uint32_t>(v));
      only[r * c.stride + k] = static_cast<Sum>(v);
    }
  const std::span<const std::byte> bytes = std::as_bytes(std::span(cube));
  const auto view = [&](std::vector<Sum>& to) {
    return MatrixView<std::byte>{reinterpret_cast<std::byte*>(to.data()), c.rows, c.columns,
                                 c.stride};
  };
  add_unpack(type, bytes, c.all_rows, view(sums), c.threads);
  ASSERT_EQ(sums, want) << c;
  if (type != i16) return;
  widen_unpack(bytes, c.all_rows, view(widened), c.threads);
  ASSERT_EQ(widened, only) << c;
}

TEST(LayoutTypes, PartialSumsAreAddedInPlace) {
  std::mt19937 random(13);
  for (int round = 0; round < 30; ++round) {
    expect_added<std::int32_t, std::int32_t>(i32, random);
    expect_added<float, float>(f32, random);
    expect_added<std::int16_t, std::int32_t>(i16, random);
  }
}

TEST(LayoutTypes, WhatIsLargerThanTheCachesIsTheSame) {
  std::mt19937 random(14);
  for (const DataType type : {i8, f16, f32}) {
    const std::size_t columns = (std::size_t{5} << 20) / 256 / host_bytes(type) / 64 * 64;
    for (const std::size_t rows : {256u, 262u})
      ASSERT_TRUE(features({type, rows, columns, columns, rows, columns, 0}, random));
  }
  // Few rows are divided by columns.
  ASSERT_TRUE(features({i8, 3, 2'000'003, 2'000'003, 4, 2'000'016, 3}, random));
}

TEST(LayoutTypes, CubesOfFourBitsAreNotUnpacked) {
  Bytes cube(64), out(64);
  EXPECT_THROW(unpack(i4, cube, 1, {out.data(), 1, 64, 64}), Error);
}

}  // namespace
}  // namespace npu::kernels
