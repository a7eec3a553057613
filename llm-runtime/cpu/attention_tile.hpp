// SPDX-License-Identifier: MIT
// The inner loops of attention().
#pragma once

#include <cstddef>
#include <span>

#include "llm-runtime/cpu/attention.hpp"

namespace npu::llm::cpu {

/// Rows of a batch of one sequence and the query heads that share one head of keys.
struct AttentionPart {
  const KvCache* cache;
  std::size_t kv_head, shared;    ///< shared: query heads of that head
  std::span<const Place> places;  ///< all of one sequence
  const float* q;                 ///< of the first row
  std::size_t q_stride;
  float scale;
  float* out;
  std::size_t out_stride;
};

void attend(const AttentionPart& part);

namespace plain {
void attend(const AttentionPart& part);
/// n elements of a cache row, from element 0 of a head.
void load_kv(KvType type, const std::byte* in, std::size_t n, float* out);
}  // namespace plain

}  // namespace npu::llm::cpu
