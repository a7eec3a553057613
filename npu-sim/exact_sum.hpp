// SPDX-License-Identifier: MIT
// Sums of doubles without rounding, for operands whose exponents lie too far apart for the fast
// paths.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

namespace npu::sim {

/// a + b = first + second exactly (Knuth's two-sum).
inline std::pair<double, double> two_sum(double a, double b) {
  const double sum = a + b, rest_b = sum - a;
  return {sum, (a - (sum - rest_b)) + (b - rest_b)};
}

/// The fp32 nearest to high + low, ties to even, whatever low is: the sum goes into a double whose
/// last bit is set if anything was lost, which the second rounding cannot mistake for a tie.
inline float round_once(double high, double low) {
  const auto [sum, rest] = two_sum(high, low);
  if (rest == 0 || !std::isfinite(sum)) return static_cast<float>(sum);
  const auto bits = std::bit_cast<std::uint64_t>(sum);
  const bool outward = (sum > 0) != (rest > 0);  // |sum| is above what it stands for
  return static_cast<float>(std::bit_cast<double>((outward ? bits - 1 : bits) | 1));
}

/// Shewchuk's growing expansion: parts that do not overlap, smallest first.
class ExactSum {
 public:
  void add(double value) {
    if (!std::isfinite(value)) {
      special_ += value;
      return;
    }
    std::size_t kept = 0;
    for (const double part : parts_) {
      const auto [high, low] = two_sum(value, part);
      if (low != 0) parts_[kept++] = low;
      value = high;
    }
    parts_.resize(kept);
    if (value != 0) parts_.push_back(value);
  }
  float rounded() const {
    if (special_ != 0) return static_cast<float>(special_);  // infinity or NaN
    double sum = 0, rest = 0;
    // A part below one that did not fit can only confirm the sign of what is missing.
    for (auto part = parts_.rbegin(); part != parts_.rend() && rest == 0; ++part)
      std::tie(sum, rest) = two_sum(sum, *part);
    return round_once(sum, rest);
  }

 private:
  std::vector<double> parts_;
  double special_ = 0;
};

}  // namespace npu::sim
