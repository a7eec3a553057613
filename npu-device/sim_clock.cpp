// SPDX-License-Identifier: MIT
#include "npu-device/sim_clock.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "npu-sim/timing.hpp"

namespace npu::device {

SimClock::SimClock(const SimTiming& timing, std::shared_ptr<sim::Observer> next)
    : timing_(timing), next_(std::move(next)) {}

void SimClock::attached(unsigned core, bool present) {
  if (next_) next_->attached(core, present);
}

void SimClock::started(unsigned core) {
  if (listening_ && current_[core] != nullptr) current_[core]->starts.emplace_back();
  if (next_) next_->started(core);
}

void SimClock::register_written(unsigned core, std::uint32_t offset, std::uint32_t value,
                                bool by_program) {
  if (next_) next_->register_written(core, offset, value, by_program);
}

void SimClock::task(const sim::TaskRecord& record) {
  ClockedJob* const job = current_[record.core];
  if (job != nullptr && !job->starts.empty()) job->starts.back().push_back(record.work);
  if (next_ && next_->listens()) next_->task(record);
}

void SimClock::ended(unsigned core, std::uint32_t raw_status) {
  if (next_) next_->ended(core, raw_status);
}

void SimClock::faulted(unsigned core, const sim::Fault& fault) {
  if (next_) next_->faulted(core, fault);
}

void SimClock::submitted(const std::shared_ptr<ClockedJob>& job) {
  if (listening_) log_.push_back({Event::What::submit, job});
}

void SimClock::waited(const std::shared_ptr<ClockedJob>& job) {
  if (listening_ && job) log_.push_back({Event::What::wait, job});
}

void SimClock::synchronised(std::uint64_t bytes) {
  if (listening_) log_.push_back({Event::What::synchronise, nullptr, bytes});
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

// Lets the cores work until `job` has ended. A core's jobs run in order; each goes on at the rate
// that belongs to the number of cores at work.
void SimClock::advance_to(const ClockedJob& job) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  while (!job.end) {
    double arrival = kNever;
    unsigned active = 0;
    for (const auto& queue : queues_) {
      if (queue.empty()) continue;
      if (queue.front()->ready <= cores_)
        ++active;
      else
        arrival = std::min(arrival, queue.front()->ready);
    }
    if (active == 0) {
      if (arrival == kNever) return;  // it was submitted before the clock listened
      cores_ = arrival;
      continue;
    }
    const auto working = [&](const auto& queue) {
      return !queue.empty() && queue.front()->ready <= cores_;
    };
    double step = arrival - cores_;
    ClockedJob* next = nullptr;
    for (const auto& queue : queues_) {
      if (!working(queue)) continue;
      ClockedJob& head = *queue.front();
      const double left = (1 - head.progress) * head.seconds[active - 1];
      if (left <= step) {
        step = left;
        next = &head;
      }
    }
    std::array<bool, 3> works{};
    for (std::size_t core = 0; core < queues_.size(); ++core) works[core] = working(queues_[core]);
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
  }
}

std::chrono::nanoseconds SimClock::now() {
  for (Event& event : std::exchange(log_, {})) {
    switch (event.what) {
      case Event::What::submit:
        event.job->ready = host_;
        estimate(*event.job);
        queues_[event.job->core].push_back(std::move(event.job));
        break;
      case Event::What::wait:
        advance_to(*event.job);
        host_ = std::max(host_, event.job->end.value_or(host_));
        break;
      case Event::What::synchronise:
        host_ +=
            static_cast<double>(event.bytes) / timing_.calibration.host_sync_alone_bytes_per_second;
        break;
    }
  }
  return std::chrono::nanoseconds(static_cast<std::int64_t>(host_ * 1e9 + 0.5));
}

}  // namespace npu::device
