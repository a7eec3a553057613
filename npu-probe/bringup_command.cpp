// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "npu-device/command_line.hpp"
#include "npu-probe/bringup.hpp"
#include "npu-probe/probe.hpp"

namespace npu::probe {
namespace {

using nlohmann::json;

const char* name(RungState state) {
  switch (state) {
    case RungState::pass: return "PASS";
    case RungState::fail: return "FAIL";
    case RungState::skip: return "SKIP";
  }
  return "?";
}

void print(std::ostream& out, const RungResult& r, bool colour) {
  const char* on = !colour                      ? ""
                   : r.state == RungState::pass ? "\x1b[32m"
                   : r.state == RungState::fail ? "\x1b[31m"
                                                : "\x1b[33m";
  fmt::print(out, "{}{}{}  {:<24} {:>9.2f} ms  {}\n", on, name(r.state), colour ? "\x1b[0m" : "",
             r.name, r.milliseconds, r.detail);
  if (!r.remedy.empty()) fmt::print(out, "      -> {}\n", r.remedy);
  out.flush();
}

void run_bringup(const BringupOptions& options, bool as_json, Io& io) {
  const bool colour = io.colour("auto");
  const BringupReport report = bringup(options, [&](const RungResult& r) {
    if (!as_json) print(io.out, r, colour);
  });
  if (as_json) {
    json rungs = json::array();
    for (const RungResult& r : report.rungs)
      rungs.push_back({{"name", r.name},
                       {"state", name(r.state)},
                       {"detail", r.detail},
                       {"remedy", r.remedy},
                       {"time_ms", r.milliseconds}});
    const json out = {{"device", report.device},
                      {"times", report.provenance},
                      {"passed", report.passed()},
                      {"rungs", std::move(rungs)}};
    io.out << out.dump(2, ' ', false, json::error_handler_t::replace) << '\n';
  } else {
    fmt::print(io.out, "{}{}\n", report.passed() ? "bring-up passed" : "bring-up FAILED",
               report.opened ? fmt::format(" on {} (times: {})", report.device, report.provenance)
                             : std::string());
  }
  io.status = !report.opened ? report.open_exit_code : report.passed() ? 0 : 1;
}

}  // namespace

void add_bringup(cli::App& app, Io& io) {
  const auto options = std::make_shared<BringupOptions>();
  const auto as_json = std::make_shared<bool>(false);
  cli::App* sub =
      app.add_subcommand("bringup", "Climb from opening the device to three computing cores");
  sub->add_option("--device", options->device, "sim, rocket[:PATH], mmio[:ITEM,...]");
  sub->add_flag("--allow-faults", options->allow_faults,
                "provoke a fault on a real NPU too (the simulated one always gets it)");
  sub->add_flag("--json", *as_json, "print JSON only");
  sub->footer(
      "Exit 0 if no rung failed, 1 if one did, 3 if the device cannot be opened.\n"
      "Example: npu-probe bringup --device rocket");
  sub->callback([options, as_json, &io] { run_bringup(*options, *as_json, io); });
}

}  // namespace npu::probe
