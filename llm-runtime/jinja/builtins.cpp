// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ctime>

#include "llm-runtime/gguf_parse.hpp"
#include "llm-runtime/jinja/value.hpp"
#include "llm-runtime/pretokenize.hpp"
#include "regdb/error.hpp"

namespace npu::llm::jinja {
namespace {

constexpr std::string_view kSpaces = " \t\n\r\f\v";

const std::string& string_of(const Value& value, std::string_view what, int line) {
  if (!value.is_string())
    fail(line, fmt::format("'{}' wants a string, not {}", what, kind_of(value)));
  return value.json->get_ref<const std::string&>();
}

std::string stripped(std::string_view text, std::string_view characters, bool left, bool right) {
  if (left) text.remove_prefix(std::min(text.find_first_not_of(characters), text.size()));
  if (right) text = text.substr(0, text.find_last_not_of(characters) + 1);
  return std::string(text);
}

/// ASCII only: a template changes the case of role names, not of prose.
std::string cased(std::string text, bool upper) {
  for (char& c : text) {
    if (upper ? c >= 'a' && c <= 'z' : c >= 'A' && c <= 'Z') c = static_cast<char>(c ^ 0x20);
  }
  return text;
}

std::string capitalised(const std::string& text, bool each_word) {
  std::string out = cased(text, false);
  bool begins = true;
  for (char& c : out) {
    const bool letter = (c >= 'a' && c <= 'z');
    if (begins && letter) c = static_cast<char>(c ^ 0x20);
    begins = each_word && !letter;
  }
  return out;
}

std::string replaced(const std::string& text, const std::string& old_text,
                     const std::string& new_text, Budget& budget, int line) {
  std::string out;
  std::size_t at = 0;
  if (old_text.empty()) fail(line, "'replace' of an empty string is not supported");
  for (;;) {
    const std::size_t found = text.find(old_text, at);
    out.append(text, at, found == text.npos ? text.npos : found - at);
    if (found == text.npos) break;
    out += new_text;
    budget.spend(new_text.size() / 16 + 1, line);
    at = found + old_text.size();
  }
  return out;
}

Json split(const std::string& text, const Value* separator, const Value* limit, int line) {
  Json parts = Json::array();
  const std::int64_t most = limit != nullptr && limit->json && limit->json->is_number_integer()
                                ? limit->json->get<std::int64_t>()
                                : -1;
  if (separator == nullptr || (separator->json != nullptr && separator->json->is_null())) {
    for (std::size_t at = text.find_first_not_of(kSpaces); at != text.npos;) {
      const std::size_t end = std::min(text.find_first_of(kSpaces, at), text.size());
      parts.push_back(text.substr(at, end - at));
      at = text.find_first_not_of(kSpaces, end);
    }
    return parts;
  }
  const std::string& mark = string_of(*separator, "split", line);
  if (mark.empty()) fail(line, "'split' at an empty string");
  std::size_t at = 0;
  while (most < 0 || static_cast<std::int64_t>(parts.size()) < most) {
    const std::size_t found = text.find(mark, at);
    if (found == text.npos) break;
    parts.push_back(text.substr(at, found - at));
    at = found + mark.size();
  }
  parts.push_back(text.substr(at));
  return parts;
}

std::string joined(const Value& list, const std::string& separator, int line) {
  if (list.json == nullptr || !list.json->is_array())
    fail(line, fmt::format("'join' wants a list, not {}", kind_of(list)));
  std::string out;
  bool first = true;
  for (const Json& element : *list.json) {
    if (!std::exchange(first, false)) out += separator;
    out += text_of({std::shared_ptr<const Json>(list.json, &element), nullptr}, line);
  }
  return out;
}

std::int64_t length(const Value& value, int line) {
  if (value.json == nullptr || value.json->is_number() || value.json->is_boolean() ||
      value.json->is_null())
    fail(line, fmt::format("{} has no length", kind_of(value)));
  if (value.is_string())
    return static_cast<std::int64_t>(decode_utf8(value.json->get_ref<const std::string&>()).size());
  return static_cast<std::int64_t>(value.json->size());
}

Json items(const Json& object) {
  Json list = Json::array();
  for (const auto& [key, member] : object.items()) list.push_back(Json::array({key, member}));
  return list;
}

/// selectattr, rejectattr, select, reject.
Value selected(const std::string& name, const Value& input, const Arguments& arguments,
               Budget& budget, int line) {
  const bool by_attribute = name.ends_with("attr"), keep = name.starts_with("select");
  if (input.json == nullptr || !input.json->is_array())
    fail(line, fmt::format("'{}' wants a list, not {}", name, kind_of(input)));
  Arguments rest;
  std::size_t next = 0;
  std::string key, test;
  const auto word = [&] { return string_of(arguments.positional[next++], name, line); };
  if (by_attribute) {
    if (arguments.positional.empty()) fail(line, fmt::format("'{}' wants an attribute", name));
    key = word();
  }
  if (next < arguments.positional.size()) test = word();
  rest.positional.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(next),
                         arguments.positional.end());
  Json list = Json::array();
  for (const Json& element : *input.json) {
    budget.spend(1, line);
    Value value{std::shared_ptr<const Json>(input.json, &element), nullptr};
    if (by_attribute) value = attribute(value, key, line);
    const bool holds = test.empty() ? truth(value) : apply_test(test, value, rest, line);
    if (holds == keep) list.push_back(element);
  }
  budget.spend(cost_of(list), line);
  return Value::of(std::move(list));
}

Value mapped(const Value& input, const Arguments& arguments, Budget& budget, int line) {
  if (input.json == nullptr || !input.json->is_array())
    fail(line, fmt::format("'map' wants a list, not {}", kind_of(input)));
  Json list = Json::array();
  const Value* key = arguments.get(9, "attribute");
  for (const Json& element : *input.json) {
    budget.spend(1, line);
    const Value value{std::shared_ptr<const Json>(input.json, &element), nullptr};
    Value result;
    if (key != nullptr) {
      result = attribute(value, string_of(*key, "map", line), line);
    } else {
      if (arguments.positional.empty()) fail(line, "'map' wants a filter or attribute=");
      Arguments rest;
      rest.positional.assign(arguments.positional.begin() + 1, arguments.positional.end());
      result =
          apply_filter(string_of(arguments.positional[0], "map", line), value, rest, budget, line);
    }
    list.push_back(result.json == nullptr ? Json() : *result.json);
  }
  budget.spend(cost_of(list), line);
  return Value::of(std::move(list));
}

Value element_at(const Value& input, std::int64_t at, int line) {
  return item(input, Value::of(at), line);
}

}  // namespace

Value apply_filter(const std::string& name, const Value& input, const Arguments& arguments,
                   Budget& budget, int line) {
  if (name == "default" || name == "d") {
    const Value* fallback = arguments.get(0, "default_value");
    const Value* boolean = arguments.get(1, "boolean");
    const bool missing =
        input.is_undefined() || (boolean != nullptr && truth(*boolean) && !truth(input));
    if (!missing) return input;
    return fallback == nullptr ? Value::of("") : *fallback;
  }
  if (name == "selectattr" || name == "rejectattr" || name == "select" || name == "reject")
    return selected(name, input, arguments, budget, line);
  if (name == "map") return mapped(input, arguments, budget, line);
  if (name == "string") return Value::of(text_of(input, line));
  if (name == "safe" || name == "list") {
    if (name == "list" && input.is_string()) fail(line, "'list' of a string is not supported");
    return input;
  }
  if (input.is_undefined() && name != "trim" && name != "length" && name != "count")
    fail(line, fmt::format("the filter '{}' of {}", shown(name), kind_of(input)));

  if (name == "length" || name == "count")
    return Value::of(input.is_undefined() ? 0 : length(input, line));
  if (name == "tojson") {
    if (input.json == nullptr) fail(line, "'tojson' of a namespace");
    const Value* indent = arguments.get(0, "indent");
    int spaces = 0;
    if (indent != nullptr && indent->json != nullptr && indent->json->is_number_integer())
      spaces = static_cast<int>(std::clamp<std::int64_t>(indent->json->get<std::int64_t>(), 0, 16));
    std::string text = to_json_text(*input.json, spaces);
    budget.spend(text.size() / 16, line);
    return Value::of(std::move(text));
  }
  if (name == "join") {
    const Value* separator = arguments.get(0, "d");
    std::string text =
        joined(input, separator == nullptr ? "" : string_of(*separator, name, line), line);
    budget.spend(text.size() / 16, line);
    return Value::of(std::move(text));
  }
  if (name == "first" || name == "last") return element_at(input, name == "first" ? 0 : -1, line);
  if (name == "reverse") {
    return slice(input, Value::of(nullptr), Value::of(nullptr), Value::of(-1), budget, line);
  }
  if (name == "items" || name == "dictsort") {
    if (name == "dictsort" || input.json == nullptr || !input.json->is_object())
      fail(line, fmt::format("the filter '{}' of {} is not supported", name, kind_of(input)));
    budget.spend(cost_of(*input.json), line);
    return Value::of(items(*input.json));
  }
  if (name == "int") {
    if (input.json != nullptr && input.json->is_number()) {
      const double number = input.json->get<double>();
      if (!(std::fabs(number) < 9e15)) fail(line, "an integer grows too large");
      return Value::of(static_cast<std::int64_t>(number));
    }
    return Value::of(std::strtoll(string_of(input, name, line).c_str(), nullptr, 10));
  }
  static constexpr std::string_view kOfStrings[] = {"trim",  "upper",      "lower",
                                                    "title", "capitalize", "replace"};
  if (std::find(std::begin(kOfStrings), std::end(kOfStrings), name) != std::end(kOfStrings)) {
    // A filter makes a string of what it gets; the method of the same name does the work.
    return call_method(Value::of(text_of(input, line)), name == "trim" ? "strip" : name, arguments,
                       budget, line);
  }
  fail(line, fmt::format("the filter '{}' is not supported", shown(name)));
}

bool apply_test(const std::string& name, const Value& input, const Arguments& arguments, int line) {
  const Json* json = input.json.get();
  if (name == "defined") return !input.is_undefined();
  if (name == "undefined") return input.is_undefined();
  if (name == "none") return json != nullptr && json->is_null();
  if (name == "string") return input.is_string();
  if (name == "boolean") return json != nullptr && json->is_boolean();
  if (name == "true") return json != nullptr && json->is_boolean() && json->get<bool>();
  if (name == "false") return json != nullptr && json->is_boolean() && !json->get<bool>();
  if (name == "integer") return json != nullptr && json->is_number_integer();
  if (name == "float") return json != nullptr && json->is_number_float();
  if (name == "number") return json != nullptr && json->is_number();
  if (name == "mapping") return json != nullptr && json->is_object();
  if (name == "sequence" || name == "iterable")
    return json != nullptr && (json->is_array() || json->is_object() || json->is_string());
  if (name == "odd" || name == "even" || name == "divisibleby") {
    const Value divisor = name != "divisibleby"          ? Value::of(2)
                          : arguments.positional.empty() ? Value::undefined("its argument")
                                                         : arguments.positional[0];
    Budget budget;
    const bool divides = !truth(binary("%", input, divisor, budget, line));
    return name == "odd" ? !divides : divides;
  }
  static constexpr std::pair<std::string_view, const char*> kComparisons[] = {
      {"equalto", "=="}, {"eq", "=="}, {"ne", "!="}, {"lt", "<"},  {"lessthan", "<"},
      {"le", "<="},      {"gt", ">"},  {"ge", ">="}, {"in", "in"}, {"greaterthan", ">"}};
  for (const auto& [test, op] : kComparisons) {
    if (name != test) continue;
    if (arguments.positional.empty()) fail(line, fmt::format("'is {}' wants an argument", name));
    Budget budget;
    return truth(binary(op, input, arguments.positional[0], budget, line));
  }
  fail(line, fmt::format("the test 'is {}' is not supported", shown(name)));
}

Value call_method(const Value& object, const std::string& name, const Arguments& arguments,
                  Budget& budget, int line) {
  const auto argument = [&](std::size_t position) -> const std::string& {
    const Value* value = arguments.get(position, "");
    if (value == nullptr) fail(line, fmt::format("'{}' wants another argument", shown(name)));
    return string_of(*value, name, line);
  };
  if (object.is_string()) {
    const auto& text = object.json->get_ref<const std::string&>();
    budget.spend(text.size() / 16, line);
    if (name == "strip" || name == "lstrip" || name == "rstrip") {
      const bool given = !arguments.positional.empty();
      return Value::of(stripped(text, given ? std::string_view(argument(0)) : kSpaces,
                                name != "rstrip", name != "lstrip"));
    }
    if (name == "upper" || name == "lower") return Value::of(cased(text, name == "upper"));
    if (name == "title" || name == "capitalize")
      return Value::of(capitalised(text, name == "title"));
    if (name == "startswith") return Value::of(text.starts_with(argument(0)));
    if (name == "endswith") return Value::of(text.ends_with(argument(0)));
    if (name == "replace") return Value::of(replaced(text, argument(0), argument(1), budget, line));
    if (name == "split") {
      Json parts = split(text, arguments.get(0, "sep"), arguments.get(1, "maxsplit"), line);
      budget.spend(parts.size() + text.size() / 16, line);
      return Value::of(std::move(parts));
    }
    if (name == "join")
      return Value::of(
          joined(arguments.positional.empty() ? Value() : arguments.positional[0], text, line));
  }
  if (object.json != nullptr && object.json->is_object()) {
    if (name == "get") {
      const Value found = attribute(object, argument(0), line);
      if (!found.is_undefined()) return found;
      const Value* fallback = arguments.get(1, "default");
      return fallback == nullptr ? Value::of(nullptr) : *fallback;
    }
    if (name == "items" || name == "keys" || name == "values") {
      budget.spend(cost_of(*object.json), line);
      Json list = items(*object.json);
      if (name == "items") return Value::of(std::move(list));
      Json part = Json::array();
      for (Json& pair : list) part.push_back(std::move(pair[name == "keys" ? 0 : 1]));
      return Value::of(std::move(part));
    }
  }
  fail(line, fmt::format("{} has no method '{}' here", kind_of(object), shown(name)));
}

Value call_function(const std::string& name, const Arguments& arguments, Budget& budget, int line) {
  if (name == "raise_exception") {
    const std::string message =
        arguments.positional.empty() ? "" : text_of(arguments.positional[0], line);
    throw Error(ErrorCode::invalid_argument,
                "the chat template refuses these messages: " + shown(message));
  }
  if (name == "namespace" || name == "dict") {
    if (!arguments.positional.empty())
      fail(line, fmt::format("'{}' of another one is not supported", name));
    if (name == "dict") {
      Json object = Json::object();
      for (const auto& [key, value] : arguments.named) {
        if (value.json != nullptr && nested_deeper(*value.json, kDeepestValue))
          fail(line, "a value is nested too deep");
        object[key] = value.json == nullptr ? Json() : *value.json;
      }
      budget.spend(cost_of(object), line);
      return Value::of(std::move(object));
    }
    Value space{nullptr, std::make_shared<std::map<std::string, Value>>()};
    for (const auto& [key, value] : arguments.named) {
      // A namespace inside of another could hold itself and never be freed.
      if (value.space != nullptr) fail(line, "a namespace inside of another is not supported");
      space.space->insert_or_assign(key, value);
    }
    return space;
  }
  if (name == "range") {
    std::vector<std::int64_t> bounds;
    for (const Value& value : arguments.positional) {
      if (value.json == nullptr || !value.json->is_number_integer())
        fail(line, fmt::format("'range' wants integers, not {}", kind_of(value)));
      bounds.push_back(
          std::clamp<std::int64_t>(value.json->get<std::int64_t>(), -1'000'000'000, 1'000'000'000));
    }
    if (bounds.empty() || bounds.size() > 3) fail(line, "'range' wants one to three integers");
    const std::int64_t first = bounds.size() > 1 ? bounds[0] : 0;
    const std::int64_t last = bounds.size() > 1 ? bounds[1] : bounds[0];
    const std::int64_t by = bounds.size() > 2 ? bounds[2] : 1;
    if (by == 0) fail(line, "'range' with step 0");
    Json list = Json::array();
    for (std::int64_t i = first; by > 0 ? i < last : i > last; i += by) {
      budget.spend(1, line);
      list.push_back(i);
    }
    return Value::of(std::move(list));
  }
  if (name == "strftime_now") {
    const std::string format =
        arguments.positional.empty() ? "" : string_of(arguments.positional[0], name, line);
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    ::localtime_r(&now, &local);
    char text[256];
    const std::size_t size = std::strftime(text, sizeof text, format.c_str(), &local);
    return Value::of(std::string(text, size));
  }
  fail(line, fmt::format("the function '{}' is not supported", shown(name)));
}

}  // namespace npu::llm::jinja
