// SPDX-License-Identifier: MIT
// Activations to eight bits.
#include <bit>
#include <cstring>
#include <limits>

#include "llm-runtime/cpu/kernels.hpp"

#define HWY_WANT_AVX3_DL
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "llm-runtime/cpu/quantize.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "llm-runtime/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace npu::llm::cpu::HWY_NAMESPACE {
#if LLM_PLAIN

void quantize_32(const float* x, std::size_t n, Activations32* out, std::size_t stride) {
  plain::quantize(x, n, out, stride);
}
void quantize_256(const float* x, std::size_t n, Activations256* out, std::size_t stride) {
  plain::quantize(x, n, out, stride);
}

#else

/// q of n values and the sums of each kSum of them; returns d. See plain::quantize().
template <std::size_t kSum>
HWY_INLINE float quantize_block(const float* x, std::size_t n, std::int8_t* q, std::int32_t* sums) {
  const D32 d32;
  const DF df;
  const hn::Rebind<std::int8_t, D32> bytes;
  V32 bits = hn::Zero(d32);  // the order of magnitudes is that of their bits
  for (std::size_t k = 0; k < n; k += kLanes)
    bits = hn::Max(bits, hn::And(hn::BitCast(d32, hn::LoadU(df, x + k)),
                                 hn::Set(d32, std::int32_t{0x7FFFFFFF})));
  const float largest = std::bit_cast<float>(hn::GetLane(hn::MaxOfLanes(d32, bits)));
  const bool finite = largest <= std::numeric_limits<float>::max();
  const float scale = finite && largest > 1e-35F ? 127.0F / largest : 0.0F;
  if (!finite) {
    std::memset(q, 0, n);
    std::memset(sums, 0, n / kSum * sizeof(*sums));
    return std::numeric_limits<float>::quiet_NaN();
  }
  for (std::size_t k = 0; k < n; k += kSum) {
    V32 sum = hn::Zero(d32);
    LLM_UNROLL for (std::size_t i = k; i < k + kSum; i += kLanes) {
      const V32 v = hn::NearestInt(hn::Mul(hn::LoadU(df, x + i), hn::Set(df, scale)));
      sum = hn::Add(sum, v);
      hn::StoreU(hn::DemoteTo(bytes, v), bytes, q + i);
    }
    sums[k / kSum] = hn::GetLane(hn::SumOfLanes(d32, sum));
  }
  return largest * (1.0F / 127.0F);
}

void quantize_32(const float* x, std::size_t n, Activations32* out, std::size_t stride) {
  for (std::size_t k = 0; k < n; k += 32) {
    Activations32& slab = out[k / kSlabColumns * stride];
    const std::size_t g = k % kSlabColumns / 32;
    std::int32_t sum;
    slab.d[g] = quantize_block<32>(x + k, 32, slab.q + 32 * g, &sum);
    slab.correction[g] = -128 * sum;
  }
}

void quantize_256(const float* x, std::size_t n, Activations256* out, std::size_t stride) {
  for (std::size_t k = 0; k < n; k += kSlabColumns, out += stride) {
    std::int32_t sums[16];
    out->d = quantize_block<16>(x + k, 256, out->q, sums);
    for (std::size_t g = 0; g < 16; ++g) out->correction[g] = -128 * sums[g];
    for (std::size_t g = 0; g < 8; ++g)
      out->sums[g] = static_cast<std::int16_t>(sums[2 * g] + sums[2 * g + 1]);
  }
}

#endif  // LLM_PLAIN
}  // namespace npu::llm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace npu::llm::cpu {
namespace {
HWY_EXPORT(quantize_32);
HWY_EXPORT(quantize_256);
}  // namespace

void quantize(const float* x, std::size_t n, Activations32* out, std::size_t stride) {
  HWY_DYNAMIC_DISPATCH(quantize_32)(x, n, out, stride);
}
void quantize(const float* x, std::size_t n, Activations256* out, std::size_t stride) {
  HWY_DYNAMIC_DISPATCH(quantize_256)(x, n, out, stride);
}

}  // namespace npu::llm::cpu
#endif  // HWY_ONCE
