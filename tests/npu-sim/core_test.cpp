// SPDX-License-Identifier: MIT
// PC, interrupts, faults, register groups.
#include <gtest/gtest.h>

#include "conv_case.hpp"
#include "regdb/regcmd.hpp"

namespace npu::sim::test {
namespace {

using Words = std::vector<std::uint64_t>;

// Changes the value of the last write to (target, offset); fails the test if there is none.
void patch(Words& words, std::uint16_t target, std::uint16_t offset, std::uint32_t value) {
  for (auto it = words.rbegin(); it != words.rend(); ++it) {
    regdb::Regcmd c = regdb::Regcmd::unpack(*it);
    if (c.target != target || c.offset != offset) continue;
    c.value = value;
    *it = c.pack();
    return;
  }
  ADD_FAILURE() << "no write to " << offset;
}

class CoreTest : public ::testing::Test {
 protected:
  CoreTest() {
    std::mt19937 rng(1);
    memory = random_memory(conv, rng);
    bench.load(conv, memory);
  }
  void expect_fault(const Words& words, FaultKind kind, const std::string& where) {
    EXPECT_FALSE(bench.run(words));
    ASSERT_TRUE(bench.chip.fault(0));
    EXPECT_EQ(bench.chip.fault(0)->kind, kind) << bench.chip.fault(0)->message;
    EXPECT_EQ(bench.chip.fault(0)->where, where);
    bench.chip.reset(0);
  }
  ConvCase conv;
  ConvMemory memory;
  Bench bench;
};

TEST_F(CoreTest, VersionIsFire) {
  EXPECT_EQ(bench.chip.read(0, 0x0) + (bench.chip.read(0, 0x4) & 0xFFFF), 1179210309u);
}

TEST_F(CoreTest, RegistersReadBackWhatTheBoardShowsAtRest) {
  EXPECT_EQ(bench.chip.read(0, 0x2C), 0xC0000000u);
  EXPECT_EQ(bench.chip.read(0, 0x300C), 0x07800800u);
  EXPECT_EQ(bench.chip.read(0, 0x8030), 0x100u);
  EXPECT_EQ(bench.chip.read(0, 0x08), 0u);
}

TEST_F(CoreTest, FinishedTaskRaisesTheBitsOfItsGroupUntilTheyAreCleared) {
  ASSERT_TRUE(bench.run(program(conv)));
  EXPECT_EQ(bench.chip.read(0, 0x2C) & 0x3FFFF,
            0x155u);  // feature, weight, csc, core, dpu of group 0
  EXPECT_EQ(bench.chip.read(0, 0x28), 0x100u);
  bench.chip.write(0, 0x20, 0);
  EXPECT_FALSE(bench.chip.irq(0));
  bench.chip.write(0, 0x24, 0x1FFFF);
  EXPECT_EQ(bench.chip.read(0, 0x2C), 0xC0000000u);
  // The next task runs in the other group.
  ASSERT_TRUE(bench.run(program(conv)));
  EXPECT_EQ(bench.chip.read(0, 0x28), 0x200u);
}

TEST_F(CoreTest, DeltaProgramRunsWithTheValuesOfTheTaskTwoBefore) {
  ASSERT_TRUE(bench.run(program(conv)));
  ASSERT_TRUE(bench.run(program(conv)));
  regdb::RegcmdStream delta;
  delta.raw(0x1001, 0xE, 0x4004).raw(0x2001, 0xE, 0x5004);
  bench.map(0x3000000, nullptr, 0, 16 * 8 * 8);
  delta.raw(0x1001, 0x3000000, 0x4020);
  delta.end(0x1D);
  ASSERT_TRUE(bench.run(delta.words()));
  EXPECT_EQ(bench.output(conv, 0x3000000), reference(conv, memory));
}

TEST_F(CoreTest, ResetForgetsTheRegisters) {
  ASSERT_TRUE(bench.run(program(conv)));
  bench.chip.reset(0);
  regdb::RegcmdStream nothing;
  nothing.end(0x1D);
  EXPECT_FALSE(bench.run(nothing.words()));
}

TEST_F(CoreTest, ChainOfTwoTasksRunsInOneStart) {
  bench.map(0x3000000, nullptr, 0, 16 * 8 * 8);
  Words first = program(conv), second = program(conv, 0x3000000);
  bench.map(kProgramIova + 0x100000, second.data(), second.size() * 8);
  const auto amount = static_cast<std::uint32_t>((second.size() + 1) / 2 - 1);
  first[first.size() - 4] = regdb::Regcmd{0x0101, kProgramIova + 0x100000, 0x10}.pack();
  first[first.size() - 3] = regdb::Regcmd{0x0101, amount, 0x14}.pack();
  ASSERT_TRUE(bench.run(first, 0, 2));
  EXPECT_EQ(bench.chip.read(0, 0x2C) & 0x300, 0x300u);
  EXPECT_EQ(bench.output(conv), reference(conv, memory));
  EXPECT_EQ(bench.output(conv, 0x3000000), reference(conv, memory));
  EXPECT_EQ(bench.chip.read(0, 0x3C), 2u);
}

TEST_F(CoreTest, ChainStopsAtTheTaskNumberOfTheDriver) {
  Words first = program(conv);
  first[first.size() - 4] = regdb::Regcmd{0x0101, 0x7FFFFFF0, 0x10}.pack();  // dangles
  first[first.size() - 3] = regdb::Regcmd{0x0101, 64, 0x14}.pack();
  EXPECT_TRUE(bench.run(first, 0, 1));
}

TEST_F(CoreTest, ChainThatLinksItselfEnds) {
  Words loop = program(conv);
  loop[loop.size() - 4] = regdb::Regcmd{0x0101, kProgramIova, 0x10}.pack();
  loop[loop.size() - 3] = regdb::Regcmd{0x0101, 0xFFFF, 0x14}.pack();
  ChipOptions options;
  options.task_mac_budget = 10 * 8 * 8 * 16 * 16 * 9;
  Bench small(options);
  small.load(conv, memory);
  EXPECT_FALSE(small.run(loop, 0, 4095));
  ASSERT_TRUE(small.chip.fault(0));
  EXPECT_EQ(small.chip.fault(0)->kind, FaultKind::hang);
}

TEST_F(CoreTest, AmountBeyondTheEnableWordIsHarmless) {
  const Words words = program(conv);
  bench.map(kProgramIova, words.data(), words.size() * 8);
  EXPECT_TRUE(bench.start(kProgramIova, static_cast<std::uint32_t>(words.size()) + 4000));
}

TEST_F(CoreTest, AddressesOutsideEveryBufferAreReported) {
  const struct {
    std::uint16_t target, offset;
    FaultKind kind;
    const char* where;
  } cases[] = {{0x0201, 0x1070, FaultKind::dma_read, "CNA.FEATURE_DATA_ADDR"},
               {0x0201, 0x1110, FaultKind::dma_read, "CNA.DCOMP_ADDR0"},
               {0x2001, 0x5020, FaultKind::dma_read, "DPU_RDMA.RDMA_BS_BASE_ADDR"},
               {0x1001, 0x4020, FaultKind::dma_write, "DPU.DST_BASE_ADDR"}};
  for (const auto& c : cases) {
    Words words = program(conv);
    patch(words, c.target, c.offset, 0xF0000000);
    EXPECT_FALSE(bench.run(words));
    ASSERT_TRUE(bench.chip.fault(0));
    EXPECT_EQ(bench.chip.fault(0)->kind, c.kind);
    EXPECT_EQ(bench.chip.fault(0)->where, c.where);
    EXPECT_EQ(bench.chip.fault(0)->iova, 0xF0000000u);
    EXPECT_EQ(bench.chip.read(0, 0x2C) & 0x3000, c.kind == FaultKind::dma_read ? 0x1000u : 0x2000u);
    bench.chip.reset(0);
  }
}

TEST_F(CoreTest, FaultLeavesTheOutputAlone) {
  Words words = program(conv);
  patch(words, 0x0201, 0x1070, 0xF0000000);
  std::byte* out = bench.at(kOutputIova, 16);
  out[3] = std::byte{0x5A};
  EXPECT_FALSE(bench.run(words));
  EXPECT_EQ(out[3], std::byte{0x5A});
}

TEST_F(CoreTest, ProgramOutsideEveryBufferIsReported) {
  EXPECT_FALSE(bench.start(0x70000000, 130));
  ASSERT_TRUE(bench.chip.fault(0));
  EXPECT_EQ(bench.chip.fault(0)->where, "PC.BASE_ADDRESS");
}

TEST_F(CoreTest, HungCoreNeedsAResetAndThenWorks) {
  Words words = program(conv);
  patch(words, 0x2001, 0x5044, 0x7800);  // MRDMA enabled and unfed
  EXPECT_FALSE(bench.run(words));
  ASSERT_TRUE(bench.chip.fault(0));
  EXPECT_EQ(bench.chip.fault(0)->kind, FaultKind::hang);
  EXPECT_FALSE(bench.run(program(conv)));
  EXPECT_EQ(bench.chip.fault(0)->kind, FaultKind::hang);
  bench.chip.reset(0);
  EXPECT_TRUE(bench.run(program(conv)));
  EXPECT_EQ(bench.output(conv), reference(conv, memory));
}

TEST_F(CoreTest, ProgramThatOverwritesTheCoreIndexHangsOnTheOtherCores) {
  Words words = program(conv);
  words.insert(words.begin(), regdb::Regcmd{0x0201, 0xE, 0x1004}.pack());
  EXPECT_TRUE(bench.run(words, 0));
  EXPECT_FALSE(bench.run(words, 1));
  EXPECT_EQ(bench.chip.fault(1)->where, "CNA.S_POINTER");
}

TEST_F(CoreTest, MissingEnableWordIsAHang) {
  Words words = program(conv);
  words.pop_back();
  words.push_back(0);
  expect_fault(words, FaultKind::hang, "PC.REGISTER_AMOUNTS");
}

TEST_F(CoreTest, WhatIsNotModelledStopsTheTaskByName) {
  const struct {
    std::uint16_t target, offset;
    std::uint32_t value;
    const char* where;
  } cases[] = {{0x0201, 0x100C, 0x240, "CNA.CONV_CON1.in_precision"},
               {0x0201, 0x1100, 1, "CNA.DCOMP_CTRL.decomp_control"},
               {0x0201, 0x1014, 0x10000009, "CNA.CONV_CON3.nn_mode"},
               {0x1001, 0x4060, 0x50, "DPU.BN_CFG.bn_alu_algo"},
               {0x1001, 0x4070, 0x302, "DPU.EW_CFG.ew_lut_bypass"},
               {0x1001, 0x4010, 8, "DPU.DATA_FORMAT.mc_surf_out"}};
  for (const auto& c : cases) {
    Words words = program(conv);
    patch(words, c.target, c.offset, c.value);
    expect_fault(words, FaultKind::not_modelled, c.where);
  }
}

TEST_F(CoreTest, BlocksThatContradictEachOtherAreRefused) {
  Words words = program(conv);
  patch(words, 0x1001, 0x4030, 99);
  expect_fault(words, FaultKind::bad_program, "DPU.DATA_CUBE_WIDTH");
  words = program(conv);
  patch(words, 0x0201, 0x1040, 0xC1);
  expect_fault(words, FaultKind::bad_program, "CNA.CBUF_CON0");
  words = program(conv);
  patch(words, 0x0201, 0x1030, 12345);
  expect_fault(words, FaultKind::bad_program, "CNA.WEIGHT_SIZE0");
}

TEST_F(CoreTest, TaskBeyondItsBudgetCountsAsHung) {
  ChipOptions options;
  options.task_mac_budget = 1000;
  Bench small(options);
  small.load(conv, memory);
  EXPECT_FALSE(small.run(program(conv)));
  EXPECT_EQ(small.chip.fault(0)->kind, FaultKind::hang);
}

TEST_F(CoreTest, WithoutAnAddressSpaceNothingIsRead) {
  bench.chip.attach(0, nullptr);
  EXPECT_FALSE(bench.start(kProgramIova, 130));
  EXPECT_EQ(bench.chip.fault(0)->kind, FaultKind::dma_read);
}

}  // namespace
}  // namespace npu::sim::test
