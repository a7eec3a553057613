// SPDX-License-Identifier: MIT
// Random matrices and the comparison that names the first element that differs.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace npu::kernels {

inline std::vector<std::int8_t> random_i8(std::size_t count, std::mt19937& random) {
  std::vector<std::int8_t> values(count);
  for (std::int8_t& value : values) value = static_cast<std::int8_t>(random());
  return values;
}

inline std::uint32_t pick(std::mt19937& random, std::uint32_t low, std::uint32_t high) {
  return std::uniform_int_distribution<std::uint32_t>(low, high)(random);
}

template <class T>
testing::AssertionResult same(std::span<const T> got, std::span<const T> want,
                              std::size_t columns) {
  if (got.size() != want.size()) return testing::AssertionFailure() << "sizes differ";
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (got[i] != want[i]) {
      return testing::AssertionFailure() << "element [" << i / columns << "][" << i % columns
                                         << "] is " << +got[i] << ", expected " << +want[i];
    }
  }
  return testing::AssertionSuccess();
}

template <class T>
testing::AssertionResult same(const std::vector<T>& got, const std::vector<T>& want,
                              std::size_t columns) {
  return same(std::span<const T>(got), std::span<const T>(want), columns);
}

}  // namespace npu::kernels
