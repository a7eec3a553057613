// SPDX-License-Identifier: MIT
#include "npu-probe/bench_run.hpp"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <algorithm>
#include <optional>

#include "npu-device/sim_device.hpp"
#include "regdb/error.hpp"
#include "version.hpp"
#ifdef ROSENBLATT_WITH_AUDIT
#include "npu-probe/audit/npu_clock.hpp"
#endif

namespace npu::probe {
namespace {

using device::Device;
using Clock = std::chrono::steady_clock;

double seconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}
double seconds_since(Clock::time_point start) { return seconds(Clock::now() - start); }

std::string this_computer() {
  utsname name{};
  if (uname(&name) != 0) return "unknown";
  return fmt::format("{} {} {}", name.sysname, name.release, name.machine);
}

// "sim:cores=2" and "timing-only" to "sim:cores=2,timing-only".
std::string with_item(const std::string& spec, const std::string& item) {
  return spec + (spec.find(':') == std::string::npos ? ":" : ",") + item;
}

std::string resolved(const std::string& spec) {
  if (!spec.empty()) return spec;
  const char* environment = std::getenv("NPU_DEVICE");
  return environment != nullptr && *environment != '\0' ? environment : "sim";
}

bool names_simulator(const std::string& spec) { return spec == "sim" || spec.starts_with("sim:"); }

struct Clocking {
  double mhz = 0;
  std::string source;
};

Clocking clock_of(const device::DeviceInfo& info, const BenchSetting& setting) {
  if (info.npu_mhz > 0) return {info.npu_mhz, setting.mhz > 0 ? "--mhz" : "the device's model"};
  if (setting.mhz > 0) return {setting.mhz, "--mhz"};
#ifdef ROSENBLATT_WITH_AUDIT
  try {
    if (const auto clock = running_npu_clock(Tree("/")); clock && clock->hz != 0)
      return {static_cast<double>(clock->hz) / 1e6, clock->path};
  } catch (const Error&) {
  }
#endif
  return {0, "unknown: debugfs does not tell it to this user; say --mhz"};
}

// One bench at work: the device, and simulated ones beside it.
class Bench {
 public:
  explicit Bench(const BenchSetting& setting) : setting_(setting) {
    std::string spec = resolved(setting.device);
    if (names_simulator(spec))
      spec = modelled(spec, setting.mhz);
    else if (spec.starts_with("mmio:sim") && setting.timing_only)
      throw Error(ErrorCode::not_supported,
                  "mapped registers cannot be timed without computing; "
                  "use --device sim");
    simulator_ = names_simulator(spec);
    calibration_ = setting.calibration.empty() ? sim::default_calibration()
                                               : sim::load_calibration(setting.calibration);
    spec_ = spec;
    device_.emplace(spec);
    if (!simulator_ && setting.timing_only)
      throw Error(ErrorCode::not_supported,
                  fmt::format("--timing-only is for the simulated device; \"{}\" is a real one",
                              device_->info().path));
    clock_ = clock_of(device_->info(), setting);
  }

  BenchReport header() const {
    const device::DeviceInfo& info = device_->info();
    BenchReport report;
    report.tool = std::string(version);
    report.device = info.path;
    report.backend = info.backend;
    report.provenance = std::string(to_string(info.time_base));
    report.clock_mhz = clock_.mhz;
    report.clock_source = clock_.source;
    report.calibration = info.calibration.empty() ? calibration_.name : info.calibration;
    report.repetitions = repetitions();
    report.warmup = warmup();
    report.host = this_computer();
    report.dram_bytes_per_second = calibration_.values.dram_bytes_per_second;
    report.port_bytes_per_cycle = calibration_.values.read_bytes_per_cycle;
    return report;
  }

  unsigned cores() const { return device_->info().cores; }

  // Fills in a row; throws what the operator and the device throw.
  void measure(const BenchCase& c, unsigned cores, BenchRow& row) {
    const unsigned runs = repetitions() + warmup();
    row.computed = !simulator_ || (device_->info().computes && !setting_.timing_only &&
                                   simulation_seconds(c) * runs <= setting_.simulate_limit);
    BenchDevice& device = row.computed ? *device_ : timer();
    const auto built = Clock::now();
    const std::vector<Device*> files = device.files(cores);
    const BenchSubject subject = make_subject(c, files, plans());
    row.prepare = seconds_since(built);
    row.provenance = std::string(to_string(device.info().time_base));
    row.macs = subject.macs;
    row.least_bytes = subject.read_bytes + subject.write_bytes;

    std::vector<double> times, host;
    kernels::RunStats stats;
    for (unsigned run = 0; run < runs; ++run) {
      device.recorder().clear();
      const auto begin = Clock::now();
      stats = subject.run();
      const double busy = seconds(stats.submit + stats.wait);
      if (run < warmup()) continue;
      times.push_back(seconds(stats.device));
      host.push_back(std::max(0.0, seconds_since(begin) - busy));
    }
    row.time = spread_of(times);
    row.host = spread_of(host);
    row.submits = stats.submits;
    row.per_run_tasks = stats.tasks;
    row.per_run_jobs = stats.jobs;
    row.model = device.simulated()
                    ? device.recorder().model(row.time.median, cores, calibration_.values, hz())
                    : model_of(c, cores);
    row.model.jobs = stats.jobs;
    if (clock_.mhz > 0 && row.least_bytes != 0)
      row.roof = roof_of(subject, cores, calibration_.values, clock_.mhz * 1e6);
  }

 private:
  // The model gives the same time every time.
  unsigned repetitions() const {
    return setting_.repetitions.value_or(device_->simulated() ? 1 : 5);
  }
  unsigned warmup() const { return setting_.warmup.value_or(device_->simulated() ? 0 : 1); }
  const kernels::TunedPlans* plans() const { return setting_.plans ? &*setting_.plans : nullptr; }
  double hz() const { return (clock_.mhz > 0 ? clock_.mhz : 600) * 1e6; }

  std::string modelled(std::string spec, double mhz) const {
    if (mhz > 0) spec = with_item(spec, fmt::format("mhz={:g}", mhz));
    if (!setting_.calibration.empty())
      spec = with_item(spec, "calibration=" + setting_.calibration);
    return spec;
  }

  // A simulated device that only takes the time: of the device itself, or of a real one's model.
  BenchDevice& timer() {
    if (!timer_) {
      const std::string spec = simulator_ ? spec_ : modelled("sim", clock_.mhz);
      timer_.emplace(device_->info().computes || !simulator_ ? with_item(spec, "timing-only")
                                                             : spec);
    }
    return *timer_;
  }

  BenchModel model_of(const BenchCase& c, unsigned cores) {
    BenchDevice& device = timer();
    const BenchSubject subject = make_subject(c, device.files(cores), plans());
    device.recorder().clear();
    const kernels::RunStats stats = subject.run();
    return device.recorder().model(seconds(stats.device), cores, calibration_.values, hz());
  }

  const BenchSetting& setting_;
  sim::CalibrationFile calibration_;
  bool simulator_ = false;
  std::string spec_;
  Clocking clock_;
  std::optional<BenchDevice> device_, timer_;
};

}  // namespace

BenchDevice::BenchDevice(const std::string& spec) {
  sim::ChipOptions options;
  options.observer = recorder_;
  device_ = device::open_device(spec, options);
}

std::vector<Device*> BenchDevice::files(unsigned n) {
  while (more_.size() + 1 < n) more_.push_back(device_->open_another());
  std::vector<Device*> files{device_.get()};
  for (unsigned i = 1; i < n; ++i) files.push_back(more_[i - 1].get());
  return files;
}

BenchReport run_bench(std::span<const BenchCase> cases, const BenchSetting& setting,
                      const BenchProgress& progress) {
  Bench bench(setting);
  for (const unsigned cores : setting.cores)
    if (bench.cores() != 0 && cores > bench.cores())
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("--cores {}: this device has {}", cores, bench.cores()));
  BenchReport report = bench.header();
  const std::size_t all = cases.size() * setting.cores.size();
  for (const BenchCase& c : cases)
    for (const unsigned cores : setting.cores) {
      progress(report.rows.size(), all, c, cores);
      BenchRow& row = report.rows.emplace_back();
      row.op = c.op;
      row.name = c.name;
      row.shape = shape_text(c);
      row.dtype = c.types ? types_text(*c.types) : "";
      row.cores = cores;
      row.provenance = report.provenance;
      try {
        bench.measure(c, cores, row);
      } catch (const Error& error) {
        row.error = error.what();
        row.error_code = error.code();
        if (exit_code(error.code()) == 5 && error.code() != ErrorCode::out_of_memory) return report;
      }
    }
  return report;
}

}  // namespace npu::probe
