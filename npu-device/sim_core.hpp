// SPDX-License-Identifier: MIT
// What the rocket driver does with one core for one job.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "npu-device/device.hpp"
#include "npu-device/sim_machine.hpp"
#include "npu-sim/chip.hpp"

namespace npu::device {

struct JobResult {
  unsigned tasks_started = 0;
  std::optional<JobFault> fault;
  std::string note;      ///< for the job log, if there is something to tell
  bool retired = false;  ///< by the driver's timeout: no interrupt that it waits for came
};

/// Runs the tasks in order as the kernel does: IOMMU attach, ten register writes and one interrupt
/// per task, detach [control-and-uapi.md B.5, B.6]. A task without a DPU interrupt would be retired
/// by the scheduler's 500 ms timeout (B.10): the core is reset at once, without that wait, and the
/// job's other tasks do not run. Messages call the job `number`.
/// `task_number`: what TASK_CON says of every start. The driver writes 1; with more, the programs
/// link themselves into a chain with one interrupt (B.8), and `tasks` holds its first ones only.
JobResult run_job(sim::Chip& chip, unsigned core,
                  const std::shared_ptr<const sim::AddressSpace>& space,
                  std::span<const Task> tasks, std::uint64_t number, std::uint32_t task_number = 1);

/// A job without its work: every task's program is checked as a start would check it, and the
/// observer hears what it would have moved and computed. Nothing is written.
struct TimedJobInput {
  unsigned core;
  const std::shared_ptr<const sim::AddressSpace>& space;
  std::span<const Task> tasks;
  std::uint64_t number;
  bool chained;  ///< one start for all
};
JobResult time_job(const TimedJobInput& job, const sim::ChipOptions& options,
                   sim::Observer& observer);

}  // namespace npu::device
