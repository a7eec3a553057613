// SPDX-License-Identifier: MIT
#include "plain_gemm_fp32.hpp"

#include <algorithm>

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/bench/plain_gemm_fp32.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace npu::bench::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// Rows by vectors of kernels whose sums stay in registers.
#if HWY_TARGET == HWY_AVX3
constexpr std::size_t kRows = 12, kVectors = 2;
#elif HWY_TARGET == HWY_NEON
constexpr std::size_t kRows = 6, kVectors = 4;
#else
constexpr std::size_t kRows = 6, kVectors = 2;
#endif

template <std::size_t R>
HWY_INLINE void tile(const float* a, std::size_t a_stride, const float* b, std::size_t k,
                     bool first, float* c, std::size_t c_stride) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  V sum[R][kVectors];
  for (std::size_t r = 0; r < R; ++r)
    for (std::size_t v = 0; v < kVectors; ++v)
      sum[r][v] = first ? hn::Zero(d) : hn::LoadU(d, c + r * c_stride + v * lanes);
  for (std::size_t i = 0; i < k; ++i) {
    V w[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) w[v] = hn::LoadU(d, b + (i * kVectors + v) * lanes);
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 16
#endif
    for (std::size_t r = 0; r < R; ++r) {
      const V x = hn::Set(d, a[r * a_stride + i]);
      for (std::size_t v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(x, w[v], sum[r][v]);
    }
  }
  for (std::size_t r = 0; r < R; ++r)
    for (std::size_t v = 0; v < kVectors; ++v)
      hn::StoreU(sum[r][v], d, c + r * c_stride + v * lanes);
}

// `rows` rows of A by one panel, `k` of the depth.
void block(const float* a, std::size_t a_stride, const float* b, std::size_t rows, std::size_t k,
           bool first, float* c, std::size_t c_stride) {
  std::size_t r = 0;
  for (; r + kRows <= rows; r += kRows)
    tile<kRows>(a + r * a_stride, a_stride, b, k, first, c + r * c_stride, c_stride);
  for (; r + 4 <= rows; r += 4)
    tile<4>(a + r * a_stride, a_stride, b, k, first, c + r * c_stride, c_stride);
  for (; r < rows; ++r)
    tile<1>(a + r * a_stride, a_stride, b, k, first, c + r * c_stride, c_stride);
}

std::size_t panel() { return kVectors * hn::Lanes(D()); }

}  // namespace npu::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace npu::bench {
namespace {
HWY_EXPORT(block);
HWY_EXPORT(panel);
}  // namespace

std::vector<float> pack_fp32(const float* b, std::size_t n, std::size_t k) {
  const std::size_t wide = HWY_DYNAMIC_DISPATCH(panel)();
  std::vector<float> packed(n * k);
  for (std::size_t o = 0; o < n; ++o)
    for (std::size_t i = 0; i < k; ++i) packed[(o / wide * k + i) * wide + o % wide] = b[o * k + i];
  return packed;
}

void plain_gemm_fp32(const float* a, const std::vector<float>& packed_b, float* c, std::size_t m,
                     std::size_t n, std::size_t k, sim::ThreadPool& pool) {
  constexpr std::size_t kRowBlock = 96, kDepth = 256;
  const std::size_t wide = HWY_DYNAMIC_DISPATCH(panel)();
  // Work items: blocks of rows by strips of kernels, so that both threads have something to do
  // and the rows of a block stay in the second-level cache while the panels pass.
  const std::size_t strip = 512 / wide * wide;
  const std::size_t row_blocks = (m + kRowBlock - 1) / kRowBlock, strips = (n + strip - 1) / strip;
  pool.parallel_for(row_blocks * strips, [&](std::size_t item) {
    const std::size_t row = item % row_blocks * kRowBlock, rows = std::min(kRowBlock, m - row);
    const std::size_t first = item / row_blocks * strip, last = std::min(n, first + strip);
    for (std::size_t depth = 0; depth < k; depth += kDepth)
      for (std::size_t o = first; o < last; o += wide) HWY_DYNAMIC_DISPATCH(block)
    (a + row * k + depth, k, packed_b.data() + o * k + depth * wide, rows,
     std::min(kDepth, k - depth), depth == 0, c + row * n + o, n);
  });
}

}  // namespace npu::bench
#endif
