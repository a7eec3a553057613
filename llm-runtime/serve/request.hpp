// SPDX-License-Identifier: MIT
// What a client asks for: the JSON of OpenAI's API as a plain struct, or why it is refused.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "llm-runtime/chat_template.hpp"
#include "llm-runtime/sampler.hpp"
#include "llm-runtime/tokenizer.hpp"

namespace npu::llm::serve {

/// An answer that is an error, in OpenAI's words.
struct Refusal {
  int status = 400;
  std::string message;
  std::string type = "invalid_request_error";
  std::string param;    ///< the field that is wrong; "" is null in the JSON
  std::string code;     ///< "" is null
  int retry_after = 0;  ///< seconds; 0: no such header
};

enum class Kind : std::uint8_t { chat, completion };

/// Text, or ids as they are.
using Prompt = std::variant<std::string, std::vector<TokenId>>;

struct CompletionRequest {
  Kind kind = Kind::chat;
  std::vector<ChatMessage> messages;  ///< of a chat
  std::vector<Prompt> prompts;        ///< of a completion; one choice for each
  SamplerOptions sampler;
  bool seeded = false;            ///< the client named a seed
  float frequency_penalty = 0;    ///< for each time that a token was said
  float presence_penalty = 0;     ///< for a token that was said
  std::uint32_t most_tokens = 0;  ///< 0: the client does not say
  std::vector<std::string> stop;  ///< the answer ends before any of these
  bool stream = false;
  bool include_usage = false;  ///< a last chunk with the counts
};

/// Most prompts in one request, most stop strings.
inline constexpr std::size_t kMostPrompts = 64, kMostStops = 4, kLongestStop = 1024;

/// Reads the body of /v1/chat/completions or /v1/completions. `defaults` are the sampler's where
/// the request says nothing. Fields that mean nothing here are ignored; those that would change the
/// answer and cannot be had are refused by name. Never throws but std::bad_alloc.
std::variant<CompletionRequest, Refusal> parse_request(std::string_view body, Kind kind,
                                                       const SamplerOptions& defaults);

}  // namespace npu::llm::serve
