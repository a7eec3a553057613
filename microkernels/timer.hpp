// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>

namespace npu::kernels {

/// Adds the time of its life to a counter.
class Timer {
 public:
  explicit Timer(std::chrono::nanoseconds& total) : total_(total), start_(Clock::now()) {}
  ~Timer() { total_ += Clock::now() - start_; }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  std::chrono::nanoseconds& total_;
  Clock::time_point start_;
};

}  // namespace npu::kernels
