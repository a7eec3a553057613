// SPDX-License-Identifier: MIT
// The vendor driver's scheduler over the simulated chip: one queue per core, a job may need
// several cores at once, the tasks of a core are one chain in one start [rknpu_job.c].
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "npu-sim/chip.hpp"
#include "preload/rknpu_object.hpp"
#include "preload/rknpu_uapi.h"

namespace npu::preload {

/// Thread safe.
class RknpuMachine {
 public:
  /// A job without its interrupt is given up after its own timeout, but after `longest` at most.
  RknpuMachine(const sim::ChipOptions& options, std::chrono::milliseconds longest,
               RknpuObjects& objects);
  ~RknpuMachine();
  RknpuMachine(const RknpuMachine&) = delete;
  RknpuMachine& operator=(const RknpuMachine&) = delete;

  unsigned cores() const { return static_cast<unsigned>(queues_.size()); }

  /// SUBMIT without its fences: 0 or a negative errno; `args` is what the kernel copies back.
  /// A job with RKNPU_JOB_NONBLOCK has ended, too, when this returns: the simulated chip computes
  /// in no time, so that a program that was written against a fast one finds its results.
  int submit(rknpu_submit& args);

  /// RKNPU_ACT_RESET: all cores.
  void reset();

 private:
  struct Job;
  class Clock;
  using Steady = std::chrono::steady_clock;

  int check(const rknpu_submit& args, const std::shared_ptr<RknpuObject>& tasks) const;
  void enqueue(const std::shared_ptr<Job>& job);
  int wait(Job& job, rknpu_submit& args, std::unique_lock<std::mutex>& lock);
  bool stuck(const Job& job) const;
  void abandon(Job& job);
  void clean_timed_out(std::uint32_t mask, std::unique_lock<std::mutex>& lock);
  void reset_cores(std::unique_lock<std::mutex>& lock);
  void work(unsigned core);
  bool run(Job& job, unsigned core);

  RknpuObjects& objects_;
  std::shared_ptr<Clock> clock_;
  sim::Chip chip_;
  std::chrono::milliseconds longest_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::vector<std::deque<std::shared_ptr<Job>>> queues_;  // per core: not yet taken
  std::vector<std::shared_ptr<Job>> current_;             // per core
  std::vector<bool> busy_;                                // per core: its thread is with the chip
  std::vector<std::uint64_t> loads_;                      // per core: tasks queued and running
  std::uint64_t resets_ = 0;
  std::vector<std::thread> threads_;
};

/// Where a core's share of the tasks is: a submit's own range counts for nothing on a chip with
/// several cores. `used`: how many cores the job runs on.
rknpu_subcore_task rknpu_share(const rknpu_submit& args, unsigned core, unsigned used);

}  // namespace npu::preload
