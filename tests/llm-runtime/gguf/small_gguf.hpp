// SPDX-License-Identifier: MIT
// A small file with a value of each kind, and bytes that lie as a mapped file's would.
#pragma once

#include <array>
#include <cstring>
#include <numeric>
#include <string_view>
#include <vector>

#include "llm-runtime/gguf_writer.hpp"

namespace npu::llm {

inline std::vector<std::byte> small_gguf() {
  GgufWriter writer;
  writer.put_string("general.architecture", "qwen2");
  writer.put_u32("qwen2.block_count", 24);
  writer.put_f32("qwen2.rope.freq_base", 1e6f);
  writer.put_bool("tokenizer.ggml.add_bos_token", false);
  const std::array<std::string_view, 3> tokens{"a", "", "b c"};
  writer.put_strings("tokenizer.ggml.tokens", tokens);
  const std::array<std::int32_t, 3> types{1, -3, 1};
  writer.put_ints("tokenizer.ggml.token_type", types);
  const std::array<float, 2> scores{0.5f, -1.5f};
  writer.put_floats("tokenizer.ggml.scores", scores);
  writer.add_matrix("blk.0.attn_q.weight", 2, 32, TensorType::q8_0);
  writer.add_vector("output_norm.weight", 8, TensorType::f32);
  return gguf_bytes(writer, [](const GgufWriter::Tensor& tensor, const TensorSink& sink) {
    std::vector<std::byte> bytes(tensor.bytes);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7);
    sink(bytes);
  });
}

/// Writes bytes in the order of the file, for files that the writer would not write.
struct Raw {
  std::vector<std::byte> bytes;

  template <class T>
  Raw& number(T value) {
    const auto at = bytes.size();
    bytes.resize(at + sizeof value);
    std::memcpy(bytes.data() + at, &value, sizeof value);
    return *this;
  }
  Raw& u32(std::uint32_t value) { return number(value); }
  Raw& u64(std::uint64_t value) { return number(value); }
  Raw& text(std::string_view value) {
    u64(value.size());
    for (const char c : value) number(c);
    return *this;
  }
  Raw& header(std::uint64_t tensors, std::uint64_t entries, std::uint32_t version = 3) {
    return u32(0x46554747).u32(version).u64(tensors).u64(entries);
  }
  Raw& entry(std::string_view key, MetaType type) {
    return text(key).u32(static_cast<std::uint32_t>(type));
  }
  Raw& tensor(std::string_view name, std::vector<std::uint64_t> dims, std::uint32_t type,
              std::uint64_t offset) {
    text(name).u32(static_cast<std::uint32_t>(dims.size()));
    for (const std::uint64_t size : dims) u64(size);
    return u32(type).u64(offset);
  }
  Raw& data(std::size_t count) {
    while (bytes.size() % 32 != 0) number('\0');
    for (std::size_t i = 0; i < count; ++i) number('\x55');
    return *this;
  }
};

}  // namespace npu::llm
