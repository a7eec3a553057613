// SPDX-License-Identifier: MIT
// The simulated machine's time: when its jobs would have begun and ended on a board, by the timing
// model (docs/timing.md).
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "npu-device/sim_device.hpp"
#include "npu-sim/observer.hpp"

namespace npu::device {

/// A job as the clock sees it. Written by its core's thread while it runs, then by the clock.
struct ClockedJob {
  unsigned core = 0;
  std::vector<std::vector<sim::TaskWork>> starts;  ///< tasks of each start
  bool retired = false;                            ///< by the driver's timeout
  bool waited = false;                             ///< the host has seen its output

  // Times in seconds of the modelled clock.
  double ready = 0;                 ///< when the host had submitted it
  std::array<double, 3> seconds{};  ///< that it takes alone, and with one or two other busy cores
  double progress = 0;              ///< 0 to 1
  std::optional<double> end;
};

/// What the host did with each file, in order: submits, waits and buffer synchronisations. now()
/// replays what is new. A job takes its core for as long as JobTime::total; busy cores share the
/// memory. Time passes in jobs that the host waits for and in PREP_BO and FINI_BO; the host's own
/// work takes none. Every file is taken to have a thread of its own, and now() to be where they
/// meet: so it does not matter how this computer's threads take turns. Not thread safe: the machine
/// guards it, but for the observer's calls, which come from the threads of the cores.
class SimClock final : public sim::ForwardingObserver {
 public:
  SimClock(const SimTiming& timing, std::shared_ptr<sim::Observer> next);

  /// From now on the clock listens. What was submitted before takes no time.
  void start() { listening_ = true; }
  bool listening() const { return listening_; }

  /// `file` tells one file from another.
  void submitted(const void* file, const std::shared_ptr<ClockedJob>& job);
  void waited(const void* file, const std::shared_ptr<ClockedJob>& job);  ///< nullptr: none
  void synchronised(const void* file, std::uint64_t bytes);               ///< PREP_BO, FINI_BO

  /// Call it while no job is queued or runs.
  std::chrono::nanoseconds now();
  /// Whether so much is to be replayed that now() should be called for the memory's sake.
  bool full() const { return log_.size() >= 4096; }

  /// Called by a core's thread around its job; everything that the chip tells meanwhile is of it.
  void begin(unsigned core, ClockedJob* job) { current_[core] = job; }

  bool listens() const override { return listening_ || sim::ForwardingObserver::listens(); }
  void started(unsigned core) override;
  void task(const sim::TaskRecord& record) override;

 private:
  struct Event {
    enum class What : std::uint8_t { submit, wait, synchronise } what;
    const void* file;
    std::shared_ptr<ClockedJob> job;
    std::uint64_t bytes = 0;
  };

  /// What one file's thread did, and where it stands.
  struct Host {
    const void* file;
    std::deque<Event> events;
    double time = 0;
  };

  void estimate(ClockedJob& job) const;
  bool end_next_job();
  bool do_next(Host& host);

  SimTiming timing_;
  std::atomic<bool> listening_ = false;
  std::array<ClockedJob*, 3> current_{};  // each by its core's thread

  std::vector<Event> log_;
  std::array<std::deque<std::shared_ptr<ClockedJob>>, 3> queues_;
  double host_ = 0;   // where the host stood when it last asked
  double cores_ = 0;  // up to where the cores' work is known
};

}  // namespace npu::device
