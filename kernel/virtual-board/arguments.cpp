// SPDX-License-Identifier: MIT
#include "kernel/virtual-board/arguments.hpp"

#include <algorithm>
#include <charconv>
#include <string_view>

namespace npu::vboard {
namespace {

constexpr std::int64_t kMillisecond = 1'000'000;
constexpr std::int64_t kHoldAfter = 100 * kMillisecond;
constexpr std::uint64_t kMaxMilliseconds = 3'600'000, kMaxThreads = 1024, kMaxHz = 10'000'000'000;

bool number(std::string_view text, std::uint64_t max, std::uint64_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && out <= max;
}

}  // namespace

std::string as_npusim_has_it(std::string faults) {
  std::replace(faults.begin(), faults.end(), '+', ',');
  return faults;
}

bool parse_arguments(int count, char** values, Arguments& out, std::string& error) {
  out = {};
  bool hold_given = false;
  for (int i = 0; i < count; ++i) {
    const std::string_view argument = values[i];
    const auto equals = argument.find('=');
    const std::string_view key = argument.substr(0, equals);
    const std::string_view value =
        equals == std::string_view::npos ? std::string_view() : argument.substr(equals + 1);
    std::uint64_t n = 0;
    if (key == "inject") {
      out.inject = as_npusim_has_it(std::string(value));
    } else if (key == "trace" && !value.empty()) {
      out.trace = value;
    } else if (key == "npu-hz" && number(value, kMaxHz, n)) {
      out.npu_hz = n;
    } else if (key == "threads" && number(value, kMaxThreads, n)) {
      out.threads = static_cast<unsigned>(n);
    } else if (key == "hold-after" && value == "never") {
      hold_given = true;
      out.hold_after_ns.reset();
    } else if (key == "hold-after" && number(value, kMaxMilliseconds, n)) {
      hold_given = true;
      out.hold_after_ns = static_cast<std::int64_t>(n) * kMillisecond;
    } else {
      error = "\"" + std::string(argument) +
              "\" is no argument: use inject=FAULT[+FAULT...], npu-hz=HZ, trace=FILE, threads=N, "
              "hold-after=MS or hold-after=never";
      return false;
    }
  }
  // With the timing model the guest's clock shows modelled time only.
  if (!hold_given) out.hold_after_ns = out.npu_hz != 0 ? 0 : kHoldAfter;
  return true;
}

}  // namespace npu::vboard
