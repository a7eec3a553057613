// SPDX-License-Identifier: MIT
// Exact sums of products in wide fixed point, for the references.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace npu::kernels {

// A sum of products of two values of at most 24 significant bits, in units of 2^-298: the smallest
// product of two fp32. The largest is below 2^256, and 2^13 of them fit.
class WideSum {
 public:
  void add(double product) {
    if (product == 0) return;
    int exponent = 0;
    const auto mantissa = static_cast<std::int64_t>(std::ldexp(std::frexp(product, &exponent), 53));
    const int shift = exponent - 53 + kUnit;  // of the mantissa's last bit; it may be negative
    // Trailing zeros make up for a negative shift: the product is a multiple of the unit.
    const std::int64_t value = shift < 0 ? mantissa >> -shift : mantissa;
    const unsigned at = shift < 0 ? 0 : static_cast<unsigned>(shift);
    __extension__ using Wide = __int128;
    Wide carry = static_cast<Wide>(value) << at % 32;
    for (std::size_t limb = at / 32; limb < limbs_.size() && carry != 0; ++limb) {
      carry += limbs_[limb];
      limbs_[limb] = static_cast<std::uint32_t>(carry);
      carry >>= 32;  // arithmetic: borrows go on as -1
    }
  }

  // Nearest, ties to even.
  float rounded() const {
    std::array<std::uint32_t, kLimbs> m = limbs_;
    const bool negative = m.back() >> 31 != 0;
    if (negative) {
      std::uint64_t carry = 1;
      for (std::uint32_t& limb : m) {
        carry += static_cast<std::uint32_t>(~limb);
        limb = static_cast<std::uint32_t>(carry);
        carry >>= 32;
      }
    }
    int top = -1;
    for (int i = kLimbs - 1; i >= 0 && top < 0; --i)
      if (m[static_cast<std::size_t>(i)] != 0)
        top = i * 32 + 31 - std::countl_zero(m[static_cast<std::size_t>(i)]);
    if (top < 0) return 0;
    const auto bit = [&](int i) {
      return i >= 0 && (m[static_cast<std::size_t>(i / 32)] >> i % 32 & 1) != 0;
    };
    // fp32 keeps 24 bits, and none below 2^-149.
    const int last = std::max(top - 23, kUnit - 149);
    std::uint64_t kept = 0;
    for (int i = top; i >= last; --i) kept = kept << 1 | bit(i);
    bool rest = false;
    for (int i = 0; i < last - 1 && !rest; ++i) rest = bit(i);
    if (bit(last - 1) && (rest || (kept & 1) != 0)) ++kept;
    const float value = std::ldexp(static_cast<float>(kept), last - kUnit);
    return negative ? -value : value;
  }

 private:
  static constexpr int kUnit = 298, kLimbs = 19;
  std::array<std::uint32_t, kLimbs> limbs_{};
};

}  // namespace npu::kernels
