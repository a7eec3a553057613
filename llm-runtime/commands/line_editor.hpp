// SPDX-License-Identifier: MIT
// Lines that a person types: editing and history on a terminal, by libedit.
#pragma once

#include <memory>
#include <string>

namespace npu::llm {

enum class Typed : unsigned char {
  line,
  interrupt,  ///< a signal, as Ctrl-C: what was typed is dropped
  end,        ///< Ctrl-D, or there is no terminal any more
};

class LineEditor {
 public:
  /// `history` is the file that keeps the lines; "" for none.
  explicit LineEditor(std::string history);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  /// Of interrupt_line_editor() up to now.
  void forget_interrupts();
  /// The line comes without its end.
  Typed read(const std::string& prompt, std::string& line);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// For signal handlers: the read() that is under way returns Typed::interrupt, or the next one.
void interrupt_line_editor() noexcept;

/// $XDG_STATE_HOME/rosenblatt/NAME or ~/.local/state/rosenblatt/NAME, its folder made; "" if there
/// is no home.
std::string state_file(const std::string& name);

}  // namespace npu::llm
