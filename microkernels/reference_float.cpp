// SPDX-License-Identifier: MIT
// The MAC array's floating-point arithmetic [notes chips/rk3588, HW], made from integers: shares
// nothing with the simulator but the conversions of single values.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "microkernels/layout.hpp"
#include "microkernels/reference.hpp"
#include "npu-sim/float_types.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

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

float as_float(DataType type, const std::byte* element) {
  if (type == DataType::tf32) {
    float value;
    std::memcpy(&value, element, sizeof value);
    return sim::round_to_tf32(value);
  }
  std::uint16_t half;
  std::memcpy(&half, element, sizeof half);
  return type == DataType::f16 ? sim::fp16_to_float(half) : sim::bf16_to_float(half);
}

void check(const char* what, ConstElements have, std::uint64_t count, DataType type) {
  if (have.size() != count || have.element_bytes() != host_bytes(type))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} has {} elements of {} bytes; {} of {} are needed", what,
                            have.size(), have.element_bytes(), count, to_string(type)));
}

float float_sum(std::span<const float> a, std::span<const float> b, std::size_t group) {
  float sum = 0;
  for (std::size_t k = 0; k < a.size(); k += group) {
    WideSum exact;
    for (std::size_t i = k; i < std::min(k + group, a.size()); ++i)
      exact.add(static_cast<double>(a[i]) * b[i]);
    sum += exact.rounded();
  }
  return sum;
}

}  // namespace

void ref_gemm(const GemmShape& shape, const GemmTypes& types, ConstElements a, ConstElements b,
              Elements c, std::span<const Range> slices) {
  check("matrix A", a, std::uint64_t{shape.m} * shape.k, types.in);
  check("matrix B", b, std::uint64_t{shape.n} * shape.k, types.in);
  if (c.size() != std::uint64_t{shape.m} * shape.n || c.element_bytes() != host_bytes(types.out))
    throw Error(ErrorCode::invalid_argument, "matrix C has the wrong size");
  const std::size_t m = shape.m, n = shape.n, k = shape.k;
  if (!is_float(types.in)) {
    for (std::size_t i = 0; i < m * n; ++i) {
      const auto* x = reinterpret_cast<const std::int8_t*>(a.data()) + i / n * k;
      const auto* w = reinterpret_cast<const std::int8_t*>(b.data()) + i % n * k;
      std::int32_t sum = 0;
      for (std::size_t j = 0; j < k; ++j) sum += std::int32_t{x[j]} * w[j];
      if (types.out == DataType::i32)
        std::memcpy(c.data() + i * 4, &sum, 4);
      else
        std::memcpy(c.data() + i * 2, &sum, 2);
    }
    return;
  }
  const std::size_t group = types.in == DataType::tf32 ? 16 : 32;
  const Range whole{0, shape.k};
  if (slices.empty()) slices = {&whole, 1};
  std::vector<float> x(m * k), w(n * k);
  for (std::size_t i = 0; i < x.size(); ++i)
    x[i] = as_float(types.in, a.data() + i * a.element_bytes());
  for (std::size_t i = 0; i < w.size(); ++i)
    w[i] = as_float(types.in, b.data() + i * b.element_bytes());
  for (std::size_t i = 0; i < m * n; ++i) {
    float sum = 0;
    for (std::size_t s = 0; s < slices.size(); ++s) {
      const std::span<const float> row(&x[i / n * k + slices[s].begin], slices[s].size);
      const std::span<const float> kernel(&w[i % n * k + slices[s].begin], slices[s].size);
      const float part = float_sum(row, kernel, group);
      sum = s == 0 ? part : sum + part;
    }
    if (types.out == DataType::f16) {
      const std::uint16_t half = sim::float_to_fp16(sum);
      std::memcpy(c.data() + i * 2, &half, 2);
    } else {
      std::memcpy(c.data() + i * 4, &sum, 4);
    }
  }
}

}  // namespace npu::kernels
