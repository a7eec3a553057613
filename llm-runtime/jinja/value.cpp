// SPDX-License-Identifier: MIT
#include "llm-runtime/jinja/value.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "llm-runtime/gguf_parse.hpp"
#include "llm-runtime/pretokenize.hpp"

namespace npu::llm::jinja {
namespace {

void append_json(std::string& out, const Json& value, int indent, int level) {
  const auto line_break = [&](int depth) {
    out.push_back('\n');
    out.append(static_cast<std::size_t>(indent * depth), ' ');
  };
  const auto separate = [&](bool first) {
    if (!first) out += indent > 0 ? "," : ", ";
    if (indent > 0) line_break(level + 1);
  };
  if (value.is_object() && !value.empty()) {
    out.push_back('{');
    bool first = true;
    for (const auto& [key, member] : value.items()) {
      separate(std::exchange(first, false));
      append_json(out, key, 0, 0);
      out += ": ";
      append_json(out, member, indent, level + 1);
    }
    if (indent > 0) line_break(level);
    out.push_back('}');
  } else if (value.is_array() && !value.empty()) {
    out.push_back('[');
    bool first = true;
    for (const Json& element : value) {
      separate(std::exchange(first, false));
      append_json(out, element, indent, level + 1);
    }
    if (indent > 0) line_break(level);
    out.push_back(']');
  } else {
    out += value.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
}

/// As Python's repr(): inside of a list that is printed.
std::string repr(const Json& value) {
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    const char quote = text.find('\'') != text.npos && text.find('"') == text.npos ? '"' : '\'';
    std::string out(1, quote);
    for (const char c : text) {
      if (c == '\n') {
        out += "\\n";
      } else if (c == '\t') {
        out += "\\t";
      } else {
        if (c == quote || c == '\\') out.push_back('\\');
        out.push_back(c);
      }
    }
    return out + quote;
  }
  if (value.is_null()) return "None";
  if (value.is_boolean()) return value.get<bool>() ? "True" : "False";
  if (value.is_array() || value.is_object()) {
    std::string out(1, value.is_array() ? '[' : '{');
    bool first = true;
    for (const auto& [key, element] : value.items()) {
      if (!std::exchange(first, false)) out += ", ";
      if (value.is_object()) out += repr(Json(key)) + ": ";
      out += repr(element);
    }
    return out + (value.is_array() ? ']' : '}');
  }
  return value.dump();
}

bool is_number(const Value& value) {
  return value.json != nullptr && (value.json->is_number() || value.json->is_boolean());
}
bool is_integer(const Value& value) {
  return value.json != nullptr && (value.json->is_number_integer() || value.json->is_boolean());
}
std::int64_t integer(const Value& value) {
  return value.json->is_boolean() ? value.json->get<bool>() : value.json->get<std::int64_t>();
}
double number(const Value& value) {
  return is_integer(value) ? static_cast<double>(integer(value)) : value.json->get<double>();
}

bool equal(const Value& left, const Value& right) {
  if (left.space != nullptr || right.space != nullptr) return left.space == right.space;
  if (left.is_undefined() || right.is_undefined())
    return left.is_undefined() && right.is_undefined();
  if (is_number(left) && is_number(right)) return number(left) == number(right);
  return *left.json == *right.json;
}

bool contains(const Value& all, const Value& wanted, int line) {
  if (all.is_undefined()) fail(line, fmt::format("'in' {}", kind_of(all)));
  if (all.space != nullptr) fail(line, "'in' a namespace is not supported");
  if (all.json->is_string()) {
    if (!wanted.is_string()) fail(line, fmt::format("{} 'in' a string", kind_of(wanted)));
    return all.json->get_ref<const std::string&>().find(
               wanted.json->get_ref<const std::string&>()) != std::string::npos;
  }
  if (all.json->is_object())
    return wanted.is_string() && all.json->contains(wanted.json->get_ref<const std::string&>());
  if (!all.json->is_array()) fail(line, fmt::format("'in' {}", kind_of(all)));
  return std::any_of(all.json->begin(), all.json->end(), [&](const Json& element) {
    return equal({std::shared_ptr<const Json>(all.json, &element), nullptr}, wanted);
  });
}

bool less(const Value& left, const Value& right, const std::string& op, int line) {
  if (is_number(left) && is_number(right)) return number(left) < number(right);
  if (left.is_string() && right.is_string()) return *left.json < *right.json;
  fail(line, fmt::format("cannot compare {} {} {}", kind_of(left), op, kind_of(right)));
}

[[noreturn]] void cannot(const std::string& op, const Value& left, const Value& right, int line) {
  fail(line, fmt::format("cannot compute {} {} {}", kind_of(left), op, kind_of(right)));
}

Value arithmetic(const std::string& op, const Value& left, const Value& right, int line) {
  if (!is_number(left) || !is_number(right)) cannot(op, left, right, line);
  if (!is_integer(left) || !is_integer(right) || op == "/") {
    const double a = number(left), b = number(right);
    if (op == "+") return Value::of(a + b);
    if (op == "-") return Value::of(a - b);
    if (op == "*") return Value::of(a * b);
    if (b == 0) fail(line, "division by zero");
    if (op == "/") return Value::of(a / b);
    if (op == "//") return Value::of(std::floor(a / b));
    return Value::of(a - b * std::floor(a / b));
  }
  const std::int64_t a = integer(left), b = integer(right);
  std::int64_t result = 0;
  bool overflow = false;
  if (op == "+") overflow = __builtin_add_overflow(a, b, &result);
  if (op == "-") overflow = __builtin_sub_overflow(a, b, &result);
  if (op == "*") overflow = __builtin_mul_overflow(a, b, &result);
  if (op == "//" || op == "%") {
    if (b == 0) fail(line, "division by zero");
    if (b == -1) {
      overflow = op == "//" && __builtin_sub_overflow(std::int64_t{0}, a, &result);
    } else {  // rounds down, as in Python
      const std::int64_t quotient = a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
      result = op == "//" ? quotient : a - quotient * b;
    }
  }
  if (overflow) fail(line, "an integer grows too large");
  return Value::of(result);
}

}  // namespace

void Budget::spend(std::uint64_t steps, int line) {
  if (steps > left) fail(line, "the template does not come to an end");
  left -= steps;
}

const Value* Arguments::get(std::size_t position, std::string_view name) const {
  if (position < positional.size()) return &positional[position];
  for (const auto& [key, value] : named) {
    if (key == name) return &value;
  }
  return nullptr;
}

bool nested_deeper(const Json& value, int levels) {
  if (!value.is_structured()) return false;
  if (levels == 0) return true;
  for (const Json& element : value) {
    if (nested_deeper(element, levels - 1)) return true;
  }
  return false;
}

std::uint64_t cost_of(const Json& value) {
  if (value.is_string()) return 1 + value.get_ref<const std::string&>().size() / 16;
  std::uint64_t cost = 1;
  if (value.is_structured()) {
    for (const Json& element : value) cost += cost_of(element);
  }
  return cost;
}

bool truth(const Value& value) {
  if (value.space != nullptr) return true;
  if (value.json == nullptr || value.json->is_null()) return false;
  if (value.json->is_boolean()) return value.json->get<bool>();
  if (value.json->is_number()) return value.json->get<double>() != 0;
  if (value.json->is_string()) return !value.json->get_ref<const std::string&>().empty();
  return !value.json->empty();
}

std::string kind_of(const Value& value) {
  if (value.space != nullptr) return "a namespace";
  if (value.json == nullptr) return fmt::format("undefined '{}'", shown(value.unknown));
  switch (value.json->type()) {
    case Json::value_t::null: return "none";
    case Json::value_t::boolean: return "a boolean";
    case Json::value_t::string: return "a string";
    case Json::value_t::array: return "a list";
    case Json::value_t::object: return "a mapping";
    default: return "a number";
  }
}

std::string to_json_text(const Json& value, int indent) {
  std::string out;
  append_json(out, value, indent, 0);
  return out;
}

std::string text_of(const Value& value, int line) {
  if (value.space != nullptr) fail(line, "a namespace cannot be printed");
  if (value.json == nullptr) return "";
  if (value.json->is_string()) return value.json->get<std::string>();
  return repr(*value.json);
}

Value binary(const std::string& op, const Value& left, const Value& right, Budget& budget,
             int line) {
  if (op == "==") return Value::of(equal(left, right));
  if (op == "!=") return Value::of(!equal(left, right));
  if (op == "in") return Value::of(contains(right, left, line));
  if (op == "not in") return Value::of(!contains(right, left, line));
  if (op == "<") return Value::of(less(left, right, op, line));
  if (op == ">") return Value::of(less(right, left, op, line));
  if (op == "<=") return Value::of(!less(right, left, op, line));
  if (op == ">=") return Value::of(!less(left, right, op, line));
  if (op == "~" || (op == "+" && left.is_string() && right.is_string())) {
    std::string text = text_of(left, line) + text_of(right, line);
    budget.spend(text.size() / 16, line);
    return Value::of(std::move(text));
  }
  if (op == "+" && left.json != nullptr && right.json != nullptr && left.json->is_array() &&
      right.json->is_array()) {
    Json sum = *left.json;
    sum.insert(sum.end(), right.json->begin(), right.json->end());
    budget.spend(cost_of(sum), line);
    return Value::of(std::move(sum));
  }
  return arithmetic(op, left, right, line);
}

Value attribute(const Value& object, const std::string& name, int line) {
  if (object.is_undefined()) fail(line, fmt::format("'{}' of {}", shown(name), kind_of(object)));
  if (object.space != nullptr) {
    const auto found = object.space->find(name);
    return found == object.space->end() ? Value::undefined(name) : found->second;
  }
  if (object.json->is_object()) {
    const auto found = object.json->find(name);
    if (found != object.json->end())
      return {std::shared_ptr<const Json>(object.json, &*found), nullptr};
  }
  return Value::undefined(name);
}

Value item(const Value& object, const Value& key, int line) {
  if (key.is_string()) return attribute(object, key.json->get<std::string>(), line);
  if (object.is_undefined()) fail(line, fmt::format("an item of {}", kind_of(object)));
  if (!is_integer(key) || object.space != nullptr)
    fail(line, fmt::format("{} cannot be the index of {}", kind_of(key), kind_of(object)));
  std::int64_t at = integer(key);
  const std::string name = std::to_string(at);
  if (object.json->is_array()) {
    const auto size = static_cast<std::int64_t>(object.json->size());
    if (at < 0) at += size;
    if (at < 0 || at >= size) return Value::undefined(name);
    return {std::shared_ptr<const Json>(object.json, &(*object.json)[static_cast<std::size_t>(at)]),
            nullptr};
  }
  if (object.json->is_string()) {
    const auto letters = decode_utf8(object.json->get_ref<const std::string&>());
    const auto size = static_cast<std::int64_t>(letters.size());
    if (at < 0) at += size;
    if (at < 0 || at >= size) return Value::undefined(name);
    std::string text;
    append_utf8(text, letters[static_cast<std::size_t>(at)]);
    return Value::of(std::move(text));
  }
  return Value::undefined(name);
}

Value slice(const Value& object, const Value& start, const Value& stop, const Value& step,
            Budget& budget, int line) {
  const bool text = object.is_string();
  if (object.json == nullptr || (!text && !object.json->is_array()))
    fail(line, fmt::format("cannot cut {} into pieces", kind_of(object)));
  const auto bound = [&](const Value& value, std::int64_t otherwise) {
    if (value.json != nullptr && value.json->is_null()) return otherwise;
    if (!is_integer(value)) fail(line, fmt::format("{} as an index", kind_of(value)));
    return integer(value);
  };
  std::vector<std::uint32_t> letters;
  if (text) letters = decode_utf8(object.json->get_ref<const std::string&>());
  const auto size = static_cast<std::int64_t>(text ? letters.size() : object.json->size());
  budget.spend(static_cast<std::uint64_t>(size), line);
  const std::int64_t by = bound(step, 1);
  if (by == 0 || by > size + 1 || by < -size - 1) {
    if (by == 0) fail(line, "a slice with step 0");
  }
  // As Python: negative indices count from the end, all are cut to the range.
  const std::int64_t low = by > 0 ? 0 : -1, high = by > 0 ? size : size - 1;
  const auto cut = [&](const Value& value, std::int64_t otherwise) {
    if (value.json != nullptr && value.json->is_null()) return otherwise;
    std::int64_t at = bound(value, 0);
    if (at < 0) at = at < -size ? low : at + size;
    return std::clamp(at, low, high);
  };
  const std::int64_t first = cut(start, by > 0 ? low : high), last = cut(stop, by > 0 ? high : low);
  std::string out;
  Json list = Json::array();
  for (std::int64_t at = first; by > 0 ? at < last : at > last;) {
    if (text) {
      append_utf8(out, letters[static_cast<std::size_t>(at)]);
    } else {
      list.push_back((*object.json)[static_cast<std::size_t>(at)]);
    }
    if (by > 0 ? by >= last - at : by <= last - at) break;
    at += by;
  }
  if (!text) budget.spend(cost_of(list), line);
  return text ? Value::of(std::move(out)) : Value::of(std::move(list));
}

}  // namespace npu::llm::jinja
