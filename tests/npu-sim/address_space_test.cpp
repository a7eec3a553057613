// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "npu-sim/address_space.hpp"
#include "npu-sim/rounding.hpp"
#include "npu-sim/thread_pool.hpp"
#include "regdb/error.hpp"

namespace npu::sim {
namespace {

std::shared_ptr<std::byte[]> pages(std::size_t n) {
  return std::shared_ptr<std::byte[]>(new std::byte[n * 4096]());
}

TEST(AddressSpace, BoundsAreTheWholePagesOfTheMapping) {
  AddressSpace space;
  space.map(0x2000, pages(1), 100);
  EXPECT_EQ(space.resolve(0x2000, 4096).size(), 4096u);
  EXPECT_TRUE(space.resolve(0x2000, 4097).empty());
  EXPECT_TRUE(space.resolve(0x1FFF, 1).empty());
  EXPECT_TRUE(space.resolve(0x3000, 1).empty());
  EXPECT_TRUE(space.resolve(~0ull, 1).empty());
}

TEST(AddressSpace, CopiesCrossAdjacentMappingsAndStopAtTheFirstHole) {
  AddressSpace space;
  space.map(0x1000, pages(1), 4096);
  space.map(0x2000, pages(1), 4096);
  const char text[] = "across";
  std::uint64_t bad = 0;
  ASSERT_TRUE(space.write(0x1FFD, text, sizeof text, &bad));
  char back[sizeof text] = {};
  ASSERT_TRUE(space.read(0x1FFD, back, sizeof back, &bad));
  EXPECT_STREQ(back, text);
  EXPECT_FALSE(space.read(0x2FFE, back, 4, &bad));
  EXPECT_EQ(bad, 0x3000u);
}

TEST(AddressSpace, OverlapsAndOddAddressesAreRefused) {
  AddressSpace space;
  space.map(0x1000, pages(2), 8192);
  EXPECT_THROW(space.map(0x2000, pages(1), 4096), Error);
  EXPECT_THROW(space.map(0, pages(2), 4097), Error);
  EXPECT_THROW(space.map(0x800, pages(1), 1), Error);
  EXPECT_THROW(space.map(0xFFFFF000, pages(2), 8192), Error);
  EXPECT_THROW(space.map(0x10000, pages(1), 0), Error);
}

TEST(ThreadPool, EveryIndexRunsOnceAlsoFromSeveralCallers) {
  ThreadPool pool(4);
  std::vector<std::thread> callers;
  std::atomic<int> total = 0;
  for (int t = 0; t < 4; ++t)
    callers.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        std::vector<std::atomic<int>> hits(97);
        pool.parallel_for(hits.size(), [&](std::size_t i) { ++hits[i]; });
        for (auto& hit : hits) total += hit == 1;
      }
    });
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(total, 4 * 50 * 97);
}

TEST(ThreadPool, TheLowestFailingIndexIsTheOneReported) {
  ThreadPool pool(4);
  for (int round = 0; round < 200; ++round) {
    try {
      pool.parallel_for(64, [](std::size_t i) {
        if (i % 2 == 1) throw static_cast<int>(i);
      });
      ADD_FAILURE();
    } catch (int index) {
      ASSERT_EQ(index, 1);
    }
  }
}

TEST(ThreadPool, TheFirstExceptionReachesTheCaller) {
  ThreadPool pool(3);
  EXPECT_THROW(pool.parallel_for(100,
                                 [](std::size_t i) {
                                   if (i == 42) throw 42;
                                 }),
               int);
  int runs = 0;
  pool.parallel_for(1, [&](std::size_t) { ++runs; });
  EXPECT_EQ(runs, 1);
}

TEST(Rounding, EveryRuleRoundsToTheNearest) {
  for (const TieRule rule : {TieRule::half_even, TieRule::half_up, TieRule::half_away})
    for (std::int64_t v = -70; v <= 70; ++v)
      for (std::uint32_t shift = 1; shift <= 5; ++shift) {
        const std::int64_t unit = std::int64_t{1} << shift;
        const std::int64_t off = round_shift(v, shift, rule) * unit - v;
        EXPECT_LE(2 * std::abs(off), unit) << v << " >> " << shift;
      }
  EXPECT_EQ(round_shift(INT64_MIN, 63, TieRule::half_even), -1);
}

}  // namespace
}  // namespace npu::sim
