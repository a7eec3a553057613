// SPDX-License-Identifier: MIT
// A lane is a query (a row of the batch and one of its heads): scores, maxima and sums of all
// lanes are found without adding across lanes, and a row's result does not depend on its
// neighbours.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "llm-runtime/cpu/attention_tile.hpp"
#include "llm-runtime/cpu/buffer.hpp"
#include "llm-runtime/half.hpp"

#define HWY_WANT_AVX3_DL
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "llm-runtime/cpu/attention_tile.cpp"
#include "hwy/foreach_target.h"
// Only after that: it is included once per target.
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "llm-runtime/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace npu::llm::cpu::HWY_NAMESPACE {
#if LLM_PLAIN

void attend_part(const AttentionPart& part) { plain::attend(part); }

#else

constexpr std::size_t kKeys = 32;  // of a tile
constexpr std::size_t kStep = 4;   // keys or elements that one inner loop does at a time

/// Memory of a part: lanes are queries, a multiple of the vector's.
struct Work {
  std::size_t lanes, head_size;
  float* q;        ///< [head_size][lanes]
  float* sums;     ///< [head_size][lanes], to be divided by totals
  float* scores;   ///< [kKeys][lanes]
  float* keys;     ///< [kKeys][head_size]
  float* values;   ///< [kKeys][head_size]
  float* largest;  ///< [lanes]
  float* totals;
  float* factors;
  float* positions;  ///< of the query; exact in f32
};

Work make_work(Buffer& memory, std::size_t queries, std::size_t head_size) {
  const std::size_t lanes = align_up(queries, kLanes);
  const std::size_t tile = kKeys * head_size;
  float* at = memory.scratch<float>(2 * head_size * lanes + kKeys * lanes + 2 * tile + 4 * lanes);
  Work work{lanes, head_size};
  for (auto [pointer, count] : {std::pair{&work.q, head_size * lanes},
                                {&work.sums, head_size * lanes},
                                {&work.scores, kKeys * lanes},
                                {&work.keys, tile},
                                {&work.values, tile},
                                {&work.largest, lanes},
                                {&work.totals, lanes},
                                {&work.factors, lanes},
                                {&work.positions, lanes}}) {
    *pointer = at;
    at += count;
  }
  return work;
}

/// One head of one position of the cache as floats. head_size is a multiple of 8.
void load_row(KvType type, const std::byte* in, std::size_t head_size, float* out) {
  const hn::CappedTag<float, 8> df;
  const std::size_t step = hn::Lanes(df);
  if (type == KvType::f32) {
    std::memcpy(out, in, head_size * sizeof(float));
  } else if (type == KvType::f16) {
    const hn::Rebind<hwy::float16_t, decltype(df)> half;
    for (std::size_t i = 0; i < head_size; i += step)
      hn::StoreU(
          hn::PromoteTo(df, hn::LoadU(half, reinterpret_cast<const hwy::float16_t*>(in) + i)), df,
          out + i);
  } else {
    const hn::Rebind<std::int32_t, decltype(df)> d32;
    const hn::Rebind<std::int8_t, decltype(df)> bytes;
    for (std::size_t i = 0; i < head_size; i += 32, in += sizeof(BlockQ8_0)) {
      F16Bits bits;
      std::memcpy(&bits, in, 2);
      const auto d = hn::Set(df, f16_to_float(bits));
      for (std::size_t j = 0; j < 32; j += step) {
        const auto q = hn::LoadU(bytes, reinterpret_cast<const std::int8_t*>(in) + 2 + j);
        hn::StoreU(hn::Mul(d, hn::ConvertTo(df, hn::PromoteTo(d32, q))), df, out + i + j);
      }
    }
  }
}

/// scores[key][lane] = keys[key] . q[lane], for V vectors of lanes from `lane` on.
template <std::size_t V>
HWY_INLINE void score(const Work& work, std::size_t lane, std::size_t count) {
  const DF df;
  for (std::size_t key = 0; key < count; key += kStep) {
    const float* k = work.keys + key * work.head_size;
    VF sum[kStep][V];
    LLM_UNROLL for (std::size_t i = 0; i < kStep; ++i)
        LLM_UNROLL for (std::size_t v = 0; v < V; ++v) sum[i][v] = hn::Zero(df);
    const float* q = work.q + lane;
    for (std::size_t c = 0; c < work.head_size; ++c, q += work.lanes) {
      VF query[V];
      LLM_UNROLL for (std::size_t v = 0; v < V; ++v) query[v] = hn::LoadU(df, q + v * kLanes);
      LLM_UNROLL for (std::size_t i = 0; i < kStep; ++i) {
        const VF element = hn::Set(df, k[i * work.head_size + c]);
        LLM_UNROLL for (std::size_t v = 0; v < V; ++v) sum[i][v] =
            hn::MulAdd(element, query[v], sum[i][v]);
      }
    }
    LLM_UNROLL for (std::size_t i = 0; i < kStep; ++i)
        LLM_UNROLL for (std::size_t v = 0; v < V; ++v)
            hn::StoreU(sum[i][v], df, work.scores + (key + i) * work.lanes + lane + v * kLanes);
  }
}

/// Scores become weights; the running maximum and total follow, and the factor for older sums.
HWY_INLINE void weigh(const Work& work, std::size_t lane, std::size_t first, std::size_t count,
                      bool masked) {
  const DF df;
  float* scores = work.scores + lane;
  const VF old = hn::LoadU(df, work.largest + lane);
  const VF position = hn::LoadU(df, work.positions + lane);
  VF largest = old;
  for (std::size_t i = 0; i < count; ++i, scores += work.lanes) {
    VF s = hn::LoadU(df, scores);
    if (masked) {
      const VF key = hn::Set(df, static_cast<float>(first + i));
      s = hn::IfThenElse(hn::Le(key, position), s,
                         hn::Set(df, -std::numeric_limits<float>::infinity()));
      hn::StoreU(s, df, scores);
    }
    largest = hn::Max(largest, s);
  }
  const VF factor = hn::Exp(df, hn::Sub(old, largest));
  VF total = hn::Mul(hn::LoadU(df, work.totals + lane), factor);
  scores = work.scores + lane;
  for (std::size_t i = 0; i < count; ++i, scores += work.lanes) {
    const VF weight = hn::Exp(df, hn::Sub(hn::LoadU(df, scores), largest));
    total = hn::Add(total, weight);
    hn::StoreU(weight, df, scores);
  }
  hn::StoreU(largest, df, work.largest + lane);
  hn::StoreU(total, df, work.totals + lane);
  hn::StoreU(factor, df, work.factors + lane);
}

/// sums[element][lane] = sums * factor + weights[key][lane] * values[key][element].
template <std::size_t V>
HWY_INLINE void add_values(const Work& work, std::size_t lane, std::size_t count) {
  const DF df;
  VF factor[V];
  LLM_UNROLL for (std::size_t v = 0; v < V; ++v) factor[v] =
      hn::LoadU(df, work.factors + lane + v * kLanes);
  for (std::size_t c = 0; c < work.head_size; c += kStep) {
    VF sum[kStep][V];
    LLM_UNROLL for (std::size_t i = 0; i < kStep; ++i)
        LLM_UNROLL for (std::size_t v = 0; v < V; ++v) sum[i][v] =
            hn::Mul(hn::LoadU(df, work.sums + (c + i) * work.lanes + lane + v * kLanes), factor[v]);
    const float* weights = work.scores + lane;
    const float* values = work.values + c;
    for (std::size_t key = 0; key < count; ++key) {
      VF weight[V];
      LLM_UNROLL for (std::size_t v = 0; v < V; ++v) weight[v] =
          hn::LoadU(df, weights + v * kLanes);
      LLM_UNROLL for (std::size_t i = 0; i < kStep; ++i) {
        const VF value = hn::Set(df, values[i]);
        LLM_UNROLL for (std::size_t v = 0; v < V; ++v) sum[i][v] =
            hn::MulAdd(weight[v], value, sum[i][v]);
      }
      weights += work.lanes;
      values += work.head_size;
    }
    LLM_UNROLL for (std::size_t i = 0; i < kStep; ++i)
        LLM_UNROLL for (std::size_t v = 0; v < V; ++v)
            hn::StoreU(sum[i][v], df, work.sums + (c + i) * work.lanes + lane + v * kLanes);
  }
}

void attend_part(const AttentionPart& part) {
  thread_local Buffer memory;
  const KvCache& cache = *part.cache;
  const std::size_t size = cache.head_size, queries = part.places.size() * part.shared;
  const Work work = make_work(memory, queries, size);
  // Lanes beyond the queries are copies of nothing: zeros that see one key.
  std::memset(work.q, 0, size * work.lanes * sizeof(float));
  std::memset(work.sums, 0, size * work.lanes * sizeof(float));
  std::memset(work.totals, 0, work.lanes * sizeof(float));
  std::memset(work.positions, 0, work.lanes * sizeof(float));
  std::fill_n(work.largest, work.lanes, -std::numeric_limits<float>::infinity());
  std::size_t end = 0, all_see = part.places[0].position;
  for (std::size_t lane = 0; lane < queries; ++lane) {
    const std::size_t i = lane / part.shared,
                      head = part.kv_head * part.shared + lane % part.shared;
    const float* q = part.q + i * part.q_stride + head * size;
    for (std::size_t c = 0; c < size; ++c) work.q[c * work.lanes + lane] = q[c] * part.scale;
    work.positions[lane] = static_cast<float>(part.places[i].position);
    end = std::max<std::size_t>(end, part.places[i].position + std::size_t{1});
    all_see = std::min<std::size_t>(all_see, part.places[i].position);
  }
  if (work.lanes != queries) all_see = 0;
  const std::size_t head_bytes = kv_row_bytes(cache.type, 1, size);
  for (std::size_t first = 0; first < end; first += kKeys) {
    const std::size_t count = std::min(kKeys, end - first);
    const std::size_t padded = align_up(count, kStep);
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t at =
          cache.offset(part.places[0].sequence, first + i) + part.kv_head * head_bytes;
      load_row(cache.type, cache.k + at, size, work.keys + i * size);
      load_row(cache.type, cache.v + at, size, work.values + i * size);
    }
    std::memset(work.keys + count * size, 0, (padded - count) * size * sizeof(float));
    std::size_t lane = 0;
    for (; lane + 2 * kLanes <= work.lanes; lane += 2 * kLanes) score<2>(work, lane, padded);
    for (; lane < work.lanes; lane += kLanes) score<1>(work, lane, padded);
    for (lane = 0; lane < work.lanes; lane += kLanes)
      weigh(work, lane, first, count, first + count - 1 > all_see);
    lane = 0;
    for (; lane + 2 * kLanes <= work.lanes; lane += 2 * kLanes) add_values<2>(work, lane, count);
    for (; lane < work.lanes; lane += kLanes) add_values<1>(work, lane, count);
  }
  for (std::size_t lane = 0; lane < queries; ++lane) {
    const std::size_t i = lane / part.shared,
                      head = part.kv_head * part.shared + lane % part.shared;
    float* out = part.out + i * part.out_stride + head * size;
    const float total = work.totals[lane];
    for (std::size_t c = 0; c < size; ++c) out[c] = work.sums[c * work.lanes + lane] / total;
  }
}

#endif  // LLM_PLAIN
}  // namespace npu::llm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace npu::llm::cpu {
namespace {
HWY_EXPORT(attend_part);
}  // namespace

void attend(const AttentionPart& part) { HWY_DYNAMIC_DISPATCH(attend_part)(part); }

}  // namespace npu::llm::cpu
#endif  // HWY_ONCE
