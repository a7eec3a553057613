// SPDX-License-Identifier: MIT
#include "llm-runtime/cpu/attention.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "llm-runtime/cpu/attention_tile.hpp"
#include "llm-runtime/half.hpp"
#include "llm-runtime/tensor_type.hpp"
#include "regdb/error.hpp"

namespace npu::llm::cpu {
namespace {

void store_row(KvType type, const float* in, std::size_t n, std::byte* out) {
  switch (type) {
    case KvType::f32: std::memcpy(out, in, n * sizeof(float)); return;
    case KvType::f16:
      for (std::size_t i = 0; i < n; ++i) {
        const std::uint16_t half = float_to_f16(in[i]);
        std::memcpy(out + 2 * i, &half, 2);
      }
      return;
    case KvType::q8_0:
      for (std::size_t i = 0; i < n; i += 32) {
        BlockQ8_0 block{};
        float largest = 0;
        for (std::size_t j = 0; j < 32; ++j) largest = std::max(largest, std::abs(in[i + j]));
        const float d = largest / 127.0F, scale = largest > 1e-35F ? 127.0F / largest : 0.0F;
        block.d = float_to_f16(d);
        for (std::size_t j = 0; j < 32; ++j) {
          const float q = std::nearbyint(in[i + j] * scale);
          block.qs[j] = q == q ? static_cast<std::int8_t>(q) : std::int8_t{0};
        }
        std::memcpy(out + i / 32 * sizeof(block), &block, sizeof(block));
      }
  }
}

void check(const KvCache& cache, std::span<const Place> places) {
  if (cache.k == nullptr || cache.v == nullptr || cache.kv_heads == 0 || cache.head_size == 0 ||
      cache.head_size % 8 != 0 || cache.head_size > 256 ||
      (cache.type == KvType::q8_0 && cache.head_size % 32 != 0))
    throw Error(ErrorCode::invalid_argument,
                "attention takes head sizes that are multiples of 8 up to 256 (of 32 for a q8_0 "
                "cache), not " +
                    std::to_string(cache.head_size));
  for (const Place& place : places)
    if (place.position >= cache.positions)
      throw Error(ErrorCode::invalid_argument, "position " + std::to_string(place.position) +
                                                   " is beyond a cache of " +
                                                   std::to_string(cache.positions));
}

}  // namespace

std::size_t kv_row_bytes(KvType type, std::size_t kv_heads, std::size_t head_size) {
  const std::size_t n = kv_heads * head_size;
  switch (type) {
    case KvType::f32: return n * 4;
    case KvType::f16: return n * 2;
    case KvType::q8_0: return n / 32 * sizeof(BlockQ8_0);
  }
  return 0;
}

void store_kv(ThreadPool& pool, const KvCache& cache, std::span<const Place> places, const float* k,
              const float* v, std::size_t stride) {
  check(cache, places);
  pool.parallel_for(places.size(), 16, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      const std::size_t at = cache.offset(places[i].sequence, places[i].position);
      store_row(cache.type, k + i * stride, cache.kv_heads * cache.head_size, cache.k + at);
      store_row(cache.type, v + i * stride, cache.kv_heads * cache.head_size, cache.v + at);
    }
  });
}

void attention(ThreadPool& pool, const KvCache& cache, std::span<const Place> places,
               const float* q, std::size_t q_stride, std::size_t heads, float scale, float* out,
               std::size_t out_stride) {
  check(cache, places);
  if (heads == 0 || heads % cache.kv_heads != 0)
    throw Error(ErrorCode::invalid_argument, std::to_string(heads) + " heads cannot share " +
                                                 std::to_string(cache.kv_heads) + " heads of keys");
  // Rows of one sequence that lie side by side share the keys they read; so do the heads.
  constexpr std::size_t kRows = 16;
  std::vector<std::pair<std::size_t, std::size_t>> runs;  // first row, rows
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (!runs.empty() && runs.back().second < kRows && places[i].sequence == places[i - 1].sequence)
      ++runs.back().second;
    else
      runs.emplace_back(i, 1);
  }
  std::reverse(runs.begin(), runs.end());  // the last rows of a prompt have most to do
  pool.parallel_for(runs.size() * cache.kv_heads, 1, [&](std::size_t begin, std::size_t) {
    const auto [first, rows] = runs[begin / cache.kv_heads];
    attend({&cache, begin % cache.kv_heads, heads / cache.kv_heads, places.subspan(first, rows),
            q + first * q_stride, q_stride, scale, out + first * out_stride, out_stride});
  });
}

namespace plain {

void load_kv(KvType type, const std::byte* in, std::size_t n, float* out) {
  switch (type) {
    case KvType::f32: std::memcpy(out, in, n * sizeof(float)); return;
    case KvType::f16:
      for (std::size_t i = 0; i < n; ++i) {
        std::uint16_t half;
        std::memcpy(&half, in + 2 * i, 2);
        out[i] = f16_to_float(half);
      }
      return;
    case KvType::q8_0:
      for (std::size_t i = 0; i < n; i += 32) {
        BlockQ8_0 block;
        std::memcpy(&block, in + i / 32 * sizeof(block), sizeof(block));
        for (std::size_t j = 0; j < 32; ++j)
          out[i + j] = f16_to_float(block.d) * static_cast<float>(block.qs[j]);
      }
  }
}

void attend(const AttentionPart& part) {
  const KvCache& cache = *part.cache;
  const std::size_t size = cache.head_size;
  const std::size_t head_bytes = kv_row_bytes(cache.type, 1, size);
  for (std::size_t n = 0; n < part.places.size() * part.shared; ++n) {
    const std::size_t i = n / part.shared, head = part.kv_head * part.shared + n % part.shared;
    float query[256], row[256], sum[256] = {};
    std::memcpy(query, part.q + i * part.q_stride + head * size, size * sizeof(float));
    float largest = -std::numeric_limits<float>::infinity(), total = 0;
    for (std::size_t p = 0; p <= part.places[i].position; ++p) {
      const std::size_t at = cache.offset(part.places[i].sequence, p) + part.kv_head * head_bytes;
      load_kv(cache.type, cache.k + at, size, row);
      float score = 0;
      for (std::size_t c = 0; c < size; ++c) score += query[c] * row[c];
      score *= part.scale;
      if (score > largest) {
        const float shrink = std::exp(largest - score);
        for (std::size_t c = 0; c < size; ++c) sum[c] *= shrink;
        total *= shrink;
        largest = score;
      }
      const float weight = std::exp(score - largest);
      total += weight;
      load_kv(cache.type, cache.v + at, size, row);
      for (std::size_t c = 0; c < size; ++c) sum[c] += weight * row[c];
    }
    for (std::size_t c = 0; c < size; ++c)
      part.out[i * part.out_stride + head * size + c] = sum[c] / total;
  }
}

}  // namespace plain

}  // namespace npu::llm::cpu
