// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>

#include "npu-probe/probe.hpp"
#include "npu-probe/replay.hpp"
#include "npu-probe/simulation.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

struct Options {
  std::vector<std::string> dirs;
  std::string device;
  bool chained = false, as_json = false, quiet = false;
  SimulationOptions simulation;
};

// A case folder, or a folder of case folders.
std::vector<fs::path> expand(const std::vector<std::string>& dirs) {
  std::vector<fs::path> cases;
  for (const std::string& dir : dirs) {
    std::error_code error;
    std::vector<fs::path> inside;
    if (!fs::exists(fs::path(dir) / "case.json", error) && fs::is_directory(dir, error))
      for (const auto& entry : fs::directory_iterator(dir, error))
        if (fs::exists(entry.path() / "case.json", error)) inside.push_back(entry.path());
    std::sort(inside.begin(), inside.end());
    if (inside.empty()) inside.emplace_back(dir);
    cases.insert(cases.end(), inside.begin(), inside.end());
  }
  return cases;
}

std::string label(const fs::path& dir) {
  const fs::path clean = dir.lexically_normal();
  return clean.has_filename() ? clean.filename().string() : clean.parent_path().filename().string();
}

json to_json(const CaseResult& r) {
  json operators = json::array();
  for (const OperatorResult& op : r.operators)
    operators.push_back({{"op", op.op},
                         {"tensor", op.tensor},
                         {"what", op.what},
                         {"elements", op.elements},
                         {"equal_share", op.elements == 0 ? 0.0
                                                          : static_cast<double>(op.equal) /
                                                                static_cast<double>(op.elements)},
                         {"max_abs_diff", op.max_abs_diff},
                         {"executor_equal", op.executor_equal}});
  return {{"name", r.name},
          {"elements", r.elements()},
          {"equal_share", r.equal_share()},
          {"max_abs_diff", r.max_abs_diff()},
          {"executor_equal", r.executor_equal()},
          {"agrees_with_cpu", r.agrees_with_cpu},
          {"match", r.match()},
          {"operators", std::move(operators)}};
}

void print(std::ostream& out, const CaseResult& r, bool quiet) {
  const std::string verdict = fmt::format(
      "{}  {} operators, {} elements, equal {:.6f}, max diff {}{}", r.match() ? "MATCH" : "DIFFERS",
      r.operators.size(), r.elements(), r.equal_share(), r.max_abs_diff(),
      r.agrees_with_cpu ? "" : " (not expected to agree with the CPU)");
  if (quiet) {
    fmt::print(out, "{:<36} {}\n", r.name, verdict);
    return;
  }
  fmt::print(out, "{}\n", r.name);
  for (const OperatorResult& op : r.operators)
    fmt::print(out, "  op {:>3}  {:<32} {:>8} elements  equal {:.6f}  max diff {}  executor {}\n",
               op.op, op.what, op.elements,
               static_cast<double>(op.equal) /
                   static_cast<double>(std::max<std::uint64_t>(1, op.elements)),
               op.max_abs_diff, op.executor_equal ? "equal" : "differs");
  fmt::print(out, "  {}\n", verdict);
}

void replay(const Options& o, Io& io) {
  Simulation simulation(o.simulation);
  const std::unique_ptr<device::Device> device = simulation.open(o.device);
  const std::vector<fs::path> dirs = expand(o.dirs);
  json cases = json::array();
  std::size_t matched = 0;
  int worst = 0;
  // After each case: what the simulated device tells of it.
  const auto tell = [&](const fs::path& dir, json* object) {
    const sim::Timeline timeline = simulation.take();
    simulation.trace(timeline, label(dir));
    if (object != nullptr)
      simulation.report(timeline, *object);
    else
      simulation.report(timeline, io.out);
  };
  const auto failed = [&](const fs::path& dir, ErrorCode code, const std::string& message) {
    if (io.err_is_terminal) io.err << "\r\x1b[K" << std::flush;
    worst = std::max(worst, exit_code(code));
    if (o.as_json)
      cases.push_back({{"name", label(dir)},
                       {"match", false},
                       {"error", {{"code", std::string(to_string(code))}, {"message", message}}}});
    else
      fmt::print(io.out, "{}\n  ERROR  {}\n", label(dir), message);
    tell(dir, o.as_json ? &cases.back() : nullptr);
  };
  for (std::size_t i = 0; i < dirs.size(); ++i) {
    if (io.err_is_terminal)
      fmt::print(io.err, "\r\x1b[K[{}/{}] {}", i + 1, dirs.size(), label(dirs[i])), io.err.flush();
    try {
      const CaseResult r = replay_case(*device, load_case(dirs[i]), o.chained);
      if (io.err_is_terminal) io.err << "\r\x1b[K" << std::flush;
      matched += r.match();
      // In a chain rounding differences grow, so only the operators by themselves are judged.
      if (!o.chained && !r.match() && r.agrees_with_cpu) worst = std::max(worst, 1);
      if (o.as_json)
        cases.push_back(to_json(r));
      else
        print(io.out, r, o.quiet);
      tell(dirs[i], o.as_json ? &cases.back() : nullptr);
    } catch (const Error& error) {
      failed(dirs[i], error.code(), error.what());
    } catch (const std::bad_alloc&) {  // the other cases may well fit
      failed(dirs[i], ErrorCode::out_of_memory, "not enough memory on this host for the case");
    }
  }
  if (o.as_json) {
    const json report = {{"cases", std::move(cases)},
                         {"matched", matched},
                         {"total", dirs.size()},
                         {"device", device->info().backend},
                         {"chained", o.chained}};
    io.out << report.dump(2, ' ', false, json::error_handler_t::replace) << '\n';
  } else {
    fmt::print(io.out, "{} of {} cases match (device {}{})\n", matched, dirs.size(),
               device->info().backend, o.chained ? ", chained" : "");
  }
  simulation.save_trace();
  io.status = worst;
}

}  // namespace

void add_replay(CLI::App& app, Io& io) {
  const auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand(
      "replay", "Run recorded driver programs and compare with TFLite's CPU results");
  sub->add_option("CASE_DIR", o->dirs, "case folders, or folders of case folders")->required();
  sub->add_option("--device", o->device, "sim, rocket, rocket:PATH");
  sub->add_flag("--chained", o->chained,
                "run whole graphs on their own intermediate results; differences grow along the "
                "graph, so they are printed but not judged");
  sub->add_flag("--json", o->as_json, "print JSON only");
  sub->add_flag("-q,--quiet", o->quiet, "one line per case");
  add_simulation_options(*sub, o->simulation);
  sub->footer(
      "A case matches if no element of any operator differs by more than 1 from TFLite.\n"
      "Exit 1 if a case that ought to agree does not, 4 for a damaged case, 5 for a device fault.\n"
      "Example: npu-probe replay tests/vectors/mesa");
  sub->callback([o, &io] { replay(*o, io); });
}

}  // namespace npu::probe
