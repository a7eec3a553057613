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

// The variable's value, or null if it is to be the default.
const char* value_of(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == 0 ? nullptr : text;
}

void refuse(const char* name, const char* value, std::string_view want) {
  const char* strict = value_of("NPU_SIM_STRICT");
  const bool ends = strict != nullptr && std::strcmp(strict, "1") == 0;
  say(fmt::format("{}=\"{}\": {}{}", name, value, want, ends ? "" : "; the default holds"));
  if (ends) _exit(2);
}

unsigned long number(const char* name, unsigned long fallback, unsigned long low,
                     unsigned long high) {
  const char* text = value_of(name);
  if (text == nullptr) return fallback;
  unsigned long value = 0;
  const char* last = text + std::strlen(text);
  const auto [end, error] = std::from_chars(text, last, value);
  if (error != std::errc() || end != last || value < low || value > high)
    return refuse(name, text, fmt::format("a number from {} to {} is expected", low, high)),
           fallback;
  return value;
}

Settings read_settings() {
  Settings s;
  s.cores = static_cast<unsigned>(number("NPU_SIM_CORES", 3, 1, 3));
  s.hang_time = std::chrono::milliseconds(number("NPU_SIM_JOB_TIMEOUT_MS", 500, 0, 3'600'000));
  s.quiet = number("NPU_SIM_QUIET", 0, 0, 1) != 0;
  if (const char* text = value_of("NPU_SIM_DRIVER")) {
    const std::string_view driver = text;
    if (driver != "rocket" && driver != "rknpu" && driver != "both") {
      refuse("NPU_SIM_DRIVER", text, "rocket, rknpu or both is expected");
    } else {
      s.rocket = driver != "rknpu";
      s.rknpu = driver != "rocket";
    }
  }
  s.explain = number("NPU_SIM_EXPLAIN", 0, 0, 1) != 0;
  s.clock_mhz = static_cast<double>(number("NPU_SIM_CLOCK_MHZ", 600, 1, 4000));
  if (const char* text = value_of("NPU_SIM_TRACE")) s.trace = text;
  if (const char* faults = value_of("NPU_SIM_INJECT")) {
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

const sim::CalibrationFile& calibration() {
  static const auto* const c = [] {
    if (const char* text = value_of("NPU_SIM_CALIBRATION")) {
      try {
        return new sim::CalibrationFile(sim::load_calibration(text));
      } catch (const Error& error) {
        refuse("NPU_SIM_CALIBRATION", text, error.what());
      }
    }
    return new sim::CalibrationFile(sim::default_calibration());
  }();
  return *c;
}

void log(const std::string& message) {
  if (!settings().quiet) say(message);
}

}  // namespace npu::preload
