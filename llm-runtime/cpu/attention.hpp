// SPDX-License-Identifier: MIT
// Attention over a cache of keys and values, tile by tile with a running softmax.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "llm-runtime/cpu/thread_pool.hpp"

namespace npu::llm::cpu {

/// Q8_0: blocks of 32 int8 with one f16 scale, as in BlockQ8_0; needs a head size that 32 divides.
enum class KvType : std::uint8_t { f32, f16, q8_0 };

/// Bytes of the keys (or values) of one position.
std::size_t kv_row_bytes(KvType type, std::size_t kv_heads, std::size_t head_size);

/// The cache of one layer: [sequence][position][kv_heads][head_size], keys and values apart.
/// All sequences have the same room.
struct KvCache {
  KvType type = KvType::f16;
  std::size_t kv_heads = 0, head_size = 0;
  std::size_t positions = 0;  ///< of a sequence
  std::byte* k = nullptr;
  std::byte* v = nullptr;

  std::size_t row_bytes() const { return kv_row_bytes(type, kv_heads, head_size); }
  std::size_t offset(std::size_t sequence, std::size_t position) const {
    return (sequence * positions + position) * row_bytes();
  }
};

/// Where a row of a batch stands.
struct Place {
  std::uint32_t sequence = 0, position = 0;
};

/// Stores row i of k and v [kv_heads * head_size] at places[i].
void store_kv(ThreadPool& pool, const KvCache& cache, std::span<const Place> places, const float* k,
              const float* v, std::size_t stride);

/// Row i of q [heads * head_size], rope applied, attends to the positions 0..places[i].position of
/// its sequence, which must be in the cache; query head h uses key head h / (heads / kv_heads).
/// out [heads * head_size] = softmax(scale * q k^T) v. npu::Error invalid_argument unless kv_heads
/// divides heads and 8 divides the head size (at most 256). out may be q.
void attention(ThreadPool& pool, const KvCache& cache, std::span<const Place> places,
               const float* q, std::size_t q_stride, std::size_t heads, float scale, float* out,
               std::size_t out_stride);

}  // namespace npu::llm::cpu
