// SPDX-License-Identifier: MIT
// The forward pass of Qwen2: tokens in, logits out.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "llm-runtime/cpu/attention.hpp"
#include "llm-runtime/cpu/ops.hpp"
#include "llm-runtime/cpu/thread_pool.hpp"
#include "llm-runtime/kv_store.hpp"
#include "llm-runtime/model.hpp"
#include "llm-runtime/projector.hpp"

namespace npu::llm {

/// One token to evaluate. Rows of a sequence stand in the order of their positions, each one after
/// what the cache already holds of it.
struct BatchRow {
  std::int32_t token = 0;
  std::uint32_t sequence = 0;
  std::uint32_t position = 0;
  bool logits = false;  ///< wanted for this row
};

/// Told of every intermediate tensor, by the names that llama.cpp gives them: rows of `columns`
/// floats, one behind the other.
using TensorHook = std::function<void(std::string_view name, std::uint32_t layer, const float* data,
                                      std::size_t rows, std::size_t columns)>;

class Graph {
 public:
  /// All must outlive it.
  Graph(const Model& model, cpu::ThreadPool& pool, Projector& projector, KvStore& cache);

  /// Logits of the marked rows, in their order: [marked][vocabulary]; valid until the next call.
  /// Writes keys and values of all rows into the cache. Throws invalid_argument for a token beyond
  /// the vocabulary, or a sequence or position beyond the cache; what the projector throws. After
  /// an exception the cache's rows of this batch are undefined, those before are untouched.
  std::span<const float> evaluate(std::span<const BatchRow> rows, const TensorHook& hook = {});

 private:
  void embed(std::span<const BatchRow> rows);
  void normalise(const std::vector<float>& weight, std::size_t m);
  void attend(std::uint32_t layer, std::size_t m, const TensorHook& hook);
  void feed_forward(std::uint32_t layer, std::size_t m, const TensorHook& hook);
  std::size_t keep_marked(std::span<const BatchRow> rows);

  const Model& model_;
  cpu::ThreadPool& pool_;
  Projector& projector_;
  KvStore& cache_;
  cpu::RopeTable rope_;
  // [rows][...]: residual stream, normalised input, projections.
  std::vector<float> x_, h_, q_, k_, v_, attention_, gate_, up_, t_, logits_;
  std::vector<cpu::Place> places_;
  std::vector<std::uint32_t> positions_;
};

}  // namespace npu::llm
