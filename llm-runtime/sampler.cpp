// SPDX-License-Identifier: MIT
#include "llm-runtime/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "regdb/error.hpp"

namespace npu::llm {
namespace {

void in_range(bool good, const char* flag, const char* range) {
  if (!good) {
    throw Error(ErrorCode::invalid_argument, std::string(flag) + " must be " + range);
  }
}

bool better(const TokenProbability& a, const TokenProbability& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

/// Probabilities of candidates that are sorted by logit, at a temperature.
void softmax(std::span<TokenProbability> candidates, float temperature) {
  double sum = 0;
  for (TokenProbability& c : candidates) {
    c.probability = std::exp((c.logit - candidates.front().logit) / temperature);
    sum += c.probability;
  }
  for (TokenProbability& c : candidates) c.probability = static_cast<float>(c.probability / sum);
}

/// How many of the best reach the mass `top_p` together; at least one.
std::size_t nucleus(std::span<const TokenProbability> candidates, float top_p) {
  double mass = 0;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    mass += candidates[i].probability;
    if (mass >= top_p) return i + 1;
  }
  return candidates.size();
}

}  // namespace

void check(const SamplerOptions& options) {
  in_range(options.temperature >= 0 && options.temperature <= 100, "--temp", "0 to 100");
  in_range(options.top_p > 0 && options.top_p <= 1, "--top-p", "above 0 and at most 1");
  in_range(options.min_p >= 0 && options.min_p <= 1, "--min-p", "0 to 1");
  in_range(options.repeat_penalty > 0 && options.repeat_penalty <= 100, "--repeat-penalty",
           "above 0 and at most 100");
  in_range(options.repeat_last_n <= 1u << 20, "--repeat-last-n", "at most 1048576");
}

Sampler::Sampler(const SamplerOptions& options) : options_(options), random_(options.seed) {
  check(options);
}

void Sampler::accept(std::int32_t token) {
  if (options_.repeat_last_n == 0) return;
  if (recent_.size() < options_.repeat_last_n) {
    recent_.push_back(token);
    next_ = 0;
    return;
  }
  recent_[next_] = token;
  next_ = (next_ + 1) % recent_.size();
}

void Sampler::collect(std::span<const float> logits) {
  candidates_.clear();
  const std::size_t wanted = options_.top_k == 0 ? logits.size() : options_.top_k;
  if (wanted >= logits.size()) {
    for (std::size_t i = 0; i < logits.size(); ++i) {
      if (std::isfinite(logits[i])) {
        candidates_.push_back({static_cast<std::int32_t>(i), logits[i], 0});
      }
    }
    std::sort(candidates_.begin(), candidates_.end(), better);
    return;
  }
  // A heap of the best so far, its worst in front: few of a vocabulary's 150,000 get in.
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const TokenProbability candidate{static_cast<std::int32_t>(i), logits[i], 0};
    if (!std::isfinite(logits[i])) continue;
    if (candidates_.size() < wanted) {
      candidates_.push_back(candidate);
      std::push_heap(candidates_.begin(), candidates_.end(), better);
    } else if (better(candidate, candidates_.front())) {
      std::pop_heap(candidates_.begin(), candidates_.end(), better);
      candidates_.back() = candidate;
      std::push_heap(candidates_.begin(), candidates_.end(), better);
    }
  }
  std::sort_heap(candidates_.begin(), candidates_.end(), better);
}

std::int32_t Sampler::sample(std::span<const float> logits) {
  if (options_.repeat_penalty != 1 && !recent_.empty()) {
    penalised_.assign(logits.begin(), logits.end());
    for (const std::int32_t token : recent_) {
      if (token < 0 || static_cast<std::size_t>(token) >= logits.size()) continue;
      // From the logit as it came: a token counts once, however often it was said.
      const float logit = logits[static_cast<std::size_t>(token)];
      penalised_[static_cast<std::size_t>(token)] =
          logit > 0 ? logit / options_.repeat_penalty : logit * options_.repeat_penalty;
    }
    logits = penalised_;
  }
  if (options_.temperature == 0) {
    const std::int32_t best = argmax(logits);
    candidates_.clear();
    if (best >= 0) candidates_.push_back({best, logits[static_cast<std::size_t>(best)], 1});
  } else {
    collect(logits);
  }
  if (candidates_.empty()) {
    throw Error(ErrorCode::bad_file,
                "the model gave no number for any token: the file's weights are damaged");
  }
  if (candidates_.size() == 1) {
    candidates_.front().probability = 1;
    return candidates_.front().token;
  }
  softmax(candidates_, 1);
  candidates_.resize(nucleus(candidates_, options_.top_p));
  const float least = candidates_.front().probability * options_.min_p;
  while (candidates_.back().probability < least) candidates_.pop_back();
  softmax(candidates_, options_.temperature);

  // Not std::discrete_distribution: every library draws in its own way.
  double left = static_cast<double>(random_() >> 11) * 0x1p-53;
  for (const TokenProbability& c : candidates_) {
    left -= c.probability;
    if (left < 0) return c.token;
  }
  return candidates_.back().token;
}

std::int32_t argmax(std::span<const float> logits) {
  std::int32_t best = -1;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (!std::isfinite(logits[i])) continue;
    if (best < 0 || logits[i] > logits[static_cast<std::size_t>(best)]) {
      best = static_cast<std::int32_t>(i);
    }
  }
  return best;
}

double log_probability(std::span<const float> logits, std::int32_t token) {
  const float top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - top);
  return static_cast<double>(logits[static_cast<std::size_t>(token)]) - top - std::log(sum);
}

}  // namespace npu::llm
