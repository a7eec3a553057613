// SPDX-License-Identifier: MIT
#include "llm-runtime/dialog.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "regdb/error.hpp"

namespace npu::llm {
namespace {

using Clock = std::chrono::steady_clock;

/// Room that a prompt leaves for its answer, if the context is large enough.
constexpr std::uint32_t kAnswerRoom = 64;

bool is_system(const ChatMessage& message) { return message.role == "system"; }

bool cancelled(const ReplyHooks& hooks) { return hooks.cancel != nullptr && hooks.cancel->load(); }

}  // namespace

std::string_view to_string(Finish finish) {
  switch (finish) {
    case Finish::stop: return "stop";
    case Finish::length: return "length";
    case Finish::cancelled: return "cancelled";
  }
  return "unknown";
}

Dialog::Dialog(Engine& engine, Tokenizer tokenizer, ChatTemplate chat_template,
               SamplerOptions sampler, std::uint32_t sequence)
    : engine_(engine),
      tokenizer_(std::move(tokenizer)),
      template_(std::move(chat_template)),
      sampler_(sampler),
      sequence_(sequence) {}

void Dialog::set_system(const std::string& text) {
  if (!messages_.empty() && is_system(messages_.front())) messages_.erase(messages_.begin());
  if (!text.empty()) messages_.insert(messages_.begin(), {"system", text});
}

std::string Dialog::system() const {
  return !messages_.empty() && is_system(messages_.front()) ? messages_.front().content : "";
}

void Dialog::reset() {
  const std::string text = system();
  messages_.clear();
  set_system(text);
  sampler_.forget();
}

/// The conversation as tokens, without its oldest messages if it has to be.
std::vector<TokenId> Dialog::prompt(Reply& reply, const ReplyHooks& hooks) {
  const std::uint32_t context = engine_.context();
  const std::uint32_t most = context > 4 * kAnswerRoom ? context - kAnswerRoom : context - 1;
  for (;;) {
    std::vector<TokenId> tokens = tokenizer_.encode(template_.render(messages_, true), true);
    if (tokens.empty()) {
      throw Error(ErrorCode::bad_file,
                  "the chat template and the tokenizer make no token of this conversation: try "
                  "--chat-template chatml, or another model");
    }
    if (tokens.size() <= most) {
      if (reply.dropped_messages != 0 && hooks.notice) {
        hooks.notice(
            fmt::format("the context of {} tokens is full: the oldest {} message(s) are "
                        "forgotten",
                        context, reply.dropped_messages));
      }
      return tokens;
    }
    // With a question goes its answer.
    const std::size_t first = !messages_.empty() && is_system(messages_.front()) ? 1 : 0;
    std::size_t last = first + 1;
    while (last < messages_.size() && messages_[last].role != "user") ++last;
    if (last >= messages_.size()) {
      throw Error(
          ErrorCode::invalid_argument,
          fmt::format("the message needs {} tokens, and the context has {}: say it in fewer "
                      "words, or ask for a larger context (-c)",
                      tokens.size(), context));
    }
    reply.dropped_messages += static_cast<std::uint32_t>(last - first);
    messages_.erase(messages_.begin() + static_cast<std::ptrdiff_t>(first),
                    messages_.begin() + static_cast<std::ptrdiff_t>(last));
  }
}

/// Drops the older half of what is behind the system message, and evaluates the rest anew.
void Dialog::make_room(Reply& reply, const ReplyHooks& hooks) {
  const auto have = static_cast<std::uint32_t>(engine_.tokens(sequence_).size());
  std::uint32_t keep = 0;
  if (!system().empty()) {
    const std::vector<ChatMessage> first{messages_.front()};
    const auto tokens = tokenizer_.encode(template_.render(first, false), true);
    keep = std::min(static_cast<std::uint32_t>(tokens.size()), have / 2);
  }
  const std::uint32_t count = std::max((have - keep) / 2, 1u);
  engine_.remove(sequence_, keep, count);
  ++reply.shifts;
  if (hooks.notice) {
    hooks.notice(fmt::format("the context of {} tokens is full: the oldest {} tokens are forgotten",
                             engine_.context(), count));
  }
}

Reply Dialog::ask(const std::string& text, std::uint32_t most_tokens, const ReplyHooks& hooks) {
  const std::vector<ChatMessage> before = messages_;
  Reply reply;
  try {
    messages_.push_back({"user", text});
    const std::vector<TokenId> tokens = prompt(reply, hooks);
    reply.prompt_tokens = static_cast<std::uint32_t>(tokens.size());
    const std::span<const std::int32_t> have = engine_.tokens(sequence_);
    // The last token is evaluated in any case, for its logits.
    const std::size_t common =
        std::min(static_cast<std::size_t>(std::ranges::mismatch(have, tokens).in1 - have.begin()),
                 tokens.size() - 1);
    reply.cached_tokens = static_cast<std::uint32_t>(common);

    sampler_.forget();
    for (const TokenId token : tokens) sampler_.accept(token);
    const auto start = Clock::now();
    std::span<const float> logits;
    // By the batch, so that a long prompt can be cancelled.
    for (std::size_t end = common; end < tokens.size() && !cancelled(hooks);) {
      end = std::min(tokens.size(), end + engine_.options().batch);
      logits = engine_.set(sequence_, std::span(tokens).first(end));
    }
    const auto first = Clock::now();
    reply.prefill = first - start;
    if (cancelled(hooks)) {
      messages_ = before;
      reply.finish = Finish::cancelled;
      return reply;
    }

    StreamDecoder decoder(tokenizer_);
    const auto say = [&](const std::string& piece) {
      reply.text += piece;
      if (hooks.text && !piece.empty()) hooks.text(piece);
    };
    for (;;) {
      const TokenId token = sampler_.sample(logits);
      sampler_.accept(token);
      ++reply.tokens;
      if (tokenizer_.is_eog(token)) {
        reply.finish = Finish::stop;
        break;
      }
      say(decoder.push(token));
      if (most_tokens != 0 && reply.tokens >= most_tokens) {
        reply.finish = Finish::length;
        break;
      }
      if (cancelled(hooks)) {
        reply.finish = Finish::cancelled;
        break;
      }
      if (engine_.tokens(sequence_).size() == engine_.context()) make_room(reply, hooks);
      logits = engine_.append(sequence_, std::span(&token, 1));
    }
    say(decoder.flush());
    reply.decode = Clock::now() - first;
  } catch (...) {
    messages_ = before;
    throw;
  }
  messages_.push_back({"assistant", reply.text});
  return reply;
}

}  // namespace npu::llm
