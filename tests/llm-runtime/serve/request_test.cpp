// SPDX-License-Identifier: MIT
// The body of a request: what is read from it, and by which field it is refused.
#include "llm-runtime/serve/request.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace npu::llm::serve {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

CompletionRequest accepted(std::string_view body, Kind kind = Kind::chat,
                           const SamplerOptions& defaults = {}) {
  auto result = parse_request(body, kind, defaults);
  if (const auto* refusal = std::get_if<Refusal>(&result)) {
    ADD_FAILURE() << body << ": " << refusal->message;
    return {};
  }
  return std::get<CompletionRequest>(result);
}

Refusal refused(std::string_view body, Kind kind = Kind::chat) {
  auto result = parse_request(body, kind, {});
  if (const auto* refusal = std::get_if<Refusal>(&result)) {
    EXPECT_EQ(refusal->status, 400);
    EXPECT_FALSE(refusal->message.empty());
    return *refusal;
  }
  ADD_FAILURE() << body << " was accepted";
  return {};
}

std::string fmt_field(const std::string& name, const std::string& value) {
  return "\"" + name + "\": " + value;
}

/// A chat of one message with another field.
std::string chat_with(const std::string& fields) {
  return R"({"messages": [{"role": "user", "content": "hi"}], )" + fields + "}";
}

TEST(Request, AChatWithAllItsFields) {
  const CompletionRequest r = accepted(R"({
    "model": "m", "messages": [
      {"role": "developer", "content": "short"},
      {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
      {"role": "assistant", "content": null},
      {"role": "user", "content": "\u00e4\ud83d\ude00", "name": "x"}],
    "temperature": 0.5, "top_p": 0.9, "top_k": 7, "min_p": 0.1, "repeat_penalty": 1.1,
    "frequency_penalty": -1, "presence_penalty": 1.5, "max_tokens": 5,
    "max_completion_tokens": 6, "stop": ["x", "y"], "seed": 42, "stream": true,
    "stream_options": {"include_usage": true}, "n": 1, "user": "me", "tools": [],
    "logprobs": false, "response_format": {"type": "text"}, "logit_bias": {}})");
  ASSERT_EQ(r.messages.size(), 4u);
  EXPECT_EQ(r.messages[0].role, "system");
  EXPECT_EQ(r.messages[1].content, "ab");
  EXPECT_EQ(r.messages[2].content, "");
  EXPECT_EQ(r.messages[3].content, "\u00e4\U0001F600");
  EXPECT_FLOAT_EQ(r.sampler.temperature, 0.5f);
  EXPECT_FLOAT_EQ(r.sampler.top_p, 0.9f);
  EXPECT_EQ(r.sampler.top_k, 7u);
  EXPECT_FLOAT_EQ(r.sampler.min_p, 0.1f);
  EXPECT_FLOAT_EQ(r.sampler.repeat_penalty, 1.1f);
  EXPECT_FLOAT_EQ(r.frequency_penalty, -1);
  EXPECT_FLOAT_EQ(r.presence_penalty, 1.5f);
  EXPECT_EQ(r.most_tokens, 6u);
  EXPECT_THAT(r.stop, ElementsAre("x", "y"));
  EXPECT_EQ(r.sampler.seed, 42u);
  EXPECT_TRUE(r.seeded && r.stream && r.include_usage);
}

TEST(Request, WhatIsNotSaidIsTheServersDefault) {
  SamplerOptions defaults;
  defaults.temperature = 0.25f;
  defaults.top_k = 3;
  const CompletionRequest r = accepted(
      chat_with(R"("temperature": null, "stop": null, "max_tokens": null)"), Kind::chat, defaults);
  EXPECT_EQ(r.sampler, defaults);
  EXPECT_FALSE(r.seeded || r.stream || r.include_usage);
  EXPECT_EQ(r.most_tokens, 0u);
  EXPECT_TRUE(r.stop.empty());
  EXPECT_THAT(accepted(chat_with(R"("stop": "end")")).stop, ElementsAre("end"));
  EXPECT_EQ(accepted(chat_with(R"("seed": -1)")).sampler.seed, ~std::uint64_t{0});
}

TEST(Request, TopPOfZeroLeavesTheBestToken) {
  const SamplerOptions options = accepted(chat_with(R"("top_p": 0)")).sampler;
  EXPECT_NO_THROW(check(options));
  EXPECT_GT(options.top_p, 0);
}

TEST(Request, PromptsAreTextOrIds) {
  const auto prompts = [](const std::string& prompt) {
    return accepted(R"({"prompt": )" + prompt + "}", Kind::completion).prompts;
  };
  using Ids = std::vector<TokenId>;
  EXPECT_THAT(prompts(R"("a")"), ElementsAre(Prompt("a")));
  EXPECT_THAT(prompts(R"(["a", "b"])"), ElementsAre(Prompt("a"), Prompt("b")));
  EXPECT_THAT(prompts("[1, 2]"), ElementsAre(Prompt(Ids{1, 2})));
  EXPECT_THAT(prompts("[[1], [2, 3]]"), ElementsAre(Prompt(Ids{1}), Prompt(Ids{2, 3})));
  EXPECT_THAT(prompts(R"(["a", [5]])"), ElementsAre(Prompt("a"), Prompt(Ids{5})));
  for (const char* bad : {"null", "{}", "[]", "5", "true", "[true]", "[1, \"a\"]", "[-1]", "[1.5]",
                          "[4294967296]", "[[\"a\"]]", "[{}]"}) {
    EXPECT_EQ(refused(R"({"prompt": )" + std::string(bad) + "}", Kind::completion).param, "prompt")
        << bad;
  }
  std::string many = "[\"a\"";
  for (std::size_t i = 0; i < kMostPrompts; ++i) many += ",\"a\"";
  EXPECT_EQ(refused(R"({"prompt": )" + many + "]}", Kind::completion).param, "prompt");
}

TEST(Request, AWrongFieldIsNamed) {
  for (const auto& [field, bad] : std::initializer_list<std::pair<const char*, const char*>>{
           {"temperature", "\"hot\""},
           {"temperature", "-1"},
           {"temperature", "1e9"},
           {"top_p", "1.5"},
           {"top_k", "-1"},
           {"top_k", "2.5"},
           {"min_p", "2"},
           {"repeat_penalty", "0"},
           {"max_tokens", "0"},
           {"max_tokens", "-3"},
           {"max_tokens", "1e3"},
           {"max_tokens", "99999999999"},
           {"max_completion_tokens", "\"5\""},
           {"stop", "5"},
           {"stop", "\"\""},
           {"stop", "[1]"},
           {"stop", R"(["a","b","c","d","e"])"},
           {"seed", "0.5"},
           {"seed", "\"x\""},
           {"stream", "1"},
           {"stream_options", "5"},
           {"stream_options", "{}"},
           {"model", "5"},
           {"frequency_penalty", "3"},
           {"presence_penalty", "-2.5"},
           {"n", "0"},
           {"n", "2"},
           {"best_of", "3"},
           {"logprobs", "true"},
           {"top_logprobs", "5"},
           {"logit_bias", R"({"5": 1})"},
           {"tools", R"([{"type": "function"}])"},
           {"tool_choice", "\"required\""},
           {"functions", "[{}]"},
           {"response_format", R"({"type": "json_object"})"},
           {"response_format", "5"}}) {
    const Refusal refusal = refused(chat_with(fmt_field(field, bad)));
    EXPECT_EQ(refusal.param, field) << bad;
    EXPECT_THAT(refusal.message, HasSubstr(field)) << bad;
    EXPECT_EQ(refusal.type, "invalid_request_error");
  }
  EXPECT_EQ(refused(R"({"prompt": "a", "echo": true})", Kind::completion).param, "echo");
  EXPECT_EQ(refused(R"({"prompt": "a", "suffix": "b"})", Kind::completion).param, "suffix");
}

TEST(Request, AWrongMessageIsNamed) {
  for (const auto& [messages, param] : std::initializer_list<std::pair<const char*, const char*>>{
           {"null", "messages"},
           {"[]", "messages"},
           {"{}", "messages"},
           {"[5]", "messages[0]"},
           {R"([{"content": "a"}])", "messages[0].role"},
           {R"([{"role": "king", "content": "a"}])", "messages[0].role"},
           {R"([{"role": "tool", "content": "a"}])", "messages[0].role"},
           {R"([{"role": "user"}])", "messages[0].content"},
           {R"([{"role": "user", "content": 5}])", "messages[0].content"},
           {R"([{"role": "user", "content": "a"}, {"role": "user", "content": ["b"]}])",
            "messages[1].content[0]"},
           {R"([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}])",
            "messages[0].content[0]"},
           {R"([{"role": "user", "content": [{"type": "text"}]}])", "messages[0].content[0].text"},
           {R"([{"role": "assistant", "content": null, "tool_calls": [{}]}])",
            "messages[0].tool_calls"}}) {
    EXPECT_EQ(refused(R"({"messages": )" + std::string(messages) + "}").param, param) << messages;
  }
}

TEST(Request, WhatIsNoJsonIsRefused) {
  EXPECT_THAT(refused("{\"messages\": ").message, HasSubstr("no JSON"));
  for (const char* bad : {"", "x", "5", "[]", "\"a\"", "null", "{\"a\": 1}x",
                          "{\"messages\": \"\xff\"}", "{\"temperature\": 1e999}"}) {
    refused(bad);
  }
  EXPECT_THAT(refused(std::string(100, '[') + std::string(100, ']')).message,
              HasSubstr("nested too deep"));
  refused(std::string(1000000, '['));
}

}  // namespace
}  // namespace npu::llm::serve
