// SPDX-License-Identifier: MIT
// A conversation with a model: messages in, an answer that streams out.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "llm-runtime/chat_template.hpp"
#include "llm-runtime/engine.hpp"
#include "llm-runtime/sampler.hpp"
#include "llm-runtime/tokenizer.hpp"

namespace npu::llm {

enum class Finish : std::uint8_t {
  stop,       ///< the model ended its answer
  length,     ///< as long as was allowed
  cancelled,  ///< by `cancel`
};
std::string_view to_string(Finish finish);  ///< "stop", "length", "cancelled"

struct Reply {
  std::string text;
  Finish finish = Finish::stop;
  std::uint32_t prompt_tokens = 0;  ///< of the whole conversation
  std::uint32_t cached_tokens = 0;  ///< of these, how many were there already
  std::uint32_t tokens = 0;         ///< made, the end of the answer included
  std::chrono::duration<double> prefill{}, decode{};
  std::uint32_t dropped_messages = 0;  ///< forgotten before, for they did not fit
  std::uint32_t shifts = 0;            ///< how often the context was shifted meanwhile
  double decode_rate() const { return tokens > 1 ? (tokens - 1) / decode.count() : 0; }
  double prefill_rate() const {
    const auto evaluated = static_cast<double>(prompt_tokens - cached_tokens);
    return prefill.count() > 0 ? evaluated / prefill.count() : 0;
  }
};

/// Told while an answer is made. All may be empty.
struct ReplyHooks {
  std::function<void(std::string_view text)> text;  ///< the next piece, whole characters
  std::function<void(std::string_view notice)>
      notice;                                 ///< for the person: the context is full, ...
  const std::atomic<bool>* cancel = nullptr;  ///< looked at between tokens
};

class Dialog {
 public:
  /// Speaks in one sequence of the engine, which must outlive it.
  Dialog(Engine& engine, Tokenizer tokenizer, ChatTemplate chat_template, SamplerOptions sampler,
         std::uint32_t sequence = 0);

  const std::vector<ChatMessage>& messages() const { return messages_; }
  /// Replaces the conversation. The next answer evaluates only what is new.
  void set_messages(std::vector<ChatMessage> messages) { messages_ = std::move(messages); }
  /// The system message, first or none; "" removes it.
  void set_system(const std::string& text);
  std::string system() const;
  /// Forgets everything but the system message.
  void reset();
  void set_sampler(const SamplerOptions& options) { sampler_ = Sampler(options); }
  const Tokenizer& tokenizer() const { return tokenizer_; }

  /// Adds the user's message and the answer. A conversation that has outgrown the context loses its
  /// oldest messages, an answer that does is continued over the newer half; both with a notice.
  /// `most_tokens` 0: no limit. Throws invalid_argument if the message alone does not fit, what the
  /// engine throws; the conversation is then as it was before, as it is after a cancelled prefill.
  /// A cancelled answer stays as far as it came.
  Reply ask(const std::string& text, std::uint32_t most_tokens, const ReplyHooks& hooks);

 private:
  std::vector<TokenId> prompt(Reply& reply, const ReplyHooks& hooks);
  void make_room(Reply& reply, const ReplyHooks& hooks);

  Engine& engine_;
  Tokenizer tokenizer_;
  ChatTemplate template_;
  Sampler sampler_;
  std::uint32_t sequence_;
  std::vector<ChatMessage> messages_;
};

}  // namespace npu::llm
