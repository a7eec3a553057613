// SPDX-License-Identifier: MIT
// From what a Chip tells its observer to the events and figures of npusim.h.
#pragma once

#include <array>
#include <functional>
#include <mutex>
#include <vector>

#include "npu-sim/npusim.h"
#include "npu-sim/observer.hpp"

namespace npu::sim {

class NpusimObserver final : public Observer {
 public:
  using Trace = std::function<void(const npusim_trace_event&)>;

  /// `trace` may be empty; `npu_hz` 0: no timing.
  NpusimObserver(Trace trace, std::uint64_t npu_hz);

  void started(unsigned core) override;
  void register_written(unsigned core, std::uint32_t offset, std::uint32_t value,
                        bool by_program) override;
  void task(const TaskRecord& record) override;
  void ended(unsigned core, std::uint32_t raw_status) override;
  void faulted(unsigned core, const Fault& fault) override;
  void interrupt(unsigned core, bool level);

  /// Of the last start that has ended.
  npusim_start_info last_start(unsigned core) const;

 private:
  Trace trace_;
  double npu_hz_;
  // Each touched by the thread of its core only.
  std::array<npusim_start_info, 3> now_{};
  std::array<std::vector<TaskWork>, 3> works_;  // empty without timing
  mutable std::mutex mutex_;
  std::array<npusim_start_info, 3> last_{};  // guarded by mutex_
};

}  // namespace npu::sim
