// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <initializer_list>

#include "llm-runtime/gguf_parse.hpp"
#include "llm-runtime/jinja/ast.hpp"

namespace npu::llm::jinja {
namespace {

constexpr int kHighest = 100;  // of a tree: evaluation walks it recursively
constexpr int kDeepest = 400;  // of the parser's own recursion, several steps for a bracket

Node make(NodeKind kind, int line, std::vector<Node> children = {}, std::string text = "") {
  Node node{.kind = kind, .line = line, .text = std::move(text), .children = std::move(children)};
  for (const Node& child : node.children) node.height = std::max(node.height, child.height + 1);
  if (node.height > kHighest) fail(line, "this is nested too deep");
  return node;
}

Node literal(int line, Json value) {
  Node node = make(NodeKind::literal, line);
  node.value = std::move(value);
  return node;
}

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Node run() {
    Node body = statements({});
    if (peek().kind != TokenKind::end) fail(line(), fmt::format("'{}' has no beginning", keyword_));
    return body;
  }

 private:
  // Tokens.
  const Token& peek(std::size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  int line() const { return peek().line; }
  Token take() {
    const Token token = peek();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  bool is(TokenKind kind, std::string_view text) const {
    return peek().kind == kind && peek().text == text;
  }
  bool take_if(TokenKind kind, std::string_view text) {
    if (!is(kind, text)) return false;
    take();
    return true;
  }
  bool take_punctuation(std::string_view text) { return take_if(TokenKind::punctuation, text); }
  bool take_word(std::string_view text) { return take_if(TokenKind::name, text); }

  std::string found() const {
    switch (peek().kind) {
      case TokenKind::print_end: return "'}}'";
      case TokenKind::tag_end: return "'%}'";
      case TokenKind::end: return "the end";
      case TokenKind::string: return fmt::format("the string '{}'", shown(peek().text));
      default: return fmt::format("'{}'", shown(peek().text));
    }
  }
  void expect(std::string_view text) {
    if (!take_punctuation(text)) fail(line(), fmt::format("'{}' expected, not {}", text, found()));
  }
  std::string expect_name() {
    if (peek().kind != TokenKind::name)
      fail(line(), fmt::format("a name expected, not {}", found()));
    return take().text;
  }
  void expect_tag_end() {
    if (peek().kind != TokenKind::tag_end)
      fail(line(), fmt::format("'%}}' expected, not {}", found()));
    take();
  }

  // Guards the recursion of the parser itself, before there is a tree to measure.
  struct Deeper {
    explicit Deeper(Parser& owner) : parser(owner) {
      if (++parser.depth_ > kDeepest) fail(parser.line(), "this is nested too deep");
    }
    ~Deeper() { --parser.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;
    Parser& parser;
  };

  /// Up to a tag that is one of `ends`, whose keyword is taken and left in keyword_.
  Node statements(std::initializer_list<std::string_view> ends) {
    const Deeper deeper(*this);
    std::vector<Node> body;
    const int begin = line();
    for (;;) {
      const Token token = peek();
      if (token.kind == TokenKind::end) {
        if (ends.size() != 0) fail(begin, fmt::format("'{}' is missing", *(ends.end() - 1)));
        break;
      }
      take();
      if (token.kind == TokenKind::text) {
        body.push_back(make(NodeKind::text, token.line, {}, token.text));
      } else if (token.kind == TokenKind::print_begin) {
        body.push_back(make(NodeKind::print, token.line, {tuple()}));
        if (peek().kind != TokenKind::print_end)
          fail(line(), fmt::format("'}}}}' expected, not {}", found()));
        take();
      } else {
        keyword_ = expect_name();
        if (std::find(ends.begin(), ends.end(), keyword_) != ends.end()) break;
        body.push_back(statement(token.line));
      }
    }
    return make(NodeKind::block, begin, std::move(body));
  }

  Node statement(int begin) {
    const std::string keyword = keyword_;
    if (keyword == "if") return if_statement(begin);
    if (keyword == "for") return for_statement(begin);
    if (keyword == "set") return set_statement(begin);
    if (keyword == "break" || keyword == "continue") {
      expect_tag_end();
      if (loops_ == 0) fail(begin, fmt::format("'{}' outside of a loop", keyword));
      return make(keyword == "break" ? NodeKind::loop_break : NodeKind::loop_continue, begin);
    }
    if (keyword == "generation") {  // marks what a trainer learns from; means nothing here
      expect_tag_end();
      Node body = statements({"endgeneration"});
      expect_tag_end();
      return body;
    }
    if (keyword.starts_with("end") || keyword == "else" || keyword == "elif")
      fail(begin, fmt::format("'{}' has no beginning", shown(keyword)));
    fail(begin, fmt::format("the statement '{}' is not supported", shown(keyword)));
  }

  Node if_statement(int begin) {
    std::vector<Node> children;
    for (;;) {
      children.push_back(expression());
      expect_tag_end();
      children.push_back(statements({"elif", "else", "endif"}));
      if (keyword_ == "elif") continue;
      if (keyword_ == "else") {
        expect_tag_end();
        children.push_back(statements({"endif"}));
      }
      expect_tag_end();
      return make(NodeKind::if_, begin, std::move(children));
    }
  }

  Node for_statement(int begin) {
    std::vector<std::string> names{expect_name()};
    while (take_punctuation(",")) names.push_back(expect_name());
    if (!take_word("in")) fail(line(), fmt::format("'in' expected, not {}", found()));
    Node iterable = or_expression();  // an `if` here belongs to the loop
    Node condition = take_word("if") ? expression() : literal(line(), true);
    if (is(TokenKind::name, "recursive")) fail(line(), "a recursive loop is not supported");
    expect_tag_end();
    ++loops_;
    Node body = statements({"else", "endfor"});
    --loops_;
    Node otherwise = make(NodeKind::block, line());
    if (keyword_ == "else") {
      expect_tag_end();
      otherwise = statements({"endfor"});
    }
    expect_tag_end();
    std::vector<Node> children;
    children.push_back(std::move(iterable));
    children.push_back(std::move(condition));
    children.push_back(std::move(body));
    children.push_back(std::move(otherwise));
    Node node = make(NodeKind::for_, begin, std::move(children));
    node.names = std::move(names);
    return node;
  }

  Node set_statement(int begin) {
    std::vector<std::string> names{expect_name()};
    if (take_punctuation(".")) names.push_back(expect_name());
    if (is(TokenKind::punctuation, ","))
      fail(line(), "'set' of several variables is not supported");
    Node node;
    if (take_punctuation("=")) {
      node = make(NodeKind::set, begin, {tuple()});
      expect_tag_end();
    } else {
      expect_tag_end();
      node = make(NodeKind::set_block, begin, {statements({"endset"})});
      expect_tag_end();
    }
    node.names = std::move(names);
    return node;
  }

  // Expressions, the loosest operator first.
  Node tuple() {
    Node first = expression();
    if (!is(TokenKind::punctuation, ",")) return first;
    std::vector<Node> items;
    const int begin = first.line;
    items.push_back(std::move(first));
    while (take_punctuation(",")) items.push_back(expression());
    return make(NodeKind::list, begin, std::move(items));
  }

  Node pair(NodeKind kind, int begin, Node left, Node right, std::string text = "") {
    std::vector<Node> children;
    children.push_back(std::move(left));
    children.push_back(std::move(right));
    return make(kind, begin, std::move(children), std::move(text));
  }

  Node expression() {
    const Deeper deeper(*this);
    Node value = or_expression();
    while (is(TokenKind::name, "if")) {
      const int begin = take().line;
      Node condition = or_expression();
      Node otherwise = take_word("else") ? expression() : make(NodeKind::name, begin, {}, "");
      std::vector<Node> children;
      children.push_back(std::move(value));
      children.push_back(std::move(condition));
      children.push_back(std::move(otherwise));
      value = make(NodeKind::conditional, begin, std::move(children));
    }
    return value;
  }

  Node or_expression() {
    Node left = and_expression();
    while (is(TokenKind::name, "or")) {
      const int begin = take().line;
      left = pair(NodeKind::or_, begin, std::move(left), and_expression());
    }
    return left;
  }

  Node and_expression() {
    Node left = not_expression();
    while (is(TokenKind::name, "and")) {
      const int begin = take().line;
      left = pair(NodeKind::and_, begin, std::move(left), not_expression());
    }
    return left;
  }

  Node not_expression() {
    const Deeper deeper(*this);
    if (is(TokenKind::name, "not")) {
      const int begin = take().line;
      return make(NodeKind::not_, begin, {not_expression()});
    }
    return comparison();
  }

  Node comparison() {
    Node left = sum();
    int comparisons = 0;
    for (;;) {
      std::string op;
      const int begin = line();
      if (peek().kind == TokenKind::punctuation) {
        const std::string& text = peek().text;
        if (text == "==" || text == "!=" || text == "<" || text == "<=" || text == ">" ||
            text == ">=")
          op = text;
      } else if (is(TokenKind::name, "in")) {
        op = "in";
      } else if (is(TokenKind::name, "not") && peek(1).kind == TokenKind::name &&
                 peek(1).text == "in") {
        take();
        op = "not in";
      }
      if (op.empty()) return left;
      if (++comparisons > 1) fail(begin, "a chain of comparisons is not supported");
      take();
      left = pair(NodeKind::binary, begin, std::move(left), sum(), op);
    }
  }

  Node left_associative(std::initializer_list<std::string_view> operators,
                        Node (Parser::*operand)()) {
    Node left = (this->*operand)();
    while (peek().kind == TokenKind::punctuation &&
           std::find(operators.begin(), operators.end(), peek().text) != operators.end()) {
      const Token op = take();
      left = pair(NodeKind::binary, op.line, std::move(left), (this->*operand)(), op.text);
    }
    return left;
  }
  Node sum() { return left_associative({"+", "-"}, &Parser::concatenation); }
  Node concatenation() { return left_associative({"~"}, &Parser::product); }
  Node product() { return left_associative({"*", "/", "//", "%"}, &Parser::unary); }

  Node unary() {
    const Deeper deeper(*this);
    const int begin = line();
    if (take_punctuation("-")) return filters(make(NodeKind::negate, begin, {postfix()}));
    take_punctuation("+");
    Node node = filters(postfix());
    if (is(TokenKind::punctuation, "**")) fail(line(), "the operator '**' is not supported");
    return node;
  }

  Node postfix() {
    Node node = primary();
    for (;;) {
      const int begin = line();
      if (take_punctuation(".")) {
        std::string name = peek().kind == TokenKind::integer ? take().text : expect_name();
        node = make(NodeKind::attribute, begin, {std::move(node)}, std::move(name));
      } else if (take_punctuation("[")) {
        node = subscript(begin, std::move(node));
      } else if (take_punctuation("(")) {
        node = with_arguments(make(NodeKind::call, begin, {std::move(node)}));
      } else {
        return node;
      }
    }
  }

  Node subscript(int begin, Node object) {
    std::vector<Node> parts;
    bool slice = false;
    for (int part = 0; part < 3; ++part) {
      if (is(TokenKind::punctuation, ":") || is(TokenKind::punctuation, "]")) {
        parts.push_back(literal(line(), nullptr));
      } else {
        parts.push_back(expression());
      }
      if (!take_punctuation(":")) break;
      slice = true;
    }
    if (!slice && is(TokenKind::punctuation, "]") && parts[0].kind == NodeKind::literal &&
        parts[0].value.is_null())
      fail(begin, "'[]' needs an index");
    expect("]");
    while (slice && parts.size() < 3) parts.push_back(literal(begin, nullptr));
    parts.insert(parts.begin(), std::move(object));
    return make(slice ? NodeKind::slice : NodeKind::index, begin, std::move(parts));
  }

  /// The arguments behind "(", up to and with ")".
  Node with_arguments(Node node) {
    while (!take_punctuation(")")) {
      std::string name;
      if (peek().kind == TokenKind::name && peek(1).kind == TokenKind::punctuation &&
          peek(1).text == "=") {
        name = take().text;
        take();
      }
      node.children.push_back(expression());
      node.names.push_back(std::move(name));
      if (!is(TokenKind::punctuation, ")")) expect(",");
    }
    Node made = make(node.kind, node.line, std::move(node.children), std::move(node.text));
    made.names = std::move(node.names);
    return made;
  }

  /// "| name(...)" and "is name" behind an operand.
  Node filters(Node node) {
    for (;;) {
      const int begin = line();
      if (take_punctuation("|")) {
        node = make(NodeKind::filter, begin, {std::move(node)}, expect_name());
        if (take_punctuation("(")) node = with_arguments(std::move(node));
      } else if (take_word("is")) {
        const bool negated = take_word("not");
        node = test(begin, std::move(node));
        if (negated) node = make(NodeKind::not_, begin, {std::move(node)});
      } else {
        return node;
      }
    }
  }

  Node test(int begin, Node input) {
    Node node = make(NodeKind::test, begin, {std::move(input)}, expect_name());
    if (take_punctuation("(")) return with_arguments(std::move(node));
    // "is divisibleby 3": an argument without brackets.
    const TokenKind next = peek().kind;
    const bool word = next == TokenKind::name && peek().text != "and" && peek().text != "or" &&
                      peek().text != "else" && peek().text != "if" && peek().text != "is" &&
                      peek().text != "in" && peek().text != "not";
    if (next == TokenKind::string || next == TokenKind::integer || word) {
      std::vector<Node> children = std::move(node.children);
      children.push_back(postfix());
      std::string name = std::move(node.text);
      node = make(NodeKind::test, begin, std::move(children), std::move(name));
      node.names.emplace_back();
    }
    return node;
  }

  Node primary() {
    const Deeper deeper(*this);
    const Token token = peek();
    const int begin = token.line;
    switch (token.kind) {
      case TokenKind::string: {
        std::string text = take().text;
        while (peek().kind == TokenKind::string) text += take().text;
        return literal(begin, std::move(text));
      }
      case TokenKind::integer: return literal(begin, std::atoll(take().text.c_str()));
      case TokenKind::floating: return literal(begin, std::strtod(take().text.c_str(), nullptr));
      case TokenKind::name: {
        const std::string name = take().text;
        if (name == "true" || name == "True") return literal(begin, true);
        if (name == "false" || name == "False") return literal(begin, false);
        if (name == "none" || name == "None") return literal(begin, nullptr);
        return make(NodeKind::name, begin, {}, name);
      }
      default: break;
    }
    if (take_punctuation("[")) return make(NodeKind::list, begin, items("]"));
    if (take_punctuation("{")) return make(NodeKind::dict, begin, pairs());
    if (take_punctuation("(")) {
      if (take_punctuation(")")) return make(NodeKind::list, begin);
      Node inner = expression();
      if (take_punctuation(")")) return inner;
      expect(",");
      std::vector<Node> rest = items(")");
      rest.insert(rest.begin(), std::move(inner));
      return make(NodeKind::list, begin, std::move(rest));
    }
    fail(begin, fmt::format("a value expected, not {}", found()));
  }

  std::vector<Node> items(std::string_view close) {
    std::vector<Node> list;
    while (!take_punctuation(close)) {
      list.push_back(expression());
      if (!is(TokenKind::punctuation, close)) expect(",");
    }
    return list;
  }

  std::vector<Node> pairs() {
    std::vector<Node> list;
    while (!take_punctuation("}")) {
      list.push_back(expression());
      expect(":");
      list.push_back(expression());
      if (!is(TokenKind::punctuation, "}")) expect(",");
    }
    return list;
  }

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;
  std::string keyword_;
};

}  // namespace

Node parse(std::string_view source) { return Parser(tokenize(source)).run(); }

}  // namespace npu::llm::jinja
