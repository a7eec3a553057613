// SPDX-License-Identifier: MIT
#include "llm-runtime/serve/answer.hpp"

#include <iterator>

namespace npu::llm::serve {

void Answer::add(Piece piece) {
  {
    const std::lock_guard lock(mutex_);
    if (piece.finish) --running_;
    pieces_.push_back(std::move(piece));
  }
  changed_.notify_one();
}

void Answer::add_usage(const Usage& usage) {
  const std::lock_guard lock(mutex_);
  usage_.prompt_tokens += usage.prompt_tokens;
  usage_.cached_tokens += usage.cached_tokens;
  usage_.tokens += usage.tokens;
}

void Answer::fail(const Refusal& refusal) {
  {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = refusal;
    cancelled_ = true;  // its other choices need not go on
  }
  changed_.notify_one();
}

bool Answer::cancelled() const {
  const std::lock_guard lock(mutex_);
  return cancelled_;
}

std::vector<Piece> Answer::take(std::chrono::milliseconds most) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, most, [&] { return !pieces_.empty() || failure_ || running_ == 0; });
  std::vector<Piece> taken(std::make_move_iterator(pieces_.begin()),
                           std::make_move_iterator(pieces_.end()));
  pieces_.clear();
  return taken;
}

bool Answer::done() const {
  const std::lock_guard lock(mutex_);
  return running_ == 0 && pieces_.empty();
}

std::optional<Refusal> Answer::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

Usage Answer::usage() const {
  const std::lock_guard lock(mutex_);
  return usage_;
}

void Answer::cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
}

}  // namespace npu::llm::serve
