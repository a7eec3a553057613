// SPDX-License-Identifier: MIT
// A vector copied by the simulated NPU is the vector.
#include "microkernels/copy.hpp"

#include <gmock/gmock.h>

#include "gemm_cases.hpp"
#include "microkernels/flying_task.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

using enum DataType;

template <class T>
void expect_same(const Cores& cores, std::size_t count, DataType type, std::size_t n) {
  std::mt19937 random(static_cast<std::uint32_t>(n));
  std::vector<T> from(n), to(n, T{0x5A});
  for (T& value : from) {
    value = static_cast<T>(random());
    if (type == f16 && (value & 0x7C00) == 0x7C00) value = static_cast<T>(value & ~0x400);
  }
  Copy copy(cores.first(count), type, n);
  RunStats stats;
  copy.run(from, to, &stats);
  EXPECT_EQ(from, to) << to_string(type) << " " << n;
  EXPECT_GE(copy.bytes_moved(), 2 * n * sizeof(T));
  EXPECT_GE(stats.tasks, 1u);
}

TEST(Copy, EveryTypeAndSizeComesOutAsItWentIn) {
  const Cores cores(3);
  std::size_t i = 0;
  for (const std::size_t n : {1u, 15u, 16u, 17u, 1000u, 3 * kMaxFlyingAtoms * 4 + 5}) {
    const std::size_t count = i++ % 3 + 1;
    expect_same<std::int8_t>(cores, count, i8, n);
    expect_same<std::int16_t>(cores, count, i16, n);
    expect_same<std::int32_t>(cores, count, i32, n);
    expect_same<std::uint16_t>(cores, count, f16, n);
  }
}

TEST(Copy, RunsAgainOnWhatWasUploaded) {
  const Cores cores(1);
  Copy copy(cores.first(1), i8, 100);
  copy.upload(std::vector<std::int8_t>(100, 7));
  RunStats stats;
  copy.execute(stats);
  copy.execute(stats);
  EXPECT_EQ(stats.tasks, 2u);
  std::vector<std::int8_t> to(100);
  copy.download(to);
  EXPECT_THAT(to, testing::Each(7));
}

TEST(Copy, WhatTheChipCannotDoIsRefused) {
  const Cores cores(1);
  EXPECT_THROW(Copy(cores.first(1), i4, 4), Error);
  EXPECT_THROW(Copy(cores.first(1), bf16, 4), Error);
  EXPECT_THROW(Copy(cores.first(1), i8, 0), Error);
  EXPECT_THROW(Copy({}, i8, 4), Error);
  Copy copy(cores.first(1), i8, 4);
  std::vector<std::int8_t> four(4), five(5);
  EXPECT_THROW(copy.run(five, four), Error);
  EXPECT_THROW(copy.run(four, five), Error);
  EXPECT_THROW(copy.run(std::vector<std::int16_t>(4), four), Error);
}

}  // namespace
}  // namespace npu::kernels
