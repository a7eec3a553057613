// SPDX-License-Identifier: MIT
// The only file of the server that includes cpp-httplib, which parses requests and writes
// responses. Sockets and threads are ours: see connection.hpp, and Workers below.
#include "llm-runtime/serve/http.hpp"

#include <fmt/format.h>
#include <httplib.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>

#include "llm-runtime/serve/connection.hpp"
#include "regdb/error.hpp"

namespace npu::llm::serve {
namespace {

/// What a request line and its headers may take; the library has its own limits for each of them.
constexpr std::size_t kMostHeaderBytes = 256 << 10;
constexpr int kBacklog = 512;

/// What this thread is to do with a connection that it got.
thread_local bool refusing = false, refuse_in_haste = false;
thread_local Connection* current = nullptr;

/// Threads of which there are always as many as there were at the beginning.
class Workers : public httplib::TaskQueue {
 public:
  Workers(unsigned workers, unsigned waiting) : most_(std::size_t{workers} + waiting) {
    for (unsigned i = 0; i < workers; ++i) threads_.emplace_back([this] { run(served_); });
    threads_.emplace_back([this] {
      refusing = true;
      run(refused_);
    });
  }

  void enqueue(std::function<void()> job) override {
    const std::lock_guard lock(mutex_);
    // Counted until they are done: how many threads wait is not known while some are waking up.
    Jobs& jobs = served_.unfinished < most_ ? served_ : refused_;
    ++jobs.unfinished;
    jobs.waiting.push_back(std::move(job));
    jobs.changed.notify_one();
  }

  void shutdown() override {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    served_.changed.notify_all();
    refused_.changed.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  struct Jobs {
    std::deque<std::function<void()>> waiting;
    std::size_t unfinished = 0;
    std::condition_variable changed;
  };

  void run(Jobs& jobs) {
    std::unique_lock lock(mutex_);
    for (;;) {
      jobs.changed.wait(lock, [&] { return !jobs.waiting.empty() || ending_; });
      if (jobs.waiting.empty()) return;
      std::function<void()> job = std::move(jobs.waiting.front());
      jobs.waiting.pop_front();
      refuse_in_haste = !jobs.waiting.empty();
      lock.unlock();
      job();
      job = nullptr;
      lock.lock();
      --jobs.unfinished;
    }
  }

  const std::size_t most_;
  std::mutex mutex_;
  Jobs served_, refused_;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

/// Connection in the library's words.
class Stream : public httplib::Stream {
 public:
  explicit Stream(Connection& connection) : connection_(connection) {}
  bool is_readable() const override { return connection_.readable(); }
  bool is_writable() const override { return connection_.writable(); }
  ssize_t read(char* ptr, size_t size) override { return connection_.read(ptr, size); }
  ssize_t write(const char* ptr, size_t size) override { return connection_.write(ptr, size); }
  void get_remote_ip_and_port(std::string&, int&) const override {}
  void get_local_ip_and_port(std::string&, int&) const override {}
  socket_t socket() const override { return connection_.socket(); }

 private:
  Connection& connection_;
};

HttpRequest request_of(const httplib::Request& from) {
  return {.method = from.method,
          .path = from.path,
          .body = from.body,
          .header = [&from](const std::string& name) { return from.get_header_value(name); },
          .connected = [connection = current] { return connection->connected(); }};
}

void respond(HttpResponse from, httplib::Response& to) {
  to.status = from.status;
  for (const auto& [name, value] : from.headers) to.set_header(name, value);
  if (!from.stream) {
    to.set_content(from.body, from.content_type);
    return;
  }
  to.set_chunked_content_provider(
      from.content_type, [stream = std::move(from.stream)](std::size_t, httplib::DataSink& sink) {
        stream([&](std::string_view data) { return sink.write(data.data(), data.size()); });
        sink.done();
        return true;
      });
}

/// As it goes over the wire, for a connection whose request is not even read.
std::string wire(const HttpResponse& response) {
  std::string text = fmt::format("HTTP/1.1 {} Busy\r\n", response.status);
  for (const auto& [name, value] : response.headers) text += fmt::format("{}: {}\r\n", name, value);
  return text + fmt::format("Connection: close\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n{}",
                            response.content_type, response.body.size(), response.body);
}

}  // namespace

struct HttpServer::Impl : httplib::Server {
  Impl(const HttpOptions& o, Hooks h) : options(o), hooks(std::move(h)) {
    new_task_queue = [this] { return new Workers(options.workers, options.waiting); };
    set_payload_max_length(options.most_body);
    // Without SO_REUSEPORT, which would let two servers share a port unnoticed.
    set_socket_options([](socket_t socket) {
      const int on = 1;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    });
    set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
      std::optional<HttpResponse> answer = hooks.early(request_of(request));
      if (!answer) return HandlerResponse::Unhandled;
      respond(std::move(*answer), response);
      return HandlerResponse::Handled;
    });
    const auto handle = [this](const httplib::Request& request, httplib::Response& response) {
      respond(hooks.handle(request_of(request)), response);
    };
    Get(".*", handle);
    Post(".*", handle);
    set_exception_handler([this](const httplib::Request&, httplib::Response& response,
                                 std::exception_ptr) { respond(hooks.refuse(500), response); });
    const HandlerWithResponse refuse = [this](const httplib::Request&,
                                              httplib::Response& response) {
      if (!response.body.empty()) return HandlerResponse::Unhandled;  // our own
      const bool large = current != nullptr && current->too_large();
      respond(hooks.refuse(large ? 413 : response.status), response);
      return HandlerResponse::Handled;
    };
    set_error_handler(refuse);
    set_logger([this](const httplib::Request& request, const httplib::Response& response) {
      const std::chrono::duration<double> took = Connection::Clock::now() - started();
      hooks.log(request_of(request), response.status, took.count());
    });
  }

  /// Counts a connection while it lives.
  struct Serving {
    explicit Serving(Impl& i) : impl(i) {
      const std::lock_guard lock(impl.mutex);
      ++impl.serving;
    }
    ~Serving() {
      {
        const std::lock_guard lock(impl.mutex);
        --impl.serving;
      }
      impl.served.notify_all();
    }
    Impl& impl;
  };

  /// When this thread's connection came to it.
  static Connection::Clock::time_point& started() {
    thread_local Connection::Clock::time_point time;
    return time;
  }

  bool process_and_close_socket(socket_t socket) override {
    const Serving counted(*this);
    started() = Connection::Clock::now();
    Connection connection(socket, options.most_body + kMostHeaderBytes, options.receive_timeout,
                          options.send_timeout);
    if (refusing) {
      // One thread refuses them all: it has time for a slow client only if there are no others.
      connection.set_linger(std::chrono::milliseconds(refuse_in_haste ? 50 : 2000));
      const std::string text = wire(hooks.busy());
      return connection.write(text.data(), text.size()) == static_cast<ssize_t>(text.size());
    }
    current = &connection;
    Stream stream(connection);
    bool closed = false;
    const bool done = process_request(stream, true, closed, [](httplib::Request& request) {
      // Neither ranges of answers nor compressed ones: both cost more than they give.
      request.ranges.clear();
      request.headers.erase("Accept-Encoding");
    });
    current = nullptr;
    return done;
  }

  void longer_backlog() { ::listen(svr_sock_, kBacklog); }

  HttpOptions options;
  Hooks hooks;
  bool bound = false;
  std::mutex mutex;
  std::condition_variable served;
  unsigned serving = 0;
};

HttpServer::HttpServer(const HttpOptions& options, Hooks hooks)
    : impl_(std::make_unique<Impl>(options, std::move(hooks))) {}
HttpServer::~HttpServer() = default;

int HttpServer::bind() {
  const std::string& host = impl_->options.host;
  int port = impl_->options.port;
  errno = 0;
  if (port == 0) {
    port = impl_->bind_to_any_port(host);
    impl_->bound = port > 0;
  } else {
    impl_->bound = impl_->bind_to_port(host, port);
  }
  if (!impl_->bound) {
    const int reason = errno;
    throw Error(ErrorCode::permission_denied,
                fmt::format("{}:{} cannot be listened on{}{}: choose another with --host and "
                            "--port (0: any that is free)",
                            host, impl_->options.port, reason != 0 ? ": " : "",
                            reason != 0 ? std::strerror(reason) : ""));
  }
  impl_->longer_backlog();
  return port;
}

void HttpServer::listen() { impl_->listen_after_bind(); }

bool HttpServer::wait_idle(std::chrono::milliseconds most) {
  std::unique_lock lock(impl_->mutex);
  return impl_->served.wait_for(lock, most, [&] { return impl_->serving == 0; });
}

void HttpServer::stop() {
  while (!impl_->is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  impl_->stop();
}

}  // namespace npu::llm::serve
