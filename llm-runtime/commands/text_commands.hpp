// SPDX-License-Identifier: MIT
// What npu-chat tokenize and template do: text in and out, line by line, for checks and scripts.
#pragma once

#include <iosfwd>

#include "llm-runtime/chat_template.hpp"
#include "llm-runtime/tokenizer.hpp"

namespace npu::llm {

struct TokenizeOptions {
  bool decode = false;
};

/// A JSON array of ids for each line {"text": "...", "special": true|false} of `in`; text that
/// spells a special token is one if "special" is true, which is the default. With `decode` the
/// other way: {"text": "..."} for each array of ids, control tokens written out, and U+FFFD for
/// bytes that are no UTF-8. Empty lines are skipped. Throws Error(bad_file) with the line's number
/// for a line that is something else or has ids beyond the vocabulary; what is before it is
/// answered.
void tokenize_lines(const Tokenizer& tokenizer, const TokenizeOptions& options, std::istream& in,
                    std::ostream& out);

/// A JSON string for each line {"messages": [{"role": "...", "content": "..."}, ...],
/// "add_generation_prompt": true|false}; further names, as "tools", are given to the template.
/// Without add_generation_prompt: false. Errors as above, also for messages that the template
/// refuses.
void template_lines(const ChatTemplate& chat_template, std::istream& in, std::ostream& out);

}  // namespace npu::llm
