// SPDX-License-Identifier: MIT
#include "llm-runtime/projector.hpp"

namespace npu::llm {

std::string_view to_string(Group group) {
  switch (group) {
    case Group::qkv: return "qkv";
    case Group::o: return "o";
    case Group::gate_up: return "gate+up";
    case Group::down: return "down";
    case Group::output: return "output";
  }
  return "unknown";
}

std::vector<GroupWeight> group_weights(const Model& model, Group group, std::uint32_t layer) {
  if (group == Group::output) return {{"output", model.output(), {}}};
  const LayerWeights& w = model.layers().at(layer);
  switch (group) {
    case Group::qkv:
      return {{"attn_q", w.q, w.q_bias}, {"attn_k", w.k, w.k_bias}, {"attn_v", w.v, w.v_bias}};
    case Group::o: return {{"attn_output", w.o, {}}};
    case Group::gate_up: return {{"ffn_gate", w.gate, {}}, {"ffn_up", w.up, {}}};
    case Group::down: return {{"ffn_down", w.down, {}}};
    case Group::output: break;
  }
  return {};
}

std::uint32_t group_rows(const ModelShape& shape, Group group) {
  switch (group) {
    case Group::qkv: return shape.q_size() + 2 * shape.kv_size();
    case Group::o:
    case Group::down: return shape.hidden;
    case Group::gate_up: return 2 * shape.ffn;
    case Group::output: return shape.vocabulary;
  }
  return 0;
}

std::uint32_t group_columns(const ModelShape& shape, Group group) {
  switch (group) {
    case Group::qkv:
    case Group::gate_up:
    case Group::output: return shape.hidden;
    case Group::o: return shape.q_size();
    case Group::down: return shape.ffn;
  }
  return 0;
}

}  // namespace npu::llm
