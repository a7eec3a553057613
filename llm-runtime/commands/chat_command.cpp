// SPDX-License-Identifier: MIT
// npu-chat itself: a conversation on a terminal, or one answer for a script.
#include <fmt/format.h>
#include <fmt/ostream.h>
#include <sys/resource.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
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
std::atomic<int> ending{0};  ///< the signal that asks the program to end
static_assert(std::atomic<bool>::is_always_lock_free, "set from a signal handler");

/// While it lives, a signal is noted in `interrupted` and does not end the program; all but Ctrl-C
/// also in `ending`, once: a second one ends it.
class CatchSignal {
 public:
  explicit CatchSignal(int signal) : signal_(signal) {
    struct sigaction action {};
    action.sa_handler = [](int number) {
      interrupted = true;
      if (number != SIGINT) ending = number;
      interrupt_line_editor();
    };
    if (signal != SIGINT) action.sa_flags = static_cast<int>(SA_RESETHAND);
    sigaction(signal, &action, &before_);
  }
  ~CatchSignal() { sigaction(signal_, &before_, nullptr); }
  CatchSignal(const CatchSignal&) = delete;
  CatchSignal& operator=(const CatchSignal&) = delete;

 private:
  int signal_;
  struct sigaction before_ {};
};

/// For a terminal: control characters of the model must not steer it.
std::string visible(std::string_view text) {
  std::string shown;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
    if (c == 0xC2 && next >= 0x80 && next < 0xA0) {  // U+0080 to U+009F
      shown += "\uFFFD";
      ++i;
    } else if (c == '\n' || c == '\t' || (c >= 0x20 && c != 0x7F)) {
      shown += text[i];
    } else if (c != '\r') {
      shown += '^';
      shown += static_cast<char>(c ^ 0x40);
    }
  }
  return shown;
}

bool coloured(const Io& io) {
  const auto set = [](const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr && *value != '\0';
  };
  return io.err_is_terminal && !set("NO_COLOR") && set("TERM") &&
         std::string_view(std::getenv("TERM")) != "dumb";
}

double seconds(std::chrono::duration<double> time) { return time.count(); }

/// The model and its dialog; replaced as a whole by /device.
struct Chat {
  Chat(const ChatOptions& options, const Model& model)
      : engine(model, engine_options(options.model)),
        dialog(engine, tokenizer(model), chat_template(options, model), options.sampler) {}

  static Tokenizer tokenizer(const Model& model) {
    Tokenizer own(model.file());
    if (own.size() > model.shape().vocabulary) {
      throw Error(ErrorCode::bad_file,
                  fmt::format("the tokenizer has {} tokens and the model {}: the file was put "
                              "together wrongly",
                              own.size(), model.shape().vocabulary));
    }
    return own;
  }

  static ChatTemplate chat_template(const ChatOptions& options, const Model& model) {
    if (options.chat_template == "chatml") return ChatTemplate::chatml();
    ChatTemplate own = ChatTemplate::of_model(model.file(), Tokenizer(model.file()));
    try {
      own.render(std::vector<ChatMessage>{{"user", "Hello"}}, true);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::invalid_argument) throw;
      throw Error(ErrorCode::bad_file, fmt::format("{}; it refuses every conversation: try "
                                                   "--chat-template chatml",
                                                   error.what()));
    }
    return own;
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
      : o_(options), io_(io), model_(load(model_path(options.model), io)) {
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

  /// False if Ctrl-C stopped it.
  bool one_shot(const std::string& text) {
    const Reply reply = answer(text);
    if (!o_.as_json) {
      if (!reply.text.ends_with('\n')) fmt::print(io_.out, "\n");
    } else {
      print_json(reply);
    }
    return reply.finish != Finish::cancelled;
  }

  bool lines() {
    for (std::string line; std::getline(io_.in, line);) {
      if (!line.empty() && !one_shot(line)) return false;
    }
    return true;
  }

  void interactive() {
    // At the prompt Ctrl-C drops the line. What asks the program to end may not leave the terminal
    // as libedit has set it.
    const CatchSignal guard(SIGINT), term(SIGTERM), hangup(SIGHUP), quit(SIGQUIT);
    LineEditor editor(state_file("npu-chat.history"));
    const EngineOptions& engine = chat_->engine.options();
    fmt::print(io_.err,
               "{}, {} of {:.1f} MiB, on {} with {} thread(s), context {}. /help lists the "
               "commands, Ctrl-D ends.\n",
               visible(model_.name()), to_string(model_.main_type()),
               static_cast<double>(model_.weight_bytes()) / (1 << 20), engine.device,
               engine.threads, engine.context);
    for (std::string line; read(editor, line);) {
      try {
        if (line.front() == '/') {
          if (!command(line)) break;
        } else {
          const Reply reply = answer(line);
          if (o_.as_json) {
            print_json(reply);
          } else {
            fmt::print(io_.out, "{}\n", reply.text.ends_with('\n') ? "" : "\n");
            io_.out.flush();
          }
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
  static Model load(const std::string& path, Io& io) {
    Model model = Model::load(path);
    // Packing takes seconds for a large one.
    if (io.err_is_terminal && model.weight_bytes() > (64u << 20)) {
      fmt::print(io.err, "loading {}\n", visible(path));
      io.err.flush();
    }
    return model;
  }

  /// A message or command, over several lines if they end in a backslash. False at the end.
  bool read(LineEditor& editor, std::string& line) {
    line.clear();
    for (std::string part;;) {
      // In this order: a signal that comes later ends the read.
      editor.forget_interrupts();
      if (ending != 0) return false;
      const Typed typed = editor.read(line.empty() ? "> " : ". ", part);
      if (typed == Typed::end) return false;
      if (typed == Typed::interrupt) {
        line.clear();
        continue;
      }
      if (part.ends_with('\\')) {
        part.back() = '\n';
        line += part;
        continue;
      }
      line += part;
      if (line.find_first_not_of(" \t\n") != std::string::npos) return true;
      line.clear();
    }
  }

  Reply answer(const std::string& text) {
    interrupted = false;
    inside_line_ = false;
    const CatchSignal guard(SIGINT);
    if (const OffloadStats* npu = chat_->engine.offload_stats()) npu_before_ = *npu;
    ReplyHooks hooks;
    hooks.cancel = &interrupted;
    hooks.notice = [this](std::string_view text_of) { notice(text_of); };
    if (!o_.as_json) {
      hooks.text = [this](std::string_view piece) {
        if (io_.out_is_terminal) {
          io_.out << visible(piece);
        } else {
          io_.out << piece;
        }
        io_.out.flush();
        if (!piece.empty()) inside_line_ = piece.back() != '\n';
      };
    }
    const Reply reply =
        chat_->dialog.ask(text, static_cast<unsigned>(std::max(o_.predict, 0)), hooks);
    totals_.add(reply);
    return reply;
  }

  void notice(std::string_view text) {
    fmt::print(io_.err, "{}npu-chat: {}\n", inside_line_ ? "\n" : "", text);
    inside_line_ = false;
  }

  void status(const Reply& reply) {
    if (!io_.err_is_terminal || o_.no_status) return;
    const bool dim = coloured(io_);
    fmt::print(io_.err,
               "{}[{} tokens, {:.1f} tok/s (host); prompt {} tokens, {} new, {:.1f} tok/s; "
               "context {}/{}{}]{}\n",
               dim ? "\x1b[2m" : "", reply.tokens, reply.decode_rate(), reply.prompt_tokens,
               reply.prompt_tokens - reply.cached_tokens, reply.prefill_rate(),
               chat_->engine.tokens(0).size(), chat_->engine.context(),
               reply.finish == Finish::cancelled ? "; stopped" : "", dim ? "\x1b[0m" : "");
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
                 "/quit           ends, as Ctrl-D does; Ctrl-C stops an answer\n"
                 "A line that ends in a backslash goes on in the next one.\n");
    } else if (name == "reset") {
      chat_->dialog.reset();
      fmt::print(io_.err, "the conversation is forgotten\n");
    } else if (name == "system") {
      if (rest.empty()) {
        fmt::print(io_.out, "{}\n", chat_->dialog.system());
      } else {
        chat_->dialog.set_system(rest);
        chat_->dialog.reset();
        fmt::print(io_.err, "the conversation starts anew with this system message\n");
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
    std::vector<ChatMessage> messages;
    try {
      const json file = json::parse(read_file(path));
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
  OffloadStats npu_before_;   ///< the answer that is made
  bool inside_line_ = false;  ///< of the answer on the terminal
};

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
  app.add_option("-n,--predict", o.predict, "longest answer in tokens; 0 or -1: no limit")
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
  if (o.lines || !text.empty()) {
    if (!(o.lines ? session.lines() : session.one_shot(text))) ending = SIGINT;
  } else {
    session.interactive();
  }
  session.end();
  if (ending != 0) {
    // As if it had not been caught, so that a shell's loop ends too.
    io.out.flush();
    io.err.flush();
    std::signal(ending, SIG_DFL);
    std::raise(ending);
  }
}

}  // namespace npu::llm
