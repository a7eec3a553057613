// SPDX-License-Identifier: MIT
// From a conversation to the text that the model was trained on: its own Jinja template.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "llm-runtime/gguf.hpp"
#include "llm-runtime/tokenizer.hpp"

namespace npu::llm {

struct ChatMessage {
  std::string role;  ///< "system", "user" or "assistant"
  std::string content;
};

/// Immutable, shared by copies, safe to use from several threads.
class ChatTemplate {
 public:
  /// "<|im_start|>role\ncontent<|im_end|>\n" for each message, and nothing else.
  static ChatTemplate chatml();

  /// The template of tokenizer.chat_template; ChatML if the file has none, but the tokens
  /// <|im_start|> and <|im_end|>. Throws Error(bad_file) that names the line and the construct that
  /// this interpreter does not know, or if the file has neither.
  static ChatTemplate of_model(const GgufFile& file, const Tokenizer& tokenizer);

  /// `bos` and `eos` are what the template gets as bos_token and eos_token.
  explicit ChatTemplate(std::string_view source, std::string bos = "", std::string eos = "");

  /// With `add_generation_prompt` the text ends where the assistant is to speak. The result is to
  /// be encoded with special tokens. Nothing is escaped: a message that spells a special token is
  /// taken for one, as llama.cpp does. Throws Error(bad_file) for what the template needs and this
  /// interpreter has not, Error(invalid_argument) with the template's own words if it refuses the
  /// messages.
  std::string render(std::span<const ChatMessage> messages, bool add_generation_prompt) const;

  /// The same for a JSON object with messages, add_generation_prompt, tools and whatever else the
  /// template asks for. A message's content may be a list of {"type": "text", "text": ...}.
  std::string render(const nlohmann::ordered_json& variables) const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

}  // namespace npu::llm
