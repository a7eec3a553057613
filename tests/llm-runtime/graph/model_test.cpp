// SPDX-License-Identifier: MIT
// Files that are no usable Qwen2 model are refused, each for its own reason.
#include "llm-runtime/model.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "llm-runtime/gguf_writer.hpp"
#include "regdb/error.hpp"
#include "tiny_models.hpp"

namespace npu::llm {
namespace {

/// A copy of a good file with some metadata changed or left out and some tensors skipped or cut.
struct Change {
  std::string skip_key;
  std::function<void(GgufWriter&)> add;
  std::string skip_tensor, short_tensor;
};

class ModelTest : public testing::Test {
 protected:
  std::string refusal(const Change& change) {
    const GgufFile good = GgufFile::open(vector_path("tinyA-Q4_0.gguf"));
    GgufWriter writer;
    for (const std::string_view key : good.keys()) {
      if (key != change.skip_key) writer.put_value(key, *good.value(key));
    }
    if (change.add) change.add(writer);
    for (const TensorInfo& tensor : good.tensors()) {
      if (tensor.name == change.skip_tensor) continue;
      std::vector<std::uint64_t> dims(tensor.dims.begin(), tensor.dims.begin() + tensor.n_dims);
      if (tensor.name == change.short_tensor) dims.back() -= 32;
      writer.add_tensor(tensor.name, dims, *tensor_type(tensor.type_number));
    }
    write_gguf(path_, writer, [&](const GgufWriter::Tensor& tensor, const TensorSink& sink) {
      sink({good.find(tensor.name)->data, tensor.bytes});
    });
    try {
      Model::load(path_);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_file);
      return error.what();
    }
    return "none";
  }
  void TearDown() override { std::filesystem::remove(path_); }
  std::string path_ = testing::TempDir() + "/model_test_" + std::to_string(::getpid()) + ".gguf";
};

TEST_F(ModelTest, ReadsTheShape) {
  const Model model = tiny("Q4_K_M");
  const ModelShape& s = model.shape();
  EXPECT_EQ(s.layers, 2u);
  EXPECT_EQ(s.hidden, 256u);
  EXPECT_EQ(s.ffn, 512u);
  EXPECT_EQ(s.heads, 4u);
  EXPECT_EQ(s.kv_heads, 2u);
  EXPECT_EQ(s.head_size, 64u);
  EXPECT_EQ(s.vocabulary, 1024u);
  EXPECT_EQ(s.context, 512u);
  EXPECT_EQ(s.rope_base, 1e6f);
  EXPECT_TRUE(s.tied);
  EXPECT_EQ(model.output().data, model.embedding().data);
  EXPECT_EQ(model.layers().size(), 2u);
  // Embedding, output norm; of a layer: two norms, q, k, v with biases, o, gate, up, down.
  EXPECT_EQ(
      model.parameters(),
      1024u * 256 + 256 + 2 * (2 * 256 + 257 * 256 + 2 * 257 * 128 + 256 * 256 + 3 * 256 * 512));
}

TEST_F(ModelTest, AnUnchangedCopyLoads) { EXPECT_EQ(refusal({}), "none"); }

TEST_F(ModelTest, NamesWhatIsWrong) {
  using testing::AllOf;
  using testing::HasSubstr;
  auto with = [](const char* key, auto put) {
    return Change{.skip_key = key, .add = [=](GgufWriter& w) { put(w, key); }};
  };
  auto u32 = [&](const char* key, std::uint32_t value) {
    return with(key, [=](GgufWriter& w, const char* k) { w.put_u32(k, value); });
  };
  auto text = [&](const char* key, const char* value) {
    return with(key, [=](GgufWriter& w, const char* k) { w.put_string(k, value); });
  };
  EXPECT_THAT(refusal(text("general.architecture", "llama")),
              AllOf(HasSubstr("'llama'"), HasSubstr("qwen2")));
  EXPECT_THAT(refusal({.skip_key = "general.architecture"}), HasSubstr("general.architecture"));
  EXPECT_THAT(refusal({.skip_key = "qwen2.block_count"}), HasSubstr("qwen2.block_count"));
  EXPECT_THAT(refusal(u32("qwen2.block_count", 0)), HasSubstr("qwen2.block_count"));
  EXPECT_THAT(refusal(u32("qwen2.block_count", 3)), HasSubstr("blk.2."));
  EXPECT_THAT(refusal(u32("qwen2.block_count", 4000000000u)), HasSubstr("qwen2.block_count"));
  EXPECT_THAT(refusal(u32("qwen2.embedding_length", 512)), HasSubstr("token_embd.weight"));
  EXPECT_THAT(refusal(u32("qwen2.feed_forward_length", 256)), HasSubstr("ffn_gate.weight"));
  EXPECT_THAT(refusal(u32("qwen2.attention.head_count", 3)), HasSubstr("3 heads"));
  EXPECT_THAT(refusal(u32("qwen2.attention.head_count_kv", 3)), HasSubstr("3 KV heads"));
  EXPECT_THAT(refusal(u32("qwen2.attention.head_count_kv", 1)), HasSubstr("attn_k.weight"));
  EXPECT_THAT(refusal(u32("qwen2.attention.key_length", 4)), HasSubstr("multiple of 8"));
  EXPECT_THAT(refusal(u32("qwen2.rope.dimension_count", 32)), HasSubstr("RoPE"));
  EXPECT_THAT(refusal(text("qwen2.rope.scaling.type", "yarn")), HasSubstr("'yarn'"));
  EXPECT_THAT(
      refusal(with("qwen2.rope.freq_base", [](GgufWriter& w, const char* k) { w.put_f32(k, -1); })),
      HasSubstr("makes no sense"));
  EXPECT_THAT(refusal({.skip_tensor = "blk.1.ffn_down.weight"}),
              HasSubstr("blk.1.ffn_down.weight"));
  EXPECT_THAT(refusal({.skip_tensor = "output_norm.weight"}), HasSubstr("output_norm.weight"));
  EXPECT_THAT(refusal({.skip_tensor = "blk.0.attn_q.bias"}), HasSubstr("blk.0.attn_q.bias"));
  EXPECT_THAT(refusal({.short_tensor = "blk.0.attn_v.weight"}), HasSubstr("blk.0.attn_v.weight"));
  EXPECT_THAT(refusal({.short_tensor = "blk.0.attn_norm.weight"}),
              HasSubstr("blk.0.attn_norm.weight"));
}

}  // namespace
}  // namespace npu::llm
