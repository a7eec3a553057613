// SPDX-License-Identifier: MIT
// What people run on a device, run on mapped registers: each core, both IOMMU modes.
#include <gmock/gmock.h>

#include "tool.hpp"

namespace npu::probe {
namespace {

using test::mesa;
using test::Output;
using test::tool;
using ::testing::HasSubstr;
using ::testing::Values;

class MmioTool : public ::testing::TestWithParam<const char*> {};

TEST_P(MmioTool, BringupPasses) {
  const auto report = tool({"bringup", "--device", GetParam(), "--json"}).json();
  EXPECT_EQ(report["passed"], true) << report.dump(2);
  EXPECT_EQ(report["times"], "host");
  for (const auto& rung : report["rungs"]) EXPECT_EQ(rung["state"], "PASS") << rung.dump();
}

TEST_P(MmioTool, GemmEqualsTheReferenceAndTheSimulatedDevice) {
  const auto run = [](const char* device) {
    return tool({"run", "gemm", "--m", "70", "--n", "130", "--k", "300", "--cores", "3", "--check",
                 "--json", "--timing", "--device", device})
        .json();
  };
  const auto mapped = run(GetParam()), simulated = run("sim");
  EXPECT_EQ(mapped["check"], "equal");
  EXPECT_EQ(mapped["checksum"], simulated["checksum"]);
  EXPECT_EQ(mapped["tasks"].size(), simulated["tasks"].size());
}

TEST_P(MmioTool, RecordedDriverProgramsGiveTheSameAsOnTheSimulatedDevice) {
  for (const char* name : {"conv3x3_28_1_8", "add_14_32"}) {
    const auto run = [name](const char* device) {
      auto report = tool({"replay", mesa(name).string(), "--json", "--device", device}).json();
      EXPECT_EQ(report["matched"], 1) << device << " " << name;
      return report["cases"][0]["operators"].dump();
    };
    EXPECT_EQ(run(GetParam()), run("sim"));
  }
}

INSTANTIATE_TEST_SUITE_P(Specs, MmioTool,
                         Values("mmio:0,sim", "mmio:1,sim", "mmio:2,sim", "mmio:0,sim,iommu=bypass",
                                "mmio:1,sim,iommu=bypass", "mmio:2,sim,iommu=bypass",
                                "mmio:0,1,2,sim"));

TEST(MmioTool, MissingBoardIsExit3) {
  const Output out = tool({"run", "gemm", "--device", "mmio:0,uio=/dev/no-such-uio"});
  EXPECT_EQ(out.status, 3);
  EXPECT_NE(out.err, "");
}

}  // namespace
}  // namespace npu::probe
