// SPDX-License-Identifier: MIT
// The registers of the simulated device, and its register groups.
#include <gmock/gmock.h>

#include "npu-device/register_access.hpp"
#include "npu-device/sim_device.hpp"
#include "regdb/error.hpp"
#include "regdb/registers.hpp"
#include "small_gemm.hpp"

namespace npu::device {
namespace {

using test::SmallGemm;
using ::testing::ElementsAre;
namespace cna = regdb::cna;
namespace dpu = regdb::dpu;
namespace pc = regdb::pc;

constexpr std::chrono::seconds kWait{60};

struct Registers : ::testing::Test {
  std::unique_ptr<Device> device = open_sim({.cores = 3, .threads = 1});
  RegisterAccess& registers = *device->registers();

  void run(std::uint32_t seed) {
    SmallGemm gemm(*device, seed);
    program_at = gemm.program.iova();
    output_at = gemm.c.iova();
    device->submit(gemm.job());
    device->prep(gemm.c, kWait);
    EXPECT_EQ(gemm.result(), gemm.expected());
  }
  std::uint32_t program_at = 0, output_at = 0;
};

TEST_F(Registers, TellTheChipAndItsCores) {
  EXPECT_THAT(registers.cores(), ElementsAre(0u, 1u, 2u));
  for (unsigned core : registers.cores())
    EXPECT_EQ(registers.read(core, pc::VERSION::offset), 0x46495245u);
  EXPECT_EQ(registers.last_core(), std::nullopt);
}

TEST_F(Registers, HoldWhatTheLastJobLeftInItsGroup) {
  run(1);
  ASSERT_TRUE(registers.last_core());
  const unsigned core = *registers.last_core();
  EXPECT_EQ(registers.read(core, pc::BASE_ADDRESS::offset), program_at);
  const unsigned group = last_group(registers, core, dpu::DST_BASE_ADDR::offset);
  EXPECT_EQ(read_group(registers, core, dpu::DST_BASE_ADDR::offset, group), output_at);
  // The driver lets the pointers alternate, so a plain read shows the other group.
  EXPECT_EQ(block_pointers(registers, core, dpu::DST_BASE_ADDR::offset).producer, group ^ 1);
}

TEST_F(Registers, ReadingBothGroupsChangesNothing) {
  run(1);
  const unsigned core = *registers.last_core();
  const std::uint32_t cna_pointer = registers.read(core, cna::S_POINTER::offset),
                      dpu_pointer = registers.read(core, dpu::S_POINTER::offset);
  for (unsigned group : {0u, 1u}) {
    read_group(registers, core, cna::CONV_CON1::offset, group);
    read_group(registers, core, dpu::DST_BASE_ADDR::offset, group);
  }
  EXPECT_EQ(registers.read(core, cna::S_POINTER::offset), cna_pointer);
  EXPECT_EQ(registers.read(core, dpu::S_POINTER::offset), dpu_pointer);
  for (std::uint32_t seed = 2; seed < 6; ++seed) run(seed);
}

TEST_F(Registers, WritesReachTheNamedGroupOnly) {
  const std::uint32_t at = dpu::DST_BASE_ADDR::offset;
  registers.write(1, dpu::S_POINTER::offset, 1);
  registers.write(1, at, 0x1230);
  EXPECT_EQ(read_group(registers, 1, at, 1), 0x1230u);
  EXPECT_EQ(read_group(registers, 1, at, 0), 0u);
  EXPECT_EQ(registers.read(0, at), 0u);
}

TEST_F(Registers, RefuseWhatLocksTheChipOrIsNoRegister) {
  EXPECT_THROW(registers.read(0, 0x2210), Error);
  EXPECT_NO_THROW(registers.write(0, 0x2210, 0));
  EXPECT_THROW(registers.read(0, 0x2), Error);
  EXPECT_THROW(registers.read(0, 0x10000), Error);
  EXPECT_THROW(registers.read(3, 0), Error);
  EXPECT_THROW(registers.write(3, 0, 0), Error);
  EXPECT_THROW(read_group(registers, 0, pc::BASE_ADDRESS::offset, 0), Error);
  EXPECT_THROW(last_group(registers, 0, cna::S_POINTER::offset), Error);
}

}  // namespace
}  // namespace npu::device
