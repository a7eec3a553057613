// SPDX-License-Identifier: MIT
// The MAC array's floating-point arithmetic [notes chips/rk3588, HW], made from integers: shares
// nothing with the simulator but the conversions of single values.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "microkernels/layout.hpp"
#include "microkernels/reference.hpp"
#include "microkernels/wide_sum.hpp"
#include "npu-sim/float_types.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

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
              Elements c, std::span<const Range> slices, SliceSums sums) {
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
      if (sums == SliceSums::chip) sum = sim::fp16_to_float(sim::float_to_fp16(sum));
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
