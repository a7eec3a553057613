// SPDX-License-Identifier: MIT
// What the kernels need beyond Highway 1.0.3: dot products of bytes. Included once per target,
// inside no namespace.
//
// Weights are unsigned codes. Lane r of a vector holds four columns of row r.

#if defined(NPU_LLM_CPU_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NPU_LLM_CPU_SIMD_INL_H_
#undef NPU_LLM_CPU_SIMD_INL_H_
#else
#define NPU_LLM_CPU_SIMD_INL_H_
#endif

#include <cstring>

#include "hwy/highway.h"
#include "llm-runtime/cpu/layout.hpp"

#if HWY_ARCH_X86
#include <immintrin.h>
#elif HWY_ARCH_ARM_A64
#include <arm_neon.h>
#endif

// g++ 12 keeps arrays of vectors in registers only if it unrolls their loops early.
#undef LLM_UNROLL
#if defined(__GNUC__) && !defined(__clang__)
#define LLM_UNROLL _Pragma("GCC unroll 32")
#else
#define LLM_UNROLL
#endif

// Below AVX2 (and on CPUs that are neither x86 nor ARM) the plain C++ is used.
#undef LLM_PLAIN
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL || \
    (HWY_TARGET == HWY_NEON && HWY_ARCH_ARM_A64)
#define LLM_PLAIN 0
#else
#define LLM_PLAIN 1
#endif

HWY_BEFORE_NAMESPACE();
namespace npu::llm::cpu::HWY_NAMESPACE {
/// What an ARM CPU has beyond its target; other CPUs' targets say it all.
enum class Dots { none, dotprod, i8mm };

namespace hn = hwy::HWY_NAMESPACE;

#if !LLM_PLAIN

using D32 = hn::ScalableTag<std::int32_t>;
using DF = hn::ScalableTag<float>;
using V32 = hn::Vec<D32>;
using VF = hn::Vec<DF>;
constexpr std::size_t kLanes = HWY_LANES(std::int32_t);
/// Vectors that a panel's 16 rows take.
constexpr std::size_t kVectors = kPanelRows / kLanes;

/// True where the dot product takes any byte as an unsigned weight (VNNI). Elsewhere codes of up to
/// six bits and the signed bytes of Q8_0 stay as they are.
#if HWY_TARGET == HWY_AVX3_DL
constexpr bool kUnsignedBytes = true;
#else
constexpr bool kUnsignedBytes = false;
#endif

/// Four bytes in every lane.
HWY_INLINE V32 broadcast4(const void* at) {
  std::int32_t four;
  std::memcpy(&four, at, 4);
  return hn::Set(D32(), four);
}

HWY_INLINE V32 load_bytes(const std::uint8_t* at) {
  return hn::LoadU(D32(), reinterpret_cast<const std::int32_t*>(at));
}

HWY_INLINE VF load_halves(const std::byte* at) {
  const hn::Rebind<hwy::float16_t, DF> half;
  return hn::PromoteTo(DF(), hn::LoadU(half, reinterpret_cast<const hwy::float16_t*>(at)));
}

#if HWY_TARGET == HWY_AVX3_DL

/// sum + the four products of each lane. w: unsigned bytes; x: signed ones in [-127, 127].
/// kFull: w may be above 63 (Q8_0).
template <Dots kFast, bool kFull>
HWY_INLINE V32 dot4(V32 sum, V32 w, V32 x) {
  // Highway 1.0.3 checks the CPU for VNNI before it picks this target but does not name it in the
  // target attribute, so the compiler refuses the intrinsic.
  asm("vpdpbusd %2, %1, %0" : "+v"(sum.raw) : "v"(w.raw), "v"(x.raw));
  return sum;
}
/// The same with x in memory.
template <Dots kFast, bool kFull>
HWY_INLINE V32 dot4_at(V32 sum, V32 w, const std::int8_t* x) {
  asm("vpdpbusd %2%{1to16%}, %1, %0"
      : "+v"(sum.raw)
      : "v"(w.raw), "m"(*reinterpret_cast<const std::int32_t*>(x)));
  return sum;
}
/// sum + a0 * b0 + a1 * b1 of the int16 pairs in each lane.
HWY_INLINE V32 dot2(V32 sum, V32 a, V32 b) {
  asm("vpdpwssd %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
  return sum;
}

#elif HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2

// PMADDUBSW adds two products in int16: it cannot saturate while w is below 64, nor with |w| up to
// 128 and |x| up to 127. Full bytes are signed here; their sign goes to x.
template <Dots kFast, bool kFull>
HWY_INLINE V32 dot4(V32 sum, V32 w, V32 x) {
#if HWY_TARGET == HWY_AVX3
  __m512i a = w.raw, b = x.raw;
  if constexpr (kFull) {
    b = _mm512_mask_sub_epi8(b, _mm512_movepi8_mask(a), _mm512_setzero_si512(), b);
    a = _mm512_abs_epi8(a);
  }
  const __m512i pairs = _mm512_maddubs_epi16(a, b);
  return V32{_mm512_add_epi32(sum.raw, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))};
#else
  __m256i a = w.raw, b = x.raw;
  if constexpr (kFull) {
    b = _mm256_sign_epi8(b, a);
    a = _mm256_abs_epi8(a);
  }
  const __m256i pairs = _mm256_maddubs_epi16(a, b);
  return V32{_mm256_add_epi32(sum.raw, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))};
#endif
}
template <Dots kFast, bool kFull>
HWY_INLINE V32 dot4_at(V32 sum, V32 w, const std::int8_t* x) {
  return dot4<kFast, kFull>(sum, w, broadcast4(x));
}
HWY_INLINE V32 dot2(V32 sum, V32 a, V32 b) {
#if HWY_TARGET == HWY_AVX3
  return V32{_mm512_add_epi32(sum.raw, _mm512_madd_epi16(a.raw, b.raw))};
#else
  return V32{_mm256_add_epi32(sum.raw, _mm256_madd_epi16(a.raw, b.raw))};
#endif
}

#else  // NEON

// dotprod: Cortex-A55, A76 and later.
template <Dots kFast, bool kFull>
HWY_INLINE V32 dot4(V32 sum, V32 w, V32 x) {
  const int8x16_t a = vreinterpretq_s8_s32(w.raw), b = vreinterpretq_s8_s32(x.raw);
#if defined(__ARM_FEATURE_DOTPROD)
  if constexpr (kFast != Dots::none) {
    return V32{vdotq_s32(sum.raw, a, b)};
  }
#else
  static_assert(kFast == Dots::none, "compile this file for armv8.2-a+dotprod");
#endif
  const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
  const int16x8_t high = vmull_high_s8(a, b);
  return V32{vaddq_s32(sum.raw, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)))};
}
template <Dots kFast, bool kFull>
HWY_INLINE V32 dot4_at(V32 sum, V32 w, const std::int8_t* x) {
  return dot4<kFast, kFull>(sum, w, broadcast4(x));
}
HWY_INLINE V32 dot2(V32 sum, V32 a, V32 b) {
  const int16x8_t p = vreinterpretq_s16_s32(a.raw), q = vreinterpretq_s16_s32(b.raw);
  const int32x4_t low = vmull_s16(vget_low_s16(p), vget_low_s16(q));
  return V32{vaddq_s32(sum.raw, vpaddq_s32(low, vmull_high_s16(p, q)))};
}

#endif

#if HWY_ARCH_ARM_A64

/// Sixteen activations, whose four quads a dot product names by their place.
using Quads = V32;
HWY_INLINE Quads load_quads(const std::int8_t* at) {
  return load_bytes(reinterpret_cast<const std::uint8_t*>(at));
}
/// One of the four, as dot4() takes it.
template <int quad>
struct Factor {
  V32 all;
};
template <int quad>
HWY_INLINE Factor<quad> factor(Quads x) {
  return {x};
}
template <Dots kFast, bool kFull, int quad>
HWY_INLINE V32 dot4(V32 sum, V32 w, Factor<quad> x) {
#if defined(__ARM_FEATURE_DOTPROD)
  if constexpr (kFast != Dots::none) {
    return V32{vdotq_laneq_s32(sum.raw, vreinterpretq_s8_s32(w.raw),
                               vreinterpretq_s8_s32(x.all.raw), quad)};
  }
#endif
  return dot4<kFast, kFull>(sum, w, V32{vdupq_laneq_s32(x.all.raw, quad)});
}
template <Dots kFast, bool kFull, int quad>
HWY_INLINE V32 dot4_at(V32 sum, V32 w, Quads x) {
  return dot4<kFast, kFull>(sum, w, factor<quad>(x));
}

/// The high four bits of every byte. `low` masks the low ones.
HWY_INLINE V32 high_nibbles(V32 v, V32) {
  return V32{vreinterpretq_s32_u8(vshrq_n_u8(vreinterpretq_u8_s32(v.raw), 4))};
}
/// v with the bits of `from` where `mask` has ones; v has zeros there.
HWY_INLINE V32 put_bits(V32 v, V32 from, V32 mask) {
  return V32{vbslq_s32(vreinterpretq_u32_s32(mask.raw), from.raw, v.raw)};
}

#else

using Quads = const std::int8_t*;
HWY_INLINE Quads load_quads(const std::int8_t* at) { return at; }
template <int quad>
HWY_INLINE V32 factor(Quads x) {
  return broadcast4(x + 4 * quad);
}
template <Dots kFast, bool kFull, int quad>
HWY_INLINE V32 dot4_at(V32 sum, V32 w, Quads x) {
  return dot4_at<kFast, kFull>(sum, w, x + 4 * quad);
}

HWY_INLINE V32 high_nibbles(V32 v, V32 low) { return hn::And(hn::ShiftRight<4>(v), low); }
HWY_INLINE V32 put_bits(V32 v, V32 from, V32 mask) { return hn::OrAnd(v, from, mask); }

#endif

#endif  // !LLM_PLAIN

}  // namespace npu::llm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
