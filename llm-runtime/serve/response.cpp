// SPDX-License-Identifier: MIT
#include "llm-runtime/serve/response.hpp"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <nlohmann/json.hpp>
#include <random>

namespace npu::llm::serve {
namespace {

// In the order in which OpenAI's documents show the fields.
using json = nlohmann::ordered_json;

/// Compact; what a model says is valid UTF-8, what a client sent need not be.
std::string text_of(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

json or_null(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

json usage_of(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.tokens},
          {"total_tokens", usage.prompt_tokens + usage.tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
}

/// OpenAI knows no "cancelled"; who cancelled is not there to read it.
std::string_view reason(Finish finish) { return finish == Finish::stop ? "stop" : "length"; }

json frame(const AnswerHead& head, std::string_view object) {
  return {{"id", head.id}, {"object", object}, {"created", head.created}, {"model", head.model}};
}

/// An event with one choice, or none for `choice` null.
std::string chunk(const AnswerHead& head, const json& choice, const Usage* usage) {
  json value = frame(head, head.kind == Kind::chat ? "chat.completion.chunk" : "text_completion");
  value["choices"] = choice.is_null() ? json::array() : json::array({choice});
  if (usage != nullptr) {
    value["usage"] = usage_of(*usage);
  } else if (head.include_usage) {
    value["usage"] = nullptr;
  }
  return event(text_of(value));
}

std::string choice_event(const AnswerHead& head, std::uint32_t index, json delta,
                         std::string_view text, json finish) {
  json choice{{"index", index}};
  if (head.kind == Kind::chat) {
    choice["delta"] = std::move(delta);
  } else {
    choice["text"] = text;
  }
  choice["logprobs"] = nullptr;
  choice["finish_reason"] = std::move(finish);
  return chunk(head, choice, nullptr);
}

}  // namespace

AnswerHead new_head(Kind kind, const std::string& model, bool include_usage) {
  static const std::uint64_t process = std::random_device{}();
  static std::atomic<std::uint64_t> next{0};
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return {.kind = kind,
          .id = fmt::format("{}-{:08x}{:016x}", kind == Kind::chat ? "chatcmpl" : "cmpl",
                            process & 0xFFFFFFFFu, next++),
          .model = model,
          .created = std::chrono::duration_cast<std::chrono::seconds>(now).count(),
          .include_usage = include_usage};
}

std::string answer_json(const AnswerHead& head, std::span<const Choice> choices,
                        const Usage& usage) {
  const bool chat = head.kind == Kind::chat;
  json value = frame(head, chat ? "chat.completion" : "text_completion");
  value["choices"] = json::array();
  std::uint32_t index = 0;
  for (const Choice& choice : choices) {
    json entry{{"index", index++}};
    if (chat) {
      entry["message"] = {{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}};
    } else {
      entry["text"] = choice.text;
    }
    entry["logprobs"] = nullptr;
    entry["finish_reason"] = reason(choice.finish);
    value["choices"].push_back(std::move(entry));
  }
  value["usage"] = usage_of(usage);
  return text_of(value);
}

std::string event(std::string_view data) { return fmt::format("data: {}\n\n", data); }

std::string role_event(const AnswerHead& head, std::uint32_t index) {
  return choice_event(head, index, {{"role", "assistant"}, {"content", ""}}, "", nullptr);
}

std::string text_event(const AnswerHead& head, std::uint32_t index, std::string_view text) {
  return choice_event(head, index, {{"content", text}}, text, nullptr);
}

std::string finish_event(const AnswerHead& head, std::uint32_t index, Finish finish) {
  return choice_event(head, index, json::object(), "", reason(finish));
}

std::string usage_event(const AnswerHead& head, const Usage& usage) {
  return chunk(head, nullptr, &usage);
}

std::string error_json(const Refusal& refusal) {
  return text_of({{"error",
                   {{"message", refusal.message},
                    {"type", refusal.type},
                    {"param", or_null(refusal.param)},
                    {"code", or_null(refusal.code)}}}});
}

std::string models_json(const std::string& model, std::int64_t created, std::uint32_t context,
                        std::uint64_t parameters) {
  const json entry{{"id", model},
                   {"object", "model"},
                   {"created", created},
                   {"owned_by", "rosenblatt"},
                   {"meta", {{"n_ctx", context}, {"n_params", parameters}}}};
  return text_of({{"object", "list"}, {"data", json::array({entry})}});
}

}  // namespace npu::llm::serve
