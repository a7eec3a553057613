// SPDX-License-Identifier: MIT
// What goes to the client: JSON, events, text before a stop string, counters, keys.
#include "llm-runtime/serve/response.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "llm-runtime/serve/api_keys.hpp"
#include "llm-runtime/serve/metrics.hpp"
#include "llm-runtime/serve/stop_filter.hpp"
#include "regdb/error.hpp"

namespace npu::llm::serve {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json data_of(const std::string& event) {
  EXPECT_TRUE(event.starts_with("data: ") && event.ends_with("\n\n")) << event;
  // One line: a line break within would end the event's data.
  EXPECT_EQ(event.find('\n'), event.size() - 2) << event;
  return json::parse(event.substr(6));
}

TEST(Response, AChatAsOneObject) {
  const AnswerHead head = new_head(Kind::chat, "m", false);
  const std::vector<Choice> choices{{"say \"hi\"\n", Finish::length}};
  const json got = json::parse(answer_json(head, choices, {10, 4, 3}));
  EXPECT_EQ(got["object"], "chat.completion");
  EXPECT_EQ(got["id"], head.id);
  EXPECT_EQ(got["model"], "m");
  EXPECT_EQ(got["choices"][0]["message"]["content"], "say \"hi\"\n");
  EXPECT_EQ(got["choices"][0]["message"]["role"], "assistant");
  EXPECT_EQ(got["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(got["usage"]["prompt_tokens"], 10);
  EXPECT_EQ(got["usage"]["completion_tokens"], 3);
  EXPECT_EQ(got["usage"]["total_tokens"], 13);
  EXPECT_EQ(got["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
  EXPECT_NE(new_head(Kind::chat, "m", false).id, head.id);
}

TEST(Response, SeveralChoicesOfACompletion) {
  const AnswerHead head = new_head(Kind::completion, "m", false);
  const std::vector<Choice> choices{{"a", Finish::stop}, {"b", Finish::length}};
  const json got = json::parse(answer_json(head, choices, {}));
  EXPECT_EQ(got["object"], "text_completion");
  EXPECT_EQ(got["choices"][1]["text"], "b");
  EXPECT_EQ(got["choices"][1]["index"], 1);
  EXPECT_EQ(got["choices"][0]["finish_reason"], "stop");
}

TEST(Response, EventsOfAChat) {
  AnswerHead head = new_head(Kind::chat, "m", false);
  EXPECT_EQ(data_of(role_event(head, 0))["choices"][0]["delta"]["role"], "assistant");
  const json text = data_of(text_event(head, 0, "a\nb"));
  EXPECT_EQ(text["object"], "chat.completion.chunk");
  EXPECT_EQ(text["choices"][0]["delta"], json({{"content", "a\nb"}}));
  EXPECT_EQ(text["choices"][0]["finish_reason"], nullptr);
  EXPECT_FALSE(text.contains("usage"));
  const json finish = data_of(finish_event(head, 0, Finish::stop));
  EXPECT_EQ(finish["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(finish["choices"][0]["delta"], json::object());
  head.include_usage = true;
  EXPECT_EQ(data_of(text_event(head, 0, "a"))["usage"], nullptr);
  const json usage = data_of(usage_event(head, {5, 0, 2}));
  EXPECT_TRUE(usage["choices"].empty());
  EXPECT_EQ(usage["usage"]["total_tokens"], 7);
}

TEST(Response, ErrorsNameFieldAndCodeOrNull) {
  const json full = json::parse(error_json({400, "no", "t", "p", "c"}));
  EXPECT_EQ(full["error"], json({{"message", "no"}, {"type", "t"}, {"param", "p"}, {"code", "c"}}));
  const json bare = json::parse(error_json({.message = "bad \xff byte"}));
  EXPECT_EQ(bare["error"]["param"], nullptr);
  EXPECT_EQ(bare["error"]["code"], nullptr);
}

std::string all_of(StopFilter filter, const std::string& text, std::size_t piece, bool& stopped) {
  std::string said;
  for (std::size_t i = 0; i < text.size(); i += piece) said += filter.push(text.substr(i, piece));
  stopped = filter.stopped();
  return said + filter.flush();
}

TEST(StopFilter, TheAnswerEndsBeforeTheFirstStringHoweverItIsCut) {
  for (std::size_t piece = 1; piece < 20; ++piece) {
    bool stopped = false;
    EXPECT_EQ(all_of(StopFilter({"END", "</s>"}), "one ENE two</s>three END", piece, stopped),
              "one ENE two");
    EXPECT_TRUE(stopped);
    EXPECT_EQ(all_of(StopFilter({"aab"}), "xaaab", piece, stopped), "xa");
    EXPECT_TRUE(stopped);
    EXPECT_EQ(all_of(StopFilter({"abcd"}), "ab abc", piece, stopped), "ab abc");
    EXPECT_FALSE(stopped);
    EXPECT_EQ(all_of(StopFilter({}), "ab abc", piece, stopped), "ab abc");
  }
}

TEST(StopFilter, HoldsBackNoMoreThanItMust) {
  StopFilter filter({"END"});
  EXPECT_EQ(filter.push("the E"), "the ");
  EXPECT_EQ(filter.push("N"), "");
  EXPECT_EQ(filter.push("x"), "ENx");
  EXPECT_EQ(filter.push("END and more"), "");
  EXPECT_EQ(filter.push("more"), "");
  EXPECT_EQ(filter.flush(), "");
}

TEST(Metrics, ThePageIsWhatPrometheusReads) {
  Metrics metrics;
  metrics.count_request("/v1/chat/completions", 200);
  metrics.count_request("/v1/chat/completions", 200);
  metrics.count_request("/health", 503);
  metrics.add_request_seconds(0.3);
  metrics.add_request_seconds(100);
  metrics.add_first_token_seconds(0.005);
  SchedulerState state;
  state.sessions = 8;
  state.queued = 3;
  state.on_npu = true;
  state.npu.submits = 17;
  state.npu_provenance = "modelled";
  const std::string page = metrics.render(state, "a\"b\\c");
  for (const char* line :
       {"npu_serve_requests_total{route=\"/v1/chat/completions\",status=\"200\"} 2\n",
        "npu_serve_requests_total{route=\"/health\",status=\"503\"} 1\n",
        "npu_serve_request_seconds_bucket{le=\"0.25\"} 0\n",
        "npu_serve_request_seconds_bucket{le=\"0.5\"} 1\n",
        "npu_serve_request_seconds_bucket{le=\"+Inf\"} 2\n", "npu_serve_request_seconds_count 2\n",
        "npu_serve_time_to_first_token_seconds_bucket{le=\"0.005\"} 1\n",
        "npu_serve_queue_length 3\n", "npu_serve_npu_submits_total 17\n",
        "npu_serve_npu_seconds_total{source=\"modelled\"} 0\n",
        "npu_serve_info{model=\"a\\\"b\\\\c\"} 1\n"}) {
    EXPECT_THAT(page, HasSubstr(line));
  }
  // Every line is a comment of one of two kinds, or a name, labels and a number.
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_THAT(line,
                testing::AnyOf(testing::StartsWith("# HELP npu_serve_"),
                               testing::StartsWith("# TYPE npu_serve_"),
                               testing::MatchesRegex("npu_serve_[a-z_]+(\\{.+\\})? [-+.e0-9]+")))
        << line;
  }
}

TEST(Metrics, TheTypicalTimeFollowsTheLaterRequests) {
  Metrics metrics;
  EXPECT_EQ(metrics.typical_seconds(), 0);
  metrics.add_request_seconds(10);
  EXPECT_EQ(metrics.typical_seconds(), 10);
  for (int i = 0; i < 100; ++i) metrics.add_request_seconds(1);
  EXPECT_NEAR(metrics.typical_seconds(), 1, 0.01);
}

TEST(ApiKeys, OnlyAWholeKeyIsAccepted) {
  ApiKeys keys;
  EXPECT_TRUE(keys.empty());
  keys.add("secret-1");
  keys.add("other");
  EXPECT_TRUE(keys.accepts("Bearer secret-1"));
  EXPECT_TRUE(keys.accepts("bearer other"));
  for (const char* bad : {"", "Bearer", "Bearer ", "Bearer secret", "Bearer secret-12",
                          "Bearer Secret-1", "Basic other", "secret-1", "Bearer  other"}) {
    EXPECT_FALSE(keys.accepts(bad)) << bad;
  }
  for (const char* bad : {"", "two words", "tab\t", "\xc3\xa4"}) {
    EXPECT_THROW(keys.add(bad), Error) << bad;
  }
}

TEST(ApiKeys, AFileHasAKeyOnEachLine) {
  const std::string path = testing::TempDir() + "/keys_" + std::to_string(::getpid());
  std::ofstream(path) << "# mine\n\nalpha \r\nbeta";
  ApiKeys keys;
  keys.add_file(path);
  EXPECT_TRUE(keys.accepts("Bearer alpha"));
  EXPECT_TRUE(keys.accepts("Bearer beta"));
  std::ofstream(path) << "# none\n";
  EXPECT_THROW(keys.add_file(path), Error);
  std::filesystem::remove(path);
  EXPECT_THROW(keys.add_file(path), Error);
}

}  // namespace
}  // namespace npu::llm::serve
