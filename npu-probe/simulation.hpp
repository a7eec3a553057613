// SPDX-License-Identifier: MIT
// What run, replay and bringup can ask of the simulated device beyond results: modelled times, a
// trace, explanations, injected faults.
#pragma once

#include <iosfwd>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "npu-device/device.hpp"
#include "npu-sim/timeline.hpp"
#include "npu-sim/trace_writer.hpp"

namespace npu::cli {
class App;
}

namespace npu::probe {

struct SimulationOptions {
  std::string calibration, trace, inject;
  double clock_mhz = 600;
  bool timing = false, explain = false;
  bool asked() const {
    return timing || explain || !trace.empty() || !inject.empty() || !calibration.empty();
  }
};

/// --timing, --explain, --trace, --inject, --calibration, --clock-mhz.
void add_simulation_options(cli::App& app, SimulationOptions& options);

/// What the simulated chip records of itself, and how it is told.
class Simulation {
 public:
  /// Throws bad_file for a bad calibration or a trace that cannot be written, invalid_argument for
  /// --inject.
  explicit Simulation(SimulationOptions options);

  /// With the recorder and the injected faults.
  const sim::ChipOptions& chip_options() const { return chip_options_; }

  /// As device::open_device(). Throws not_supported if the options ask a real device for what only
  /// the simulated one can tell.
  std::unique_ptr<device::Device> open(const std::string& device);
  bool simulated() const { return recorder_ != nullptr; }

  /// Ends a stretch of work (a case, an operator): its modelled times.
  sim::Timeline take();

  /// Prints what --timing and --explain ask for.
  void report(const sim::Timeline& timeline, std::ostream& out) const;
  /// The same as members "modelled", "tasks", "quirks" and "faults" of `object`.
  void report(const sim::Timeline& timeline, nlohmann::json& object) const;
  /// "modelled 0.412 ms at 600 MHz (device 0.301, dispatch 0.111)"
  std::string summary(const sim::Timeline& timeline) const;

  /// Adds to the trace; the file is written by save_trace(). Throws not_supported if it cannot.
  void trace(const sim::Timeline& timeline, const std::string& label);
  void save_trace();

  const SimulationOptions& options() const { return options_; }

 private:
  SimulationOptions options_;
  sim::CalibrationFile calibration_;
  std::shared_ptr<sim::TimelineRecorder> recorder_;
  sim::ChipOptions chip_options_;
  std::optional<sim::TraceFile> trace_;
};

}  // namespace npu::probe
