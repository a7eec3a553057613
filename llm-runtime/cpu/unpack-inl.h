// SPDX-License-Identifier: MIT
// From a packed slab (layout.hpp) to vectors of weights. Included once per target, after
// simd-inl.h.

#if defined(NPU_LLM_CPU_UNPACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NPU_LLM_CPU_UNPACK_INL_H_
#undef NPU_LLM_CPU_UNPACK_INL_H_
#else
#define NPU_LLM_CPU_UNPACK_INL_H_
#endif

#include "llm-runtime/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace npu::llm::cpu::HWY_NAMESPACE {
#if !LLM_PLAIN

constexpr bool has_fifth_bit(TensorType type) {
  return type == TensorType::q5_0 || type == TensorType::q5_k;
}

/// Bits kFrom and up of each byte to bits kTo and up; the caller masks.
template <int kFrom, int kTo>
HWY_INLINE V32 move_bits(V32 v) {
  if constexpr (kFrom < kTo)
    return hn::ShiftLeft<kTo - kFrom>(v);
  else if constexpr (kFrom > kTo)
    return hn::ShiftRight<kFrom - kTo>(v);
  else
    return v;
}

/// The codes of quads 0..7 of group g of one panel: w[quad * kVectors + vector]. Of Q8_0 the signed
/// bytes.
template <TensorType kType>
HWY_INLINE void load_codes(const std::byte* slab, std::size_t columns, std::size_t g, V32* w) {
  const D32 d;
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(slab);
  constexpr std::size_t kStep = kLanes * 4;
  if constexpr (kType == TensorType::q8_0) {
    LLM_UNROLL for (std::size_t i = 0; i < 8 * kVectors; ++i) w[i] =
        load_bytes(bytes + g * 512 + i * kStep);
    return;
  }
  const V32 low = hn::Set(d, 0x0F0F0F0F);
  LLM_UNROLL for (std::size_t i = 0; i < 4 * kVectors; ++i) {
    const V32 two = load_bytes(bytes + g * 256 + i * kStep);
    w[i] = hn::And(two, low);
    w[i + 4 * kVectors] = high_nibbles(two, low);
  }
  const auto* high = bytes + slab_layout(kType, columns).high;
  if constexpr (has_fifth_bit(kType)) {
    const V32 mask = hn::Set(d, 0x10101010);
    LLM_UNROLL for (std::size_t v = 0; v < kVectors; ++v) {
      const V32 bits = load_bytes(high + g * 64 + v * kStep);
      V32* at = w + v;
      at[0 * kVectors] = put_bits(at[0 * kVectors], move_bits<0, 4>(bits), mask);
      at[1 * kVectors] = put_bits(at[1 * kVectors], move_bits<1, 4>(bits), mask);
      at[2 * kVectors] = put_bits(at[2 * kVectors], move_bits<2, 4>(bits), mask);
      at[3 * kVectors] = put_bits(at[3 * kVectors], move_bits<3, 4>(bits), mask);
      at[4 * kVectors] = put_bits(at[4 * kVectors], move_bits<4, 4>(bits), mask);
      at[5 * kVectors] = put_bits(at[5 * kVectors], move_bits<5, 4>(bits), mask);
      at[6 * kVectors] = put_bits(at[6 * kVectors], move_bits<6, 4>(bits), mask);
      at[7 * kVectors] = put_bits(at[7 * kVectors], move_bits<7, 4>(bits), mask);
    }
  }
  if constexpr (kType == TensorType::q6_k) {
    const V32 mask = hn::Set(d, 0x30303030);
    LLM_UNROLL for (std::size_t half = 0; half < 2; ++half)
        LLM_UNROLL for (std::size_t v = 0; v < kVectors; ++v) {
      const V32 bits = load_bytes(high + (g * 2 + half) * 64 + v * kStep);
      V32* at = w + half * 4 * kVectors + v;
      at[0 * kVectors] = put_bits(at[0 * kVectors], move_bits<0, 4>(bits), mask);
      at[1 * kVectors] = put_bits(at[1 * kVectors], move_bits<2, 4>(bits), mask);
      at[2 * kVectors] = put_bits(at[2 * kVectors], move_bits<4, 4>(bits), mask);
      at[3 * kVectors] = put_bits(at[3 * kVectors], move_bits<6, 4>(bits), mask);
    }
  }
}

/// What a sum of products of codes starts with, so that it ends as that of code - value_offset.
/// kBiased: the codes have had 128 - value_offset added.
template <TensorType kType, bool kBiased>
HWY_INLINE V32 first_sum(std::int32_t correction) {
  constexpr int kOffset = value_offset(kType);
  if constexpr (kOffset == 0 || (kType == TensorType::q8_0 && !kUnsignedBytes))
    return hn::Zero(D32());
  else if constexpr (kBiased)
    return hn::Set(D32(), correction);
  else  // a multiple of 128 by construction
    return hn::Set(D32(), correction / (128 / kOffset));
}

/// Signed bytes to bytes + 128 and back.
HWY_INLINE V32 flip_signs(V32 w) {
  return hn::Xor(w, hn::Set(D32(), static_cast<std::int32_t>(0x80808080)));
}

/// Bytes of Q8_0 as the target's dot4 takes them.
template <TensorType kType>
HWY_INLINE V32 as_factor(V32 w) {
  if constexpr (kType == TensorType::q8_0 && kUnsignedBytes)
    return flip_signs(w);
  else
    return w;
}

/// Integer scales of a K-quant slab's panel as floats, `step` floats from one group to the next:
/// 8 groups of 32 columns, or 16 of 16 for Q6_K. Minima come as pairs of int16, 16 pairs (one per
/// row) for each 64 columns.
template <TensorType kType>
HWY_INLINE void load_scales(const std::byte* slab, float* scale, std::int32_t* minima,
                            std::size_t step) {
  const D32 d;
  const DF df;
  const std::byte* in = slab + slab_layout(kType, kSlabColumns).scales;
  if constexpr (kType == TensorType::q6_k) {
    const hn::Rebind<std::int8_t, D32> bytes;
    for (std::size_t g = 0; g < 16; ++g)
      LLM_UNROLL for (std::size_t r = 0; r < kPanelRows; r += kLanes) {
        const auto s = hn::LoadU(bytes, reinterpret_cast<const std::int8_t*>(in) + g * 16 + r);
        hn::StoreU(hn::ConvertTo(df, hn::PromoteTo(d, s)), df, scale + g * step + r);
      }
  } else {
    // [ggml-quants.c, get_scale_min_k4], for four groups and all rows at a time.
    const hn::ScalableTag<std::uint8_t> du8;
    const hn::Repartition<std::uint16_t, decltype(du8)> du16;
    alignas(kAlignment) std::uint8_t unpacked[2][8][kPanelRows];
    const auto six = hn::Set(du8, std::uint8_t{63}), four = hn::Set(du8, std::uint8_t{15}),
               top = hn::Set(du8, std::uint8_t{0x30});
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(in);
    LLM_UNROLL for (std::size_t i = 0; i < 64; i += hn::Lanes(du8)) {
      const auto a = hn::LoadU(du8, bytes + i), b = hn::LoadU(du8, bytes + 64 + i),
                 c = hn::LoadU(du8, bytes + 128 + i);
      const auto a2 = hn::BitCast(du8, hn::ShiftRight<2>(hn::BitCast(du16, a)));
      const auto b2 = hn::BitCast(du8, hn::ShiftRight<2>(hn::BitCast(du16, b)));
      const auto c4 = hn::BitCast(du8, hn::ShiftRight<4>(hn::BitCast(du16, c)));
      hn::StoreU(hn::And(a, six), du8, &unpacked[0][0][0] + i);
      hn::StoreU(hn::OrAnd(hn::And(c, four), a2, top), du8, &unpacked[0][4][0] + i);
      hn::StoreU(hn::And(b, six), du8, &unpacked[1][0][0] + i);
      hn::StoreU(hn::OrAnd(hn::And(c4, four), b2, top), du8, &unpacked[1][4][0] + i);
    }
    const hn::Rebind<std::uint8_t, D32> du8x4;
    LLM_UNROLL for (std::size_t g = 0; g < 8; ++g)
        LLM_UNROLL for (std::size_t r = 0; r < kPanelRows; r += kLanes)
            hn::StoreU(hn::ConvertTo(df, hn::PromoteTo(d, hn::LoadU(du8x4, &unpacked[0][g][r]))),
                       df, scale + g * step + r);
    LLM_UNROLL for (std::size_t g = 0; g < 8; g += 2)
        LLM_UNROLL for (std::size_t r = 0; r < kPanelRows; r += kLanes) {
      const V32 first = hn::PromoteTo(d, hn::LoadU(du8x4, &unpacked[1][g][r]));
      const V32 second = hn::PromoteTo(d, hn::LoadU(du8x4, &unpacked[1][g + 1][r]));
      hn::StoreU(hn::Or(first, hn::ShiftLeft<16>(second)), d, minima + g / 2 * step + r);
    }
  }
}

#endif  // !LLM_PLAIN
}  // namespace npu::llm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
