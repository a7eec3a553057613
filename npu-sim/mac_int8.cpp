// SPDX-License-Identifier: MIT
#include "npu-sim/mac_int8.hpp"

#include <cstring>

// VNNI lives in Highway's AVX3_DL target. SVE vectors cannot be array elements.
#define HWY_WANT_AVX3_DL
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "npu-sim/mac_int8.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "npu-sim/dot_int8-inl.h"

HWY_BEFORE_NAMESPACE();
namespace npu::sim::HWY_NAMESPACE {

// Accumulator tile: kPixels windows by kVectors vectors of kernels, as many as the registers hold
// beside the weights and one broadcast input.
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
constexpr std::size_t kPixels = 12, kVectors = 2;
#elif HWY_TARGET == HWY_NEON
constexpr std::size_t kPixels = 4, kVectors = 4;
#elif HWY_TARGET == HWY_AVX2
constexpr std::size_t kPixels = 4, kVectors = 2;
#elif HWY_TARGET == HWY_SCALAR
constexpr std::size_t kPixels = 1, kVectors = 16;
#else
constexpr std::size_t kPixels = 2, kVectors = 4;
#endif

template <std::size_t P>
HWY_INLINE void tile(const MacWindows& in, std::size_t first, const std::int8_t* panel,
                     const std::int32_t* init, std::int32_t* acc, std::size_t acc_stride) {
  const D32 d;
  const std::size_t lanes = hn::Lanes(d);
  V32 sum[P][kVectors];
  for (std::size_t p = 0; p < P; ++p)
    for (std::size_t v = 0; v < kVectors; ++v) sum[p][v] = hn::LoadU(d, init + v * lanes);
  const std::int8_t* weights = panel;
  for (std::size_t s = 0; s < in.segments; ++s) {
    const std::uint8_t* x[P];
    for (std::size_t p = 0; p < P; ++p)
      x[p] = in.windows[first + p] + static_cast<std::ptrdiff_t>(s) * in.segment_pitch;
    for (std::size_t c = 0; c < in.segment_bytes; c += 4) {
      V32 w[kVectors];
      for (std::size_t v = 0; v < kVectors; ++v)
        w[v] = hn::LoadU(d, reinterpret_cast<const std::int32_t*>(weights) + v * lanes);
      weights += kVectors * lanes * 4;
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 16
#endif
      for (std::size_t p = 0; p < P; ++p) {
        std::int32_t four;
        std::memcpy(&four, x[p] + c, 4);
        const V32 input = hn::Set(d, four);
        for (std::size_t v = 0; v < kVectors; ++v) sum[p][v] = dot_int8(sum[p][v], input, w[v]);
      }
    }
  }
  for (std::size_t p = 0; p < P; ++p)
    for (std::size_t v = 0; v < kVectors; ++v)
      hn::StoreU(sum[p][v], d, acc + (first + p) * acc_stride + v * lanes);
}

void mac(const MacWindows& in, const std::int8_t* panel, const std::int32_t* init,
         std::int32_t* acc, std::size_t acc_stride) {
  std::size_t p = 0;
  for (; p + kPixels <= in.count; p += kPixels) tile<kPixels>(in, p, panel, init, acc, acc_stride);
  if constexpr (kPixels > 4)
    for (; p + 4 <= in.count; p += 4) tile<4>(in, p, panel, init, acc, acc_stride);
  for (; p < in.count; ++p) tile<1>(in, p, panel, init, acc, acc_stride);
}

template <bool kWindows>
HWY_INLINE void depthwise_loop(const std::uint8_t* const* in, const std::int8_t* w,
                               std::size_t taps, std::size_t channels, std::int32_t* sums,
                               std::int32_t* windows) {
  const hn::CappedTag<std::int32_t, 16> d;
  const hn::Rebind<std::int8_t, decltype(d)> d8;
  const auto flip = hn::Set(d8, static_cast<std::int8_t>(kInputXor));
  for (std::size_t c = 0; c < channels; c += hn::Lanes(d)) {
    auto sum = hn::Zero(d), window = hn::Zero(d);
    for (std::size_t tap = 0; tap < taps; ++tap) {
      const auto* at = reinterpret_cast<const std::int8_t*>(in[tap] + c);
      const auto value = hn::PromoteTo(d, hn::Xor(hn::LoadU(d8, at), flip));
      const auto weight = hn::PromoteTo(d, hn::LoadU(d8, w + tap * channels + c));
      sum = hn::Add(sum, hn::Mul(value, weight));
      if (kWindows) window = hn::Add(window, value);
    }
    hn::StoreU(sum, d, sums + c);
    if (kWindows) hn::StoreU(window, d, windows + c);
  }
}

void depthwise(const std::uint8_t* const* in, const std::int8_t* w, std::size_t taps,
               std::size_t channels, std::int32_t* sums, std::int32_t* windows) {
  if (windows != nullptr)
    depthwise_loop<true>(in, w, taps, channels, sums, windows);
  else
    depthwise_loop<false>(in, w, taps, channels, sums, windows);
}

void sum_channels(const std::uint8_t* in, std::size_t positions, std::size_t channels,
                  std::int32_t* sums) {
  const hn::CappedTag<std::int32_t, 16> d;
  const hn::Rebind<std::int8_t, decltype(d)> d8;
  const auto flip = hn::Set(d8, static_cast<std::int8_t>(kInputXor));
  for (std::size_t p = 0; p < positions; ++p) {
    auto sum = hn::Zero(d);
    for (std::size_t c = 0; c < channels; c += hn::Lanes(d), in += hn::Lanes(d))
      sum = hn::Add(
          sum,
          hn::PromoteTo(d, hn::Xor(hn::LoadU(d8, reinterpret_cast<const std::int8_t*>(in)), flip)));
    sums[p] = hn::GetLane(hn::SumOfLanes(d, sum));
  }
}

// A panel is a multiple of 16 kernels, because the DPU takes sums by whole output atoms.
MacLayout layout() { return {static_cast<std::uint32_t>(kVectors * hn::Lanes(D32())), kInputXor}; }

}  // namespace npu::sim::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace npu::sim {
namespace {
HWY_EXPORT(mac);
HWY_EXPORT(depthwise);
HWY_EXPORT(sum_channels);
HWY_EXPORT(layout);
}  // namespace

MacLayout mac_layout() {
  static const MacLayout cached = HWY_DYNAMIC_DISPATCH(layout)();
  return cached;
}

void mac_int8(const MacWindows& in, const std::int8_t* panel, const std::int32_t* init,
              std::int32_t* acc, std::size_t acc_stride) {
  HWY_DYNAMIC_DISPATCH(mac)(in, panel, init, acc, acc_stride);
}

void mac_depthwise_int8(const std::uint8_t* const* in, const std::int8_t* w, std::size_t taps,
                        std::size_t channels, std::int32_t* sums, std::int32_t* windows) {
  HWY_DYNAMIC_DISPATCH(depthwise)(in, w, taps, channels, sums, windows);
}

void sum_channels_int8(const std::uint8_t* in, std::size_t positions, std::size_t channels,
                       std::int32_t* sums) {
  HWY_DYNAMIC_DISPATCH(sum_channels)(in, positions, channels, sums);
}

}  // namespace npu::sim
#endif
