// SPDX-License-Identifier: MIT
// The routes of the server: from an HTTP request to the answer of the model.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "llm-runtime/chat_template.hpp"
#include "llm-runtime/serve/api_keys.hpp"
#include "llm-runtime/serve/http.hpp"
#include "llm-runtime/serve/metrics.hpp"
#include "llm-runtime/serve/request.hpp"
#include "llm-runtime/serve/scheduler.hpp"

namespace npu::llm::serve {

struct ServiceOptions {
  std::string model;  ///< its name for clients
  SamplerOptions sampler;
  ApiKeys keys;                                                  ///< none: everybody may ask
  std::chrono::milliseconds timeout = std::chrono::minutes(10);  ///< of a request; 0: none
  /// Told of every request; may be empty.
  std::function<void(const std::string& line)> log;
};

/// What answers, once the model is loaded.
struct Backend {
  Scheduler& scheduler;
  Tokenizer tokenizer;
  std::optional<ChatTemplate> chat_template;  ///< none: /v1/completions only
  std::uint32_t context = 0;
  std::uint64_t parameters = 0;
};

/// Answers from several threads at once. Until ready() all but /health and the page is 503.
class Service {
 public:
  /// `metrics` must outlive it.
  Service(ServiceOptions options, Metrics& metrics);

  HttpServer::Hooks hooks();
  /// The model is loaded. `backend` must outlive what hooks() serves. Once.
  void ready(const Backend& backend);
  /// New requests get 503; those that run go on.
  void drain();

 private:
  std::optional<HttpResponse> early(const HttpRequest& request) const;
  HttpResponse handle(const HttpRequest& request);
  HttpResponse health() const;
  HttpResponse complete(const HttpRequest& request, Kind kind);
  void log(const HttpRequest& request, int status, double seconds);

  ServiceOptions options_;
  Metrics& metrics_;
  std::int64_t started_;
  std::atomic<const Backend*> backend_{nullptr};
  std::atomic<bool> draining_{false};
};

/// With the headers that belong to it.
HttpResponse refusal_response(const Refusal& refusal);

}  // namespace npu::llm::serve
