// SPDX-License-Identifier: MIT
// Continuous batching: one thread owns the engine and takes a token of every answer in each step.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "llm-runtime/engine.hpp"
#include "llm-runtime/sampler.hpp"
#include "llm-runtime/serve/answer.hpp"
#include "llm-runtime/serve/metrics.hpp"
#include "llm-runtime/serve/request.hpp"
#include "llm-runtime/tokenizer.hpp"

namespace npu::llm::serve {

/// One choice to be made.
struct Job {
  std::vector<TokenId> prompt;
  SamplerOptions sampler;
  float frequency_penalty = 0, presence_penalty = 0;
  std::uint32_t most_tokens = 0;  ///< 0: as many as fit
  std::vector<std::string> stop;
};

struct SchedulerOptions {
  std::uint32_t queue = 128;      ///< jobs that may wait
  std::uint32_t most_tokens = 0;  ///< of any answer; 0: as many as fit
};

/// Rows of prompts in a step while answers are being made: more would make them falter.
inline constexpr std::uint32_t kSharedPromptRows = 64;

/// Shares `rows` among prompts that have `remaining` tokens to go, in the order given: a short one
/// is done at once, none waits for a long one to end. At least one row in all if there is any
/// prompt.
std::vector<std::uint32_t> share_rows(const std::vector<std::uint32_t>& remaining,
                                      std::uint32_t rows);

class Scheduler {
 public:
  /// A session for each of the engine's sequences. All must outlive it; nobody else may use the
  /// engine meanwhile.
  Scheduler(Engine& engine, const Tokenizer& tokenizer, const SchedulerOptions& options,
            Metrics& metrics);
  /// Cancels what is left.
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  /// All of the jobs or none: 400 for a prompt that is empty, outside the vocabulary or does not
  /// fit the context, 429 if too many wait already, 503 after drain(). A job takes the free session
  /// that holds most of its prompt, if that is half of either, else the one idle for longest.
  std::variant<std::shared_ptr<Answer>, Refusal> submit(std::vector<Job> jobs);

  /// Takes nothing new from here on.
  void drain();
  /// Waits until nothing is running or waiting; false if that lasts longer than `most`.
  bool wait_idle(std::chrono::milliseconds most);
  /// Fails all that is running or waiting with 503.
  void abort();

  SchedulerState state() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace npu::llm::serve
