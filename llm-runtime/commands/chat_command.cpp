// SPDX-License-Identifier: MIT
// npu-chat itself: a conversation on a terminal, or one answer for a script.
#include <fmt/format.h>
#include <fmt/ostream.h>
#include <sys/resource.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>

#include "llm-runtime/commands/line_editor.hpp"
#include "llm-runtime/commands/options.hpp"
#include "llm-runtime/dialog.hpp"
#include "regdb/error.hpp"

namespace npu::llm {
namespace {

using nlohmann::json;

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "set from a signal handler");

/// While it lives, Ctrl-C sets `interrupted` instead of ending the program.
class CatchInterrupt {
 public:
  CatchInterrupt() {
    struct sigaction action {};
    action.sa_handler = [](int) { interrupted = true; };
    sigaction(SIGINT, &action, &before_);
  }
  ~CatchInterrupt() { sigaction(SIGINT, &before_, nullptr); }
  CatchInterrupt(const CatchInterrupt&) = delete;
  CatchInterrupt& operator=(const CatchInterrupt&) = delete;

 private:
  struct sigaction before_ {};
};

double seconds(std::chrono::duration<double> time) { return time.count(); }

/// The model and its dialog; replaced as a whole by /device.
struct Chat {
  Chat(const ChatOptions& options, const Model& model)
      : engine(model, engine_options(options.model)),
        dialog(engine, Tokenizer(model.file()), chat_template(options, model), options.sampler) {}

  static ChatTemplate chat_template(const ChatOptions& options, const Model& model) {
    if (options.chat_template == "chatml") return ChatTemplate::chatml();
    return ChatTemplate::of_model(model.file(), Tokenizer(model.file()));
  }

  Engine engine;
  Dialog dialog;
};

struct Totals {
  std::uint64_t answers = 0, prompt_tokens = 0, cached_tokens = 0, tokens = 0;
  double prefill_seconds = 0, decode_seconds = 0;
  void add(const Reply& reply) {
    ++answers;
    prompt_tokens += reply.prompt_tokens;
    cached_tokens += reply.cached_tokens;
    tokens += reply.tokens;
    prefill_seconds += reply.prefill.count();
    decode_seconds += reply.decode.count();
  }
};

class Session {
 public:
  Session(const ChatOptions& options, Io& io)
      : o_(options), io_(io), model_(Model::load(model_path(options.model))) {
    chat_ = std::make_unique<Chat>(o_, model_);
    if (!o_.system.empty()) chat_->dialog.set_system(o_.system);
    if (!o_.prompt_cache.empty() && std::ifstream(o_.prompt_cache).good()) {
      try {
        chat_->engine.load(0, o_.prompt_cache);
      } catch (const Error& error) {
        notice(fmt::format("{}; starting without it", error.what()));
      }
    }
  }

  void one_shot(const std::string& text) {
    const Reply reply = answer(text);
    if (!o_.as_json) {
      if (!reply.text.ends_with('\n')) fmt::print(io_.out, "\n");
    } else {
      print_json(reply);
    }
  }

  void lines() {
    for (std::string line; std::getline(io_.in, line);) {
      if (!line.empty()) one_shot(line);
    }
  }

  void interactive() {
    const CatchInterrupt guard;  // at the prompt Ctrl-C drops the line
    LineEditor editor(state_file("npu-chat.history"));
    const EngineOptions& engine = chat_->engine.options();
    fmt::print(io_.err,
               "{}, {} of {:.0f} MiB, on {} with {} thread(s), context {}. /help lists the "
               "commands, Ctrl-D ends.\n",
               model_.name(), to_string(model_.main_type()),
               static_cast<double>(model_.weight_bytes()) / (1 << 20), engine.device,
               engine.threads, engine.context);
    while (const auto line = editor.read("> ")) {
      if (line->find_first_not_of(" \t") == std::string::npos) continue;
      try {
        if (line->front() == '/') {
          if (!command(*line)) break;
        } else {
          const Reply reply = answer(*line);
          fmt::print(io_.out, "{}\n", reply.text.ends_with('\n') ? "" : "\n");
          io_.out.flush();
          status(reply);
        }
      } catch (const Error& error) {
        fmt::print(io_.err, "npu-chat: {}\n", error.what());
      }
    }
  }

  /// Behind the last answer.
  void end() {
    save_cache();
    if (o_.stats) {
      io_.out.flush();
      stats(io_.err);
    }
  }

 private:
  Reply answer(const std::string& text) {
    interrupted = false;
    const CatchInterrupt guard;
    if (const OffloadStats* npu = chat_->engine.offload_stats()) npu_before_ = *npu;
    ReplyHooks hooks;
    hooks.cancel = &interrupted;
    hooks.notice = [this](std::string_view text_of) { notice(text_of); };
    if (!o_.as_json) {
      hooks.text = [this](std::string_view piece) {
        io_.out << piece;
        io_.out.flush();
      };
    }
    const Reply reply = chat_->dialog.ask(text, o_.predict, hooks);
    totals_.add(reply);
    return reply;
  }

  void notice(std::string_view text) { fmt::print(io_.err, "\nnpu-chat: {}\n", text); }

  void status(const Reply& reply) {
    if (!io_.err_is_terminal || o_.no_status) return;
    fmt::print(io_.err,
               "[{} tokens, {:.1f} tok/s (host); prompt {} tokens, {} new, {:.1f} tok/s; "
               "context {}/{}{}]\n",
               reply.tokens, reply.decode_rate(), reply.prompt_tokens,
               reply.prompt_tokens - reply.cached_tokens, reply.prefill_rate(),
               chat_->engine.tokens(0).size(), chat_->engine.context(),
               reply.finish == Finish::cancelled ? "; stopped" : "");
  }

  void print_json(const Reply& reply) {
    json object{{"text", reply.text},
                {"finish", to_string(reply.finish)},
                {"prompt_tokens", reply.prompt_tokens},
                {"cached_tokens", reply.cached_tokens},
                {"tokens", reply.tokens},
                {"prefill_s", reply.prefill.count()},
                {"decode_s", reply.decode.count()},
                {"source", "host"},
                {"dropped_messages", reply.dropped_messages},
                {"shifts", reply.shifts},
                {"device", chat_->engine.options().device}};
    if (const OffloadStats* npu = chat_->engine.offload_stats()) {
      object["npu"] = {{"products", npu->products - npu_before_.products},
                       {"submits", npu->submits - npu_before_.submits},
                       {"jobs", npu->jobs - npu_before_.jobs},
                       {"tasks", npu->tasks - npu_before_.tasks},
                       {"macs", npu->macs - npu_before_.macs},
                       {"device_s", seconds(npu->device - npu_before_.device)},
                       {"source", chat_->engine.device_info()->provenance}};
    }
    fmt::print(io_.out, "{}\n", object.dump(-1, ' ', false, json::error_handler_t::replace));
    io_.out.flush();
  }

  void save_cache() {
    if (!o_.prompt_cache.empty()) chat_->engine.save(0, o_.prompt_cache);
  }

  /// False ends the program.
  bool command(const std::string& line) {
    const std::size_t end = std::min(line.find(' '), line.size());
    const std::string name = line.substr(1, end - 1);
    const std::size_t begin = std::min(line.find_first_not_of(' ', end), line.size());
    const std::string rest = line.substr(begin);
    if (name == "help" || name == "?") {
      fmt::print(io_.out,
                 "/reset          forgets the conversation\n"
                 "/system [TEXT]  shows or replaces the system message, and starts anew\n"
                 "/save FILE      writes the conversation as JSON\n"
                 "/load FILE      goes on with one\n"
                 "/stats          tokens, times, memory\n"
                 "/device [SPEC]  shows or changes what computes: cpu, sim, rocket, ...\n"
                 "/quit           ends, as Ctrl-D does; Ctrl-C stops an answer\n");
    } else if (name == "reset") {
      chat_->dialog.reset();
    } else if (name == "system") {
      if (rest.empty()) {
        fmt::print(io_.out, "{}\n", chat_->dialog.system());
      } else {
        chat_->dialog.set_system(rest);
        chat_->dialog.reset();
      }
    } else if (name == "save") {
      save(rest);
    } else if (name == "load") {
      load(rest);
    } else if (name == "stats") {
      stats(io_.out);
    } else if (name == "device") {
      device(rest);
    } else if (name == "quit" || name == "exit") {
      return false;
    } else {
      fmt::print(io_.err, "npu-chat: there is no command /{}: /help lists them\n", name);
    }
    io_.out.flush();
    return true;
  }

  void save(const std::string& path) {
    if (path.empty()) throw Error(ErrorCode::invalid_argument, "/save wants a file name");
    json messages = json::array();
    for (const ChatMessage& m : chat_->dialog.messages()) {
      messages.push_back({{"role", m.role}, {"content", m.content}});
    }
    const std::string text =
        json{{"messages", messages}}.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
    write_output(path, text.data(), text.size(), io_.out);
    fmt::print(io_.err, "{} message(s) written to {}\n", messages.size(), path);
  }

  void load(const std::string& path) {
    if (path.empty()) throw Error(ErrorCode::invalid_argument, "/load wants a file name");
    std::ifstream in(path);
    if (!in) throw Error(ErrorCode::bad_file, fmt::format("{}: cannot be read", path));
    std::vector<ChatMessage> messages;
    try {
      const json file = json::parse(in);
      for (const json& m : file.at("messages")) {
        messages.push_back({m.at("role").get<std::string>(), m.at("content").get<std::string>()});
        const std::string& role = messages.back().role;
        if (role != "user" && role != "assistant" && role != "system") {
          throw Error(ErrorCode::bad_file, fmt::format("{}: there is no role '{}'", path, role));
        }
      }
    } catch (const json::exception& error) {
      throw Error(ErrorCode::bad_file,
                  fmt::format("{}: is no saved conversation: {}", path, error.what()));
    }
    chat_->dialog.set_messages(std::move(messages));
    fmt::print(io_.err, "{} message(s) read\n", chat_->dialog.messages().size());
  }

  /// Of this session so far.
  void stats(std::ostream& out) {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const auto rate = [](double n, double seconds) { return seconds > 0 ? n / seconds : 0.0; };
    fmt::print(
        out,
        "answers {}, tokens made {} at {:.1f} tok/s (host), prompt tokens {} of which {} were "
        "cached, evaluated at {:.1f} tok/s (host)\n"
        "context {}/{}, peak memory {} MiB\n",
        totals_.answers, totals_.tokens,
        rate(static_cast<double>(totals_.tokens), totals_.decode_seconds), totals_.prompt_tokens,
        totals_.cached_tokens,
        rate(static_cast<double>(totals_.prompt_tokens - totals_.cached_tokens),
             totals_.prefill_seconds),
        chat_->engine.tokens(0).size(), chat_->engine.context(), usage.ru_maxrss / 1024);
    if (const OffloadStats* npu = chat_->engine.offload_stats()) {
      fmt::print(out, "NPU: {} matrix products in {} submits, {} jobs, {} tasks, {:.3f} s ({})\n",
                 npu->products, npu->submits, npu->jobs, npu->tasks, seconds(npu->device),
                 chat_->engine.device_info()->provenance);
    }
  }

  void device(const std::string& spec) {
    if (spec.empty()) {
      fmt::print(io_.out, "{}\n", chat_->engine.options().device);
      return;
    }
    ChatOptions changed = o_;
    changed.model.device = spec;
    // The old one stays if the new one cannot be opened.
    auto other = std::make_unique<Chat>(changed, model_);
    other->dialog.set_messages(chat_->dialog.messages());
    chat_ = std::move(other);
    o_ = changed;
    fmt::print(io_.err, "now on {}\n", spec);
  }

  ChatOptions o_;
  Io& io_;
  Model model_;
  std::unique_ptr<Chat> chat_;
  Totals totals_;
  OffloadStats npu_before_;  ///< the answer that is made
};

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  if (!in) throw Error(ErrorCode::bad_file, fmt::format("{}: cannot be read", path));
  return text;
}

std::string all_of(std::istream& in) { return {std::istreambuf_iterator<char>(in), {}}; }

void trim_end(std::string& text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
}

}  // namespace

void add_chat_options(cli::App& app, ChatOptions& o) {
  add_engine_options(app, o.model);
  add_sampler_options(app, o.sampler);
  app.add_option("-p,--prompt", o.prompt, "one message; the answer goes to stdout, then it ends");
  app.add_option("-f,--file", o.file, "file with the message, behind that of -p; -: stdin");
  app.add_option("--system", o.system, "system message");
  app.add_option("--chat-template", o.chat_template, "the model's own, or ChatML")
      ->check(cli::IsMember({"model", "chatml"}))
      ->capture_default_str();
  app.add_option("-n,--predict", o.predict, "longest answer in tokens; 0: no limit")
      ->capture_default_str();
  app.add_option("--prompt-cache", o.prompt_cache,
                 "file that keeps the evaluated conversation for the next start");
  app.add_flag("--lines", o.lines, "every line of stdin is a message of one conversation");
  app.add_flag("--json", o.as_json, "an answer is one JSON object");
  app.add_flag("--stats", o.stats, "what /stats shows, on stderr at the end");
  app.add_flag("--no-status", o.no_status, "no line of figures behind an answer");
}

void chat(const ChatOptions& o, Io& io) {
  std::string text = o.prompt;
  const bool piped = o.prompt.empty() && o.file.empty() && !o.lines && !io.in_is_terminal;
  if (piped || !o.file.empty()) {
    std::string more = piped || o.file == "-" ? all_of(io.in) : read_file(o.file);
    trim_end(more);
    if (!more.empty()) text += (text.empty() ? "" : "\n\n") + more;
  }
  if (text.empty() && !o.lines && !io.in_is_terminal) {
    throw Error(ErrorCode::invalid_argument,
                "there is no message: give one with -p, -f or on stdin");
  }
  Session session(o, io);
  if (o.lines) {
    session.lines();
  } else if (!text.empty()) {
    session.one_shot(text);
  } else {
    session.interactive();
  }
  session.end();
}

}  // namespace npu::llm
