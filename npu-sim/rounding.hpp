// SPDX-License-Identifier: MIT
// Right shifts with the chip's rounding rules, and saturation.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "npu-sim/quirks.hpp"

namespace npu::sim {

/// value / 2^shift to the nearest integer, ties by `rule`. shift 0..63.
constexpr std::int64_t round_shift(std::int64_t value, std::uint32_t shift, TieRule rule) {
  if (shift == 0) return value;
  const std::int64_t floor = value >> shift;
  const std::uint64_t rest =
      static_cast<std::uint64_t>(value) - (static_cast<std::uint64_t>(floor) << shift);
  const std::uint64_t half = std::uint64_t{1} << (shift - 1);
  if (rest != half) return floor + (rest > half);
  switch (rule) {
    case TieRule::half_even: return floor + (floor & 1);
    case TieRule::half_up: return floor + 1;
    case TieRule::half_away: return floor + (value >= 0);
  }
  return floor;
}

template <class T>
constexpr T saturate(std::int64_t value) {
  return static_cast<T>(std::clamp<std::int64_t>(value, std::numeric_limits<T>::min(),
                                                 std::numeric_limits<T>::max()));
}

static_assert(round_shift(3, 1, TieRule::half_even) == 2);
static_assert(round_shift(5, 1, TieRule::half_even) == 2);
static_assert(round_shift(-3, 1, TieRule::half_even) == -2);
static_assert(round_shift(5, 1, TieRule::half_up) == 3);
static_assert(round_shift(-5, 1, TieRule::half_up) == -2);
static_assert(round_shift(-5, 1, TieRule::half_away) == -3);

}  // namespace npu::sim
