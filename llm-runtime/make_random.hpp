// SPDX-License-Identifier: MIT
// Models of the true shapes with random weights: as large and as fast as the real ones, no wiser.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "llm-runtime/gguf_writer.hpp"

namespace npu::llm {

struct RandomShape {
  std::string_view name;
  std::uint32_t hidden, layers, heads, kv_heads, ffn, vocabulary, context;
  bool tied;  ///< the embedding is the output matrix too
};

/// [config.json of Qwen2.5-0.5B/1.5B/3B/7B-Instruct]; rope theta 1e6 and RMS epsilon 1e-6 in all.
inline constexpr RandomShape kRandomShapes[] = {
    {"qwen2.5-0.5b", 896, 24, 14, 2, 4864, 151936, 32768, true},
    {"qwen2.5-1.5b", 1536, 28, 12, 2, 8960, 151936, 32768, true},
    {"qwen2.5-3b", 2048, 36, 16, 2, 11008, 151936, 32768, true},
    {"qwen2.5-7b", 3584, 28, 28, 4, 18944, 152064, 32768, false},
    {"tiny", 256, 2, 4, 2, 512, 1024, 512, true},
};

/// What llama-quantize calls a file type; `number` is general.file_type [llama.h, llama_ftype].
struct FileType {
  std::string_view name;
  std::uint32_t number;
  TensorType weights;  ///< most of the matrices
};
inline constexpr FileType kFileTypes[] = {
    {"f32", 0, TensorType::f32},   {"f16", 1, TensorType::f16},   {"q4_0", 2, TensorType::q4_0},
    {"q8_0", 7, TensorType::q8_0}, {"q5_0", 8, TensorType::q5_0}, {"q4_k_m", 15, TensorType::q4_k},
};

/// Throw Error(invalid_argument) that lists the names for any other.
const RandomShape& random_shape(std::string_view name);
const FileType& file_type(std::string_view name);

/// The type that llama-quantize gives a tensor: vectors stay F32; of a quantised file the output
/// matrix becomes Q6_K (Q8_0 in a Q8_0 file), and in Q4_K_M so do attn_v and ffn_down of half of
/// the layers; where rows are no multiple of 256, Q5_0 stands for Q4_K and Q8_0 for Q6_K
/// [llama-quant.cpp].
TensorType tensor_type_for(const RandomShape& shape, const FileType& type, std::string_view tensor);

struct RandomModelOptions {
  RandomShape shape;
  FileType type;
  std::uint64_t seed = 1;
  const GgufFile* tokenizer = nullptr;  ///< whose tokenizer and template; else bytes and fillers
};

/// The header: metadata, and the tensors in the order of llama.cpp's converter. Throws
/// Error(invalid_argument) if the tokenizer has more tokens than the shape.
GgufWriter random_model_header(const RandomModelOptions& options);

/// Gives the data of one tensor: depends on the seed, the tensor's name and its type only.
void random_tensor(const RandomModelOptions& options, const GgufWriter::Tensor& tensor,
                   const TensorSink& sink);

/// Writes the file; `progress` gets the bytes of data written and the total, if given.
void make_random(const RandomModelOptions& options, const std::string& path,
                 const std::function<void(std::uint64_t, std::uint64_t)>& progress = {});

}  // namespace npu::llm
