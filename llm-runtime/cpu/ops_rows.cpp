// SPDX-License-Identifier: MIT
#include "llm-runtime/cpu/ops_rows.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "llm-runtime/cpu/ops.hpp"

// Below AVX2 a multiplication and an addition are two instructions: the results may differ in the
// last bit from those of newer CPUs.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "llm-runtime/cpu/ops_rows.cpp"
#include "hwy/foreach_target.h"
// Only after that: it is included once per target.
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace npu::llm::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using VF = hn::Vec<DF>;

HWY_INLINE VF load_some(const float* x, std::size_t count, float otherwise) {
  HWY_ALIGN float some[HWY_MAX_BYTES / sizeof(float)];
  std::fill_n(some, hn::Lanes(DF()), otherwise);
  std::memcpy(some, x, count * sizeof(float));
  return hn::Load(DF(), some);
}
HWY_INLINE void store_some(VF v, float* x, std::size_t count) {
  HWY_ALIGN float some[HWY_MAX_BYTES / sizeof(float)];
  hn::Store(v, DF(), some);
  std::memcpy(x, some, count * sizeof(float));
}

void rms_norm_one(const float* x, const float* weight, float eps, std::size_t n, float* out) {
  const DF d;
  const std::size_t lanes = hn::Lanes(d);
  // Four chains; a row of a model is long, and each of them sums only a part of it.
  VF sum[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  std::size_t k = 0;
  for (; k + 4 * lanes <= n; k += 4 * lanes)
    for (std::size_t i = 0; i < 4; ++i) {
      const VF v = hn::LoadU(d, x + k + i * lanes);
      sum[i] = hn::MulAdd(v, v, sum[i]);
    }
  double total = static_cast<double>(
      hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sum[0], sum[1]), hn::Add(sum[2], sum[3])))));
  for (; k < n; ++k) total += static_cast<double>(x[k]) * static_cast<double>(x[k]);
  const float scale = 1.0F / std::sqrt(static_cast<float>(total / static_cast<double>(n)) + eps);
  for (k = 0; k + lanes <= n; k += lanes)
    hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(d, x + k), hn::Set(d, scale)), hn::LoadU(d, weight + k)),
               d, out + k);
  for (; k < n; ++k) out[k] = x[k] * scale * weight[k];
}

HWY_INLINE VF silu_mul_vector(VF gate, VF up) {
  const DF d;
  // exp(-|gate|): Highway's exp has no defined result where it overflows.
  const VF one = hn::Set(d, 1.0F), e = hn::Exp(d, hn::Neg(hn::Abs(gate)));
  const VF top = hn::IfThenElse(hn::Lt(gate, hn::Zero(d)), e, one);
  return hn::Mul(hn::Div(hn::Mul(gate, top), hn::Add(one, e)), up);
}

void silu_mul_some(const float* gate, const float* up, std::size_t n, float* out) {
  const DF d;
  const std::size_t lanes = hn::Lanes(d);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes)
    hn::StoreU(silu_mul_vector(hn::LoadU(d, gate + i), hn::LoadU(d, up + i)), d, out + i);
  if (i < n)
    store_some(silu_mul_vector(load_some(gate + i, n - i, 0), load_some(up + i, n - i, 0)), out + i,
               n - i);
}

void softmax_row(float* x, std::size_t n, float scale) {
  const DF d;
  const std::size_t lanes = hn::Lanes(d);
  const float largest = *std::max_element(x, x + n);
  const VF vl = hn::Set(d, largest), vs = hn::Set(d, scale);
  VF sum = hn::Zero(d);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const VF e = hn::Exp(d, hn::Mul(vs, hn::Sub(hn::LoadU(d, x + i), vl)));
    sum = hn::Add(sum, e);
    hn::StoreU(e, d, x + i);
  }
  float total = hn::GetLane(hn::SumOfLanes(d, sum));
  if (i < n) {
    store_some(hn::Exp(d, hn::Mul(vs, hn::Sub(load_some(x + i, n - i, largest), vl))), x + i,
               n - i);
    for (std::size_t j = i; j < n; ++j) total += x[j];
  }
  const float inverse = 1.0F / total;
  for (i = 0; i < n; ++i) x[i] *= inverse;
}

/// The largest value but for NaNs; -infinity if there is nothing else.
float largest_of(const float* x, std::size_t n) {
  const DF d;
  const std::size_t lanes = hn::Lanes(d);
  const VF lowest = hn::Set(d, -std::numeric_limits<float>::infinity());
  VF best = lowest;
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const VF v = hn::LoadU(d, x + i);
    best = hn::IfThenElse(hn::Gt(v, best), v, best);
  }
  float largest = hn::GetLane(hn::MaxOfLanes(d, best));
  for (; i < n; ++i)
    if (x[i] > largest) largest = x[i];
  return largest;
}

}  // namespace npu::llm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace npu::llm::cpu {
namespace {
HWY_EXPORT(rms_norm_one);
HWY_EXPORT(silu_mul_some);
HWY_EXPORT(softmax_row);
HWY_EXPORT(largest_of);
}  // namespace

void rms_norm_row(const float* x, const float* weight, float eps, std::size_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(rms_norm_one)(x, weight, eps, n, out);
}
void silu_mul_row(const float* gate, const float* up, std::size_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(silu_mul_some)(gate, up, n, out);
}
void softmax(float* x, std::size_t n, float scale) {
  if (n != 0) HWY_DYNAMIC_DISPATCH(softmax_row)(x, n, scale);
}
std::size_t argmax(const float* x, std::size_t n) {
  const float largest = HWY_DYNAMIC_DISPATCH(largest_of)(x, n);
  for (std::size_t i = 0; i < n; ++i)
    if (x[i] == largest) return i;
  return 0;  // nothing but NaNs
}

}  // namespace npu::llm::cpu
#endif  // HWY_ONCE
