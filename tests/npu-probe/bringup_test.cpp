// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include "tool.hpp"

namespace npu::probe::test {
namespace {

TEST(Bringup, EveryRungPassesOnTheSimulatedDevice) {
  const Output r = tool({"bringup", "--json", "--device", "sim"});
  ASSERT_EQ(r.status, 0) << r.out << r.err;
  const auto json = r.json();
  EXPECT_TRUE(json["passed"]);
  EXPECT_EQ(json["times"], "host");  // never "measured" on the model
  ASSERT_EQ(json["rungs"].size(), 9u);
  for (const auto& rung : json["rungs"]) EXPECT_EQ(rung["state"], "PASS") << rung;
  EXPECT_EQ(json["rungs"][0]["name"], "open device");
  EXPECT_EQ(json["rungs"][8]["name"], "error recovery");
}

TEST(Bringup, OneCoreIsEnoughForTheWholeLadder) {
  EXPECT_EQ(tool({"bringup", "--device", "sim:cores=1"}).status, 0);
}

TEST(Bringup, DeviceThatCannotBeOpenedStopsTheLadderWithItsExitCode) {
  const Output r = tool({"bringup", "--json", "--device", "rocket:/no/such/node"});
  EXPECT_EQ(r.status, 3) << r.out << r.err;
  const auto rungs = r.json()["rungs"];
  EXPECT_EQ(rungs[0]["state"], "FAIL");
  EXPECT_NE(rungs[0]["remedy"], "");
  for (std::size_t i = 1; i < rungs.size(); ++i) {
    EXPECT_EQ(rungs[i]["state"], "SKIP");
    EXPECT_NE(rungs[i]["detail"].get<std::string>().find("open device"), std::string::npos);
  }
}

TEST(Bringup, TextFormNamesEachRung) {
  const Output r = tool({"bringup"});
  EXPECT_EQ(r.status, 0);
  EXPECT_NE(r.out.find("PASS  gemm 64x64x64"), std::string::npos) << r.out;
  EXPECT_EQ(r.out.find("\x1b["), std::string::npos);  // no colour into a pipe
}

}  // namespace
}  // namespace npu::probe::test
