// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>

#include "npu-device/capture_reader.hpp"
#include "npu-device/command_line.hpp"
#include "npu-probe/capture_input.hpp"
#include "npu-probe/capture_replay.hpp"
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
  std::optional<std::size_t> job, until;
  bool chained = false, as_json = false, quiet = false;
  SimulationOptions simulation;
};

// A capture, a case folder, or a folder of case folders.
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
                         {"executor_equal", op.executor_equal},
                         {"sha256", op.sha256}});
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

// Jobs are told as they end: a long capture on a board takes its time. Gives the exit code.
int replay_file(const Options& o, const fs::path& path, const device::Device& device, Io& io,
                json& object, CaptureReplay& total) {
  const device::Capture capture = device::read_capture(path.string());
  object = {{"name", path.string()}, {"truncated", capture.truncated}, {"jobs", json::array()}};
  if (!o.as_json) {
    fmt::print(io.out, "{}{}\n", path.string(), capture.truncated ? "  (cut short)" : "");
    if (!o.quiet)
      for (const std::string& line : programs_of(capture)) fmt::print(io.out, "  {}\n", line);
  }
  total = replay_capture(device.open_another(), capture, {o.job, o.until, o.chained},
                         [&](const JobReplay& r) {
                           if (o.as_json)
                             object["jobs"].push_back(to_json(r));
                           else if (!o.quiet || r.verdict == Verdict::differs)
                             print(io.out, r);
                         });
  object["total"] = to_json(total);
  if (!o.as_json)
    fmt::print(io.out, "  {}  {}\n", total.differ + total.faulted == 0 ? "MATCH" : "DIFFERS",
               summary(total));
  if (total.faulted != 0) return exit_code(ErrorCode::device_fault);
  // In a chain a difference goes on to the jobs behind it, but exactness is still the measure.
  return total.differ != 0 ? 1 : 0;
}

void replay(const Options& o, Io& io) {
  Simulation simulation(o.simulation);
  const std::unique_ptr<device::Device> device = simulation.open(o.device);
  const std::vector<fs::path> dirs = expand(o.dirs);
  json cases = json::array(), captures = json::array();
  std::size_t matched = 0;
  int worst = 0;
  if ((o.job || o.until) && std::none_of(dirs.begin(), dirs.end(), is_capture))
    throw Error(ErrorCode::invalid_argument, "--job and --until choose among a capture's jobs");
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
    json& list = is_capture(dir) ? captures : cases;
    if (o.as_json)
      list.push_back({{"name", is_capture(dir) ? dir.string() : label(dir)},
                      {"match", false},
                      {"error", {{"code", std::string(to_string(code))}, {"message", message}}}});
    else
      fmt::print(io.out, "{}\n  ERROR  {}\n", label(dir), message);
    tell(dir, o.as_json ? &list.back() : nullptr);
  };
  for (std::size_t i = 0; i < dirs.size(); ++i) {
    if (io.err_is_terminal)
      fmt::print(io.err, "\r\x1b[K[{}/{}] {}", i + 1, dirs.size(), label(dirs[i])), io.err.flush();
    try {
      if (is_capture(dirs[i])) {
        if (io.err_is_terminal) io.err << "\r\x1b[K" << std::flush;
        json object;
        CaptureReplay total;
        const int status = replay_file(o, dirs[i], *device, io, object, total);
        worst = std::max(worst, status);
        matched += status == 0;
        captures.push_back(std::move(object));
        tell(dirs[i], o.as_json ? &captures.back() : nullptr);
        continue;
      }
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
    const json report = {
        {"cases", std::move(cases)}, {"captures", std::move(captures)},  {"matched", matched},
        {"total", dirs.size()},      {"device", device->info().backend}, {"chained", o.chained}};
    io.out << report.dump(2, ' ', false, json::error_handler_t::replace) << '\n';
  } else {
    fmt::print(io.out, "{} of {} {} match (device {}{})\n", matched, dirs.size(),
               captures.empty() ? "cases" : "recordings", device->info().backend,
               o.chained ? ", chained" : "");
  }
  simulation.save_trace();
  io.status = worst;
}

}  // namespace

void add_replay(cli::App& app, Io& io) {
  const auto o = std::make_shared<Options>();
  cli::App* sub =
      app.add_subcommand("replay", "Run what was recorded again, and compare bit for bit");
  sub->add_option("FILE", o->dirs, "captures (.npucap), case folders, or folders of case folders")
      ->required();
  sub->add_option("--device", o->device, "sim, rocket, rocket:PATH, mmio");
  sub->add_option("--job", o->job, "captures: only this job, on the recorded bytes")
      ->type_name("N");
  sub->add_option("--until", o->until, "captures: jobs 0 to N")->type_name("N");
  sub->add_flag("--chained", o->chained,
                "jobs see what the jobs before them gave on this device, not what is recorded");
  sub->add_flag("--json", o->as_json, "print JSON only");
  sub->add_flag("-q,--quiet", o->quiet, "one line per case or capture, and jobs that differ");
  add_simulation_options(*sub, o->simulation);
  sub->footer(
      "A job of a capture is exact if every byte of its outputs is as recorded. A case compares\n"
      "with TFLite's CPU results: it matches if no element differs by more than 1 (--chained:\n"
      "differences grow along the graph, so they are printed but not judged).\n"
      "Exit 1 if a job differs or a case that ought to agree does not, 4 for a damaged file, 5 "
      "for\n"
      "a device fault that the recording does not have.\n"
      "Example: npu-probe replay tests/vectors/mesa\n"
      "         npu-probe replay net.npucap --device rocket --until 3");
  sub->callback([o, &io] { replay(*o, io); });
}

}  // namespace npu::probe
