// SPDX-License-Identifier: MIT
#include "npu-probe/replay.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "npu-device/sim_device.hpp"
#include "tool.hpp"

namespace npu::probe::test {
namespace {

TEST(Replay, EveryPublicCaseMatchesTheCpuWithinOne) {
  const Output r = tool({"replay", "--json", mesa().string()});
  ASSERT_EQ(r.status, 0) << r.out << r.err;
  const auto json = r.json();
  EXPECT_GE(json["total"], 14);
  EXPECT_EQ(json["matched"], json["total"]);
  for (const auto& c : json["cases"]) {
    EXPECT_TRUE(c["match"]) << c;
    EXPECT_TRUE(c["agrees_with_cpu"]) << c;
    EXPECT_LE(c["max_abs_diff"], 1) << c;
    // The independent executor rounds CLIP_TRUNCATE half up, the model half to even as the
    // manual says; that one case shows it.
    EXPECT_EQ(c["executor_equal"], c["name"] != "conv3x3_14_32_48_trunc_3c1642e3") << c;
  }
}

TEST(Replay, ExecutorIsMatchedEverywhereWithItsOwnRounding) {
  sim::ChipOptions options;
  options.quirks.out_cvt_tie = sim::TieRule::half_up;
  options.quirks.clip_truncate_tie = sim::TieRule::half_up;
  options.quirks.ew_cvt_tie = sim::TieRule::half_up;
  const auto device = device::open_sim(options);
  for (const auto& entry : std::filesystem::directory_iterator(mesa())) {
    if (!entry.is_directory()) continue;
    const CaseResult r = replay_case(*device, load_case(entry.path()), false);
    EXPECT_TRUE(r.executor_equal()) << r.name;
  }
}

TEST(Replay, WholeNetworkRunsOnItsOwnIntermediateResults) {
  const Output r = tool({"replay", "--json", "--chained", mesa("mobilenet_v1_0.25_128").string()});
  ASSERT_EQ(r.status, 0) << r.out;
  const auto c = r.json()["cases"][0];
  EXPECT_EQ(c["operators"].size(), 28u);
  // The first operator sees the same input either way.
  EXPECT_LE(c["operators"][0]["max_abs_diff"], 1);
  EXPECT_GT(c["equal_share"], 0.5);
}

TEST(Replay, HashesTellTheSameBytesFromOthers) {
  const auto hashes = [](std::vector<std::string> how) {
    how.insert(how.end(), {"replay", "--json", mesa("add_14_32").string()});
    std::rotate(how.begin(), how.end() - 3, how.end());
    std::vector<std::string> out;
    const auto report = tool(how).json();
    for (const auto& op : report["cases"][0]["operators"]) out.push_back(op["sha256"]);
    return out;
  };
  const auto good = hashes({});
  ASSERT_EQ(good.size(), 2u);
  EXPECT_EQ(good[0].size(), 64u);
  EXPECT_NE(good[0], good[1]);
  EXPECT_EQ(hashes({"--device", "mmio:sim"}), good);
  // The first operator has some 700 beats, the second more than 1000.
  const auto bad = hashes({"--inject", "corrupt@1000"});
  ASSERT_EQ(bad.size(), 2u);
  EXPECT_EQ(bad[0], good[0]);
  EXPECT_NE(bad[1], good[1]);
}

TEST(Replay, BuffersThatLieElsewhereAreFoundByTheRelocatedProgram) {
  const Case c = load_case(mesa("add_14_32"));
  Case moved = c;
  // The same program recorded with every buffer 16 MiB higher.
  for (auto& bo : moved.submits[0].bos) bo.iova += 0x1000000;
  for (auto& job : moved.submits[0].jobs)
    for (auto& task : job.tasks) task.regcmd += 0x1000000;
  for (auto& word : moved.regcmd) {
    const auto offset = word & 0xFFFF, target = word >> 48;
    const bool address =
        (target == 0x0201 && (offset == 0x1070 || offset == 0x1110)) ||
        (target == 0x1001 && offset == 0x4020) ||
        (target == 0x2001 && (offset == 0x5018 || offset == 0x5020 || offset == 0x5038));
    if (address && (word >> 16 & 0xFFFFFFFF) != 0) word += std::uint64_t{0x1000000} << 16;
  }
  const auto device = device::open_device("sim");
  const CaseResult a = replay_case(*device, c, false), b = replay_case(*device, moved, false);
  ASSERT_EQ(a.operators.size(), b.operators.size());
  EXPECT_TRUE(b.match());
  for (std::size_t i = 0; i < a.operators.size(); ++i)
    EXPECT_EQ(a.operators[i].equal, b.operators[i].equal);
}

TEST(Replay, QuietIsOneLineForEachCase) {
  const Output r =
      tool({"replay", "-q", mesa("add_14_32").string(), mesa("dw3x3_15_64_s2").string()});
  EXPECT_EQ(r.status, 0);
  EXPECT_EQ(std::count(r.out.begin(), r.out.end(), '\n'), 3) << r.out;
}

TEST(Replay, WrongResultIsADifferenceAndExitOne) {
  TempDir dir;
  std::filesystem::copy(mesa("conv1x1_12_17_24"), dir / "c");
  std::string reference = slurp(dir / "c" / "cpu-3.bin");
  reference[100] = static_cast<char>(reference[100] + 50);
  spill(dir / "c" / "cpu-3.bin", reference);
  const Output r = tool({"replay", "--json", (dir / "c").string()});
  EXPECT_EQ(r.status, 1);
  EXPECT_EQ(r.json()["matched"], 0);
  EXPECT_GE(r.json()["cases"][0]["max_abs_diff"], 2);
}

TEST(Replay, CaseThatNeedNotAgreeIsReportedWithoutFailing) {
  TempDir dir;
  std::filesystem::copy(mesa("conv1x1_12_17_24"), dir / "c");
  std::string text = slurp(dir / "c" / "case.json");
  text.replace(text.rfind("true"), 4, "false");
  spill(dir / "c" / "case.json", text);
  std::string reference = slurp(dir / "c" / "cpu-3.bin");
  reference[100] = static_cast<char>(reference[100] + 50);
  spill(dir / "c" / "cpu-3.bin", reference);
  const Output r = tool({"replay", "--json", (dir / "c").string()});
  EXPECT_EQ(r.status, 0);
  EXPECT_FALSE(r.json()["cases"][0]["match"]);
}

TEST(Replay, FaultingProgramIsReportedAndTheOtherCasesGoOn) {
  TempDir dir;
  std::filesystem::copy(mesa("conv1x1_12_17_24"), dir / "bad");
  std::filesystem::copy(mesa("conv1x1_1_1024_100"), dir / "good");
  std::string words = slurp(dir / "bad" / "regcmd.bin");
  // CNA.DATA_SIZE0: another width than the DPU's.
  for (std::size_t i = 0; i + 8 <= words.size(); i += 8)
    if (words[i] == 0x28 && words[i + 1] == 0x10) words[i + 2] = 0x7F;
  spill(dir / "bad" / "regcmd.bin", words);
  const Output r = tool({"replay", "--json", dir.path().string()});
  EXPECT_EQ(r.status, 5) << r.out;
  const auto json = r.json();
  EXPECT_EQ(json["total"], 2);
  EXPECT_EQ(json["matched"], 1);
  EXPECT_EQ(json["cases"][0]["error"]["code"], "device-fault") << json;
}

}  // namespace
}  // namespace npu::probe::test
