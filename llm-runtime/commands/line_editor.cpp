// SPDX-License-Identifier: MIT
#include "llm-runtime/commands/line_editor.hpp"

#include <fcntl.h>
#include <histedit.h>
#include <langinfo.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cwchar>
#include <filesystem>

namespace npu::llm {
namespace fs = std::filesystem;
namespace {

constexpr int kHistoryLines = 1000;

std::atomic<bool> resized{false}, continued{false};

// What a signal's handler writes and the wait for a character reads: a flag alone could be set just
// before that wait begins and not end it.
constexpr char kInterrupt = 'i', kTerminal = 't';
std::array<int, 2> wake{-1, -1};

void wake_up(char why) noexcept {
  const int before = errno;
  // A pipe that is full wakes, too.
  [[maybe_unused]] const ssize_t written = wake[1] >= 0 ? ::write(wake[1], &why, 1) : 0;
  errno = before;
}

/// Empties the pipe; whether an interrupt was in it.
bool drain() {
  bool interrupt = false;
  std::array<char, 64> bytes{};
  for (ssize_t count = 0; (count = ::read(wake[0], bytes.data(), bytes.size())) > 0;) {
    for (ssize_t i = 0; i < count; ++i)
      interrupt |= bytes[static_cast<std::size_t>(i)] == kInterrupt;
  }
  return interrupt;
}

/// While it lives, a read of the terminal is interrupted when its window changes and when the
/// program goes on after Ctrl-Z.
class CatchTerminal {
 public:
  CatchTerminal() {
    struct sigaction action {};
    action.sa_handler = [](int signal) {
      (signal == SIGCONT ? continued : resized) = true;
      wake_up(kTerminal);
    };
    sigaction(SIGWINCH, &action, &window_);
    sigaction(SIGCONT, &action, &continue_);
  }
  ~CatchTerminal() {
    sigaction(SIGWINCH, &window_, nullptr);
    sigaction(SIGCONT, &continue_, nullptr);
  }
  CatchTerminal(const CatchTerminal&) = delete;
  CatchTerminal& operator=(const CatchTerminal&) = delete;

 private:
  struct sigaction window_ {
  }, continue_{};
};

void catch_up(EditLine* editor) {
  if (continued.exchange(false)) {
    // The shell has taken the terminal's modes in between; libedit believes that they are set.
    el_set(editor, EL_PREP_TERM, 0);
    el_set(editor, EL_PREP_TERM, 1);
    resized = true;
  }
  if (resized.exchange(false)) {
    el_resize(editor);
    el_set(editor, EL_REFRESH);
  }
}

/// For libedit: the next character. 1, 0 at the end, -1 with errno. libedit's own one takes a
/// change of the window for an end.
int next_character(EditLine* editor, wchar_t* character) {
  std::mbstate_t state{};
  for (;;) {
    std::array<pollfd, 2> fds{{{STDIN_FILENO, POLLIN, 0}, {wake[0], POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), -1) < 0) {
      if (errno != EINTR) return -1;
      continue;  // the handler has written
    }
    if (fds[1].revents != 0) {
      if (drain()) {
        errno = EINTR;
        return -1;
      }
      catch_up(editor);
    }
    if (fds[0].revents == 0) continue;
    char byte = 0;
    const ssize_t count = ::read(STDIN_FILENO, &byte, 1);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return static_cast<int>(count);
    const std::size_t used = std::mbrtowc(character, &byte, 1, &state);
    if (used == static_cast<std::size_t>(-2)) continue;  // more bytes belong to it
    if (used == static_cast<std::size_t>(-1)) *character = L'\uFFFD';
    return 1;
  }
}

}  // namespace

struct LineEditor::Impl {
  EditLine* editor = nullptr;
  History* history = nullptr;
  HistEvent event{};
  FILE* shown = stdout;
  std::string prompt, file;
};

LineEditor::LineEditor(std::string file) : impl_(std::make_unique<Impl>()) {
  if (wake[0] < 0 && ::pipe2(wake.data(), O_CLOEXEC | O_NONBLOCK) != 0) return;
  // libedit counts characters by the locale. Terminals are UTF-8, also where none is set, as on a
  // serial console.
  std::setlocale(LC_CTYPE, "");
  if (std::strcmp(nl_langinfo(CODESET), "UTF-8") != 0) std::setlocale(LC_CTYPE, "C.UTF-8");
  impl_->file = std::move(file);
  // What is typed is seen also where the answers go to a file.
  if (isatty(STDOUT_FILENO) == 0) impl_->shown = stderr;
  impl_->editor = el_init("npu-chat", stdin, impl_->shown, stderr);
  impl_->history = history_init();
  if (impl_->editor == nullptr || impl_->history == nullptr) return;
  el_set(impl_->editor, EL_CLIENTDATA, impl_.get());
  el_set(
      impl_->editor, EL_PROMPT, +[](EditLine* editor) {
        void* data = nullptr;
        el_get(editor, EL_CLIENTDATA, &data);
        return static_cast<Impl*>(data)->prompt.data();
      });
  el_set(impl_->editor, EL_GETCFN, next_character);
  el_set(impl_->editor, EL_EDITOR, "emacs");
  el_set(impl_->editor, EL_HIST, history, impl_->history);
  el_set(impl_->editor, EL_BIND, "^R", "em-inc-search-prev", nullptr);
  // What libedit's emacs keys lack.
  el_set(impl_->editor, EL_BIND, "^W", "ed-delete-prev-word", nullptr);
  el_set(impl_->editor, EL_BIND, "\\e[1;5C", "em-next-word", nullptr);
  el_set(impl_->editor, EL_BIND, "\\e[1;5D", "ed-prev-word", nullptr);
  el_set(impl_->editor, EL_BIND, "\\e[3~", "ed-delete-next-char", nullptr);
  el_source(impl_->editor, nullptr);  // ~/.editrc
  history(impl_->history, &impl_->event, H_SETSIZE, kHistoryLines);
  history(impl_->history, &impl_->event, H_SETUNIQUE, 1);
  if (!impl_->file.empty()) history(impl_->history, &impl_->event, H_LOAD, impl_->file.c_str());
}

LineEditor::~LineEditor() {
  if (impl_->history != nullptr) history_end(impl_->history);
  if (impl_->editor != nullptr) el_end(impl_->editor);
}

void interrupt_line_editor() noexcept { wake_up(kInterrupt); }

void LineEditor::forget_interrupts() {
  if (wake[0] >= 0) drain();
}

Typed LineEditor::read(const std::string& prompt, std::string& line) {
  line.clear();
  if (impl_->editor == nullptr || impl_->history == nullptr) return Typed::end;
  impl_->prompt = prompt;
  el_resize(impl_->editor);  // the window may have changed during the answer
  const CatchTerminal guard;
  int count = 0;
  errno = 0;
  const char* text = el_gets(impl_->editor, &count);
  if (text == nullptr || count <= 0) {
    const bool interrupted = errno == EINTR;
    std::fputs("\n", impl_->shown);
    std::fflush(impl_->shown);
    if (!interrupted) return Typed::end;
    el_reset(impl_->editor);
    return Typed::interrupt;
  }
  line.assign(text, static_cast<std::size_t>(count));
  if (!line.empty() && line.back() == '\n') line.pop_back();
  if (!line.empty()) {
    history(impl_->history, &impl_->event, H_ENTER, line.c_str());
    if (!impl_->file.empty()) history(impl_->history, &impl_->event, H_SAVE, impl_->file.c_str());
  }
  return Typed::line;
}

std::string state_file(const std::string& name) {
  const char* state = std::getenv("XDG_STATE_HOME");
  const char* home = std::getenv("HOME");
  fs::path folder;
  if (state != nullptr && *state == '/') {
    folder = state;
  } else if (home != nullptr && *home == '/') {
    folder = fs::path(home) / ".local/state";
  } else {
    return "";
  }
  folder /= "rosenblatt";
  std::error_code error;
  fs::create_directories(folder, error);
  return error ? "" : (folder / name).string();
}

}  // namespace npu::llm
