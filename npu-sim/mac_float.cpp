// SPDX-License-Identifier: MIT
#include "npu-sim/mac_float.hpp"

#include <bit>
#include <cmath>

#include "npu-sim/exact_sum.hpp"

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "npu-sim/mac_float.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace npu::sim::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D64 = hn::ScalableTag<double>;
using V64 = hn::Vec<D64>;
using D32h = hn::Rebind<float, D64>;  // as many floats as there are doubles in a vector

// hi + lo without rounding error, |hi| not necessarily above |lo| (Knuth's two-sum).
HWY_INLINE void two_sum(V64 a, V64 b, V64& hi, V64& lo) {
  hi = hn::Add(a, b);
  const V64 bb = hn::Sub(hi, a);
  lo = hn::Add(hn::Sub(a, hn::Sub(hi, bb)), hn::Sub(b, bb));
}

// hi + lo as a double whose last bit is set if anything was lost (round to odd): rounding that to
// fp32 gives what rounding the exact sum would give.
HWY_INLINE V64 round_to_odd(V64 hi, V64 lo) {
  const D64 d;
  const hn::RebindToUnsigned<D64> du;
  V64 sum, rest;
  two_sum(hi, lo, sum, rest);
  // Towards zero first: step back where the rounding went away from zero ...
  const auto inexact = hn::Ne(rest, hn::Zero(d));
  const auto outward = hn::Lt(hn::Mul(sum, rest), hn::Zero(d));
  const auto bits = hn::BitCast(du, sum);
  const auto one = hn::Set(du, 1);
  const auto stepped =
      hn::IfThenElse(hn::RebindMask(du, hn::And(inexact, outward)), hn::Sub(bits, one), bits);
  // ... then make the last bit sticky.
  const auto odd = hn::IfThenElse(hn::RebindMask(du, inexact), hn::Or(stepped, one), stepped);
  return hn::BitCast(d, odd);
}

template <std::size_t P, bool Exact>
HWY_INLINE void group(const float* const* x, std::size_t first, const float* w,
                      std::size_t channels, float* acc, std::size_t acc_stride) {
  const D64 d;
  const D32h df;
  const std::size_t lanes = hn::Lanes(d);
  for (std::size_t o = 0; o < kFloatPanel; o += lanes) {
    V64 sum[P], rest[P];
    for (std::size_t p = 0; p < P; ++p) sum[p] = rest[p] = hn::Zero(d);
    for (std::size_t c = 0; c < channels; ++c) {
      const V64 weight = hn::PromoteTo(d, hn::LoadU(df, w + c * kFloatPanel + o));
      for (std::size_t p = 0; p < P; ++p) {
        const V64 value = hn::Set(d, static_cast<double>(x[first + p][c]));
        if constexpr (Exact) {
          sum[p] = hn::MulAdd(value, weight, sum[p]);  // both product and sum are exact
        } else {
          V64 hi, lo;
          two_sum(sum[p], hn::Mul(value, weight), hi, lo);  // the product is exact
          sum[p] = hi;
          rest[p] = hn::Add(rest[p], lo);
        }
      }
    }
    for (std::size_t p = 0; p < P; ++p) {
      V64 total = sum[p];
      if constexpr (!Exact) {
        const auto finite = hn::Lt(hn::Abs(total), hn::Set(d, HUGE_VAL));
        total = hn::IfThenElse(finite, round_to_odd(sum[p], rest[p]), total);
      }
      float* out = acc + (first + p) * acc_stride + o;
      hn::StoreU(hn::Add(hn::LoadU(df, out), hn::DemoteTo(df, total)), df, out);
    }
  }
}

template <bool Exact>
HWY_INLINE void pixels_loop(const float* const* x, std::size_t pixels, const float* w,
                            std::size_t channels, float* acc, std::size_t acc_stride) {
  std::size_t p = 0;
  for (; p + 8 <= pixels; p += 8) group<8, Exact>(x, p, w, channels, acc, acc_stride);
  for (; p + 4 <= pixels; p += 4) group<4, Exact>(x, p, w, channels, acc, acc_stride);
  for (; p < pixels; ++p) group<1, Exact>(x, p, w, channels, acc, acc_stride);
}

void mac_group(const float* const* x, std::size_t pixels, const float* w, std::size_t channels,
               bool exact, float* acc, std::size_t acc_stride) {
  if (exact)
    pixels_loop<true>(x, pixels, w, channels, acc, acc_stride);
  else
    pixels_loop<false>(x, pixels, w, channels, acc, acc_stride);
}

}  // namespace npu::sim::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace npu::sim {
namespace {
HWY_EXPORT(mac_group);

// Exponents so far apart (bf16 and tf32 have them) that two doubles could lose a bit.
void wide_group(const float* const* x, std::size_t pixels, const float* w, std::size_t channels,
                float* acc, std::size_t acc_stride) {
  for (std::size_t p = 0; p < pixels; ++p)
    for (std::size_t o = 0; o < kFloatPanel; ++o) {
      ExactSum sum;
      for (std::size_t c = 0; c < channels; ++c)
        sum.add(static_cast<double>(x[p][c]) * static_cast<double>(w[c * kFloatPanel + o]));
      acc[p * acc_stride + o] += sum.rounded();
    }
}
}  // namespace

FloatRange float_range(std::span<const float> values) {
  FloatRange range;
  for (const float value : values) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value) & 0x7FFFFFFF;
    if (bits == 0) continue;
    const int exponent = static_cast<int>(bits >> 23);
    const std::uint32_t mantissa = exponent == 0 ? bits : (bits & 0x7FFFFF) | 0x800000;
    const int unit = (exponent == 0 ? 1 : exponent) - 150;  // weight of the mantissa's last bit
    const FloatRange one{static_cast<std::int16_t>(unit + 24),
                         static_cast<std::int16_t>(unit + std::countr_zero(mantissa))};
    range.merge(one);
  }
  return range;
}

void mac_float_group(const float* const* x, std::size_t pixels, const float* w,
                     std::size_t channels, FloatRange range_x, FloatRange range_w, float* acc,
                     std::size_t acc_stride) {
  // At most 32 products below 2^top each: the sum needs the bits from top + 5 down to bottom.
  const int bits = (range_x.top + range_w.top + 5) - (range_x.bottom + range_w.bottom);
  // Beyond 53 bits a second double collects what the first one loses: 32 terms of at most half of
  // the first one's last bit, which is below 2^(top + 5 - 53), so 5 bits more than 48 are left.
  if (bits > 100) {
    wide_group(x, pixels, w, channels, acc, acc_stride);
    return;
  }
  HWY_DYNAMIC_DISPATCH(mac_group)(x, pixels, w, channels, bits <= 53, acc, acc_stride);
}

}  // namespace npu::sim
#endif
