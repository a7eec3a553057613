// SPDX-License-Identifier: MIT
#include "preload/settings.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <cstring>

#include "regdb/error.hpp"

namespace npu::preload {
namespace {

void say(const std::string& message) {
  const std::string line = "librocket-sim: " + message + "\n";
  // One write, so that lines of several processes do not mix.
  if (write(STDERR_FILENO, line.data(), line.size()) < 0) return;
}

[[noreturn]] void refuse(const char* name, const char* value, std::string_view want) {
  say(fmt::format("{}=\"{}\": {}", name, value, want));
  _exit(2);
}

unsigned long number(const char* name, unsigned long fallback, unsigned long low,
                     unsigned long high) {
  const char* text = std::getenv(name);
  if (text == nullptr || *text == 0) return fallback;
  unsigned long value = 0;
  const char* last = text + std::strlen(text);
  const auto [end, error] = std::from_chars(text, last, value);
  if (error != std::errc() || end != last || value < low || value > high)
    refuse(name, text, fmt::format("a number from {} to {} is expected", low, high));
  return value;
}

Settings read_settings() {
  Settings s;
  s.cores = static_cast<unsigned>(number("NPU_SIM_CORES", 3, 1, 3));
  s.hang_time = std::chrono::milliseconds(number("NPU_SIM_JOB_TIMEOUT_MS", 500, 0, 3'600'000));
  s.quiet = number("NPU_SIM_QUIET", 0, 0, 1) != 0;
  if (const char* text = std::getenv("NPU_SIM_DRIVER"); text != nullptr && *text != 0) {
    const std::string_view driver = text;
    if (driver != "rocket" && driver != "rknpu" && driver != "both")
      refuse("NPU_SIM_DRIVER", text, "rocket, rknpu or both is expected");
    s.rocket = driver != "rknpu";
    s.rknpu = driver != "rocket";
  }
  if (const char* faults = std::getenv("NPU_SIM_INJECT"); faults != nullptr && *faults != 0) {
    try {
      s.injections = sim::parse_injections(faults);
    } catch (const Error& error) {
      refuse("NPU_SIM_INJECT", faults, error.what());
    }
  }
  return s;
}

}  // namespace

sim::ChipOptions Settings::chip_options() const {
  sim::ChipOptions options;
  options.cores = cores;
  options.injections = injections;
  return options;
}

const Settings& settings() {
  static const Settings* const s = new Settings(read_settings());
  return *s;
}

void log(const std::string& message) {
  if (!settings().quiet) say(message);
}

}  // namespace npu::preload
