// SPDX-License-Identifier: MIT
// The one operation that Highway 1.0.3 lacks: a 4-way int8 dot product into int32 lanes.
// Included once per Highway target, inside HWY_BEFORE_NAMESPACE/HWY_AFTER_NAMESPACE.
//
// For each int32 lane j: sum[j] += a[4j]*b[4j] + ... + a[4j+3]*b[4j+3], modulo 2^32.
// kInputXor says how `a` is stored: with 0x80, `a` holds value + 128 as uint8 (VNNI multiplies
// uint8 by int8) and the caller subtracts 128 * sum(b); with 0, `a` holds int8.

#if defined(NPU_SIM_DOT_INT8_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NPU_SIM_DOT_INT8_INL_H_
#undef NPU_SIM_DOT_INT8_INL_H_
#else
#define NPU_SIM_DOT_INT8_INL_H_
#endif

#include "hwy/highway.h"

#if HWY_ARCH_X86
#include <immintrin.h>
#elif HWY_ARCH_ARM_A64
#include <arm_neon.h>
#endif

HWY_BEFORE_NAMESPACE();
namespace npu::sim::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D32 = hn::ScalableTag<std::int32_t>;
using V32 = hn::Vec<D32>;

#if HWY_TARGET == HWY_AVX3_DL

constexpr std::uint8_t kInputXor = 0x80;
HWY_INLINE V32 dot_int8(V32 sum, V32 a, V32 b) {
  // Highway 1.0.3 checks the CPU for VNNI before it picks this target but does not name it in the
  // target attribute, so the compiler refuses the intrinsic.
  asm("vpdpbusd %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "vm"(b.raw));
  return sum;
}

#elif HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_SSE4

constexpr std::uint8_t kInputXor = 0;
// Bytes to sign-extended int16 in two halves (even and odd bytes), so that the pairs that PMADDWD
// adds belong to the same int32 lane. maddubs would be shorter but saturates.
HWY_INLINE V32 dot_int8(V32 sum, V32 a, V32 b) {
  const hn::RepartitionToNarrow<D32> d16;
  const auto a16 = hn::BitCast(d16, a);
  const auto b16 = hn::BitCast(d16, b);
  const auto a_even = hn::ShiftRight<8>(hn::ShiftLeft<8>(a16));
  const auto b_even = hn::ShiftRight<8>(hn::ShiftLeft<8>(b16));
  const auto a_odd = hn::ShiftRight<8>(a16);
  const auto b_odd = hn::ShiftRight<8>(b16);
#if HWY_TARGET == HWY_AVX3
  const V32 even{_mm512_madd_epi16(a_even.raw, b_even.raw)};
  const V32 odd{_mm512_madd_epi16(a_odd.raw, b_odd.raw)};
#elif HWY_TARGET == HWY_AVX2
  const V32 even{_mm256_madd_epi16(a_even.raw, b_even.raw)};
  const V32 odd{_mm256_madd_epi16(a_odd.raw, b_odd.raw)};
#else
  const V32 even{_mm_madd_epi16(a_even.raw, b_even.raw)};
  const V32 odd{_mm_madd_epi16(a_odd.raw, b_odd.raw)};
#endif
  return hn::Add(sum, hn::Add(even, odd));
}

#elif HWY_TARGET == HWY_NEON && HWY_ARCH_ARM_A64

constexpr std::uint8_t kInputXor = 0;
HWY_INLINE V32 dot_int8(V32 sum, V32 a, V32 b) {
  const int8x16_t a8 = vreinterpretq_s8_s32(a.raw);
  const int8x16_t b8 = vreinterpretq_s8_s32(b.raw);
#if defined(__ARM_FEATURE_DOTPROD)
  return V32{vdotq_s32(sum.raw, a8, b8)};
#else
  const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(a8), vget_low_s8(b8)));
  const int32x4_t high = vpaddlq_s16(vmull_high_s8(a8, b8));
  return V32{vaddq_s32(sum.raw, vpaddq_s32(low, high))};
#endif
}

#else  // every other target: byte by byte in int32 lanes

constexpr std::uint8_t kInputXor = 0;
HWY_INLINE V32 dot_int8(V32 sum, V32 a, V32 b) {
  const auto product = [](V32 x, V32 y) {
    return hn::Mul(hn::ShiftRight<24>(x), hn::ShiftRight<24>(y));
  };
  sum = hn::Add(sum, product(a, b));
  sum = hn::Add(sum, product(hn::ShiftLeft<8>(a), hn::ShiftLeft<8>(b)));
  sum = hn::Add(sum, product(hn::ShiftLeft<16>(a), hn::ShiftLeft<16>(b)));
  return hn::Add(sum, product(hn::ShiftLeft<24>(a), hn::ShiftLeft<24>(b)));
}

#endif

}  // namespace npu::sim::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
