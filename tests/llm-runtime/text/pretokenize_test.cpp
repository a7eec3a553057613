// SPDX-License-Identifier: MIT
#include "llm-runtime/pretokenize.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace npu::llm {
namespace {

using testing::ElementsAre;

std::vector<std::string> words(std::string_view text) {
  const auto code_points = decode_utf8(text);
  std::vector<std::string> result;
  std::size_t at = 0;
  for (const std::uint32_t length : split_words(code_points)) {
    result.emplace_back();
    for (const std::size_t end = at + length; at < end; ++at)
      append_utf8(result.back(), code_points[at]);
  }
  return result;
}

TEST(Pretokenize, SplitsAsTheExpressionSays) {
  EXPECT_THAT(words("Hello world"), ElementsAre("Hello", " world"));
  EXPECT_THAT(words("  a"), ElementsAre(" ", " a"));
  EXPECT_THAT(words("a  "), ElementsAre("a", "  "));
  EXPECT_THAT(words("don't I'LL we'vex"), ElementsAre("don", "'t", " I", "'LL", " we", "'ve", "x"));
  EXPECT_THAT(words("'x 'S' '"), ElementsAre("'x", " '", "S", "'", " '"));
  EXPECT_THAT(words("123 4"), ElementsAre("1", "2", "3", " ", "4"));
  EXPECT_THAT(words("a!?\r\n\n b"), ElementsAre("a", "!?\r\n\n", " b"));
  EXPECT_THAT(words(" \n \n  x"), ElementsAre(" \n \n", " ", " x"));
  EXPECT_THAT(words("\tx\t1"), ElementsAre("\tx", "\t", "1"));
  EXPECT_THAT(words("(a)b"), ElementsAre("(a", ")b"));
  EXPECT_THAT(words("a\n b"), ElementsAre("a", "\n", " b"));
  EXPECT_THAT(words("\nb"), ElementsAre("\n", "b"));
}

TEST(Pretokenize, FoldsNoLettersButAscii) {
  EXPECT_THAT(words("x'\u017f"), ElementsAre("x", "'\u017f"));  // long s is a letter, no 's'
  EXPECT_THAT(words("'\u212a"), ElementsAre("'\u212a"));
}

TEST(Pretokenize, ClassesAreThoseOfUnicode15_1) {
  using enum CodePointClass;
  EXPECT_EQ(classify('A'), letter);
  EXPECT_EQ(classify(0xaa), letter);     // feminine ordinal
  EXPECT_EQ(classify(0x301), other);     // combining acute accent
  EXPECT_EQ(classify(0x0e32), letter);   // Thai vowel sign
  EXPECT_EQ(classify(0x0663), number);   // Arabic-Indic three
  EXPECT_EQ(classify(0xbd), number);     // one half
  EXPECT_EQ(classify(0x2167), number);   // Roman eight
  EXPECT_EQ(classify(0x85), space);      // next line
  EXPECT_EQ(classify(0x1c), other);      // Python's white space, not Unicode's
  EXPECT_EQ(classify(0x200b), other);    // zero width space
  EXPECT_EQ(classify(0x3000), space);    // ideographic space
  EXPECT_EQ(classify(0x0cf3), other);    // a mark of Unicode 15.0
  EXPECT_EQ(classify(0x1e4d0), letter);  // Nag Mundari, Unicode 15.0
  EXPECT_EQ(classify(0x2ebf0), letter);  // CJK extension I, Unicode 15.1
  EXPECT_EQ(classify(0x2ee5e), other);   // not assigned
  EXPECT_EQ(classify(0x1c89), other);    // Unicode 16.0
  EXPECT_EQ(classify(0x10ffff), other);
  EXPECT_EQ(classify(0xffffffff), other);
}

TEST(Pretokenize, BytesThatAreNoUtf8BecomeReplacementCharacters) {
  constexpr std::uint32_t kBad = 0xfffd;
  EXPECT_THAT(decode_utf8("a\xff"
                          "b"),
              ElementsAre('a', kBad, 'b'));
  EXPECT_THAT(decode_utf8("\xe4\xbd"), ElementsAre(kBad, kBad));
  EXPECT_THAT(decode_utf8("\xc1\x94"), ElementsAre(kBad, kBad));            // overlong
  EXPECT_THAT(decode_utf8("\xe0\x9f\xbf"), ElementsAre(kBad, kBad, kBad));  // overlong
  EXPECT_THAT(decode_utf8("\xed\xa0\x80"), ElementsAre(0xd800));            // surrogate
  EXPECT_THAT(decode_utf8("\xf4\x90\x80\x80"), ElementsAre(kBad, kBad, kBad, kBad));
  EXPECT_THAT(decode_utf8("\xf4\x8f\xbf\xbf"), ElementsAre(0x10ffff));
}

}  // namespace
}  // namespace npu::llm
