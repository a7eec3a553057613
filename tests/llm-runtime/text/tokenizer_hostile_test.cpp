// SPDX-License-Identifier: MIT
// Vocabularies that no trainer would make: refused with a sentence, or used as llama.cpp does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <random>

#include "llm-runtime/bpe.hpp"
#include "llm-runtime/pretokenize.hpp"
#include "regdb/error.hpp"
#include "small_vocabulary.hpp"

namespace npu::llm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string refusal(const GgufWriter& writer) {
  const auto bytes = gguf_bytes(writer, {});
  try {
    const Tokenizer tokenizer(GgufFile::parse(bytes, "f"));
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_file);
    return error.what();
  }
  return "accepted";
}

std::string refusal(const SmallVocabulary& vocabulary) {
  GgufWriter writer;
  vocabulary.put(writer);
  return refusal(writer);
}

TEST(TokenizerHostile, OtherKindsAndBrokenTablesAreRefused) {
  EXPECT_THAT(refusal(GgufWriter()), HasSubstr("no metadata 'tokenizer.ggml.model'"));
  GgufWriter llama;
  llama.put_string("tokenizer.ggml.model", "llama");
  EXPECT_THAT(refusal(llama), HasSubstr("tokenizer 'llama' is not supported"));
  GgufWriter gpt2;
  gpt2.put_string("tokenizer.ggml.model", "gpt2");
  gpt2.put_string("tokenizer.ggml.pre", "llama-bpe");
  EXPECT_THAT(refusal(gpt2), HasSubstr("pre-tokenizer 'llama-bpe' is not supported"));
  EXPECT_THAT(refusal(SmallVocabulary{{}, {}}), HasSubstr("the vocabulary is empty"));
  EXPECT_THAT(refusal(SmallVocabulary{{"a", "b", "a"}, {}}), HasSubstr("token 'a' is there twice"));
  EXPECT_THAT(refusal(SmallVocabulary{{"a", "b"}, {}, {1}}), HasSubstr("2 tokens have 1 types"));
  const std::string long_token(5000, 'x');
  EXPECT_THAT(refusal(SmallVocabulary{{long_token}, {}}), HasSubstr("token 0 has 5000 bytes"));
  GgufWriter adds_bos;
  SmallVocabulary{{"a"}, {}}.put(adds_bos);
  adds_bos.put_bool("tokenizer.ggml.add_bos_token", true);
  EXPECT_THAT(refusal(adds_bos), HasSubstr("there is no tokenizer.ggml.bos_token_id"));
}

TEST(TokenizerHostile, AddsBosAndEosWhereTheFileSaysSo) {
  GgufWriter writer;
  SmallVocabulary{{"a", "<s>", "</s>"}, {}, {1, 3, 3}}.put(writer);
  writer.put_bool("tokenizer.ggml.add_bos_token", true);
  writer.put_bool("tokenizer.ggml.add_eos_token", true);
  writer.put_u32("tokenizer.ggml.bos_token_id", 1);
  writer.put_u32("tokenizer.ggml.eos_token_id", 2);
  const auto bytes = gguf_bytes(writer, {});
  const Tokenizer t(GgufFile::parse(bytes, "f"));
  EXPECT_THAT(t.encode("aa", true), ElementsAre(1, 0, 0, 2));
  EXPECT_THAT(t.encode("", true), ElementsAre(1, 2));
  EXPECT_THAT(t.encode("aa", true, false), ElementsAre(0, 0));
}

TEST(TokenizerHostile, IdsBeyondTheVocabularyAreIgnored) {
  GgufWriter writer;
  SmallVocabulary{{"a"}, {}}.put(writer);
  writer.put_u32("tokenizer.ggml.eos_token_id", 7);
  const auto bytes = gguf_bytes(writer, {});
  EXPECT_EQ(Tokenizer(GgufFile::parse(bytes, "f")).eos(), std::nullopt);
}

TEST(TokenizerHostile, MergesThroughStringsThatAreNoTokensStillCount) {
  // "ab" is no token, yet a step to "abc".
  const Tokenizer t = SmallVocabulary{{"a", "b", "c", "abc"}, {"a b", "ab c"}}.tokenizer();
  EXPECT_THAT(t.encode("abc", true), ElementsAre(3));
  // What stays "ab" falls apart into single bytes, which are tokens here.
  EXPECT_THAT(t.encode("ab", true), ElementsAre(0, 1));
  // Without those, nothing is left.
  EXPECT_THAT((SmallVocabulary{{"x"}, {"a b"}}.tokenizer().encode("ab", true)), IsEmpty());
}

TEST(TokenizerHostile, MalformedAndRepeatedMergesDoNothing) {
  const SmallVocabulary vocabulary{{"a", "b", "ab", "ba", ""},
                                   {"", " ", "a", "ab", "a ", " b", "a b", "b a", "a b", "x  y"}};
  const Tokenizer t = vocabulary.tokenizer();
  EXPECT_THAT(t.encode("abab", true), ElementsAre(2, 2));
  EXPECT_THAT(t.encode("bab", true), ElementsAre(1, 2));
  EXPECT_EQ(t.text(4), "[EMPTY_4]");
}

TEST(TokenizerHostile, SpecialTokensAreFoundLongestFirstNotLeftmost) {
  const Tokenizer t =
      SmallVocabulary{{"a", "b", "c", "<ab>", "b><c", "[x]"}, {}, {1, 1, 1, 3, 3, 4}}.tokenizer();
  // Both have four letters: the first in the vocabulary is searched for first.
  EXPECT_THAT(t.encode("<ab><c", true), ElementsAre(3, 2));
  const Tokenizer u = SmallVocabulary{{"a", "<ab>", "b><c>"}, {}, {1, 3, 3}}.tokenizer();
  EXPECT_THAT(u.encode("<ab><c>", true), ElementsAre(0, 2));
  // User-defined tokens are found in any case, control tokens only where asked for.
  EXPECT_THAT(t.encode("a[x]<ab>", false), ElementsAre(0, 5, 0, 1));
}

TEST(TokenizerHostile, LettersOutsideTheAlphabetAreSpeltOut) {
  const Tokenizer t =
      SmallVocabulary{{"a你", "<0x0a>", "<0xZZ>", "x", "u"}, {}, {1, 6, 6, 5, 0}}.tokenizer();
  EXPECT_EQ(t.piece(0), "a[UNK_BYTE_0xe4bda0a你]");
  EXPECT_EQ(t.piece(1), "\n");
  EXPECT_EQ(t.piece(2), "");
  EXPECT_EQ(t.piece(3), "");
  EXPECT_EQ(t.piece(4), "");
}

/// Joins the leftmost pair of lowest rank, by looking at all of them each time.
std::vector<Symbol> joined_naively(const MergeTable& table, std::vector<Symbol> word) {
  for (;;) {
    std::uint32_t best = std::numeric_limits<std::uint32_t>::max();
    std::size_t where = 0;
    for (std::size_t i = 0; i + 1 < word.size(); ++i) {
      const Merge* merge = table.find(word[i], word[i + 1]);
      if (merge != nullptr && merge->rank < best) best = merge->rank, where = i;
    }
    if (best == std::numeric_limits<std::uint32_t>::max()) return word;
    word[where] = table.find(word[where], word[where + 1])->result;
    word.erase(word.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
}

TEST(WordMerger, JoinsAsTheDefinitionSays) {
  std::mt19937 random(4);
  WordMerger merger;
  for (int round = 0; round < 2000; ++round) {
    // Symbols are strings over two or three letters, numbered as they appear.
    std::map<std::string, Symbol> numbers;
    std::vector<std::string> strings;
    const auto number = [&](const std::string& text) {
      const auto [at, added] = numbers.emplace(text, static_cast<Symbol>(strings.size()));
      if (added) strings.push_back(text);
      return at->second;
    };
    const std::uint32_t letters = 2 + random() % 2;
    for (std::uint32_t i = 0; i < letters; ++i) number(std::string(1, static_cast<char>('a' + i)));
    const std::uint32_t merges = random() % 20;
    MergeTable table(merges);
    for (std::uint32_t rank = 0; rank < merges; ++rank) {
      const std::string left = strings[random() % strings.size()];
      const std::string right = strings[random() % strings.size()];
      table.insert(number(left), number(right), {rank, number(left + right)});
    }
    std::vector<Symbol> word(random() % 40);
    for (Symbol& symbol : word) symbol = random() % letters;
    const auto want = joined_naively(table, word);
    if (!word.empty()) merger.merge(table, word);
    ASSERT_EQ(word, want) << "round " << round;
  }
}

TEST(SymbolTable, NumbersStringsInOrderAndFindsThemAgain) {
  SymbolTable table;
  EXPECT_EQ(table.find(""), SymbolTable::kNone);
  for (std::uint32_t i = 0; i < 1000; ++i) {
    const auto [symbol, added] = table.add(std::to_string(i * i));
    EXPECT_TRUE(added);
    EXPECT_EQ(symbol, i);
  }
  EXPECT_FALSE(table.add("81").second);
  EXPECT_TRUE(table.add("").second);
  for (std::uint32_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(table.find(std::to_string(i * i)), i);
    EXPECT_EQ(table.text(i), std::to_string(i * i));
  }
  EXPECT_EQ(table.find("82"), SymbolTable::kNone);
  EXPECT_EQ(table.text(1000), "");
}

}  // namespace
}  // namespace npu::llm
