// SPDX-License-Identifier: MIT
// Timing the microbenchmarks on a device.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "npu-device/device.hpp"
#include "npu-probe/calibrate_fit.hpp"

namespace npu::probe::calibrate {

/// An open device and further files on it, one for each core.
class Bench {
 public:
  /// `repetitions` (1 or more): times that count; one more before them warms up.
  Bench(device::Device& device, unsigned cores, unsigned repetitions);

  /// Submit to wake-up by Device::now(). Only a buffer of a few bytes is waited for, so that no
  /// cache maintenance is timed. Throws device_fault if the job left its output untouched, timeout
  /// for a job that the driver retired, and what Device throws.
  Sample measure(const Microbenchmark& benchmark);

 private:
  std::vector<std::unique_ptr<device::Device>> opened_;
  std::vector<device::Device*> files_;
  unsigned repetitions_;
};

/// The programs of a job one behind the other in a buffer at `iova`; the trailers link them if
/// `chained` [control-and-uapi.md B.8].
kernels::BoundProgram bind_job(const kernels::Program& program,
                               std::span<const std::uint32_t> slots, std::uint32_t iova,
                               bool chained);

/// The NPU's clock as the kernel tells it (debugfs below `root`), 0 if it does not.
double system_clock_mhz(const std::string& root);

}  // namespace npu::probe::calibrate
