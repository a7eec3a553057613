// SPDX-License-Identifier: MIT
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "small_vocabulary.hpp"

namespace npu::llm {
namespace {

using testing::ElementsAre;

constexpr const char* kBad = "\xef\xbf\xbd";

std::string repaired(std::string bytes) { return take_valid_utf8(bytes, true); }

TEST(StreamDecoder, HoldsBackASequenceUntilItIsWhole) {
  // GPT-2's letters for e4, bd, a0: the bytes of one Chinese character.
  const Tokenizer t = SmallVocabulary{{"ä", "½", "ł", "a"}, {}}.tokenizer();
  StreamDecoder stream(t);
  EXPECT_EQ(stream.push(3), "a");
  EXPECT_EQ(stream.push(0), "");
  EXPECT_EQ(stream.push(1), "");
  EXPECT_EQ(stream.push(2), "\xe4\xbd\xa0");
  EXPECT_EQ(stream.push(0), "");
  EXPECT_EQ(stream.push(3), std::string(kBad) + "a");
  EXPECT_EQ(stream.push(0), "");
  EXPECT_EQ(stream.push(1), "");
  EXPECT_EQ(stream.flush(), kBad);
  EXPECT_EQ(stream.flush(), "");
}

TEST(StreamDecoder, CountsEachMaximalPartOfASequenceOnce) {
  const std::string bad = kBad;
  EXPECT_EQ(repaired("a\xff\xfe"
                     "b"),
            "a" + bad + bad + "b");
  EXPECT_EQ(repaired("\xf0\x9f\x98"), bad);
  EXPECT_EQ(repaired("\xf0\x9f\x98x"), bad + "x");
  EXPECT_EQ(repaired("\xed\xa0\x80"), bad + bad + bad);  // a surrogate: no front of a sequence
  EXPECT_EQ(repaired("\xc0\x80"), bad + bad);
  EXPECT_EQ(repaired("\xe4\xbd\xe4\xbd\xa0"), bad + "\xe4\xbd\xa0");
}

TEST(StreamDecoder, GivesTheSameForEveryWayToCutTheBytes) {
  std::mt19937 random(8);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes(random() % 12, '\0');
    static constexpr unsigned char kLikely[] = {'a',  0x80, 0x9f, 0xa0, 0xbf, 0xc2,
                                                0xe0, 0xe4, 0xed, 0xf0, 0xf4, 0xff};
    for (char& c : bytes) c = static_cast<char>(kLikely[random() % sizeof kLikely]);
    const std::string want = repaired(bytes);
    std::string pending, got;
    for (const char c : bytes) {
      pending += c;
      if (random() % 2 == 0) got += take_valid_utf8(pending, false);
    }
    got += take_valid_utf8(pending, true);
    ASSERT_EQ(got, want);
    std::string again = got;
    ASSERT_EQ(take_valid_utf8(again, false), got);  // what it gives is valid
  }
}

}  // namespace
}  // namespace npu::llm
