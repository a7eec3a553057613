// SPDX-License-Identifier: MIT
#include "llm-runtime/chat_template.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "regdb/error.hpp"
#include "small_vocabulary.hpp"
#include "vectors.hpp"

namespace npu::llm {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;

std::string render(std::string_view source, const Json& more = Json::object()) {
  Json variables = more;
  if (!variables.contains("messages")) variables["messages"] = Json::array();
  return ChatTemplate(source).render(variables);
}

/// "code: sentence" of what is thrown.
std::string refusal(std::string_view source, const Json& variables = Json::object()) {
  try {
    return "rendered " + render(source, variables);
  } catch (const Error& error) {
    return std::string(to_string(error.code())) + ": " + error.what();
  }
}

TEST(ChatTemplate, RendersAllConversationsAsJinjaDoes) {
  const ChatTemplate own = ChatTemplate::of_model(qwen_file(), qwen_tokenizer());
  const Json cases = Json::parse(read_vector("chat.json"));
  ASSERT_EQ(cases.size(), 11u);
  for (const Json& entry : cases) {
    // With "tools", which the template describes to the model.
    EXPECT_EQ(own.render(entry), entry["rendered"].get<std::string>());
    if (entry.contains("tools")) continue;
    std::vector<ChatMessage> messages;
    for (const Json& message : entry["messages"]) {
      messages.push_back(
          {message["role"].get<std::string>(), message["content"].get<std::string>()});
    }
    EXPECT_EQ(own.render(messages, entry["add_generation_prompt"].get<bool>()),
              entry["rendered"].get<std::string>());
  }
}

TEST(ChatTemplate, AgreesWithJinjaOnEveryConstruct) {
  const Json vectors = Json::parse(read_vector("jinja.json"));
  ASSERT_GT(vectors["cases"].size(), 35u);
  for (const Json& entry : vectors["cases"]) {
    const auto source = entry["template"].get<std::string>();
    try {
      EXPECT_EQ(render(source, vectors["variables"]), entry["rendered"].get<std::string>())
          << source;
    } catch (const Error& error) {
      ADD_FAILURE() << error.what() << "\n" << source;
    }
  }
}

TEST(ChatTemplate, ChatMlIsBuiltIn) {
  const std::vector<ChatMessage> messages{{"user", "Hi"}};
  EXPECT_EQ(ChatTemplate::chatml().render(messages, true),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  // Also for a file without a template whose vocabulary has its tokens.
  GgufWriter writer;
  SmallVocabulary{{"a", "<|im_start|>", "<|im_end|>"}, {}, {1, 3, 3}}.put(writer);
  const auto bytes = gguf_bytes(writer, {});
  const GgufFile file = GgufFile::parse(bytes, "f");
  EXPECT_EQ(ChatTemplate::of_model(file, Tokenizer(file)).render(messages, false),
            "<|im_start|>user\nHi<|im_end|>\n");
  GgufWriter plain;
  SmallVocabulary{{"a"}, {}}.put(plain);
  const auto plain_bytes = gguf_bytes(plain, {});
  const GgufFile no_chat = GgufFile::parse(plain_bytes, "f");
  EXPECT_THROW(ChatTemplate::of_model(no_chat, Tokenizer(no_chat)), Error);
}

TEST(ChatTemplate, TakesTextInParts) {
  const Json variables = Json::parse(R"({"messages": [{"role": "user", "content":
      [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]})");
  EXPECT_EQ(ChatTemplate::chatml().render(variables), "<|im_start|>user\nab<|im_end|>\n");
}

TEST(ChatTemplate, RefusesWhatIsNoConversation) {
  const ChatTemplate t = ChatTemplate::chatml();
  for (const char* text :
       {"[]", "{}", R"({"messages": 1})", R"({"messages": [1]})", R"({"messages": [{}]})",
        R"({"messages": [{"role": 1}]})", R"({"messages": [{"role": "user", "content": 1}]})",
        R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})",
        R"({"messages": [{"role": "user", "content": [1]}]})",
        R"({"messages": [{"role": "user", "content": [{"type": 1, "text": "a"}]}]})"}) {
    try {
      t.render(Json::parse(text));
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << text;
    }
  }
  const std::string deep = std::string(100000, '[') + std::string(100000, ']');
  EXPECT_THROW(t.render(Json::parse(R"({"messages": [], "tools": )" + deep + "}")), Error);
}

TEST(ChatTemplate, NamesTheLineAndTheConstruct) {
  EXPECT_THAT(refusal("a\nb\n{% macro f() %}{% endmacro %}"),
              HasSubstr("bad-file: chat template, line 3: the statement 'macro' is not supported"));
  EXPECT_THAT(refusal("{% macro f() %}"), HasSubstr("--chat-template chatml"));
  EXPECT_THAT(refusal("{{ x | urlize }}", {{"x", "a"}}),
              HasSubstr("the filter 'urlize' is not supported"));
  EXPECT_THAT(refusal("{{ 1 is fancy }}"), HasSubstr("the test 'is fancy' is not supported"));
  EXPECT_THAT(refusal("{{ f(1) }}"), HasSubstr("the function 'f' is not supported"));
  EXPECT_THAT(refusal("{{ 'a'.zfill(3) }}"), HasSubstr("a string has no method 'zfill' here"));
  EXPECT_THAT(refusal("\n{{ x.y }}"), HasSubstr("line 2: 'y' of undefined 'x'"));
  EXPECT_THAT(refusal("{{ 'a' + 1 }}"), HasSubstr("cannot compute a string + a number"));
  EXPECT_THAT(refusal("{{ 1 < 'a' }}"), HasSubstr("cannot compare a number < a string"));
  EXPECT_THAT(refusal("{{ 1 // 0 }}"), HasSubstr("division by zero"));
  EXPECT_THAT(refusal("{{ 9000000000000000000 * 9 }}"), HasSubstr("has too many digits"));
  EXPECT_THAT(refusal("{{ 900000000000000000 * 90 }}"), HasSubstr("grows too large"));
  EXPECT_THAT(refusal("{% set a.b = 1 %}"), HasSubstr("only attributes of a namespace"));
  EXPECT_THAT(refusal("{{ raise_exception('Only\nuser') }}"),
              HasSubstr("invalid-argument: the chat template refuses these messages: Only?user"));
}

TEST(ChatTemplate, RefusesWhatIsNoTemplate) {
  for (const char* source : {"{{",
                             "{{ ",
                             "{{ 1",
                             "{{ 1 }",
                             "{%",
                             "{% if",
                             "{% if 1 %}",
                             "{% if 1 %}{% else %}",
                             "{% endif %}",
                             "{% else %}",
                             "{% endfor %}",
                             "{% for %}",
                             "{% for x of y %}{% endfor %}",
                             "{% for x in y %}",
                             "{#",
                             "{{ 'a }}",
                             "{{ a b }}",
                             "{{ [1, }}",
                             "{{ (1 }}",
                             "{{ {1: }}",
                             "{{ a. }}",
                             "{{ a[] }}",
                             "{{ a[ }}",
                             "{{ f( }}",
                             "{{ 1 | }}",
                             "{{ 1 is }}",
                             "{{ $ }}",
                             "{% set %}",
                             "{% set x %}",
                             "{% set x = %}",
                             "{% break %}",
                             "{{ '\\xg0' }}",
                             "{{ 1 ** 2 }}",
                             "{{ '\\uffff",
                             "{{ }}",
                             "{% %}",
                             "{{ not }}",
                             "{{ 1 + }}",
                             "{{ 1 < 2 < 3 }}",
                             "{{ \\ }}",
                             "{{ '\\U00110000' }}",
                             "{% for a, b in [1] %}{% endfor %}",
                             "{% if 1 %}{% endfor %}"}) {
    EXPECT_THAT(refusal(source), HasSubstr("bad-file: chat template, line 1: ")) << source;
  }
}

TEST(ChatTemplate, EndsHoweverTheTemplateIsWritten) {
  const auto many = [](int count, const std::string& text) {
    std::string all;
    for (int i = 0; i < count; ++i) all += text;
    return all;
  };
  EXPECT_THAT(
      refusal("{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}"),
      HasSubstr("does not come to an end"));
  EXPECT_THAT(refusal("{{ range(999999999) }}"), HasSubstr("does not come to an end"));
  EXPECT_THAT(refusal("{% set ns = namespace(x='a') %}{% for i in range(99) %}"
                      "{% set ns.x = ns.x + ns.x %}{% endfor %}"),
              HasSubstr("does not come to an end"));
  EXPECT_THAT(refusal("{% set ns = namespace(x=[1]) %}{% for i in range(99) %}"
                      "{% set ns.x = ns.x + ns.x %}{% endfor %}"),
              HasSubstr("does not come to an end"));
  EXPECT_THAT(refusal("{% set ns = namespace(x=[1]) %}{% for i in range(9999) %}"
                      "{% set ns.x = [ns.x] %}{% endfor %}"),
              HasSubstr("nested too deep"));
  EXPECT_THAT(refusal("{% set ns = namespace(x=1) %}{% set ns.y = ns %}"), HasSubstr("namespace"));
  EXPECT_THAT(refusal("{{ " + many(100000, "(") + "1" + many(100000, ")") + " }}"),
              HasSubstr("nested too deep"));
  EXPECT_THAT(refusal("{{ " + many(100000, "not ") + "1 }}"), HasSubstr("nested too deep"));
  EXPECT_THAT(refusal("{{ 1" + many(100000, " + 1") + " }}"), HasSubstr("nested too deep"));
  EXPECT_THAT(refusal("{{ a" + many(100000, "[0]") + " }}"), HasSubstr("nested too deep"));
  EXPECT_THAT(refusal(many(100000, "{% if 1 %}")), HasSubstr("nested too deep"));
  EXPECT_THAT(refusal("{{ 'abc'.replace('b', 'x' * 3) }}"), HasSubstr("cannot compute"));
}

}  // namespace
}  // namespace npu::llm
