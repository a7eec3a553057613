// SPDX-License-Identifier: MIT
// When everything that a chip did would have happened on the board, by the timing model.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "npu-sim/chip.hpp"
#include "npu-sim/observer.hpp"
#include "npu-sim/timing.hpp"

namespace npu::sim {

struct TimedTask {
  TaskRecord record;
  TaskTime time;
  std::size_t job = 0, start = 0;                     ///< of its core, from 0
  double begin = 0, seconds = 0;                      ///< s; in a chain shorter than time.seconds
  std::uint32_t host_writes = 0, program_writes = 0;  ///< registers, since the task before
};

/// One attach to detach of an address space: what the rocket driver does for a job.
struct TimedJob {
  unsigned core = 0;
  std::size_t first_task = 0, tasks = 0;  ///< into Timeline::tasks
  std::size_t starts = 0;
  double begin = 0;
  JobTime time;
};

struct TimedFault {
  unsigned core = 0;
  std::size_t after_task = 0;  ///< tasks of all cores that were told of before
  Fault fault;
};

struct Timeline {
  std::vector<TimedJob> jobs;    ///< core by core, each in order
  std::vector<TimedTask> tasks;  ///< likewise
  std::vector<TimedFault> faults;
  unsigned cores = 0;   ///< that had work
  double total = 0;     ///< s, end of the last job
  double device = 0;    ///< s, of the core that is at work longest
  double dispatch = 0;  ///< s, of the same core: submit, IOMMU, interrupts
};

/// A quirk of the silicon that tasks hit, and how many did.
struct NamedQuirk {
  QuirkNote note;
  std::size_t tasks = 0;
};
/// In the order of their first task.
std::vector<NamedQuirk> name_quirks(const Timeline& timeline);

/// Records a chip's work. Every core goes through its jobs one after the other from time 0; how
/// long a job of one core waits for data from another is not known here and not modelled.
class TimelineRecorder final : public Observer {
 public:
  void attached(unsigned core, bool present) override;
  void started(unsigned core) override;
  void register_written(unsigned core, std::uint32_t offset, std::uint32_t value,
                        bool by_program) override;
  void task(const TaskRecord& record) override;
  void faulted(unsigned core, const Fault& fault) override;

  /// What was recorded so far, with times; forgets it. Call it while no core is at work.
  Timeline take(const Calibration& calibration, double npu_hz, const Dispatch& dispatch = {});

 private:
  struct Start {
    std::vector<TimedTask> tasks;
  };
  struct Job {
    std::vector<Start> starts;
  };
  struct CoreLog {
    std::vector<Job> jobs;
    bool open = false;  // between attach and detach
    std::uint32_t host_writes = 0, program_writes = 0;
  };

  std::mutex mutex_;
  CoreLog cores_[3];
  std::size_t told_ = 0;
  std::vector<TimedFault> faults_;
};

}  // namespace npu::sim
