// SPDX-License-Identifier: MIT
// Products in f32: of the exact path, and of weights that the file holds as floats.
#include <cstring>

#include "llm-runtime/cpu/kernels.hpp"

#define HWY_WANT_AVX3_DL
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "llm-runtime/cpu/multiply_f32.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "llm-runtime/cpu/unpack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace npu::llm::cpu::HWY_NAMESPACE {
#if LLM_PLAIN

void multiply_float(const Panels& w, const float* x, std::size_t x_stride, std::size_t m,
                    float* sums) {
  plain::multiply_f32(w, x, x_stride, m, sums);
}

#else

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
constexpr std::size_t kTilePanels = 2, kRows = 6;
#else
constexpr std::size_t kTilePanels = 1, kRows = 3;
#endif
constexpr std::size_t kWide = kTilePanels * kVectors;

/// Rows of column k of a slab of floats.
template <TensorType kType>
HWY_INLINE VF load_column(const std::byte* slab, std::size_t k, std::size_t row) {
  const std::byte* at = slab + (k * kPanelRows + row) * block_shape(kType).bytes;
  if constexpr (kType == TensorType::f32) {
    return hn::LoadU(DF(), reinterpret_cast<const float*>(at));
  } else if constexpr (kType == TensorType::f16) {
    return load_halves(at);
  } else {
    const hn::Rebind<std::uint16_t, D32> half;
    const auto bits = hn::LoadU(half, reinterpret_cast<const std::uint16_t*>(at));
    return hn::BitCast(DF(), hn::ShiftLeft<16>(hn::PromoteTo(D32(), bits)));
  }
}

template <TensorType kType, std::size_t R>
void rows_f32(const std::byte* const* slabs, std::size_t columns, const float* x,
              std::size_t x_stride, float* sums) {
  const DF df;
  VF part[R][kWide];
  LLM_UNROLL for (std::size_t r = 0; r < R; ++r) LLM_UNROLL for (std::size_t v = 0; v < kWide; ++v)
      part[r][v] = hn::Zero(df);
  for (std::size_t k = 0; k < columns; ++k) {
    VF w[kWide];
    LLM_UNROLL for (std::size_t v = 0; v < kWide; ++v) w[v] =
        load_column<kType>(slabs[v / kVectors], k, v % kVectors * kLanes);
    LLM_UNROLL for (std::size_t r = 0; r < R; ++r) {
      const VF one = hn::Set(df, x[r * x_stride + k]);
      LLM_UNROLL for (std::size_t v = 0; v < kWide; ++v) part[r][v] =
          hn::MulAdd(w[v], one, part[r][v]);
    }
  }
  LLM_UNROLL for (std::size_t r = 0; r < R; ++r)
      LLM_UNROLL for (std::size_t v = 0; v < kWide; ++v) {
    float* at = sums + r * kSumStride + v * kLanes;
    hn::StoreU(hn::Add(hn::LoadU(df, at), part[r][v]), df, at);
  }
}

template <TensorType kType>
void slabs_f32(const std::byte* const* slabs, std::size_t columns, const float* x,
               std::size_t x_stride, std::size_t m, float* sums) {
  std::size_t i = 0;
  for (; i + kRows <= m; i += kRows)
    rows_f32<kType, kRows>(slabs, columns, x + i * x_stride, x_stride, sums + i * kSumStride);
  for (; i + 2 <= m; i += 2)
    rows_f32<kType, 2>(slabs, columns, x + i * x_stride, x_stride, sums + i * kSumStride);
  for (; i < m; ++i)
    rows_f32<kType, 1>(slabs, columns, x + i * x_stride, x_stride, sums + i * kSumStride);
}

/// A slab's weights as floats [column][16], rounded as ggml's to_float does.
template <TensorType kType>
void dequantize_slab(const std::byte* slab, std::size_t columns, float* out) {
  const D32 d32;
  const DF df;
  constexpr bool kMinima = kType == TensorType::q4_k || kType == TensorType::q5_k;
  const SlabLayout layout = slab_layout(kType, columns);
  alignas(kAlignment) float scale[16 * kPanelRows];
  alignas(kAlignment) std::int32_t pairs[4 * kPanelRows];
  if constexpr (is_k_quant(kType)) load_scales<kType>(slab, scale, pairs, kPanelRows);
  for (std::size_t g = 0; g < columns / 32; ++g) {
    V32 w[8 * kVectors];
    load_codes<kType>(slab, columns, g, w);
    for (std::size_t v = 0; v < kVectors; ++v) {
      const std::size_t row = v * kLanes;
      VF minimum = hn::Zero(df);
      if constexpr (kMinima) {
        const V32 both = hn::LoadU(d32, pairs + g / 2 * kPanelRows + row);
        const V32 one = g % 2 == 0 ? hn::And(both, hn::Set(d32, std::int32_t{0xFFFF}))
                                   : hn::ShiftRight<16>(both);
        minimum = hn::Mul(load_halves(slab + layout.dmin + row * 2), hn::ConvertTo(df, one));
      }
      for (std::size_t j = 0; j < 8; ++j) {
        VF factor;
        if constexpr (is_k_quant(kType)) {
          const std::size_t s = kType == TensorType::q6_k ? 2 * g + j / 4 : g;
          factor = hn::Mul(load_halves(slab + layout.d + row * 2),
                           hn::LoadU(df, scale + s * kPanelRows + row));
        } else {
          factor = load_halves(slab + layout.d + (g * kPanelRows + row) * 2);
        }
        V32 codes = w[j * kVectors + v];
        if constexpr (kType == TensorType::q8_0) codes = flip_signs(codes);
        for (std::size_t b = 0; b < 4; ++b) {
          const V32 code = hn::And(codes, hn::Set(d32, 255));
          codes = hn::ShiftRight<8>(codes);
          const V32 q = hn::Sub(code, hn::Set(d32, value_offset(kType)));
          VF value = hn::Mul(factor, hn::ConvertTo(df, q));
          if constexpr (kMinima) value = hn::Sub(value, minimum);
          hn::StoreU(value, df, out + (g * 32 + j * 4 + b) * kPanelRows + row);
        }
      }
    }
  }
}

void dequantize_any(TensorType type, const std::byte* slab, std::size_t columns, float* out) {
  switch (type) {
    case TensorType::q4_0: return dequantize_slab<TensorType::q4_0>(slab, columns, out);
    case TensorType::q5_0: return dequantize_slab<TensorType::q5_0>(slab, columns, out);
    case TensorType::q8_0: return dequantize_slab<TensorType::q8_0>(slab, columns, out);
    case TensorType::q4_k: return dequantize_slab<TensorType::q4_k>(slab, columns, out);
    case TensorType::q5_k: return dequantize_slab<TensorType::q5_k>(slab, columns, out);
    case TensorType::q6_k: return dequantize_slab<TensorType::q6_k>(slab, columns, out);
    default: return;
  }
}

void multiply_float(const Panels& w, const float* x, std::size_t x_stride, std::size_t m,
                    float* sums) {
  std::memset(sums, 0, m * kSumStride * sizeof(float));
  alignas(kAlignment) float tile[kMaxPanels][kSlabColumns * kPanelRows];
  const std::size_t panel = panel_bytes(w.type, w.columns);
  const std::byte* slab = w.data;
  for (std::size_t k = 0; k < w.columns; k += kSlabColumns) {
    const std::size_t columns = w.columns - k < kSlabColumns ? w.columns - k : kSlabColumns;
    for (std::size_t p = 0; p < w.count; p += kTilePanels) {
      const std::byte* slabs[kTilePanels];
      for (std::size_t i = 0; i < kTilePanels; ++i) {
        // A lone panel stands for both: the second result is nobody's.
        const std::size_t which = p + i < w.count ? p + i : p;
        slabs[i] = slab + which * panel;
        if (is_float(w.type)) continue;
        if (which == p + i) dequantize_any(w.type, slabs[i], columns, tile[i]);
        slabs[i] = reinterpret_cast<const std::byte*>(tile[which - p]);
      }
      float* out = sums + p * kPanelRows;
      if (w.type == TensorType::f16)
        slabs_f32<TensorType::f16>(slabs, columns, x + k, x_stride, m, out);
      else if (w.type == TensorType::bf16)
        slabs_f32<TensorType::bf16>(slabs, columns, x + k, x_stride, m, out);
      else
        slabs_f32<TensorType::f32>(slabs, columns, x + k, x_stride, m, out);
    }
    slab += slab_bytes(w.type, columns);
  }
}

#endif  // LLM_PLAIN
}  // namespace npu::llm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace npu::llm::cpu {
namespace {
HWY_EXPORT(multiply_float);
}  // namespace

void multiply_f32(const Panels& w, const float* x, std::size_t x_stride, std::size_t m,
                  float* sums) {
  HWY_DYNAMIC_DISPATCH(multiply_float)(w, x, x_stride, m, sums);
}

}  // namespace npu::llm::cpu
#endif  // HWY_ONCE
