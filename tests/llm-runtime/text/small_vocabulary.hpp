// SPDX-License-Identifier: MIT
// Tokenizers of a few tokens.
#pragma once

#include <string_view>
#include <vector>

#include "llm-runtime/gguf_writer.hpp"
#include "llm-runtime/tokenizer.hpp"

namespace npu::llm {

struct SmallVocabulary {
  std::vector<std::string_view> tokens;
  std::vector<std::string_view> merges;
  std::vector<std::int32_t> types = {};  ///< all normal if empty

  Tokenizer tokenizer() const {
    GgufWriter writer;
    put(writer);
    const auto bytes = gguf_bytes(writer, {});
    return Tokenizer(GgufFile::parse(bytes, "small"));
  }

  void put(GgufWriter& writer) const {
    writer.put_string("tokenizer.ggml.model", "gpt2");
    writer.put_string("tokenizer.ggml.pre", "qwen2");
    writer.put_strings("tokenizer.ggml.tokens", tokens);
    writer.put_strings("tokenizer.ggml.merges", merges);
    if (!types.empty()) writer.put_ints("tokenizer.ggml.token_type", types);
  }
};

}  // namespace npu::llm
