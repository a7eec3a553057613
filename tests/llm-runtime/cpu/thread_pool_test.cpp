// SPDX-License-Identifier: MIT
#include "llm-runtime/cpu/thread_pool.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

namespace npu::llm::cpu {
namespace {

TEST(ThreadPool, EveryItemIsDoneOnce) {
  for (const unsigned threads : {1U, 2U, 5U}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (const std::size_t count : {0U, 1U, 2U, 7U, 1000U})
      for (const std::size_t grain : {1U, 3U, 2000U}) {
        std::vector<std::atomic<int>> done(count);
        pool.parallel_for(count, grain, [&](std::size_t begin, std::size_t end) {
          EXPECT_LT(begin, end);
          EXPECT_LE(end - begin, grain);
          for (std::size_t i = begin; i < end; ++i) ++done[i];
        });
        for (std::size_t i = 0; i < count; ++i) ASSERT_EQ(done[i], 1) << i;
      }
  }
}

TEST(ThreadPool, ManyStepsOneAfterTheOther) {
  ThreadPool pool(3);
  std::vector<std::uint64_t> sums(64);
  for (std::uint64_t step = 1; step <= 5000; ++step) {
    pool.parallel_for(64, 5, [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) sums[i] += step;
    });
    if (step % 1000 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));  // to sleep
  }
  for (const std::uint64_t sum : sums) EXPECT_EQ(sum, 5000U * 5001 / 2);
}

TEST(ThreadPool, RunCallsEveryWorkerOnce) {
  ThreadPool pool(4);
  std::vector<std::atomic<int>> calls(4);
  pool.run([&](unsigned worker, unsigned workers) {
    EXPECT_EQ(workers, 4U);
    ++calls[worker];
  });
  for (const auto& count : calls) EXPECT_EQ(count, 1);
}

TEST(ThreadPool, StepsWithinStepsAndSeveralCallersAreServed) {
  ThreadPool pool(2);
  std::atomic<int> total = 0;
  const auto work = [&] {
    for (int step = 0; step < 50; ++step)
      pool.parallel_for(8, 1, [&](std::size_t, std::size_t) {
        pool.parallel_for(4, 1, [&](std::size_t, std::size_t) { ++total; });
      });
  };
  std::thread other(work);
  work();
  other.join();
  EXPECT_EQ(total, 2 * 50 * 8 * 4);
}

TEST(ThreadPool, AnExceptionReachesTheCallerAndThePoolLivesOn) {
  ThreadPool pool(2);
  for (int i = 0; i < 20; ++i)
    EXPECT_THROW(pool.parallel_for(10, 1,
                                   [&](std::size_t begin, std::size_t) {
                                     if (begin == 3) throw std::runtime_error("three");
                                   }),
                 std::runtime_error);
  std::atomic<int> total = 0;
  pool.parallel_for(10, 1, [&](std::size_t, std::size_t) { ++total; });
  EXPECT_EQ(total, 10);
}

}  // namespace
}  // namespace npu::llm::cpu
