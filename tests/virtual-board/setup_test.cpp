// SPDX-License-Identifier: MIT
// Machines that the NPU cannot be put into: QEMU ends with a sentence that says why. Each test is a
// process of its own, as a plugin is loaded once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "fake_qemu.hpp"

namespace {

using fake_qemu::Machine;
using testing::ExitedWithCode;
using testing::HasSubstr;

// The exit code that QEMU would have; 0 if the guest would run.
[[noreturn]] void boot(const Machine& machine, std::vector<std::string> arguments) {
  fake_qemu::machine() = machine;
  if (fake_qemu::install(std::move(arguments)) != 0) std::exit(1);
  fake_qemu::machine_done();
  fake_qemu::system_reset();
  fake_qemu::machine_exits();
  // Past exit handlers: gtest's own child ends here.
  std::_Exit(fake_qemu::violations().empty() ? 0 : 2);
}

TEST(PluginDeathTest, TakesAMachineWithAGicOfEitherKind) {
  EXPECT_EXIT(boot({}, {}), ExitedWithCode(0), "^$");
  EXPECT_EXIT(boot({.gic = "arm_gic_common"}, {}), ExitedWithCode(0), "^$");
  EXPECT_EXIT(boot({.interrupts = 145}, {}), ExitedWithCode(0), "^$");
  EXPECT_EXIT(boot({.ram_claimed = 16ull << 30}, {}), ExitedWithCode(0), "^$");
}

TEST(PluginDeathTest, NamesWhatTheMachineLacks) {
  EXPECT_EXIT(boot({.gic = ""}, {}), ExitedWithCode(1),
              HasSubstr("no GIC: use -M virt,gic-version=3"));
  EXPECT_EXIT(boot({.interrupts = 144}, {}), ExitedWithCode(1), HasSubstr("has 144 interrupts"));
  EXPECT_EXIT(boot({.ram_bytes = 0}, {}), ExitedWithCode(1), HasSubstr("no RAM at 0x40000000"));
}

TEST(PluginDeathTest, RefusesAnotherQemu) {
  EXPECT_EXIT(boot({.target = "arm"}, {}), ExitedWithCode(1), HasSubstr("QEMU for arm: use"));
  EXPECT_EXIT(boot({.system_emulation = false}, {}), ExitedWithCode(1),
              HasSubstr("aarch64 programs"));
}

TEST(PluginDeathTest, RefusesArgumentsThatMakeNoSense) {
  for (const char* argument :
       {"model=x", "npu-hz", "npu-hz=", "npu-hz=-1", "npu-hz=1G", "npu-hz=10000000001",
        "threads=1025", "hold-after=on", "hold-after=3600001", "trace=", "", "="})
    EXPECT_EXIT(boot({}, {argument}), ExitedWithCode(1), HasSubstr("is no argument: use inject="))
        << argument;
  EXPECT_EXIT(boot({}, {"inject=hang@0"}), ExitedWithCode(1), HasSubstr("\"hang@0\" is no fault"));
  EXPECT_EXIT(boot({}, {"trace=/nonexistent/npu.txt"}), ExitedWithCode(1),
              HasSubstr("cannot write /nonexistent/npu.txt: No such file"));
}

TEST(PluginDeathTest, TakesAllItsArguments) {
  EXPECT_EXIT(boot({}, {"inject=hang@1+delay@2:5/core=1", "npu-hz=600000000", "threads=1",
                        "hold-after=0", "trace=/dev/null"}),
              ExitedWithCode(0), "^$");
  EXPECT_EXIT(boot({}, {"inject=", "hold-after=never"}), ExitedWithCode(0), "^$");
}

TEST(PluginDeathTest, IsLoadedOnce) {
  EXPECT_EXIT((fake_qemu::install({}), boot({}, {})), ExitedWithCode(1), HasSubstr("given twice"));
}

}  // namespace
