// SPDX-License-Identifier: MIT
// Several rows of activations times quantised weights, which are unpacked once for all of them
// (prefill, batches): bound by the dot products. Included once per target.

#if defined(NPU_LLM_CPU_TILE_INT8_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NPU_LLM_CPU_TILE_INT8_INL_H_
#undef NPU_LLM_CPU_TILE_INT8_INL_H_
#else
#define NPU_LLM_CPU_TILE_INT8_INL_H_
#endif

#include <cstring>

#include "llm-runtime/cpu/kernels.hpp"
#include "llm-runtime/cpu/row_int8-inl.h"

HWY_BEFORE_NAMESPACE();
namespace npu::llm::cpu::HWY_NAMESPACE {
#if !LLM_PLAIN

// Sums of kRows rows of activations by kWide vectors of weights stay in registers.
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
constexpr std::size_t kTilePanels = 2, kRows = 6;
#else
constexpr std::size_t kTilePanels = 1, kRows = 3;
#endif
constexpr std::size_t kWide = kTilePanels * kVectors;

/// A slab of up to two panels, unpacked; what belongs to a row lies panel by panel.
struct alignas(kAlignment) Tile {
  std::uint8_t w[8][8][kMaxPanels][64];  ///< [group][quad]
  float scale[16][kMaxPanels][kPanelRows];
  float d[kMaxPanels][kPanelRows], dmin[kMaxPanels][kPanelRows];
  std::int32_t pairs[4][kMaxPanels][kPanelRows];
};

#if defined(__ARM_FEATURE_MATMUL_INT8)

/// Two quads of four rows to eight columns of two rows and of two more, as SMMLA takes them: the
/// vectors of quads j and j + 1 become those of row pairs.
HWY_INLINE void pair_rows(Tile& tile, std::size_t panel, std::size_t g) {
  for (std::size_t j = 0; j < 8; j += 2) {
    V32 pairs[2 * kVectors];
    LLM_UNROLL for (std::size_t v = 0; v < kVectors; ++v) {
      const V32 a = load_bytes(tile.w[g][j][panel] + v * 16);
      const V32 b = load_bytes(tile.w[g][j + 1][panel] + v * 16);
      pairs[2 * v] = V32{vzip1q_s32(a.raw, b.raw)};
      pairs[2 * v + 1] = V32{vzip2q_s32(a.raw, b.raw)};
    }
    LLM_UNROLL for (std::size_t i = 0; i < 2 * kVectors; ++i) hn::StoreU(
        pairs[i], D32(),
        reinterpret_cast<std::int32_t*>(tile.w[g][j + i / kVectors][panel] + i % kVectors * 16));
  }
}

/// dot_tile() for a pair of rows of activations.
template <TensorType kType, class Slab>
HWY_INLINE void dot_pair(const Tile& tile, std::size_t panel, std::size_t g, std::size_t first,
                         std::size_t last, const Slab* x, std::size_t corrected,
                         V32 (&sum)[2][kWide]) {
  int32x4_t both[2 * kVectors];  // rows 2 i, 2 i + 1 of weights with both of activations
  const int32x4_t start =
      vcombine_s32(vget_low_s32(first_sum<kType, false>(x[0].correction[corrected]).raw),
                   vget_low_s32(first_sum<kType, false>(x[1].correction[corrected]).raw));
  LLM_UNROLL for (std::size_t i = 0; i < 2 * kVectors; ++i) both[i] = start;
  LLM_UNROLL for (std::size_t j = first; j < last; j += 2) {
    const int8x16_t four =
        vcombine_s8(vld1_s8(x[0].q + 32 * g + 4 * j), vld1_s8(x[1].q + 32 * g + 4 * j));
    LLM_UNROLL for (std::size_t i = 0; i < 2 * kVectors; ++i) both[i] = vmmlaq_s32(
        both[i], four,
        vreinterpretq_s8_u8(vld1q_u8(tile.w[g][j + i / kVectors][panel] + i % kVectors * 16)));
  }
  LLM_UNROLL for (std::size_t v = 0; v < kVectors; ++v) {
    const int64x2_t a = vreinterpretq_s64_s32(both[2 * v]);
    const int64x2_t b = vreinterpretq_s64_s32(both[2 * v + 1]);
    sum[0][v] = V32{vreinterpretq_s32_s64(vzip1q_s64(a, b))};
    sum[1][v] = V32{vreinterpretq_s32_s64(vzip2q_s64(a, b))};
  }
}

#endif

template <Dots kFast, TensorType kType>
void fill(Tile& tile, std::size_t panel, const std::byte* slab, std::size_t columns) {
  const DF df;
  constexpr std::uint8_t kBias =
      kUnsignedBytes && value_offset(kType) != 0 ? 128 - value_offset(kType) : 0;
  const hn::Repartition<std::uint8_t, D32> du8;
  for (std::size_t g = 0; g < columns / 32; ++g) {
    V32 w[8 * kVectors];
    load_codes<kType>(slab, columns, g, w);
    LLM_UNROLL for (std::size_t j = 0; j < 8; ++j)
        LLM_UNROLL for (std::size_t v = 0; v < kVectors; ++v) {
      auto bytes = hn::BitCast(du8, as_factor<kType>(w[j * kVectors + v]));
      if constexpr (kBias != 0) bytes = hn::Add(bytes, hn::Set(du8, kBias));
      hn::StoreU(bytes, du8, tile.w[g][j][panel] + v * kLanes * 4);
    }
#if defined(__ARM_FEATURE_MATMUL_INT8)
    if constexpr (kFast == Dots::i8mm) pair_rows(tile, panel, g);
#endif
  }
  const SlabLayout layout = slab_layout(kType, columns);
  for (std::size_t r = 0; r < kPanelRows; r += kLanes) {
    if constexpr (!is_k_quant(kType)) {
      for (std::size_t g = 0; g < columns / 32; ++g)
        hn::StoreU(load_halves(slab + layout.d + (g * kPanelRows + r) * 2), df,
                   tile.scale[g][panel] + r);
    } else {
      hn::StoreU(load_halves(slab + layout.d + r * 2), df, tile.d[panel] + r);
      if constexpr (kType != TensorType::q6_k)
        hn::StoreU(load_halves(slab + layout.dmin + r * 2), df, tile.dmin[panel] + r);
    }
  }
  if constexpr (is_k_quant(kType))
    load_scales<kType>(slab, tile.scale[0][panel], tile.pairs[0][panel], kMaxPanels * kPanelRows);
}

/// sum[r][v] += products of one quad of a panel with rows of activations.
template <Dots kFast, bool kFull, int quad, std::size_t R>
HWY_INLINE void dot_quad(const std::uint8_t* weights, const Quads (&x)[R], V32 (&sum)[R][kWide]) {
  V32 w[kWide];
  LLM_UNROLL for (std::size_t v = 0; v < kWide; ++v) w[v] = load_bytes(weights + v * kLanes * 4);
  LLM_UNROLL for (std::size_t r = 0; r < R; ++r) {
    const auto four = factor<quad>(x[r]);
    LLM_UNROLL for (std::size_t v = 0; v < kWide; ++v) sum[r][v] =
        dot4<kFast, kFull>(sum[r][v], w[v], four);
  }
}

/// sum[r][v] = products of quads [first, last) of group g with rows of activations; both are
/// multiples of 4.
template <Dots kFast, TensorType kType, std::size_t R, class Slab>
HWY_INLINE void dot_tile(const Tile& tile, std::size_t panel, std::size_t g, std::size_t first,
                         std::size_t last, const Slab* x, std::size_t corrected,
                         V32 (&sum)[R][kWide]) {
#if defined(__ARM_FEATURE_MATMUL_INT8)
  if constexpr (kFast == Dots::i8mm) {
    return dot_pair<kType>(tile, panel, g, first, last, x, corrected, sum);
  }
#endif
  constexpr bool kFull = kType == TensorType::q8_0;
  LLM_UNROLL for (std::size_t r = 0; r < R; ++r) LLM_UNROLL for (std::size_t v = 0; v < kWide; ++v)
      sum[r][v] = first_sum<kType, kUnsignedBytes>(x[r].correction[corrected]);
  LLM_UNROLL for (std::size_t j = first; j < last; j += 4) {
    Quads four[R];
    LLM_UNROLL for (std::size_t r = 0; r < R; ++r) four[r] = load_quads(x[r].q + 32 * g + 4 * j);
    dot_quad<kFast, kFull, 0>(tile.w[g][j][panel], four, sum);
    dot_quad<kFast, kFull, 1>(tile.w[g][j + 1][panel], four, sum);
    dot_quad<kFast, kFull, 2>(tile.w[g][j + 2][panel], four, sum);
    dot_quad<kFast, kFull, 3>(tile.w[g][j + 3][panel], four, sum);
  }
}

template <Dots kFast, TensorType kType, std::size_t R>
void rows_of_32(const Tile& tile, std::size_t panel, std::size_t groups, const Activations32* x,
                float* sums) {
  const DF df;
  VF total[R][kWide];
  LLM_UNROLL for (std::size_t r = 0; r < R; ++r) LLM_UNROLL for (std::size_t v = 0; v < kWide; ++v)
      total[r][v] = hn::LoadU(df, sums + r * kSumStride + v * kLanes);
  for (std::size_t g = 0; g < groups; ++g) {
    V32 sum[R][kWide];
    dot_tile<kFast, kType>(tile, panel, g, 0, 8, x, g, sum);
    VF scale[kWide];
    LLM_UNROLL for (std::size_t v = 0; v < kWide; ++v) scale[v] =
        hn::LoadU(df, tile.scale[g][panel] + v * kLanes);
    LLM_UNROLL for (std::size_t r = 0; r < R; ++r) {
      const VF d = hn::Set(df, x[r].d[g]);
      LLM_UNROLL for (std::size_t v = 0; v < kWide; ++v) total[r][v] =
          hn::MulAdd(hn::ConvertTo(df, sum[r][v]), hn::Mul(scale[v], d), total[r][v]);
    }
  }
  LLM_UNROLL for (std::size_t r = 0; r < R; ++r) LLM_UNROLL for (std::size_t v = 0; v < kWide; ++v)
      hn::StoreU(total[r][v], df, sums + r * kSumStride + v * kLanes);
}

template <Dots kFast, TensorType kType, std::size_t R>
void rows_of_256(const Tile& tile, std::size_t panel, const Activations256* x, float* sums) {
  const D32 d32;
  const DF df;
  VF scaled[R][kWide];
  LLM_UNROLL for (std::size_t r = 0; r < R; ++r) LLM_UNROLL for (std::size_t v = 0; v < kWide; ++v)
      scaled[r][v] = hn::Zero(df);
  constexpr std::size_t kParts = kType == TensorType::q6_k ? 2 : 1;
  for (std::size_t g = 0; g < 8; ++g) LLM_UNROLL for (std::size_t part = 0; part < kParts; ++part) {
      V32 sum[R][kWide];
      dot_tile<kFast, kType>(tile, panel, g, part * 4, kParts == 1 ? 8 : part * 4 + 4, x,
                             2 * g + part, sum);
      LLM_UNROLL for (std::size_t v = 0; v < kWide; ++v) {
        const VF scale = hn::LoadU(df, tile.scale[g * kParts + part][panel] + v * kLanes);
        LLM_UNROLL for (std::size_t r = 0; r < R; ++r) scaled[r][v] =
            hn::MulAdd(hn::ConvertTo(df, sum[r][v]), scale, scaled[r][v]);
      }
    }
  LLM_UNROLL for (std::size_t r = 0; r < R; ++r) {
    const VF x_d = hn::Set(df, x[r].d);
    LLM_UNROLL for (std::size_t v = 0; v < kWide; ++v) {
      V32 minima = hn::Zero(d32);
      VF dmin = hn::Zero(df);
      if constexpr (kType != TensorType::q6_k) {
        LLM_UNROLL for (std::size_t p = 0; p < 4; ++p) minima =
            dot2(minima, hn::LoadU(d32, tile.pairs[p][panel] + v * kLanes),
                 broadcast4(x[r].sums + 2 * p));
        dmin = hn::LoadU(df, tile.dmin[panel] + v * kLanes);
      }
      float* at = sums + r * kSumStride + v * kLanes;
      const VF d = hn::LoadU(df, tile.d[panel] + v * kLanes);
      hn::StoreU(add_slab<kType>(hn::LoadU(df, at), scaled[r][v], minima, d, dmin, x_d), df, at);
    }
  }
}

template <Dots kFast, TensorType kType, std::size_t R>
HWY_INLINE void rows(const Tile& tile, std::size_t panel, std::size_t groups,
                     const Activations32* x, float* sums) {
  rows_of_32<kFast, kType, R>(tile, panel, groups, x, sums);
}
template <Dots kFast, TensorType kType, std::size_t R>
HWY_INLINE void rows(const Tile& tile, std::size_t panel, std::size_t, const Activations256* x,
                     float* sums) {
  rows_of_256<kFast, kType, R>(tile, panel, x, sums);
}

/// A row without a second one, where all come in pairs.
template <Dots kFast, TensorType kType, class Slab>
HWY_INLINE void last_row(const Tile& tile, std::size_t panel, std::size_t groups, const Slab* x,
                         float* sums) {
  const Slab two[2] = {*x, *x};
  float both[2 * kSumStride] = {};
  std::memcpy(both, sums, kTilePanels * kPanelRows * sizeof(float));
  rows<kFast, kType, 2>(tile, panel, groups, two, both);
  std::memcpy(sums, both, kTilePanels * kPanelRows * sizeof(float));
}

template <Dots kFast, TensorType kType, class Slab>
void all_rows(const Panels& w, const Slab* x, std::size_t stride, std::size_t m, float* sums) {
  Tile tile{};
  std::memset(sums, 0, m * kSumStride * sizeof(float));
  const std::size_t panel = panel_bytes(kType, w.columns);
  const std::byte* slab = w.data;
  for (std::size_t k = 0; k < w.columns; k += kSlabColumns, x += stride) {
    const std::size_t columns = w.columns - k < kSlabColumns ? w.columns - k : kSlabColumns;
    for (std::size_t p = 0; p < w.count; ++p)
      fill<kFast, kType>(tile, p, slab + p * panel, columns);
    for (std::size_t p = 0; p < w.count; p += kTilePanels) {
      float* out = sums + p * kPanelRows;
      std::size_t i = 0;
      if constexpr (kFast == Dots::i8mm) {
        for (; i + 2 <= m; i += 2)
          rows<kFast, kType, 2>(tile, p, columns / 32, x + i, out + i * kSumStride);
        if (i < m) last_row<kFast, kType>(tile, p, columns / 32, x + i, out + i * kSumStride);
      } else {
        for (; i + kRows <= m; i += kRows)
          rows<kFast, kType, kRows>(tile, p, columns / 32, x + i, out + i * kSumStride);
        if constexpr (kRows > 4)
          for (; i + 4 <= m; i += 4)
            rows<kFast, kType, 4>(tile, p, columns / 32, x + i, out + i * kSumStride);
        for (; i + 2 <= m; i += 2)
          rows<kFast, kType, 2>(tile, p, columns / 32, x + i, out + i * kSumStride);
        for (; i < m; ++i)
          rows<kFast, kType, 1>(tile, p, columns / 32, x + i, out + i * kSumStride);
      }
    }
    slab += slab_bytes(kType, columns);
  }
}

template <Dots kFast, TensorType kType>
void multiply_type(const Panels& w, const Activations32* x, std::size_t stride, std::size_t m,
                   float* sums) {
  if (m > 1) return all_rows<kFast, kType>(w, x, stride, m, sums);
  for (std::size_t p = 0; p < w.count; ++p)
    row_of_32<kFast, kType>(w.data + p * panel_bytes(kType, w.columns), w.columns, x, stride,
                            sums + p * kPanelRows);
}
template <Dots kFast, TensorType kType>
void multiply_type(const Panels& w, const Activations256* x, std::size_t stride, std::size_t m,
                   float* sums) {
  if (m > 1) return all_rows<kFast, kType>(w, x, stride, m, sums);
  for (std::size_t p = 0; p < w.count; ++p)
    row_of_256<kFast, kType>(w.data + p * panel_bytes(kType, w.columns), w.columns, x, stride,
                             sums + p * kPanelRows);
}

template <Dots kFast>
HWY_INLINE void multiply_any(const Panels& w, const Activations32* x, std::size_t stride,
                             std::size_t m, float* sums) {
  if (w.type == TensorType::q4_0)
    multiply_type<kFast, TensorType::q4_0>(w, x, stride, m, sums);
  else if (w.type == TensorType::q5_0)
    multiply_type<kFast, TensorType::q5_0>(w, x, stride, m, sums);
  else
    multiply_type<kFast, TensorType::q8_0>(w, x, stride, m, sums);
}
template <Dots kFast>
HWY_INLINE void multiply_any(const Panels& w, const Activations256* x, std::size_t stride,
                             std::size_t m, float* sums) {
  if (w.type == TensorType::q4_k)
    multiply_type<kFast, TensorType::q4_k>(w, x, stride, m, sums);
  else if (w.type == TensorType::q5_k)
    multiply_type<kFast, TensorType::q5_k>(w, x, stride, m, sums);
  else
    multiply_type<kFast, TensorType::q6_k>(w, x, stride, m, sums);
}

#endif  // !LLM_PLAIN
}  // namespace npu::llm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
