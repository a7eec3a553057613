// SPDX-License-Identifier: MIT
// The simulated device, for tests that want to choose the chip or look behind the interface.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "npu-device/device.hpp"
#include "npu-sim/calibration.hpp"
#include "npu-sim/chip.hpp"
#include "npu-sim/timing.hpp"

namespace npu::device {

/// How the simulated machine's time passes (Device::now()).
struct SimTiming {
  sim::Calibration calibration = sim::default_calibration().values;
  std::string calibration_name = sim::default_calibration().name;
  double npu_hz = 600e6;  ///< 200 MHz is what stock mainline leaves it at, 600 MHz a patched kernel
  sim::InterruptCore interrupt = sim::InterruptCore::little;
};

struct SimOptions {
  sim::ChipOptions chip;
  SimTiming timing;
  bool chains = false;   ///< as a driver that writes TASK_NUMBER; stock mainline does not
  bool computes = true;  ///< false: programs are checked and timed, their work is left out
};

/// A new machine and the first file on it; open_another() opens further files on the same one.
/// Throws invalid_argument for a core count that no RK3588 has.
std::unique_ptr<Device> open_sim(const SimOptions& options);
std::unique_ptr<Device> open_sim(const sim::ChipOptions& options = {});

/// open_device() with the options of the simulated chip, should `spec` name it; "sim:cores=N"
/// overrides options.cores.
std::unique_ptr<Device> open_device(std::string_view spec, sim::ChipOptions options);

/// How time passes on the machine below `device`. Throws invalid_argument for another backend.
const SimTiming& sim_timing(const Device& device);

/// What each core of a machine has done, all files together. Index: core.
struct SimStats {
  std::vector<std::uint64_t> jobs;   ///< ended jobs, failed ones included
  std::vector<std::uint64_t> tasks;  ///< started tasks
};

/// Statistics of the machine below `device`. Throws invalid_argument for another backend.
SimStats sim_stats(const Device& device);

/// What happened to this file's jobs that the kernel reports to nobody: faults and jobs retired by
/// the (simulated) 500 ms timeout. One sentence each, oldest first, the last 64 of them; empties
/// the list. Throws invalid_argument for another backend.
std::vector<std::string> take_sim_notes(Device& device);

}  // namespace npu::device
