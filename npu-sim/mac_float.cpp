// SPDX-License-Identifier: MIT
// An exact sum of products, rounded once, out of fused multiply-adds in double. Three ways, each
// taken where it is proven:
//   1. The ranges of the operands show that 53 bits hold every partial sum: nothing is ever lost.
//   2. Bits may be lost, but the sum is so far from the middle of two fp32 numbers that the
//      largest possible loss does not move it across: both ends of the error interval round to the
//      same fp32 number, so the exact sum does too.
//   3. Else the sum again, with what every addition loses kept in a second double; or, for
//      exponents so far apart that two doubles could lose a bit, in ExactSum.
#include "npu-sim/mac_float.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "npu-sim/exact_sum.hpp"

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "npu-sim/mac_float.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

namespace npu::sim {
void wide_sums(const double* x, std::size_t x_stride, std::size_t lanes, const double* w,
               std::size_t depth, float* out);
}

HWY_BEFORE_NAMESPACE();
namespace npu::sim::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D64 = hn::ScalableTag<double>;
using V64 = hn::Vec<D64>;
using D32h = hn::Rebind<float, D64>;  // as many floats as there are doubles in a vector

// Kernels by vectors of positions whose sums stay in registers.
#if HWY_TARGET == HWY_AVX3
constexpr std::size_t kRows = 8, kVectors = 2;
#elif HWY_TARGET == HWY_NEON
constexpr std::size_t kRows = 4, kVectors = 4;
#else
constexpr std::size_t kRows = 4, kVectors = 2;
#endif

std::size_t lanes_of_block() { return kVectors * hn::Lanes(D64()); }

// To fp32, rounded to nearest even. Highway's scalar target would turn infinities into numbers.
HWY_INLINE hn::Vec<D32h> narrow(D32h df, V64 v) {
#if HWY_TARGET == HWY_SCALAR
  return hn::Set(df, static_cast<float>(hn::GetLane(v)));
#else
  return hn::DemoteTo(df, v);
#endif
}

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

// The sums of one vector of positions and one kernel, the third way. `bits` are those that a sum
// needs. Beyond 53 a second double collects what the first one loses: 32 terms of at most half of
// the first one's last bit, which is below 2^(top + 5 - 53), so 5 bits more than 48 are left.
HWY_NOINLINE hn::Vec<D32h> careful_sum(const double* x, std::size_t x_stride, const double* w,
                                       std::size_t depth, int bits) {
  const D64 d;
  const D32h df;
  if (bits > 100) {
    HWY_ALIGN float out[HWY_MAX_BYTES / 8];
    wide_sums(x, x_stride, hn::Lanes(d), w, depth, out);
    return hn::LoadU(df, out);
  }
  V64 sum = hn::Zero(d), rest = hn::Zero(d);
  for (std::size_t c = 0; c < depth; ++c) {
    V64 hi, lo;
    // The product is exact: two mantissas of at most 24 bits.
    two_sum(sum, hn::Mul(hn::LoadU(d, x + c * x_stride), hn::Set(d, w[c])), hi, lo);
    sum = hi;
    rest = hn::Add(rest, lo);
  }
  const auto finite = hn::Lt(hn::Abs(sum), hn::Set(d, HUGE_VAL));
  return narrow(df, hn::IfThenElse(finite, round_to_odd(sum, rest), sum));
}

// 2^exponent for exponents of products and sums, all normal numbers.
HWY_INLINE double power_of_two(int exponent) {
  return std::bit_cast<double>(static_cast<std::uint64_t>(exponent + 1023) << 52);
}

// kRows kernels from `row` on, V vectors of positions, one group.
template <std::size_t V>
HWY_INLINE void rows(const FloatGroups& g, std::size_t index, std::size_t row, float* acc) {
  const D64 d;
  const D32h df;
  const std::size_t lanes = hn::Lanes(d), stride = kVectors * lanes, depth = g.depth[index];
  const double* HWY_RESTRICT x = g.x + index * kFloatDepth * stride;
  const double* HWY_RESTRICT w = g.w + (index * kFloatKernels + row) * kFloatDepth;
  V64 sum[kRows][V];
  for (std::size_t r = 0; r < kRows; ++r)
    for (std::size_t v = 0; v < V; ++v) sum[r][v] = hn::Zero(d);
  for (std::size_t c = 0; c < depth; ++c) {
    V64 value[V];
    for (std::size_t v = 0; v < V; ++v) value[v] = hn::LoadU(d, x + c * stride + v * lanes);
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 16
#endif
    for (std::size_t r = 0; r < kRows; ++r) {
      const V64 weight = hn::Set(d, w[r * kFloatDepth + c]);
      for (std::size_t v = 0; v < V; ++v) sum[r][v] = hn::MulAdd(value[v], weight, sum[r][v]);
    }
  }
  // At most 32 products below 2^(tops): a sum needs the bits from there + 5 down to the bottoms.
  const FloatRange rx = g.x_range[index], rw = g.w_range[index];
  const int bits = rx.top + rw.top + 5 - rx.bottom - rw.bottom;
  const bool exact = bits <= 53;
  // Else: every partial sum is below 2^t, t = tops + 5, so each of the 31 additions loses at most
  // 2^(t - 54): together less than 2^(t - 49), and 2^(t - 48) covers the additions here too.
  const V64 scale = hn::Set(d, exact ? 0 : power_of_two(rw.top + 5 - 48));
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 16
#endif
  for (std::size_t r = 0; r < kRows; ++r) {
    float* out = acc + (row + r) * stride;
    if (exact) {
      for (std::size_t v = 0; v < V; ++v)
        hn::StoreU(hn::Add(hn::LoadU(df, out + v * lanes), narrow(df, sum[r][v])), df,
                   out + v * lanes);
      continue;
    }
    for (std::size_t v = 0; v < V; ++v) {
      const V64 bound = hn::LoadU(d, g.x_bound + index * stride + v * lanes);
      const V64 low = hn::NegMulAdd(bound, scale, sum[r][v]);
      const V64 high = hn::MulAdd(bound, scale, sum[r][v]);
      auto rounded = narrow(df, low);
      if (!hn::AllTrue(df, hn::Eq(rounded, narrow(df, high))))
        rounded = careful_sum(x + v * lanes, stride, w + r * kFloatDepth, depth, bits);
      hn::StoreU(hn::Add(hn::LoadU(df, out + v * lanes), rounded), df, out + v * lanes);
    }
  }
}

void mac_groups(const FloatGroups& g, std::size_t lanes, float* acc) {
  constexpr std::size_t kHalf = (kVectors + 1) / 2;
  const bool half = lanes <= kHalf * hn::Lanes(D64());
  for (std::size_t i = 0; i < g.count; ++i)
    for (std::size_t row = 0; row < kFloatKernels; row += kRows)
      if (half)
        rows<kHalf>(g, i, row, acc);
      else
        rows<kVectors>(g, i, row, acc);
}

// For loads that need no alignment.
template <class T>
HWY_INLINE const T* as(const std::uint8_t* in) {
  return static_cast<const T*>(static_cast<const void*>(in));
}

// fp16 to fp32. F16C and NEON do it in one instruction; elsewhere by hand.
template <class DF>
HWY_INLINE hn::Vec<DF> widen(DF df, const std::uint8_t* in) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_NEON
  const hn::Rebind<hwy::float16_t, DF> dh;
  return hn::PromoteTo(df, hn::LoadU(dh, as<hwy::float16_t>(in)));
#else
  const hn::RebindToUnsigned<DF> du;
  const hn::Rebind<std::uint16_t, DF> dh;
  const auto half = hn::PromoteTo(du, hn::LoadU(dh, as<std::uint16_t>(in)));
  const auto magnitude = hn::ShiftLeft<13>(hn::And(half, hn::Set(du, 0x7FFF)));
  // Exponent bias 15 to 127; the product is exact for subnormal numbers too.
  const auto scaled = hn::Mul(hn::BitCast(df, magnitude), hn::Set(df, 0x1p112f));
  const auto special = hn::Ge(hn::BitCast(df, magnitude), hn::BitCast(df, hn::Set(du, 0x0F800000)));
  const auto with_inf = hn::Or(scaled, hn::BitCast(df, hn::Set(du, 0x7F800000)));
  const auto sign = hn::ShiftLeft<16>(hn::And(half, hn::Set(du, 0x8000)));
  return hn::Or(hn::IfThenElse(special, with_inf, scaled), hn::BitCast(df, sign));
#endif
}

// Applies `body(in, n)` to whole vectors and once more to the zero-filled rest.
template <std::size_t kBytes, class Body>
HWY_INLINE void for_vectors(const std::uint8_t* in, std::size_t count, std::size_t lanes,
                            Body body) {
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) body(in + i * kBytes, i, lanes);
  if (i == count) return;
  std::uint8_t rest[HWY_MAX_BYTES * kBytes] = {};
  std::memcpy(rest, in + i * kBytes, (count - i) * kBytes);
  body(rest, i, count - i);
}

void widen_floats(const std::uint8_t* in, std::size_t count, float* out) {
  const hn::ScalableTag<float> df;
  for_vectors<2>(in, count, hn::Lanes(df),
                 [&](const std::uint8_t* from, std::size_t i, std::size_t n) HWY_ATTR {
                   HWY_ALIGN float wide[HWY_MAX_BYTES / 4];
                   if (n == hn::Lanes(df)) {
                     hn::StoreU(widen(df, from), df, out + i);
                   } else {
                     hn::Store(widen(df, from), df, wide);
                     std::memcpy(out + i, wide, n * sizeof(float));
                   }
                 });
}

void widen_doubles(const std::uint8_t* in, std::size_t count, double* out) {
  const D64 d;
  const D32h df;
  for_vectors<2>(in, count, hn::Lanes(d),
                 [&](const std::uint8_t* from, std::size_t i, std::size_t n) HWY_ATTR {
                   const V64 value = hn::PromoteTo(d, widen(df, from));
                   HWY_ALIGN double wide[HWY_MAX_BYTES / 8];
                   if (n == hn::Lanes(d)) {
                     hn::StoreU(value, d, out + i);
                   } else {
                     hn::Store(value, d, wide);
                     std::memcpy(out + i, wide, n * sizeof(double));
                   }
                 });
}

template <class T>
HWY_INLINE FloatExtremes extremes(const std::uint8_t* in, std::size_t count) {
  const hn::ScalableTag<T> d;
  const auto magnitude = hn::Set(d, static_cast<T>(~T{0}) >> 1);
  const auto one = hn::Set(d, 1);
  auto largest = hn::Zero(d), smallest = hn::Not(hn::Zero(d));
  for_vectors<sizeof(T)>(in, count, hn::Lanes(d),
                         [&](const std::uint8_t* from, std::size_t, std::size_t) HWY_ATTR {
                           const auto v = hn::And(hn::LoadU(d, as<T>(from)), magnitude);
                           largest = hn::Max(largest, v);
                           smallest = hn::Min(smallest, hn::Sub(v, one));
                         });
  HWY_ALIGN T lane[2][HWY_MAX_BYTES / sizeof(T)];
  hn::Store(largest, d, lane[0]);
  hn::Store(smallest, d, lane[1]);
  FloatExtremes e{lane[0][0], lane[1][0]};
  for (std::size_t i = 1; i < hn::Lanes(d); ++i) {
    e.largest = std::max<std::uint32_t>(e.largest, lane[0][i]);
    e.smallest_less_one = std::min<std::uint32_t>(e.smallest_less_one, lane[1][i]);
  }
  return e;
}

FloatExtremes extremes16(const std::uint8_t* in, std::size_t count) {
  return extremes<std::uint16_t>(in, count);
}
FloatExtremes extremes32(const std::uint8_t* in, std::size_t count) {
  return extremes<std::uint32_t>(in, count);
}

}  // namespace npu::sim::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace npu::sim {
namespace {
HWY_EXPORT(mac_groups);
HWY_EXPORT(lanes_of_block);
HWY_EXPORT(widen_floats);
HWY_EXPORT(widen_doubles);
HWY_EXPORT(extremes16);
HWY_EXPORT(extremes32);
}  // namespace

void wide_sums(const double* x, std::size_t x_stride, std::size_t lanes, const double* w,
               std::size_t depth, float* out) {
  for (std::size_t lane = 0; lane < lanes; ++lane) {
    ExactSum sum;
    for (std::size_t c = 0; c < depth; ++c) sum.add(x[c * x_stride + lane] * w[c]);
    out[lane] = sum.rounded();
  }
}

std::size_t float_lanes() {
  static const std::size_t cached = HWY_DYNAMIC_DISPATCH(lanes_of_block)();
  return cached;
}

FloatRange float_range(const float* values, std::size_t count, int mantissa_bits,
                       int smallest_unit) {
  const auto e =
      HWY_DYNAMIC_DISPATCH(extremes32)(reinterpret_cast<const std::uint8_t*>(values), count);
  if (e.largest == 0) return {};
  // Subnormal numbers count as the smallest normal exponent less what is missing: conservative.
  const int top = static_cast<int>(e.largest >> 23) - 126;
  const int bottom = static_cast<int>((e.smallest_less_one + 1) >> 23) - 127 - mantissa_bits;
  return {static_cast<std::int16_t>(std::max(top, -125)),
          static_cast<std::int16_t>(std::max(bottom, smallest_unit))};
}

FloatRange fp16_range(const std::uint8_t* values, std::size_t count) {
  const auto e = HWY_DYNAMIC_DISPATCH(extremes16)(values, count);
  if (e.largest == 0) return {};
  const int top = static_cast<int>(e.largest >> 10), low = (e.smallest_less_one + 1) >> 10;
  return {static_cast<std::int16_t>(std::max(top, 1) - 14),
          static_cast<std::int16_t>(std::max(low, 1) - 25)};
}

void fp16_to_floats(const std::uint8_t* in, std::size_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(widen_floats)(in, count, out);
}

void fp16_to_doubles(const std::uint8_t* in, std::size_t count, double* out) {
  HWY_DYNAMIC_DISPATCH(widen_doubles)(in, count, out);
}

void mac_float_groups(const FloatGroups& groups, std::size_t lanes, float* acc) {
  HWY_DYNAMIC_DISPATCH(mac_groups)(groups, lanes, acc);
}

}  // namespace npu::sim
#endif
