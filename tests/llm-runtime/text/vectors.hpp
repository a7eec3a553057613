// SPDX-License-Identifier: MIT
// Qwen2.5's tokenizer and what llama.cpp makes of texts with it (tests/vectors/llm).
#pragma once

#include <zstd.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "llm-runtime/gguf.hpp"
#include "llm-runtime/tokenizer.hpp"

namespace npu::llm {

inline std::string read_vector(const std::string& name) {
  std::ifstream in(ROSENBLATT_VECTORS_DIR "/llm/" + name, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + name);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline nlohmann::json read_json_vector(const std::string& name) {
  return nlohmann::json::parse(read_vector(name));
}

/// The metadata of a Qwen2.5 model without its tensors.
inline const GgufFile& qwen_file() {
  static const std::vector<std::byte> bytes = [] {
    const std::string packed = read_vector("qwen2.5-vocab.gguf.zst");
    std::vector<std::byte> unpacked(ZSTD_getFrameContentSize(packed.data(), packed.size()));
    const std::size_t size =
        ZSTD_decompress(unpacked.data(), unpacked.size(), packed.data(), packed.size());
    if (ZSTD_isError(size) || size != unpacked.size()) throw std::runtime_error("bad vocabulary");
    return unpacked;
  }();
  static const GgufFile file = GgufFile::parse(bytes, "qwen2.5-vocab.gguf");
  return file;
}

inline const Tokenizer& qwen_tokenizer() {
  static const Tokenizer tokenizer(qwen_file());
  return tokenizer;
}

}  // namespace npu::llm
