// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "npu-device/command_line.hpp"
#include "npu-probe/calibrate_command.hpp"
#include "npu-probe/calibrate_measure.hpp"
#include "npu-probe/calibrate_report.hpp"
#include "npu-probe/files.hpp"
#include "npu-probe/probe.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

using namespace calibrate;

struct Options {
  std::string device, output, interrupt = "little";
  double mhz = 0;
  unsigned cores = 3, repetitions = 9;
  bool force = false, as_json = false, samples = false, keep_going = false;
};

const std::map<std::string, sim::InterruptCore> kInterrupts = {
    {"little", sim::InterruptCore::little},
    {"big-floating", sim::InterruptCore::big_floating},
    {"big-other", sim::InterruptCore::big_other},
    {"big-same", sim::InterruptCore::big_same}};

struct Clock {
  double mhz;
  std::string source;
};

Clock find_clock(const Options& o, const device::DeviceInfo& info) {
  if (o.mhz > 0) return {o.mhz, "--mhz"};
  if (info.npu_mhz > 0) return {info.npu_mhz, "the device"};
  if (const double mhz = system_clock_mhz(""); mhz > 0) return {mhz, "debugfs"};
  throw Error(ErrorCode::invalid_argument,
              "the NPU's clock is not known: say it with --mhz (mainline 200, patched 600, vendor "
              "1000), or run as root with debugfs mounted");
}

void run_calibrate(const Options& o, Io& io) {
  // Before minutes of work, not after.
  if (!o.output.empty() && !o.force && std::filesystem::exists(o.output))
    throw Error(ErrorCode::bad_file, o.output + ": is there already; use --force to replace it");
  const std::unique_ptr<device::Device> device = device::open_device(o.device);
  const device::DeviceInfo& info = device->info();
  if (info.time_base == device::TimeBase::host)
    throw Error(ErrorCode::not_supported,
                "this device is simulated without a modelled clock: its times say nothing about "
                "an NPU; use --device sim or a chip");
  const Clock clock = find_clock(o, info);
  const unsigned cores = info.cores == 0 ? o.cores : std::min(o.cores, info.cores);
  const std::vector<Microbenchmark> suite = make_suite({.chains = info.chains, .cores = cores});
  // The model repeats itself to the nanosecond.
  const bool modelled = info.time_base == device::TimeBase::model;
  Bench bench(*device, cores, modelled ? 1 : o.repetitions);

  std::vector<Sample> samples;
  std::size_t failed = 0;
  for (const Microbenchmark& b : suite) {
    if (io.err_is_terminal) {
      fmt::print(io.err, "\r\x1b[K[{}/{}] {}", samples.size() + failed + 1, suite.size(), b.name);
      io.err.flush();
    }
    try {
      samples.push_back(bench.measure(b));
    } catch (const Error& error) {
      if (io.err_is_terminal) io.err << "\r\x1b[K";
      if (error.code() != ErrorCode::device_fault && error.code() != ErrorCode::timeout) throw;
      if (!o.keep_going)
        throw Error(error.code(),
                    fmt::format("{}; --keep-going leaves such jobs out", error.what()));
      fmt::print(io.err, "npu-probe: {}: {}\n", b.name, error.what());
      ++failed;
    }
  }
  if (io.err_is_terminal) io.err << "\r\x1b[K";

  const ReportSetting setting{.info = info,
                              .npu_hz = clock.mhz * 1e6,
                              .clock_source = clock.source,
                              .interrupt = kInterrupts.at(o.interrupt),
                              .samples = o.samples};
  const sim::CalibrationFile& initial = sim::default_calibration();
  const Fit result =
      fit(samples, initial, {.npu_hz = setting.npu_hz, .interrupt = setting.interrupt});
  if (o.as_json)
    io.out << report_json(result, setting)
                  .dump(2, ' ', false, nlohmann::json::error_handler_t::replace)
           << '\n';
  else
    print_report(io.out, result, setting);
  if (!o.output.empty()) {
    const std::string source =
        fmt::format("npu-probe calibrate on {} ({}), {} at {:g} MHz", info.path, info.backend,
                    device::to_string(info.time_base), clock.mhz);
    const sim::CalibrationFile file = calibration_file(result, initial, source, source);
    save_file(o.output, sim::to_json(file), o.force);
    if (!o.as_json) fmt::print(io.out, "written to {}\n", o.output);
  }
  if (failed != 0) {
    fmt::print(io.err, "npu-probe: {} of {} jobs failed and were left out\n", failed, suite.size());
    io.status = exit_code(ErrorCode::device_fault);
  }
}

}  // namespace

void add_calibrate(cli::App& app, Io& io) {
  const auto o = std::make_shared<Options>();
  cli::App* sub =
      app.add_subcommand("calibrate", "Measure the constants of the timing model on a device");
  sub->add_option("--device", o->device, "sim[:ITEM,...], rocket[:PATH], mmio[:ITEM,...]");
  sub->add_option("-o,--output", o->output, "write the calibration file")->type_name("FILE.json");
  sub->add_flag("--force", o->force, "replace the file if it is there");
  sub->add_option("--mhz", o->mhz, "clock of the NPU, if neither device nor debugfs tells it")
      ->check(cli::Range(1.0, 4000.0));
  sub->add_option("--interrupt", o->interrupt,
                  "CPU core that handles the NPU's interrupt, where the waiting thread runs: "
                  "little, big-floating, big-other, big-same")
      ->capture_default_str()
      ->check(cli::IsMember({"little", "big-floating", "big-other", "big-same"}));
  sub->add_option("--cores", o->cores, "NPU cores (open files) at once, at most")
      ->capture_default_str()
      ->check(cli::Range(1u, 3u));
  sub->add_option("--repetitions", o->repetitions, "of each job on a chip, for the median")
      ->capture_default_str()
      ->check(cli::Range(1u, 1000u));
  sub->add_flag("--samples", o->samples, "print every job too, measured and fitted");
  sub->add_flag("--keep-going", o->keep_going, "leave out jobs that fail; the exit code is 5 then");
  sub->add_flag("--json", o->as_json, "print JSON only");
  sub->footer(
      "Exit 0 ok, 2 usage (clock not known), 3 no device, or the file cannot be written,\n"
      "4 it is there already, 5 a job failed or timed out.\n"
      "Example: npu-probe calibrate --device rocket -o board.json");
  sub->require_subcommand(0, 1);
  add_calibrate_questions(*sub, io);
  sub->callback([o, sub, &io] {
    if (!sub->got_subcommand()) run_calibrate(*o, io);
  });
}

}  // namespace npu::probe
