// SPDX-License-Identifier: MIT
// The modelled clock of the simulated device. The model is arithmetic, so its figures are exact.
#include <gtest/gtest.h>

#include "npu-device/sim_device.hpp"
#include "npu-sim/timing.hpp"
#include "regdb/error.hpp"
#include "small_gemm.hpp"

namespace npu::device {
namespace {

using namespace std::chrono_literals;
using test::SmallGemm;

constexpr auto kWait = 60s;  // never reached: only bounds a failing test

SimOptions plain() {
  SimOptions options;
  options.chip.threads = 1;
  options.timing.calibration.host_sync_alone_bytes_per_second = 1e18;  // not to be seen
  return options;
}

sim::TaskWork small_work(std::size_t words) {
  return {.type = sim::MacType::int8,
          .kernels = test::kN,
          .channels = test::kK,
          .positions = test::kM,
          .regcmd_words = static_cast<std::uint32_t>(words),
          .feature_bytes = test::kM * test::kK,
          .weight_bytes = test::kN * test::kK,
          .output_bytes = test::kM * test::kN * 4,
          .output_elements = test::kM * test::kN};
}

double modelled(const SimOptions& options, std::size_t tasks, std::size_t words, bool chained,
                unsigned active = 1) {
  const std::vector<sim::TaskWork> works(tasks, small_work(words));
  return sim::estimate_job(works, {.chained = chained}, options.timing.calibration,
                           {.npu_hz = options.timing.npu_hz, .active_cores = active})
      .total;
}

double seconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

std::size_t words_of(const SmallGemm& gemm) { return gemm.job().tasks.at(0).regcmd_count; }

Job repeated(const SmallGemm& gemm, std::size_t tasks) {
  Job job = gemm.job();
  job.tasks.assign(tasks, job.tasks.at(0));
  return job;
}

TEST(SimClock, AJobTakesWhatTheModelSays) {
  for (const double mhz : {200.0, 600.0, 1000.0}) {
    SimOptions options = plain();
    options.timing.npu_hz = mhz * 1e6;
    const auto device = open_sim(options);
    EXPECT_EQ(device->info().time_base, TimeBase::model);
    EXPECT_EQ(device->info().npu_mhz, mhz);
    SmallGemm gemm(*device, 1);
    for (const std::size_t tasks : {1u, 7u}) {
      const auto begin = device->now();
      device->submit(repeated(gemm, tasks));
      device->prep(gemm.c, kWait);
      EXPECT_NEAR(seconds(device->now() - begin), modelled(options, tasks, words_of(gemm), false),
                  2e-9);
    }
    EXPECT_EQ(gemm.result(), gemm.expected());
  }
}

TEST(SimClock, TimePassesOnlyInWhatTheHostWaitsFor) {
  const auto device = open_sim(plain());
  SmallGemm gemm(*device, 1);
  const auto begin = device->now();
  EXPECT_EQ(device->now(), begin);
  device->submit(gemm.job());
  EXPECT_EQ(device->now(), begin);
  device->prep(gemm.c, kWait);
  const auto end = device->now();
  EXPECT_GT(end, begin);
  device->prep(gemm.c, kWait);  // a second look costs nothing but the synchronisation
  EXPECT_EQ(device->now(), end);
}

TEST(SimClock, SynchronisingABufferTakesItsBytes) {
  SimOptions options = plain();
  options.timing.calibration.host_sync_alone_bytes_per_second = 1e9;
  const auto device = open_sim(options);
  const Buffer buffer = device->create_buffer(1'000'000);
  const auto begin = device->now();
  device->fini(buffer);
  EXPECT_EQ(device->now() - begin, 1ms);
  device->prep(buffer, kWait);
  EXPECT_EQ(device->now() - begin, 2ms);
}

TEST(SimClock, JobsOfOneFileFollowEachOtherAndThoseOfThreeRunTogether) {
  const SimOptions options = plain();
  const auto first = open_sim(options);
  const auto second = first->open_another(), third = first->open_another();
  SmallGemm a(*first, 1), b(*second, 2), c(*third, 3);
  const std::size_t words = words_of(a);

  auto begin = first->now();
  for (int i = 0; i < 3; ++i) first->submit(a.job());
  first->prep(a.c, kWait);
  EXPECT_NEAR(seconds(first->now() - begin), 3 * modelled(options, 1, words, false), 6e-9);

  begin = first->now();
  first->submit(a.job());
  second->submit(b.job());
  third->submit(c.job());
  first->prep(a.c, kWait);
  second->prep(b.c, kWait);
  third->prep(c.c, kWait);
  EXPECT_NEAR(seconds(first->now() - begin), modelled(options, 1, words, false, 3), 2e-9);
  EXPECT_EQ(first->now(), third->now());
}

// However fast this host is done with a job: by the modelled clock its core is busy.
TEST(SimClock, FilesKeepToTheirCoresAgainAndAgain) {
  SimOptions options = plain();
  options.computes = false;
  const auto first = open_sim(options);
  const auto second = first->open_another(), third = first->open_another();
  SmallGemm a(*first, 1), b(*second, 2), c(*third, 3);
  const double together = modelled(options, 5, words_of(a), false, 3);
  for (int i = 0; i < 50; ++i) {
    const auto begin = first->now();
    first->submit(repeated(a, 5));
    second->submit(repeated(b, 5));
    third->submit(repeated(c, 5));
    first->prep(a.c, kWait);
    second->prep(b.c, kWait);
    third->prep(c.c, kWait);
    ASSERT_NEAR(seconds(first->now() - begin), together, 3e-9) << "round " << i;
  }
}

TEST(SimClock, ALongerJobHasTheMemoryForItselfWhenTheOthersAreDone) {
  SimOptions options = plain();
  options.timing.calibration.dram_bytes_per_second = 1e8;  // what binds
  const auto first = open_sim(options);
  const auto second = first->open_another();
  SmallGemm a(*first, 1), b(*second, 2);
  const std::size_t words = words_of(a);
  const auto begin = first->now();
  first->submit(repeated(a, 10));
  second->submit(b.job());
  first->prep(a.c, kWait);
  second->prep(b.c, kWait);
  const double both = modelled(options, 1, words, false, 2);
  const double slow = modelled(options, 10, words, false, 2);
  const double alone = modelled(options, 10, words, false, 1);
  EXPECT_NEAR(seconds(first->now() - begin), both + (1 - both / slow) * alone, 4e-9);
}

TEST(SimClock, ARetiredJobTakesTheDriversTimeout) {
  const auto device = open_sim(plain());
  SmallGemm gemm(*device, 1);
  const auto words = device->create_buffer(64);
  words.as<std::uint64_t>()[0] = 0;  // no enable word
  const auto begin = device->now();
  device->submit(Job{{{words.iova(), 8}}, {words.handle()}, {gemm.c.handle()}});
  EXPECT_THROW(device->prep(gemm.c, kWait), Error);
  EXPECT_GE(device->now() - begin, 500ms);
  EXPECT_LT(device->now() - begin, 501ms);
}

// The programs of two tasks, the first one's trailer leading to the second.
struct Chain {
  Chain(Device& device, SmallGemm& a, SmallGemm& b) {
    const auto first = test::gemm_program(a.a.iova(), a.b.iova(), a.c.iova());
    const auto second = test::gemm_program(b.a.iova(), b.b.iova(), b.c.iova());
    count = static_cast<std::uint32_t>(first.size());
    const std::size_t stride = (count + 1) / 2 * 2;
    words = device.create_buffer(2 * stride * 8);
    const auto to = words.as<std::uint64_t>();
    std::ranges::copy(first, to.begin());
    std::ranges::copy(second, to.begin() + static_cast<std::ptrdiff_t>(stride));
    // [no operation, REGISTER_AMOUNTS, 0x41, enable]: where the next program is, and its length.
    const std::uint32_t next = words.iova() + static_cast<std::uint32_t>(stride * 8);
    const auto pc = [](std::uint32_t value, std::uint32_t offset) {
      return std::uint64_t{0x0101} << 48 | std::uint64_t{value} << 16 | offset;
    };
    to[count - 4] = pc(next, regdb::pc::BASE_ADDRESS::offset);
    to[count - 3] = pc((count + 1) / 2 - 1, regdb::pc::REGISTER_AMOUNTS::offset);
    job = {{{words.iova(), count}, {next, count}},
           {a.a.handle(), a.b.handle(), b.a.handle(), b.b.handle(), words.handle()},
           {a.c.handle(), b.c.handle()},
           true};
  }
  Buffer words;
  std::uint32_t count;
  Job job;
};

TEST(SimClock, ChainedJobsAreOneStartWhereTheDriverTakesThem) {
  SimOptions options = plain();
  {
    const auto stock = open_sim(options);
    SmallGemm a(*stock, 1), b(*stock, 2);
    const Chain chain(*stock, a, b);
    EXPECT_FALSE(stock->info().chains);
    EXPECT_THROW(stock->submit(chain.job), Error);
  }
  options.chains = true;
  const auto device = open_sim(options);
  SmallGemm a(*device, 1), b(*device, 2);
  const Chain chain(*device, a, b);
  const auto begin = device->now();
  device->submit(chain.job);
  device->prep(a.c, kWait);
  device->prep(b.c, kWait);
  EXPECT_EQ(a.result(), a.expected());
  EXPECT_EQ(b.result(), b.expected());
  EXPECT_NEAR(seconds(device->now() - begin), modelled(options, 2, chain.count, true), 2e-9);
  EXPECT_EQ(sim_stats(*device).tasks[0] + sim_stats(*device).tasks[1] + sim_stats(*device).tasks[2],
            2u);
}

TEST(SimClock, TimingOnlyTakesTheSameTimeAndWritesNothing) {
  SimOptions options = plain();
  const auto full = open_sim(options);
  options.computes = false;
  const auto dry = open_sim(options);
  EXPECT_FALSE(dry->info().computes);
  for (Device* device : {full.get(), dry.get()}) {
    SmallGemm gemm(*device, 1);
    const std::vector before(gemm.c.as<std::int32_t>().begin(), gemm.c.as<std::int32_t>().end());
    const auto begin = device->now();
    device->submit(repeated(gemm, 5));
    device->prep(gemm.c, kWait);
    EXPECT_NEAR(seconds(device->now() - begin), modelled(options, 5, words_of(gemm), false), 2e-9);
    EXPECT_EQ(std::ranges::equal(before, gemm.c.as<std::int32_t>()), device == dry.get());
  }
}

TEST(SimClock, TimingOnlyFindsWhatAStartWouldFind) {
  SimOptions options = plain();
  options.computes = false;
  const auto device = open_sim(options);
  SmallGemm gemm(*device, 1);
  const auto words = device->create_buffer(64);
  device->submit(Job{{{words.iova(), 8}}, {words.handle()}, {gemm.c.handle()}});
  EXPECT_THROW(device->prep(gemm.c, kWait), Error);
  device->submit(Job{{{0xFFFF0000, 8}}, {words.handle()}, {gemm.c.handle()}});
  EXPECT_THROW(device->prep(gemm.c, kWait), Error);
}

TEST(SimClock, ManyJobsWithoutALookAtTheClock) {
  const SimOptions options = plain();
  const auto device = open_sim(options);
  SmallGemm gemm(*device, 1);
  const auto begin = device->now();
  constexpr int kJobs = 3000;  // more events than the clock remembers
  for (int i = 0; i < kJobs; ++i) {
    device->submit(gemm.job());
    device->prep(gemm.c, kWait);
  }
  EXPECT_NEAR(seconds(device->now() - begin), kJobs * modelled(options, 1, words_of(gemm), false),
              1e-6);
}

TEST(SimClock, SpecsSetIt) {
  const auto device = open_device("sim:mhz=350.5,chain,timing-only,cores=2");
  EXPECT_EQ(device->info().npu_mhz, 350.5);
  EXPECT_TRUE(device->info().chains);
  EXPECT_FALSE(device->info().computes);
  EXPECT_EQ(device->info().cores, 2u);
  EXPECT_EQ(device->info().calibration, sim::default_calibration().name);
  for (const char* spec : {"sim:mhz=0", "sim:mhz=", "sim:mhz=5000", "sim:mhz=nan", "sim:chain=1",
                           "sim:calibration=", "sim:timing", "sim:mhz=1,,chain"})
    EXPECT_THROW(open_device(spec), Error) << spec;
  EXPECT_THROW(open_device("sim:calibration=/nowhere.json"), Error);
}

}  // namespace
}  // namespace npu::device
