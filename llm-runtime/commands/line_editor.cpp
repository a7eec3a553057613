// SPDX-License-Identifier: MIT
#include "llm-runtime/commands/line_editor.hpp"

#include <histedit.h>

#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

namespace npu::llm {
namespace fs = std::filesystem;
namespace {

constexpr int kHistoryLines = 1000;

}  // namespace

struct LineEditor::Impl {
  EditLine* editor = nullptr;
  History* history = nullptr;
  HistEvent event{};
  std::string prompt, file;
};

LineEditor::LineEditor(std::string file) : impl_(std::make_unique<Impl>()) {
  std::setlocale(LC_CTYPE, "");  // libedit counts characters by it
  impl_->file = std::move(file);
  impl_->editor = el_init("npu-chat", stdin, stdout, stderr);
  impl_->history = history_init();
  if (impl_->editor == nullptr || impl_->history == nullptr) return;
  el_set(impl_->editor, EL_CLIENTDATA, impl_.get());
  el_set(
      impl_->editor, EL_PROMPT, +[](EditLine* editor) {
        void* data = nullptr;
        el_get(editor, EL_CLIENTDATA, &data);
        return static_cast<Impl*>(data)->prompt.data();
      });
  el_set(impl_->editor, EL_EDITOR, "emacs");
  el_set(impl_->editor, EL_HIST, history, impl_->history);
  el_source(impl_->editor, nullptr);  // ~/.editrc
  history(impl_->history, &impl_->event, H_SETSIZE, kHistoryLines);
  history(impl_->history, &impl_->event, H_SETUNIQUE, 1);
  if (!impl_->file.empty()) history(impl_->history, &impl_->event, H_LOAD, impl_->file.c_str());
}

LineEditor::~LineEditor() {
  if (impl_->history != nullptr) history_end(impl_->history);
  if (impl_->editor != nullptr) el_end(impl_->editor);
}

std::optional<std::string> LineEditor::read(const std::string& prompt) {
  if (impl_->editor == nullptr || impl_->history == nullptr) return std::nullopt;
  impl_->prompt = prompt;
  int count = 0;
  errno = 0;
  const char* text = el_gets(impl_->editor, &count);
  if (text == nullptr || count <= 0) {
    if (errno != EINTR) return std::nullopt;
    std::fputs("\n", stdout);
    el_reset(impl_->editor);
    return "";
  }
  std::string line(text, static_cast<std::size_t>(count));
  if (!line.empty() && line.back() == '\n') line.pop_back();
  if (!line.empty()) {
    history(impl_->history, &impl_->event, H_ENTER, line.c_str());
    if (!impl_->file.empty()) history(impl_->history, &impl_->event, H_SAVE, impl_->file.c_str());
  }
  return line;
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
