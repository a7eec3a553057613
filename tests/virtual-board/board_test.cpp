// SPDX-License-Identifier: MIT
// The glue in a QEMU that is made of this test: windows, lines, memory, resets, time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "fake_qemu.hpp"
#include "guest.hpp"
#include "program.h"

namespace {

using fake_qemu::level;
using fake_qemu::load;
using fake_qemu::main_loop;
using fake_qemu::store;

// One machine for all tests, as a process has one: each begins with a power-on reset.
class Board : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    ASSERT_EQ(fake_qemu::install({"threads=2"}), 0);
    fake_qemu::machine_done();
  }
  static void TearDownTestSuite() { fake_qemu::machine_exits(); }
  void SetUp() override {
    fake_qemu::system_reset();
    guest::lay_out();
  }
  void TearDown() override { EXPECT_THAT(fake_qemu::violations(), testing::IsEmpty()); }

  static bool line_rises(unsigned core) {
    return main_loop([core] { return level(guest::spi(core)) == 1; });
  }
  static std::uint32_t done_bits(unsigned core) {
    return load(guest::core(core) + PC_INTERRUPT_RAW_STATUS) & 0x300;
  }
};

TEST_F(Board, WindowsLieWhereTheChipHasThem) {
  for (unsigned core = 0; core < 3; ++core) {
    EXPECT_EQ(load(guest::core(core) + PC_VERSION), 0x46495245u);
    store(guest::core(core) + 0xA000, 0xCAFEB00Fu);
    EXPECT_EQ(load(guest::core(core) + 0xA000), 0xCAFEB000u);
  }
  store(guest::core(0) + 0x9000, 0x12345000);
  EXPECT_EQ(load(guest::core(0) + 0x9000), 0x12345000u);
  EXPECT_EQ(load(guest::core(0) + 0xA000), 0xCAFEB000u);
  EXPECT_THROW(load(guest::core(3)), std::runtime_error);
  EXPECT_THROW(load(guest::kResets + 4), std::runtime_error);
}

TEST_F(Board, JobsRunThroughTheTablesAndRaiseTheirLines) {
  for (unsigned core = 0; core < 3; ++core) {
    guest::lay_out();
    guest::attach_iommu(core);
    for (int round = 0; round < 10; ++round) {
      guest::start(core);
      ASSERT_TRUE(line_rises(core)) << core;
      EXPECT_TRUE(guest::output_is_right()) << core;
      EXPECT_EQ(done_bits(core) != 0, true);
      // The handler's write takes the line down before it returns.
      guest::acknowledge(core);
      EXPECT_EQ(level(guest::spi(core)), 0);
      fake_qemu::ram(fake_qemu::kRamAddress);
    }
    guest::detach_iommu(core);
  }
}

TEST_F(Board, CoresWorkAtTheSameTime) {
  for (unsigned core = 0; core < 3; ++core) guest::attach_iommu(core);
  for (unsigned core = 0; core < 3; ++core) guest::start(core);
  for (unsigned core = 0; core < 3; ++core) EXPECT_TRUE(line_rises(core));
  EXPECT_TRUE(guest::output_is_right());
}

TEST_F(Board, RegistersAnswerWhileAJobRuns) {
  ASSERT_EQ(guest::inject("delay@1:300/core=1"), 0u);
  guest::attach_iommu(1);
  guest::start(1);
  EXPECT_EQ(load(guest::core(1) + PC_BASE_ADDRESS), std::uint32_t{PROGRAM});
  EXPECT_EQ(guest::iommu(1, 4) & 1, 1u);
  EXPECT_EQ(load(guest::core(0) + PC_VERSION), 0x46495245u);
  ASSERT_TRUE(line_rises(1));
  EXPECT_TRUE(guest::output_is_right());
}

TEST_F(Board, AJobThatTakesLongStopsTheClockUntilItIsDone) {
  const int stops = fake_qemu::clock_stops();
  ASSERT_EQ(guest::inject("delay@1:600/core=0"), 0u);
  guest::attach_iommu(0);
  guest::start(0);
  EXPECT_FALSE(fake_qemu::clock_stands());
  ASSERT_TRUE(main_loop([] { return fake_qemu::clock_stands(); }));
  const std::int64_t then = fake_qemu::guest_ns();
  ASSERT_TRUE(main_loop([then] {
    EXPECT_TRUE(!fake_qemu::clock_stands() || fake_qemu::guest_ns() == then);
    return level(guest::spi(0)) == 1;
  }));
  EXPECT_FALSE(fake_qemu::clock_stands());
  EXPECT_EQ(fake_qemu::clock_stops(), stops + 1);
  // Whoever stopped the machine has it back as it was.
  guest::acknowledge(0);
  fake_qemu::set_running(false);
  ASSERT_EQ(guest::inject("delay@1:300/core=0"), 0u);
  guest::start(0);
  ASSERT_TRUE(line_rises(0));
  EXPECT_EQ(fake_qemu::clock_stops(), stops + 1);
  fake_qemu::set_running(true);
}

TEST_F(Board, AHungCoreHoldsNothingAndComesBackWithItsReset) {
  ASSERT_EQ(guest::inject("hang@1/core=2"), 0u);
  guest::attach_iommu(2);
  guest::start(2);
  // Long enough for the clock to have been stopped, had the core seemed to work.
  const std::int64_t begin = fake_qemu::guest_ns();
  ASSERT_TRUE(main_loop([begin] { return fake_qemu::guest_ns() > begin + 300'000'000; }));
  EXPECT_EQ(level(guest::spi(2)), 0);
  EXPECT_FALSE(guest::output_is_right());
  guest::start(2);
  ASSERT_TRUE(main_loop([begin] { return fake_qemu::guest_ns() > begin + 400'000'000; }));
  EXPECT_EQ(level(guest::spi(2)), 0);
  guest::detach_iommu(2);
  guest::reset(2);
  guest::attach_iommu(2);
  guest::start(2);
  ASSERT_TRUE(line_rises(2));
  EXPECT_TRUE(guest::output_is_right());
}

TEST_F(Board, ALostInterruptLeavesTheOutput) {
  ASSERT_EQ(guest::inject("drop-interrupt@1/core=0"), 0u);
  guest::attach_iommu(0);
  guest::start(0);
  ASSERT_TRUE(main_loop([] { return guest::output_is_right(); }));
  EXPECT_EQ(level(guest::spi(0)), 0);
  guest::reset(0);
  guest::lay_out();
  guest::attach_iommu(0);
  guest::start(0);
  ASSERT_TRUE(line_rises(0));
  EXPECT_TRUE(guest::output_is_right());
}

TEST_F(Board, AMissingPageIsToldAndTheJobGoesOnWhenItIsThere) {
  guest::hide_operand(true);
  guest::attach_iommu(1);
  guest::start(1);
  ASSERT_TRUE(line_rises(1));
  EXPECT_EQ(done_bits(1), 0u);
  EXPECT_EQ(guest::iommu(1, 0x20), 1u);                          // INT_STATUS
  EXPECT_EQ(guest::iommu(1, 0x0C) & ~0xFFFu, std::uint32_t{A});  // PAGE_FAULT_ADDR
  // It waits for the guest, whose clock goes on.
  const std::int64_t begin = fake_qemu::guest_ns();
  ASSERT_TRUE(main_loop([begin] { return fake_qemu::guest_ns() > begin + 300'000'000; }));
  EXPECT_FALSE(fake_qemu::clock_stands());
  guest::hide_operand(false);
  store(guest::core(1) + 0xA000 + 0x08, 4);  // zap
  store(guest::core(1) + 0xA000 + 0x18, 1);  // INT_CLEAR
  EXPECT_EQ(level(guest::spi(1)), 0);
  store(guest::core(1) + 0xA000 + 0x08, 5);  // PAGE_FAULT_DONE
  ASSERT_TRUE(line_rises(1));
  EXPECT_NE(done_bits(1), 0u);
  EXPECT_TRUE(guest::output_is_right());
}

// The stock handler ends the fault and then clears the interrupt: of the second fault, if that was
// quick.
TEST_F(Board, AFaultWhoseInterruptWasClearedHoldsNothing) {
  guest::hide_operand(true);
  guest::attach_iommu(1);
  guest::start(1);
  ASSERT_TRUE(line_rises(1));
  store(guest::core(1) + 0xA000 + 0x18, 1);  // INT_CLEAR
  store(guest::core(1) + 0xA000 + 0x08, 5);  // PAGE_FAULT_DONE
  ASSERT_TRUE(line_rises(1));
  store(guest::core(1) + 0xA000 + 0x18, 1);
  EXPECT_EQ(level(guest::spi(1)), 0);
  const std::int64_t begin = fake_qemu::guest_ns();
  ASSERT_TRUE(main_loop([begin] { return fake_qemu::guest_ns() > begin + 500'000'000; }));
  EXPECT_FALSE(fake_qemu::clock_stands());
  EXPECT_EQ(level(guest::spi(1)), 0);
  guest::detach_iommu(1);
  guest::reset(1);
  guest::hide_operand(false);
  guest::attach_iommu(1);
  guest::start(1);
  ASSERT_TRUE(line_rises(1));
  EXPECT_TRUE(guest::output_is_right());
}

TEST_F(Board, AnInjectedIommuFaultIsOverAfterTheReset) {
  ASSERT_EQ(guest::inject("iommu-fault@1+drop-interrupt@5/core=1"), 0u);
  guest::attach_iommu(0);
  guest::start(0);
  ASSERT_TRUE(line_rises(0));
  EXPECT_EQ(guest::iommu(0, 0x20), 1u);
  EXPECT_EQ(guest::iommu(0, 0x0C), std::uint32_t{PROGRAM});
  guest::detach_iommu(0);
  EXPECT_EQ(level(guest::spi(0)), 0);
  guest::reset(0);
  guest::attach_iommu(0);
  guest::start(0);
  ASSERT_TRUE(line_rises(0));
  EXPECT_TRUE(guest::output_is_right());
}

TEST_F(Board, OnlyRamIsMemory) {
  // Registers, behind the end of RAM, nothing at all.
  for (const std::uint64_t address :
       {guest::core(1), fake_qemu::kRamAddress + (8u << 20), std::uint64_t{0x1000}}) {
    guest::redirect_output(address);
    guest::attach_iommu(0);
    guest::start(0);
    ASSERT_TRUE(
        main_loop([] { return (load(guest::core(0) + PC_INTERRUPT_RAW_STATUS) & 0x3000) != 0; }));
    EXPECT_EQ(done_bits(0), 0u);
    guest::redirect_output(0);
    guest::detach_iommu(0);
    guest::reset(0);
  }
}

TEST_F(Board, EitherLineResetsItsCoreAndNoOther) {
  for (unsigned line = 0; line < 6; ++line) {
    for (unsigned core = 0; core < 3; ++core) {
      store(guest::core(core) + PC_BASE_ADDRESS, 0x1230);
      store(guest::core(core) + 0xA000, 0x4567000);
    }
    store(guest::kResets, 1u << line);
    EXPECT_EQ(load(guest::kResets), 1u << line);
    EXPECT_EQ(load(guest::core(line / 2) + PC_BASE_ADDRESS), 0u);
    store(guest::core(line / 2) + PC_BASE_ADDRESS, 0x9990);
    store(guest::kResets, 0);
    for (unsigned core = 0; core < 3; ++core) {
      EXPECT_EQ(load(guest::core(core) + PC_BASE_ADDRESS), core == line / 2 ? 0u : 0x1230u);
      EXPECT_EQ(load(guest::core(core) + 0xA000), 0x4567000u);
    }
  }
}

// What the mmio backend looks at and does [docs/mmio.md].
TEST_F(Board, CruAndPmuSayThatTheNpuHasPowerAndResetIt) {
  EXPECT_EQ(load(guest::kPmu + 0x180) & 2, 0u);
  EXPECT_EQ(load(guest::kPmu + 0x290) & 0x1C, 0x1Cu);
  EXPECT_EQ(load(guest::kPmu + 0x120) & 0xE, 0u);
  store(guest::kPmu + 0x290, 0);
  EXPECT_EQ(load(guest::kPmu + 0x290) & 0x1C, 0x1Cu);
  for (const unsigned con : {27, 28, 29, 30}) EXPECT_EQ(load(guest::kCru + 0x800 + 4 * con), 0u);
  constexpr struct {
    unsigned con;
    std::uint32_t bits;
  } lines[] = {{30, 1u << 6 | 1u << 8}, {27, 5}, {28, 5}};
  for (unsigned line = 0; line < 3; ++line) {
    for (unsigned core = 0; core < 3; ++core) store(guest::core(core) + PC_BASE_ADDRESS, 0x1230);
    const auto [con, bits] = lines[line];
    const std::uint64_t address = guest::kCru + 0xA00 + 4 * con;
    store(address, bits);  // without a mask: nothing
    EXPECT_EQ(load(guest::core(line) + PC_BASE_ADDRESS), 0x1230u);
    store(address, bits << 16 | bits);
    EXPECT_EQ(load(address), bits);
    store(guest::core(line) + PC_BASE_ADDRESS, 0x9990);
    store(address, bits << 16);
    EXPECT_EQ(load(address), 0u);
    for (unsigned core = 0; core < 3; ++core)
      EXPECT_EQ(load(guest::core(core) + PC_BASE_ADDRESS), core == line ? 0u : 0x1230u);
  }
}

TEST_F(Board, SystemResetTakesEverythingBack) {
  store(guest::kResets, 0x15);
  store(guest::core(1) + 0xA000, 0x4567000);
  store(guest::kControl + 0x100, 0x31313131);
  guest::attach_iommu(2);
  store(guest::kResets, 0);
  guest::start(2);
  ASSERT_TRUE(line_rises(2));
  fake_qemu::system_reset();
  EXPECT_EQ(level(guest::spi(2)), 0);
  EXPECT_EQ(load(guest::kResets), 0u);
  EXPECT_EQ(load(guest::core(1) + 0xA000), 0u);
  EXPECT_EQ(load(guest::kControl + 0x100), 0u);
}

TEST_F(Board, ControlWindowSaysWhatItIsAndRefusesNonsense) {
  EXPECT_EQ(load(guest::kControl), 0x31425652u);
  EXPECT_EQ(guest::inject("explode@1"), 1u);
  EXPECT_EQ(guest::inject(""), 0u);
  // All of the text and no byte behind it.
  const std::string full(256, 'x');
  for (std::uint32_t at = 0; at < 256; at += 4) store(guest::kControl + 0x100 + at, 0x78787878);
  EXPECT_EQ(load(guest::kControl + 0x1FC), 0x78787878u);
  store(guest::kControl + 0x200, 0x78787878);
  EXPECT_EQ(load(guest::kControl + 0x200), 0u);
  store(guest::kControl + 4, 0);
  EXPECT_EQ(load(guest::kControl + 4), 1u);
  EXPECT_EQ(load(guest::kControl + 0x100), 0u);
}

}  // namespace
