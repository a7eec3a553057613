// SPDX-License-Identifier: MIT
#include "npu-sim/thread_pool.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace npu::sim {
namespace {

// One parallel_for call. Shared, because a helper may still look at it after the caller left.
struct Loop {
  std::size_t count;
  const std::function<void(std::size_t)>* body;
  std::atomic<std::size_t> next{0};
  std::atomic<std::size_t> failed_at{~std::size_t{0}};  // lowest index that threw
  std::mutex mutex;
  std::condition_variable all_done;
  std::size_t done = 0;  // guarded by mutex
  std::exception_ptr error;

  void work() {
    std::size_t finished = 0;
    for (std::size_t i; (i = next.fetch_add(1)) < count; ++finished) {
      // Lower indices still run, so that the error does not depend on the schedule.
      if (i > failed_at.load(std::memory_order_relaxed)) continue;
      try {
        (*body)(i);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (i < failed_at) {
          failed_at = i;
          error = std::current_exception();
        }
      }
    }
    if (finished == 0) return;
    const std::lock_guard lock(mutex);
    done += finished;
    if (done == count) all_done.notify_all();
  }
};

}  // namespace

struct ThreadPool::Impl {
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<std::shared_ptr<Loop>> loops;
  bool stop = false;
  std::vector<std::thread> helpers;

  void run() {
    std::unique_lock lock(mutex);
    for (;;) {
      wake.wait(lock, [this] { return stop || !loops.empty(); });
      if (stop) return;
      const std::shared_ptr<Loop> loop = loops.front();
      if (loop->next.load() >= loop->count) {
        loops.pop_front();
        continue;
      }
      lock.unlock();
      loop->work();
      lock.lock();
    }
  }
};

ThreadPool::ThreadPool(unsigned threads) : impl_(std::make_unique<Impl>()) {
  if (threads == 0) threads = std::max(1u, std::thread::hardware_concurrency());
  for (unsigned i = 1; i < threads; ++i) impl_->helpers.emplace_back([this] { impl_->run(); });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stop = true;
  }
  impl_->wake.notify_all();
  for (auto& helper : impl_->helpers) helper.join();
}

unsigned ThreadPool::threads() const { return static_cast<unsigned>(impl_->helpers.size()) + 1; }

void ThreadPool::parallel_for(std::size_t count, const std::function<void(std::size_t)>& body) {
  if (count == 0) return;
  if (count == 1 || impl_->helpers.empty()) {
    for (std::size_t i = 0; i < count; ++i) body(i);
    return;
  }
  const auto loop = std::make_shared<Loop>();
  loop->count = count;
  loop->body = &body;
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->loops.push_back(loop);
  }
  impl_->wake.notify_all();
  loop->work();
  {
    std::unique_lock lock(loop->mutex);
    loop->all_done.wait(lock, [&] { return loop->done == loop->count; });
  }
  {
    const std::lock_guard lock(impl_->mutex);
    std::erase(impl_->loops, loop);
  }
  if (loop->error) std::rethrow_exception(loop->error);
}

}  // namespace npu::sim
