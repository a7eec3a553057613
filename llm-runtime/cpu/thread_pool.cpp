// SPDX-License-Identifier: MIT
#include "llm-runtime/cpu/thread_pool.hpp"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace npu::llm::cpu {
namespace {

// Pieces of one step, claimed one by one. The counters of a step share a word with its number, so
// that a claim succeeds only for the step whose counters were read.
constexpr unsigned kFieldBits = 20;
constexpr std::uint64_t kFieldMask = (std::uint64_t{1} << kFieldBits) - 1;
constexpr std::uint64_t next_piece(std::uint64_t ticket) { return ticket & kFieldMask; }
constexpr std::uint64_t pieces_of(std::uint64_t ticket) {
  return (ticket >> kFieldBits) & kFieldMask;
}

// Long enough for the serial parts between two steps of a token, short enough not to be noticed by
// others.
constexpr auto kSpin = std::chrono::microseconds(60);

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");  // waits some tens of cycles; `yield` is a no-op on many cores
#endif
}

/// Spins until done() or until the time is up; says which.
template <class Done>
bool spin(Done done) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 64; ++i) {
      if (done()) return true;
      relax();
    }
  } while (std::chrono::steady_clock::now() < end);
  return done();
}

thread_local bool inside_step = false;

unsigned own_cpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1U, std::thread::hardware_concurrency());
}

}  // namespace

struct ThreadPool::Impl {
  // What the threads spin on and what they count lie on lines of their own.
  alignas(64) std::atomic<std::uint64_t> ticket{0};
  alignas(64) std::atomic<std::uint32_t> steps{0};  // sleepers wait for it to change
  std::atomic<std::uint32_t> sleepers{0};
  std::atomic<bool> stop{false};
  alignas(64) std::atomic<std::uint32_t> done{0};
  // The current step: written before its ticket is published, read only while a piece is held.
  alignas(64) const FunctionRef<void(std::size_t, std::size_t)>* body = nullptr;
  std::size_t count = 0, grain = 1;
  std::atomic<bool> failed{false};
  std::exception_ptr error;

  std::mutex callers;
  std::vector<std::thread> workers;
  unsigned threads = 1;

  /// Takes pieces of the step that `seen` names until none is left.
  void work(std::uint64_t seen) {
    const std::uint64_t step = seen >> (2 * kFieldBits);
    while (seen >> (2 * kFieldBits) == step && next_piece(seen) < pieces_of(seen)) {
      if (!ticket.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel,
                                        std::memory_order_acquire))
        continue;
      const std::size_t begin = next_piece(seen) * grain;
      const std::uint32_t pieces = static_cast<std::uint32_t>(pieces_of(seen));
      try {
        (*body)(begin, std::min(count, begin + grain));
      } catch (...) {
        if (!failed.exchange(true)) error = std::current_exception();
      }
      if (done.fetch_add(1, std::memory_order_acq_rel) + 1 == pieces) done.notify_one();
      ++seen;
    }
  }

  void serve() {
    inside_step = true;
    std::uint64_t last = 0;
    for (;;) {
      const auto changed = [&] {
        return ticket.load() >> (2 * kFieldBits) != last || stop.load(std::memory_order_relaxed);
      };
      if (!spin(changed)) {
        sleepers.fetch_add(1);
        for (auto seen = steps.load(); !changed(); seen = steps.load()) steps.wait(seen);
        sleepers.fetch_sub(1);
      }
      if (stop.load(std::memory_order_relaxed)) return;
      const std::uint64_t seen = ticket.load(std::memory_order_acquire);
      last = seen >> (2 * kFieldBits);
      work(seen);
    }
  }
};

ThreadPool::ThreadPool(unsigned threads) : impl_(std::make_unique<Impl>()) {
  impl_->threads = threads == 0 ? own_cpus() : threads;
  for (unsigned i = 1; i < impl_->threads; ++i)
    impl_->workers.emplace_back([impl = impl_.get()] { impl->serve(); });
}

ThreadPool::~ThreadPool() {
  impl_->stop = true;
  ++impl_->steps;
  impl_->steps.notify_all();
  for (auto& worker : impl_->workers) worker.join();
}

unsigned ThreadPool::threads() const { return impl_->threads; }

void ThreadPool::parallel_for(std::size_t count, std::size_t grain,
                              FunctionRef<void(std::size_t, std::size_t)> body) {
  if (count == 0) return;
  grain = std::max({grain, std::size_t{1}, (count + kFieldMask - 1) / kFieldMask});
  const std::size_t pieces = (count + grain - 1) / grain;
  if (pieces == 1 || impl_->threads == 1 || inside_step) {
    for (std::size_t begin = 0; begin < count; begin += grain)
      body(begin, std::min(count, begin + grain));
    return;
  }
  Impl& impl = *impl_;
  const std::lock_guard lock(impl.callers);
  inside_step = true;
  impl.body = &body;
  impl.count = count;
  impl.grain = grain;
  impl.done.store(0, std::memory_order_relaxed);
  const std::uint64_t step = (impl.ticket.load(std::memory_order_relaxed) >> (2 * kFieldBits)) + 1;
  const std::uint64_t ticket = (step << (2 * kFieldBits)) | (std::uint64_t{pieces} << kFieldBits);
  impl.ticket.store(ticket, std::memory_order_seq_cst);
  // A thread that counts itself asleep after this load has yet to look at the ticket.
  if (impl.sleepers.load(std::memory_order_seq_cst) != 0) {
    impl.steps.fetch_add(1);
    impl.steps.notify_all();
  }
  impl.work(ticket);
  const auto ended = [&] { return impl.done.load(std::memory_order_acquire) == pieces; };
  if (!spin(ended))  // only the last piece notifies
    for (auto now = impl.done.load(); now != pieces; now = impl.done.load()) impl.done.wait(now);
  inside_step = false;
  if (impl.failed.load(std::memory_order_relaxed)) {
    impl.failed = false;
    std::rethrow_exception(std::exchange(impl.error, nullptr));
  }
}

void ThreadPool::run(FunctionRef<void(unsigned, unsigned)> body) {
  const unsigned workers = impl_->threads;
  parallel_for(workers, 1, [&](std::size_t begin, std::size_t) {
    body(static_cast<unsigned>(begin), workers);
  });
}

}  // namespace npu::llm::cpu
