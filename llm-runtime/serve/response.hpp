// SPDX-License-Identifier: MIT
// What a client gets: the JSON of OpenAI's API, whole or as server-sent events.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "llm-runtime/dialog.hpp"
#include "llm-runtime/serve/request.hpp"

namespace npu::llm::serve {

struct Usage {
  std::uint32_t prompt_tokens = 0;
  std::uint32_t cached_tokens = 0;  ///< of these, how many were there already
  std::uint32_t tokens = 0;         ///< made, the end of the answer included
};

/// What all parts of one answer have in common.
struct AnswerHead {
  Kind kind = Kind::chat;
  std::string id;  ///< "chatcmpl-..."
  std::string model;
  std::int64_t created = 0;  ///< seconds since 1970
  bool include_usage = false;
};

/// An id that no other answer has, and the time.
AnswerHead new_head(Kind kind, const std::string& model, bool include_usage);

struct Choice {
  std::string text;
  Finish finish = Finish::stop;
};

/// The answer of a request that does not stream.
std::string answer_json(const AnswerHead& head, std::span<const Choice> choices,
                        const Usage& usage);

/// One event: "data: ...\n\n".
std::string event(std::string_view data);
inline constexpr std::string_view kDone = "data: [DONE]\n\n";

/// Events of a streamed answer. A chat begins with one that names the role.
std::string role_event(const AnswerHead& head, std::uint32_t index);
std::string text_event(const AnswerHead& head, std::uint32_t index, std::string_view text);
std::string finish_event(const AnswerHead& head, std::uint32_t index, Finish finish);
std::string usage_event(const AnswerHead& head, const Usage& usage);

/// {"error": {"message", "type", "param", "code"}}
std::string error_json(const Refusal& refusal);

/// The list with the one model that is served.
std::string models_json(const std::string& model, std::int64_t created, std::uint32_t context,
                        std::uint64_t parameters);

}  // namespace npu::llm::serve
