// SPDX-License-Identifier: MIT
// With the timing model: the guest's clock shows the chip's time, and none of the host's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <sstream>

#include "fake_qemu.hpp"
#include "guest.hpp"
#include "program.h"

namespace {

using fake_qemu::level;
using fake_qemu::load;
using fake_qemu::main_loop;

TEST(ModelledTime, PassesInTheGuestBeforeTheLineRises) {
  const std::string trace = testing::TempDir() + "vboard-trace.txt";
  // A clock so slow that the job takes hundreds of milliseconds, which no host needs for it.
  ASSERT_EQ(fake_qemu::install({"npu-hz=20000", "trace=" + trace, "inject=delay@2:300/core=0"}), 0);
  fake_qemu::machine_done();
  fake_qemu::system_reset();
  guest::lay_out();
  guest::attach_iommu(0);
  const std::int64_t begin = fake_qemu::guest_ns();
  guest::start(0);
  bool done_before_the_line = false;
  ASSERT_TRUE(main_loop([&] {
    const bool done = (load(guest::core(0) + PC_INTERRUPT_RAW_STATUS) & 0x300) != 0;
    done_before_the_line = done_before_the_line || (done && level(guest::spi(0)) == 0);
    return level(guest::spi(0)) == 1;
  }));
  const std::int64_t took = fake_qemu::guest_ns() - begin;
  EXPECT_TRUE(done_before_the_line);
  EXPECT_FALSE(fake_qemu::clock_stands());
  EXPECT_TRUE(guest::output_is_right());
  // 36 x 64 x 96 multiply-accumulates at 1024 for each cycle are 216 cycles: 10.8 ms at 20 kHz, and
  // nothing is faster than the array.
  EXPECT_GE(took, 10'800'000);
  guest::acknowledge(0);

  // The clock stands at once, and not only after the usual allowance.
  const int stops = fake_qemu::clock_stops();
  guest::start(0);
  ASSERT_TRUE(main_loop([] { return level(guest::spi(0)) == 1; }));
  EXPECT_GE(fake_qemu::clock_stops(), stops + 1);
  guest::acknowledge(0);

  // A page fault is not the end of a job: it is told at once.
  guest::hide_operand(true);
  guest::attach_iommu(1);
  guest::start(1);
  ASSERT_TRUE(main_loop([] { return level(guest::spi(1)) == 1; }));
  EXPECT_EQ(guest::iommu(1, 0x20), 1u);
  guest::detach_iommu(1);
  guest::reset(1);

  fake_qemu::machine_exits();
  EXPECT_THAT(fake_qemu::violations(), testing::IsEmpty());
  std::stringstream text;
  text << std::ifstream(trace).rdbuf();
  EXPECT_THAT(text.str(), testing::AllOf(testing::HasSubstr("] npu0: start\n"),
                                         testing::HasSubstr("221184 multiply-accumulates\n"),
                                         testing::HasSubstr("] npu0: interrupt line 1\n"),
                                         testing::HasSubstr("] npu1: interrupt line 1\n"),
                                         testing::HasSubstr("write 0xa008 = 0x00000006\n"),
                                         testing::HasSubstr("dma read iova 0x00401000, ")));
  std::remove(trace.c_str());
}

}  // namespace
