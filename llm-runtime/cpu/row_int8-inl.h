// SPDX-License-Identifier: MIT
// One row of activations times quantised weights straight from the packed slab (decode): bound by
// memory. Included once per target.

#if defined(NPU_LLM_CPU_ROW_INT8_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NPU_LLM_CPU_ROW_INT8_INL_H_
#undef NPU_LLM_CPU_ROW_INT8_INL_H_
#else
#define NPU_LLM_CPU_ROW_INT8_INL_H_
#endif

#include <cstring>

#include "llm-runtime/cpu/kernels.hpp"
#include "llm-runtime/cpu/unpack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace npu::llm::cpu::HWY_NAMESPACE {
#if !LLM_PLAIN

/// Adds the products of quads j .. j + 3, whose activations lie at q.
template <Dots kFast, TensorType kType>
HWY_INLINE void dot_four_quads(const V32* w, const std::int8_t* q, V32* sum) {
  constexpr bool kFull = kType == TensorType::q8_0;
  const Quads x = load_quads(q);
  LLM_UNROLL for (std::size_t v = 0; v < kVectors; ++v) sum[v] =
      dot4_at<kFast, kFull, 0>(sum[v], as_factor<kType>(w[v]), x);
  LLM_UNROLL for (std::size_t v = 0; v < kVectors; ++v) sum[v] =
      dot4_at<kFast, kFull, 1>(sum[v], as_factor<kType>(w[kVectors + v]), x);
  LLM_UNROLL for (std::size_t v = 0; v < kVectors; ++v) sum[v] =
      dot4_at<kFast, kFull, 2>(sum[v], as_factor<kType>(w[2 * kVectors + v]), x);
  LLM_UNROLL for (std::size_t v = 0; v < kVectors; ++v) sum[v] =
      dot4_at<kFast, kFull, 3>(sum[v], as_factor<kType>(w[3 * kVectors + v]), x);
}

template <Dots kFast, TensorType kType>
HWY_INLINE void dot_group(const std::byte* slab, std::size_t columns, std::size_t g,
                          const std::int8_t* q, std::int32_t correction, V32* sum) {
  V32 w[8 * kVectors];
  load_codes<kType>(slab, columns, g, w);
  LLM_UNROLL for (std::size_t v = 0; v < kVectors; ++v) sum[v] =
      first_sum<kType, false>(correction);
  dot_four_quads<kFast, kType>(w, q + 32 * g, sum);
  dot_four_quads<kFast, kType>(w + 4 * kVectors, q + 32 * g + 16, sum);
}

// Bytes ahead of the weights in use. The hardware's prefetchers stop at the end of a page.
constexpr std::size_t kAhead = 4096;

template <Dots kFast, TensorType kType>
void row_of_32(const std::byte* slab, std::size_t columns, const Activations32* x,
               std::size_t stride, float* sums) {
  const DF df;
  VF total[kVectors];
  LLM_UNROLL for (std::size_t v = 0; v < kVectors; ++v) total[v] = hn::Zero(df);
  for (std::size_t k = 0; k < columns; k += kSlabColumns, x += stride) {
    const std::size_t here = columns - k < kSlabColumns ? columns - k : kSlabColumns;
    const std::byte* d = slab + slab_layout(kType, here).d;
    const std::size_t bytes = slab_bytes(kType, here);
    for (std::size_t g = 0; g < here / 32; ++g) {
      constexpr std::size_t kGroupBytes = slab_bytes(kType, 256) / 8;
      for (std::size_t b = 0; b < kGroupBytes; b += 64)
        __builtin_prefetch(slab + g * kGroupBytes + kAhead + b);
      V32 sum[kVectors];
      dot_group<kFast, kType>(slab, here, g, x->q, x->correction[g], sum);
      LLM_UNROLL for (std::size_t v = 0; v < kVectors; ++v) {
        const VF scale =
            hn::Mul(load_halves(d + (g * kPanelRows + v * kLanes) * 2), hn::Set(df, x->d[g]));
        total[v] = hn::MulAdd(hn::ConvertTo(df, sum[v]), scale, total[v]);
      }
    }
    slab += bytes;
  }
  LLM_UNROLL for (std::size_t v = 0; v < kVectors; ++v) hn::StoreU(total[v], df, sums + v * kLanes);
}

/// Adds d * scaled - dmin * minima of a K-quant slab to the totals.
template <TensorType kType>
HWY_INLINE VF add_slab(VF total, VF scaled, V32 minima, VF d, VF dmin, VF x_d) {
  const DF df;
  total = hn::MulAdd(scaled, hn::Mul(d, x_d), total);
  if constexpr (kType != TensorType::q6_k)
    total = hn::NegMulAdd(hn::ConvertTo(df, minima), hn::Mul(dmin, x_d), total);
  return total;
}

template <Dots kFast>
HWY_INLINE void dot_half_groups(const std::byte* slab, std::size_t g, const Activations256& x,
                                V32* sum) {
  constexpr TensorType kType = TensorType::q6_k;
  V32 w[8 * kVectors];
  load_codes<kType>(slab, kSlabColumns, g, w);
  LLM_UNROLL for (std::size_t h = 0; h < 2; ++h) {
    LLM_UNROLL for (std::size_t v = 0; v < kVectors; ++v) sum[h * kVectors + v] =
        first_sum<kType, false>(x.correction[2 * g + h]);
    dot_four_quads<kFast, kType>(w + h * 4 * kVectors, x.q + 32 * g + 16 * h, sum + h * kVectors);
  }
}

template <Dots kFast, TensorType kType>
void row_of_256(const std::byte* slab, std::size_t columns, const Activations256* x,
                std::size_t stride, float* sums) {
  const D32 d32;
  const DF df;
  constexpr SlabLayout kLayout = slab_layout(kType, kSlabColumns);
  constexpr std::size_t kBytes = slab_bytes(kType, kSlabColumns);
  VF total[kVectors];
  LLM_UNROLL for (std::size_t v = 0; v < kVectors; ++v) total[v] = hn::Zero(df);
  alignas(kAlignment) float scale[16 * kPanelRows];
  alignas(kAlignment) std::int32_t pairs[4 * kPanelRows];
  for (std::size_t k = 0; k < columns; k += kSlabColumns, x += stride, slab += kBytes) {
    load_scales<kType>(slab, scale, pairs, kPanelRows);
    VF scaled[kVectors];
    LLM_UNROLL for (std::size_t v = 0; v < kVectors; ++v) scaled[v] = hn::Zero(df);
    for (std::size_t g = 0; g < 8; ++g) {
      for (std::size_t b = 0; b < kBytes / 8; b += 64)
        __builtin_prefetch(slab + g * (kBytes / 8) + kAhead + b);
      if constexpr (kType == TensorType::q6_k) {
        V32 sum[2 * kVectors];
        dot_half_groups<kFast>(slab, g, *x, sum);
        LLM_UNROLL for (std::size_t h = 0; h < 2; ++h)
            LLM_UNROLL for (std::size_t v = 0; v < kVectors; ++v) scaled[v] =
                hn::MulAdd(hn::ConvertTo(df, sum[h * kVectors + v]),
                           hn::LoadU(df, scale + (2 * g + h) * kPanelRows + v * kLanes), scaled[v]);
      } else {
        V32 sum[kVectors];
        dot_group<kFast, kType>(slab, kSlabColumns, g, x->q, 0, sum);
        LLM_UNROLL for (std::size_t v = 0; v < kVectors; ++v) scaled[v] =
            hn::MulAdd(hn::ConvertTo(df, sum[v]),
                       hn::LoadU(df, scale + g * kPanelRows + v * kLanes), scaled[v]);
      }
    }
    LLM_UNROLL for (std::size_t v = 0; v < kVectors; ++v) {
      V32 minima = hn::Zero(d32);
      VF dmin = hn::Zero(df);
      if constexpr (kType != TensorType::q6_k) {
        LLM_UNROLL for (std::size_t p = 0; p < 4; ++p) minima =
            dot2(minima, hn::LoadU(d32, pairs + p * kPanelRows + v * kLanes),
                 broadcast4(x->sums + 2 * p));
        dmin = load_halves(slab + kLayout.dmin + v * kLanes * 2);
      }
      const VF d = load_halves(slab + kLayout.d + v * kLanes * 2);
      total[v] = add_slab<kType>(total[v], scaled[v], minima, d, dmin, hn::Set(df, x->d));
    }
  }
  LLM_UNROLL for (std::size_t v = 0; v < kVectors; ++v) hn::StoreU(total[v], df, sums + v * kLanes);
}

#endif  // !LLM_PLAIN
}  // namespace npu::llm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
