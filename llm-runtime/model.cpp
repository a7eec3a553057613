// SPDX-License-Identifier: MIT
#include "llm-runtime/model.hpp"

#include <fmt/format.h>

#include <cmath>
#include <map>

#include "llm-runtime/dequantize.hpp"
#include "regdb/error.hpp"

namespace npu::llm {
namespace {

[[noreturn]] void bad(const std::string& message) { throw Error(ErrorCode::bad_file, message); }

// Far above any Qwen2; keeps products of sizes inside 64 bits and buffers inside memory.
constexpr std::uint32_t kMaxSize = 1u << 20, kMaxLayers = 1024, kMaxVocabulary = 1u << 22;

std::uint32_t size(const GgufFile& file, const std::string& key, std::uint32_t limit) {
  const std::uint32_t value = file.get_u32(key);
  if (value == 0 || value > limit) {
    bad(fmt::format("{}: {} is {}; 1 to {} can be used", file.path(), key, value, limit));
  }
  return value;
}

ModelShape read_shape(const GgufFile& file) {
  const std::string_view architecture = file.get_string("general.architecture");
  if (architecture != "qwen2") {
    bad(fmt::format("{}: the architecture is '{}'; this runtime knows qwen2 (Qwen2 and Qwen2.5)",
                    file.path(), architecture));
  }
  ModelShape s;
  s.layers = size(file, "qwen2.block_count", kMaxLayers);
  s.hidden = size(file, "qwen2.embedding_length", kMaxSize);
  s.ffn = size(file, "qwen2.feed_forward_length", kMaxSize);
  s.heads = size(file, "qwen2.attention.head_count", kMaxSize);
  s.kv_heads = file.has("qwen2.attention.head_count_kv")
                   ? size(file, "qwen2.attention.head_count_kv", kMaxSize)
                   : s.heads;
  s.context = size(file, "qwen2.context_length", 1u << 30);
  if (file.has("qwen2.attention.key_length")) {
    s.head_size = size(file, "qwen2.attention.key_length", kMaxSize);
  } else {
    if (s.hidden % s.heads != 0) {
      bad(fmt::format("{}: {} heads do not divide a hidden size of {}", file.path(), s.heads,
                      s.hidden));
    }
    s.head_size = s.hidden / s.heads;
  }
  if (s.heads % s.kv_heads != 0) {
    bad(fmt::format("{}: {} KV heads cannot serve {} heads evenly", file.path(), s.kv_heads,
                    s.heads));
  }
  if (s.head_size % 8 != 0) {
    bad(fmt::format("{}: a head size of {} is no multiple of 8", file.path(), s.head_size));
  }
  if (std::uint64_t{s.heads} * s.head_size > kMaxSize) {
    bad(fmt::format("{}: {} heads of {} are too many", file.path(), s.heads, s.head_size));
  }
  if (file.get_u32("qwen2.rope.dimension_count", s.head_size) != s.head_size) {
    bad(fmt::format("{}: RoPE over a part of the head is not supported", file.path()));
  }
  const std::string_view scaling = file.get_string("qwen2.rope.scaling.type", "none");
  if (scaling != "none") {
    bad(fmt::format("{}: RoPE scaling '{}' is not supported: use a file without it", file.path(),
                    scaling));
  }
  s.rms_epsilon = file.get_f32("qwen2.attention.layer_norm_rms_epsilon");
  s.rope_base = file.has("qwen2.rope.freq_base") ? file.get_f32("qwen2.rope.freq_base") : 10000.0f;
  if (!(s.rms_epsilon >= 0 && s.rms_epsilon < 1) || !(s.rope_base > 1 && s.rope_base < 1e12f)) {
    bad(fmt::format("{}: an epsilon of {} or a RoPE base of {} makes no sense", file.path(),
                    s.rms_epsilon, s.rope_base));
  }
  return s;
}

std::vector<float> vector(const GgufFile& file, const std::string& name, std::uint32_t columns) {
  const WeightView view = file.weight_view(name, 1, columns);
  std::vector<float> values(columns);
  dequantize_row(view, 0, values);
  return values;
}

}  // namespace

Model Model::load(const std::filesystem::path& path) {
  Model model(GgufFile::open(path.string()));
  const GgufFile& file = model.file_;
  ModelShape& s = model.shape_ = read_shape(file);
  model.name_ = file.get_string("general.name", path.stem().string());

  const WeightView embedding = file.weight_view("token_embd.weight");
  s.vocabulary = embedding.rows;
  if (s.vocabulary == 0 || s.vocabulary > kMaxVocabulary) {
    bad(fmt::format("{}: token_embd.weight has {} rows", file.path(), s.vocabulary));
  }
  model.embedding_ = file.weight_view("token_embd.weight", s.vocabulary, s.hidden);
  s.tied = file.find("output.weight") == nullptr;
  model.output_ =
      s.tied ? model.embedding_ : file.weight_view("output.weight", s.vocabulary, s.hidden);
  model.output_norm_ = vector(file, "output_norm.weight", s.hidden);

  for (std::uint32_t i = 0; i < s.layers; ++i) {
    const std::string prefix = fmt::format("blk.{}.", i);
    auto get = [&](const char* name, std::uint32_t rows, std::uint32_t columns) {
      return file.weight_view(prefix + name + ".weight", rows, columns);
    };
    auto get_vector = [&](const char* name, std::uint32_t columns) {
      return vector(file, prefix + name, columns);
    };
    LayerWeights& layer = model.layers_.emplace_back();
    layer.q = get("attn_q", s.q_size(), s.hidden);
    layer.k = get("attn_k", s.kv_size(), s.hidden);
    layer.v = get("attn_v", s.kv_size(), s.hidden);
    layer.o = get("attn_output", s.hidden, s.q_size());
    layer.gate = get("ffn_gate", s.ffn, s.hidden);
    layer.up = get("ffn_up", s.ffn, s.hidden);
    layer.down = get("ffn_down", s.hidden, s.ffn);
    layer.attn_norm = get_vector("attn_norm.weight", s.hidden);
    layer.ffn_norm = get_vector("ffn_norm.weight", s.hidden);
    layer.q_bias = get_vector("attn_q.bias", s.q_size());
    layer.k_bias = get_vector("attn_k.bias", s.kv_size());
    layer.v_bias = get_vector("attn_v.bias", s.kv_size());
  }
  return model;
}

TensorType Model::main_type() const {
  std::map<TensorType, std::uint64_t> bytes;
  for (const TensorInfo& tensor : file_.tensors()) {
    if (const auto type = tensor_type(tensor.type_number)) bytes[*type] += tensor.bytes;
  }
  TensorType best = TensorType::f32;
  for (const auto& [type, sum] : bytes) {
    if (sum > bytes[best]) best = type;
  }
  return best;
}

std::uint64_t Model::weight_bytes() const {
  std::uint64_t sum = 0;
  for (const TensorInfo& tensor : file_.tensors()) sum += tensor.bytes;
  return sum;
}

std::uint64_t Model::parameters() const {
  const ModelShape& s = shape_;
  const std::uint64_t attention = (std::uint64_t{s.hidden} + 1) * (s.q_size() + 2 * s.kv_size()) +
                                  std::uint64_t{s.q_size()} * s.hidden;
  const std::uint64_t ffn = 3 * std::uint64_t{s.ffn} * s.hidden;
  return s.layers * (attention + ffn + 2 * s.hidden) + s.hidden +
         (s.tied ? 1 : 2) * std::uint64_t{s.vocabulary} * s.hidden;
}

}  // namespace npu::llm
