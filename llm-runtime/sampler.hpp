// SPDX-License-Identifier: MIT
// Chooses the next token from the logits. The same seed gives the same tokens on every machine
// that computes the same logits.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace npu::llm {

/// Names, meanings and defaults are llama.cpp's. Applied in this order: repetition penalty, top-k,
/// top-p, min-p, temperature.
struct SamplerOptions {
  float temperature = 0.8f;          ///< 0: greedy, the other fields but the penalty mean nothing
  std::uint32_t top_k = 40;          ///< 0: all
  float top_p = 0.95f;               ///< 1: all
  float min_p = 0.05f;               ///< of the best one's probability; 0: all
  float repeat_penalty = 1.0f;       ///< 1: none
  std::uint32_t repeat_last_n = 64;  ///< tokens that the penalty looks back
  std::uint64_t seed = 0;
  friend bool operator==(const SamplerOptions&, const SamplerOptions&) = default;
};

/// Throws invalid_argument for a value outside its range, by the name of its flag.
void check(const SamplerOptions& options);

struct TokenProbability {
  std::int32_t token = 0;
  float logit = 0;
  float probability = 0;  ///< among the candidates that are left
};

class Sampler {
 public:
  explicit Sampler(const SamplerOptions& options);

  /// The next token. Does not note it: accept() does. Logits that are not finite never win;
  /// throws bad_file if there is nothing else.
  std::int32_t sample(std::span<const float> logits);

  /// A token that is now part of the text (of the prompt too, for the penalty).
  void accept(std::int32_t token);
  /// A new text; the random numbers go on.
  void forget() { recent_.clear(); }

  /// The candidates of the last sample(), best first.
  std::span<const TokenProbability> candidates() const { return candidates_; }
  const SamplerOptions& options() const { return options_; }

 private:
  void collect(std::span<const float> logits);

  SamplerOptions options_;
  std::mt19937_64 random_;
  std::vector<std::int32_t> recent_;  ///< a ring once it is full
  std::size_t next_ = 0;
  std::vector<float> penalised_;
  std::vector<TokenProbability> candidates_;
};

/// The first of the largest finite ones; -1 if there is none.
std::int32_t argmax(std::span<const float> logits);

/// log of the probability that softmax gives `token`.
double log_probability(std::span<const float> logits, std::int32_t token);

}  // namespace npu::llm
