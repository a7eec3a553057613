// SPDX-License-Identifier: MIT
// A chat template as a tree, and how it is made from its text.
//
// The part of Jinja that chat templates use: text, {{ expressions }}, {# comments #}, if, for, set,
// generation; whitespace is trimmed as by transformers (trim_blocks, lstrip_blocks).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace npu::llm::jinja {

using Json = nlohmann::ordered_json;  // keeps the order of keys, as Python does

enum class TokenKind : std::uint8_t {
  text,         ///< between tags
  print_begin,  ///< {{
  print_end,
  tag_begin,  ///< {%
  tag_end,
  name,
  string,  ///< escapes resolved
  integer,
  floating,
  punctuation,  ///< operators and brackets
  end,
};

struct Token {
  TokenKind kind;
  std::string text;
  int line;
};

/// Throws Error(bad_file) that names the line.
std::vector<Token> tokenize(std::string_view source);

enum class NodeKind : std::uint8_t {
  // statements
  block,      ///< children in order
  text,       ///< text
  print,      ///< [expression]
  if_,        ///< [condition, block]..., then perhaps the block of else
  for_,       ///< names: targets; [iterable, condition, body, block of else]
  set,        ///< names: variable, or namespace and attribute; [expression]
  set_block,  ///< names as set; [block]
  loop_break,
  loop_continue,
  // expressions
  literal,    ///< value
  name,       ///< text
  list,       ///< children
  dict,       ///< key, value, key, value...
  attribute,  ///< [object], text
  index,      ///< [object, key]
  slice,      ///< [object, start, stop, step]; literal null where left out
  call,       ///< [callee, arguments...], names of the arguments
  filter,     ///< [input, arguments...], text, names of the arguments
  test,       ///< [input, arguments...], text
  not_,       ///< [operand]
  negate,     ///< [operand]
  binary,     ///< [left, right], text: the operator
  and_,
  or_,
  conditional,  ///< [value, condition, otherwise]
};

struct Node {
  NodeKind kind = NodeKind::block;
  int line = 1;
  int height = 1;  ///< of the tree below, which is limited
  std::string text;
  Json value;
  std::vector<std::string> names;
  std::vector<Node> children;
};

/// The whole template as a block. Throws Error(bad_file) that names the line and what cannot be
/// read there; trees deeper than 100 are refused.
Node parse(std::string_view source);

/// Error(bad_file): "chat template, line 3: 'macro' is not supported", and what to do instead.
[[noreturn]] void fail(int line, const std::string& reason);

}  // namespace npu::llm::jinja
