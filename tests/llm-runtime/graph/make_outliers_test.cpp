// SPDX-License-Identifier: MIT
#include "llm-runtime/make_outliers.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "llm-runtime/cpu_projector.hpp"
#include "llm-runtime/engine.hpp"
#include "llm-runtime/gguf_writer.hpp"
#include "llm-runtime/make_random.hpp"
#include "regdb/error.hpp"

namespace npu::llm {
namespace {

class MakeOutliers : public testing::Test {
 protected:
  std::string path(const std::string& name) {
    return testing::TempDir() + "/" + name + "_" + std::to_string(::getpid()) + ".gguf";
  }
  Model random_model(bool tied, std::string_view type) {
    RandomModelOptions options;
    options.shape = {"outliers", 96, 2, 6, 2, 160, 300, 64, tied};
    options.type = file_type(type);
    make_random(options, path("from"));
    return Model::load(path("from"));
  }
  void TearDown() override {
    std::filesystem::remove(path("from"));
    std::filesystem::remove(path("to"));
  }
};

std::vector<float> logits(const Model& model) {
  Engine engine(model, {.threads = 2, .context = 16, .exact = true});
  const std::vector<std::int32_t> tokens{3, 141, 59, 26, 5, 35};
  const auto result = engine.append(0, tokens);
  return {result.begin(), result.end()};
}

/// Channels far larger than the median, by the tensors that have some, of the last layer.
std::map<std::string, std::size_t> loud(const Model& model) {
  cpu::ThreadPool pool(1);
  KvStore cache(model.shape(), cpu::KvType::f32, 1, 16);
  CpuProjector projector(model, pool, true);
  Graph graph(model, pool, projector, cache);
  std::vector<BatchRow> rows;
  for (std::uint32_t i = 0; i < 8; ++i) rows.push_back({static_cast<int>(7 + 11 * i), 0, i, true});
  std::map<std::string, std::size_t> result;
  graph.evaluate(rows, [&](std::string_view name, std::uint32_t layer, const float* values,
                           std::size_t m, std::size_t columns) {
    if (name != "attn_norm" && name != "Vcur" && name != "kqv_out" && name != "ffn_norm" &&
        name != "ffn_up" && name != "result_norm") {
      return;
    }
    if (layer == 0 && name != "result_norm") return;
    std::vector<float> largest(columns);
    for (std::size_t i = 0; i < m * columns; ++i) {
      largest[i % columns] = std::max(largest[i % columns], std::fabs(values[i]));
    }
    std::vector<float> sorted = largest;
    std::ranges::sort(sorted);
    const auto count =
        std::ranges::count_if(largest, [&](float v) { return v > 8 * sorted[columns / 2]; });
    if (count != 0) result[std::string(name)] = static_cast<std::size_t>(count);
  });
  return result;
}

TEST_F(MakeOutliers, KeepsEveryBitOfTheLogits) {
  for (const bool tied : {false, true}) {
    for (const char* type : {"f16", "q8_0"}) {
      const Model from = random_model(tied, type);
      make_outliers(from, {.channels = 3, .factor = 128}, path("to"));
      const Model to = Model::load(path("to"));
      EXPECT_FALSE(to.shape().tied);
      EXPECT_EQ(to.file().get_u32("general.file_type"), 0u);
      EXPECT_EQ(to.file().get_strings("tokenizer.ggml.tokens"),
                from.file().get_strings("tokenizer.ggml.tokens"));
      EXPECT_EQ(logits(to), logits(from)) << type << (tied ? ", tied" : "");
    }
  }
}

TEST_F(MakeOutliers, EveryInputHasLargeChannels) {
  const Model from = random_model(true, "f16");
  make_outliers(from, {.channels = 3, .factor = 128}, path("to"));
  const Model to = Model::load(path("to"));
  EXPECT_EQ(loud(from), (std::map<std::string, std::size_t>{}));
  // Each channel of v comes out of the three heads that it serves.
  EXPECT_EQ(loud(to), (std::map<std::string, std::size_t>{{"attn_norm", 3},
                                                          {"Vcur", 3},
                                                          {"kqv_out", 9},
                                                          {"ffn_norm", 3},
                                                          {"ffn_up", 3},
                                                          {"result_norm", 3}}));
}

TEST_F(MakeOutliers, CopiesTensorsThatTheModelDoesNotUse) {
  const Model from = random_model(true, "f32");
  GgufWriter writer;
  for (const std::string_view key : from.file().keys())
    writer.put_value(key, *from.file().value(key));
  for (const TensorInfo& tensor : from.file().tensors()) {
    writer.add_tensor(tensor.name, std::span(tensor.dims).first(tensor.n_dims), TensorType::f32);
  }
  writer.add_matrix("blk.9.ffn_up.weight", 1000, 7, TensorType::f32);
  writer.add_vector("blk.9.attn_v.bias", 1000, TensorType::f32);
  write_gguf(path("more"), writer, [&](const GgufWriter::Tensor& tensor, const TensorSink& sink) {
    const TensorInfo* known = from.file().find(tensor.name);
    const std::vector<float> ones(tensor.bytes / 4, 1.0f);
    sink(known != nullptr ? std::span(known->data, known->bytes) : std::as_bytes(std::span(ones)));
  });
  const Model more = Model::load(path("more"));
  make_outliers(more, {}, path("to"));
  const Model to = Model::load(path("to"));
  EXPECT_EQ(logits(to), logits(from));
  for (const char* name : {"blk.9.ffn_up.weight", "blk.9.attn_v.bias"}) {
    const WeightView view = to.file().weight_view(name);
    const auto* values = reinterpret_cast<const float*>(view.data);
    for (std::size_t i = 0; i < std::size_t{view.rows} * view.columns; ++i) {
      ASSERT_EQ(values[i], 1) << name << " " << i;
    }
  }
  std::filesystem::remove(path("more"));
}

TEST_F(MakeOutliers, RefusesWhatIsNoPowerOfTwo) {
  const Model from = random_model(true, "f16");
  for (const std::uint32_t factor : {0u, 3u, 100u, 1u << 17}) {
    EXPECT_THROW(make_outliers(from, {.factor = factor}, path("to")), Error) << factor;
  }
  EXPECT_THROW(make_outliers(from, {.channels = 0}, path("to")), Error);
}

}  // namespace
}  // namespace npu::llm
