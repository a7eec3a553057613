// SPDX-License-Identifier: MIT
// NPU_SIM_* of the environment.
#pragma once

#include <chrono>
#include <string>

#include "npu-sim/calibration.hpp"
#include "npu-sim/chip.hpp"

namespace npu::preload {

/// Read once, at the first use. Of a value that makes no sense stderr is told, and the default
/// holds; with NPU_SIM_STRICT=1, which sim-run sets, the process ends with exit code 2.
struct Settings {
  unsigned cores = 3;                        ///< NPU_SIM_CORES
  std::vector<sim::Injection> injections;    ///< NPU_SIM_INJECT
  std::chrono::milliseconds hang_time{500};  ///< NPU_SIM_JOB_TIMEOUT_MS
  bool rocket = true, rknpu = false;         ///< NPU_SIM_DRIVER: whose nodes there are
  bool quiet = false;                        ///< NPU_SIM_QUIET: no messages on stderr
  std::string trace;                         ///< NPU_SIM_TRACE: a file; %p is the process
  bool explain = false;                      ///< NPU_SIM_EXPLAIN: quirks and faults, at the end
  double clock_mhz = 600;                    ///< NPU_SIM_CLOCK_MHZ
  sim::ChipOptions chip_options() const;
};
const Settings& settings();

/// NPU_SIM_CALIBRATION, likewise. Not among the settings: to read a file is to open a path, which
/// asks for them.
const sim::CalibrationFile& calibration();

/// "librocket-sim: ..." on stderr, unless quiet: what the kernel would have put into its log.
void log(const std::string& message);

}  // namespace npu::preload
