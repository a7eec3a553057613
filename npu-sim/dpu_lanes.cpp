// SPDX-License-Identifier: MIT
#include "npu-sim/dpu_lanes.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "npu-sim/dpu_lanes.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace npu::sim::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// At most one strip wide.
using D64 = hn::CappedTag<double, kDpuStrip>;
using V64 = hn::Vec<D64>;

HWY_INLINE V64 clip(V64 v, const Limits& limits) {
  const D64 d;
  return hn::Min(hn::Max(v, hn::Set(d, limits.low)), hn::Set(d, limits.high));
}

HWY_INLINE V64 stages(const IntegerLanes& l, V64 v, V64 ow, V64 window, V64 alu, V64 mul,
                      V64 operand) {
  const D64 d;
  constexpr Limits kInt32{std::numeric_limits<std::int32_t>::min(),
                          std::numeric_limits<std::int32_t>::max()};
  if (l.window) v = hn::MulAdd(ow, window, v);
  if (l.first_clip) v = clip(hn::Round(hn::Mul(v, hn::Set(d, l.truncate))), kInt32);
  if (l.alu) v = hn::Add(v, alu);
  if (l.mul) {
    const V64 product = hn::Mul(v, mul);
    const V64 factor = hn::IfThenElse(hn::Ge(product, hn::Zero(d)), hn::Set(d, l.mul_shift),
                                      hn::Set(d, l.mul_shift_negative));
    v = hn::Round(hn::Mul(product, factor));
  }
  if (l.bs_bn_clip) v = clip(v, l.bs_bn);
  if (l.ew) {
    V64 e = operand;
    if (l.ew_convert) {
      const V64 offset = hn::Set(d, l.ew_offset), factor = hn::Set(d, l.ew_factor);
      e = l.ew_add_first ? hn::Round(hn::Mul(hn::Add(e, offset), factor))
                         : hn::Add(hn::Round(hn::Mul(e, factor)), offset);
    }
    v = clip(hn::Add(v, e), kInt32);
  }
  v = clip(v, l.ew_limits);
  const V64 offset = hn::Set(d, l.cvt_offset), factor = hn::Set(d, l.cvt_factor);
  v = l.cvt_add_first ? hn::Round(hn::Mul(hn::Add(v, offset), factor))
                      : hn::Add(hn::Round(hn::Mul(v, factor)), offset);
  return clip(v, l.out);
}

template <class Out>
HWY_INLINE void strip(const IntegerLanes& l, const IntegerStrip& s, Out* out) {
  const D64 d;
  const hn::Rebind<std::int32_t, D64> d32;
  const hn::Rebind<std::int8_t, D64> d8;
  const std::size_t lanes = hn::Lanes(d);
  for (std::size_t c = 0; c < kDpuStrip; c += lanes) {
    const V64 ow = hn::LoadU(d, s.ow + c), alu = hn::LoadU(d, s.alu + c);
    const V64 mul = hn::LoadU(d, s.mul + c);
    for (std::size_t p = 0; p < s.positions; ++p) {
      const V64 v = hn::PromoteTo(d, hn::LoadU(d32, s.sums + p * s.sums_stride + c));
      V64 window = hn::Zero(d), operand = hn::Zero(d);
      if (l.window) {
        const std::int32_t* at = s.windows + p * s.window_stride;
        window = s.window_per_channel ? hn::PromoteTo(d, hn::LoadU(d32, at + c))
                                      : hn::Set(d, static_cast<double>(*at));
      }
      if (l.ew)
        operand =
            hn::PromoteTo(d, hn::PromoteTo(d32, hn::LoadU(d8, s.operand + p * kDpuStrip + c)));
      const auto result = hn::DemoteTo(d32, stages(l, v, ow, window, alu, mul, operand));
      if constexpr (sizeof(Out) == 1)
        hn::StoreU(hn::DemoteTo(d8, result), d8, out + p * kDpuStrip + c);
      else
        hn::StoreU(result, d32, out + p * kDpuStrip + c);
    }
  }
}

void strip8(const IntegerLanes& l, const IntegerStrip& s, std::int8_t* out) { strip(l, s, out); }
void strip32(const IntegerLanes& l, const IntegerStrip& s, std::int32_t* out) { strip(l, s, out); }

}  // namespace npu::sim::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace npu::sim {
namespace {
HWY_EXPORT(strip8);
HWY_EXPORT(strip32);

constexpr Limits kInt32{std::numeric_limits<std::int32_t>::min(),
                        std::numeric_limits<std::int32_t>::max()};

void add_relu(Limits& limits, bool relu, bool limited, std::int32_t limit) {
  // max(x, 0), then min(x, limit), which may be negative: in that order, as one interval.
  if (relu) limits = {std::max(limits.low, 0.0), std::max(limits.high, 0.0)};
  if (relu && limited)
    limits = {std::min(limits.low, static_cast<double>(limit)),
              std::min(limits.high, static_cast<double>(limit))};
}

double power(std::uint32_t shift) { return std::ldexp(1.0, -static_cast<int>(shift)); }

}  // namespace

std::optional<IntegerLanes> integer_lanes(const ConvConfig& c, const Quirks& quirks,
                                          bool add_window) {
  const auto even = [](std::uint32_t shift, bool other_rule, TieRule quirk) {
    return shift == 0 || (!other_rule && quirk == TieRule::half_even);
  };
  if (!even(c.truncate, c.truncate_half_up, quirks.clip_truncate_tie) ||
      (c.ew.active && c.ew.convert && !even(c.ew.shift, c.ew.half_up, quirks.ew_cvt_tie)) ||
      !even(c.out_cvt.shift, c.out_cvt.half_away, quirks.out_cvt_tie))
    return std::nullopt;
  if (c.bs.prelu || c.bn.mul || c.bn.alu || c.transposed || c.out_type == OutputType::fp16 ||
      (c.late_hang && c.late_hang->first_position_only))
    return std::nullopt;
  if (c.ew.active && (c.ew.op != EwOp::add || c.ew.operand_bits != 8)) return std::nullopt;
  IntegerLanes l{};
  l.window = add_window;
  l.first_clip = add_window || c.truncate != 0;  // else the sum is an int32 already
  l.truncate = power(c.truncate);
  l.alu = c.bs.alu;
  l.mul = c.bs.mul;
  l.mul_shift = power(c.bs.mul_shift);
  l.mul_shift_negative = power(c.bs.mul_shift_negative);
  l.bs_bn = kInt32;
  add_relu(l.bs_bn, c.bs.relu, c.bs.relux, c.bs.relux_max);
  add_relu(l.bs_bn, c.bn.relu, c.bn.relux, c.bn.relux_max);
  l.bs_bn_clip = l.alu || l.mul || c.bs.relu || c.bn.relu;
  l.ew = c.ew.active;
  l.ew_convert = c.ew.convert;
  l.ew_add_first = c.ew.add_first;
  l.ew_offset = c.ew.offset;
  l.ew_factor = c.ew.scale * power(c.ew.shift);
  l.ew_limits = kInt32;
  add_relu(l.ew_limits, c.ew.relu, c.ew.relux, c.ew.relux_max);
  l.cvt_add_first = c.out_cvt.add_first;
  l.cvt_offset = c.out_cvt.offset;
  l.cvt_factor = c.out_cvt.scale * power(c.out_cvt.shift);
  l.out = c.out_type == OutputType::int8    ? Limits{-128, 127}
          : c.out_type == OutputType::int16 ? Limits{-32768, 32767}
                                            : kInt32;
  return l;
}

void run_integer_lanes(const IntegerLanes& lanes, const IntegerStrip& strip, std::int8_t* out) {
  HWY_DYNAMIC_DISPATCH(strip8)(lanes, strip, out);
}

void run_integer_lanes(const IntegerLanes& lanes, const IntegerStrip& strip, std::int32_t* out) {
  HWY_DYNAMIC_DISPATCH(strip32)(lanes, strip, out);
}

}  // namespace npu::sim
#endif
