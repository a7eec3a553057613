// SPDX-License-Identifier: MIT
#include "llm-runtime/serve/command.hpp"

#include <fmt/format.h>
#include <fmt/ostream.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "llm-runtime/serve/service.hpp"
#include "regdb/error.hpp"
#include "version.hpp"

namespace npu::llm::serve {
namespace {

using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

/// Workers beyond those that wait for an answer: for /health, /metrics and refusals.
constexpr unsigned kSpareWorkers = 16;

/// SIGINT and SIGTERM as something to wait for; a thread takes them, no handler interrupts.
class Signals {
 public:
  Signals() {
    sigemptyset(&set_);
    for (const int signal : {SIGINT, SIGTERM}) sigaddset(&set_, signal);
    // Inherited by all threads that come later.
    pthread_sigmask(SIG_BLOCK, &set_, &before_);
    thread_ = std::thread([this] { run(); });
  }
  ~Signals() {
    ending_ = true;
    thread_.join();
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  /// Until then a signal ends the process with 0: there is nothing to wait for.
  void begin_serving() {
    const std::lock_guard lock(mutex_);
    serving_ = true;
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return asked_; });
  }

 private:
  void run() {
    constexpr timespec kLook{0, 100'000'000};
    while (!ending_) {
      const int signal = sigtimedwait(&set_, nullptr, &kLook);
      if (signal < 0) continue;  // none came
      const std::lock_guard lock(mutex_);
      if (!serving_) _exit(0);
      if (asked_) _exit(128 + signal);
      asked_ = true;
      changed_.notify_all();
    }
  }

  sigset_t set_{}, before_{};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool serving_ = false, asked_ = false;
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

void add_options(cli::App& app, ServeOptions& o) {
  add_engine_options(app, o.model);
  add_sampler_options(app, o.sampler);
  app.add_option("--host", o.http.host, "address to listen on; 0.0.0.0: all of this machine's")
      ->capture_default_str();
  app.add_option("--port", o.port, "port to listen on; 0: any that is free")
      ->check(cli::Range(0u, 65535u))
      ->capture_default_str();
  app.add_option("-a,--alias", o.alias, "name of the model for clients (default: the file's)");
  app.add_option("--parallel", o.parallel, "answers made at once; each has a context of its own")
      ->check(cli::Range(1u, 256u))
      ->capture_default_str();
  app.add_option("--queue", o.queue, "requests that may wait for one; more get 429")
      ->check(cli::Range(0u, 512u))
      ->capture_default_str();
  app.add_option("--max-tokens", o.most_tokens, "longest answer in tokens; 0: as long as fits")
      ->capture_default_str();
  app.add_option("--max-body", o.most_body, "largest request in bytes; larger ones get 413")
      ->capture_default_str();
  app.add_option("--timeout", o.timeout, "seconds for a request, waiting included; 0: no limit")
      ->check(cli::Range(0.0, 1e6))
      ->capture_default_str();
  app.add_option("--drain-timeout", o.drain_timeout,
                 "seconds for running answers to end after SIGTERM or Ctrl-C")
      ->check(cli::Range(0.0, 1e6))
      ->capture_default_str();
  app.add_option("--api-key", o.keys,
                 "key that clients must send; may be given again. Others can see it in the list "
                 "of processes: rather use --api-key-file or $NPU_SERVE_API_KEY")
      ->allow_extra_args(false);
  app.add_option("--api-key-file", o.key_file, "file with a key on each line");
  app.add_flag("-v,--verbose", o.verbose, "a line on stderr for each request");
  app.add_flag("--json", o.as_json, "what goes to stdout is one JSON object on a line");
}

ApiKeys keys_of(const ServeOptions& o) {
  ApiKeys keys;
  for (const std::string& key : o.keys) keys.add(key);
  if (!o.key_file.empty()) keys.add_file(o.key_file);
  const char* key = std::getenv("NPU_SERVE_API_KEY");
  if (key != nullptr && *key != '\0') keys.add(key);
  return keys;
}

void check_options(const ServeOptions& o) {
  check(o.sampler);
  constexpr std::uint64_t kMostBody = 1u << 30;
  if (o.most_body == 0 || o.most_body > kMostBody) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("--max-body must be 1 to {} bytes", kMostBody));
  }
}

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

/// One line on stdout.
void tell(const ServeOptions& o, Io& io, const std::string& line, const ordered_json& object) {
  fmt::print(
      io.out, "{}\n",
      o.as_json ? object.dump(-1, ' ', false, ordered_json::error_handler_t::replace) : line);
  io.out.flush();
}

std::optional<ChatTemplate> template_of(const Model& model, const Tokenizer& tokenizer, Io& io) {
  try {
    return ChatTemplate::of_model(model.file(), tokenizer);
  } catch (const Error& error) {
    fmt::print(io.err, "npu-serve: {}; /v1/chat/completions is not served\n", error.what());
    return std::nullopt;
  }
}

/// Serves from its construction on, in threads of its own.
struct Listener {
  Listener(const HttpOptions& options, HttpServer::Hooks hooks)
      : server(options, std::move(hooks)), port(server.bind()) {
    thread = std::thread([this] { server.listen(); });
  }
  ~Listener() {
    server.stop();
    thread.join();
  }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  HttpServer server;
  int port;
  std::thread thread;
};

void serve(ServeOptions& o, Io& io) {
  check_options(o);
  const std::string path = model_path(o.model);
  if (!std::filesystem::exists(path)) {
    throw Error(ErrorCode::bad_file, fmt::format("{}: there is no such file", path));
  }
  o.http.port = static_cast<int>(o.port);
  o.http.most_body = o.most_body;
  // A thread for each request that is answered or waits, so that all of these can be told so.
  o.http.workers = o.parallel + o.queue + kSpareWorkers;
  o.http.waiting = o.http.workers;
  if (o.alias.empty()) o.alias = std::filesystem::path(path).stem().string();

  Signals signals;
  Metrics metrics;
  std::mutex log;
  ServiceOptions options{.model = o.alias,
                         .sampler = o.sampler,
                         .keys = keys_of(o),
                         .timeout = milliseconds(o.timeout)};
  if (o.verbose) {
    options.log = [&](const std::string& line) {
      const std::lock_guard lock(log);
      fmt::print(io.err, "{}\n", line);
      io.err.flush();
    };
  }
  const bool open = options.keys.empty() && o.http.host != "127.0.0.1" &&
                    o.http.host != "localhost" && o.http.host != "::1";
  Service service(std::move(options), metrics);
  // Clients are told that the model is being loaded, rather than that nobody is there. What is used
  // by requests must outlive the listener: the engine and all that is its, which come later.
  std::optional<Model> model;
  std::optional<Engine> engine;
  std::optional<Tokenizer> tokenizer;
  std::optional<Scheduler> scheduler;
  std::optional<Backend> backend;
  Listener listener(o.http, service.hooks());
  const bool v6 = o.http.host.find(':') != std::string::npos;
  const std::string url =
      fmt::format("http://{}{}{}:{}", v6 ? "[" : "", o.http.host, v6 ? "]" : "", listener.port);
  tell(o, io, fmt::format("npu-serve: listening on {}", url),
       {{"event", "listening"}, {"host", o.http.host}, {"port", listener.port}, {"url", url}});
  if (open) {
    fmt::print(io.err,
               "npu-serve: {} is open to others, and no key is asked for: see --api-key-file\n",
               o.http.host);
  }

  model.emplace(Model::load(path));
  tokenizer.emplace(model->file());
  EngineOptions wanted = engine_options(o.model);
  wanted.sequences = o.parallel;
  engine.emplace(*model, wanted);
  scheduler.emplace(*engine, *tokenizer,
                    SchedulerOptions{.queue = o.queue, .most_tokens = o.most_tokens}, metrics);
  backend.emplace(Backend{.scheduler = *scheduler,
                          .tokenizer = *tokenizer,
                          .chat_template = template_of(*model, *tokenizer, io),
                          .context = engine->context(),
                          .parameters = model->parameters()});
  signals.begin_serving();
  service.ready(*backend);
  tell(o, io,
       fmt::format("npu-serve: {} on {} with {} thread(s), {} sessions of {} tokens", o.alias,
                   engine->options().device, engine->options().threads, o.parallel,
                   engine->context()),
       {{"event", "ready"},
        {"model", o.alias},
        {"device", engine->options().device},
        {"threads", engine->options().threads},
        {"parallel", o.parallel},
        {"context", engine->context()}});

  signals.wait();
  const auto until = Clock::now() + milliseconds(o.drain_timeout);
  service.drain();
  const SchedulerState state = scheduler->state();
  if (state.active + state.queued != 0) {
    fmt::print(io.err, "npu-serve: stopping; {} answer(s) may take {} s to end\n",
               state.active + state.queued, o.drain_timeout);
  }
  if (!scheduler->wait_idle(milliseconds(o.drain_timeout))) {
    fmt::print(io.err, "npu-serve: {} answer(s) were cut off (--drain-timeout)\n",
               scheduler->state().active + scheduler->state().queued);
    scheduler->abort();
  }
  // What is made must still be sent.
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now());
  listener.server.wait_idle(std::max(left, std::chrono::milliseconds(2000)));
}

}  // namespace

int run_serve(int argc, const char* const* argv, Io& io) {
  cli::App app("Serves a Qwen2.5 model on CPU and NPU to clients of OpenAI's API.", "npu-serve");
  app.set_version_flag("--version", "npu-serve " + std::string(version));
  ServeOptions options;
  add_options(app, options);
  app.footer(
      "GET / is a page to chat with. SIGTERM or Ctrl-C lets running answers end; a second one "
      "ends\n"
      "at once.\n"
      "Exit codes: 0 ok, 2 usage, 3 no device, no permission or the port is taken, 4 bad model or\n"
      "key file, 5 device fault; 128 + the signal if a second one came.\n"
      "Examples: npu-serve\n"
      "          npu-serve -m qwen2.5-1.5b-instruct-q4_k_m.gguf --parallel 4 -c 8192\n"
      "          curl http://127.0.0.1:8080/v1/chat/completions -d \\\n"
      "              '{\"messages\": [{\"role\": \"user\", \"content\": \"What is an NPU?\"}]}'");
  app.callback([&] { serve(options, io); });
  return cli::run(app, "npu-serve", argc, argv, io.out, io.err, io.status);
}

}  // namespace npu::llm::serve
