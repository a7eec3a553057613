// SPDX-License-Identifier: MIT
#include "llm-runtime/chat_template.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "llm-runtime/jinja/evaluate.hpp"
#include "llm-runtime/jinja/value.hpp"
#include "regdb/error.hpp"

namespace npu::llm {
namespace {

using jinja::Json;

constexpr std::string_view kChatMl =
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

[[noreturn]] void refuse(const std::string& reason) {
  throw Error(ErrorCode::invalid_argument, reason);
}

/// OpenAI's list of parts as one text.
void join_parts(Json& content) {
  std::string text;
  for (const Json& part : content) {
    if (!part.is_object() || !part.contains("type") || part["type"] != "text" ||
        !part.contains("text") || !part["text"].is_string())
      refuse("a message may hold text only: {\"type\": \"text\", \"text\": \"...\"}");
    text += part["text"].get_ref<const std::string&>();
  }
  content = std::move(text);
}

void check_messages(Json& variables) {
  if (!variables.is_object() || !variables.contains("messages") ||
      !variables["messages"].is_array())
    refuse("\"messages\" must be a list");
  for (Json& message : variables["messages"]) {
    if (!message.is_object() || !message.contains("role") || !message["role"].is_string())
      refuse("each message must be an object with a \"role\"");
    if (!message.contains("content")) message["content"] = nullptr;
    Json& content = message["content"];
    if (content.is_array()) join_parts(content);
    if (!content.is_string() && !content.is_null())
      refuse("the \"content\" of a message must be a string");
  }
}

}  // namespace

struct ChatTemplate::State {
  jinja::Node body;
  std::string bos, eos;
};

ChatTemplate::ChatTemplate(std::string_view source, std::string bos, std::string eos)
    : state_(std::make_shared<const State>(
          State{jinja::parse(source), std::move(bos), std::move(eos)})) {}

ChatTemplate ChatTemplate::chatml() { return ChatTemplate(kChatMl); }

ChatTemplate ChatTemplate::of_model(const GgufFile& file, const Tokenizer& tokenizer) {
  constexpr std::string_view kKey = "tokenizer.chat_template";
  if (!file.has(kKey)) {
    if (tokenizer.find("<|im_start|>") && tokenizer.find("<|im_end|>")) return chatml();
    throw Error(ErrorCode::bad_file,
                fmt::format("{}: no metadata '{}' and no tokens of ChatML: this is no chat model",
                            file.path(), kKey));
  }
  const auto spelling = [&](std::optional<TokenId> token) {
    return token ? std::string(tokenizer.text(*token)) : std::string();
  };
  return ChatTemplate(file.get_string(kKey), spelling(tokenizer.bos()), spelling(tokenizer.eos()));
}

std::string ChatTemplate::render(std::span<const ChatMessage> messages,
                                 bool add_generation_prompt) const {
  Json list = Json::array();
  for (const ChatMessage& message : messages) {
    Json entry = Json::object();
    entry["role"] = message.role;
    entry["content"] = message.content;
    list.push_back(std::move(entry));
  }
  Json variables = Json::object();
  variables["messages"] = std::move(list);
  variables["add_generation_prompt"] = add_generation_prompt;
  return render(variables);
}

std::string ChatTemplate::render(const nlohmann::ordered_json& given) const {
  if (jinja::nested_deeper(given, jinja::kDeepestValue)) refuse("the JSON is nested too deep");
  Json variables = given;
  check_messages(variables);
  // Names that transformers always gives.
  for (const auto& [name, value] : {std::pair<const char*, Json>{"add_generation_prompt", false},
                                    {"tools", nullptr},
                                    {"documents", nullptr},
                                    {"bos_token", state_->bos},
                                    {"eos_token", state_->eos}}) {
    if (!variables.contains(name)) variables[name] = value;
  }
  return jinja::render(state_->body, variables);
}

}  // namespace npu::llm
