// SPDX-License-Identifier: MIT
#include "npu-sim/dma_space.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "page_tables.hpp"
#include "regdb/error.hpp"

namespace npu::sim::test {
namespace {

constexpr std::uint64_t kDirectory = 0x10'0000'0000, kTables = 0x10'0001'0000;

// Five pages at IOVA 0x10000, in physical memory from high to low and far apart.
class DmaSpaceTest : public ::testing::Test {
 protected:
  DmaSpaceTest() {
    for (std::uint32_t i = 0; i < 5; ++i) {
      tables.map(kIova + i * 0x1000, physical(i));
      std::memset(ram.page(physical(i)), static_cast<int>(0x10 + i), 4096);
    }
    EXPECT_TRUE(driver_enable(mmu, kDirectory));
    space.begin();
  }
  static std::uint64_t physical(std::uint32_t i) { return 0x20'0000'0000 - i * 0x3000; }
  int byte_at(std::uint32_t i, std::size_t at) {
    return static_cast<int>(ram.page(physical(i))[at]);
  }

  static constexpr std::uint32_t kIova = 0x10000;
  Ram ram;
  PageTables tables{ram, kDirectory, kTables};
  Iommu mmu{1, ram.callbacks()};
  DmaSpace space{mmu, ram.callbacks(), DmaSpace::OnFault::fail};
  std::uint64_t bad = 0;
};

TEST_F(DmaSpaceTest, ScatteredPagesAreOneSpan) {
  const auto view = space.resolve(kIova + 0x800, 0x2000);
  ASSERT_EQ(view.size(), 0x2000u);
  EXPECT_EQ(view[0], std::byte{0x10});
  EXPECT_EQ(view[0x7FF], std::byte{0x10});
  EXPECT_EQ(view[0x800], std::byte{0x11});
  EXPECT_EQ(view[0x1FFF], std::byte{0x12});
}

TEST_F(DmaSpaceTest, ReadsCrossPagesAndNameTheFirstMissingAddress) {
  std::vector<std::byte> out(0x6000);
  EXPECT_TRUE(space.read(kIova + 0xFFF, out.data(), 2, &bad));
  EXPECT_EQ(out[0], std::byte{0x10});
  EXPECT_EQ(out[1], std::byte{0x11});
  EXPECT_FALSE(space.read(kIova + 0x10, out.data(), out.size(), &bad));
  EXPECT_EQ(bad, kIova + 0x5000u);
  EXPECT_FALSE(space.explain(kIova + 0x6000));
  EXPECT_FALSE(space.read(0xFFFFFFFF, out.data(), 2, &bad));
  EXPECT_EQ(bad, 0xFFFFFFFFu);
  EXPECT_FALSE(space.read(~std::uint64_t{0}, out.data(), 1, &bad));
  EXPECT_TRUE(space.resolve(kIova + 0x4000, 0x1001).empty());
  EXPECT_TRUE(space.resolve(~std::uint64_t{0} - 4, 16).empty());
  ASSERT_TRUE(space.explain(kIova));
  EXPECT_EQ(space.explain(kIova)->iova, kIova + 0x5000u);
}

TEST_F(DmaSpaceTest, OverlappingSpansAreTheSameMemory) {
  const auto a = space.resolve_write(kIova, 0x1800);
  const auto b = space.resolve_write(kIova + 0x1000, 0x1000);
  a[0x1004] = std::byte{0x77};
  EXPECT_EQ(b[4], std::byte{0x77});
  std::byte seen{};
  EXPECT_TRUE(space.read(kIova + 0x1004, &seen, 1, &bad)) << "a later task of the chain";
  EXPECT_EQ(seen, std::byte{0x77});
  EXPECT_EQ(byte_at(1, 4), 0x11) << "not before the start has ended";
  EXPECT_FALSE(space.commit());
  EXPECT_EQ(byte_at(1, 4), 0x77);
}

TEST_F(DmaSpaceTest, OnlyChangedBeatsAreWrittenBack) {
  const auto view = space.resolve_write(kIova, 0x3000);
  view[0x20] = view[0x2F] = view[0x30] = std::byte{0x99};
  view[0x1FFF] = std::byte{0x99};
  // Meanwhile the CPU writes beside it.
  ram.page(physical(0))[0x40] = std::byte{0x55};
  ram.page(physical(2))[0] = std::byte{0x55};
  EXPECT_FALSE(space.commit());
  EXPECT_EQ(ram.writes, 2u);
  EXPECT_EQ(ram.written_bytes, 32u + 16u);
  EXPECT_EQ(byte_at(0, 0x2F), 0x99);
  EXPECT_EQ(byte_at(0, 0x30), 0x99);
  EXPECT_EQ(byte_at(0, 0x40), 0x55);
  EXPECT_EQ(byte_at(1, 0xFFF), 0x99);
  EXPECT_EQ(byte_at(2, 0), 0x55);
}

TEST_F(DmaSpaceTest, ReadsAloneWriteNothing) {
  std::vector<std::byte> out(0x5000);
  EXPECT_TRUE(space.read(kIova, out.data(), out.size(), &bad));
  EXPECT_FALSE(space.resolve(kIova, 0x5000).empty());
  EXPECT_FALSE(space.commit());
  EXPECT_EQ(ram.writes, 0u);
}

TEST_F(DmaSpaceTest, EachStartSeesMemoryAnew) {
  std::byte seen{};
  EXPECT_TRUE(space.read(kIova, &seen, 1, &bad));
  ram.page(physical(0))[0] = std::byte{0x42};
  EXPECT_TRUE(space.read(kIova, &seen, 1, &bad));
  EXPECT_EQ(seen, std::byte{0x10}) << "a page is fetched once";
  space.begin();
  EXPECT_TRUE(space.read(kIova, &seen, 1, &bad));
  EXPECT_EQ(seen, std::byte{0x42});
}

TEST_F(DmaSpaceTest, ReadOnlyPageTakesNoOutput) {
  tables.map(kIova + 0x1000, physical(1), kRead);
  EXPECT_TRUE(space.resolve_write(kIova + 0x10, 0x2000).empty());
  const auto failure = space.explain(kIova + 0x10);
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->iova, kIova + 0x1000u);
  EXPECT_EQ(failure->access, Access::write);
  EXPECT_EQ(failure->status, TranslationStatus::page_fault);
  const auto view = space.resolve(kIova, 0x2000);
  ASSERT_FALSE(view.empty()) << "it may still be read";
  EXPECT_EQ(view[0x1000], std::byte{0x11});
  EXPECT_FALSE(space.commit());
  EXPECT_EQ(ram.writes, 0u);
}

TEST_F(DmaSpaceTest, PageTakenAwayBeforeTheWriteStopsItThere) {
  const auto view = space.resolve_write(kIova, 0x2000);
  ASSERT_FALSE(view.empty());
  view[0] = view[0x1050] = std::byte{1};
  tables.map(kIova + 0x1000, physical(1), kRead);
  mmu.write(0, 0x10, kIova + 0x1000);
  const auto failure = space.commit();
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->iova, kIova + 0x1050u);
  EXPECT_EQ(failure->access, Access::write);
  EXPECT_EQ(failure->status, TranslationStatus::page_fault);
  EXPECT_EQ(byte_at(0, 0), 1) << "what came before has arrived";
  EXPECT_EQ(byte_at(1, 0x50), 0x11);
}

TEST_F(DmaSpaceTest, PageThatMayOnlyBeWrittenTakesOutputAndGivesNoInput) {
  tables.map(kIova + 0x1000, physical(1), kWrite);
  const auto view = space.resolve_write(kIova + 0x1000, 0x1000);
  ASSERT_FALSE(view.empty());
  view[7] = std::byte{9};
  EXPECT_TRUE(space.resolve(kIova + 0x1000, 0x1000).empty());
  EXPECT_FALSE(space.commit());
  EXPECT_EQ(byte_at(1, 7), 9);
  EXPECT_EQ(byte_at(1, 8), 0x11);
}

TEST_F(DmaSpaceTest, CancelledStartWritesNothing) {
  const auto view = space.resolve_write(kIova, 0x1000);
  view[0] = std::byte{1};
  space.cancel();
  EXPECT_TRUE(space.resolve(kIova, 0x1000).empty());
  EXPECT_TRUE(space.resolve(kIova + 0x1000, 0x1000).empty());
  EXPECT_FALSE(space.commit());
  EXPECT_EQ(ram.writes, 0u);
  space.begin();
  EXPECT_FALSE(space.resolve(kIova, 0x1000).empty());
}

TEST_F(DmaSpaceTest, MemoryThatDoesNotAnswerIsABusError) {
  tables.map(0x90000, 0x7F'0000'0000);
  EXPECT_TRUE(space.resolve(0x90000, 16).empty());
  EXPECT_EQ(space.explain(0x90000)->status, TranslationStatus::ok);
  EXPECT_TRUE(space.resolve(0xA0000, 16).empty());
  EXPECT_EQ(space.explain(0xA0000)->status, TranslationStatus::page_fault);
}

TEST_F(DmaSpaceTest, StalledPortFailsOrWaitsAsAsked) {
  mmu.write(0, 0x08, 2);
  EXPECT_TRUE(space.resolve(kIova, 16).empty());
  EXPECT_EQ(space.explain(kIova)->status, TranslationStatus::waiting);

  DmaSpace patient(mmu, ram.callbacks(), DmaSpace::OnFault::wait);
  patient.begin();
  std::atomic<bool> done{false};
  std::thread core([&] {
    std::byte seen{};
    std::uint64_t missing = 0;
    EXPECT_TRUE(patient.read(kIova, &seen, 1, &missing));
    done = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(done);
  mmu.write(0, 0x08, 3);
  core.join();

  mmu.write(0, 0x08, 2);
  patient.begin();
  std::thread cancelled([&] { EXPECT_TRUE(patient.resolve(kIova, 16).empty()); });
  patient.cancel();
  cancelled.join();
}

// A port that waits in a page fault on the second page, and what its thread reads in the end.
class WaitingPort {
 public:
  WaitingPort(Iommu& mmu, PhysicalMemory memory, std::uint32_t iova)
      : space_(mmu, std::move(memory), DmaSpace::OnFault::wait,
               [this](const DmaSpace::Failure& failure) {
                 last_ = failure.iova;
                 ++faults_;
               }) {
    space_.begin();
    thread_ = std::thread([this, iova] {
      std::uint64_t bad = 0;
      good_ = space_.read(iova, &seen_, 1, &bad);
      done_ = true;
    });
  }
  ~WaitingPort() {
    space_.cancel();
    if (thread_.joinable()) thread_.join();
  }
  void until_faults(unsigned n) const {
    while (faults_ < n && !done_) std::this_thread::yield();
  }
  void join() { thread_.join(); }

  DmaSpace space_;
  std::atomic<unsigned> faults_{0};
  std::atomic<std::uint64_t> last_{0};
  std::atomic<bool> done_{false};
  bool good_ = false;
  std::byte seen_{};

 private:
  std::thread thread_;
};

TEST_F(DmaSpaceTest, WaitingPortFaultsAgainUntilThePageIsThere) {
  tables.unmap(kIova + 0x1000);
  WaitingPort port(mmu, ram.callbacks(), kIova + 0x1234);
  port.until_faults(1);
  EXPECT_EQ(mmu.read(0, 0x04) & 0x22, 0x02u);
  EXPECT_EQ(mmu.read(0, 0x0C), kIova + 0x1234u);
  EXPECT_EQ(port.last_, kIova + 0x1234u);
  mmu.write(0, 0x18, 1);  // what the driver's handler does, twice
  mmu.write(0, 0x08, 5);
  port.until_faults(2);
  EXPECT_FALSE(port.done_);
  tables.map(kIova + 0x1000, physical(1));
  mmu.write(0, 0x08, 4);
  mmu.write(0, 0x08, 5);
  port.join();
  EXPECT_TRUE(port.good_);
  EXPECT_EQ(port.seen_, std::byte{0x11});
  EXPECT_EQ(port.faults_, 2u);
}

TEST_F(DmaSpaceTest, WaitingPortNeverGoesOnWithoutTheTablesItBeganWith) {
  tables.unmap(kIova + 0x1000);
  ram.page(kIova + 0x1000)[0x234] = std::byte{0x66};  // memory at the bare IOVA
  {
    WaitingPort port(mmu, ram.callbacks(), kIova + 0x1234);
    port.until_faults(1);
    EXPECT_TRUE(driver_disable(mmu));
    mmu.write(0, 0x08, 5);
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    EXPECT_FALSE(port.done_) << "a hung job whose domain was detached";
  }
  space.begin();
  std::byte seen{};
  EXPECT_TRUE(space.read(kIova + 0x1234, &seen, 1, &bad)) << "a start that began without tables";
  EXPECT_EQ(seen, std::byte{0x66});
}

TEST_F(DmaSpaceTest, ThreadsOfAStartShareTheMirror) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (std::uint32_t i = 0; i < 5; ++i) {
        std::byte seen{};
        std::uint64_t missing = 0;
        EXPECT_TRUE(space.read(kIova + i * 0x1000 + 0x800, &seen, 1, &missing));
        EXPECT_EQ(seen, std::byte(0x10 + i));
        const auto view = space.resolve_write(kIova + i * 0x1000, 0x1000);
        view[static_cast<std::size_t>(t) * 16] = std::byte(t + 1);
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_FALSE(space.commit());
  for (std::uint32_t i = 0; i < 5; ++i)
    for (int t = 0; t < 4; ++t) EXPECT_EQ(byte_at(i, static_cast<std::size_t>(t) * 16), t + 1);
}

TEST_F(DmaSpaceTest, LargeStartsGiveTheirMemoryBack) {
  // 80 MiB of IOVA on one page; each start must still read what is there.
  for (std::uint32_t at = 0; at < 80u << 20; at += 4096) tables.map(0x4000000 + at, physical(3));
  for (int start = 0; start < 2; ++start) {
    space.begin();
    const auto view = space.resolve(0x4000000, 80u << 20);
    ASSERT_EQ(view.size(), 80u << 20);
    EXPECT_EQ(view[0], std::byte{0x13});
    EXPECT_EQ(view.back(), std::byte{0x13});
  }
}

}  // namespace
}  // namespace npu::sim::test
