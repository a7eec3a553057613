// SPDX-License-Identifier: MIT
#include "llm-runtime/graph.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "llm-runtime/dequantize.hpp"
#include "regdb/error.hpp"

namespace npu::llm {
namespace {

void check(const ModelShape& shape, const KvStore& cache, std::span<const BatchRow> rows) {
  for (const BatchRow& row : rows) {
    if (row.token < 0 || static_cast<std::uint32_t>(row.token) >= shape.vocabulary) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("token {} is outside the vocabulary: 0 to {}", row.token,
                              shape.vocabulary - 1));
    }
    if (row.sequence >= cache.sequences() || row.position >= cache.positions()) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("position {} of sequence {} is outside the cache: {} sequences of {} "
                              "tokens; ask for a larger context (-c)",
                              row.position, row.sequence, cache.sequences(), cache.positions()));
    }
  }
}

}  // namespace

Graph::Graph(const Model& model, cpu::ThreadPool& pool, Projector& projector, KvStore& cache)
    : model_(model),
      pool_(pool),
      projector_(projector),
      cache_(cache),
      rope_(cache.positions(), model.shape().head_size, model.shape().rope_base) {}

void Graph::embed(std::span<const BatchRow> rows) {
  const std::size_t hidden = model_.shape().hidden;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    dequantize_row(model_.embedding(), static_cast<std::uint32_t>(rows[i].token),
                   std::span(x_).subspan(i * hidden, hidden));
  }
}

void Graph::normalise(const std::vector<float>& weight, std::size_t m) {
  const std::size_t hidden = model_.shape().hidden;
  cpu::rms_norm(pool_, x_.data(), hidden, weight.data(), model_.shape().rms_epsilon, m, hidden,
                h_.data(), hidden);
}

void Graph::attend(std::uint32_t layer, std::size_t m, const TensorHook& hook) {
  const ModelShape& s = model_.shape();
  normalise(model_.layers()[layer].attn_norm, m);
  if (hook) hook("attn_norm", layer, h_.data(), m, s.hidden);
  projector_.project(Group::qkv, layer, h_.data(), m, std::array{q_.data(), k_.data(), v_.data()});
  if (hook) {
    hook("Qcur", layer, q_.data(), m, s.q_size());
    hook("Kcur", layer, k_.data(), m, s.kv_size());
    hook("Vcur", layer, v_.data(), m, s.kv_size());
  }
  cpu::rope_neox(pool_, rope_, positions_, s.heads, q_.data(), s.q_size());
  cpu::rope_neox(pool_, rope_, positions_, s.kv_heads, k_.data(), s.kv_size());
  if (hook) {
    hook("Qcur_rope", layer, q_.data(), m, s.q_size());
    hook("Kcur_rope", layer, k_.data(), m, s.kv_size());
  }
  const cpu::KvCache cache = cache_.layer(layer);
  cpu::store_kv(pool_, cache, places_, k_.data(), v_.data(), s.kv_size());
  cpu::attention(pool_, cache, places_, q_.data(), s.q_size(), s.heads,
                 1 / std::sqrt(static_cast<float>(s.head_size)), attention_.data(), s.q_size());
  if (hook) hook("kqv_out", layer, attention_.data(), m, s.q_size());
}

void Graph::feed_forward(std::uint32_t layer, std::size_t m, const TensorHook& hook) {
  const ModelShape& s = model_.shape();
  projector_.project(Group::o, layer, attention_.data(), m, std::array{t_.data()});
  if (hook) hook("attn_out", layer, t_.data(), m, s.hidden);
  cpu::add(pool_, t_.data(), x_.data(), m * s.hidden);
  if (hook) hook("ffn_inp", layer, x_.data(), m, s.hidden);
  normalise(model_.layers()[layer].ffn_norm, m);
  if (hook) hook("ffn_norm", layer, h_.data(), m, s.hidden);
  projector_.project(Group::gate_up, layer, h_.data(), m, std::array{gate_.data(), up_.data()});
  if (hook) {
    hook("ffn_gate", layer, gate_.data(), m, s.ffn);
    hook("ffn_up", layer, up_.data(), m, s.ffn);
  }
  cpu::silu_mul(pool_, gate_.data(), up_.data(), gate_.data(), m * s.ffn);
  if (hook) hook("ffn_swiglu", layer, gate_.data(), m, s.ffn);
  projector_.project(Group::down, layer, gate_.data(), m, std::array{t_.data()});
  if (hook) hook("ffn_out", layer, t_.data(), m, s.hidden);
  cpu::add(pool_, t_.data(), x_.data(), m * s.hidden);
  if (hook) hook("l_out", layer, x_.data(), m, s.hidden);
}

/// What is left to do needs only the rows whose logits are wanted.
std::size_t Graph::keep_marked(std::span<const BatchRow> rows) {
  const ModelShape& s = model_.shape();
  std::size_t kept = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (!rows[i].logits) continue;
    if (kept != i) {
      std::copy_n(x_.data() + i * s.hidden, s.hidden, x_.data() + kept * s.hidden);
      std::copy_n(attention_.data() + i * s.q_size(), s.q_size(),
                  attention_.data() + kept * s.q_size());
    }
    ++kept;
  }
  return kept;
}

std::span<const float> Graph::evaluate(std::span<const BatchRow> rows, const TensorHook& hook) {
  const ModelShape& s = model_.shape();
  check(s, cache_, rows);
  const std::size_t m = rows.size();
  places_.clear();
  positions_.clear();
  for (const BatchRow& row : rows) {
    places_.push_back({row.sequence, row.position});
    positions_.push_back(row.position);
  }
  for (auto [buffer, columns] : {std::pair{&x_, s.hidden},
                                 {&h_, s.hidden},
                                 {&q_, s.q_size()},
                                 {&k_, s.kv_size()},
                                 {&v_, s.kv_size()},
                                 {&attention_, s.q_size()},
                                 {&gate_, s.ffn},
                                 {&up_, s.ffn},
                                 {&t_, s.hidden}}) {
    if (buffer->size() < m * columns) buffer->resize(m * columns);
  }
  embed(rows);
  if (hook) hook("embd", 0, x_.data(), m, s.hidden);
  std::size_t left = m;
  for (std::uint32_t layer = 0; layer < s.layers; ++layer) {
    attend(layer, m, hook);
    if (layer + 1 == s.layers) left = keep_marked(rows);
    if (left == 0) return {};
    feed_forward(layer, left, hook);
  }
  normalise(model_.output_norm(), left);
  if (hook) hook("result_norm", 0, h_.data(), left, s.hidden);
  logits_.resize(left * s.vocabulary);
  projector_.project(Group::output, 0, h_.data(), left, std::array{logits_.data()});
  if (hook) hook("result_output", 0, logits_.data(), left, s.vocabulary);
  return logits_;
}

}  // namespace npu::llm
