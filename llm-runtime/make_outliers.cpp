// SPDX-License-Identifier: MIT
#include "llm-runtime/make_outliers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "llm-runtime/dequantize.hpp"
#include "llm-runtime/gguf_writer.hpp"
#include "regdb/error.hpp"

namespace npu::llm {
namespace {

/// What each channel of an input is multiplied by: 1 or the factor, at channels that are the same
/// in every layer and spread by a multiplicative hash.
std::vector<float> channel_factors(std::uint32_t size, const OutlierOptions& options) {
  std::vector<float> factors(size, 1.0f);
  for (std::uint32_t i = 0; i < std::min(options.channels, size); ++i) {
    std::uint32_t channel = static_cast<std::uint32_t>((i + 1) * std::uint64_t{2654435769} % size);
    while (factors[channel] != 1) channel = (channel + 1) % size;
    factors[channel] = static_cast<float>(options.factor);
  }
  return factors;
}

/// What the rows of a tensor are multiplied by and its columns divided by; empty: nothing.
struct Scaling {
  std::vector<float> rows, columns;
};

class Outliers {
 public:
  Outliers(const ModelShape& shape, const OutlierOptions& options)
      : hidden_(channel_factors(shape.hidden, options)),
        ffn_(channel_factors(shape.ffn, options)),
        v_(channel_factors(shape.kv_size(), options)) {
    // A KV head serves several heads of queries, whose outputs stand one behind the other.
    const std::uint32_t served = shape.heads / shape.kv_heads;
    for (std::uint32_t head = 0; head < shape.heads; ++head) {
      const auto from = v_.begin() + std::ptrdiff_t{head / served} * shape.head_size;
      o_.insert(o_.end(), from, from + shape.head_size);
    }
  }

  /// Vectors are rows of one column each.
  Scaling of(std::string_view tensor) const {
    const auto is = [&](std::string_view end) { return tensor.ends_with(end); };
    if (is("_norm.weight")) return {hidden_, {}};
    if (is("attn_v.bias")) return {v_, {}};
    if (is("attn_v.weight")) return {v_, hidden_};
    if (is("attn_output.weight")) return {{}, o_};
    if (is("ffn_up.weight")) return {ffn_, hidden_};
    if (is("ffn_down.weight")) return {{}, ffn_};
    if (is("attn_q.weight") || is("attn_k.weight") || is("ffn_gate.weight") ||
        tensor == "output.weight") {
      return {{}, hidden_};
    }
    return {};
  }

 private:
  std::vector<float> hidden_, ffn_, v_, o_;
};

void check(const OutlierOptions& options) {
  if (!std::has_single_bit(options.factor) || options.factor > 65536) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("a factor of {} is not possible: use a power of two up to 65536",
                            options.factor));
  }
  if (options.channels == 0 || options.channels > 65536) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} channels are not possible: use 1 to 65536", options.channels));
  }
}

}  // namespace

void make_outliers(const Model& model, const OutlierOptions& options, const std::string& path) {
  check(options);
  const GgufFile& file = model.file();
  GgufWriter writer;
  for (const std::string_view key : file.keys()) {
    if (key == "general.file_type") {
      writer.put_u32(key, 0);  // all F32 [llama.h, llama_ftype]
    } else if (key != "general.alignment") {
      writer.put_value(key, *file.value(key));
    }
  }
  for (const TensorInfo& tensor : file.tensors()) {
    writer.add_tensor(tensor.name, std::span(tensor.dims).first(tensor.n_dims), TensorType::f32);
  }
  const ModelShape& shape = model.shape();
  if (shape.tied) {
    writer.add_matrix("output.weight", shape.vocabulary, shape.hidden, TensorType::f32);
  }
  const Outliers outliers(shape, options);
  write_gguf(path, writer, [&](const GgufWriter::Tensor& tensor, const TensorSink& sink) {
    const bool copy = shape.tied && tensor.name == "output.weight";
    const WeightView view = file.weight_view(copy ? "token_embd.weight" : tensor.name);
    const bool vector = tensor.dims.size() == 1;
    Scaling scaling = outliers.of(tensor.name);
    // A tensor that the model does not use may have any shape under such a name.
    if (scaling.rows.size() != (vector ? view.columns : view.rows)) scaling.rows.clear();
    if (scaling.columns.size() != view.columns) scaling.columns.clear();
    std::vector<float> row(view.columns);
    for (std::uint32_t r = 0; r < view.rows; ++r) {
      dequantize_row(view, r, row);
      for (std::uint32_t c = 0; c < view.columns; ++c) {
        if (!scaling.rows.empty()) row[c] *= scaling.rows[vector ? c : r];
        if (!scaling.columns.empty()) row[c] /= scaling.columns[c];
      }
      sink(std::as_bytes(std::span(row)));
    }
  });
}

}  // namespace npu::llm
