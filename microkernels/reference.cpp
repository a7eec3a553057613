// SPDX-License-Identifier: MIT
#include "microkernels/reference.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <thread>
#include <vector>

#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

void check_size(const char* what, std::size_t have, std::uint64_t want) {
  if (have != want) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} has {} elements; the shape asks for {}", what, have, want));
  }
}

void check_matrices(const GemmShape& shape, std::size_t a, std::size_t b, std::size_t c) {
  if (shape.k > kMaxGemmK) {
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("K = {} may overflow the int32 sums: use at most {}", shape.k, kMaxGemmK));
  }
  check_size("matrix A", a, std::uint64_t{shape.m} * shape.k);
  check_size("matrix B", b, std::uint64_t{shape.n} * shape.k);
  check_size("matrix C", c, std::uint64_t{shape.m} * shape.n);
}

std::int32_t dot(const std::int8_t* a, const std::int8_t* b, std::size_t k) {
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < k; ++i) sum += std::int32_t{a[i]} * b[i];
  return sum;
}

// Rows of C in [begin, end); rows of B are taken in blocks that stay in the cache.
void multiply_rows(const GemmShape& shape, const std::int8_t* a, const std::int8_t* b,
                   std::int32_t* c, std::size_t begin, std::size_t end) {
  const std::size_t k = shape.k, n = shape.n;
  const std::size_t block = std::max<std::size_t>(1, 128 * 1024 / std::max<std::size_t>(k, 1));
  for (std::size_t n0 = 0; n0 < n; n0 += block) {
    const std::size_t n1 = std::min(n, n0 + block);
    for (std::size_t m = begin; m < end; ++m) {
      for (std::size_t j = n0; j < n1; ++j) c[m * n + j] = dot(a + m * k, b + j * k, k);
    }
  }
}

}  // namespace

void ref_gemm_i8i32(const GemmShape& shape, std::span<const std::int8_t> a,
                    std::span<const std::int8_t> b, std::span<std::int32_t> c) {
  check_matrices(shape, a.size(), b.size(), c.size());
  constexpr std::uint64_t kWorthAThread = 4'000'000;  // products
  const std::uint64_t macs = std::uint64_t{shape.m} * shape.n * shape.k;
  const std::size_t workers = std::clamp<std::size_t>(
      std::min<std::uint64_t>(macs / kWorthAThread, std::thread::hardware_concurrency()), 1,
      std::max<std::size_t>(shape.m, 1));
  std::vector<std::jthread> threads;
  for (std::size_t i = 1; i < workers; ++i) {
    threads.emplace_back([&, i] {
      multiply_rows(shape, a.data(), b.data(), c.data(), shape.m * i / workers,
                    shape.m * (i + 1) / workers);
    });
  }
  multiply_rows(shape, a.data(), b.data(), c.data(), 0, shape.m / workers);
}

void ref_requantise(const GemmShape& shape, const Requant& requant,
                    std::span<const std::int32_t> bias, std::span<const std::int32_t> sums,
                    std::span<std::int8_t> c, const ChannelScales& channels) {
  check_size("the sums", sums.size(), std::uint64_t{shape.m} * shape.n);
  check_size("matrix C", c.size(), std::uint64_t{shape.m} * shape.n);
  if (!bias.empty()) check_size("the bias", bias.size(), shape.n);
  if (!channels.empty()) check_size("the multipliers", channels.multipliers.size(), shape.n);
  for (std::size_t m = 0; m < shape.m; ++m) {
    for (std::size_t n = 0; n < shape.n; ++n) {
      const std::size_t i = m * shape.n + n;
      const std::int64_t sum = std::int64_t{sums[i]} + (bias.empty() ? 0 : bias[n]);
      const std::int64_t saturated = std::clamp<std::int64_t>(
          sum, std::numeric_limits<std::int32_t>::min(), std::numeric_limits<std::int32_t>::max());
      c[i] =
          requantise(channels.empty() ? static_cast<std::int32_t>(saturated)
                                      : scale_channel(sum, channels.multipliers[n], channels.shift),
                     requant);
    }
  }
}

void ref_gemm_i8i8(const GemmShape& shape, const Requant& requant,
                   std::span<const std::int32_t> bias, std::span<const std::int8_t> a,
                   std::span<const std::int8_t> b, std::span<std::int8_t> c) {
  std::vector<std::int32_t> sums(std::size_t{shape.m} * shape.n);
  check_matrices(shape, a.size(), b.size(), c.size());
  ref_gemm_i8i32(shape, a, b, sums);
  ref_requantise(shape, requant, bias, sums, c);
}

}  // namespace npu::kernels
