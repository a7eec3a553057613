// SPDX-License-Identifier: MIT
#include "llm-runtime/serve/service.hpp"

#include <fmt/format.h>

#include <array>
#include <random>
#include <string_view>

#include "llm-runtime/serve/page.hpp"
#include "llm-runtime/serve/response.hpp"
#include "regdb/error.hpp"

namespace npu::llm::serve {
namespace {

using Clock = std::chrono::steady_clock;

struct Route {
  std::string_view path, method;
  bool open;  ///< without a key
};
constexpr std::array kRoutes{
    Route{"/", "GET", true},
    Route{"/health", "GET", true},
    Route{"/metrics", "GET", false},
    Route{"/v1/models", "GET", false},
    Route{"/v1/completions", "POST", false},
    Route{"/v1/chat/completions", "POST", false},
};

const Route* find_route(std::string_view path) {
  for (const Route& route : kRoutes) {
    if (route.path == path) return &route;
  }
  return nullptr;
}

const Refusal kLoading{.status = 503,
                       .message = "the model is being loaded: ask again in a while",
                       .type = "server_error",
                       .code = "loading",
                       .retry_after = 2};
const Refusal kDraining{.status = 503,
                        .message = "the server is stopping: ask again in a while, or another one",
                        .type = "server_error",
                        .code = "draining",
                        .retry_after = 5};
/// Of a client that has gone, for the log only: the number is nginx's.
const Refusal kGone{.status = 499, .message = "the client closed the connection"};

/// How often a thread that waits looks whether its client is still there.
constexpr std::chrono::milliseconds kLook{100};

Refusal http_refusal(int status) {
  switch (status) {
    case 413:
      return {.status = 413,
              .message =
                  "the body is too large: see --max-body; a form is cut off earlier, so "
                  "send Content-Type: application/json",
              .code = "body_too_large"};
    case 414: return {.status = 414, .message = "the path is too long"};
    case 500:
      return {.status = 500, .message = "the server could not answer this", .type = "server_error"};
    default: return {.status = status, .message = "this is no HTTP request that can be read"};
  }
}

/// What a waiting thread finds, besides pieces: the end of the wait.
std::optional<Refusal> interrupted(const Answer& answer, const std::function<bool()>& connected,
                                   Clock::time_point until, std::chrono::milliseconds timeout) {
  if (const std::optional<Refusal> failure = answer.failure()) return failure;
  if (!connected()) return kGone;
  if (timeout.count() != 0 && Clock::now() > until) {
    return Refusal{.status = 504,
                   .message = fmt::format("the answer was not ready within {} s (--timeout): ask "
                                          "for fewer tokens",
                                          timeout.count() / 1000.0),
                   .type = "server_error",
                   .code = "timeout"};
  }
  return std::nullopt;
}

/// The events of some pieces.
std::string events(const AnswerHead& head, std::span<const Piece> pieces) {
  std::string text;
  for (const Piece& piece : pieces) {
    if (!piece.text.empty()) text += text_event(head, piece.choice, piece.text);
    if (piece.finish) text += finish_event(head, piece.choice, *piece.finish);
  }
  return text;
}

HttpResponse text_response(std::string body, std::string type) {
  return {.content_type = std::move(type), .body = std::move(body)};
}

std::uint64_t random_seed() {
  static std::atomic<std::uint64_t> next{std::random_device{}() * 0x9E3779B97F4A7C15u};
  return next += 0x9E3779B97F4A7C15u;
}

}  // namespace

HttpResponse refusal_response(const Refusal& refusal) {
  HttpResponse response{.status = refusal.status, .body = error_json(refusal)};
  if (refusal.retry_after > 0) {
    response.headers.emplace_back("Retry-After", std::to_string(refusal.retry_after));
  }
  return response;
}

Service::Service(ServiceOptions options, Metrics& metrics)
    : options_(std::move(options)),
      metrics_(metrics),
      started_(std::chrono::duration_cast<std::chrono::seconds>(
                   std::chrono::system_clock::now().time_since_epoch())
                   .count()) {}

void Service::ready(const Backend& backend) { backend_ = &backend; }

void Service::drain() {
  draining_ = true;
  if (const Backend* backend = backend_) backend->scheduler.drain();
}

HttpServer::Hooks Service::hooks() {
  return {.early = [this](const HttpRequest& request) { return early(request); },
          .handle = [this](const HttpRequest& request) { return handle(request); },
          .refuse = [](int status) { return refusal_response(http_refusal(status)); },
          .busy =
              [this] {
                metrics_.count_request("other", 429);
                return refusal_response({.status = 429,
                                         .message = "too many connections: ask again in a while",
                                         .type = "rate_limit_error",
                                         .code = "queue_full",
                                         .retry_after = 1});
              },
          .log = [this](const HttpRequest& request, int status,
                        double seconds) { log(request, status, seconds); }};
}

std::optional<HttpResponse> Service::early(const HttpRequest& request) const {
  const Route* route = find_route(request.path);
  if (route == nullptr) {
    return refusal_response({.status = 404,
                             .message = fmt::format("there is no {}: see /v1/models, "
                                                    "/v1/chat/completions, /v1/completions, "
                                                    "/health, /metrics",
                                                    request.path),
                             .code = "not_found"});
  }
  if (request.method != route->method && !(route->method == "GET" && request.method == "HEAD")) {
    HttpResponse response =
        refusal_response({.status = 405,
                          .message = fmt::format("{} takes {} only", route->path, route->method),
                          .code = "method_not_allowed"});
    response.headers.emplace_back("Allow", route->method == "GET" ? "GET, HEAD" : "POST");
    return response;
  }
  if (!route->open && !options_.keys.empty() &&
      !options_.keys.accepts(request.header("Authorization"))) {
    HttpResponse response =
        refusal_response({.status = 401,
                          .message = request.header("Authorization").empty()
                                         ? "an API key is needed: send Authorization: Bearer KEY"
                                         : "the API key is wrong",
                          .type = "authentication_error",
                          .code = "invalid_api_key"});
    response.headers.emplace_back("WWW-Authenticate", "Bearer");
    return response;
  }
  if (route->method == "POST") {
    const std::string encoding = request.header("Content-Encoding");
    if (!encoding.empty() && encoding != "identity") {
      return refusal_response(
          {.status = 415, .message = "a compressed body is not read: send it as it is"});
    }
    if (draining_) return refusal_response(kDraining);
  }
  if (!route->open && backend_.load() == nullptr) return refusal_response(kLoading);
  return std::nullopt;
}

HttpResponse Service::handle(const HttpRequest& request) {
  if (request.path == "/") {
    HttpResponse response = text_response(std::string(kPage), "text/html; charset=utf-8");
    // The page needs nothing from elsewhere, and nothing else may come into it.
    response.headers = {{"Content-Security-Policy",
                         "default-src 'none'; style-src 'unsafe-inline'; script-src "
                         "'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; "
                         "form-action 'none'; frame-ancestors 'none'"},
                        {"X-Content-Type-Options", "nosniff"},
                        {"Referrer-Policy", "no-referrer"}};
    return response;
  }
  if (request.path == "/health") return health();
  const Backend& backend = *backend_.load();  // early() has seen to it
  if (request.path == "/metrics") {
    return text_response(metrics_.render(backend.scheduler.state(), options_.model),
                         "text/plain; version=0.0.4; charset=utf-8");
  }
  if (request.path == "/v1/models") {
    return {.body = models_json(options_.model, started_, backend.context, backend.parameters)};
  }
  return complete(request, request.path == "/v1/completions" ? Kind::completion : Kind::chat);
}

HttpResponse Service::health() const {
  if (draining_) return refusal_response(kDraining);
  if (backend_.load() == nullptr) return refusal_response(kLoading);
  return {.body = R"({"status":"ok"})"};
}

namespace {

/// The prompts of a request as jobs. Throws Error with what the chat template says.
std::vector<Job> jobs_of(const CompletionRequest& request, const Backend& backend) {
  std::vector<std::vector<TokenId>> prompts;
  if (request.kind == Kind::chat) {
    prompts.push_back(
        backend.tokenizer.encode(backend.chat_template->render(request.messages, true), true));
  }
  for (const Prompt& prompt : request.prompts) {
    const auto* text = std::get_if<std::string>(&prompt);
    prompts.push_back(text != nullptr ? backend.tokenizer.encode(*text, true)
                                      : std::get<std::vector<TokenId>>(prompt));
  }
  std::vector<Job> jobs;
  for (std::vector<TokenId>& prompt : prompts) {
    Job job{.prompt = std::move(prompt),
            .sampler = request.sampler,
            .frequency_penalty = request.frequency_penalty,
            .presence_penalty = request.presence_penalty,
            .most_tokens = request.most_tokens,
            .stop = request.stop};
    if (!request.seeded && job.sampler.seed == 0) job.sampler.seed = random_seed();
    jobs.push_back(std::move(job));
  }
  return jobs;
}

/// Ends the answer when nobody reads it any more, however that comes.
class Hold {
 public:
  explicit Hold(std::shared_ptr<Answer> answer) : answer_(std::move(answer)) {}
  ~Hold() { answer_->cancel(); }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  Answer* operator->() const { return answer_.get(); }
  Answer& operator*() const { return *answer_; }

 private:
  std::shared_ptr<Answer> answer_;
};

}  // namespace

HttpResponse Service::complete(const HttpRequest& request, Kind kind) {
  const Backend& backend = *backend_.load();
  const Clock::time_point until = Clock::now() + options_.timeout;
  auto parsed = parse_request(request.body, kind, options_.sampler);
  if (const auto* refusal = std::get_if<Refusal>(&parsed)) return refusal_response(*refusal);
  const CompletionRequest& asked = std::get<CompletionRequest>(parsed);
  if (kind == Kind::chat && !backend.chat_template) {
    return refusal_response({.message = "this model has no chat template: use /v1/completions"});
  }
  std::vector<Job> jobs;
  try {
    jobs = jobs_of(asked, backend);
  } catch (const Error& error) {
    return refusal_response({.message = error.what(), .param = "messages"});
  }
  const auto choices = static_cast<std::uint32_t>(jobs.size());
  auto submitted = backend.scheduler.submit(std::move(jobs));
  if (const auto* refusal = std::get_if<Refusal>(&submitted)) return refusal_response(*refusal);
  const auto answer = std::make_shared<Hold>(std::get<std::shared_ptr<Answer>>(submitted));
  const AnswerHead head = new_head(kind, options_.model, asked.include_usage);

  // A stream begins with its first piece: until then an error can still have a status.
  std::vector<Choice> texts(choices);
  std::vector<Piece> pieces;
  while (asked.stream ? pieces.empty() : !(*answer)->done()) {
    pieces = (*answer)->take(kLook);
    if (!asked.stream) {
      for (Piece& piece : pieces) {
        texts[piece.choice].text += piece.text;
        if (piece.finish) texts[piece.choice].finish = *piece.finish;
      }
    }
    if ((*answer)->done()) break;
    if (const auto refusal = interrupted(**answer, request.connected, until, options_.timeout)) {
      return refusal_response(*refusal);
    }
  }
  if (!asked.stream) return {.body = answer_json(head, texts, (*answer)->usage())};

  HttpResponse response{.content_type = "text/event-stream"};
  response.headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
  response.stream = [this, answer, head, choices, pieces, until,
                     connected = request.connected](const HttpResponse::Write& write) mutable {
    std::string text;
    if (head.kind == Kind::chat) {
      for (std::uint32_t i = 0; i < choices; ++i) text += role_event(head, i);
    }
    for (;;) {
      text += events(head, pieces);
      if (!text.empty() && !write(text)) return;
      text.clear();
      if ((*answer)->done()) break;
      pieces = (*answer)->take(kLook);
      if (const auto refusal = interrupted(**answer, connected, until, options_.timeout)) {
        write(event(error_json(*refusal)));
        return;
      }
    }
    if (head.include_usage) text += usage_event(head, (*answer)->usage());
    text += kDone;
    write(text);
  };
  return response;
}

void Service::log(const HttpRequest& request, int status, double seconds) {
  const Route* route = find_route(request.path);
  metrics_.count_request(route != nullptr ? std::string(route->path) : "other", status);
  if (route != nullptr && route->method == "POST" && status == 200) {
    metrics_.add_request_seconds(seconds);
  }
  if (options_.log) {
    options_.log(fmt::format("{} {} {} {:.3f} s", request.method,
                             route != nullptr ? route->path : "(other)", status, seconds));
  }
}

}  // namespace npu::llm::serve
