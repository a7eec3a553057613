// SPDX-License-Identifier: MIT
// Lines that a person types: editing and history on a terminal (libedit), plain reading elsewhere.
#pragma once

#include <iosfwd>
#include <memory>
#include <optional>
#include <string>

namespace npu::llm {

class LineEditor {
 public:
  /// `history` is the file that keeps the lines; "" for none.
  explicit LineEditor(std::string history);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  /// Without its end; nothing at the end of the input. Ctrl-C gives an empty line.
  std::optional<std::string> read(const std::string& prompt);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// $XDG_STATE_HOME/rosenblatt/NAME or ~/.local/state/rosenblatt/NAME, its folder made; "" if there
/// is no home.
std::string state_file(const std::string& name);

}  // namespace npu::llm
