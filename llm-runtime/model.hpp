// SPDX-License-Identifier: MIT
// A Qwen2 model as its GGUF file holds it: shape, weights where they lie, tokenizer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "llm-runtime/gguf.hpp"
#include "llm-runtime/tensor_type.hpp"

namespace npu::llm {

/// The hyperparameters of architecture `qwen2` [llama.cpp, llama-arch: LLM_ARCH_QWEN2].
struct ModelShape {
  std::uint32_t layers = 0;
  std::uint32_t hidden = 0;      ///< embedding_length
  std::uint32_t ffn = 0;         ///< feed_forward_length
  std::uint32_t heads = 0;       ///< of queries
  std::uint32_t kv_heads = 0;    ///< each serves heads / kv_heads queries
  std::uint32_t head_size = 0;   ///< hidden / heads unless the file says otherwise
  std::uint32_t vocabulary = 0;  ///< rows of token_embd
  std::uint32_t context = 0;     ///< tokens that the model was trained for
  float rms_epsilon = 0;
  float rope_base = 0;
  bool tied = false;  ///< token_embd serves as the output matrix too

  std::uint32_t q_size() const { return heads * head_size; }
  std::uint32_t kv_size() const { return kv_heads * head_size; }
};

/// Matrices as [outputs][inputs].
struct LayerWeights {
  WeightView q, k, v;                         ///< [q_size | kv_size][hidden]
  WeightView o;                               ///< [hidden][q_size]
  WeightView gate, up;                        ///< [ffn][hidden]
  WeightView down;                            ///< [hidden][ffn]
  std::vector<float> attn_norm, ffn_norm;     ///< [hidden]
  std::vector<float> q_bias, k_bias, v_bias;  ///< [q_size | kv_size]
};

class Model {
 public:
  /// Throws bad_file for a file that is no GGUF, another architecture, a missing tensor, one of
  /// another shape or of a type that this runtime does not read: each by its name.
  static Model load(const std::filesystem::path& path);

  const ModelShape& shape() const { return shape_; }
  const std::vector<LayerWeights>& layers() const { return layers_; }
  const WeightView& embedding() const { return embedding_; }  ///< [vocabulary][hidden]
  const WeightView& output() const { return output_; }        ///< [vocabulary][hidden]
  const std::vector<float>& output_norm() const { return output_norm_; }

  const GgufFile& file() const { return file_; }
  const std::string& name() const { return name_; }  ///< general.name, or the file's
  /// The type that most of the weights' bytes have: "Q4_K".
  TensorType main_type() const;
  std::uint64_t weight_bytes() const;  ///< of all tensors
  std::uint64_t parameters() const;

 private:
  explicit Model(GgufFile file) : file_(std::move(file)) {}

  GgufFile file_;
  std::string name_;
  ModelShape shape_;
  std::vector<LayerWeights> layers_;
  WeightView embedding_, output_;
  std::vector<float> output_norm_;
};

}  // namespace npu::llm
