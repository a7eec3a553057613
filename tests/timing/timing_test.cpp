// SPDX-License-Identifier: MIT
#include "npu-sim/timing.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "npu-sim/calibration.hpp"
#include "regdb/error.hpp"

namespace npu::sim {
namespace {

const Calibration& constants() { return default_calibration().values; }

TaskWork tile(std::uint64_t m, std::uint32_t k, std::uint32_t n, MacType type) {
  TaskWork w;
  w.type = type;
  w.positions = m;
  w.channels = k;
  w.kernels = n;
  w.regcmd_words = 126;
  const double bytes = bits_of(type) / 8;
  w.feature_bytes = static_cast<std::uint64_t>(static_cast<double>(m * k) * bytes);
  w.weight_bytes = static_cast<std::uint64_t>(static_cast<double>(std::uint64_t{n} * k) * bytes);
  w.output_elements = m * n;
  w.output_bytes = m * n * 2;
  return w;
}

double seconds(const TaskWork& work, double mhz = 600, unsigned cores = 1) {
  return estimate(work, constants(), {mhz * 1e6, cores}).seconds;
}

TaskWork random_work(std::mt19937& random) {
  const auto up_to = [&random](std::uint64_t most) {
    return std::uniform_int_distribution<std::uint64_t>(0, most)(random);
  };
  TaskWork w;
  w.type = static_cast<MacType>(up_to(6));
  w.kernels = static_cast<std::uint32_t>(up_to(512));
  w.channels = static_cast<std::uint32_t>(up_to(1024));
  w.kernel_width = static_cast<std::uint32_t>(1 + up_to(6));
  w.kernel_height = static_cast<std::uint32_t>(1 + up_to(6));
  w.positions = up_to(4096);
  w.depthwise = up_to(3) == 0;
  w.regcmd_words = static_cast<std::uint32_t>(up_to(1200));
  w.feature_bytes = up_to(1 << 20);
  w.weight_bytes = up_to(1 << 20);
  w.operand_bytes = up_to(1 << 20);
  w.output_bytes = up_to(1 << 20);
  w.output_elements = up_to(1 << 18);
  w.data_reuse = up_to(3) == 0;
  w.weight_reuse = up_to(3) == 0;
  w.pool_elements = up_to(3) == 0 ? up_to(1 << 20) : 0;
  return w;
}

TEST(Timing, MoreWorkIsNeverFaster) {
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    const TaskWork work = random_work(random);
    const double before = seconds(work);
    const auto more = [&](auto change) {
      TaskWork bigger = work;
      change(bigger);
      EXPECT_GE(seconds(bigger), before * (1 - 1e-12)) << "round " << i;
    };
    more([](TaskWork& w) { w.kernels += 33; });
    more([](TaskWork& w) { w.channels = w.channels == 0 ? 0 : w.channels + 65; });
    more([](TaskWork& w) { w.positions += 100; });
    more([](TaskWork& w) { ++w.kernel_height; });
    more([](TaskWork& w) { w.regcmd_words += 1000; });
    more([](TaskWork& w) { w.feature_bytes += 100'000; });
    more([](TaskWork& w) { w.weight_bytes += 100'000; });
    more([](TaskWork& w) { w.operand_bytes += 100'000; });
    more([](TaskWork& w) { w.output_bytes += 100'000; });
    more([](TaskWork& w) { w.data_reuse = w.weight_reuse = false; });
    more([](TaskWork& w) { w.pool_elements = w.pool_elements == 0 ? 0 : w.pool_elements * 2; });
  }
}

TEST(Timing, AHigherClockIsNeverSlowerAndMoreCoresNeverShareLess) {
  std::mt19937 random(2);
  for (int i = 0; i < 2000; ++i) {
    const TaskWork work = random_work(random);
    for (const unsigned cores : {1u, 2u, 3u}) {
      EXPECT_LE(seconds(work, 600, cores), seconds(work, 200, cores) * (1 + 1e-12));
      EXPECT_LE(seconds(work, 1000, cores), seconds(work, 600, cores) * (1 + 1e-12));
      EXPECT_GE(seconds(work, 1000, cores + 1), seconds(work, 1000, cores) * (1 - 1e-12));
    }
  }
}

TEST(Timing, TheLimitingResourceIsTheOneThatWasMadeScarce) {
  const auto limit = [](const TaskWork& w, double mhz = 600, unsigned cores = 1) {
    return estimate(w, constants(), {mhz * 1e6, cores}).limit;
  };
  TaskWork w = tile(64, 64, 64, MacType::int8);
  EXPECT_EQ(limit(w), Resource::start);
  const auto with = [&w](auto change) {
    TaskWork changed = w;
    change(changed);
    return changed;
  };
  EXPECT_EQ(limit(with([](TaskWork& t) { t.positions = 1 << 20; })), Resource::mac);
  EXPECT_EQ(limit(with([](TaskWork& t) { t.feature_bytes = 1 << 24; })), Resource::feature);
  EXPECT_EQ(limit(with([](TaskWork& t) { t.weight_bytes = 1 << 24; })), Resource::weight);
  EXPECT_EQ(limit(with([](TaskWork& t) { t.operand_bytes = 1 << 24; })), Resource::operand);
  EXPECT_EQ(limit(with([](TaskWork& t) {
              t.output_bytes = 1 << 24;
              t.output_elements = 0;
            })),
            Resource::write);
  EXPECT_EQ(limit(with([](TaskWork& t) { t.output_elements = 1 << 24; })), Resource::dpu);
  EXPECT_EQ(limit(with([](TaskWork& t) { t.regcmd_words = 1 << 20; })), Resource::fetch);
  EXPECT_EQ(limit(with([](TaskWork& t) { t.pool_elements = 1 << 24; })), Resource::ppu);
  // Three cores at 1 GHz ask for 48 GB/s, more than the memory has; at 200 MHz they do not.
  const TaskWork heavy = with([](TaskWork& t) { t.weight_bytes = 1 << 24; });
  EXPECT_EQ(limit(heavy, 1000, 3), Resource::dram);
  EXPECT_EQ(limit(heavy, 200, 3), Resource::weight);
}

TEST(Timing, MacCyclesAreThoseOfWholeArrayBlocks) {
  const auto cycles = [](const TaskWork& w) { return estimate(w, constants(), {}).mac; };
  EXPECT_EQ(cycles(tile(256, 384, 256, MacType::fp16)), 256.0 * 384 * 256 / 512);
  EXPECT_EQ(cycles(tile(256, 768, 256, MacType::int8)), 256.0 * 768 * 256 / 1024);
  EXPECT_EQ(cycles(tile(256, 1536, 256, MacType::int4)), 256.0 * 1536 * 256 / 2048);
  EXPECT_EQ(cycles(tile(256, 192, 256, MacType::tf32)), 256.0 * 192 * 256 / 256);
  // One channel or kernel too many costs a whole block.
  EXPECT_EQ(cycles(tile(10, 33, 32, MacType::int8)), 20);
  EXPECT_EQ(cycles(tile(10, 32, 33, MacType::int8)), 20);
  EXPECT_EQ(cycles(tile(10, 32, 17, MacType::fp16)), 20);
  EXPECT_EQ(cycles(tile(10, 32, 65, MacType::int4)), 20);
  TaskWork depthwise = tile(100, 128, 1, MacType::int8);
  depthwise.depthwise = true;
  depthwise.kernel_width = depthwise.kernel_height = 3;
  EXPECT_EQ(cycles(depthwise), 100 * 9 * 128 / constants().depthwise_int8);
}

TEST(Timing, UtilisationAndBandwidthFollowFromTheirParts) {
  const TaskWork w = tile(256, 384, 256, MacType::fp16);
  const TaskTime t = estimate(w, constants(), {600e6, 1});
  EXPECT_EQ(t.bytes, 126u * 8 + 2 * 256 * 384 * 2 + 256 * 256 * 2);
  EXPECT_DOUBLE_EQ(t.seconds, t.total / 600e6);
  EXPECT_DOUBLE_EQ(t.mac_utilisation, t.mac / t.total);
  EXPECT_DOUBLE_EQ(t.bytes_per_second, static_cast<double>(t.bytes) / t.seconds);
  EXPECT_DOUBLE_EQ(t.total, t.load + t.body);
  EXPECT_LT(t.mac_utilisation, 1);
}

TEST(Timing, ReusedOperandsAreNotLoaded) {
  TaskWork w = tile(256, 384, 256, MacType::fp16);
  const TaskTime all = estimate(w, constants(), {});
  w.data_reuse = w.weight_reuse = true;
  const TaskTime reused = estimate(w, constants(), {});
  EXPECT_EQ(reused.feature, 0);
  EXPECT_EQ(reused.weight, 0);
  EXPECT_EQ(all.bytes - reused.bytes, w.feature_bytes + w.weight_bytes);
  EXPECT_LT(reused.total, all.total);
}

TEST(Timing, AChainSavesInterruptsAndHidesTheNextLoadWhereCbufHasRoom) {
  // 4 banks a task: two fit. 12 banks: they do not.
  const std::vector<TaskWork> small(8, tile(128, 256, 128, MacType::fp16));
  const std::vector<TaskWork> full(8, tile(256, 384, 256, MacType::fp16));
  const auto saved_cycles = [](const std::vector<TaskWork>& tasks) {
    const JobTime gapped = estimate_job(tasks, {}, constants(), {});
    Dispatch one_start;
    one_start.chained = true;
    const JobTime chained = estimate_job(tasks, one_start, constants(), {});
    EXPECT_EQ(chained.interrupts, 0);
    EXPECT_NEAR(gapped.interrupts, 7e-6 * constants().task_interrupt_little_us, 1e-12);
    return (gapped.device - chained.device) * 600e6 / 7;
  };
  EXPECT_NEAR(saved_cycles(small), estimate(small[0], constants(), {}).load, 1e-3);
  EXPECT_NEAR(saved_cycles(full), estimate(full[0], constants(), {}).fetch, 1e-3);
}

TEST(Timing, AJobsOverheadDependsOnTheInterruptsCoreAndTheIommu) {
  const std::vector<TaskWork> tasks(1, tile(8, 64, 16, MacType::fp16));
  const auto us = [&tasks](InterruptCore core, bool kept) {
    return 1e6 * estimate_job(tasks, {core, kept, false}, constants(), {}).total;
  };
  // The published table: 51, 33.5, 31 and 27.5 us, and 15 to 20 us for the IOMMU.
  EXPECT_NEAR(us(InterruptCore::little, true), 51, 2);
  EXPECT_NEAR(us(InterruptCore::big_floating, true), 33.5, 2);
  EXPECT_NEAR(us(InterruptCore::big_other, true), 31, 2);
  EXPECT_NEAR(us(InterruptCore::big_same, true), 27.5, 2);
  const double iommu = us(InterruptCore::little, false) - us(InterruptCore::little, true);
  EXPECT_GE(iommu, 15);
  EXPECT_LE(iommu, 20);
}

TEST(Timing, ThreadsShareCoresAndHideTheirHostWork) {
  EXPECT_DOUBLE_EQ(makespan(1, 2, 1, 3), 3);
  EXPECT_DOUBLE_EQ(makespan(1, 2, 3, 3), 3);
  EXPECT_DOUBLE_EQ(makespan(0, 2, 6, 3), 4);
  EXPECT_DOUBLE_EQ(makespan(10, 2, 5, 3), 12);
  EXPECT_THROW(makespan(1, 1, 0, 3), Error);
}

TEST(Timing, AnEmptyJobAndAnImpossibleClock) {
  EXPECT_EQ(estimate_job({}, {}, constants(), {}).total, 0);
  EXPECT_THROW(estimate({}, constants(), {0, 1}), Error);
  EXPECT_THROW(estimate({}, constants(), {std::nan(""), 1}), Error);
  EXPECT_THROW(estimate({}, constants(), {600e6, 0}), Error);
}

}  // namespace
}  // namespace npu::sim
