// SPDX-License-Identifier: MIT
// What a Jinja expression yields, and the built-in filters, tests and methods.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "llm-runtime/jinja/ast.hpp"

namespace npu::llm::jinja {

/// JSON data that is shared and never changed, or a namespace, whose attributes may be set, or
/// neither: undefined.
struct Value {
  std::shared_ptr<const Json> json;
  std::shared_ptr<std::map<std::string, Value>> space;
  std::string unknown = {};  ///< undefined only: what the expression was, for the error

  static Value of(Json json) { return {std::make_shared<const Json>(std::move(json)), nullptr}; }
  static Value undefined(std::string what) { return {nullptr, nullptr, std::move(what)}; }
  bool is_undefined() const { return json == nullptr && space == nullptr; }
  bool is_string() const { return json != nullptr && json->is_string(); }
};

/// What a template may still use: every evaluated node costs a step, every byte or element that is
/// made costs more. Ends loops and growth that no real template has.
struct Budget {
  std::uint64_t left = 5'000'000;

  /// Throws Error(bad_file) that names the line.
  void spend(std::uint64_t steps, int line);
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  /// By position or name; nullptr if it is not given.
  const Value* get(std::size_t position, std::string_view name) const;
};

/// Values are copied and printed recursively; none may nest deeper than this.
constexpr int kDeepestValue = 100;
bool nested_deeper(const Json& value, int levels);
/// Steps for a copy: one for each part, and for every sixteen bytes of text.
std::uint64_t cost_of(const Json& value);

bool truth(const Value& value);
/// As {{ }} prints it: like Python's str().
std::string text_of(const Value& value, int line);
/// JSON as json.dumps(ensure_ascii=False) writes it; `indent` of 0 is one line.
std::string to_json_text(const Json& value, int indent);
/// "a string", "a list", ...; "undefined 'x'".
std::string kind_of(const Value& value);

Value binary(const std::string& op, const Value& left, const Value& right, Budget& budget,
             int line);
Value apply_filter(const std::string& name, const Value& input, const Arguments& arguments,
                   Budget& budget, int line);
bool apply_test(const std::string& name, const Value& input, const Arguments& arguments, int line);
/// object.name(...) of a string, list or mapping.
Value call_method(const Value& object, const std::string& name, const Arguments& arguments,
                  Budget& budget, int line);
/// name(...): range, namespace, dict, raise_exception, strftime_now.
Value call_function(const std::string& name, const Arguments& arguments, Budget& budget, int line);

/// object.name or object[key]: undefined if there is none. Throws for undefined objects.
Value attribute(const Value& object, const std::string& name, int line);
Value item(const Value& object, const Value& key, int line);
Value slice(const Value& object, const Value& start, const Value& stop, const Value& step,
            Budget& budget, int line);

}  // namespace npu::llm::jinja
