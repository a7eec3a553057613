// SPDX-License-Identifier: MIT
// What stands between the thread that makes answers and the one that sends them to a client.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "llm-runtime/serve/response.hpp"

namespace npu::llm::serve {

/// More of the text of one choice; with `finish` there is no more.
struct Piece {
  std::uint32_t choice = 0;
  std::string text;
  std::optional<Finish> finish;
};

/// The choices of one request, as they come.
class Answer {
 public:
  explicit Answer(std::uint32_t choices) : running_(choices) {}

  // The scheduler's side.
  void add(Piece piece);
  /// Tokens of a choice that has ended or failed; before its last piece.
  void add_usage(const Usage& usage);
  /// Instead of all that was still to come.
  void fail(const Refusal& refusal);
  bool cancelled() const;

  // The client's side.
  /// Waits for more, at most `most`. Empty: nothing came.
  std::vector<Piece> take(std::chrono::milliseconds most);
  /// All choices ended, and all pieces were taken.
  bool done() const;
  /// Set once it has failed.
  std::optional<Refusal> failure() const;
  Usage usage() const;
  /// Nobody wants the rest: its sessions become free at the next step.
  void cancel();

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Piece> pieces_;
  std::optional<Refusal> failure_;
  Usage usage_;
  std::uint32_t running_;
  bool cancelled_ = false;
};

}  // namespace npu::llm::serve
