// SPDX-License-Identifier: MIT
#include "npu-sim/iommu.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "page_tables.hpp"
#include "regdb/error.hpp"

namespace npu::sim::test {
namespace {

constexpr std::uint64_t kDirectory = 0x12'3456'7000, kTables = 0xFE'DCBA'0000;

class IommuTest : public ::testing::Test {
 protected:
  Ram ram;
  PageTables tables{ram, kDirectory, kTables};
  Iommu mmu{2, ram.callbacks()};

  std::uint64_t physical(std::uint32_t iova) {
    const Translation t = mmu.probe(iova, Access::read);
    EXPECT_EQ(t.status, TranslationStatus::ok);
    return t.physical;
  }
  TranslationStatus status(std::uint64_t iova, Access access = Access::read) {
    return mmu.probe(iova, access).status;
  }
};

TEST(FoldedAddress, FortyBitsComeBack) {
  std::mt19937_64 rng(1);
  for (int i = 0; i < 10000; ++i) {
    const std::uint64_t address = rng() & 0xFF'FFFF'F000;
    EXPECT_EQ(unfold_address(fold_address(address)), address);
    EXPECT_EQ(fold_address(address) & 0xF, 0u) << "flags are free";
    EXPECT_EQ(unfold_address(fold_address(address) | 0xF), address) << "flags are no address";
  }
}

TEST(FoldedAddress, BitsStandWhereTheDriverPutsThem) {
  EXPECT_EQ(fold_address(0x00'FFFF'F000), 0xFFFFF000u);
  EXPECT_EQ(fold_address(0x0F'0000'0000), 0x00000F00u);
  EXPECT_EQ(fold_address(0xF0'0000'0000), 0x000000F0u);
  EXPECT_EQ(unfold_address(0x12345AB7), 0xBA'1234'5000u);
}

TEST_F(IommuTest, PowerOnStateIsIdleWithoutPaging) {
  for (unsigned w : {0u, 1u}) {
    EXPECT_EQ(mmu.read(w, 0x04), 0x80000018u);
    for (std::uint32_t offset : {0x00u, 0x0Cu, 0x14u, 0x1Cu, 0x20u, 0x24u, 0x28u})
      EXPECT_EQ(mmu.read(w, offset), 0u);
  }
}

TEST_F(IommuTest, WithoutPagingAddressesPassAsTheyAre) {
  const Translation t = mmu.probe(0xDEADBEEF, Access::write);
  EXPECT_EQ(t.status, TranslationStatus::ok);
  EXPECT_EQ(t.physical, 0xDEADBEEFu);
}

TEST_F(IommuTest, DteAddrKeepsTheDriversTestPatternAndDropsFlags) {
  mmu.write(0, 0x00, 0xCAFEB000);
  EXPECT_EQ(mmu.read(0, 0x00), 0xCAFEB000u);
  mmu.write(0, 0x00, 0xCAFEBABF);
  EXPECT_EQ(mmu.read(0, 0x00), 0xCAFEBAB0u);
  EXPECT_EQ(mmu.read(1, 0x00), 0u) << "each window has a register of its own";
}

TEST_F(IommuTest, DriverSequencesWorkStepByStep) {
  tables.map(0x1000, 0x55'0000'0000);
  for (int job = 0; job < 3; ++job) {
    ASSERT_TRUE(driver_enable(mmu, kDirectory));
    EXPECT_EQ(mmu.read(0, 0x04), 0x80000019u);
    EXPECT_EQ(mmu.read(1, 0x1C), 3u);
    EXPECT_EQ(physical(0x1234), 0x55'0000'0234u);
    ASSERT_TRUE(driver_disable(mmu));
    EXPECT_EQ(mmu.read(0, 0x00), 0u);
    EXPECT_EQ(physical(0x1234), 0x1234u);
  }
  // Attach to an MMU that still has paging on goes through the stall handshake.
  ASSERT_TRUE(driver_enable(mmu, kDirectory));
  ASSERT_TRUE(driver_enable(mmu, kDirectory));
}

TEST_F(IommuTest, ResetFinishesAtOnceAndForgetsEverything) {
  ASSERT_TRUE(driver_enable(mmu, kDirectory));
  mmu.write(1, 0x24, 3);
  mmu.translate(0x7000, Access::read);
  EXPECT_TRUE(mmu.irq());
  for (unsigned w : {0u, 1u}) {
    mmu.write(w, 0x08, 6);
    EXPECT_EQ(mmu.read(w, 0x00), 0u);
    EXPECT_EQ(mmu.read(w, 0x04), 0x80000018u);
    for (std::uint32_t offset : {0x0Cu, 0x14u, 0x1Cu, 0x24u}) EXPECT_EQ(mmu.read(w, offset), 0u);
  }
  EXPECT_FALSE(mmu.irq());
}

TEST_F(IommuTest, StallNeedsPagingAndHoldsAccesses) {
  mmu.write(0, 0x08, 2);
  EXPECT_EQ(mmu.read(0, 0x04) & 4, 0u);
  tables.map(0x1000, 0x8000);
  ASSERT_TRUE(driver_enable(mmu, kDirectory));
  mmu.write(0, 0x08, 2);
  EXPECT_EQ(mmu.read(0, 0x04), 0x1Du);
  EXPECT_EQ(status(0x1000), TranslationStatus::waiting);
  mmu.write(0, 0x08, 3);
  EXPECT_EQ(status(0x1000), TranslationStatus::ok);
}

TEST_F(IommuTest, WalkUsesAllBitsOfTheAddressAtBothLevels) {
  ASSERT_TRUE(driver_enable(mmu, kDirectory));
  std::mt19937_64 rng(2);
  std::map<std::uint32_t, std::uint64_t> mapped;
  for (std::uint32_t iova : {0u, 0x3FF000u, 0x400000u, 0xFFC00000u, 0xFFFFF000u, 0x12345000u})
    mapped[iova] = rng() & 0xFF'FFFF'F000;
  for (int i = 0; i < 200; ++i)
    mapped[static_cast<std::uint32_t>(rng()) & 0xFFFFF000] = rng() & 0xFF'FFFF'F000;
  for (const auto& [iova, pa] : mapped) tables.map(iova, pa);
  for (int round = 0; round < 2; ++round)
    for (const auto& [iova, pa] : mapped) {
      EXPECT_EQ(physical(iova), pa);
      EXPECT_EQ(physical(iova | 0xABC), pa | 0xABC);
    }
  EXPECT_EQ(status(std::uint64_t{1} << 32), TranslationStatus::page_fault);
}

TEST_F(IommuTest, DirectoryAndTableEntriesWithoutTheValidBitFault) {
  tables.map(0x00401000, 0x9000);
  ASSERT_TRUE(driver_enable(mmu, kDirectory));
  EXPECT_EQ(status(0x00800000), TranslationStatus::page_fault) << "no table";
  EXPECT_EQ(status(0x00402000), TranslationStatus::page_fault) << "no page";
  ram.set_word(kDirectory + 4, ram.word(kDirectory + 4) & ~1u);
  EXPECT_EQ(status(0x00401000), TranslationStatus::page_fault) << "table not valid";
}

TEST_F(IommuTest, PermissionBitsAreSeparate) {
  const struct {
    std::uint32_t flags;
    TranslationStatus read, write;
  } cases[] = {{0, TranslationStatus::page_fault, TranslationStatus::page_fault},
               {kRead, TranslationStatus::ok, TranslationStatus::page_fault},
               {kWrite, TranslationStatus::page_fault, TranslationStatus::ok},
               {kRead | kWrite, TranslationStatus::ok, TranslationStatus::ok}};
  ASSERT_TRUE(driver_enable(mmu, kDirectory));
  std::uint32_t iova = 0x5000;
  for (const auto& c : cases) {
    tables.map(iova, 0x9000, c.flags);
    for (int cached = 0; cached < 2; ++cached) {
      EXPECT_EQ(status(iova, Access::read), c.read) << c.flags;
      EXPECT_EQ(status(iova, Access::write), c.write) << c.flags;
    }
    iova += 0x1000;
  }
}

TEST_F(IommuTest, PageFaultIsLatchedUntilTheDriverIsDone) {
  tables.map(0x5000, 0x9000, kRead);
  ASSERT_TRUE(driver_enable(mmu, kDirectory));
  EXPECT_EQ(mmu.translate(0x5678, Access::write).status, TranslationStatus::page_fault);
  EXPECT_EQ(mmu.read(1, 0x04) & 0x22, 0x22u);
  EXPECT_EQ(mmu.read(1, 0x0C), 0x5678u);
  EXPECT_EQ(mmu.read(1, 0x20), 1u);
  EXPECT_EQ(mmu.read(0, 0x20), 0u);
  EXPECT_TRUE(mmu.irq());
  EXPECT_EQ(status(0x5000), TranslationStatus::waiting) << "the port waits";
  // What the handler does: zap, done, clear.
  mmu.write(1, 0x08, 4);
  mmu.write(1, 0x08, 5);
  EXPECT_EQ(mmu.read(1, 0x04) & 0x22, 0u);
  EXPECT_TRUE(mmu.irq());
  mmu.write(1, 0x18, 1);
  EXPECT_FALSE(mmu.irq());
  EXPECT_EQ(status(0x5000), TranslationStatus::ok);
  EXPECT_EQ(mmu.translate(0x6000, Access::read).status, TranslationStatus::page_fault);
  EXPECT_EQ(mmu.read(1, 0x04) & 0x22, 0x02u) << "a read this time";
}

TEST_F(IommuTest, MaskedInterruptsStayInTheRawStatus) {
  ASSERT_TRUE(driver_enable(mmu, kDirectory));
  mmu.write(1, 0x1C, 0);
  mmu.translate(0x6000, Access::read);
  EXPECT_EQ(mmu.read(1, 0x14), 1u);
  EXPECT_EQ(mmu.read(1, 0x20), 0u);
  EXPECT_FALSE(mmu.irq());
  mmu.write(1, 0x1C, 3);
  EXPECT_TRUE(mmu.irq());
}

TEST_F(IommuTest, TablesOutsideMemoryAreABusError) {
  ASSERT_TRUE(driver_enable(mmu, 0x77'0000'0000));
  EXPECT_EQ(mmu.translate(0x1000, Access::read).status, TranslationStatus::bus_error);
  EXPECT_EQ(mmu.read(1, 0x14), 2u);
  ASSERT_TRUE(driver_enable(mmu, kDirectory));
  ram.set_word(kDirectory, fold_address(0x66'0000'0000) | 1);
  EXPECT_EQ(mmu.translate(0x1000, Access::read).status, TranslationStatus::bus_error);
}

TEST_F(IommuTest, RemovedPageStaysVisibleUntilItIsZapped) {
  tables.map(0x1000, 0x8000);
  tables.map(0x2000, 0x9000);
  ASSERT_TRUE(driver_enable(mmu, kDirectory));
  EXPECT_EQ(physical(0x1000), 0x8000u);
  EXPECT_EQ(physical(0x2000), 0x9000u);
  tables.unmap(0x1000);
  tables.unmap(0x2000);
  EXPECT_EQ(physical(0x1000), 0x8000u);
  mmu.write(0, 0x10, 0x1000);  // what old kernels did: only the first window
  EXPECT_EQ(physical(0x1000), 0x8000u);
  mmu.write(1, 0x10, 0x1ABC);
  EXPECT_EQ(status(0x1000), TranslationStatus::page_fault);
  EXPECT_EQ(physical(0x2000), 0x9000u) << "one line means one line";
  mmu.write(1, 0x08, 4);
  EXPECT_EQ(status(0x2000), TranslationStatus::page_fault);
}

TEST_F(IommuTest, MissingPageIsNotCached) {
  ASSERT_TRUE(driver_enable(mmu, kDirectory));
  EXPECT_EQ(status(0x1000), TranslationStatus::page_fault);
  tables.map(0x1000, 0x8000);
  EXPECT_EQ(physical(0x1000), 0x8000u);
}

TEST_F(IommuTest, CachedPagesNeedNoWalk) {
  tables.map(0x1000, 0x8000);
  ASSERT_TRUE(driver_enable(mmu, kDirectory));
  physical(0x1000);
  const unsigned walks = ram.reads;
  for (int i = 0; i < 100; ++i) physical(0x1000);
  EXPECT_EQ(ram.reads, walks);
}

TEST_F(IommuTest, EntryReadBeforeAZapIsNotCachedAfterIt) {
  tables.map(0x1000, 0x8000);
  bool zap_in_the_walk = true;
  Iommu* port = nullptr;
  PhysicalMemory memory = ram.callbacks();
  memory.read = [&, plain = memory.read](std::uint64_t a, void* out, std::size_t n) {
    const bool there = plain(a, out, n);
    if (zap_in_the_walk && a == tables.entry(0x1000)) {
      zap_in_the_walk = false;
      tables.unmap(0x1000);
      port->write(0, 0x10, 0x1000);
    }
    return there;
  };
  Iommu one(1, memory);
  port = &one;
  ASSERT_TRUE(driver_enable(one, kDirectory));
  EXPECT_EQ(one.probe(0x1000, Access::read).status, TranslationStatus::ok);
  EXPECT_EQ(one.probe(0x1000, Access::read).status, TranslationStatus::page_fault);
}

TEST_F(IommuTest, WindowsThatDisagreeLetNothingThrough) {
  tables.map(0x1000, 0x8000);
  ASSERT_TRUE(driver_enable(mmu, kDirectory));
  mmu.write(0, 0x00, 0x5000);
  EXPECT_EQ(status(0x1000), TranslationStatus::windows_disagree);
  mmu.write(0, 0x00, fold_address(kDirectory));
  EXPECT_EQ(status(0x1000), TranslationStatus::ok);
  mmu.write(0, 0x08, 1);
  EXPECT_EQ(status(0x1000), TranslationStatus::windows_disagree);
}

TEST_F(IommuTest, DirectoryBelow4GibIsAQuirkNotTheDefault) {
  tables.map(0x1000, 0x8000);
  Iommu quirky(1, ram.callbacks(), {.dte_32bit = true});
  ASSERT_TRUE(driver_enable(quirky, kDirectory));
  EXPECT_EQ(quirky.read(0, 0x00), fold_address(kDirectory)) << "the register itself is whole";
  EXPECT_EQ(quirky.probe(0x1000, Access::read).status, TranslationStatus::bus_error);
  PageTables low(ram, 0x40000000, 0x50000000);
  low.map(0x1000, 0x99'0000'0000);
  ASSERT_TRUE(driver_enable(quirky, 0x40000000));
  EXPECT_EQ(quirky.probe(0x1000, Access::read).physical, 0x99'0000'0000u);
}

TEST_F(IommuTest, OldFaultBlocksTheStallHandshakeWithTheQuirkOnly) {
  for (const bool blocks : {false, true}) {
    Iommu one(1, ram.callbacks(), {.fault_blocks_stall = blocks});
    ASSERT_TRUE(driver_enable(one, kDirectory));
    one.translate(0x6000, Access::read);
    EXPECT_EQ(driver_enable(one, kDirectory), !blocks);
  }
}

TEST_F(IommuTest, RegistersMayBeWrittenWhileAPortTranslates) {
  tables.map(0x1000, 0x8000);
  ASSERT_TRUE(driver_enable(mmu, kDirectory));
  std::atomic<bool> stop{false};
  std::atomic<unsigned> wrong{0};
  std::thread port([&] {
    while (!stop) {
      const Translation t = mmu.probe(0x1000, Access::read);
      const bool fine = t.status == TranslationStatus::ok
                            ? t.physical == 0x8000
                            : t.status == TranslationStatus::waiting ||
                                  t.status == TranslationStatus::windows_disagree;
      if (!fine) ++wrong;
    }
  });
  for (int i = 0; i < 2000; ++i) {
    for (unsigned w : {0u, 1u}) mmu.write(w, 0x10, 0x1000);
    for (unsigned w : {0u, 1u}) mmu.write(w, 0x08, 2);
    for (unsigned w : {0u, 1u}) mmu.write(w, 0x08, 4);
    for (unsigned w : {0u, 1u}) mmu.write(w, 0x08, 3);
    mmu.irq();
  }
  stop = true;
  port.join();
  EXPECT_EQ(wrong, 0u);
}

TEST(Iommu, NeedsAWindowAndMemory) {
  EXPECT_THROW(Iommu(0, Ram().callbacks()), Error);
  EXPECT_THROW(Iommu(1, {}), Error);
}

}  // namespace
}  // namespace npu::sim::test
