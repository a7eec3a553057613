// SPDX-License-Identifier: MIT
#include "llm-runtime/gguf.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "llm-runtime/dequantize.hpp"
#include "regdb/error.hpp"
#include "small_gguf.hpp"

namespace npu::llm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// The sentence of the error that `run` throws, which must be one of a bad file.
template <class Run>
std::string reason(Run&& run) {
  try {
    run();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_file);
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

TEST(Gguf, GivesBackWhatTheWriterWrote) {
  const auto bytes = small_gguf();
  const GgufFile file = GgufFile::parse(bytes, "small");
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(file.alignment(), 32u);
  EXPECT_EQ(file.keys().size(), 7u);
  EXPECT_EQ(file.get_string("general.architecture"), "qwen2");
  EXPECT_EQ(file.get_u32("qwen2.block_count"), 24u);
  EXPECT_EQ(file.get_f32("qwen2.rope.freq_base"), 1e6f);
  EXPECT_FALSE(file.get_bool("tokenizer.ggml.add_bos_token"));
  EXPECT_THAT(file.get_strings("tokenizer.ggml.tokens"), ElementsAre("a", "", "b c"));
  EXPECT_THAT(file.get_ints("tokenizer.ggml.token_type"), ElementsAre(1, -3, 1));
  EXPECT_THAT(file.get_floats("tokenizer.ggml.scores"), ElementsAre(0.5f, -1.5f));
  ASSERT_EQ(file.tensors().size(), 2u);
  const WeightView q = file.weight_view("blk.0.attn_q.weight", 2, 32);
  EXPECT_EQ(q.type, TensorType::q8_0);
  EXPECT_EQ(q.data[67], static_cast<std::byte>(67 * 7 & 255));
  const WeightView norm = file.weight_view("output_norm.weight");
  EXPECT_EQ(norm.rows, 1u);
  EXPECT_EQ(norm.columns, 8u);
  // 68 bytes of the first tensor are padded to 96.
  EXPECT_EQ(norm.data - q.data, 96);
}

TEST(Gguf, ErrorsNameTheKeyOrTensorAndWhatIsWrong) {
  const auto bytes = small_gguf();
  const GgufFile file = GgufFile::parse(bytes, "m.gguf");
  EXPECT_EQ(reason([&] { file.get_u32("qwen2.nothing"); }), "m.gguf: no metadata 'qwen2.nothing'");
  EXPECT_EQ(file.get_u32("qwen2.nothing", 7), 7u);
  EXPECT_EQ(file.get_string("nothing", "x"), "x");
  EXPECT_TRUE(file.get_bool("nothing", true));
  EXPECT_EQ(file.get_f32("nothing", 2.5f), 2.5f);
  EXPECT_EQ(reason([&] { file.get_u32("general.architecture", 1); }),
            "m.gguf: metadata 'general.architecture' is string, expected an integer");
  EXPECT_EQ(
      reason([&] { file.get_strings("tokenizer.ggml.scores"); }),
      "m.gguf: metadata 'tokenizer.ggml.scores' is array of f32, expected an array of strings");
  EXPECT_EQ(reason([&] { file.weight_view("output.weight"); }),
            "m.gguf: no tensor 'output.weight'");
  EXPECT_EQ(reason([&] { file.weight_view("output_norm.weight", 1, 9); }),
            "m.gguf: tensor 'output_norm.weight' has 1 rows of 8 values, expected 1 rows of 9");
}

TEST(Gguf, ReadsIntegersOfEveryTypeAndSaysWhenTheyDoNotFit) {
  Raw raw;
  raw.header(0, 10, 2);
  raw.entry("u8", MetaType::u8).number<std::uint8_t>(255);
  raw.entry("i8", MetaType::i8).number<std::int8_t>(-1);
  raw.entry("u16", MetaType::u16).number<std::uint16_t>(65535);
  raw.entry("i16", MetaType::i16).number<std::int16_t>(300);
  raw.entry("u32", MetaType::u32).number<std::uint32_t>(4294967295);
  raw.entry("i32", MetaType::i32).number<std::int32_t>(70000);
  raw.entry("u64", MetaType::u64).number<std::uint64_t>(4294967296);
  raw.entry("i64", MetaType::i64).number<std::int64_t>(4294967295);
  raw.entry("f64", MetaType::f64).number<double>(0.25);
  raw.entry("many", MetaType::array).u32(10).u64(2).u64(1).u64(std::uint64_t{1} << 63);
  const GgufFile file = GgufFile::parse(raw.bytes, "f");
  EXPECT_EQ(file.version(), 2u);
  EXPECT_EQ(file.get_u32("u8"), 255u);
  EXPECT_EQ(file.get_u32("u16"), 65535u);
  EXPECT_EQ(file.get_u32("i16"), 300u);
  EXPECT_EQ(file.get_u32("u32"), 4294967295u);
  EXPECT_EQ(file.get_u32("i32"), 70000u);
  EXPECT_EQ(file.get_u32("i64"), 4294967295u);
  EXPECT_EQ(file.get_f32("f64"), 0.25f);
  EXPECT_EQ(reason([&] { file.get_u32("i8"); }), "f: metadata 'i8' is -1, out of range");
  EXPECT_EQ(reason([&] { file.get_u32("u64"); }), "f: metadata 'u64' is 4294967296, out of range");
  EXPECT_EQ(reason([&] { file.get_u32("f64"); }), "f: metadata 'f64' is f64, expected an integer");
  EXPECT_EQ(reason([&] { file.get_ints("many"); }),
            "f: metadata 'many' holds 9223372036854775808, out of range");
}

TEST(Gguf, ReadsArraysInArrays) {
  Raw raw;
  raw.header(0, 1).entry("nested", MetaType::array).u32(9).u64(2);
  raw.u32(8).u64(2).text("x").text("yz");
  raw.u32(0).u64(3).number('\1').number('\2').number('\3');
  const GgufFile file = GgufFile::parse(raw.bytes, "f");
  const auto arrays = elements(*file.value("nested"));
  ASSERT_EQ(arrays.size(), 2u);
  const auto strings = elements(arrays[0]);
  ASSERT_EQ(strings.size(), 2u);
  EXPECT_EQ(strings[1].payload.size(), 2u);
  EXPECT_EQ(arrays[1].element_type, MetaType::u8);
  EXPECT_EQ(arrays[1].count, 3u);
  EXPECT_EQ(arrays[1].payload[2], std::byte{3});
}

TEST(Gguf, CopiesMetadataAndHonoursAnotherAlignment) {
  const auto bytes = small_gguf();
  const GgufFile file = GgufFile::parse(bytes, "small");
  GgufWriter writer(128);
  for (const std::string_view key : file.keys()) writer.put_value(key, *file.value(key));
  writer.add_vector("a", 1, TensorType::f32);
  writer.add_vector("b", 1, TensorType::f32);
  const auto copy_bytes =
      gguf_bytes(writer, [](const GgufWriter::Tensor& tensor, const TensorSink& sink) {
        sink(std::vector<std::byte>(tensor.bytes));
      });
  const GgufFile copy = GgufFile::parse(copy_bytes, "copy");
  EXPECT_EQ(copy.alignment(), 128u);
  EXPECT_EQ(copy.get_string("general.architecture"), "qwen2");
  EXPECT_THAT(copy.get_strings("tokenizer.ggml.tokens"), ElementsAre("a", "", "b c"));
  EXPECT_EQ(copy.find("b")->data - copy.find("a")->data, 128);
}

TEST(Gguf, WriterTakesExactlyTheBytesOfATensor) {
  GgufWriter writer;
  writer.add_vector("a", 4, TensorType::f32);
  EXPECT_THROW(gguf_bytes(writer, [](const auto&,
                                     const TensorSink& sink) { sink(std::vector<std::byte>(15)); }),
               Error);
  EXPECT_THROW(writer.add_vector("b", 33, TensorType::q8_0), Error);
}

TEST(Gguf, WritesAndMapsAFile) {
  const auto directory = std::filesystem::temp_directory_path() / "rosenblatt-gguf-test";
  std::filesystem::create_directories(directory);
  const std::string path = directory / "a.gguf";
  GgufWriter writer;
  writer.put_string("general.architecture", "qwen2");
  writer.add_matrix("w", 3, 2, TensorType::f32);
  const std::array<float, 6> values{1, 2, 3, 4, 5, 6};
  write_gguf(path, writer, [&](const auto&, const TensorSink& sink) {
    sink(std::as_bytes(std::span(values).first(2)));
    sink(std::as_bytes(std::span(values).subspan(2)));
  });
  EXPECT_FALSE(std::filesystem::exists(path + ".part"));
  const GgufFile file = GgufFile::open(path);
  file.advise(Advice::will_need);
  file.advise(Advice::dont_need, *file.find("w"));
  std::array<float, 2> row;
  dequantize_row(file.weight_view("w", 3, 2), 2, row);
  EXPECT_THAT(row, ElementsAre(5, 6));

  try {
    write_gguf(directory / "no" / "a.gguf", writer, {});
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::permission_denied);
    EXPECT_THAT(error.what(), HasSubstr("cannot be written: No such file or directory"));
  }
  EXPECT_THAT(reason([&] { GgufFile::open(directory / "b.gguf"); }),
              HasSubstr("b.gguf: No such file or directory"));
  EXPECT_THAT(reason([&] { GgufFile::open(directory); }), HasSubstr("not a regular file"));
  std::ofstream(directory / "empty.gguf").close();
  EXPECT_THAT(reason([&] { GgufFile::open(directory / "empty.gguf"); }), HasSubstr("is empty"));
  std::filesystem::remove_all(directory);
}

TEST(Gguf, ReadsAModelThatLlamaCppWrote) {
  const GgufFile file = GgufFile::open(ROSENBLATT_VECTORS_DIR "/llm/tinyA-Q4_K_M.gguf");
  EXPECT_EQ(file.get_string("general.architecture"), "qwen2");
  EXPECT_EQ(file.get_u32("qwen2.embedding_length"), 256u);
  EXPECT_EQ(file.get_strings("tokenizer.ggml.tokens").size(), 1024u);
  EXPECT_EQ(file.get_strings("tokenizer.ggml.merges").size(), 746u);
  EXPECT_EQ(file.tensors().size(), 26u);
  EXPECT_EQ(file.weight_view("token_embd.weight", 1024, 256).type, TensorType::q6_k);
  EXPECT_EQ(file.weight_view("blk.1.attn_q.bias").type, TensorType::f32);
  const WeightView q = file.weight_view("blk.0.attn_q.weight", 256, 256);
  EXPECT_EQ(q.type, TensorType::q4_k);
}

}  // namespace
}  // namespace npu::llm
