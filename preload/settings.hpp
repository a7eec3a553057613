// SPDX-License-Identifier: MIT
// NPU_SIM_* of the environment.
#pragma once

#include <chrono>
#include <string>

#include "npu-sim/chip.hpp"

namespace npu::preload {

/// Read once, at the first use. A value that makes no sense ends the process with a message and
/// exit code 2: a test that believes in an injected fault must not run without it.
struct Settings {
  unsigned cores = 3;                        ///< NPU_SIM_CORES
  std::vector<sim::Injection> injections;    ///< NPU_SIM_INJECT
  std::chrono::milliseconds hang_time{500};  ///< NPU_SIM_JOB_TIMEOUT_MS
  bool rocket = true, rknpu = false;         ///< NPU_SIM_DRIVER: whose nodes there are
  bool quiet = false;                        ///< NPU_SIM_QUIET: no messages on stderr
  sim::ChipOptions chip_options() const;
};
const Settings& settings();

/// "librocket-sim: ..." on stderr, unless quiet: what the kernel would have put into its log.
void log(const std::string& message);

}  // namespace npu::preload
