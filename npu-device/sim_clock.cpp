// SPDX-License-Identifier: MIT
#include "npu-device/sim_clock.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "npu-sim/timing.hpp"

namespace npu::device {

SimClock::SimClock(const SimTiming& timing, std::shared_ptr<sim::Observer> next)
    : sim::ForwardingObserver(std::move(next)), timing_(timing) {}

void SimClock::started(unsigned core) {
  if (listening_ && current_[core] != nullptr) current_[core]->starts.emplace_back();
  sim::ForwardingObserver::started(core);
}

void SimClock::task(const sim::TaskRecord& record) {
  ClockedJob* const job = current_[record.core];
  if (job != nullptr && !job->starts.empty()) job->starts.back().push_back(record.work);
  sim::ForwardingObserver::task(record);
}

void SimClock::submitted(const void* file, const std::shared_ptr<ClockedJob>& job) {
  if (listening_) log_.push_back({Event::What::submit, file, job});
}

void SimClock::waited(const void* file, const std::shared_ptr<ClockedJob>& job) {
  if (listening_ && job) log_.push_back({Event::What::wait, file, job});
}

void SimClock::synchronised(const void* file, std::uint64_t bytes) {
  if (listening_) log_.push_back({Event::What::synchronise, file, nullptr, bytes});
}

void SimClock::estimate(ClockedJob& job) const {
  for (unsigned active = 1; active <= job.seconds.size(); ++active) {
    const sim::JobTime time =
        sim::estimate_starts(job.starts, {.interrupt = timing_.interrupt}, timing_.calibration,
                             {.npu_hz = timing_.npu_hz, .active_cores = active});
    job.seconds[active - 1] = time.total;
    if (job.retired)
      job.seconds[active - 1] =
          std::max(time.total, time.dispatch() + timing_.calibration.driver_timeout_ms * 1e-3);
  }
}

// Lets the cores work until one job has ended; false if there is none. A core's jobs run in order;
// each goes on at the rate that belongs to the number of cores at work.
bool SimClock::end_next_job() {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  for (;;) {
    double arrival = kNever;
    std::array<bool, 3> works{};
    unsigned active = 0;
    for (std::size_t core = 0; core < queues_.size(); ++core) {
      if (queues_[core].empty()) continue;
      works[core] = queues_[core].front()->ready <= cores_;
      if (works[core])
        ++active;
      else
        arrival = std::min(arrival, queues_[core].front()->ready);
    }
    if (active == 0) {
      if (arrival == kNever) return false;
      cores_ = arrival;
      continue;
    }
    double step = arrival - cores_;
    const ClockedJob* next = nullptr;
    for (std::size_t core = 0; core < queues_.size(); ++core) {
      if (!works[core]) continue;
      const ClockedJob& head = *queues_[core].front();
      const double left = (1 - head.progress) * head.seconds[active - 1];
      if (left <= step) {
        step = left;
        next = &head;
      }
    }
    cores_ = next != nullptr ? cores_ + step : arrival;
    for (std::size_t core = 0; core < queues_.size(); ++core) {
      if (!works[core]) continue;
      ClockedJob& head = *queues_[core].front();
      const double seconds = head.seconds[active - 1];
      head.progress = seconds > 0 ? head.progress + step / seconds : 1;
      if (&head != next && head.progress < 1) continue;
      head.end = cores_;
      queues_[core].pop_front();
    }
    if (next != nullptr) return true;
  }
}

// False if the file's thread waits for a job that has not ended.
bool SimClock::do_next(Host& host) {
  Event& event = host.events.front();
  switch (event.what) {
    case Event::What::submit:
      event.job->ready = host.time;
      estimate(*event.job);
      queues_[event.job->core].push_back(event.job);
      break;
    case Event::What::wait:
      if (!event.job->end) return false;
      host.time = std::max(host.time, *event.job->end);
      break;
    case Event::What::synchronise:
      host.time +=
          static_cast<double>(event.bytes) / timing_.calibration.host_sync_alone_bytes_per_second;
      break;
  }
  host.events.pop_front();
  return true;
}

std::chrono::nanoseconds SimClock::now() {
  std::vector<Host> hosts;
  for (Event& event : std::exchange(log_, {})) {
    auto host = std::ranges::find(hosts, event.file, &Host::file);
    if (host == hosts.end()) host = hosts.insert(host, {event.file, {}, host_});
    host->events.push_back(std::move(event));
  }
  // The cores go on only when every thread waits for them: nobody submits into their past.
  for (;;) {
    bool done = true, moved = false;
    for (Host& host : hosts) {
      while (!host.events.empty() && do_next(host)) moved = true;
      done &= host.events.empty();
    }
    if (done) break;
    if (moved || end_next_job()) continue;
    // What they wait for was submitted before the clock listened.
    for (Host& host : hosts)
      if (!host.events.empty()) host.events.pop_front();
  }
  for (const Host& host : hosts) host_ = std::max(host_, host.time);
  return std::chrono::nanoseconds(static_cast<std::int64_t>(host_ * 1e9 + 0.5));
}

}  // namespace npu::device
