// SPDX-License-Identifier: MIT
// Threads for the many small parallel steps of a forward pass.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <type_traits>

namespace npu::llm::cpu {

/// Refers to a callable without owning it: a parallel step costs no allocation.
template <class Signature>
class FunctionRef;
template <class... Args>
class FunctionRef<void(Args...)> {
 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>)
      // NOLINTNEXTLINE(google-explicit-constructor): a lambda is passed where it stands
      FunctionRef(const F& f)
      : object_(&f),
        call_([](const void* object, Args... args) { (*static_cast<const F*>(object))(args...); }) {
  }
  void operator()(Args... args) const { call_(object_, args...); }

 private:
  const void* object_;
  void (*call_)(const void*, Args...);
};

/// A fixed set of threads. The caller works too and never waits for a thread that has not begun:
/// where other programs keep the CPUs busy, a late thread finds its share already done. Threads
/// spin for some tens of microseconds after a step, then sleep until the next one.
///
/// Steps run one at a time: a second caller waits for the first, and a step begun inside a step
/// runs in the calling thread alone.
class ThreadPool {
 public:
  /// `threads` counts the caller: 1 means no extra thread, 0 one per CPU of this process.
  explicit ThreadPool(unsigned threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  unsigned threads() const;

  /// Calls body(worker, workers) once for each worker in [0, workers), workers == threads(). One
  /// thread may take the part of several workers, so bodies must not wait for one another.
  void run(FunctionRef<void(unsigned, unsigned)> body);

  /// Calls body(begin, end) for pieces of at most `grain` items that together cover [0, count),
  /// in any order. An exception of a body is thrown again here when all pieces have ended.
  void parallel_for(std::size_t count, std::size_t grain,
                    FunctionRef<void(std::size_t, std::size_t)> body);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace npu::llm::cpu
