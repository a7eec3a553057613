// SPDX-License-Identifier: MIT
// Scores of given logits against sums that are made here from probabilities.
#include "llm-runtime/score.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace npu::llm {
namespace {

/// Logits of probabilities, shifted: softmax does not see the shift.
std::vector<float> logits(std::initializer_list<double> probabilities, float shift) {
  std::vector<float> result;
  for (const double p : probabilities) result.push_back(static_cast<float>(std::log(p)) + shift);
  return result;
}

TEST(Score, IsThatOfKnownProbabilities) {
  const auto p = logits({0.5, 0.25, 0.125, 0.125}, 3);
  const auto q = logits({0.25, 0.5, 0.125, 0.125}, -7);
  Score exact, score;
  for (const int next : {0, 1, 3}) {
    add_score(exact, p, p, next);
    add_score(score, p, q, next);
  }
  EXPECT_EQ(score.tokens, 3u);
  // Probabilities 1/2, 1/4, 1/8: the geometric mean is 1/4; the same with the first two swapped.
  EXPECT_NEAR(exact.perplexity(), 4, 1e-5);
  EXPECT_NEAR(score.perplexity(), 4, 1e-5);
  EXPECT_NEAR(exact.mean_kl(), 0, 1e-12);
  // 1/2 log 2 + 1/4 log 1/2.
  EXPECT_NEAR(score.mean_kl(), std::log(2) / 4, 1e-6);
  EXPECT_EQ(exact.agreement(), 1);
  EXPECT_EQ(score.agreement(), 0);
  // -log p is log 2 times 1, 2, 3: a standard deviation of log 2 and a third root for the mean.
  EXPECT_NEAR(exact.perplexity_error(), 4 * std::log(2) / std::sqrt(3), 1e-5);
}

TEST(Score, EqualsTheDefinitionsOnRandomLogits) {
  std::mt19937 random(1);
  std::normal_distribution<float> draw(0, 4);
  Score score;
  long double nll = 0, kl = 0;
  std::size_t same = 0;
  for (int token = 0; token < 50; ++token) {
    std::vector<float> a(300), b(300);
    for (float& v : a) v = draw(random);
    for (std::size_t i = 0; i < b.size(); ++i) b[i] = a[i] + draw(random) / 8;
    const std::size_t next = random() % a.size();
    add_score(score, a, b, static_cast<std::int32_t>(next));
    long double sum_a = 0, sum_b = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      sum_a += std::exp(static_cast<long double>(a[i]));
      sum_b += std::exp(static_cast<long double>(b[i]));
    }
    std::size_t best_a = 0, best_b = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      const long double p = std::exp(static_cast<long double>(a[i])) / sum_a;
      const long double q = std::exp(static_cast<long double>(b[i])) / sum_b;
      kl += p * std::log(p / q);
      if (i == next) nll -= std::log(q);
      if (a[i] > a[best_a]) best_a = i;
      if (b[i] > b[best_b]) best_b = i;
    }
    same += best_a == best_b;
  }
  EXPECT_NEAR(score.perplexity(), static_cast<double>(std::exp(nll / 50)),
              1e-9 * score.perplexity());
  EXPECT_NEAR(score.mean_kl(), static_cast<double>(kl / 50), 1e-12);
  EXPECT_EQ(score.top_agrees, same);
  EXPECT_GT(same, 25u);  // alike, and yet not equal
  EXPECT_LT(same, 50u);
}

TEST(Score, TakesImpossibleTokensAndHugeLogits) {
  const float never = -std::numeric_limits<float>::infinity();
  const std::vector<float> p{1e30f, 0, never}, q{3e38f, 0, never};
  Score score;
  add_score(score, p, q, 0);
  EXPECT_EQ(score.perplexity(), 1);
  EXPECT_EQ(score.mean_kl(), 0);
  EXPECT_EQ(score.agreement(), 1);
}

}  // namespace
}  // namespace npu::llm
