// SPDX-License-Identifier: MIT
#include "llm-runtime/serve/request.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

namespace npu::llm::serve {
namespace {

using nlohmann::json;

constexpr int kDeepest = 32;  // lists and objects within each other

/// Thrown and caught in this file only.
struct Refused {
  Refusal refusal;
};

[[noreturn]] void refuse(std::string param, std::string message) {
  throw Refused{{.status = 400, .message = std::move(message), .param = std::move(param)}};
}

[[noreturn]] void not_supported(const std::string& param, const std::string& remedy) {
  throw Refused{{.status = 400,
                 .message = fmt::format("'{}' is not supported by this server: {}", param, remedy),
                 .param = param,
                 .code = "unsupported_parameter"}};
}

/// The field, or nullptr if it is not there or null.
const json* find(const json& object, const char* name) {
  const auto it = object.find(name);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

float number(const json& object, const char* name, float fallback, double least, double most) {
  const json* value = find(object, name);
  if (value == nullptr) return fallback;
  const double got = value->is_number() ? value->get<double>() : std::nan("");
  if (!(got >= least && got <= most)) {
    refuse(name, fmt::format("'{}' must be a number from {} to {}", name, least, most));
  }
  return static_cast<float>(got);
}

std::uint32_t count(const json& object, const char* name, std::uint32_t fallback,
                    std::uint32_t least) {
  const json* value = find(object, name);
  if (value == nullptr) return fallback;
  constexpr std::uint64_t kMost = std::numeric_limits<std::int32_t>::max();
  if (!value->is_number_unsigned() || value->get<std::uint64_t>() < least ||
      value->get<std::uint64_t>() > kMost) {
    refuse(name, fmt::format("'{}' must be a whole number from {} to {}", name, least, kMost));
  }
  return value->get<std::uint32_t>();
}

bool flag(const json& object, const char* name) {
  const json* value = find(object, name);
  if (value == nullptr) return false;
  if (!value->is_boolean()) refuse(name, fmt::format("'{}' must be true or false", name));
  return value->get<bool>();
}

/// A string, or a list of parts of type "text".
std::string content_of(const json& message, const std::string& where) {
  const json* content = find(message, "content");
  if (content == nullptr) {
    // An assistant that called a tool says nothing; elsewhere it is a mistake.
    if (message.value("role", "") == "assistant") return "";
    refuse(where + ".content", fmt::format("'{}.content' is missing", where));
  }
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) {
    refuse(where + ".content",
           fmt::format("'{}.content' must be a string or a list of text parts", where));
  }
  std::string text;
  for (std::size_t i = 0; i < content->size(); ++i) {
    const json& part = (*content)[i];
    const std::string name = fmt::format("{}.content[{}]", where, i);
    const json* type = part.is_object() ? find(part, "type") : nullptr;
    if (type == nullptr || !type->is_string()) {
      refuse(name, fmt::format("'{}' must be an object with a 'type'", name));
    }
    const json* words = find(part, "text");
    if (*type != "text") not_supported(name, "this model reads text only");
    if (words == nullptr || !words->is_string()) {
      refuse(name + ".text", fmt::format("'{}.text' must be a string", name));
    }
    text += words->get_ref<const std::string&>();
  }
  return text;
}

std::vector<ChatMessage> messages_of(const json& object) {
  const json* list = find(object, "messages");
  if (list == nullptr || !list->is_array() || list->empty()) {
    refuse("messages", "'messages' must be a list of at least one message");
  }
  std::vector<ChatMessage> messages;
  for (std::size_t i = 0; i < list->size(); ++i) {
    const json& message = (*list)[i];
    const std::string where = fmt::format("messages[{}]", i);
    if (!message.is_object()) refuse(where, fmt::format("'{}' must be an object", where));
    const json* role = find(message, "role");
    if (role == nullptr || !role->is_string()) {
      refuse(where + ".role", fmt::format("'{}.role' must be a string", where));
    }
    std::string name = role->get<std::string>();
    if (name == "developer") name = "system";  // OpenAI's newer name
    if (name == "tool" || name == "function") {
      not_supported(where + ".role", "tools are not supported");
    }
    if (name != "system" && name != "user" && name != "assistant") {
      refuse(where + ".role",
             fmt::format("'{}.role' must be system, developer, user or assistant", where));
    }
    if (const json* calls = find(message, "tool_calls"); calls != nullptr && !calls->empty()) {
      not_supported(where + ".tool_calls", "tools are not supported");
    }
    messages.push_back({std::move(name), content_of(message, where)});
  }
  return messages;
}

std::vector<TokenId> ids_of(const json& list) {
  std::vector<TokenId> ids;
  for (const json& id : list) {
    if (!id.is_number_unsigned() ||
        id.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<TokenId>::max()}) {
      refuse("prompt", "'prompt' holds something that is no token id");
    }
    ids.push_back(id.get<TokenId>());
  }
  return ids;
}

std::vector<Prompt> prompts_of(const json& object) {
  const json* prompt = find(object, "prompt");
  if (prompt == nullptr) refuse("prompt", "'prompt' is missing");
  if (prompt->is_string()) return {prompt->get<std::string>()};
  if (!prompt->is_array() || prompt->empty()) {
    refuse("prompt",
           "'prompt' must be a string, a list of strings, a list of token ids, or a list "
           "of such lists");
  }
  if (prompt->front().is_number()) return {ids_of(*prompt)};
  if (prompt->size() > kMostPrompts) {
    refuse("prompt", fmt::format("'prompt' holds more than {} prompts", kMostPrompts));
  }
  std::vector<Prompt> prompts;
  for (const json& one : *prompt) {
    if (one.is_string()) {
      prompts.emplace_back(one.get<std::string>());
    } else if (one.is_array()) {
      prompts.emplace_back(ids_of(one));
    } else {
      refuse("prompt", "'prompt' must hold strings or lists of token ids");
    }
  }
  return prompts;
}

std::vector<std::string> stops_of(const json& object) {
  const json* stop = find(object, "stop");
  std::vector<std::string> strings;
  if (stop == nullptr) return strings;
  const auto add = [&](const json& one) {
    if (!one.is_string() || one.get_ref<const std::string&>().empty() ||
        one.get_ref<const std::string&>().size() > kLongestStop) {
      refuse("stop", fmt::format("'stop' must hold strings of 1 to {} bytes", kLongestStop));
    }
    strings.push_back(one.get<std::string>());
  };
  if (stop->is_array()) {
    if (stop->size() > kMostStops) {
      refuse("stop", fmt::format("'stop' holds more than {} strings", kMostStops));
    }
    for (const json& one : *stop) add(one);
  } else {
    add(*stop);
  }
  return strings;
}

/// What would change the answer and cannot be had.
void refuse_unsupported(const json& object, Kind kind) {
  for (const char* name : {"tools", "functions"}) {
    const json* value = find(object, name);
    if (value != nullptr && !value->empty()) {
      not_supported(name, "ask without tools");
    }
  }
  const json* choice = find(object, "tool_choice");
  if (choice != nullptr && *choice != "none" && *choice != "auto") {
    not_supported("tool_choice", "ask without tools");
  }
  for (const char* name : {"n", "best_of"}) {
    if (count(object, name, 1, 1) != 1) not_supported(name, "only 1; ask several times");
  }
  const json* logprobs = find(object, "logprobs");
  if (logprobs != nullptr && *logprobs != false) not_supported("logprobs", "leave it out");
  if (count(object, "top_logprobs", 0, 0) != 0) not_supported("top_logprobs", "leave it out");
  const json* bias = find(object, "logit_bias");
  if (bias != nullptr && !bias->empty()) not_supported("logit_bias", "leave it out");
  const json* format = find(object, "response_format");
  if (format != nullptr && (!format->is_object() || format->value("type", json()) != "text")) {
    not_supported("response_format", "only {\"type\": \"text\"}");
  }
  if (kind == Kind::completion) {
    if (flag(object, "echo")) not_supported("echo", "leave it out");
    const json* suffix = find(object, "suffix");
    if (suffix != nullptr && *suffix != "") not_supported("suffix", "leave it out");
  }
}

CompletionRequest read(const json& object, Kind kind, const SamplerOptions& defaults) {
  if (!object.is_object()) refuse("", "the body must be a JSON object");
  CompletionRequest r;
  r.kind = kind;
  if (kind == Kind::chat) {
    r.messages = messages_of(object);
  } else {
    r.prompts = prompts_of(object);
  }
  refuse_unsupported(object, kind);

  r.sampler = defaults;
  r.sampler.temperature = number(object, "temperature", defaults.temperature, 0, 100);
  // OpenAI allows 0, which leaves the best token only: so does any small number here.
  r.sampler.top_p = std::max(number(object, "top_p", defaults.top_p, 0, 1), 1e-9f);
  r.sampler.top_k = count(object, "top_k", defaults.top_k, 0);
  r.sampler.min_p = number(object, "min_p", defaults.min_p, 0, 1);
  r.sampler.repeat_penalty = number(object, "repeat_penalty", defaults.repeat_penalty, 0.01, 100);
  r.frequency_penalty = number(object, "frequency_penalty", 0, -2, 2);
  r.presence_penalty = number(object, "presence_penalty", 0, -2, 2);
  if (const json* seed = find(object, "seed")) {
    if (!seed->is_number_integer()) refuse("seed", "'seed' must be a whole number");
    r.sampler.seed = seed->is_number_unsigned()
                         ? seed->get<std::uint64_t>()
                         : static_cast<std::uint64_t>(seed->get<std::int64_t>());
    r.seeded = true;
  }
  r.most_tokens = count(object, "max_tokens", 0, 1);
  r.most_tokens = count(object, "max_completion_tokens", r.most_tokens, 1);
  r.stop = stops_of(object);
  r.stream = flag(object, "stream");
  if (const json* options = find(object, "stream_options")) {
    if (!options->is_object()) refuse("stream_options", "'stream_options' must be an object");
    if (!r.stream) refuse("stream_options", "'stream_options' needs 'stream': true");
    r.include_usage = flag(*options, "include_usage");
  }
  if (const json* model = find(object, "model"); model != nullptr && !model->is_string()) {
    refuse("model", "'model' must be a string");
  }
  return r;
}

}  // namespace

std::variant<CompletionRequest, Refusal> parse_request(std::string_view body, Kind kind,
                                                       const SamplerOptions& defaults) {
  try {
    const auto shallow = [](int depth, json::parse_event_t, json&) {
      if (depth > kDeepest) refuse("", "the JSON is nested too deep");
      return true;
    };
    return read(json::parse(body, shallow), kind, defaults);
  } catch (const Refused& refused) {
    return refused.refusal;
  } catch (const json::parse_error& error) {
    return Refusal{.message = fmt::format("the body is no JSON: at byte {}", error.byte)};
  } catch (const json::exception&) {
    // A number beyond double's range, for one.
    return Refusal{.message = "the body holds JSON that cannot be read: check its numbers"};
  }
}

}  // namespace npu::llm::serve
