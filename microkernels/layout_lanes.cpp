// SPDX-License-Identifier: MIT
#include "microkernels/layout_lanes.hpp"

#include <algorithm>

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "microkernels/layout_lanes.cpp"
#include "hwy/foreach_target.h"

#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace npu::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Rows taken together: to be read as many as the prefetchers follow, to be written more (of 4 to 64
// the fastest on Zen 4, by a tenth to a half). Bytes of a row taken together for sums.
template <std::size_t kRun>
constexpr std::size_t kGatherRows = kRun == 32 ? 8 : 16;
constexpr std::size_t kScatterRows = 64, kTileBytes = 512;

// The widest vector that holds whole runs, and how many of them.
template <std::size_t kRun>
using RunTag = hn::CappedTag<std::uint8_t, std::max<std::size_t>(kRun, 64)>;
template <std::size_t kRun>
constexpr std::size_t kSquare = std::max<std::size_t>(hn::MaxLanes(RunTag<kRun>()) / kRun, 1);

template <bool kStream, class D>
HWY_INLINE void store(hn::Vec<D> v, D d, std::uint8_t* to) {
  if constexpr (kStream)
    hn::Stream(v, d, to);
  else
    hn::StoreU(v, d, to);
}

template <std::size_t kRun, bool kStream>
HWY_INLINE void copy_run(const std::uint8_t* from, std::uint8_t* to) {
  const hn::CappedTag<std::uint8_t, kRun> d;
  for (std::size_t i = 0; i < kRun; i += hn::Lanes(d))
    store<kStream>(hn::LoadU(d, from + i), d, to + i);
}

// A square of runs, transposed: run j of line i becomes run i of line j. Whole vectors on both
// sides, so that streaming stores end their lines.
template <std::size_t kRun, bool kStream>
HWY_INLINE void transpose(const std::uint8_t* from, std::size_t from_step, std::uint8_t* to,
                          std::size_t to_step) {
#if HWY_TARGET != HWY_SCALAR
  constexpr std::size_t kSide = kSquare<kRun>;
  if constexpr (kSide > 1) {
    const RunTag<kRun> d;
    const auto a = hn::LoadU(d, from), b = hn::LoadU(d, from + from_step);
    if constexpr (kSide == 2) {
      store<kStream>(hn::ConcatLowerLower(d, b, a), d, to);
      store<kStream>(hn::ConcatUpperUpper(d, b, a), d, to + to_step);
    } else {
      const auto c = hn::LoadU(d, from + 2 * from_step), e = hn::LoadU(d, from + 3 * from_step);
      // a0 a1 c0 c1, b0 b1 e0 e1, and the same of 2 and 3
      const auto ac = hn::ConcatLowerLower(d, c, a), be = hn::ConcatLowerLower(d, e, b);
      const auto ac2 = hn::ConcatUpperUpper(d, c, a), be2 = hn::ConcatUpperUpper(d, e, b);
      const auto odd_even = [](auto odd, auto even)
                                HWY_ATTR { return hn::OddEvenBlocks(odd, even); };
      store<kStream>(odd_even(hn::SwapAdjacentBlocks(be), ac), d, to);
      store<kStream>(odd_even(be, hn::SwapAdjacentBlocks(ac)), d, to + to_step);
      store<kStream>(odd_even(hn::SwapAdjacentBlocks(be2), ac2), d, to + 2 * to_step);
      store<kStream>(odd_even(be2, hn::SwapAdjacentBlocks(ac2)), d, to + 3 * to_step);
    }
    return;
  }
#endif
  static_cast<void>(from_step), static_cast<void>(to_step);
  copy_run<kRun, kStream>(from, to);
}

// Calls square(r, j) for squares of n rows and n runs, and single(r, j) for what is left; `rows` of
// them together.
template <class Square, class Single>
HWY_INLINE void for_squares(const RunGrid& g, std::size_t rows, std::size_t n, Square square,
                            Single single) {
  for (std::size_t r0 = 0; r0 < g.rows; r0 += rows) {
    const std::size_t r1 = std::min(g.rows, r0 + rows);
    const std::size_t whole = r0 + (r1 - r0) / n * n;
    std::size_t j = 0;
    for (; j + n <= g.runs; j += n) {
      for (std::size_t r = r0; r < whole; r += n) square(r, j);
      for (std::size_t r = whole; r < r1; ++r)
        for (std::size_t i = 0; i < n; ++i) single(r, j + i);
    }
    for (; j < g.runs; ++j)
      for (std::size_t r = r0; r < r1; ++r) single(r, j);
  }
}

template <std::size_t kRun, bool kStream>
HWY_INLINE void gather(const RunGrid& g, const std::uint8_t* rows, std::uint8_t* runs) {
  if constexpr (kRun == 64) {  // a run is a line: whole rows are read fastest in order
    for (std::size_t r = 0; r < g.rows; ++r)
      for (std::size_t j = 0; j < g.runs; ++j)
        copy_run<kRun, kStream>(rows + r * g.row_step + j * kRun, runs + j * g.pitch + r * kRun);
  } else {
    for_squares(
        g, kGatherRows<kRun>, kSquare<kRun>,
        [&](std::size_t r, std::size_t j) HWY_ATTR {
          transpose<kRun, kStream>(rows + r * g.row_step + j * kRun, g.row_step,
                                   runs + j * g.pitch + r * kRun, g.pitch);
        },
        [&](std::size_t r, std::size_t j) HWY_ATTR {
          copy_run<kRun, kStream>(rows + r * g.row_step + j * kRun, runs + j * g.pitch + r * kRun);
        });
  }
}

template <bool kStream>
HWY_INLINE void scatter(const RunGrid& g, const std::uint8_t* runs, std::uint8_t* rows) {
  constexpr std::size_t kRun = 16;
  for_squares(
      g, kScatterRows, kSquare<kRun>,
      [&](std::size_t r, std::size_t j) HWY_ATTR {
        transpose<kRun, kStream>(runs + j * g.pitch + r * kRun, g.pitch,
                                 rows + r * g.row_step + j * kRun, g.row_step);
      },
      [&](std::size_t r, std::size_t j) HWY_ATTR {
        copy_run<kRun, kStream>(runs + j * g.pitch + r * kRun, rows + r * g.row_step + j * kRun);
      });
}

// Streaming stores want whole lines in their places.
bool may_stream(const RunGrid& g, const void* to, std::size_t step) {
  constexpr std::size_t kLine = 64;
  return g.stream && (reinterpret_cast<std::uintptr_t>(to) | step) % kLine == 0;
}

template <std::size_t kRun>
void gather_sized(const RunGrid& g, const std::uint8_t* rows, std::uint8_t* runs) {
  if (!may_stream(g, runs, g.pitch)) return gather<kRun, false>(g, rows, runs);
  gather<kRun, true>(g, rows, runs);
  hwy::FlushStream();
}

void gather_any(const RunGrid& g, const std::uint8_t* rows, std::uint8_t* runs) {
  if (g.run == 16) gather_sized<16>(g, rows, runs);
  if (g.run == 32) gather_sized<32>(g, rows, runs);
  if (g.run == 64) gather_sized<64>(g, rows, runs);
}

void scatter_any(const RunGrid& g, const std::uint8_t* runs, std::uint8_t* rows) {
  if (!may_stream(g, rows, g.row_step)) return scatter<false>(g, runs, rows);
  scatter<true>(g, runs, rows);
  hwy::FlushStream();
}

void nibbles(const RunGrid& g, const std::uint8_t* rows, std::uint8_t* runs) {
  constexpr std::size_t kFrom = 32, kTo = 16;
  for_squares(
      g, kGatherRows<kTo>, 1,
      [&](std::size_t r, std::size_t j) HWY_ATTR {
        const std::uint8_t* from = rows + r * g.row_step + j * kFrom;
        std::uint8_t* to = runs + j * g.pitch + r * kTo;
#if HWY_TARGET == HWY_SCALAR
        for (std::size_t i = 0; i < kTo; ++i)
          to[i] = static_cast<std::uint8_t>((from[2 * i] & 0xF) | (from[2 * i + 1] & 0xF) << 4);
#else
        const hn::CappedTag<std::uint8_t, 16> d8;
        const hn::Repartition<std::uint16_t, decltype(d8)> d;
        const hn::Rebind<std::uint8_t, decltype(d)> half;
        for (std::size_t i = 0; i < kTo; i += hn::Lanes(d)) {
          const auto v = hn::BitCast(d, hn::LoadU(d8, from + 2 * i));
          const auto low = hn::And(v, hn::Set(d, std::uint16_t{0xF}));
          const auto high = hn::And(hn::ShiftRight<4>(v), hn::Set(d, std::uint16_t{0xF0}));
          hn::StoreU(hn::TruncateTo(half, hn::Or(low, high)), half, to + i);
        }
#endif
      },
      [](std::size_t, std::size_t) {});
}

template <class Sum, class Value, bool kAdd>
HWY_INLINE void update(const RunGrid& g, const std::uint8_t* runs, std::uint8_t* rows) {
  constexpr std::size_t kValues = 16 / sizeof(Value), kTileRuns = kTileBytes / 16;
  const hn::CappedTag<Sum, kValues> d;
  const hn::Rebind<Value, decltype(d)> dv;
  for (std::size_t r0 = 0; r0 < g.rows; r0 += kScatterRows) {
    const std::size_t r1 = std::min(g.rows, r0 + kScatterRows);
    for (std::size_t j0 = 0; j0 < g.runs; j0 += kTileRuns) {
      const std::size_t j1 = std::min(g.runs, j0 + kTileRuns);
      for (std::size_t r = r0; r < r1; ++r)
        for (std::size_t j = j0; j < j1; ++j) {
          const auto* in = reinterpret_cast<const Value*>(runs + j * g.pitch + r * 16);
          auto* out = reinterpret_cast<Sum*>(rows + r * g.row_step) + j * kValues;
          for (std::size_t i = 0; i < kValues; i += hn::Lanes(d)) {
            hn::Vec<decltype(d)> v;
            if constexpr (sizeof(Value) == sizeof(Sum))
              v = hn::LoadU(d, in + i);
            else
              v = hn::PromoteTo(d, hn::LoadU(dv, in + i));
            if constexpr (kAdd) v = hn::Add(hn::LoadU(d, out + i), v);
            hn::StoreU(v, d, out + i);
          }
        }
    }
  }
}

void update_any(RunUpdate kind, const RunGrid& g, const std::uint8_t* runs, std::uint8_t* rows) {
  switch (kind) {
    case RunUpdate::add_i32: return update<std::int32_t, std::int32_t, true>(g, runs, rows);
    case RunUpdate::add_f32: return update<float, float, true>(g, runs, rows);
    case RunUpdate::add_i16: return update<std::int32_t, std::int16_t, true>(g, runs, rows);
    case RunUpdate::widen_i16: return update<std::int32_t, std::int16_t, false>(g, runs, rows);
  }
}

}  // namespace npu::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace npu::kernels {
namespace {

const std::uint8_t* bytes(const std::byte* p) { return reinterpret_cast<const std::uint8_t*>(p); }
std::uint8_t* bytes(std::byte* p) { return reinterpret_cast<std::uint8_t*>(p); }

}  // namespace

HWY_EXPORT(gather_any);
HWY_EXPORT(scatter_any);
HWY_EXPORT(nibbles);
HWY_EXPORT(update_any);

void gather_runs(const RunGrid& grid, const std::byte* rows, std::byte* runs) {
  HWY_DYNAMIC_DISPATCH(gather_any)(grid, bytes(rows), bytes(runs));
}
void gather_nibbles(const RunGrid& grid, const std::byte* rows, std::byte* runs) {
  HWY_DYNAMIC_DISPATCH(nibbles)(grid, bytes(rows), bytes(runs));
}
void scatter_runs(const RunGrid& grid, const std::byte* runs, std::byte* rows) {
  HWY_DYNAMIC_DISPATCH(scatter_any)(grid, bytes(runs), bytes(rows));
}
void update_rows(RunUpdate update, const RunGrid& grid, const std::byte* runs, std::byte* rows) {
  HWY_DYNAMIC_DISPATCH(update_any)(update, grid, bytes(runs), bytes(rows));
}

}  // namespace npu::kernels
#endif
