// SPDX-License-Identifier: MIT
#include "npu-probe/simulation.hpp"

#include <fmt/format.h>
#include <fmt/ostream.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "npu-device/command_line.hpp"
#include "npu-device/sim_device.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

using nlohmann::json;

// Tasks alike in everything that is printed, in order of their first.
struct Group {
  const sim::TimedTask* first;
  std::size_t count = 0;
  double seconds = 0;
};

std::vector<Group> group_tasks(const sim::Timeline& timeline) {
  std::vector<Group> groups;
  std::map<std::tuple<std::string, double, std::uint64_t>, std::size_t> index;
  for (const sim::TimedTask& task : timeline.tasks) {
    const auto [it, fresh] = index.try_emplace(
        std::tuple(task.record.operation, task.time.total, task.time.bytes), groups.size());
    if (fresh) groups.push_back({&task});
    ++groups[it->second].count;
    groups[it->second].seconds += task.seconds;
  }
  return groups;
}

json cycles_json(const sim::TaskTime& t) {
  return {{"fetch", t.fetch},     {"feature", t.feature}, {"weight", t.weight}, {"mac", t.mac},
          {"operand", t.operand}, {"dpu", t.dpu},         {"ppu", t.ppu},       {"write", t.write},
          {"dram", t.dram},       {"start", t.start},     {"total", t.total}};
}

}  // namespace

void add_simulation_options(cli::App& app, SimulationOptions& o) {
  app.add_flag("--timing", o.timing, "sim: print modelled cycles of every task by cause")
      ->group("Simulated device");
  app.add_flag("--explain", o.explain, "sim: name the silicon's quirks that the programs hit")
      ->group("Simulated device");
  app.add_option("--trace", o.trace, "sim: write a Chrome/Perfetto trace (modelled times)")
      ->type_name("FILE.json")
      ->group("Simulated device");
  app.add_option(
         "--inject", o.inject,
         "sim: faults: drop-interrupt@N, hang@N, delay@N:MS, corrupt@N, iommu-fault@N, each with "
         "an optional /core=K; separated by commas")
      ->type_name("FAULTS")
      ->group("Simulated device");
  app.add_option("--calibration", o.calibration, "sim: constants of the timing model")
      ->type_name("FILE.json")
      ->group("Simulated device");
  app.add_option("--clock-mhz", o.clock_mhz,
                 "sim: NPU clock of the timing model (mainline 200, patched 600, vendor 1000)")
      ->capture_default_str()
      ->check(cli::Range(1.0, 4000.0))
      ->group("Simulated device");
}

Simulation::Simulation(SimulationOptions options) : options_(std::move(options)) {
  calibration_ = options_.calibration.empty() ? sim::default_calibration()
                                              : sim::load_calibration(options_.calibration);
  recorder_ = std::make_shared<sim::TimelineRecorder>();
  chip_options_.injections = sim::parse_injections(options_.inject);
  chip_options_.observer = recorder_;
  if (!options_.trace.empty())
    trace_.emplace(options_.trace, options_.clock_mhz * 1e6, calibration_.name);
}

std::unique_ptr<device::Device> Simulation::open(const std::string& device) {
  std::unique_ptr<device::Device> opened = device::open_device(device, chip_options_);
  if (opened->info().provenance == "modelled") return opened;
  recorder_.reset();
  if (options_.asked())
    throw Error(ErrorCode::not_supported,
                fmt::format("device \"{}\" cannot do --timing, --explain, --trace, --inject or "
                            "--calibration: only the simulated one can; use --device sim",
                            opened->info().path));
  return opened;
}

sim::Timeline Simulation::take() {
  if (!recorder_) return {};
  return recorder_->take(calibration_.values, options_.clock_mhz * 1e6);
}

std::string Simulation::summary(const sim::Timeline& t) const {
  return fmt::format(
      "modelled {:.3f} ms at {:g} MHz (device {:.3f}, dispatch {:.3f}, without the host's own "
      "work; "
      "{} core{})",
      t.total * 1e3, options_.clock_mhz, t.device * 1e3, t.dispatch * 1e3, t.cores,
      t.cores == 1 ? "" : "s");
}

void Simulation::report(const sim::Timeline& timeline, std::ostream& out) const {
  if (options_.timing) {
    fmt::print(out, "{}\n", summary(timeline));
    fmt::print(
        out,
        "  {:>5} {:<38} {:>9} {:>7} {:>8} {:>8} {:>8} {:>7} {:>7} {:>8} {:>5} {:>8} {:>6}  {}\n",
        "tasks", "operation (cycles of one task)", "total", "fetch", "feature", "weight", "mac",
        "operand", "dpu/ppu", "write", "MAC%", "KiB", "GB/s", "limited by");
    for (const Group& g : group_tasks(timeline)) {
      const sim::TaskTime& t = g.first->time;
      fmt::print(out,
                 "  {:>5} {:<38} {:>9.0f} {:>7.0f} {:>8.0f} {:>8.0f} {:>8.0f} {:>7.0f} {:>7.0f} "
                 "{:>8.0f} {:>5.1f} {:>8.1f} {:>6.2f}  {}\n",
                 g.count, g.first->record.operation, t.total, t.fetch, t.feature, t.weight, t.mac,
                 t.operand, std::max(t.dpu, t.ppu), t.write, t.mac_utilisation * 100,
                 static_cast<double>(t.bytes) / 1024, t.bytes_per_second * 1e-9,
                 sim::to_string(t.limit));
    }
  }
  if (!options_.explain) return;
  const std::vector<sim::NamedQuirk> quirks = sim::name_quirks(timeline);
  for (const sim::NamedQuirk& q : quirks)
    fmt::print(
        out, "quirk {} at {} ({} task{}): {}{}\n", q.note.quirk, q.note.where, q.tasks,
        q.tasks == 1 ? "" : "s", q.note.effect,
        q.note.modelled ? "" : " [reported of boards, not modelled: the data here is right]");
  for (const sim::TimedFault& f : timeline.faults)
    fmt::print(out, "fault {} at {} on core {}: {}{}\n", sim::to_string(f.fault.kind),
               f.fault.where, f.core, f.fault.message,
               f.fault.quirk.empty() ? "" : fmt::format(" [quirk {}]", f.fault.quirk));
  if (quirks.empty() && timeline.faults.empty())
    fmt::print(out, "no quirk of the silicon was hit\n");
}

void Simulation::report(const sim::Timeline& timeline, json& object) const {
  if (!simulated()) return;
  object["modelled"] = {{"total_ms", timeline.total * 1e3},
                        {"device_ms", timeline.device * 1e3},
                        {"dispatch_ms", timeline.dispatch * 1e3},
                        {"clock_mhz", options_.clock_mhz},
                        {"cores", timeline.cores},
                        {"calibration", calibration_.name},
                        {"provenance", "modelled"}};
  if (options_.timing) {
    json& tasks = object["tasks"] = json::array();
    for (const sim::TimedJob& job : timeline.jobs)
      for (std::size_t i = job.first_task; i < job.first_task + job.tasks; ++i) {
        const sim::TimedTask& task = timeline.tasks[i];
        tasks.push_back({{"core", job.core},
                         {"job", task.job},
                         {"start", task.start},
                         {"operation", task.record.operation},
                         {"begin_us", task.begin * 1e6},
                         {"us", task.seconds * 1e6},
                         {"cycles", cycles_json(task.time)},
                         {"limit", sim::to_string(task.time.limit)},
                         {"macs", task.record.work.macs()},
                         {"mac_utilisation", task.time.mac_utilisation},
                         {"bytes", task.time.bytes},
                         {"bytes_per_second", task.time.bytes_per_second}});
      }
  }
  if (!options_.explain) return;
  json& quirks = object["quirks"] = json::array();
  for (const sim::NamedQuirk& q : sim::name_quirks(timeline))
    quirks.push_back({{"quirk", q.note.quirk},
                      {"where", q.note.where},
                      {"effect", q.note.effect},
                      {"modelled", q.note.modelled},
                      {"tasks", q.tasks}});
  json& faults = object["faults"] = json::array();
  for (const sim::TimedFault& f : timeline.faults)
    faults.push_back({{"kind", sim::to_string(f.fault.kind)},
                      {"where", f.fault.where},
                      {"core", f.core},
                      {"message", f.fault.message},
                      {"quirk", f.fault.quirk}});
}

void Simulation::trace(const sim::Timeline& timeline, const std::string& label) {
  if (trace_) trace_->add(timeline, label);
}

void Simulation::save_trace() {
  if (trace_) trace_->save();
}

}  // namespace npu::probe
