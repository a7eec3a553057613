// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include "tool.hpp"

namespace npu::probe::test {
namespace {

TEST(Run, GemmEqualsTheReferenceForBothOutputs) {
  for (const std::string out : {"i32", "i8"}) {
    const Output r = tool({"run", "gemm", "--m", "37", "--n", "65", "--k", "129", "--dtype", "i8",
                           "--out", out, "--cores", "2", "--check", "--json"});
    ASSERT_EQ(r.status, 0) << r.err;
    EXPECT_EQ(r.json()["check"], "equal");
    EXPECT_EQ(r.json()["time_ms"]["provenance"], "host");
  }
}

TEST(Run, ResultDependsOnTheSeedAndOnNothingElse) {
  const auto checksum = [](const std::string& seed, const std::string& cores) {
    return tool({"run", "gemm", "--m", "20", "--n", "70", "--k", "50", "--seed", seed, "--cores",
                 cores, "--json"})
        .json()["checksum"]
        .get<std::string>();
  };
  EXPECT_EQ(checksum("5", "1"), checksum("5", "3"));
  EXPECT_NE(checksum("5", "1"), checksum("6", "1"));
}

TEST(Run, UsageErrorsEndWithTwo) {
  EXPECT_EQ(tool({"run", "gemm", "--m", "0"}).status, 2);
  EXPECT_EQ(tool({"run", "gemm", "--dtype", "fp16"}).status, 2);
  EXPECT_EQ(tool({"run", "gemm", "--cores", "4"}).status, 2);
  EXPECT_EQ(tool({"run", "gemm", "--device", "toaster"}).status, 2);
  EXPECT_EQ(tool({"run", "gemm", "--m", "16000000", "--n", "16000000", "--k", "4"}).status, 2);
  // One column is stored as 32.
  EXPECT_EQ(tool({"run", "gemm", "--m", "16777216", "--n", "1", "--k", "1"}).status, 2);
  EXPECT_EQ(tool({"run"}).status, 2);
  EXPECT_EQ(tool({}).status, 2);
  EXPECT_EQ(tool({"fly"}).status, 2);
}

TEST(Tool, HelpAndVersionEndWithZero) {
  const Output version = tool({"--version"});
  EXPECT_EQ(version.status, 0);
  EXPECT_EQ(version.out.rfind("npu-probe ", 0), 0u) << version.out;
  for (const std::string sub : {"bringup", "run", "replay", "decode", "encode"}) {
    const Output help = tool({sub, "--help"});
    EXPECT_EQ(help.status, 0);
    EXPECT_NE(help.out.find("Example: npu-probe "), std::string::npos) << help.out;
  }
}

TEST(Tool, MissingDeviceEndsWithThree) {
  const Output r = tool({"run", "gemm", "--device", "rocket:/no/such/node"});
  EXPECT_EQ(r.status, 3);
  EXPECT_EQ(r.err.rfind("npu-probe: ", 0), 0u) << r.err;
}

}  // namespace
}  // namespace npu::probe::test
