// SPDX-License-Identifier: MIT
// The server over HTTP, in this process: every status, streams, clients that go away, drain.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <thread>

#include "llm-runtime/serve/service.hpp"
#include "regdb/error.hpp"

namespace npu::llm::serve {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr milliseconds kLong{60'000};  // for what takes much less
constexpr const char* kJson = "application/json";
constexpr const char* kChat = "/v1/chat/completions";
constexpr const char* kCompletion = "/v1/completions";
/// The model of random weights goes on from this one for thousands of tokens.
constexpr const char* kEndless = R"({"prompt": [5], "temperature": 0})";
constexpr const char* kEndlessStream = R"({"prompt": [5], "temperature": 0, "stream": true})";

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

struct Wanted {
  const Model* model = &chat_model();
  std::uint32_t context = 256, parallel = 8;
  SchedulerOptions scheduler;
  ServiceOptions service{.model = "tiny"};
  HttpOptions http{.port = 0, .workers = 24, .waiting = 24};
  bool load = true;
};

class Server {
 public:
  explicit Server(Wanted wanted = {})
      : engine(*wanted.model,
               {.threads = 2, .context = wanted.context, .sequences = wanted.parallel}),
        tokenizer(wanted.model->file()),
        scheduler(engine, tokenizer, wanted.scheduler, metrics),
        backend{scheduler, tokenizer, ChatTemplate::of_model(wanted.model->file(), tokenizer),
                wanted.context, 0},
        service(wanted.service, metrics),
        http(wanted.http, service.hooks()),
        port(http.bind()),
        thread([this] { http.listen(); }) {
    if (wanted.load) service.ready(backend);
  }
  ~Server() {
    scheduler.abort();
    http.stop();
    thread.join();
  }
  httplib::Client client() const {
    httplib::Client made("127.0.0.1", port);
    made.set_read_timeout(60);
    return made;
  }
  httplib::Response post(const std::string& path, const std::string& body,
                         const httplib::Headers& headers = {}) const {
    const httplib::Result result = client().Post(path, headers, body, kJson);
    EXPECT_TRUE(result) << path << " " << httplib::to_string(result.error());
    return result ? *result : httplib::Response{};
  }
  httplib::Response get(const std::string& path, const httplib::Headers& headers = {}) const {
    const httplib::Result result = client().Get(path, headers);
    EXPECT_TRUE(result) << path << " " << httplib::to_string(result.error());
    return result ? *result : httplib::Response{};
  }
  void wait_for(const std::function<bool(const SchedulerState&)>& what) const {
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
  Backend backend;
  Service service;
  HttpServer http;
  int port;
  std::thread thread;
};

/// The error of a response in OpenAI's shape.
json error_of(const httplib::Response& response) {
  EXPECT_THAT(response.get_header_value("Content-Type"), HasSubstr(kJson));
  const json body = json::parse(response.body, nullptr, false);
  EXPECT_TRUE(body.is_object() && body.contains("error")) << response.body;
  const json error = body.value("error", json::object());
  for (const char* field : {"message", "type", "param", "code"}) {
    EXPECT_TRUE(error.contains(field)) << response.body;
  }
  return error;
}

std::string question(const std::string& text, const std::string& more = "") {
  const json messages = json::array({{{"role", "user"}, {"content", text}}});
  return R"({"temperature": 0, )" + more + R"("messages": )" + messages.dump() + "}";
}

/// Data of the events, without the last one, which must be [DONE].
std::vector<json> events_of(const std::string& body) {
  std::vector<json> events;
  std::size_t at = 0;
  bool done = false;
  while (at < body.size()) {
    EXPECT_FALSE(done) << "something follows [DONE]";
    const std::size_t end = body.find("\n\n", at);
    EXPECT_NE(end, std::string::npos);
    const std::string line = body.substr(at, end - at);
    EXPECT_TRUE(line.starts_with("data: ")) << line;
    done = line == "data: [DONE]";
    if (!done) events.push_back(json::parse(line.substr(6)));
    at = end + 2;
  }
  EXPECT_TRUE(done) << body;
  return events;
}

/// A client that sends and then does as it likes.
class RawClient {
 public:
  RawClient(int port, const std::string& bytes) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  ~RawClient() { hang_up(); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;
  std::string read_some() {
    std::string bytes(4096, '\0');
    const ssize_t got = recv(socket_, bytes.data(), bytes.size(), 0);
    bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return bytes;
  }
  std::string read_all() {
    std::string all;
    for (std::string some = read_some(); !some.empty(); some = read_some()) all += some;
    return all;
  }
  void hang_up() {
    if (socket_ >= 0) close(socket_);
    socket_ = -1;
  }

 private:
  int socket_;
};

std::string raw_post(const std::string& path, const std::string& body) {
  return "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

TEST(Http, AChat) {
  const Server server;
  const httplib::Response response = server.post(kChat, question("What is the capital of France?"));
  ASSERT_EQ(response.status, 200) << response.body;
  const json body = json::parse(response.body);
  EXPECT_EQ(body["choices"][0]["message"]["content"], "The capital of France is Paris.");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(body["model"], "tiny");
  EXPECT_GT(body["usage"]["prompt_tokens"], 10);
}

TEST(Http, AStreamedChatSaysTheSame) {
  const Server server;
  const httplib::Response response = server.post(
      kChat, question("What is the capital of France?",
                      R"("stream": true, "stream_options": {"include_usage": true}, )"));
  ASSERT_EQ(response.status, 200);
  EXPECT_EQ(response.get_header_value("Content-Type"), "text/event-stream");
  const std::vector<json> events = events_of(response.body);
  ASSERT_GT(events.size(), 4u);
  EXPECT_EQ(events.front()["choices"][0]["delta"]["role"], "assistant");
  std::string text;
  for (const json& event : events) {
    if (!event["choices"].empty()) text += event["choices"][0]["delta"].value("content", "");
  }
  EXPECT_EQ(text, "The capital of France is Paris.");
  EXPECT_EQ(events[events.size() - 2]["choices"][0]["finish_reason"], "stop");
  EXPECT_GT(events.back()["usage"]["completion_tokens"], 0);
}

TEST(Http, StopStringsAndLengthEndAnAnswer) {
  const Server server;
  const auto choice = [&](const std::string& more) {
    return json::parse(
        server.post(kChat, question("What is the capital of France?", more)).body)["choices"][0];
  };
  const json stopped = choice(R"("stop": ["France is"], )");
  EXPECT_EQ(stopped["message"]["content"], "The capital of ");
  EXPECT_EQ(stopped["finish_reason"], "stop");
  const json cut = choice(R"("max_completion_tokens": 3, )");
  EXPECT_EQ(cut["message"]["content"], "The capital of");
  EXPECT_EQ(cut["finish_reason"], "length");
}

TEST(Http, CompletionsOfSeveralPrompts) {
  const Server server({.model = &endless_model()});
  const auto texts = [&](const std::string& prompt) {
    const httplib::Response response = server.post(
        kCompletion, R"({"temperature": 0, "max_tokens": 6, "prompt": )" + prompt + "}");
    EXPECT_EQ(response.status, 200) << response.body;
    std::vector<std::string> result;
    const json body = json::parse(response.body);
    for (const json& choice : body["choices"]) result.push_back(choice["text"]);
    return result;
  };
  const auto one = texts("[5]"), other = texts("[[6, 7]]");
  EXPECT_EQ(texts("[[5], [6, 7], [5]]"), (std::vector{one[0], other[0], one[0]}));
  EXPECT_EQ(texts(R"(["a", "b"])").size(), 2u);
  const httplib::Response stream = server.post(
      kCompletion,
      R"({"temperature": 0, "max_tokens": 6, "prompt": [[5], [6, 7]], "stream": true})");
  std::vector<std::string> streamed(2);
  for (const json& event : events_of(stream.body)) {
    const json& choice = event["choices"][0];
    streamed.at(choice["index"]) += choice["text"].get<std::string>();
  }
  EXPECT_EQ(streamed, (std::vector{one[0], other[0]}));
}

TEST(Http, EightSessionsAtOnceSayWhatEachSaysAlone) {
  const Server server;
  const std::vector<std::string> questions{"What is the capital of France?",
                                           "What is the capital of Japan?",
                                           "What is the opposite of hot?",
                                           "What colour is grass?",
                                           "Spell the word: house",
                                           "What month comes after May?",
                                           "What is an NPU?",
                                           "Hello!"};
  const auto content = [&](const std::string& asked) {
    const json body = json::parse(server.post(kChat, question(asked)).body);
    return body["choices"][0]["message"]["content"].get<std::string>();
  };
  std::vector<std::string> alone;
  for (const std::string& asked : questions) alone.push_back(content(asked));
  for (int round = 0; round < 3; ++round) {
    std::vector<std::string> together(questions.size());
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < questions.size(); ++i) {
      threads.emplace_back([&, i] { together[i] = content(questions[i]); });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(together, alone);
  }
}

TEST(Http, ModelsHealthMetricsAndThePage) {
  const Server server;
  EXPECT_EQ(server.get("/health").body, R"({"status":"ok"})");
  const json models = json::parse(server.get("/v1/models").body);
  EXPECT_EQ(models["data"][0]["id"], "tiny");
  server.post(kChat, question("Hello!"));
  const std::string metrics = server.get("/metrics").body;
  EXPECT_THAT(
      metrics,
      HasSubstr("npu_serve_requests_total{route=\"/v1/chat/completions\",status=\"200\"} 1"));
  EXPECT_THAT(metrics, HasSubstr("npu_serve_time_to_first_token_seconds_count 1"));
  const httplib::Response page = server.get("/");
  EXPECT_EQ(page.get_header_value("Content-Type"), "text/html; charset=utf-8");
  EXPECT_THAT(page.body, HasSubstr("<html"));
  // It takes nothing from elsewhere.
  EXPECT_EQ(page.body.find("http://"), std::string::npos);
  EXPECT_EQ(page.body.find("https://"), std::string::npos);
  EXPECT_THAT(page.get_header_value("Content-Security-Policy"), HasSubstr("default-src 'none'"));
}

TEST(Http, WrongRequestsHaveTheirStatus) {
  Wanted wanted;
  wanted.http.most_body = 10'000;
  const Server server(wanted);
  httplib::Response response = server.post(kChat, "{");
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(error_of(response)["type"], "invalid_request_error");
  response = server.post(kChat, question("a", R"("temperature": "hot", )"));
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(error_of(response)["param"], "temperature");
  std::string words;
  while (words.size() < 3000) words += "word ";
  response = server.post(kChat, question(words));
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(error_of(response)["code"], "context_length_exceeded");
  response = server.get("/v1/nothing");
  EXPECT_EQ(response.status, 404);
  error_of(response);
  response = server.get(kChat);
  EXPECT_EQ(response.status, 405);
  EXPECT_EQ(response.get_header_value("Allow"), "POST");
  error_of(response);
  response = server.post("/health", "{}");
  EXPECT_EQ(response.status, 405);
  response = server.post(kChat, std::string(20'000, ' '));
  EXPECT_EQ(response.status, 413);
  EXPECT_EQ(error_of(response)["code"], "body_too_large");
  response = server.post(kChat, question("a"), {{"Content-Encoding", "gzip"}});
  EXPECT_EQ(response.status, 415);
  error_of(response);
  EXPECT_EQ(server.get("/" + std::string(9000, 'a')).status, 414);
}

TEST(Http, AChunkedBodyIsLimitedToo) {
  Wanted wanted;
  wanted.http.most_body = 100'000;
  const Server server(wanted);
  const std::string block(10'000, ' ');
  const httplib::Result result = server.client().Post(
      kChat,
      [&](std::size_t offset, httplib::DataSink& sink) {
        if (offset > 4'000'000) {
          sink.done();
          return true;
        }
        return sink.write(block.data(), block.size());
      },
      kJson);
  // The rest may not be taken any more: then the client may see no more than the end.
  if (result) {
    EXPECT_EQ(result->status, 413);
  }
  EXPECT_EQ(server.get("/health").status, 200);
}

TEST(Http, WhatIsNoHttpIsRefused) {
  Wanted wanted;
  wanted.http.receive_timeout = std::chrono::seconds(1);
  const Server server(wanted);
  for (const std::string bytes :
       {"\r\n\r\n", "hello\r\n\r\n", "GET\r\n\r\n", "POST / HTTP/9.9\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}) {
    RawClient client(server.port, bytes);
    const std::string answer = client.read_all();
    EXPECT_TRUE(answer.empty() || answer.starts_with("HTTP/1.1 4")) << bytes << answer;
  }
  EXPECT_EQ(server.get("/health").status, 200);
}

TEST(Http, KeysOpenWhatIsNotForEverybody) {
  Wanted wanted;
  wanted.service.keys.add("right");
  const Server server(wanted);
  for (const char* path : {"/v1/models", "/metrics"}) {
    EXPECT_EQ(server.get(path).status, 401);
    EXPECT_EQ(server.get(path, {{"Authorization", "Bearer wrong"}}).status, 401);
    EXPECT_EQ(server.get(path, {{"Authorization", "Bearer right"}}).status, 200);
  }
  const httplib::Response refused = server.post(kChat, question("a"));
  EXPECT_EQ(refused.status, 401);
  EXPECT_EQ(error_of(refused)["code"], "invalid_api_key");
  EXPECT_EQ(refused.get_header_value("WWW-Authenticate"), "Bearer");
  EXPECT_EQ(server.post(kChat, question("a"), {{"Authorization", "Bearer right"}}).status, 200);
  EXPECT_EQ(server.get("/").status, 200);
  EXPECT_EQ(server.get("/health").status, 200);
}

TEST(Http, LoadingIs503) {
  const Server server({.load = false});
  EXPECT_EQ(server.get("/health").status, 503);
  EXPECT_EQ(server.get("/v1/models").status, 503);
  const httplib::Response response = server.post(kChat, question("a"));
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(error_of(response)["code"], "loading");
  EXPECT_TRUE(response.has_header("Retry-After"));
}

TEST(Http, AFullQueueIs429) {
  const Server server(
      {.model = &endless_model(), .context = 16384, .parallel = 1, .scheduler = {.queue = 0}});
  RawClient running(server.port, raw_post(kCompletion, kEndlessStream));
  server.wait_for([](const SchedulerState& state) { return state.tokens > 0; });
  const httplib::Response response = server.post(kCompletion, kEndless);
  EXPECT_EQ(response.status, 429);
  EXPECT_EQ(error_of(response)["code"], "queue_full");
  EXPECT_GE(std::stoi(response.get_header_value("Retry-After")), 1);
  EXPECT_EQ(server.get("/health").status, 200);
}

TEST(Http, ConnectionsBeyondAllThreadsAreRefused) {
  Wanted wanted{.model = &endless_model(), .context = 16384, .parallel = 1};
  wanted.http.workers = 2;
  wanted.http.waiting = 1;
  const Server server(wanted);
  // Two hold the threads, one waits for a thread. They are accepted in the order of their coming.
  RawClient a(server.port, raw_post(kCompletion, kEndless));
  RawClient b(server.port, raw_post(kCompletion, kEndless));
  server.wait_for([](const SchedulerState& state) { return state.active + state.queued == 2; });
  RawClient c(server.port, raw_post(kCompletion, R"({"prompt": [5], "max_tokens": 1})"));
  for (int i = 0; i < 20; ++i) {
    RawClient d(server.port, raw_post(kCompletion, kEndless));
    const std::string answer = d.read_all();
    EXPECT_THAT(answer, testing::StartsWith("HTTP/1.1 429 "));
    EXPECT_THAT(answer, HasSubstr("\r\nRetry-After: 1\r\n"));
    EXPECT_THAT(answer, HasSubstr("{\"error\":{\"message\":"));
  }
  a.hang_up();
  b.hang_up();
  EXPECT_THAT(c.read_all(), HasSubstr("200 OK"));  // its turn has come
}

TEST(Http, AClientThatGoesAwayFreesItsSession) {
  const Server server({.model = &endless_model(), .context = 65536, .parallel = 2});
  RawClient stream(server.port, raw_post(kCompletion, kEndlessStream));
  RawClient whole(server.port, raw_post(kCompletion, kEndless));
  server.wait_for([](const SchedulerState& state) { return state.active == 2; });
  EXPECT_THAT(stream.read_some(), HasSubstr("200 OK"));
  stream.hang_up();
  server.wait_for([](const SchedulerState& state) { return state.active == 1; });
  whole.hang_up();
  server.wait_for([](const SchedulerState& state) { return state.active == 0; });
}

TEST(Http, TimeIsUp) {
  Wanted wanted{.model = &endless_model(), .context = 65536, .parallel = 2};
  wanted.service.timeout = milliseconds(1000);
  const Server server(wanted);
  const httplib::Response whole = server.post(kCompletion, kEndless);
  EXPECT_EQ(whole.status, 504);
  EXPECT_EQ(error_of(whole)["code"], "timeout");
  const httplib::Response stream = server.post(kCompletion, kEndlessStream);
  if (stream.status == 200) {  // it had begun, unless this machine is very busy
    const std::string last = stream.body.substr(stream.body.rfind("data: "));
    EXPECT_EQ(json::parse(last.substr(6))["error"]["code"], "timeout");
  } else {
    EXPECT_EQ(stream.status, 504);
  }
  server.wait_for([](const SchedulerState& state) { return state.active == 0; });
}

TEST(Http, DrainingEndsWhatRunsAndRefusesTheRest) {
  Server server({.model = &endless_model(), .context = 2048, .parallel = 1});
  std::atomic<int> status{0};
  std::string text;
  std::thread running([&] {
    const httplib::Response response =
        server.post(kCompletion, R"({"prompt": [5], "temperature": 0, "max_tokens": 300})");
    status = response.status;
    text = response.body;
  });
  server.wait_for([](const SchedulerState& state) { return state.tokens > 0; });
  server.service.drain();
  const httplib::Response refused = server.post(kCompletion, kEndless);
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(error_of(refused)["code"], "draining");
  EXPECT_EQ(server.get("/health").status, 503);
  EXPECT_TRUE(server.scheduler.wait_idle(kLong));
  running.join();
  EXPECT_EQ(status, 200);
  EXPECT_EQ(json::parse(text)["usage"]["completion_tokens"], 300);
  EXPECT_TRUE(server.http.wait_idle(kLong));
}

TEST(Http, APortThatIsTakenIsRefused) {
  const Server server;
  Wanted wanted;
  wanted.http.port = server.port;
  EXPECT_THROW(Server{wanted}, Error);
}

}  // namespace
}  // namespace npu::llm::serve
