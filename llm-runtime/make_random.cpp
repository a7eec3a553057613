// SPDX-License-Identifier: MIT
#include "llm-runtime/make_random.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "llm-runtime/dequantize.hpp"
#include "llm-runtime/half.hpp"
#include "llm-runtime/pretokenize.hpp"
#include "regdb/error.hpp"

namespace npu::llm {
namespace {

/// splitmix64: a word in a nanosecond, good enough for weights that mean nothing.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t word() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  void fill(void* to, std::size_t bytes) {
    auto* out = static_cast<unsigned char*>(to);
    for (; bytes >= 8; bytes -= 8, out += 8) {
      const std::uint64_t value = word();
      std::memcpy(out, &value, 8);
    }
    const std::uint64_t value = word();
    std::memcpy(out, &value, bytes);
  }
  /// Nearly normal with deviation 1: the sum of four uniform numbers.
  float normal() {
    const std::uint64_t bits = word();
    std::int32_t sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<std::int32_t>(bits >> (16 * i) & 0xffff);
    return static_cast<float>(sum - 2 * 65535) * (1.0f / 37837.0f);
  }
  /// Within a quarter of `value`, of either sign.
  F16Bits scale(float value) {
    const std::uint64_t bits = word();
    const float factor = 0.75f + 0.5f * static_cast<float>(bits & 0xffff) / 65536.0f;
    return float_to_f16((bits >> 16 & 1) != 0 ? value * factor : -value * factor);
  }

 private:
  std::uint64_t state_;
};

// Blocks whose quants are random bits: with `deviation` d such that the weights have it.

void random_block(BlockQ4_0& block, Random& random, float deviation) {
  random.fill(block.qs, sizeof block.qs);
  block.d = random.scale(deviation / 4.6f);  // 16 equal steps: sqrt((16^2 - 1) / 12)
}
void random_block(BlockQ5_0& block, Random& random, float deviation) {
  random.fill(block.qs, sizeof block.qs);
  random.fill(block.qh, sizeof block.qh);
  block.d = random.scale(deviation / 9.2f);
}
void random_block(BlockQ8_0& block, Random& random, float deviation) {
  random.fill(block.qs, sizeof block.qs);
  for (std::int8_t& q : block.qs) q = std::max<std::int8_t>(q, -127);  // as a quantiser's
  block.d = random.scale(deviation / 73.5f);
}
void random_block(BlockQ4_K& block, Random& random, float deviation) {
  random.fill(block.qs, sizeof block.qs);
  std::array<ScaleMin, 8> groups;
  const std::uint64_t bits = random.word();
  for (std::size_t group = 0; group < 8; ++group) {
    const auto scale = static_cast<std::uint8_t>(32 + (bits >> (8 * group) & 31));
    groups[group] = {scale, scale};
  }
  pack_scale_min(block.scales, groups);
  // The minimum is 7.5 steps, so that the mean of a group is 0.
  const float d = deviation / (4.6f * 47.5f);
  block.d = float_to_f16(d);
  block.dmin = float_to_f16(d * 7.5f);
}
void random_block(BlockQ6_K& block, Random& random, float deviation) {
  random.fill(block.ql, sizeof block.ql);
  random.fill(block.qh, sizeof block.qh);
  random.fill(block.scales, sizeof block.scales);
  for (std::int8_t& scale : block.scales) {
    const int magnitude = 64 + (scale & 63);
    scale = static_cast<std::int8_t>((scale & 64) != 0 ? magnitude : -magnitude);
  }
  block.d = random.scale(deviation / (18.5f * 95.5f));
}

template <class Block>
void random_blocks(std::byte* to, std::size_t bytes, Random& random, float deviation) {
  auto* blocks = reinterpret_cast<Block*>(to);
  for (std::size_t i = 0; i < bytes / sizeof(Block); ++i)
    random_block(blocks[i], random, deviation);
}

void random_bytes(TensorType type, std::byte* to, std::size_t bytes, Random& random,
                  float deviation) {
  switch (type) {
    case TensorType::f32:
      for (std::size_t i = 0; i < bytes / 4; ++i)
        reinterpret_cast<float*>(to)[i] = random.normal() * deviation;
      break;
    case TensorType::f16:
      for (std::size_t i = 0; i < bytes / 2; ++i)
        reinterpret_cast<F16Bits*>(to)[i] = float_to_f16(random.normal() * deviation);
      break;
    case TensorType::q4_0: random_blocks<BlockQ4_0>(to, bytes, random, deviation); break;
    case TensorType::q5_0: random_blocks<BlockQ5_0>(to, bytes, random, deviation); break;
    case TensorType::q8_0: random_blocks<BlockQ8_0>(to, bytes, random, deviation); break;
    case TensorType::q4_k: random_blocks<BlockQ4_K>(to, bytes, random, deviation); break;
    case TensorType::q6_k: random_blocks<BlockQ6_K>(to, bytes, random, deviation); break;
    case TensorType::q5_k:
    case TensorType::bf16:
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("no random weights of type {}", to_string(type)));
  }
}

/// Which layers of Q4_K_M get more bits: the first and last eighth, and every third between
/// [llama-quant.cpp, use_more_bits].
bool use_more_bits(std::uint32_t layer, std::uint32_t layers) {
  const std::uint32_t eighth = layers / 8;
  return layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
}

/// "blk.12.attn_v.weight" -> 12.
std::uint32_t layer_of(std::string_view tensor) {
  std::uint32_t layer = 0;
  if (tensor.starts_with("blk."))
    std::from_chars(tensor.data() + 4, tensor.data() + tensor.size(), layer);
  return layer;
}

template <class Table>
const auto& named(const Table& table, std::string_view name, std::string_view what) {
  std::string names;
  for (const auto& entry : table) {
    if (entry.name == name) return entry;
    if (!names.empty()) names += ", ";
    names += entry.name;
  }
  throw Error(ErrorCode::invalid_argument,
              fmt::format("no {} '{}'; there are {}", what, name, names));
}

// Token types [llama.h, llama_token_type].
constexpr std::int32_t kNormal = 1, kControl = 3, kUnused = 5;

/// The bytes, fillers, and at the end (or where Qwen2.5 has them) the three tokens of ChatML.
void put_byte_tokenizer(GgufWriter& writer, std::uint32_t vocabulary) {
  const std::uint32_t first_control = vocabulary > 151646 ? 151643 : vocabulary - 3;
  std::vector<std::string> texts;
  std::vector<std::int32_t> types;
  static constexpr std::string_view kControls[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  std::uint32_t letter = 0;  // GPT-2's alphabet in the order of its letters
  for (std::uint32_t id = 0; id < vocabulary; ++id) {
    if (id < 256) {
      while (letter < 0x21 || (letter > 0x7e && letter < 0xa1) || letter == 0xad) ++letter;
      texts.emplace_back();
      append_utf8(texts.back(), letter++);
      types.push_back(kNormal);
    } else if (id >= first_control && id < first_control + 3) {
      texts.emplace_back(kControls[id - first_control]);
      types.push_back(kControl);
    } else {
      texts.push_back(fmt::format("[PAD{}]", id));
      types.push_back(kUnused);
    }
  }
  writer.put_string("tokenizer.ggml.model", "gpt2");
  writer.put_string("tokenizer.ggml.pre", "qwen2");
  writer.put_strings("tokenizer.ggml.tokens",
                     std::vector<std::string_view>(texts.begin(), texts.end()));
  writer.put_ints("tokenizer.ggml.token_type", types);
  writer.put_strings("tokenizer.ggml.merges", std::array<std::string_view, 1>{"a b"});
  writer.put_u32("tokenizer.ggml.bos_token_id", first_control);
  writer.put_u32("tokenizer.ggml.eos_token_id", first_control + 2);
  writer.put_u32("tokenizer.ggml.padding_token_id", first_control);
  writer.put_bool("tokenizer.ggml.add_bos_token", false);
}

/// Everything under "tokenizer." as it is, with fillers up to the size of the vocabulary.
void copy_tokenizer(GgufWriter& writer, const GgufFile& file, std::uint32_t vocabulary) {
  constexpr std::string_view kTokens = "tokenizer.ggml.tokens",
                             kTypes = "tokenizer.ggml.token_type";
  auto tokens = file.get_strings(kTokens);
  if (tokens.size() > vocabulary) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{}: {} tokens do not fit into this shape's vocabulary of {}",
                            file.path(), tokens.size(), vocabulary));
  }
  std::vector<std::int32_t> types(tokens.size(), kNormal);
  if (file.has(kTypes)) {
    const auto given = file.get_ints(kTypes);
    for (std::size_t i = 0; i < std::min(given.size(), types.size()); ++i)
      types[i] = static_cast<std::int32_t>(given[i]);
  }
  std::vector<std::string> fillers;
  for (auto id = static_cast<std::uint32_t>(tokens.size()); id < vocabulary; ++id)
    fillers.push_back(fmt::format("[PAD{}]", id));
  tokens.insert(tokens.end(), fillers.begin(), fillers.end());
  types.resize(vocabulary, kUnused);
  for (const std::string_view key : file.keys()) {
    if (!key.starts_with("tokenizer.")) continue;
    if (key == kTokens) {
      writer.put_strings(key, tokens);
    } else if (key != kTypes && key != "tokenizer.ggml.scores") {
      writer.put_value(key, *file.value(key));
    }
  }
  writer.put_ints(kTypes, types);
}

}  // namespace

const RandomShape& random_shape(std::string_view name) {
  return named(kRandomShapes, name, "shape");
}
const FileType& file_type(std::string_view name) { return named(kFileTypes, name, "file type"); }

TensorType tensor_type_for(const RandomShape& shape, const FileType& type,
                           std::string_view tensor) {
  const bool output = tensor == (shape.tied ? "token_embd.weight" : "output.weight");
  if (!tensor.ends_with(".weight") || tensor.ends_with("_norm.weight")) return TensorType::f32;
  if (type.weights == TensorType::f32 || type.weights == TensorType::f16) return type.weights;
  TensorType wanted = type.weights;
  const bool sensitive = tensor.ends_with("attn_v.weight") || tensor.ends_with("ffn_down.weight");
  if (output && wanted != TensorType::q8_0) {
    wanted = TensorType::q6_k;
  } else if (wanted == TensorType::q4_k && sensitive &&
             use_more_bits(layer_of(tensor), shape.layers)) {
    wanted = TensorType::q6_k;
  }
  const std::uint32_t columns = tensor.ends_with("ffn_down.weight") ? shape.ffn : shape.hidden;
  if (columns % kSuperBlock != 0) {
    if (wanted == TensorType::q6_k) return TensorType::q8_0;
    if (wanted == TensorType::q4_k) return TensorType::q5_0;
  }
  return wanted;
}

GgufWriter random_model_header(const RandomModelOptions& options) {
  const RandomShape& shape = options.shape;
  GgufWriter writer;
  writer.put_string("general.architecture", "qwen2");
  writer.put_string("general.type", "model");
  writer.put_string("general.name", fmt::format("random weights, {}", shape.name));
  writer.put_u32("general.file_type", options.type.number);
  writer.put_u32("general.quantization_version", 2);
  writer.put_u32("qwen2.block_count", shape.layers);
  writer.put_u32("qwen2.context_length", shape.context);
  writer.put_u32("qwen2.embedding_length", shape.hidden);
  writer.put_u32("qwen2.feed_forward_length", shape.ffn);
  writer.put_u32("qwen2.attention.head_count", shape.heads);
  writer.put_u32("qwen2.attention.head_count_kv", shape.kv_heads);
  writer.put_f32("qwen2.rope.freq_base", 1e6f);
  writer.put_f32("qwen2.attention.layer_norm_rms_epsilon", 1e-6f);
  if (options.tokenizer != nullptr) {
    copy_tokenizer(writer, *options.tokenizer, shape.vocabulary);
  } else {
    put_byte_tokenizer(writer, shape.vocabulary);
  }

  const auto matrix = [&](const std::string& name, std::uint32_t rows, std::uint32_t columns) {
    writer.add_matrix(name, rows, columns, tensor_type_for(shape, options.type, name));
  };
  const auto vector = [&](const std::string& name, std::uint32_t values) {
    writer.add_vector(name, values, TensorType::f32);
  };
  const std::uint32_t kv = shape.hidden / shape.heads * shape.kv_heads;
  matrix("token_embd.weight", shape.vocabulary, shape.hidden);
  for (std::uint32_t layer = 0; layer < shape.layers; ++layer) {
    const std::string name = fmt::format("blk.{}.", layer);
    vector(name + "attn_norm.weight", shape.hidden);
    matrix(name + "ffn_down.weight", shape.hidden, shape.ffn);
    matrix(name + "ffn_gate.weight", shape.ffn, shape.hidden);
    matrix(name + "ffn_up.weight", shape.ffn, shape.hidden);
    vector(name + "ffn_norm.weight", shape.hidden);
    vector(name + "attn_k.bias", kv);
    matrix(name + "attn_k.weight", kv, shape.hidden);
    matrix(name + "attn_output.weight", shape.hidden, shape.hidden);
    vector(name + "attn_q.bias", shape.hidden);
    matrix(name + "attn_q.weight", shape.hidden, shape.hidden);
    vector(name + "attn_v.bias", kv);
    matrix(name + "attn_v.weight", kv, shape.hidden);
  }
  vector("output_norm.weight", shape.hidden);
  if (!shape.tied) matrix("output.weight", shape.vocabulary, shape.hidden);
  return writer;
}

void random_tensor(const RandomModelOptions& options, const GgufWriter::Tensor& tensor,
                   const TensorSink& sink) {
  std::uint64_t seed = 0xcbf29ce484222325 ^ options.seed;  // FNV-1a of the name
  for (const char c : tensor.name) seed = (seed ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  Random random(seed);
  if (tensor.name.ends_with("_norm.weight")) {
    std::vector<float> values(tensor.bytes / 4);
    for (float& value : values) value = 1.0f + 0.1f * random.normal();
    return sink(std::as_bytes(std::span(values)));
  }
  // Rows whose product with normalised activations has the size of these; small embeddings.
  float deviation = 1.0f / std::sqrt(static_cast<float>(tensor.dims[0]));
  if (tensor.name == "token_embd.weight") deviation = 0.02f;
  if (tensor.name.ends_with(".bias")) deviation = 0.1f;
  const std::size_t row = row_bytes(tensor.type, tensor.dims[0]);
  const std::size_t rows = tensor.bytes / row;
  const std::size_t at_once = std::clamp<std::size_t>((1 << 20) / row, 1, rows);
  std::vector<std::byte> bytes(at_once * row);
  for (std::size_t done = 0; done < rows; done += at_once) {
    const std::size_t size = std::min(at_once, rows - done) * row;
    random_bytes(tensor.type, bytes.data(), size, random, deviation);
    sink(std::span(bytes).first(size));
  }
}

void make_random(const RandomModelOptions& options, const std::string& path,
                 const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  const GgufWriter writer = random_model_header(options);
  std::uint64_t written = 0;
  write_gguf(path, writer, [&](const GgufWriter::Tensor& tensor, const TensorSink& sink) {
    random_tensor(options, tensor, [&](std::span<const std::byte> bytes) {
      sink(bytes);
      written += bytes.size();
      if (progress) progress(written, writer.data_bytes());
    });
  });
}

}  // namespace npu::llm
