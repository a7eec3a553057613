// SPDX-License-Identifier: MIT
// How well one way of computing predicts a text, beside another one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace npu::llm {

/// Sums over the tokens that were scored.
struct Score {
  std::size_t tokens = 0;
  double nll = 0, nll_squared = 0;  ///< -log p(next token), in nats
  double kl = 0;                    ///< KL(reference || this), in nats
  std::size_t top_agrees = 0;       ///< the reference's best token is this one's too

  double perplexity() const;
  double perplexity_error() const;  ///< standard error
  double mean_kl() const;
  double agreement() const;  ///< 0 to 1
};

/// Adds a token: the logits before it, those of the reference, and the token itself.
void add_score(Score& score, std::span<const float> reference, std::span<const float> logits,
               std::int32_t next);

}  // namespace npu::llm
