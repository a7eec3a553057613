// SPDX-License-Identifier: MIT
#include "llm-runtime/tokenizer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "llm-runtime/pretokenize.hpp"
#include "regdb/error.hpp"
#include "vectors.hpp"

namespace npu::llm {
namespace {

using testing::ElementsAre;
using Ids = std::vector<TokenId>;

TEST(Tokenizer, EqualsLlamaCppOnAllStrings) {
  const GgufFile cut_file = GgufFile::open(ROSENBLATT_VECTORS_DIR "/llm/tinyA-Q4_K_M.gguf");
  const Tokenizer cut(cut_file);
  const nlohmann::json cases = read_json_vector("tok.json");
  ASSERT_EQ(cases.size(), 237u);
  for (const auto& entry : cases) {
    const auto text = entry["text"].get<std::string>();
    ASSERT_EQ(qwen_tokenizer().encode(text, false), entry["plain"].get<Ids>()) << text;
    ASSERT_EQ(qwen_tokenizer().encode(text, true), entry["special"].get<Ids>()) << text;
    ASSERT_EQ(cut.encode(text, true), entry["cut"].get<Ids>()) << text;
  }
}

TEST(Tokenizer, EqualsLlamaCppOnRandomBytes) {
  // Words, spaces, special tokens, code points and invalid sequences in random order.
  const std::string text = read_vector("random.bin");
  const nlohmann::json ids = read_json_vector("random.json");
  EXPECT_EQ(qwen_tokenizer().encode(text, false), ids["plain"].get<Ids>());
  EXPECT_EQ(qwen_tokenizer().encode(text, true), ids["special"].get<Ids>());
}

TEST(Tokenizer, EqualsLlamaCppOnEveryCodePoint) {
  // "a?b" for each code point but the surrogates, with U+0001 between them. Number and hash (64-bit
  // FNV-1a over the ids) of what llama.cpp 0.7.0 makes of it.
  std::string text;
  for (std::uint32_t c = 1; c < 0x110000; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    if (c > 1) text += '\x01';
    text += 'a';
    append_utf8(text, c);
    text += 'b';
  }
  const Ids ids = qwen_tokenizer().encode(text, false);
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const TokenId id : ids) hash = (hash ^ static_cast<std::uint64_t>(id)) * 0x100000001b3;
  EXPECT_EQ(ids.size(), 7531404u);
  EXPECT_EQ(hash, 0x0610a3fe5ac89111u);
}

TEST(Tokenizer, EncodesItsTemplatesAsLlamaCppDoes) {
  for (const auto& entry : read_json_vector("chat.json")) {
    const auto text = entry["rendered"].get<std::string>();
    EXPECT_EQ(qwen_tokenizer().encode(text, true), entry["tokens"].get<Ids>()) << text;
    EXPECT_EQ(qwen_tokenizer().decode(entry["tokens"].get<Ids>(), true), text);
  }
}

/// Valid UTF-8 of random words, spaces and code points.
std::string random_text(std::mt19937& random) {
  static const std::vector<std::string> parts = {" ",
                                                 "  ",
                                                 "\n",
                                                 "\r\n",
                                                 "\t",
                                                 "the",
                                                 "The",
                                                 "don't",
                                                 "I'LL",
                                                 "naïve",
                                                 "12",
                                                 "3.5",
                                                 "世界",
                                                 "<|im_start|>",
                                                 "<|im_end|>",
                                                 "<tool_call>",
                                                 "</s>",
                                                 "e\xcc\x81",
                                                 "👩‍👩‍👧",
                                                 "...",
                                                 "()",
                                                 "{\"a\": 1}"};
  std::string text;
  for (std::uint32_t i = random() % 40; i > 0; --i) {
    if (random() % 4 != 0) {
      text += parts[random() % parts.size()];
      continue;
    }
    std::uint32_t c = random() % (random() % 2 == 0 ? 0x300 : 0x110000);
    if (c >= 0xd800 && c < 0xe000) c -= 0x800;
    append_utf8(text, c);
  }
  return text;
}

TEST(Tokenizer, DecodingGivesBackEveryValidText) {
  std::mt19937 random(1);
  for (int round = 0; round < 3000; ++round) {
    const std::string text = random_text(random);
    for (const bool special : {false, true}) {
      const Ids ids = qwen_tokenizer().encode(text, special);
      ASSERT_EQ(qwen_tokenizer().decode(ids, true), text);
      StreamDecoder stream(qwen_tokenizer(), true);
      std::string streamed;
      for (const TokenId id : ids) streamed += stream.push(id);
      ASSERT_EQ(streamed + stream.flush(), text);
    }
  }
}

TEST(Tokenizer, KnowsItsSpecialTokens) {
  const Tokenizer& t = qwen_tokenizer();
  EXPECT_EQ(t.size(), 151936u);
  EXPECT_EQ(t.bos(), 151643);
  EXPECT_EQ(t.eos(), 151645);
  Ids ends;
  for (TokenId id = 0; id < 151936; ++id) {
    if (t.is_eog(id)) ends.push_back(id);
  }
  EXPECT_THAT(ends, ElementsAre(128247, 151643, 151645, 151662, 151663, 151664));
  EXPECT_EQ(t.text(128247), "</s>");
  EXPECT_TRUE(t.is_control(128247));
  EXPECT_EQ(t.piece(128247, false), "");
  EXPECT_EQ(t.find("<|im_start|>"), 151644);
  EXPECT_EQ(t.find("Ġthe"), t.encode(" the", false).at(0));
  EXPECT_EQ(t.find("no such token"), std::nullopt);
  EXPECT_EQ(t.piece(151935), "");                                    // [PAD151935] is unused
  EXPECT_EQ(t.encode("[PAD151935]", true).size(), 9u);               // and matches no text
  EXPECT_EQ(t.piece(*t.find("<tool_call>"), false), "<tool_call>");  // user-defined
  EXPECT_THROW(t.piece(-1), Error);
  EXPECT_THROW(t.piece(151936), Error);
  EXPECT_THROW(t.decode(Ids{1, 151936}, false), Error);
}

TEST(Tokenizer, TheLongestWordCostsNoMoreThanItsLength) {
  // Times cannot be asserted; a quadratic merge of a million letters would not end within the
  // timeout of this test.
  std::mt19937 random(2);
  std::string text;
  for (int i = 0; i < 1000000; ++i) text += "etaoinshrdlu"[random() % 12];
  const Ids ids = qwen_tokenizer().encode(text, true);
  EXPECT_EQ(qwen_tokenizer().decode(ids, true), text);
}

}  // namespace
}  // namespace npu::llm
