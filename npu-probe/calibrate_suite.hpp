// SPDX-License-Identifier: MIT
// The microbenchmarks behind the timing model's constants: jobs that differ in one thing each.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "microkernels/program.hpp"
#include "npu-sim/timing.hpp"

namespace npu::probe::calibrate {

/// What a job is about. The fit looks for a constant in the families that depend on it most.
enum class Family : std::uint8_t {
  job,       ///< one tiny task
  tasks,     ///< tiny tasks, an interrupt each
  chain,     ///< tiny tasks in one start
  fetch,     ///< long programs
  weights,   ///< weight DMA
  features,  ///< feature DMA beside the array's work
  write,     ///< 32-bit results
  dpu,       ///< the DPU's input is wider than its output
  copy,      ///< the DPU alone, as much in as out
  table,     ///< results through a table
  mac_int4,  ///< operands that stay in CBUF
  mac_int8,
  mac_int16,
  mac_fp16,
  mac_bf16,
  mac_tf32,
  depthwise_int8,
  depthwise_fp16,
  pool,
  pool_write,  ///< pools with windows of one element
  shared,      ///< copies on several cores at once
};
std::string_view to_string(Family family);

/// A job that is timed. Slot 0 is read, slot 1 are the weights, slot 2 is written.
struct Microbenchmark {
  Family family = Family::job;
  std::string name;
  kernels::Program program;
  std::vector<std::uint64_t> slot_bytes;
  std::vector<std::uint64_t> marks;  ///< offsets into slot 2 of atoms that the job writes
  bool chained = false;              ///< one start for all tasks
  unsigned files = 1;                ///< the same job on so many open files at once
  std::vector<sim::TaskWork> works;  ///< of the tasks, as the timing model sees them
};

struct SuiteOptions {
  bool chains = true;  ///< the device can run chained jobs
  unsigned cores = 3;  ///< open files for Family::shared, at most
};

/// Everything that one calibration runs, in the order in which it should run.
std::vector<Microbenchmark> make_suite(const SuiteOptions& options);

/// Seconds from submit to wake-up by the timing model.
double modelled_seconds(const Microbenchmark& benchmark, const sim::Calibration& calibration,
                        double npu_hz, sim::InterruptCore interrupt);

}  // namespace npu::probe::calibrate
