// SPDX-License-Identifier: MIT
#include "llm-runtime/serve/session.hpp"

namespace npu::llm::serve {

Session::Session(Ticket ticket, const Tokenizer& tokenizer, std::uint32_t cached)
    : ticket_(std::move(ticket)),
      tokenizer_(tokenizer),
      sampler_(ticket_.job.sampler),
      decoder_(tokenizer),
      stop_(ticket_.job.stop),
      done_(cached) {
  for (const TokenId token : ticket_.job.prompt) sampler_.accept(token);
  usage_.prompt_tokens = static_cast<std::uint32_t>(ticket_.job.prompt.size());
  usage_.cached_tokens = cached;
}

/// OpenAI's penalties: by how often a token was said in this answer, and for having been said.
std::span<const float> Session::penalised(std::span<const float> logits) {
  const Job& job = ticket_.job;
  if (said_.empty()) return logits;
  logits_.assign(logits.begin(), logits.end());
  for (const auto& [token, times] : said_) {
    logits_[static_cast<std::size_t>(token)] -=
        static_cast<float>(times) * job.frequency_penalty + job.presence_penalty;
  }
  return logits_;
}

bool Session::choose(std::span<const float> logits, bool may_go_on) {
  const Job& job = ticket_.job;
  next_ = sampler_.sample(penalised(logits));
  sampler_.accept(next_);
  if (job.frequency_penalty != 0 || job.presence_penalty != 0) ++said_[next_];
  ++usage_.tokens;
  if (tokenizer_.is_eog(next_)) {
    finish(Finish::stop);
    return true;
  }
  std::string text = stop_.push(decoder_.push(next_));
  if (!text.empty()) answer().add({ticket_.choice, std::move(text), std::nullopt});
  if (stop_.stopped()) {
    finish(Finish::stop);
    return true;
  }
  if (usage_.tokens == job.most_tokens || !may_go_on) {
    finish(Finish::length);
    return true;
  }
  return false;
}

void Session::finish(Finish finish) {
  std::string text = stop_.push(decoder_.flush());
  text += stop_.flush();
  answer().add_usage(usage_);
  answer().add({ticket_.choice, std::move(text), finish});
}

}  // namespace npu::llm::serve
