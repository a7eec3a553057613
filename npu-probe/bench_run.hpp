// SPDX-License-Identifier: MIT
// From a shape to a row: operands, repetitions, what the model says.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "microkernels/executor.hpp"
#include "microkernels/tuned_plans.hpp"
#include "npu-device/device.hpp"
#include "npu-probe/bench.hpp"
#include "npu-sim/observer.hpp"

namespace npu::probe {

/// An operator on its devices, with random operands; keeps what it needs alive, but the devices.
struct BenchSubject {
  std::function<kernels::RunStats()> run;
  std::uint64_t macs = 0;                         ///< padding not included
  std::uint64_t read_bytes = 0, write_bytes = 0;  ///< operands and results, each once
  sim::MacType type = sim::MacType::int8;
  bool depthwise = false;
};

/// Builds the operator and packs its weights. Throws what the operator's constructor throws:
/// invalid_argument for a shape that it cannot do, out_of_memory. `plans`: for matrix products.
BenchSubject make_subject(const BenchCase& c, std::span<device::Device* const> devices,
                          const kernels::TunedPlans* plans = nullptr);
BenchSubject make_submit_subject(const BenchSubmit& shape,
                                 std::span<device::Device* const> devices);

/// The least time of a subject on `cores` cores at a clock.
BenchRoof roof_of(const BenchSubject& subject, unsigned cores, const sim::Calibration& calibration,
                  double npu_hz);

/// Seconds that this computer would take to simulate one run, roughly.
double simulation_seconds(const BenchCase& c);

/// Collects what a simulated chip does.
class BenchRecorder final : public sim::Observer {
 public:
  void started(unsigned core) override;
  void task(const sim::TaskRecord& record) override;
  void clear();
  /// Of a run that took `seconds` on so many files; its jobs are for the caller to fill in.
  BenchModel model(double seconds, unsigned files, const sim::Calibration& calibration,
                   double npu_hz) const;

 private:
  mutable std::mutex mutex_;
  std::vector<std::vector<sim::TaskWork>> starts_[3];  // per core
};

/// An open device, further files on it, and on a simulated one the recorder.
class BenchDevice {
 public:
  /// Throws as device::open_device().
  explicit BenchDevice(const std::string& spec);
  /// `n` files, one per core.
  std::vector<device::Device*> files(unsigned n);
  const device::DeviceInfo& info() const { return device_->info(); }
  bool simulated() const { return info().time_base == device::TimeBase::model; }
  BenchRecorder& recorder() { return *recorder_; }

 private:
  std::shared_ptr<BenchRecorder> recorder_ = std::make_shared<BenchRecorder>();
  std::unique_ptr<device::Device> device_;
  std::vector<std::unique_ptr<device::Device>> more_;
};

struct BenchSetting {
  std::string device;  ///< "sim...", "rocket...", "mmio..."; empty: $NPU_DEVICE, else "sim"
  std::optional<unsigned> repetitions, warmup;  ///< 5 and 1, on the timing model 1 and 0
  double mhz = 0;             ///< of the NPU's clock; 0: the device's, or the system's
  std::string calibration;    ///< a file; empty: the default constants
  bool timing_only = false;   ///< sim: never compute
  double simulate_limit = 2;  ///< s: sim: rows that take longer to simulate are only timed
  std::vector<unsigned> cores = {1};
  std::optional<kernels::TunedPlans> plans;  ///< of `npu-probe tune`
};

/// Told before each row; may throw to stop.
using BenchProgress =
    std::function<void(std::size_t done, std::size_t all, const BenchCase& c, unsigned cores)>;

/// Runs all cases on all numbers of cores. A shape that an operator refuses becomes a row with an
/// error. After a device's fault or timeout the report ends with that row. Throws what opening the
/// device throws.
BenchReport run_bench(std::span<const BenchCase> cases, const BenchSetting& setting,
                      const BenchProgress& progress);

}  // namespace npu::probe
