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

TEST(Run, RepeatedRunsAreEachCheckedAndSummedUp) {
  const auto report = [](const std::string& repeat, const std::string& seed) {
    const Output r = tool({"run", "gemm", "--m", "40", "--n", "32", "--k", "32", "--cores", "3",
                           "--check", "--seed", seed, "--repeat", repeat, "--json"});
    EXPECT_EQ(r.status, 0) << r.err;
    return r.json();
  };
  const auto one = report("1", "9"), five = report("5", "5");
  EXPECT_EQ(five["runs"], 5);
  EXPECT_EQ(five["jobs"], 5 * one["jobs"].get<int>());
  EXPECT_EQ(five["bytes_moved"], 5 * one["bytes_moved"].get<int>());
  EXPECT_EQ(five["check"], "equal");
  EXPECT_EQ(five["checksum"], one["checksum"]) << "the last of five runs has the seed 9";
}

TEST(Run, RepeatedRunsEndAtTheFirstWrongResult) {
  // A run has some 340 beats of 16 bytes.
  const Output r = tool({"run", "gemm", "--m", "40", "--n", "32", "--k", "32", "--check",
                         "--repeat", "5", "--inject", "corrupt@800", "--json"});
  EXPECT_EQ(r.status, 1) << r.err;
  EXPECT_EQ(r.json()["check"], "differs");
  EXPECT_EQ(r.json()["runs"], 3);
  EXPECT_EQ(r.json()["difference"].get<std::string>().rfind("run 3: ", 0), 0u) << r.out;
}

TEST(Run, UsageErrorsEndWithTwo) {
  EXPECT_EQ(tool({"run", "gemm", "--repeat", "0"}).status, 2);
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
