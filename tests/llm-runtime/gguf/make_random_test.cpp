// SPDX-License-Identifier: MIT
#include "llm-runtime/make_random.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>

#include "llm-runtime/dequantize.hpp"
#include "llm-runtime/tokenizer.hpp"
#include "regdb/error.hpp"

namespace npu::llm {
namespace {

RandomModelOptions tiny(std::string_view type) {
  return {.shape = random_shape("tiny"), .type = file_type(type)};
}

std::vector<std::byte> bytes_of(const RandomModelOptions& options) {
  return gguf_bytes(random_model_header(options), [&](const auto& tensor, const TensorSink& sink) {
    random_tensor(options, tensor, sink);
  });
}

TEST(MakeRandom, GivesTensorsTheTypesThatLlamaQuantizeGivesThem) {
  // tinyA has the shape "tiny" and was quantised by llama-quantize.
  for (const char* type : {"Q4_K_M", "Q8_0", "Q4_0", "Q5_0"}) {
    const GgufFile file =
        GgufFile::open(ROSENBLATT_VECTORS_DIR "/llm/tinyA-" + std::string(type) + ".gguf");
    std::string name = type;
    for (char& c : name) c = static_cast<char>(std::tolower(c));
    const GgufWriter writer = random_model_header(tiny(name));
    ASSERT_EQ(writer.tensors().size(), file.tensors().size());
    for (const GgufWriter::Tensor& tensor : writer.tensors()) {
      const TensorInfo* theirs = file.find(tensor.name);
      ASSERT_NE(theirs, nullptr) << tensor.name;
      EXPECT_EQ(static_cast<std::uint32_t>(tensor.type), theirs->type_number)
          << type << " " << tensor.name;
      EXPECT_EQ(tensor.bytes, theirs->bytes) << tensor.name;
    }
    EXPECT_EQ(file.get_u32("general.file_type"), file_type(name).number);
  }
}

TEST(MakeRandom, MixesQ4KMOfTheTrueShapesAsTheRealFiles) {
  const auto counts = [](std::string_view shape) {
    std::map<TensorType, int> count;
    const RandomModelOptions options{.shape = random_shape(shape), .type = file_type("q4_k_m")};
    const auto writer = random_model_header(options);
    for (const auto& tensor : writer.tensors()) ++count[tensor.type];
    return count;
  };
  using enum TensorType;
  // The real 0.5B [llama.cpp]: 132 Q5_0, 13 Q8_0, 12 each of Q4_K and Q6_K.
  EXPECT_EQ(
      counts("qwen2.5-0.5b"),
      (std::map<TensorType, int>{{f32, 121}, {q5_0, 132}, {q8_0, 13}, {q4_k, 12}, {q6_k, 12}}));
  // llama-quantize of an F16 model of this shape: 168 Q4_K, 29 Q6_K.
  EXPECT_EQ(counts("qwen2.5-1.5b"),
            (std::map<TensorType, int>{{f32, 141}, {q4_k, 168}, {q6_k, 29}}));
  // Untied: the embedding stays Q4_K, the output matrix is Q6_K.
  const auto seven = counts("qwen2.5-7b");
  EXPECT_EQ(seven.at(q6_k), 29);
  EXPECT_EQ(seven.at(q4_k), 169);
}

TEST(MakeRandom, TheFileIsReadableAndItsWeightsAreSane) {
  for (const FileType& type : kFileTypes) {
    const auto bytes = bytes_of(tiny(type.name));
    const GgufFile file = GgufFile::parse(bytes, "random");
    const WeightView q = file.weight_view("blk.1.attn_q.weight", 256, 256);
    std::vector<float> row(256);
    double sum = 0, power = 0;
    for (std::uint32_t i = 0; i < q.rows; ++i) {
      dequantize_row(q, i, row);
      for (const float value : row) {
        ASSERT_TRUE(std::isfinite(value));
        sum += value;
        power += double{value} * value;
      }
    }
    // 65536 values of deviation 1/16; block scales vary by a quarter.
    EXPECT_NEAR(std::sqrt(power / 65536), 1.0 / 16, 0.1 / 16) << type.name;
    EXPECT_NEAR(sum / 65536, 0, 0.05 / 16) << type.name;
    const Tokenizer tokenizer(file);
    EXPECT_EQ(tokenizer.size(), 1024u);
    EXPECT_EQ(tokenizer.decode(tokenizer.encode("aä <|im_end|>", true), true), "aä <|im_end|>");
    EXPECT_TRUE(tokenizer.is_eog(*tokenizer.eos()));
  }
}

TEST(MakeRandom, TheSeedDecides) {
  RandomModelOptions options = tiny("q4_0");
  const auto first = bytes_of(options);
  EXPECT_EQ(bytes_of(options), first);
  options.seed = 2;
  EXPECT_NE(bytes_of(options), first);
}

TEST(MakeRandom, TakesAnotherTokenizerAndFillsItUp) {
  const GgufFile tiny_a = GgufFile::open(ROSENBLATT_VECTORS_DIR "/llm/tinyA-Q4_K_M.gguf");
  RandomModelOptions options{.shape = random_shape("tiny"), .type = file_type("q8_0")};
  options.tokenizer = &tiny_a;
  options.shape.vocabulary = 1100;
  const auto bytes = bytes_of(options);
  const GgufFile file = GgufFile::parse(bytes, "random");
  const Tokenizer theirs(tiny_a), ours(file);
  EXPECT_EQ(ours.size(), 1100u);
  EXPECT_EQ(ours.text(1099), "[PAD1099]");
  EXPECT_EQ(ours.encode("Hello, [PAD1099] world<|im_end|>", true),
            theirs.encode("Hello, [PAD1099] world<|im_end|>", true));
  EXPECT_EQ(file.get_string("tokenizer.chat_template"),
            tiny_a.get_string("tokenizer.chat_template"));
  options.shape.vocabulary = 1000;
  EXPECT_THROW(random_model_header(options), Error);
}

TEST(MakeRandom, WritesAFileAndSaysHowFarItIs) {
  const auto path = std::filesystem::temp_directory_path() / "rosenblatt-random-test.gguf";
  std::uint64_t last = 0, all = 0;
  make_random(tiny("q4_k_m"), path, [&](std::uint64_t done, std::uint64_t total) {
    EXPECT_GT(done, last);
    last = done;
    all = total;
  });
  EXPECT_LE(last, all);
  EXPECT_EQ(GgufFile::open(path).tensors().size(), 26u);
  std::filesystem::remove(path);
}

TEST(MakeRandom, NamesWhatThereIs) {
  EXPECT_THROW(random_shape("gpt-2"), Error);
  try {
    file_type("q3_k");
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "no file type 'q3_k'; there are f32, f16, q4_0, q8_0, q5_0, q4_k_m");
  }
}

}  // namespace
}  // namespace npu::llm
