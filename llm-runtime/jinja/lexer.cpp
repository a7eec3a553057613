// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "llm-runtime/gguf_parse.hpp"
#include "llm-runtime/jinja/ast.hpp"
#include "llm-runtime/pretokenize.hpp"
#include "regdb/error.hpp"

namespace npu::llm::jinja {
namespace {

constexpr std::string_view kSpaces = " \t\n\r\f\v";

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool begins_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

/// Jinja sees only "\n", and not the last one of a template.
std::string normalised(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      if (i + 1 == source.size() || source[i + 1] != '\n') text.push_back('\n');
    } else {
      text.push_back(source[i]);
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalised(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const std::size_t tag = find_tag();
      add_text(tag);
      if (tag == source_.size()) break;
      const char kind = source_[tag + 1];
      advance(tag + 2);
      if (at_ < source_.size() && (source_[at_] == '-' || source_[at_] == '+')) advance(at_ + 1);
      if (kind == '#') {
        skip_comment();
      } else {
        const bool print = kind == '{';
        add(print ? TokenKind::print_begin : TokenKind::tag_begin, "");
        read_expression(print ? "}}" : "%}");
        add(print ? TokenKind::print_end : TokenKind::tag_end, "");
      }
    }
    add(TokenKind::end, "");
    return std::move(tokens_);
  }

 private:
  void advance(std::size_t to) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    at_ = to;
  }

  void add(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  std::size_t find_tag() const {
    for (std::size_t i = at_; i + 1 < source_.size(); ++i) {
      if (source_[i] == '{' &&
          (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#'))
        return i;
    }
    return source_.size();
  }

  /// The text up to the tag at `end`, without the white space that the tag takes away.
  void add_text(std::size_t end) {
    std::string_view text = std::string_view(source_).substr(at_, end - at_);
    const char mark = end + 2 < source_.size() ? source_[end + 2] : ' ';
    if (end < source_.size() && mark == '-') {
      text = text.substr(0, text.find_last_not_of(kSpaces) + 1);
    } else if (end < source_.size() && mark != '+' && source_[end + 1] != '{') {
      // lstrip_blocks: a tag that stands alone at the front of its line takes its indentation.
      const std::size_t newline = text.rfind('\n');
      const bool line_begins = newline != text.npos || at_ == 0 || source_[at_ - 1] == '\n';
      const std::size_t begin = newline == text.npos ? 0 : newline + 1;
      if (line_begins && text.find_first_not_of(" \t", begin) == text.npos)
        text = text.substr(0, begin);
    }
    if (!text.empty()) add(TokenKind::text, std::string(text));
    advance(end);
  }

  /// Steps over the end of a tag, `close`, and over the white space that it takes.
  void end_tag(std::string_view close) {
    const bool strip = source_[at_] == '-';
    advance(at_ + close.size() + (source_[at_] == close[0] ? 0 : 1));
    if (strip) {
      advance(std::min(source_.find_first_not_of(kSpaces, at_), source_.size()));
    } else if (close != "}}" && at_ < source_.size() && source_[at_] == '\n' &&
               source_[at_ - 3] != '+') {
      advance(at_ + 1);  // trim_blocks
    }
  }

  bool at_end(std::string_view close) const {
    const std::string_view rest = std::string_view(source_).substr(at_);
    if (rest.starts_with(close)) return true;
    return (rest.starts_with('-') || rest.starts_with('+')) && rest.substr(1).starts_with(close);
  }

  void skip_comment() {
    const std::size_t end = source_.find("#}", at_);
    if (end == source_.npos) fail(line_, "a comment is not closed");
    advance(end > at_ && source_[end - 1] == '-' ? end - 1 : end);
    end_tag("#}");
  }

  void read_expression(std::string_view close) {
    int open = 0;  // brackets: "}}" may also close two dicts
    for (;;) {
      advance(std::min(source_.find_first_not_of(kSpaces, at_), source_.size()));
      if (at_ == source_.size()) fail(line_, fmt::format("'{}' is missing", close));
      if (open == 0 && at_end(close)) return end_tag(close);
      const char c = source_[at_];
      if (c == '\'' || c == '"') {
        read_string();
      } else if (is_digit(c)) {
        read_number();
      } else if (begins_name(c)) {
        std::size_t end = at_;
        while (end < source_.size() && (begins_name(source_[end]) || is_digit(source_[end]))) ++end;
        add(TokenKind::name, source_.substr(at_, end - at_));
        advance(end);
      } else {
        if (c == '(' || c == '[' || c == '{') ++open;
        if (c == ')' || c == ']' || c == '}') open = std::max(0, open - 1);
        read_punctuation();
      }
    }
  }

  void read_punctuation() {
    static constexpr std::array<std::string_view, 6> kDouble = {"==", "!=", "<=", ">=", "//", "**"};
    const std::string_view two = std::string_view(source_).substr(at_, 2);
    if (std::find(kDouble.begin(), kDouble.end(), two) != kDouble.end()) {
      add(TokenKind::punctuation, std::string(two));
      return advance(at_ + 2);
    }
    const std::string_view one = two.substr(0, 1);
    if (std::string_view("()[]{}.,:|=<>+-*/%~").find(one[0]) == std::string_view::npos)
      fail(line_, fmt::format("'{}' does not belong into an expression", shown(one)));
    add(TokenKind::punctuation, std::string(one));
    advance(at_ + 1);
  }

  void read_number() {
    std::size_t end = at_;
    const auto digits = [&] {
      while (end < source_.size() && (is_digit(source_[end]) || source_[end] == '_')) ++end;
    };
    digits();
    bool floating = false;
    if (end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) {
      floating = true;
      ++end;
      digits();
    }
    std::string text = source_.substr(at_, end - at_);
    std::erase(text, '_');
    if (text.size() > 18) fail(line_, "a number has too many digits");
    add(floating ? TokenKind::floating : TokenKind::integer, std::move(text));
    advance(end);
  }

  void read_string() {
    const char quote = source_[at_];
    const int line = line_;
    std::string text;
    std::size_t i = at_ + 1;
    for (; i < source_.size() && source_[i] != quote; ++i) {
      if (source_[i] != '\\' || i + 1 == source_.size()) {
        text.push_back(source_[i]);
        continue;
      }
      const char c = source_[++i];
      switch (c) {
        case 'n': text.push_back('\n'); break;
        case 't': text.push_back('\t'); break;
        case 'r': text.push_back('\r'); break;
        case 'b': text.push_back('\b'); break;
        case 'f': text.push_back('\f'); break;
        case 'v': text.push_back('\v'); break;
        case 'a': text.push_back('\a'); break;
        case '\\':
        case '\'':
        case '"': text.push_back(c); break;
        case '\n': break;
        case 'x': i = append_escaped(text, i, 2); break;
        case 'u': i = append_escaped(text, i, 4); break;
        case 'U': i = append_escaped(text, i, 8); break;
        default: text.append({'\\', c});  // as in Python
      }
    }
    if (i >= source_.size()) fail(line, "a string is not closed");
    tokens_.push_back({TokenKind::string, std::move(text), line});
    advance(i + 1);
  }

  /// The character of `digits` hexadecimal digits behind `at`; returns where the last one is.
  std::size_t append_escaped(std::string& text, std::size_t at, std::size_t digits) {
    std::uint32_t value = 0;
    for (std::size_t i = 1; i <= digits; ++i) {
      const char c = at + i < source_.size() ? source_[at + i] : ' ';
      const char small = static_cast<char>(c | 0x20);
      if (!is_digit(c) && (small < 'a' || small > 'f')) fail(line_, "a \\x or \\u lacks digits");
      value = value << 4 | static_cast<std::uint32_t>(is_digit(c) ? c - '0' : small - 'a' + 10);
    }
    if (value >= 0x110000) fail(line_, "there is no such character");
    append_utf8(text, value);
    return at + digits;
  }

  std::string source_;
  std::size_t at_ = 0;
  int line_ = 1;
  std::vector<Token> tokens_;
};

}  // namespace

void fail(int line, const std::string& reason) {
  throw Error(ErrorCode::bad_file,
              fmt::format("chat template, line {}: {}; the built-in template of --chat-template "
                          "chatml may do instead",
                          line, reason));
}

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace npu::llm::jinja
