// SPDX-License-Identifier: MIT
#include "npu-probe/calibrate_report.hpp"

#include <fmt/format.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "regdb/error.hpp"

namespace npu::probe::calibrate {
namespace {

using nlohmann::json;

double job_us(const sim::Calibration& c, sim::InterruptCore interrupt) {
  switch (interrupt) {
    case sim::InterruptCore::little: return c.job_little_us;
    case sim::InterruptCore::big_floating: return c.job_big_floating_us;
    case sim::InterruptCore::big_other: return c.job_big_other_us;
    case sim::InterruptCore::big_same: return c.job_big_same_us;
  }
  return 0;
}

bool known(const Fit& fit, std::string_view name) {
  return std::ranges::any_of(fit.constants, [&](const FittedConstant& c) {
    return c.name == name && c.certainty == Certainty::fitted;
  });
}

std::string number(double value) {
  return std::abs(value) >= 1e6 ? fmt::format("{:.4g}", value) : fmt::format("{:.6g}", value);
}

}  // namespace

std::vector<Figure> figures(const Fit& fit, double hz, sim::InterruptCore interrupt) {
  const sim::Calibration& c = fit.values;
  const bool little = interrupt == sim::InterruptCore::little;
  std::vector<Figure> all;
  all.push_back({"submit, interrupt and wake-up of a job, IOMMU included",
                 job_us(c, interrupt) + c.iommu_us, "us"});
  if (known(fit, little ? "task_interrupt_little_us" : "task_interrupt_big_us"))
    all.push_back({"interrupt and restart between tasks",
                   little ? c.task_interrupt_little_us : c.task_interrupt_big_us, "us"});
  if (known(fit, "read_bytes_per_cycle")) {
    all.push_back({"reads of a core", c.read_bytes_per_cycle * hz * 1e-9, "GB/s"});
    all.push_back({"program words", c.read_bytes_per_cycle * hz / 8 * 1e-6, "M words/s"});
    all.push_back(
        {"CBUF refill, all 12 banks", 12 * 32768 / (c.read_bytes_per_cycle * hz) * 1e6, "us"});
  }
  if (known(fit, "write_bytes_per_cycle"))
    all.push_back({"writes of a core", c.write_bytes_per_cycle * hz * 1e-9, "GB/s"});
  if (known(fit, "dram_bytes_per_second"))
    all.push_back({"memory, all cores together", c.dram_bytes_per_second * 1e-9, "GB/s"});
  if (known(fit, "dpu_bytes_per_cycle"))
    all.push_back({"DPU", c.dpu_bytes_per_cycle * hz * 1e-9, "GB/s"});
  for (const auto& [name, value] : {std::pair{"mac_int4", c.mac_int4},
                                    {"mac_int8", c.mac_int8},
                                    {"mac_int16", c.mac_int16},
                                    {"mac_fp16", c.mac_fp16},
                                    {"mac_bf16", c.mac_bf16},
                                    {"mac_tf32", c.mac_tf32}})
    if (known(fit, name))
      all.push_back({fmt::format("array, {}", std::string_view(name).substr(4)), value * hz * 1e-9,
                     "GMAC/s"});
  return all;
}

ClockGuess guess_clock(const Fit& fit, double hz) {
  constexpr double kDocumented = 1024;  // int8 products per cycle and core [TRM chapter 36]
  ClockGuess guess;
  if (!known(fit, "mac_int8")) return guess;
  guess.hz = fit.values.mac_int8 * hz / kDocumented;
  for (const double mhz : {200.0, 600.0, 1000.0})
    if (std::abs(guess.hz * 1e-6 / mhz - 1) <= 0.05) guess.known_mhz = mhz;
  return guess;
}

void print_report(std::ostream& out, const Fit& fit, const ReportSetting& s) {
  fmt::print(out, "{} ({}), NPU at {:g} MHz ({}), times {}\n\n", s.info.path, s.info.backend,
             s.npu_hz * 1e-6, s.clock_source, device::to_string(s.info.time_base));
  if (s.samples) {
    fmt::print(out, "{:>10} {:>10} {:>7} {:>7}  job\n", "us", "fit, us", "ratio", "spread");
    for (const Residual& r : fit.residuals)
      fmt::print(out, "{:>10.2f} {:>10.2f} {:>7.3f} {:>6.1f}%  {}\n", r.sample->seconds * 1e6,
                 r.modelled * 1e6, r.modelled / r.sample->seconds, 100 * r.sample->spread,
                 r.sample->benchmark->name);
    fmt::print(out, "\n");
  }
  fmt::print(out, "{:<26} {:>10} {:>10} {:>8} {:>7} {:<14} \n", "constant", "default", "here", "+-",
             "samples", "unit");
  for (const FittedConstant& c : fit.constants) {
    const bool kept = c.certainty == Certainty::kept;
    fmt::print(out, "{:<26} {:>10} {:>10} {:>8} {:>7} {:<14}{}{}\n", c.name, number(c.initial),
               kept ? "default" : number(c.value),
               c.certainty == Certainty::fitted ? fmt::format("{:.1f}%", 100 * c.uncertainty) : "-",
               c.samples, c.unit, c.why.empty() ? "" : " ", c.why);
  }
  fmt::print(out, "\n");
  for (const Figure& f : figures(fit, s.npu_hz, s.interrupt))
    fmt::print(out, "{:>10.4g} {:<9} {}\n", f.value, f.unit, f.what);
  if (const ClockGuess guess = guess_clock(fit, s.npu_hz); guess.hz > 0)
    fmt::print(out, "{:>10.4g} MHz       clock, if the array does 1024 int8 products per cycle{}\n",
               guess.hz * 1e-6,
               guess.known_mhz == 0 ? ": no clock that is known of this chip"
               : std::abs(guess.known_mhz * 1e6 / s.npu_hz - 1) <= 0.05
                   ? ", as stated"
                   : fmt::format(": the clock may be {:g} MHz", guess.known_mhz));
  fmt::print(out, "\n{} jobs; error of the fit: median {:.2g} %, worst {:.2g} %\n",
             fit.residuals.size(), 100 * fit.median_error, 100 * fit.worst_error);
}

json report_json(const Fit& fit, const ReportSetting& s) {
  json out = {{"device", s.info.path},
              {"backend", s.info.backend},
              {"times", device::to_string(s.info.time_base)},
              {"clock", {{"mhz", s.npu_hz * 1e-6}, {"source", s.clock_source}}},
              {"constants", json::array()},
              {"figures", json::array()},
              {"samples", json::array()},
              {"error", {{"median", fit.median_error}, {"worst", fit.worst_error}}}};
  for (const FittedConstant& c : fit.constants) {
    json entry = {{"name", c.name},       {"unit", c.unit},
                  {"default", c.initial}, {"value", c.value},
                  {"samples", c.samples}, {"certainty", to_string(c.certainty)}};
    if (c.certainty == Certainty::fitted) entry["uncertainty"] = c.uncertainty;
    if (!c.why.empty()) entry["why"] = c.why;
    out["constants"].push_back(std::move(entry));
  }
  for (const Figure& f : figures(fit, s.npu_hz, s.interrupt))
    out["figures"].push_back({{"what", f.what}, {"value", f.value}, {"unit", f.unit}});
  for (const Residual& r : fit.residuals)
    out["samples"].push_back({{"job", r.sample->benchmark->name},
                              {"family", to_string(r.sample->benchmark->family)},
                              {"seconds", r.sample->seconds},
                              {"spread", r.sample->spread},
                              {"repetitions", r.sample->repetitions},
                              {"modelled", r.modelled}});
  if (const ClockGuess guess = guess_clock(fit, s.npu_hz); guess.hz > 0) {
    out["clock"]["by_mac_rate_mhz"] = guess.hz * 1e-6;
    if (guess.known_mhz > 0) out["clock"]["known_mhz"] = guess.known_mhz;
  }
  return out;
}

}  // namespace npu::probe::calibrate
