// SPDX-License-Identifier: MIT
#include "llm-runtime/score.hpp"

#include <algorithm>
#include <cmath>

#include "llm-runtime/sampler.hpp"

namespace npu::llm {
namespace {

/// What is subtracted from a logit to get the logarithm of its probability.
double log_sum(std::span<const float> logits) {
  const double top = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(double{logit} - top);
  return top + std::log(sum);
}

}  // namespace

double Score::perplexity() const { return std::exp(nll / static_cast<double>(tokens)); }

double Score::perplexity_error() const {
  const auto n = static_cast<double>(tokens);
  const double mean = nll / n, variance = std::max(0.0, nll_squared / n - mean * mean);
  return n < 2 ? 0 : perplexity() * std::sqrt(variance / (n - 1));
}

double Score::mean_kl() const { return kl / static_cast<double>(tokens); }

double Score::agreement() const {
  return static_cast<double>(top_agrees) / static_cast<double>(tokens);
}

void add_score(Score& score, std::span<const float> reference, std::span<const float> logits,
               std::int32_t next) {
  const double p_sum = log_sum(reference), q_sum = log_sum(logits);
  const double nll = q_sum - double{logits[static_cast<std::size_t>(next)]};
  ++score.tokens;
  score.nll += nll;
  score.nll_squared += nll * nll;
  for (std::size_t t = 0; t < reference.size(); ++t) {
    const double log_p = double{reference[t]} - p_sum, p = std::exp(log_p);
    if (p > 0) score.kl += p * (log_p - (double{logits[t]} - q_sum));
  }
  score.top_agrees += argmax(logits) == argmax(reference);
}

}  // namespace npu::llm
