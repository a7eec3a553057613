// SPDX-License-Identifier: MIT
// Continuous batching with a real engine: the tiny chat model, and one of random weights whose
// answers do not end by themselves.
#include "llm-runtime/serve/scheduler.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <thread>

#include "llm-runtime/chat_template.hpp"
#include "llm-runtime/serve/session.hpp"

namespace npu::llm::serve {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using Tokens = std::vector<TokenId>;

constexpr milliseconds kLong{60'000};  // for what takes much less

const Model& chat_model() {
  static const Model model =
      Model::load(std::string(ROSENBLATT_SOURCE_DIR) + "/models/tiny-chat/tiny-chat-Q4_K_M.gguf");
  return model;
}
const Model& endless_model() {
  static const Model model =
      Model::load(std::string(ROSENBLATT_VECTORS_DIR) + "/llm/tinyA-Q8_0.gguf");
  return model;
}
/// endless_model() goes on from this one for thousands of tokens.
const Tokens kEndless{5};

struct Server {
  Server(const Model& model, EngineOptions options, SchedulerOptions limits = {})
      : engine(model, options),
        tokenizer(model.file()),
        scheduler(engine, tokenizer, limits, metrics) {}
  std::shared_ptr<Answer> submit(Job job) {
    auto result = scheduler.submit({std::move(job)});
    if (const auto* refusal = std::get_if<Refusal>(&result)) {
      ADD_FAILURE() << refusal->message;
      return nullptr;
    }
    return std::get<std::shared_ptr<Answer>>(result);
  }
  Refusal refusal(Job job) {
    auto result = scheduler.submit({std::move(job)});
    if (const auto* refused = std::get_if<Refusal>(&result)) return *refused;
    ADD_FAILURE() << "was accepted";
    return {};
  }
  void wait_for(const std::function<bool(const SchedulerState&)>& what) {
    const auto until = std::chrono::steady_clock::now() + kLong;
    while (!what(scheduler.state())) {
      ASSERT_LT(std::chrono::steady_clock::now(), until);
      std::this_thread::sleep_for(milliseconds(1));
    }
  }
  Engine engine;
  Tokenizer tokenizer;
  Metrics metrics;
  Scheduler scheduler;
};

Job greedy(Tokens prompt, std::uint32_t most_tokens = 0) {
  Job job{.prompt = std::move(prompt), .most_tokens = most_tokens};
  job.sampler.temperature = 0;
  return job;
}

struct Ended {
  std::string text;
  std::optional<Finish> finish;
  Usage usage;
};

Ended end_of(Answer& answer) {
  Ended ended;
  while (!answer.done() && !answer.failure()) {
    for (const Piece& piece : answer.take(kLong)) {
      ended.text += piece.text;
      if (piece.finish) ended.finish = piece.finish;
    }
  }
  ended.usage = answer.usage();
  return ended;
}

Tokens chat(const Tokenizer& tokenizer, const std::string& question) {
  const std::vector<ChatMessage> messages{{"user", question}};
  return tokenizer.encode(
      ChatTemplate::of_model(chat_model().file(), tokenizer).render(messages, true), true);
}

/// The greedy answer of an engine that does nothing else.
std::string alone(const Model& model, const Tokens& prompt, std::uint32_t most) {
  Engine engine(model, {.threads = 1, .context = 256});
  const Tokenizer tokenizer(model.file());
  StreamDecoder decoder(tokenizer);
  std::string text;
  std::span<const float> logits = engine.append(0, prompt);
  for (std::uint32_t i = 0; i < most; ++i) {
    const TokenId token = argmax(logits);
    if (tokenizer.is_eog(token)) break;
    text += decoder.push(token);
    if (i + 1 < most) logits = engine.append(0, std::span(&token, 1));
  }
  return text + decoder.flush();
}

TEST(ShareRows, ShortPromptsAreDoneAtOnceAndNoneWaits) {
  EXPECT_THAT(share_rows({}, 64), ElementsAre());
  EXPECT_THAT(share_rows({10}, 64), ElementsAre(10));
  EXPECT_THAT(share_rows({1000}, 64), ElementsAre(64));
  EXPECT_THAT(share_rows({1000, 10, 1000}, 64), ElementsAre(27, 10, 27));
  EXPECT_THAT(share_rows({5, 5, 5}, 2), ElementsAre(1, 1, 0));
  EXPECT_THAT(share_rows({5}, 0), ElementsAre(1));
}

TEST(Scheduler, AnswersInABatchAreThoseAlone) {
  Server server(chat_model(), {.threads = 2, .context = 256, .sequences = 8, .batch = 64});
  std::vector<Tokens> prompts;
  for (const char* question :
       {"What is the capital of France?", "What is the capital of Japan?", "Hello!",
        "What is the opposite of hot?", "What colour is grass?", "Spell the word: house",
        "What month comes after May?", "What is an NPU?", "Where is Rome?", "Who are you?",
        "What is the capital of Peru?", "What is 3 plus 4?"}) {
    prompts.push_back(chat(server.tokenizer, question));
  }
  std::vector<std::shared_ptr<Answer>> answers;
  for (const Tokens& prompt : prompts) answers.push_back(server.submit(greedy(prompt, 40)));
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const Ended got = end_of(*answers[i]);
    EXPECT_EQ(got.text, alone(chat_model(), prompts[i], 40)) << i;
    EXPECT_FALSE(got.text.empty());
    EXPECT_EQ(got.usage.prompt_tokens, prompts[i].size());
  }
  const SchedulerState state = server.scheduler.state();
  EXPECT_LT(state.steps, state.tokens);  // they did share batches
}

TEST(Scheduler, ALongPromptDoesNotStallTheOthers) {
  Server server(endless_model(), {.threads = 2, .context = 2048, .sequences = 2, .batch = 512});
  const auto first = server.submit(greedy(kEndless));
  server.wait_for([](const SchedulerState& state) { return state.tokens > 0; });
  const SchedulerState before = server.scheduler.state();
  const Tokens prompt(1024, 7);
  const auto second = server.submit(greedy(prompt, 1));
  end_of(*second);
  const SchedulerState after = server.scheduler.state();
  // A token of the first in each of the steps that the prompt was shared out to.
  EXPECT_GE(after.tokens - before.tokens, 1024 / kSharedPromptRows);
  first->cancel();
}

TEST(Scheduler, ASessionThatHoldsThePromptIsTakenAgain) {
  Server server(endless_model(), {.threads = 2, .context = 256, .sequences = 3});
  Tokens a(40), b(40);
  std::iota(a.begin(), a.end(), 10);
  std::iota(b.begin(), b.end(), 500);
  EXPECT_EQ(end_of(*server.submit(greedy(a, 2))).usage.cached_tokens, 0u);
  EXPECT_EQ(end_of(*server.submit(greedy(b, 2))).usage.cached_tokens, 0u);
  Tokens longer = a;
  longer.insert(longer.end(), {900, 901});
  const Ended again = end_of(*server.submit(greedy(longer, 5)));
  EXPECT_EQ(again.usage.cached_tokens, 40u);
  EXPECT_EQ(again.text, alone(endless_model(), longer, 5));
  const Ended same = end_of(*server.submit(greedy(b, 5)));
  EXPECT_EQ(same.usage.cached_tokens, 39u);  // the last one is evaluated for its logits
  EXPECT_EQ(same.text, alone(endless_model(), b, 5));
  EXPECT_EQ(server.scheduler.state().cached_tokens, 79u);
}

TEST(Scheduler, AnotherConversationIsLeftAloneAsLongAsThereIsAnOlderSession) {
  Server server(endless_model(), {.threads = 2, .context = 256, .sequences = 3});
  Tokens a(40), b(40), c(40);
  std::iota(a.begin(), a.end(), 10);
  std::iota(b.begin(), b.end(), 500);
  std::iota(c.begin(), c.end(), 700);
  b[0] = c[0] = a[0];  // as chats do
  for (const Tokens& prompt : {a, b, c}) end_of(*server.submit(greedy(prompt, 2)));
  for (const Tokens& prompt : {a, b, c}) {
    EXPECT_EQ(end_of(*server.submit(greedy(prompt, 2))).usage.cached_tokens, 39u);
  }
  Tokens d(40);
  std::iota(d.begin(), d.end(), 900);
  d[0] = a[0];
  EXPECT_EQ(end_of(*server.submit(greedy(d, 2))).usage.cached_tokens, 1u);  // where a was
  EXPECT_EQ(end_of(*server.submit(greedy(b, 2))).usage.cached_tokens, 39u);
  EXPECT_EQ(end_of(*server.submit(greedy(c, 2))).usage.cached_tokens, 39u);
}

TEST(Scheduler, SeveralChoicesOfOneRequest) {
  Server server(endless_model(), {.threads = 2, .context = 64, .sequences = 2});
  auto result = server.scheduler.submit({greedy({5}, 4), greedy({6}, 7), greedy({8}, 2)});
  Answer& answer = *std::get<std::shared_ptr<Answer>>(result);
  std::vector<std::string> texts(3);
  while (!answer.done()) {
    for (const Piece& piece : answer.take(kLong)) texts.at(piece.choice) += piece.text;
  }
  EXPECT_THAT(texts, ElementsAre(alone(endless_model(), {5}, 4), alone(endless_model(), {6}, 7),
                                 alone(endless_model(), {8}, 2)));
  EXPECT_EQ(answer.usage().tokens, 13u);
}

TEST(Scheduler, AFullQueueRefusesAndACancelledAnswerMakesRoom) {
  Server server(endless_model(), {.threads = 1, .context = 8192, .sequences = 1}, {.queue = 1});
  const auto running = server.submit(greedy(kEndless));
  server.wait_for([](const SchedulerState& state) { return state.tokens > 0; });
  const auto waiting = server.submit(greedy({6}, 3));
  const Refusal refusal = server.refusal(greedy({7}, 3));
  EXPECT_EQ(refusal.status, 429);
  EXPECT_GE(refusal.retry_after, 1);
  EXPECT_EQ(server.scheduler.state().queued, 1u);
  running->cancel();
  EXPECT_EQ(end_of(*waiting).text, alone(endless_model(), {6}, 3));
  EXPECT_TRUE(server.scheduler.wait_idle(kLong));
  EXPECT_EQ(server.scheduler.state().active, 0u);
  end_of(*server.submit(greedy({7}, 3)));
}

TEST(Scheduler, ACancelledAnswerLeavesTheQueueToo) {
  Server server(endless_model(), {.threads = 1, .context = 8192, .sequences = 1}, {.queue = 2});
  const auto running = server.submit(greedy(kEndless));
  server.wait_for([](const SchedulerState& state) { return state.tokens > 0; });
  server.submit(greedy({6}))->cancel();
  server.wait_for([](const SchedulerState& state) { return state.queued == 0; });
  running->cancel();
}

TEST(Scheduler, DrainingEndsWhatRunsAndTakesNothingNew) {
  Server server(endless_model(), {.threads = 1, .context = 512, .sequences = 1});
  const auto running = server.submit(greedy(kEndless, 100));
  const auto waiting = server.submit(greedy({6}, 100));
  server.scheduler.drain();
  EXPECT_EQ(server.refusal(greedy({7})).status, 503);
  EXPECT_TRUE(server.scheduler.wait_idle(kLong));
  EXPECT_EQ(end_of(*running).finish, Finish::length);
  EXPECT_EQ(end_of(*waiting).usage.tokens, 100u);
}

TEST(Scheduler, AbortFailsWhatRunsAndWhatWaits) {
  Server server(endless_model(), {.threads = 1, .context = 8192, .sequences = 1});
  const auto running = server.submit(greedy(kEndless));
  const auto waiting = server.submit(greedy({6}));
  server.wait_for([](const SchedulerState& state) { return state.tokens > 0; });
  EXPECT_FALSE(server.scheduler.wait_idle(milliseconds(1)));
  server.scheduler.abort();
  EXPECT_TRUE(server.scheduler.wait_idle(kLong));
  for (const auto& answer : {running, waiting}) {
    end_of(*answer);
    ASSERT_TRUE(answer->failure());
    EXPECT_EQ(answer->failure()->status, 503);
  }
}

TEST(Scheduler, TheContextsEndEndsTheAnswer) {
  Server server(endless_model(), {.threads = 1, .context = 32, .sequences = 1});
  const Ended full = end_of(*server.submit(greedy(Tokens(30, 5))));
  EXPECT_EQ(full.finish, Finish::length);
  EXPECT_EQ(full.usage.tokens, 3u);  // two are evaluated, the third needs no place
  const Refusal refusal = server.refusal(greedy(Tokens(32, 5)));
  EXPECT_EQ(refusal.status, 400);
  EXPECT_EQ(refusal.code, "context_length_exceeded");
  EXPECT_THAT(refusal.message, HasSubstr("32 tokens"));
}

TEST(Scheduler, WrongPromptsAreRefused) {
  Server server(endless_model(), {.threads = 1, .context = 32, .sequences = 2}, {.queue = 1});
  EXPECT_EQ(server.refusal(greedy({})).status, 400);
  EXPECT_EQ(server.refusal(greedy({1024})).param, "prompt");
  auto many = server.scheduler.submit(std::vector<Job>(4, greedy({5}, 1)));
  EXPECT_EQ(std::get<Refusal>(many).status, 400);
  auto most = server.scheduler.submit(std::vector<Job>(3, greedy({5}, 1)));
  end_of(*std::get<std::shared_ptr<Answer>>(most));
}

TEST(Scheduler, TheServersLimitOfTokensIsTheLeastOfBoth) {
  Server server(endless_model(), {.threads = 1, .context = 64, .sequences = 1}, {.most_tokens = 5});
  EXPECT_EQ(end_of(*server.submit(greedy(kEndless))).usage.tokens, 5u);
  EXPECT_EQ(end_of(*server.submit(greedy(kEndless, 9))).usage.tokens, 5u);
  EXPECT_EQ(end_of(*server.submit(greedy(kEndless, 3))).usage.tokens, 3u);
}

TEST(Scheduler, TheSameSeedGivesTheSameAnswer) {
  Server server(endless_model(), {.threads = 2, .context = 128, .sequences = 4});
  Job job{.prompt = kEndless, .most_tokens = 30};
  job.sampler.temperature = 1;
  std::vector<std::string> texts;
  for (const std::uint64_t seed : {1, 1, 2}) {
    job.sampler.seed = seed;
    texts.push_back(end_of(*server.submit(job)).text);
  }
  EXPECT_EQ(texts[0], texts[1]);
  EXPECT_NE(texts[0], texts[2]);
}

/// A session of its own, fed with logits in which one token stands out.
class SessionTest : public testing::Test {
 protected:
  static const Tokenizer& tokenizer() {
    static const Tokenizer made(chat_model().file());
    return made;
  }
  void start(Job job) {
    answer_ = std::make_shared<Answer>(1);
    session_ = std::make_unique<Session>(Ticket{answer_, 0, std::move(job), {}}, tokenizer(), 0);
  }
  /// `second` comes next if `token` is penalised by more than 1.
  bool choose(TokenId token, TokenId second = 0, bool may_go_on = true) {
    std::vector<float> logits(tokenizer().size(), -10);
    logits[static_cast<std::size_t>(second)] = 9;
    logits[static_cast<std::size_t>(token)] = 10;
    return session_->choose(logits, may_go_on);
  }
  std::shared_ptr<Answer> answer_;
  std::unique_ptr<Session> session_;
};

TEST_F(SessionTest, FrequencyAndPresencePenalties) {
  const TokenId a = tokenizer().find("a").value(), b = tokenizer().find("b").value();
  Job job = greedy({1}, 10);
  job.presence_penalty = 2;
  start(job);
  choose(a, b);
  EXPECT_EQ(session_->next(), a);
  choose(a, b);
  EXPECT_EQ(session_->next(), b);
  choose(a, b);  // both were said
  EXPECT_EQ(session_->next(), a);
  job.presence_penalty = 0;
  job.frequency_penalty = 0.75f;
  start(job);
  choose(a, b);
  choose(a, b);  // once said: 0.75 less
  EXPECT_EQ(session_->next(), a);
  choose(a, b);  // twice said
  EXPECT_EQ(session_->next(), b);
}

TEST_F(SessionTest, EndsByTokenStringLengthAndContext) {
  const TokenId a = tokenizer().find("a").value(), b = tokenizer().find("b").value();
  start(greedy({1}));
  EXPECT_FALSE(choose(a));
  EXPECT_TRUE(choose(tokenizer().find("<|im_end|>").value()));
  Ended ended = end_of(*answer_);
  EXPECT_EQ(ended.text, "a");
  EXPECT_EQ(ended.finish, Finish::stop);
  EXPECT_EQ(ended.usage.tokens, 2u);

  Job stop = greedy({1});
  stop.stop = {"ba", "bb"};
  start(stop);
  EXPECT_FALSE(choose(a));
  EXPECT_FALSE(choose(b));
  EXPECT_TRUE(choose(b));
  ended = end_of(*answer_);
  EXPECT_EQ(ended.text, "a");
  EXPECT_EQ(ended.finish, Finish::stop);

  stop.most_tokens = 2;
  start(stop);
  EXPECT_FALSE(choose(a));
  EXPECT_TRUE(choose(b));
  ended = end_of(*answer_);
  EXPECT_EQ(ended.text, "ab");  // what was held back is said
  EXPECT_EQ(ended.finish, Finish::length);

  start(greedy({1}));
  EXPECT_TRUE(choose(a, b, false));
  EXPECT_EQ(end_of(*answer_).finish, Finish::length);
}

TEST_F(SessionTest, PiecesAreWholeCharacters) {
  const Tokens bytes = tokenizer().encode("\U0001F600", false);
  ASSERT_GT(bytes.size(), 1u);
  start(greedy({1}));
  for (const TokenId token : bytes) choose(token);
  const auto pieces = answer_->take(kLong);
  ASSERT_EQ(pieces.size(), 1u);
  EXPECT_EQ(pieces[0].text, "\U0001F600");
}

}  // namespace
}  // namespace npu::llm::serve
