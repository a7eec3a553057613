// SPDX-License-Identifier: MIT
// Sequences, batches and what is kept of them. Results are compared bit for bit: a row's logits
// depend on its own sequence and on nothing else.
#include "llm-runtime/engine.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "regdb/error.hpp"
#include "tiny_models.hpp"

namespace npu::llm {
namespace {

using Tokens = std::vector<std::int32_t>;

std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }

Tokens random_tokens(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  Tokens tokens(n);
  for (auto& token : tokens) token = static_cast<std::int32_t>(random() % 1024);
  return tokens;
}

class EngineTest : public testing::Test {
 protected:
  static const Model& model() {
    static const Model loaded = tiny("Q4_K_M");
    return loaded;
  }
  static Engine engine(EngineOptions options = {}) {
    options.threads = 2;
    if (options.context == 0) options.context = 128;
    return Engine(model(), options);
  }
  /// Logits behind the last of `tokens`, in an engine of their own.
  static std::vector<float> alone(const Tokens& tokens) {
    Engine fresh(model(), {.threads = 1, .context = 128});
    return copy(fresh.append(0, tokens));
  }
  std::filesystem::path file_ = std::filesystem::path(testing::TempDir()) /
                                ("engine_test_" + std::to_string(::getpid()) + ".kv");
  void TearDown() override { std::filesystem::remove(file_); }
};

TEST_F(EngineTest, BatchesOfAnySizeGiveTheSameLogits) {
  const Tokens tokens = random_tokens(50, 1);
  const auto want = alone(tokens);
  for (const std::uint32_t batch : {1u, 7u, 49u, 50u, 512u}) {
    Engine e(model(), {.threads = 2, .context = 64, .batch = batch});
    EXPECT_EQ(copy(e.append(0, tokens)), want) << batch;
  }
}

TEST_F(EngineTest, SequencesDoNotDisturbEachOther) {
  Engine e(model(), {.threads = 2, .context = 64, .sequences = 4, .batch = 16});
  std::vector<Tokens> texts;
  for (unsigned s = 0; s < 4; ++s) texts.push_back(random_tokens(10 + 9 * s, 10 + s));
  std::vector<Engine::Append> rows;
  for (std::size_t i = 0; i < 37; ++i) {
    for (unsigned s = 0; s < 4; ++s) {
      if (i < texts[s].size()) rows.push_back({s, texts[s][i], i + 1 == texts[s].size()});
    }
  }
  const auto logits = copy(e.append(rows));
  ASSERT_EQ(logits.size(), 4u * 1024);
  // They end in the order of their lengths.
  for (unsigned s = 0; s < 4; ++s) {
    EXPECT_EQ(std::vector<float>(logits.begin() + s * 1024, logits.begin() + (s + 1) * 1024),
              alone(texts[s]))
        << s;
  }
}

TEST_F(EngineTest, MarkedRowsInTheMiddleAreWhatTheyAreAlone) {
  Engine e(model(), {.threads = 2, .context = 64});
  const Tokens tokens = random_tokens(20, 3);
  std::vector<Engine::Append> rows;
  for (std::size_t i = 0; i < tokens.size(); ++i) rows.push_back({0, tokens[i], i % 7 == 3});
  const auto logits = copy(e.append(rows));
  std::size_t at = 0;
  for (std::size_t i = 3; i < tokens.size(); i += 7, at += 1024) {
    EXPECT_EQ(std::vector<float>(logits.begin() + at, logits.begin() + at + 1024),
              alone({tokens.begin(), tokens.begin() + i + 1}))
        << i;
  }
  EXPECT_EQ(at, logits.size());
}

TEST_F(EngineTest, TruncateSetAndRemoveEqualATextOfTheirOwn) {
  Engine e(model(), {.threads = 2, .context = 64});
  const Tokens tokens = random_tokens(30, 4);
  e.append(0, tokens);
  e.truncate(0, 12);
  EXPECT_EQ(copy(e.append(0, Tokens{5, 6})), alone([&] {
              Tokens t(tokens.begin(), tokens.begin() + 12);
              t.insert(t.end(), {5, 6});
              return t;
            }()));

  Tokens other(tokens.begin(), tokens.begin() + 9);
  other.push_back(77);
  EXPECT_EQ(copy(e.set(0, other)), alone(other));
  EXPECT_EQ(copy(e.set(0, other)), alone(other));  // all there already
  EXPECT_EQ(Tokens(e.tokens(0).begin(), e.tokens(0).end()), other);

  e.set(0, tokens);
  e.remove(0, 4, 10);
  Tokens shorter = tokens;
  shorter.erase(shorter.begin() + 4, shorter.begin() + 14);
  EXPECT_EQ(Tokens(e.tokens(0).begin(), e.tokens(0).end()), shorter);
  const auto next = copy(e.append(0, Tokens{9}));
  shorter.push_back(9);
  EXPECT_EQ(next, alone(shorter));
}

TEST_F(EngineTest, RefusalsChangeNothing) {
  Engine e(model(), {.threads = 1, .context = 8, .sequences = 2});
  e.append(0, Tokens{1, 2, 3});
  auto code = [&](auto call) {
    try {
      call();
    } catch (const Error& error) {
      return std::string(to_string(error.code()));
    }
    return std::string("none");
  };
  EXPECT_EQ(code([&] { e.append(0, Tokens{1, 2, 3, 4, 5, 6}); }), "invalid-argument");
  EXPECT_EQ(code([&] { e.append(0, Tokens{4, 1024}); }), "invalid-argument");
  EXPECT_EQ(code([&] { e.append(0, Tokens{-1}); }), "invalid-argument");
  EXPECT_EQ(code([&] {
              e.append(std::vector<Engine::Append>{{2, 1, false}});
            }),
            "invalid-argument");
  EXPECT_EQ(code([&] { e.remove(0, 2, 2); }), "invalid-argument");
  EXPECT_EQ(code([&] { e.set(0, Tokens{}); }), "invalid-argument");
  EXPECT_THAT(e.tokens(0), testing::ElementsAre(1, 2, 3));
  EXPECT_EQ(copy(e.append(0, Tokens{4, 5, 6, 7, 8})), alone({1, 2, 3, 4, 5, 6, 7, 8}));

  EXPECT_EQ(code([&] { Engine(model(), {.context = 1u << 31}); }), "invalid-argument");
  EXPECT_EQ(code([&] { Engine(model(), {.context = 1u << 20, .sequences = 4096}); }),
            "out-of-memory");
  EXPECT_EQ(code([&] { Engine(model(), {.sequences = 0}); }), "invalid-argument");
}

TEST_F(EngineTest, ASavedSequenceGoesOnWhereItWas) {
  for (const auto type : {cpu::KvType::f16, cpu::KvType::q8_0, cpu::KvType::f32}) {
    const EngineOptions options{.threads = 1, .context = 64, .sequences = 2, .kv_type = type};
    Engine first(model(), options);
    const Tokens tokens = random_tokens(21, 6);
    first.append(1, tokens);
    first.save(1, file_);
    const auto want = copy(first.append(1, Tokens{17}));
    Engine second(model(), options);
    second.append(0, random_tokens(5, 7));
    second.load(0, file_);
    EXPECT_EQ(Tokens(second.tokens(0).begin(), second.tokens(0).end()), tokens);
    EXPECT_EQ(copy(second.append(0, Tokens{17})), want);
  }
}

TEST_F(EngineTest, DamagedAndForeignFilesAreRefusedAndNothingChanges) {
  Engine e(model(), {.threads = 1, .context = 64});
  e.append(0, random_tokens(10, 8));
  e.save(0, file_);
  std::ifstream in(file_, std::ios::binary);
  const std::string good{std::istreambuf_iterator<char>(in), {}};
  const Tokens mine{3, 4};
  e.truncate(0, 0);
  e.append(0, mine);
  auto refused = [&](const std::string& bytes) {
    std::ofstream(file_, std::ios::binary) << bytes;
    try {
      e.load(0, file_);
    } catch (const Error& error) {
      return error.code() == ErrorCode::bad_file &&
             Tokens(e.tokens(0).begin(), e.tokens(0).end()) == mine;
    }
    return false;
  };
  for (const std::size_t cut : {std::size_t{0}, std::size_t{7}, std::size_t{31}, std::size_t{40},
                                good.size() / 2, good.size() - 1}) {
    EXPECT_TRUE(refused(good.substr(0, cut))) << cut;
  }
  EXPECT_TRUE(refused(good + "x"));
  for (const std::size_t at : {0u, 8u, 16u, 20u, 23u, 27u, 35u}) {  // header, a token
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x40);
    EXPECT_TRUE(refused(bad)) << "byte " << at;
  }
  const Model other = tiny("Q8_0");
  Engine foreign(other, {.threads = 1, .context = 64});
  std::ofstream(file_, std::ios::binary) << good;
  EXPECT_THROW(foreign.load(0, file_), Error);
  EXPECT_THROW(e.load(0, "/nonexistent/file"), Error);
  EXPECT_THROW(e.save(0, "/nonexistent/file"), Error);
}

}  // namespace
}  // namespace npu::llm
