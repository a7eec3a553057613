// SPDX-License-Identifier: MIT
// Host threads for the simulator's inner loops.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace npu::sim {

/// A fixed set of threads that several simulated cores share. parallel_for() may be called from
/// different threads at a time; the caller works too, so it never waits for an idle pool.
class ThreadPool {
 public:
  /// `threads` counts the caller: 1 means no extra thread, 0 one per host CPU.
  explicit ThreadPool(unsigned threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  unsigned threads() const;

  /// Calls body(i) once for each i in [0, count), in any order, and returns when all are done.
  /// If bodies throw, the exception of the lowest index is thrown again here, whatever the
  /// schedule; work beyond it may be skipped.
  void parallel_for(std::size_t count, const std::function<void(std::size_t)>& body);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace npu::sim
