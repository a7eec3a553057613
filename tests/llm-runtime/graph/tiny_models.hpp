// SPDX-License-Identifier: MIT
// The reference models and what llama.cpp and a float64 forward pass say of them
// (tests/vectors/llm/README.md).
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "llm-runtime/model.hpp"

namespace npu::llm {

inline std::string vector_path(const std::string& name) {
  return std::string(ROSENBLATT_VECTORS_DIR) + "/llm/" + name;
}

inline Model tiny(const std::string& type) {
  return Model::load(vector_path("tinyA-" + type + ".gguf"));
}

inline const nlohmann::json& tiny_json() {
  static const nlohmann::json json =
      nlohmann::json::parse(std::ifstream(vector_path("tinyA.json")));
  return json;
}

inline std::vector<std::vector<std::int32_t>> tiny_prompts() {
  return tiny_json().at("prompts").get<std::vector<std::vector<std::int32_t>>>();
}

/// [34][1024]: all positions of the first three prompts.
inline std::vector<float> exact_logits(const std::string& type) {
  std::ifstream in(vector_path("tinyA-logits-" + type + "-exact.f32"), std::ios::binary);
  std::vector<float> values(34 * 1024);
  in.read(reinterpret_cast<char*>(values.data()),
          static_cast<std::streamsize>(values.size() * sizeof(float)));
  if (!in) throw std::runtime_error("no exact logits of " + type);
  return values;
}

}  // namespace npu::llm
