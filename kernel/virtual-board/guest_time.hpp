// SPDX-License-Identifier: MIT
// The guest's clock, which must not run away from a model that is slower than the chip.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "kernel/virtual-board/qemu.hpp"
#include "kernel/virtual-board/soc.hpp"

namespace npu::vboard {

/// The kernel's scheduler gives a job 500 ms of guest time [rocket_job.c], and the model may need
/// more of the host's. So each core has an allowance of guest time: it shrinks while the core works
/// and grows back while it rests. A core that works on with nothing left stops the guest's clock
/// (the guest's CPUs go on) until it is done.
///
/// All members need QEMU's big lock.
class GuestTime {
 public:
  using Busy = std::array<bool, kCores>;

  GuestTime(const qemu::Symbols& symbols, std::optional<std::int64_t> allowance_ns,
            void (*poll)(void*), void* opaque);
  GuestTime(const GuestTime&) = delete;
  GuestTime& operator=(const GuestTime&) = delete;

  /// To be called when a core may have begun or ended to work; while one works, `poll` is called
  /// every few milliseconds, and calls this.
  void update(const Busy& busy);

  bool held() const { return held_; }

 private:
  void hold(bool stop);

  const qemu::Symbols& qemu_;
  std::optional<std::int64_t> allowance_ns_;
  std::vector<char> timer_;
  std::array<std::int64_t, kCores> left_{};
  std::array<bool, kCores> given_up_{};
  Busy busy_{};
  bool held_ = false;
  std::int64_t last_ = 0, held_since_ = 0;
};

}  // namespace npu::vboard
