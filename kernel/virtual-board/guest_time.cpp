// SPDX-License-Identifier: MIT
#include "kernel/virtual-board/guest_time.hpp"

#include <algorithm>
#include <cstdio>

namespace npu::vboard {
namespace {

constexpr std::int64_t kPoll = 2'000'000;
// A core that works for as long as this is not slow, it is stuck: the guest shall find out.
constexpr std::int64_t kLongestHold = 120'000'000'000;

}  // namespace

GuestTime::GuestTime(const qemu::Symbols& symbols, std::optional<std::int64_t> allowance_ns,
                     void (*poll)(void*), void* opaque)
    : qemu_(symbols), allowance_ns_(allowance_ns), timer_(qemu::kObjectBytes) {
  qemu_.timer_init(timer_.data(), nullptr, qemu::kRealtime, 1, 0, poll, opaque);
  left_.fill(allowance_ns.value_or(0));
  last_ = qemu_.clock_get_ns(qemu::kRealtime);
}

void GuestTime::update(const Busy& busy) {
  if (!allowance_ns_) return;
  const std::int64_t now = qemu_.clock_get_ns(qemu::kRealtime);
  const std::int64_t passed = now - last_;
  last_ = now;
  const bool stuck = held_ && now - held_since_ > kLongestHold;
  if (stuck)
    std::fprintf(stderr,
                 "rosenblatt-vboard: a core has worked for two minutes: the guest's clock "
                 "runs again\n");
  bool stop = false;
  for (unsigned core = 0; core < kCores; ++core) {
    if (!busy_[core])
      left_[core] = std::min(*allowance_ns_, left_[core] + passed);
    else if (!held_)
      left_[core] -= passed;
    given_up_[core] = busy[core] && (given_up_[core] || (stuck && left_[core] <= 0));
    stop = stop || (busy[core] && left_[core] <= 0 && !given_up_[core]);
  }
  busy_ = busy;
  hold(stop);
  if (std::find(busy.begin(), busy.end(), true) != busy.end())
    qemu_.timer_mod(timer_.data(), now + kPoll);
}

// "stop" and "cont" of the monitor use the same switch: a machine that does not run is left alone,
// and one that was continued meanwhile is stopped again.
void GuestTime::hold(bool stop) {
  const bool running = qemu_.runstate_is_running();
  if (stop && running) qemu_.cpu_disable_ticks();
  if (!stop && held_ && running) qemu_.cpu_enable_ticks();
  if (stop && !held_) held_since_ = last_;
  held_ = stop;
}

}  // namespace npu::vboard
