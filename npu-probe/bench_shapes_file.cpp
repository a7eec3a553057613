// SPDX-License-Identifier: MIT
// Files of shapes: strict JSON, every complaint with the path of the value.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "npu-probe/bench_shapes.hpp"
#include "npu-probe/files.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

using kernels::Conv2dShape;
using kernels::GemmShape;
using nlohmann::json;

constexpr std::size_t kMaxRows = 10'000;
constexpr std::uint64_t kMaxElements = std::uint64_t{1} << 30;

[[noreturn]] void refuse(std::string_view where, const std::string& path, const std::string& why) {
  throw Error(ErrorCode::bad_file,
              fmt::format("{}: {}{}{}", where, path, path.empty() ? "" : " ", why));
}

// The members of one object; what nobody asked for is an error.
class Members {
 public:
  Members(std::string_view where, std::string path, const json& object)
      : where_(where), path_(std::move(path)), object_(object) {
    if (!object.is_object()) refuse(where_, path_, "must be an object");
  }
  std::string path_of(const char* key) const { return path_ + "." + key; }

  const json* find(const char* key) {
    known_.insert(key);
    const auto it = object_.find(key);
    return it == object_.end() ? nullptr : &*it;
  }
  std::uint64_t integer(const json& value, const std::string& path, std::uint64_t low,
                        std::uint64_t high) const {
    const std::string range = fmt::format("must be an integer from {} to {}", low, high);
    if (!value.is_number_unsigned()) refuse(where_, path, range);
    const auto number = value.get<std::uint64_t>();
    if (number < low || number > high) refuse(where_, path, range);
    return number;
  }
  std::uint64_t integer(const char* key, std::uint64_t low, std::uint64_t high,
                        std::optional<std::uint64_t> otherwise = {}) {
    const json* value = find(key);
    if (value != nullptr) return integer(*value, path_of(key), low, high);
    if (!otherwise) refuse(where_, path_, fmt::format("has no \"{}\"", key));
    return *otherwise;
  }
  std::uint32_t u32(const char* key, std::uint32_t high, std::optional<std::uint64_t> other = {}) {
    return static_cast<std::uint32_t>(integer(key, 1, high, other));
  }
  // A number, or one for y and one for x.
  std::pair<std::uint32_t, std::uint32_t> pair(const char* key, std::uint32_t high) {
    const json* value = find(key);
    if (value == nullptr) return {1, 1};
    const auto one = [&](const json& v, const std::string& path) {
      return static_cast<std::uint32_t>(integer(v, path, 1, high));
    };
    if (!value->is_array()) return {one(*value, path_of(key)), one(*value, path_of(key))};
    if (value->size() != 2) refuse(where_, path_of(key), "must be a number or [y, x]");
    return {one((*value)[0], path_of(key) + "[0]"), one((*value)[1], path_of(key) + "[1]")};
  }
  std::string text(const char* key, const std::string& otherwise) {
    const json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_string()) refuse(where_, path_of(key), "must be a string");
    const auto& text = value->get_ref<const std::string&>();
    if (text.size() > 100) refuse(where_, path_of(key), "is longer than 100 bytes");
    if (std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == 127; }))
      refuse(where_, path_of(key), "has a control character");
    return text;
  }
  // A value by its name; the first if there is none.
  template <class T, std::size_t n>
  T one_of(const char* key, const std::array<T, n>& values) {
    const std::string name = text(key, std::string(kernels::to_string(values[0])));
    std::string known;
    for (const T value : values) {
      if (name == kernels::to_string(value)) return value;
      known += (known.empty() ? "" : ", ") + std::string(kernels::to_string(value));
    }
    refuse(where_, path_of(key), fmt::format("is \"{}\"; known are {}", name, known));
  }
  std::optional<kernels::GemmTypes> types(BenchOp op) {
    const std::string name = text("dtype", "");
    if (name.empty()) {
      if (find("dtype") != nullptr) refuse(where_, path_of("dtype"), "is empty");
      return std::nullopt;
    }
    std::string known;
    for (const kernels::GemmTypes& types : bench_types(op)) {
      if (name == types_text(types)) return types;
      known += (known.empty() ? "" : ", ") + types_text(types);
    }
    refuse(where_, path_of("dtype"),
           fmt::format("is \"{}\"; {} has {}", name, to_string(op), known));
  }
  void end() const {
    for (const auto& [key, value] : object_.items())
      if (known_.count(key) == 0) {
        std::string all;
        for (const std::string& name : known_) all += (all.empty() ? "" : ", ") + name;
        refuse(where_, path_, fmt::format("has an unknown member \"{}\"; known are {}", key, all));
      }
  }
  std::string_view where() const { return where_; }
  const std::string& path() const { return path_; }

 private:
  std::string_view where_;
  std::string path_;
  const json& object_;
  std::set<std::string> known_;
};

void padding(Members& m, Conv2dShape& s) {
  const json* value = m.find("pad");
  const std::string path = m.path_of("pad");
  if (value == nullptr) return;
  if (value->is_string() && value->get<std::string>() == "same") {
    pad_same(s);
    return;
  }
  const auto one = [&](const json& v, const std::string& at) {
    return static_cast<std::uint32_t>(m.integer(v, at, 0, 15));
  };
  if (value->is_number_unsigned()) {
    s.pad_top = s.pad_left = s.pad_bottom = s.pad_right = one(*value, path);
    return;
  }
  if (!value->is_array() || value->size() != 4)
    refuse(m.where(), path, "must be \"same\", a number or [top, left, bottom, right]");
  std::uint32_t* const sides[] = {&s.pad_top, &s.pad_left, &s.pad_bottom, &s.pad_right};
  for (std::size_t i = 0; i < 4; ++i) *sides[i] = one((*value)[i], fmt::format("{}[{}]", path, i));
}

Conv2dShape conv_shape(Members& m, bool depthwise) {
  Conv2dShape s;
  s.depthwise = depthwise;
  s.in_height = m.u32("height", 2047);
  s.in_width = m.u32("width", 2047);
  if (depthwise) {
    s.in_channels = s.out_channels = m.u32("channels", 65536);
  } else {
    s.in_channels = m.u32("in_channels", 65536);
    s.out_channels = m.u32("out_channels", 65536);
  }
  std::tie(s.kernel_height, s.kernel_width) = m.pair("kernel", 31);
  std::tie(s.stride_y, s.stride_x) = m.pair("stride", 7);
  std::tie(s.dilation_y, s.dilation_x) = m.pair("dilation", 32);
  padding(m, s);
  return s;
}

BenchPool pool_shape(Members& m) {
  Conv2dShape c;
  c.in_height = m.u32("height", 2047);
  c.in_width = m.u32("width", 2047);
  c.in_channels = m.u32("channels", 65536);
  std::tie(c.kernel_height, c.kernel_width) = m.pair("kernel", 2047);
  std::tie(c.stride_y, c.stride_x) = m.pair("stride", 2047);
  padding(m, c);
  BenchPool p{{.in_height = c.in_height,
               .in_width = c.in_width,
               .channels = c.in_channels,
               .kernel_height = c.kernel_height,
               .kernel_width = c.kernel_width,
               .stride_y = c.stride_y,
               .stride_x = c.stride_x,
               .pad_top = c.pad_top,
               .pad_left = c.pad_left,
               .pad_bottom = c.pad_bottom,
               .pad_right = c.pad_right}};
  using enum kernels::PoolMethod;
  p.method = m.one_of("method", std::array{max, min, average});
  using enum kernels::PoolPath;
  p.path = m.one_of("path", std::array{automatic, ppu, shifted, convolution, matrix});
  return p;
}

BenchCase parse_case(BenchOp op, Members& m) {
  BenchCase c;
  c.op = op;
  switch (op) {
    case BenchOp::gemm:
      c.shape = GemmShape{m.u32("m", 1u << 24), m.u32("n", 1u << 24), m.u32("k", 1u << 24)};
      break;
    case BenchOp::conv:
    case BenchOp::dw: c.shape = conv_shape(m, op == BenchOp::dw); break;
    case BenchOp::add: {
      BenchVector v{m.integer("n", 1, kMaxElements), m.text("function", "add")};
      const std::vector<std::string> all = bench_functions();
      if (std::find(all.begin(), all.end(), v.function) == all.end())
        refuse(m.where(), m.path_of("function"),
               fmt::format("is \"{}\"; known are {}", v.function, fmt::join(all, ", ")));
      c.shape = v;
      break;
    }
    case BenchOp::pool: c.shape = pool_shape(m); break;
    case BenchOp::copy: c.shape = BenchCopy{m.integer("n", 1, kMaxElements)}; break;
    case BenchOp::submit:
      c.shape = BenchSubmit{m.u32("tasks", 1024, 1), m.u32("jobs", 1024, 1)};
      break;
  }
  c.types = m.types(op);
  c.name = m.text("name", "");
  m.end();
  return c;
}

// nlohmann keeps the last of two members of one name; a shape would vanish without a word.
json parse_unique(std::string_view text, std::string_view where) {
  std::vector<std::set<std::string>> open;
  const auto watch = [&](int, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::object_start) {
      open.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      open.pop_back();
    } else if (event == json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!open.back().insert(key).second)
        refuse(where, "", fmt::format("has \"{}\" twice in one object", key));
    }
    return true;
  };
  try {
    return json::parse(text, watch);
  } catch (const json::exception& error) {
    refuse(where, "", fmt::format("is no JSON: {}", error.what()));
  }
}

}  // namespace

std::vector<BenchCase> parse_bench_shapes(std::string_view text, std::string_view where) {
  const json root = parse_unique(text, where);
  std::string known;
  for (const BenchOp op : kBenchOps)
    known += (known.empty() ? "" : ", ") + std::string(to_string(op));
  if (!root.is_object())
    refuse(where, "", "must be an object with lists of shapes by operator: " + known);
  std::vector<BenchCase> all;
  for (const auto& [key, list] : root.items()) {
    const auto op = bench_op(key);
    if (!op) refuse(where, "", fmt::format("has no operator \"{}\"; known are {}", key, known));
    if (!list.is_array()) refuse(where, key, "must be a list of shapes");
    for (std::size_t i = 0; i < list.size(); ++i) {
      Members members(where, fmt::format("{}[{}]", key, i), list[i]);
      all.push_back(parse_case(*op, members));
      if (all.size() > kMaxRows)
        refuse(where, "", fmt::format("has more than {} shapes", kMaxRows));
    }
  }
  if (all.empty()) refuse(where, "", "has no shapes");
  // JSON objects have no order; the tool's own is kept.
  std::stable_sort(all.begin(), all.end(),
                   [](const BenchCase& a, const BenchCase& b) { return a.op < b.op; });
  return all;
}

std::vector<BenchCase> named_shapes(const std::string& name) {
  constexpr std::size_t kMaxBytes = std::size_t{4} << 20;
  // A file may be called like a set: "./qwen2.5-1.5b" then.
  const bool path = name.find('/') != std::string::npos || name.ends_with(".json");
  if (!path)
    if (auto set = bench_set(name)) return *std::move(set);
  if (!std::filesystem::exists(name))
    throw Error(ErrorCode::bad_file,
                fmt::format("{}: there is no such file, and no set of that name; sets are default, "
                            "language models (qwen2.5-0.5b, qwen2.5-1.5b, ...) and networks "
                            "(mobilenet_v1, ...)",
                            name));
  const std::vector<std::byte> bytes = read_file(name, kMaxBytes);
  return parse_bench_shapes({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, name);
}

}  // namespace npu::probe
