// SPDX-License-Identifier: MIT
// An HTTP server of bounded size: cpp-httplib behind a header that does not include it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace npu::llm::serve {

struct HttpRequest {
  std::string method, path, body;
  std::function<std::string(const std::string& name)> header;  ///< "" if it is not there
  /// Whether the client is still there. One that closed its side for writing counts as gone.
  std::function<bool()> connected;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
  /// Instead of a body: gives `write` piece by piece what is to be sent. `write` is false if the
  /// client has gone.
  using Write = std::function<bool(std::string_view data)>;
  std::function<void(const Write& write)> stream;
};

struct HttpOptions {
  std::string host = "127.0.0.1";
  int port = 8080;        ///< 0: any that is free
  unsigned workers = 64;  ///< connections served at once, a thread each
  unsigned waiting = 64;  ///< further ones that wait for a worker; beyond these `busy` is sent
  std::size_t most_body = 4u << 20;
  std::chrono::seconds receive_timeout{30};  ///< for a whole request to come in
  std::chrono::seconds send_timeout{30};     ///< for a client to take what it is sent
};

/// A connection carries one request: an idle one would hold a thread.
class HttpServer {
 public:
  struct Hooks {
    /// Before the body is read. An answer here ends the request: wrong key, no such path.
    std::function<std::optional<HttpResponse>(const HttpRequest&)> early;
    std::function<HttpResponse(const HttpRequest&)> handle;
    /// What the server itself refuses: 400 malformed, 413 body too large, 414 URI too long.
    std::function<HttpResponse(int status)> refuse;
    /// For a connection beyond all workers and waiting places.
    std::function<HttpResponse()> busy;
    /// Behind each answer, with the seconds that it took.
    std::function<void(const HttpRequest&, int status, double seconds)> log;
  };

  HttpServer(const HttpOptions& options, Hooks hooks);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// The port. Throws permission_denied if it is taken or not allowed.
  int bind();
  /// Serves until stop(), then ends what is being served.
  void listen();
  /// Waits until no connection is being served; false if that lasts longer than `most`.
  bool wait_idle(std::chrono::milliseconds most);
  /// From another thread, once. Waits for listen() to have begun. A stream that has not begun to be
  /// sent is lost: see wait_idle().
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace npu::llm::serve
