// SPDX-License-Identifier: MIT
#include "npu-sim/timeline.hpp"

#include <algorithm>
#include <utility>

namespace npu::sim {

void TimelineRecorder::attached(unsigned core, bool present) {
  const std::lock_guard lock(mutex_);
  CoreLog& log = cores_[core];
  if (present) log.jobs.emplace_back();
  log.open = present;
}

void TimelineRecorder::started(unsigned core) {
  const std::lock_guard lock(mutex_);
  CoreLog& log = cores_[core];
  // A space that stays attached makes no jobs of its own: each start is one then.
  if (log.jobs.empty() || !log.open) log.jobs.emplace_back();
  log.jobs.back().starts.emplace_back();
}

void TimelineRecorder::register_written(unsigned core, std::uint32_t, std::uint32_t,
                                        bool by_program) {
  const std::lock_guard lock(mutex_);
  ++(by_program ? cores_[core].program_writes : cores_[core].host_writes);
}

void TimelineRecorder::task(const TaskRecord& record) {
  const std::lock_guard lock(mutex_);
  CoreLog& log = cores_[record.core];
  TimedTask& task = log.jobs.back().starts.back().tasks.emplace_back();
  task.record = record;
  task.host_writes = std::exchange(log.host_writes, 0);
  task.program_writes = std::exchange(log.program_writes, 0);
  ++told_;
}

void TimelineRecorder::faulted(unsigned core, const Fault& fault) {
  const std::lock_guard lock(mutex_);
  faults_.push_back({core, told_, fault});
}

Timeline TimelineRecorder::take(const Calibration& calibration, double npu_hz,
                                const Dispatch& dispatch) {
  const std::lock_guard lock(mutex_);
  Timeline out;
  out.faults = std::exchange(faults_, {});
  told_ = 0;
  for (const CoreLog& log : cores_) out.cores += !log.jobs.empty();
  const Operating operating{npu_hz, std::max(1u, out.cores)};
  for (unsigned core = 0; core < 3; ++core) {
    double clock = 0, device = 0;
    std::size_t start_index = 0, job_index = 0;
    for (Job& logged : std::exchange(cores_[core].jobs, {})) {
      TimedJob job{core, out.tasks.size(), 0, logged.starts.size(), clock, {}};
      std::vector<std::vector<TaskWork>> works;
      for (const Start& start : logged.starts)
        for (auto& list = works.emplace_back(); const TimedTask& task : start.tasks)
          list.push_back(task.record.work);
      job.time = estimate_starts(works, dispatch, calibration, operating);
      // The device's share begins after half of what the host does: submit and attach come before,
      // the interrupt and the waiter's wake-up after [derived; only the sum was measured].
      double at = clock + (job.time.submit + job.time.iommu) / 2;
      const double between =
          logged.starts.size() > 1
              ? job.time.interrupts / static_cast<double>(logged.starts.size() - 1)
              : 0;
      for (std::size_t s = 0; s < logged.starts.size(); ++s, ++start_index) {
        if (s != 0) at += between;
        const std::vector<ChainedTask> chain = estimate_chain(works[s], calibration, operating);
        for (std::size_t t = 0; t < logged.starts[s].tasks.size(); ++t) {
          TimedTask& task = logged.starts[s].tasks[t];
          task.time = chain[t].time;
          task.begin = at;
          task.seconds = chain[t].seconds;
          task.job = job_index;
          task.start = start_index;
          at += chain[t].seconds;
          out.tasks.push_back(std::move(task));
        }
      }
      job.tasks = out.tasks.size() - job.first_task;
      clock += job.time.total;
      device += job.time.device;
      out.jobs.push_back(job);
      ++job_index;
    }
    if (clock > out.total) {
      out.total = clock;
      out.device = device;
      out.dispatch = clock - device;
    }
  }
  return out;
}

std::vector<NamedQuirk> name_quirks(const Timeline& timeline) {
  std::vector<NamedQuirk> quirks;
  for (const TimedTask& task : timeline.tasks)
    for (const QuirkNote& note : task.record.quirks) {
      const auto same = std::find_if(quirks.begin(), quirks.end(), [&](const NamedQuirk& q) {
        return q.note.quirk == note.quirk && q.note.where == note.where &&
               q.note.effect == note.effect;
      });
      if (same == quirks.end())
        quirks.push_back({note, 1});
      else
        ++same->tasks;
    }
  return quirks;
}

}  // namespace npu::sim
