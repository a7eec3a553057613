// SPDX-License-Identifier: MIT
#include "regdb/decoder.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>

#include "regdb/error.hpp"

namespace npu::regdb {
namespace {

using nlohmann::json;

std::vector<std::uint64_t> words_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  return parse_regcmd_bytes(std::as_bytes(std::span(bytes)));
}

TEST(Decoder, LinesOfAPublicProgramReadLikeThis) {
  EXPECT_EQ(to_text(decode(0x0201001c001c1020)),
            "CNA.DATA_SIZE0 = 0x001c001c  datain_width=28 datain_height=28");
  EXPECT_EQ(to_text(decode(0x1001904202c04070)),
            "DPU.EW_CFG = 0x904202c0  ew_cvt_type=ADD_FIRST ew_data_mode=PER_PIXEL "
            "edata_size=BITS_8 ew_alu_algo=ADD ew_relu_bypass=1 ew_lut_bypass=1 ew_op_src=MEMORY "
            "ew_op_type=ALU");
  EXPECT_EQ(to_text(decode(0x1001fffffff64080)),
            "DPU.OUT_CVT_OFFSET = 0xfffffff6  out_cvt_offset=-10");
  EXPECT_EQ(to_text(decode(0x00810000001d0008)),
            "ENABLE.OPERATION_ENABLE = 0x0000001d  dpu_rdma_op_en=1 dpu_op_en=1 core_op_en=1 "
            "cna_op_en=1");
  EXPECT_EQ(to_text(decode(0)), "EMPTY");
  EXPECT_EQ(to_text(decode(0x0041000000000000)), "MARKER");
}

TEST(Decoder, UnknownTargetsAndRegistersAreShownWithTheirNumbers) {
  EXPECT_EQ(to_text(decode(0x0401123456782004)), "0x0401.0x2004 = 0x12345678");
  EXPECT_EQ(to_text(decode(0x0201000000051ffc)), "CNA.0x1ffc = 0x00000005");
  EXPECT_EQ(decode(0x0201000000051ffc).reg, nullptr);
}

TEST(Decoder, EveryWordOfEveryPublicStreamIsNamed) {
  int streams = 0;
  for (const auto& entry : std::filesystem::directory_iterator(ROSENBLATT_VECTORS_DIR "/mesa")) {
    const auto path = entry.path() / "regcmd.bin";
    if (!std::filesystem::exists(path)) continue;
    ++streams;
    for (const std::uint64_t word : words_of(path)) {
      const DecodedWord d = decode(word);
      EXPECT_TRUE(d.reg != nullptr || d.block == "EMPTY" || d.block == "MARKER")
          << path << " " << to_text(d);
    }
  }
  EXPECT_GE(streams, 14);
}

void expect_round_trip(std::uint64_t word) {
  // Through text, with each redundant part left out in turn.
  const json full = json::parse(to_json(decode(word), 3).dump());
  EXPECT_EQ(word_from_json(full, 3), word);
  json without_word = full;
  without_word.erase("word");
  EXPECT_EQ(word_from_json(without_word, 3), word) << full;
  json numbers = {{"target", full["target"]}, {"offset", full["offset"]}, {"value", full["value"]}};
  EXPECT_EQ(word_from_json(numbers, 3), word);
  json fields_only = {
      {"target", full["target"]}, {"offset", full["offset"]}, {"value", full["value"]}};
  json named = {{"block", full["block"]}, {"register", full["register"]}};
  if (full.contains("fields")) {
    fields_only.erase("value");
    fields_only["fields"] = named["fields"] = full["fields"];
  } else {
    named["value"] = full["value"];
  }
  EXPECT_EQ(word_from_json(fields_only, 3), word) << full;
  // The name of the enable word and of the others that carry no register says no offset.
  if (full["block"] == "ENABLE") named["offset"] = full["offset"];
  EXPECT_EQ(word_from_json(named, 3), word) << full;
}

TEST(Decoder, PublicStreamsSurviveJson) {
  for (const auto& entry : std::filesystem::directory_iterator(ROSENBLATT_VECTORS_DIR "/mesa")) {
    const auto path = entry.path() / "regcmd.bin";
    if (!std::filesystem::exists(path)) continue;
    for (const std::uint64_t word : words_of(path)) expect_round_trip(word);
  }
}

TEST(Decoder, EveryRegisterWithAnyValueSurvivesJson) {
  std::mt19937 rng(3);
  for (const RegisterInfo& r : registers()) {
    if (target_of(r.block) == Target::none) continue;
    for (int i = 0; i < 20; ++i)
      expect_round_trip(Regcmd{static_cast<std::uint16_t>(target_of(r.block)),
                               static_cast<std::uint32_t>(rng()), r.offset}
                            .pack());
  }
}

TEST(Decoder, AnyWordSurvivesJson) {
  std::mt19937_64 rng(4);
  for (int i = 0; i < 20000; ++i) expect_round_trip(rng());
  expect_round_trip(0x0000000000000001);
  expect_round_trip(0x0041000000010002);
  expect_round_trip(0x0081FFFFFFFFFFFF);
}

std::string refusal(const char* text) {
  try {
    (void)word_from_json(json::parse(text), 9);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_file);
    return error.what();
  }
  return "accepted";
}

TEST(Decoder, ControlWordsNeedOnlyTheirNames) {
  EXPECT_EQ(word_from_json(json{{"block", "EMPTY"}}, 0), 0u);
  EXPECT_EQ(word_from_json(json{{"block", "MARKER"}}, 0), 0x0041000000000000u);
  EXPECT_EQ(word_from_json(json::parse(R"({"block":"ENABLE","fields":{"CNA_OP_EN":1,
      "CORE_OP_EN":true,"DPU_OP_EN":1}})"),
                           0),
            0x00810000000d0008u);
}

TEST(Decoder, FieldsThatAreLeftOutAreZeroAndCountsOne) {
  EXPECT_EQ(word_from_json(json::parse(R"({"block":"DPU","register":"WDMA_SIZE_1","fields":{
      "WIDTH_WDMA":8192}})"),
                           0),
            0x100100001fff405cu);
}

TEST(Decoder, ContradictionsInJsonAreRefused) {
  EXPECT_EQ(refusal("[]"), "word 9: not a JSON object");
  EXPECT_NE(refusal(R"({"block":"CNA"})").find("needs"), std::string::npos);
  EXPECT_NE(refusal(R"({"block":"XYZ","register":"A","fields":{}})").find("no block named"),
            std::string::npos);
  EXPECT_NE(
      refusal(R"({"block":"CNA","register":"DATA_SIZE0","value":1,"fields":{"DATAIN_WIDTH":7}})")
          .find("contradicts"),
      std::string::npos);
  EXPECT_NE(refusal(R"({"block":"CNA","register":"DATA_SIZE0","fields":{"DATAIN_WIDTH":2048}})")
                .find("does not fit"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"block":"CNA","register":"DATA_SIZE0","fields":{"NO_SUCH":1}})")
                .find("names a field"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"block":"DPU","register":"DATA_FORMAT","fields":{"IN_PRECISION":"INT99"}})")
                .find("no value named"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"word":"0x0201001c001c1020","target":"0x0801"})").find("contradicts"),
            std::string::npos);
  // Names and fields are checked however the register was given.
  EXPECT_NE(refusal(R"({"word":"0x0201001c001c1020","fields":{"DATAIN_WIDTH":7}})")
                .find("contradicts \"fields\""),
            std::string::npos);
  EXPECT_NE(
      refusal(R"({"target":"0x0201","offset":"0x1020","value":1,"fields":{"DATAIN_WIDTH":7}})")
          .find("contradicts \"fields\""),
      std::string::npos);
  EXPECT_NE(refusal(R"({"block":"CNA","register":"DATA_SIZE1","offset":"0x1020","value":1})")
                .find("register DATA_SIZE1 contradicts CNA.DATA_SIZE0"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"word":"0x0201001c001c1020","register":"DATA_SIZE2"})")
                .find("register DATA_SIZE2 contradicts"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"block":"CNA","register":"DATA_SIZE","fields":{}})")
                .find("CNA has no register named \"DATA_SIZE\""),
            std::string::npos);
  EXPECT_NE(refusal(R"({"block":"0x0401","target":"0x0801","offset":0,"value":0})")
                .find("block 0x0401 contradicts target 0x0801"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"word":"0x0201001c001c1020","block":"CORE"})")
                .find("block CORE contradicts target 0x0201"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"block":"CNA","register":"0x1ffc","value":1,"fields":{"A":1}})")
                .find("no known register"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"block":"DDMA","register":"CFG_OUTSTANDING","fields":{}})")
                .find("no register command reaches"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"word":"0xZZ"})").find("no number"), std::string::npos);
  EXPECT_NE(refusal(R"({"word":-1})").find("neither a number"), std::string::npos);
  EXPECT_NE(refusal(R"({"target":70000,"offset":0,"value":0})").find("larger"), std::string::npos);
  EXPECT_NE(refusal(R"({"block":3})").find("not a string"), std::string::npos);
}

TEST(Stream, TrailerLinksTheNextProgram) {
  RegcmdStream s;
  s.raw(0x0201, 5, 0x1010);
  s.end(0x1D, 0x4000, 64);
  ASSERT_EQ(s.size(), 5u);
  EXPECT_EQ(s.words()[1], 0x0101000040000010u);
  EXPECT_EQ(s.words()[2], 0x0101000000400014u);
  EXPECT_EQ(s.words()[3], 0x0041000000000000u);
  EXPECT_EQ(s.words()[4], 0x00810000001d0008u);
  RegcmdStream last;
  last.end(0x18);
  EXPECT_EQ(last.words()[0], 0u);
}

TEST(Stream, TasksEndWithTheirEnableWord) {
  const auto words = words_of(ROSENBLATT_VECTORS_DIR "/mesa/add_14_32/regcmd.bin");
  const auto tasks = split_tasks(words);
  ASSERT_EQ(tasks.size(), 2u);
  EXPECT_EQ(tasks[0].size(), 130u);
  const auto cut = split_tasks(std::span(words).first(131));
  ASSERT_EQ(cut.size(), 2u);
  EXPECT_EQ(cut[1].size(), 1u);
  EXPECT_TRUE(split_tasks({}).empty());
}

TEST(Stream, BytesThatAreNoWordsAreRefused) {
  const std::vector<std::byte> bytes(12);
  EXPECT_THROW((void)parse_regcmd_bytes(bytes), Error);
  EXPECT_THROW((void)parse_regcmd_bytes({}), Error);
}

}  // namespace
}  // namespace npu::regdb
