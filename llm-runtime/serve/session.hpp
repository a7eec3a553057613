// SPDX-License-Identifier: MIT
// One answer that is being made: from logits to text, until it ends.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "llm-runtime/sampler.hpp"
#include "llm-runtime/serve/answer.hpp"
#include "llm-runtime/serve/scheduler.hpp"
#include "llm-runtime/serve/stop_filter.hpp"
#include "llm-runtime/tokenizer.hpp"

namespace npu::llm::serve {

/// A job and where its answer goes.
struct Ticket {
  std::shared_ptr<Answer> answer;
  std::uint32_t choice = 0;
  Job job;
  std::chrono::steady_clock::time_point submitted;
};

class Session {
 public:
  Session(Ticket ticket, const Tokenizer& tokenizer, std::uint32_t cached);

  Answer& answer() const { return *ticket_.answer; }
  const Ticket& ticket() const { return ticket_; }

  /// Tokens of the prompt that are not evaluated yet.
  std::span<const TokenId> rest() const { return std::span(ticket_.job.prompt).subspan(done_); }
  void evaluated(std::size_t tokens) { done_ += tokens; }
  bool generating() const { return done_ == ticket_.job.prompt.size(); }

  /// The token that was chosen last, to be evaluated next.
  TokenId next() const { return next_; }
  /// Chooses a token and says what it adds. `may_go_on`: the context has room for it. True if the
  /// answer has ended. Throws what Sampler::sample() throws.
  bool choose(std::span<const float> logits, bool may_go_on);

  const Usage& usage() const { return usage_; }

 private:
  std::span<const float> penalised(std::span<const float> logits);
  void finish(Finish finish);

  Ticket ticket_;
  const Tokenizer& tokenizer_;
  Sampler sampler_;
  StreamDecoder decoder_;
  StopFilter stop_;
  std::size_t done_;
  TokenId next_ = 0;
  Usage usage_;
  std::unordered_map<TokenId, std::uint32_t> said_;  ///< kept if a penalty wants it
  std::vector<float> logits_;
};

}  // namespace npu::llm::serve
