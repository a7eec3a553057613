// SPDX-License-Identifier: MIT
#include "llm-runtime/commands/text_commands.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "regdb/error.hpp"
#include "vectors.hpp"

namespace npu::llm {
namespace {

using nlohmann::json;
using testing::HasSubstr;

std::string tokenized(const std::string& input, bool decode = false) {
  std::istringstream in(input);
  std::ostringstream out;
  tokenize_lines(qwen_tokenizer(), {.decode = decode}, in, out);
  return out.str();
}

std::string rendered(const std::string& input) {
  std::istringstream in(input);
  std::ostringstream out;
  template_lines(ChatTemplate::chatml(), in, out);
  return out.str();
}

template <class Run>
std::string refusal(Run&& run) {
  try {
    return "accepted: " + run();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_file);
    return error.what();
  }
}

TEST(TextCommands, TokenizeAnswersEachLine) {
  EXPECT_EQ(tokenized("{\"text\": \"Hello\"}\n\n{\"text\": \"\", \"special\": false}\n"),
            "[9707]\n[]\n");
  EXPECT_EQ(tokenized("{\"text\": \"<|im_end|>\", \"special\": true}"), "[151645]\n");
  EXPECT_EQ(tokenized("{\"text\": \"<|im_end|>\"}"), "[151645]\n");
  EXPECT_EQ(tokenized("{\"text\": \"<|im_end|>\", \"special\": false}"),
            "[27,91,318,6213,91,29]\n");
}

TEST(TextCommands, DecodeIsTheOtherWay) {
  EXPECT_EQ(tokenized("[9707,151645]\n[]\n", true),
            "{\"text\":\"Hello<|im_end|>\"}\n{\"text\":\"\"}\n");
  // GPT-2's letter for the byte e4, which begins a character: no text.
  EXPECT_EQ(tokenized("[" + std::to_string(*qwen_tokenizer().find("ä")) + "]", true),
            "{\"text\":\"\xef\xbf\xbd\"}\n");
  std::string questions, answers;
  for (const auto& entry : read_json_vector("tok.json")) {
    json line = json::object();
    line["text"] = entry["text"];
    questions += line.dump() + "\n";
    answers += entry["special"].dump() + "\n";
  }
  EXPECT_EQ(tokenized(questions), answers);
  EXPECT_EQ(tokenized(answers, true), questions);
}

TEST(TextCommands, BadLinesAreNamedAndWhatWasBeforeIsAnswered) {
  std::istringstream in("{\"text\": \"Hello\"}\n{\"text\": \n");
  std::ostringstream out;
  EXPECT_THAT(refusal([&] {
                tokenize_lines(qwen_tokenizer(), {}, in, out);
                return out.str();
              }),
              HasSubstr("line 2: not JSON: "));
  EXPECT_EQ(out.str(), "[9707]\n");
  for (const char* line : {"1", "{}", "{\"text\": 1}", "[1]"})
    EXPECT_THAT(refusal([&] { return tokenized(line); }), HasSubstr("line 1: expected {\"text\""));
  EXPECT_THAT(refusal([] { return tokenized("{\"text\": \"\", \"special\": 1}"); }),
              HasSubstr("\"special\" must be true or false"));
  EXPECT_THAT(refusal([] { return tokenized("{\"text\": \"\xff\"}"); }), HasSubstr("not JSON"));
  EXPECT_THAT(refusal([] { return tokenized("\n[151936]", true); }),
              HasSubstr("line 2: token 151936 is not in the vocabulary of 151936"));
  for (const char* line :
       {"[-1]", "[99999999999999999999]", "[18446744073709551615]", "[1.5]", "[\"a\"]", "{}", "7"})
    EXPECT_THAT(refusal([&] { return tokenized(line, true); }), HasSubstr("line 1: ")) << line;
}

TEST(TextCommands, TemplateRendersEachLine) {
  EXPECT_EQ(rendered("{\"messages\": [{\"role\": \"user\", \"content\": \"ä\"}]}\n"
                     "{\"messages\": [], \"add_generation_prompt\": true}\n"),
            "\"<|im_start|>user\\nä<|im_end|>\\n\"\n\"<|im_start|>assistant\\n\"\n");
  EXPECT_THAT(refusal([] { return rendered("{\"messages\": []}\n[]"); }),
              HasSubstr("line 2: \"messages\" must be a list"));
  EXPECT_THAT(refusal([] { return rendered("{"); }), HasSubstr("line 1: not JSON"));
  EXPECT_THAT(refusal([] { return rendered(std::string(200000, '[')); }), HasSubstr("line 1: "));
}

}  // namespace
}  // namespace npu::llm
