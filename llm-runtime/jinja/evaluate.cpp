// SPDX-License-Identifier: MIT
#include "llm-runtime/jinja/evaluate.hpp"

#include <fmt/format.h>

#include <map>

#include "llm-runtime/gguf_parse.hpp"
#include "llm-runtime/jinja/value.hpp"

namespace npu::llm::jinja {
namespace {

constexpr std::size_t kMostOutput = 64 << 20;

enum class Flow { next, leave, again };

class Evaluator {
 public:
  explicit Evaluator(const Json& variables) {
    scopes_.emplace_back();
    const auto shared = std::make_shared<const Json>(variables);
    for (const auto& [name, value] : shared->items())
      scopes_[0].emplace(name, Value{std::shared_ptr<const Json>(shared, &value), nullptr});
  }

  std::string run(const Node& body) {
    execute(body);
    return std::move(out_);
  }

 private:
  void emit(std::string_view text, int line) {
    if (out_.size() + text.size() > kMostOutput) fail(line, "the text grows beyond 64 MiB");
    budget_.spend(text.size() / 64 + 1, line);
    out_ += text;
  }

  Flow execute(const Node& node) {
    budget_.spend(1, node.line);
    switch (node.kind) {
      case NodeKind::block:
        for (const Node& child : node.children) {
          if (const Flow flow = execute(child); flow != Flow::next) return flow;
        }
        return Flow::next;
      case NodeKind::text: emit(node.text, node.line); return Flow::next;
      case NodeKind::print:
        emit(text_of(evaluate(node.children[0]), node.line), node.line);
        return Flow::next;
      case NodeKind::if_: {
        std::size_t i = 0;
        for (; i + 1 < node.children.size(); i += 2) {
          if (truth(evaluate(node.children[i]))) return execute(node.children[i + 1]);
        }
        return i < node.children.size() ? execute(node.children[i]) : Flow::next;
      }
      case NodeKind::for_: loop(node); return Flow::next;
      case NodeKind::set: assign(node, evaluate(node.children[0])); return Flow::next;
      case NodeKind::set_block: {
        std::string outer;
        outer.swap(out_);
        scopes_.emplace_back();
        execute(node.children[0]);
        scopes_.pop_back();
        outer.swap(out_);
        assign(node, Value::of(std::move(outer)));
        return Flow::next;
      }
      case NodeKind::loop_break: return Flow::leave;
      case NodeKind::loop_continue: return Flow::again;
      default: evaluate(node); return Flow::next;
    }
  }

  void assign(const Node& node, Value value) {
    if (node.names.size() == 1) {
      scopes_.back().insert_or_assign(node.names[0], std::move(value));
      return;
    }
    const Value space = lookup(node.names[0]);
    if (space.space == nullptr)
      fail(node.line, fmt::format("'set {}.{}': only attributes of a namespace can be set",
                                  shown(node.names[0]), shown(node.names[1])));
    if (value.space != nullptr) fail(node.line, "a namespace inside of another is not supported");
    space.space->insert_or_assign(node.names[1], std::move(value));
  }

  /// The elements that a loop walks: a list's, a mapping's keys.
  std::vector<Value> elements(const Value& iterable, int line) {
    std::vector<Value> list;
    if (iterable.is_undefined()) return list;
    if (iterable.space != nullptr || (!iterable.json->is_array() && !iterable.json->is_object()))
      fail(line, fmt::format("'for' over {} is not supported", kind_of(iterable)));
    budget_.spend(iterable.json->size(), line);
    if (iterable.json->is_object()) {
      for (const auto& [key, value] : iterable.json->items()) list.push_back(Value::of(key));
    } else {
      for (const Json& element : *iterable.json)
        list.push_back({std::shared_ptr<const Json>(iterable.json, &element), nullptr});
    }
    return list;
  }

  void bind(const Node& node, const Value& element) {
    if (node.names.size() == 1) {
      scopes_.back().insert_or_assign(node.names[0], element);
      return;
    }
    if (element.json == nullptr || !element.json->is_array() ||
        element.json->size() != node.names.size())
      fail(node.line, fmt::format("cannot take {} apart into {} variables", kind_of(element),
                                  node.names.size()));
    for (std::size_t i = 0; i < node.names.size(); ++i)
      scopes_.back().insert_or_assign(node.names[i],
                                      item(element, Value::of(static_cast<std::int64_t>(i)), 0));
  }

  void loop(const Node& node) {
    const Node &condition = node.children[1], &body = node.children[2];
    std::vector<Value> list;
    for (Value& element : elements(evaluate(node.children[0]), node.line)) {
      scopes_.emplace_back();
      bind(node, element);
      const bool wanted = truth(evaluate(condition));
      scopes_.pop_back();
      if (wanted) list.push_back(std::move(element));
    }
    for (std::size_t i = 0; i < list.size(); ++i) {
      budget_.spend(20, node.line);
      scopes_.emplace_back();
      bind(node, list[i]);
      Value state{nullptr, std::make_shared<std::map<std::string, Value>>()};
      const auto number = [](std::size_t value) {
        return Value::of(static_cast<std::int64_t>(value));
      };
      auto& fields = *state.space;
      fields.emplace("index", number(i + 1));
      fields.emplace("index0", number(i));
      fields.emplace("revindex", number(list.size() - i));
      fields.emplace("revindex0", number(list.size() - i - 1));
      fields.emplace("length", number(list.size()));
      fields.emplace("first", Value::of(i == 0));
      fields.emplace("last", Value::of(i + 1 == list.size()));
      if (i > 0) fields.emplace("previtem", list[i - 1]);
      if (i + 1 < list.size()) fields.emplace("nextitem", list[i + 1]);
      scopes_.back().insert_or_assign("loop", std::move(state));
      const Flow flow = execute(body);
      scopes_.pop_back();
      if (flow == Flow::leave) break;
    }
    if (list.empty()) {
      scopes_.emplace_back();
      execute(node.children[3]);
      scopes_.pop_back();
    }
  }

  Value lookup(const std::string& name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      if (const auto found = scope->find(name); found != scope->end()) return found->second;
    }
    return Value::undefined(name);
  }

  Arguments arguments(const Node& node) {
    Arguments result;
    for (std::size_t i = 0; i < node.names.size(); ++i) {
      Value value = evaluate(node.children[i + 1]);
      if (node.names[i].empty()) {
        result.positional.push_back(std::move(value));
      } else {
        result.named.emplace_back(node.names[i], std::move(value));
      }
    }
    return result;
  }

  Value call(const Node& node) {
    const Node& callee = node.children[0];
    if (callee.kind == NodeKind::attribute) {
      const Value object = evaluate(callee.children[0]);
      return call_method(object, callee.text, arguments(node), budget_, node.line);
    }
    if (callee.kind != NodeKind::name) fail(node.line, "this call is not supported");
    return call_function(callee.text, arguments(node), budget_, node.line);
  }

  /// A list or mapping holds copies of its parts.
  Json copied(const Value& value, int line) {
    if (value.space != nullptr) fail(line, "a namespace inside of a list is not supported");
    if (value.json == nullptr) return nullptr;
    if (value.json->is_structured() && nested_deeper(*value.json, kDeepestValue))
      fail(line, "a value is nested too deep");
    budget_.spend(cost_of(*value.json), line);
    return *value.json;
  }

  Value evaluate(const Node& node) {
    budget_.spend(1, node.line);
    const auto child = [&](std::size_t i) { return evaluate(node.children[i]); };
    switch (node.kind) {
      case NodeKind::literal:
        return {std::shared_ptr<const Json>(std::shared_ptr<void>(), &node.value), nullptr};
      case NodeKind::name: return lookup(node.text);
      case NodeKind::list: {
        Json list = Json::array();
        for (const Node& element : node.children)
          list.push_back(copied(evaluate(element), node.line));
        return Value::of(std::move(list));
      }
      case NodeKind::dict: {
        Json object = Json::object();
        for (std::size_t i = 0; i + 1 < node.children.size(); i += 2) {
          const Value key = child(i);
          if (!key.is_string()) fail(node.line, "a key that is no string is not supported");
          object[key.json->get<std::string>()] = copied(child(i + 1), node.line);
        }
        return Value::of(std::move(object));
      }
      case NodeKind::attribute: return attribute(child(0), node.text, node.line);
      case NodeKind::index: return item(child(0), child(1), node.line);
      case NodeKind::slice:
        return slice(child(0), child(1), child(2), child(3), budget_, node.line);
      case NodeKind::call: return call(node);
      case NodeKind::filter:
        return apply_filter(node.text, child(0), arguments(node), budget_, node.line);
      case NodeKind::test:
        return Value::of(apply_test(node.text, child(0), arguments(node), node.line));
      case NodeKind::not_: return Value::of(!truth(child(0)));
      case NodeKind::negate: return binary("-", Value::of(0), child(0), budget_, node.line);
      case NodeKind::binary: return binary(node.text, child(0), child(1), budget_, node.line);
      case NodeKind::and_: {
        Value left = child(0);
        return truth(left) ? child(1) : left;
      }
      case NodeKind::or_: {
        Value left = child(0);
        return truth(left) ? left : child(1);
      }
      case NodeKind::conditional: return truth(child(1)) ? child(0) : child(2);
      default: fail(node.line, "a statement where a value belongs");
    }
  }

  std::vector<std::map<std::string, Value>> scopes_;
  std::string out_;
  Budget budget_;
};

}  // namespace

std::string render(const Node& body, const Json& variables) {
  return Evaluator(variables).run(body);
}

}  // namespace npu::llm::jinja
