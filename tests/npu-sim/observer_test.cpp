// SPDX-License-Identifier: MIT
// Observers hear what a task does; injected faults strike where they are told to.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "conv_case.hpp"
#include "npu-sim/injection.hpp"
#include "regdb/error.hpp"
#include "regdb/registers.hpp"

namespace npu::sim {
namespace {

using test::Bench;
using test::ConvCase;

struct Recorder final : Observer {
  std::vector<TaskRecord> tasks;
  std::vector<Fault> faults;
  std::vector<std::uint32_t> interrupts;
  std::size_t host_writes = 0, program_writes = 0, starts = 0, attaches = 0;
  void attached(unsigned, bool present) override { attaches += present; }
  void started(unsigned) override { ++starts; }
  void register_written(unsigned, std::uint32_t, std::uint32_t, bool by_program) override {
    ++(by_program ? program_writes : host_writes);
  }
  void task(const TaskRecord& record) override { tasks.push_back(record); }
  void ended(unsigned, std::uint32_t raw) override { interrupts.push_back(raw); }
  void faulted(unsigned, const Fault& fault) override { faults.push_back(fault); }
};

struct Watched {
  explicit Watched(std::string_view injections = {}) : bench(options(injections)) {
    bench.load(c, memory);
  }
  ChipOptions options(std::string_view injections) {
    ChipOptions o;
    o.threads = 1;
    o.observer = recorder;
    o.injections = parse_injections(injections);
    return o;
  }
  ConvCase c = [] {
    ConvCase v;
    v.in_channels = 32;
    v.out_channels = 64;
    v.pad_left = v.pad_top = v.pad_right = v.pad_bottom = 1;
    v.out_precision = 4;
    return v;
  }();
  std::mt19937 rng{7};
  test::ConvMemory memory = test::random_memory(c, rng);
  std::shared_ptr<Recorder> recorder = std::make_shared<Recorder>();
  Bench bench;
};

const Transfer& transfer_of(const TaskRecord& record, Engine engine) {
  const auto it = std::find_if(record.transfers.begin(), record.transfers.end(),
                               [engine](const Transfer& t) { return t.engine == engine; });
  if (it == record.transfers.end()) throw std::runtime_error("no such transfer");
  return *it;
}

TEST(Observer, HearsOfEveryWriteAndTheTask) {
  Watched w;
  const auto words = program(w.c);
  ASSERT_TRUE(w.bench.run(words));
  ASSERT_EQ(w.recorder->tasks.size(), 1u);
  EXPECT_EQ(w.recorder->starts, 1u);
  EXPECT_EQ(w.recorder->interrupts.size(), 1u);
  EXPECT_NE(w.recorder->interrupts[0] & 0x300, 0u);
  EXPECT_GT(w.recorder->host_writes, 5u);
  // All words but the marker and the enable word write a register (or the PC).
  EXPECT_GE(w.recorder->program_writes + 3, words.size());
  EXPECT_LT(w.recorder->program_writes, words.size());

  const TaskRecord& task = w.recorder->tasks[0];
  EXPECT_EQ(task.operation, "conv 3x3 int8 8x8x32 -> 8x8x64");
  EXPECT_EQ(task.work.macs(), 64ull * 64 * 32 * 9);
  EXPECT_EQ(task.work.regcmd_words, words.size());
  EXPECT_EQ(task.work.feature_bytes, 8u * 8 * 32);
  EXPECT_EQ(task.work.weight_bytes, 9u * 32 * 64);
  EXPECT_EQ(task.work.output_bytes, 8u * 8 * 64 * 4);
  EXPECT_EQ(transfer_of(task, Engine::feature).iova, test::kInputIova);
  EXPECT_EQ(transfer_of(task, Engine::weight).iova, test::kWeightsIova);
  EXPECT_EQ(transfer_of(task, Engine::dpu_write).iova, test::kOutputIova);
}

TEST(Observer, TransfersLieInsideTheMappedBuffers) {
  Watched w;
  ASSERT_TRUE(w.bench.run(program(w.c)));
  for (const Transfer& t : w.recorder->tasks.at(0).transfers) {
    std::uint64_t bytes = 0;
    for_each_burst(t, [&](std::uint64_t iova, std::uint64_t size) {
      EXPECT_FALSE(w.bench.space->resolve(iova, size).empty()) << to_string(t.engine);
      bytes += size;
    });
    EXPECT_EQ(bytes, t.total());
  }
}

TEST(Observer, NamesTheQuirkThatLeavesSurfacesUnwritten) {
  Watched w;
  w.c.size_e = 3;
  ASSERT_TRUE(w.bench.run(program(w.c)));
  const auto& quirks = w.recorder->tasks.at(0).quirks;
  ASSERT_FALSE(quirks.empty());
  EXPECT_EQ(quirks[0].quirk, "size_e_counts_surfaces");
  EXPECT_EQ(quirks[0].where, "DPU.BS_OW_CFG.size_e_0");
}

TEST(Observer, NamesTheQuirkOfAHang) {
  Watched w;
  w.c.out_precision = 0;
  w.c.size_e = 7;
  EXPECT_FALSE(w.bench.run(program(w.c)));
  ASSERT_EQ(w.recorder->faults.size(), 1u);
  EXPECT_EQ(w.recorder->faults[0].quirk, "size_e_counts_surfaces");
}

TEST(Observer, TellsOfRegistersThatAnEarlierStartWrote) {
  Watched w;
  auto words = program(w.c);
  ASSERT_TRUE(w.bench.run(words));
  const auto has_note = [&] {
    const auto& quirks = w.recorder->tasks.back().quirks;
    return std::any_of(quirks.begin(), quirks.end(),
                       [](const QuirkNote& n) { return n.quirk == "registers_survive"; });
  };
  EXPECT_FALSE(has_note());
  // Without its kernels' size a program lives off the one before, of the same register group.
  ASSERT_TRUE(w.bench.run(words));
  std::erase_if(words, [](std::uint64_t word) {
    return (word & 0xFFFF) == regdb::cna::WEIGHT_SIZE2::offset;
  });
  ASSERT_TRUE(w.bench.run(words));
  EXPECT_TRUE(has_note());
}

TEST(Injection, DroppedInterruptLeavesTheDataRight) {
  Watched w("drop-interrupt@2");
  const auto words = program(w.c);
  ASSERT_TRUE(w.bench.run(words));
  EXPECT_FALSE(w.bench.run(words));
  EXPECT_FALSE(w.bench.chip.fault(0).has_value());
  EXPECT_EQ(w.bench.output(w.c), reference(w.c, w.memory));
  EXPECT_TRUE(w.bench.run(words));
}

TEST(Injection, CorruptedWeightBeatChangesTheResultOnceAndMemoryNever) {
  // The first beat of the weights: after the program's and the features' beats.
  Watched dry;
  const auto words = program(dry.c);
  ASSERT_TRUE(dry.bench.run(words));
  const std::uint64_t before = (words.size() * 8 + 15) / 16 + 8 * 8 * 32 / 16;
  Watched w("corrupt@" + std::to_string(before + 1));
  ASSERT_TRUE(w.bench.run(words));
  EXPECT_NE(w.bench.output(w.c), reference(w.c, w.memory));
  EXPECT_EQ(std::memcmp(w.bench.at(test::kWeightsIova, w.memory.weights.size()),
                        w.memory.weights.data(), w.memory.weights.size()),
            0);
  ASSERT_TRUE(w.bench.run(words));
  EXPECT_EQ(w.bench.output(w.c), reference(w.c, w.memory));
}

TEST(Injection, IommuFaultNamesItsAddressAndHangsTheCore) {
  Watched w("iommu-fault@1");
  const auto words = program(w.c);
  EXPECT_FALSE(w.bench.run(words));
  ASSERT_TRUE(w.bench.chip.fault(0).has_value());
  EXPECT_EQ(w.bench.chip.fault(0)->kind, FaultKind::dma_read);
  EXPECT_EQ(w.bench.chip.fault(0)->iova, test::kProgramIova);
  EXPECT_FALSE(w.bench.run(words));
  w.bench.chip.reset(0);
  EXPECT_TRUE(w.bench.run(words)) << w.bench.chip.fault(0)->message;
}

TEST(Injection, HangEndsWithTheReset) {
  Watched w("hang@2");
  const auto words = program(w.c);
  EXPECT_TRUE(w.bench.run(words));
  EXPECT_FALSE(w.bench.run(words));
  ASSERT_TRUE(w.bench.chip.fault(0).has_value());
  EXPECT_EQ(w.bench.chip.fault(0)->kind, FaultKind::hang);
  EXPECT_FALSE(w.bench.run(words));
  w.bench.chip.reset(0);
  EXPECT_TRUE(w.bench.run(words));
  EXPECT_EQ(w.bench.output(w.c), reference(w.c, w.memory));
}

TEST(Injection, AddedLaterCountsFromTheNextStartOn) {
  Watched w("drop-interrupt@4");
  const auto words = program(w.c);
  ASSERT_TRUE(w.bench.run(words));
  w.bench.chip.inject(parse_injections("drop-interrupt@2,hang@1/core=1"));
  w.bench.chip.inject(parse_injections("hang@18446744073709551615"));
  EXPECT_TRUE(w.bench.run(words));
  EXPECT_FALSE(w.bench.run(words));
  EXPECT_FALSE(w.bench.run(words));  // its own, since the beginning
  EXPECT_TRUE(w.bench.run(words));
  // Beats too: the first of the next start is its program's.
  w.bench.chip.inject(parse_injections("iommu-fault@1"));
  EXPECT_FALSE(w.bench.run(words));
  ASSERT_TRUE(w.bench.chip.fault(0).has_value());
  EXPECT_EQ(w.bench.chip.fault(0)->iova, test::kProgramIova);
}

TEST(Injection, AddedWithoutEndIsRefusedUntilSomeHaveStruck) {
  Watched w;
  const auto words = program(w.c);
  const auto one = parse_injections("drop-interrupt@1/core=0");
  for (std::size_t i = 0; i < Injector::kMaxWaiting; ++i) w.bench.chip.inject(one);
  EXPECT_THROW(w.bench.chip.inject(one), Error);
  EXPECT_FALSE(w.bench.run(words));
  w.bench.chip.inject(one);
  EXPECT_FALSE(w.bench.run(words));
  EXPECT_TRUE(w.bench.run(words));
}

TEST(Injection, OfAnotherCoreLeavesThisOneAlone) {
  Watched w("iommu-fault@1/core=1,drop-interrupt@1/core=2");
  EXPECT_TRUE(w.bench.run(program(w.c), 0));
}

TEST(Injection, TextIsReadOrRefused) {
  const auto list = parse_injections("delay@3:250,corrupt@18446744073709551615/core=2");
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].delay.count(), 250);
  EXPECT_EQ(list[1].nth, ~std::uint64_t{0});
  EXPECT_EQ(list[1].core, 2u);
  EXPECT_TRUE(parse_injections("").empty());
  for (const char* bad :
       {"x", "corrupt", "corrupt@", "corrupt@0", "corrupt@-1", "delay@1", "delay@1:x",
        "corrupt@1/core=3", "corrupt@1/", "corrupt@1,", ",",
        "corrupt@1/core=", "delay@1:99999999999", "corrupt@1 ", "hang@", "hang@1:5"})
    EXPECT_THROW(parse_injections(bad), Error) << bad;
}

}  // namespace
}  // namespace npu::sim
