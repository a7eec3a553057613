// SPDX-License-Identifier: MIT
#include "llm-runtime/sampler.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "regdb/error.hpp"

namespace npu::llm {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// Everything on, nothing filtered.
SamplerOptions plain() {
  return {.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0, .repeat_penalty = 1, .seed = 1};
}

std::vector<std::int32_t> tokens(std::span<const TokenProbability> candidates) {
  std::vector<std::int32_t> result;
  for (const TokenProbability& c : candidates) result.push_back(c.token);
  return result;
}

std::map<std::int32_t, double> shares(Sampler& sampler, const std::vector<float>& logits, int n) {
  std::map<std::int32_t, double> count;
  for (int i = 0; i < n; ++i) count[sampler.sample(logits)] += 1.0 / n;
  return count;
}

TEST(Sampler, GreedyTakesTheFirstOfTheLargest) {
  SamplerOptions options;
  options.temperature = 0;
  EXPECT_EQ(Sampler(options).sample(std::vector<float>{1, 3, 2, 3}), 1);
}

TEST(Sampler, DrawsAsSoftmaxSays) {
  Sampler sampler(plain());
  const std::vector<float> logits{std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  const auto share = shares(sampler, logits, 40000);
  // Four standard deviations of a share of 0.5 among 40,000 draws.
  EXPECT_NEAR(share.at(0), 0.5, 0.01);
  EXPECT_NEAR(share.at(1), 0.3, 0.01);
  EXPECT_NEAR(share.at(2), 0.15, 0.01);
  EXPECT_NEAR(share.at(3), 0.05, 0.01);
}

TEST(Sampler, TemperatureSharpensAndFlattens) {
  SamplerOptions options = plain();
  const std::vector<float> logits{2, 1, 0};
  for (const float temperature : {0.5f, 2.0f}) {
    options.temperature = temperature;
    Sampler sampler(options);
    const auto share = shares(sampler, logits, 20000);
    const double sum = 1 + std::exp(-1 / temperature) + std::exp(-2 / temperature);
    EXPECT_NEAR(share.at(0), 1 / sum, 0.015) << temperature;
  }
}

TEST(Sampler, TheFiltersKeepWhatTheirNamesSay) {
  const std::vector<float> logits{std::log(0.05f), std::log(0.5f), std::log(0.15f), std::log(0.3f)};
  SamplerOptions options = plain();
  options.top_k = 2;
  Sampler top_k(options);
  top_k.sample(logits);
  EXPECT_THAT(tokens(top_k.candidates()), testing::ElementsAre(1, 3));
  EXPECT_NEAR(top_k.candidates()[0].probability, 0.625, 1e-6);

  options = plain();
  options.top_p = 0.81f;
  Sampler top_p(options);
  top_p.sample(logits);
  EXPECT_THAT(tokens(top_p.candidates()), testing::ElementsAre(1, 3, 2));

  options = plain();
  options.min_p = 0.31f;
  Sampler min_p(options);
  min_p.sample(logits);
  EXPECT_THAT(tokens(min_p.candidates()), testing::ElementsAre(1, 3));

  options = plain();
  options.top_p = 1e-6f;
  Sampler one(options);
  EXPECT_EQ(one.sample(logits), 1);
}

TEST(Sampler, TopKOfManyIsTheHeadOfTheSortedList) {
  std::vector<float> logits(5000);
  std::mt19937 random(5);
  for (float& logit : logits) logit = static_cast<float>(random() % 1000) / 100;
  Sampler all(plain());
  all.sample(logits);
  SamplerOptions options = plain();
  options.top_k = 37;
  Sampler some(options);
  some.sample(logits);
  auto head = tokens(all.candidates());
  head.resize(37);
  EXPECT_EQ(tokens(some.candidates()), head);
}

TEST(Sampler, PenaltyActsOnTheLastTokensOnce) {
  SamplerOptions options = plain();
  options.temperature = 0;
  options.repeat_penalty = 2;
  options.repeat_last_n = 2;
  Sampler sampler(options);
  const std::vector<float> logits{4, 3, -1};
  EXPECT_EQ(sampler.sample(logits), 0);
  sampler.accept(0);
  sampler.accept(0);
  EXPECT_EQ(sampler.sample(logits), 1);  // 4 / 2 < 3, and not 4 / 4
  sampler.accept(1);
  EXPECT_EQ(sampler.sample(logits), 0);  // 2 against 1.5
  sampler.accept(1);                     // 0 is forgotten
  EXPECT_EQ(sampler.sample(logits), 0);
  EXPECT_EQ(sampler.candidates()[0].logit, 4);
  // Negative logits get further down.
  Sampler negative(options);
  negative.accept(0);
  EXPECT_EQ(negative.sample(std::vector<float>{-1, -1.5f}), 1);
}

TEST(Sampler, TheSeedDecides) {
  const std::vector<float> logits(100, 0.0f);
  auto draw = [&](std::uint64_t seed) {
    SamplerOptions options = plain();
    options.seed = seed;
    Sampler sampler(options);
    std::vector<std::int32_t> result;
    for (int i = 0; i < 20; ++i) result.push_back(sampler.sample(logits));
    return result;
  };
  EXPECT_EQ(draw(7), draw(7));
  EXPECT_NE(draw(7), draw(8));
}

TEST(Sampler, DamagedLogitsNeverWin) {
  for (const float temperature : {0.0f, 1.0f}) {
    for (const std::uint32_t top_k : {0u, 2u}) {
      SamplerOptions options = plain();
      options.temperature = temperature;
      options.top_k = top_k;
      Sampler sampler(options);
      EXPECT_EQ(sampler.sample(std::vector<float>{kNan, kInf, -2, -kInf}), 2);
      EXPECT_THROW(sampler.sample(std::vector<float>{kNan, -kInf}), Error);
    }
  }
}

TEST(Sampler, RefusesOptionsOutOfRange) {
  auto refused = [](auto change) {
    SamplerOptions options;
    change(options);
    try {
      Sampler sampler(options);
    } catch (const Error& error) {
      return error.code() == ErrorCode::invalid_argument;
    }
    return false;
  };
  EXPECT_TRUE(refused([](SamplerOptions& o) { o.temperature = -1; }));
  EXPECT_TRUE(refused([](SamplerOptions& o) { o.temperature = kNan; }));
  EXPECT_TRUE(refused([](SamplerOptions& o) { o.top_p = 0; }));
  EXPECT_TRUE(refused([](SamplerOptions& o) { o.min_p = 1.5f; }));
  EXPECT_TRUE(refused([](SamplerOptions& o) { o.repeat_penalty = 0; }));
}

TEST(LogProbability, IsThatOfSoftmax) {
  const std::vector<float> logits{1000, 999, 998};
  EXPECT_NEAR(log_probability(logits, 1), -1 - std::log(1 + std::exp(-1) + std::exp(-2)), 1e-9);
}

}  // namespace
}  // namespace npu::llm
