// SPDX-License-Identifier: MIT
// The subcommand as a whole, on the simulated device.
#include <gtest/gtest.h>

#include <set>

#include "bench_fixture.hpp"
#include "npu-device/sim_device.hpp"
#include "npu-probe/bench_run.hpp"
#include "npu-probe/bench_shapes.hpp"
#include "regdb/error.hpp"
#include "tool.hpp"

namespace npu::probe::test {
namespace {

// One small shape of every operator.
constexpr const char* kSmall = R"({
  "gemm": [{"name": "square", "m": 20, "n": 70, "k": 50}],
  "conv": [{"height": 9, "width": 9, "in_channels": 16, "out_channels": 24, "kernel": 3, "pad": "same"}],
  "dw": [{"height": 12, "width": 12, "channels": 32, "kernel": 3, "stride": 2, "pad": 1}],
  "add": [{"n": 1000}, {"n": 1000, "function": "silu"}],
  "pool": [{"height": 12, "width": 12, "channels": 32, "kernel": 2, "stride": 2},
           {"height": 7, "width": 7, "channels": 64, "kernel": 7, "method": "average"}],
  "copy": [{"n": 5000}],
  "submit": [{"tasks": 3, "jobs": 2}]})";

struct Small : testing::Test {
  TempDir dir;
  std::string shapes = (dir / "small.json").string();
  void SetUp() override { spill(shapes, kSmall); }
  Output bench(std::vector<std::string> more) {
    std::vector<std::string> all{"bench", "--shapes", shapes, "--device", "sim"};
    all.insert(all.end(), more.begin(), more.end());
    return tool(all);
  }
};

using BenchCommand = Small;

TEST_F(BenchCommand, RunsEveryOperatorOnOneAndThreeCores) {
  const Output r = bench({"all", "--cores", "1,3", "--json"});
  ASSERT_EQ(r.status, 0) << r.err;
  const auto json = r.json();
  EXPECT_EQ(json["provenance"], "modelled");
  EXPECT_EQ(json["clock_mhz"], 600);
  std::set<std::string> ops;
  std::set<unsigned> cores;
  for (const auto& row : json["rows"]) {
    ops.insert(row["op"]);
    cores.insert(row["cores"].get<unsigned>());
    ASSERT_FALSE(row.contains("error")) << row;
    EXPECT_TRUE(row["computed"].get<bool>());
    EXPECT_GT(row["time_us"]["median"], 0);
    EXPECT_GT(row["tasks"], 0);
    EXPECT_EQ(row["kicks"], row["tasks"]) << row;  // the stock driver starts every task
    EXPECT_GE(row["submits"], 1);
    EXPECT_GT(row["regcmd_words"], 0);
    EXPECT_GT(row["bytes_moved"], 0);
    double shares = 0;
    for (const auto& share : row["model"]["shares"]) shares += share["share"].get<double>();
    EXPECT_NEAR(shares, 1, 1e-9);
    if (row["op"] == "submit") continue;
    // No program beats the roof.
    EXPECT_GT(row["roof"]["share"], 0);
    EXPECT_LE(row["roof"]["share"], 1);
  }
  EXPECT_EQ(ops, (std::set<std::string>{"gemm", "conv", "dw", "add", "pool", "copy", "submit"}));
  EXPECT_EQ(cores, (std::set<unsigned>{1, 3}));
}

TEST_F(BenchCommand, RunsEveryTypeOfEveryOperator) {
  for (const BenchOp op : kBenchOps) {
    if (op == BenchOp::submit) continue;
    std::string types;
    for (const kernels::GemmTypes& t : bench_types(op))
      types += (types.empty() ? "" : ",") +
               (t.in == t.out ? std::string(to_string(t.in)) + "->" : "") +
               (t.in == t.out ? std::string(to_string(t.out)) : types_text(t));
    const Output r = bench({std::string(to_string(op)), "--dtype", types, "--json"});
    ASSERT_EQ(r.status, 0) << types << ' ' << r.err;
    std::set<std::string> seen;
    for (const auto json = r.json(); const auto& row : json["rows"])
      seen.insert(row["dtype"].get<std::string>());
    EXPECT_EQ(seen.size(), bench_types(op).size()) << to_string(op);
  }
}

TEST_F(BenchCommand, BesideATimeThatIsNotModelledStandsTheModels) {
  const auto model = bench({"conv", "--dtype", "i8", "--json"}).json();
  const auto other = tool({"bench", "conv", "--dtype", "i8", "--shapes", shapes, "--device",
                           "mmio:sim", "--mhz", "600", "--json"})
                         .json();
  EXPECT_EQ(other["provenance"], "host");  // the simulator behind registers has no modelled clock
  ASSERT_EQ(other["rows"].size(), 1u);
  const auto& row = other["rows"][0];
  EXPECT_EQ(row["time_us"]["provenance"], "host");
  EXPECT_EQ(row["time_us"]["samples"], 5);
  EXPECT_EQ(row["model"]["provenance"], "modelled");
  EXPECT_EQ(row["model"]["us"], model["rows"][0]["model"]["us"]);
  EXPECT_EQ(row["kicks"], model["rows"][0]["kicks"]);
  EXPECT_EQ(row["bytes_moved"], model["rows"][0]["bytes_moved"]);
}

TEST_F(BenchCommand, TimingOnlyGivesTheSameTimesAsComputing) {
  const auto computed = bench({"--json"}).json();
  const auto timed = bench({"--json", "--timing-only"}).json();
  const auto limited = bench({"--json", "--simulate-limit", "0"}).json();
  ASSERT_EQ(computed["rows"].size(), timed["rows"].size());
  for (std::size_t i = 0; i < timed["rows"].size(); ++i) {
    for (const auto* other : {&timed["rows"][i], &limited["rows"][i]}) {
      const auto& row = computed["rows"][i];
      EXPECT_EQ(row["time_us"], (*other)["time_us"]) << row;
      EXPECT_EQ(row["bytes_moved"], (*other)["bytes_moved"]);
      EXPECT_EQ(row["kicks"], (*other)["kicks"]);
      EXPECT_TRUE(row["computed"].get<bool>());
      EXPECT_FALSE((*other)["computed"].get<bool>());
    }
  }
}

TEST_F(BenchCommand, RepetitionsOfTheModelHaveNoSpread) {
  const auto json = bench({"gemm", "--json", "-r", "4", "--warmup", "2"}).json();
  EXPECT_EQ(json["repetitions"], 4);
  EXPECT_EQ(json["warmup"], 2);
  for (const auto& row : json["rows"]) {
    EXPECT_EQ(row["time_us"]["samples"], 4);
    EXPECT_EQ(row["time_us"]["mad"], 0);
    EXPECT_EQ(row["time_us"]["min"], row["time_us"]["max"]);
    EXPECT_EQ(row["host_us"]["samples"], 4);
  }
}

TEST_F(BenchCommand, AFasterClockShortensTheModelledTimeAndRaisesTheRoof) {
  const auto slow = bench({"conv", "--json", "--mhz", "200"}).json();
  const auto fast = bench({"conv", "--json", "--mhz", "1000"}).json();
  EXPECT_EQ(slow["clock_mhz"], 200);
  EXPECT_EQ(fast["clock_mhz"], 1000);
  for (std::size_t i = 0; i < slow["rows"].size(); ++i) {
    const auto &a = slow["rows"][i], &b = fast["rows"][i];
    EXPECT_GT(a["time_us"]["median"], b["time_us"]["median"]);
    EXPECT_NEAR(b["roof"]["peak_macs_per_second"].get<double>() /
                    a["roof"]["peak_macs_per_second"].get<double>(),
                5, 1e-9);
  }
}

TEST_F(BenchCommand, SubmitCountsItsJobsAndTasks) {
  const auto json = bench({"submit", "--cores", "1,2", "--json"}).json();
  ASSERT_EQ(json["rows"].size(), 2u);
  for (const auto& row : json["rows"]) {
    const auto cores = row["cores"].get<unsigned>();
    EXPECT_EQ(row["submits"], cores);
    EXPECT_EQ(row["jobs"], 2 * cores);
    EXPECT_EQ(row["tasks"], 6 * cores);
    EXPECT_EQ(row["kicks"], 6 * cores);
  }
}

TEST_F(BenchCommand, EveryWriterPrintsTheRows) {
  const Output markdown = bench({"gemm", "--dtype", "i8", "--markdown"});
  EXPECT_EQ(markdown.status, 0) << markdown.err;
  EXPECT_NE(markdown.out.find("| square | 20x50x70"), std::string::npos) << markdown.out;
  EXPECT_EQ(markdown.out.find('\x1b'), std::string::npos);
  EXPECT_EQ(markdown.err, "");  // no terminal: no progress
  EXPECT_EQ(parse_csv(bench({"gemm", "--csv"}).out).size(), 3u);
  const Output html = bench({"--html", "--cores", "1,2,3"});
  EXPECT_EQ(html_complaint(html.out), "");
  EXPECT_NE(html.out.find("<svg"), std::string::npos);
}

TEST_F(BenchCommand, ProgressGoesToATerminalOnly) {
  std::istringstream in;
  std::ostringstream out, err;
  Io io{in, out, err, false, true};
  const char* argv[] = {"npu-probe", "bench", "gemm", "--shapes", shapes.c_str()};
  EXPECT_EQ(run(5, argv, io), 0) << err.str();
  EXPECT_NE(err.str().find("1/2 gemm 20x50x70 i8->i32 x1"), std::string::npos) << err.str();
  EXPECT_TRUE(err.str().ends_with("\r\x1b[K"));
  EXPECT_EQ(out.str().find('\x1b'), std::string::npos);
}

TEST_F(BenchCommand, ComparesWithAnEarlierReport) {
  const std::string old = (dir / "old.json").string();
  spill(old, bench({"conv", "--json"}).out);
  const Output same = bench({"conv", "--compare", old});
  EXPECT_EQ(same.status, 0) << same.err;
  EXPECT_NE(same.out.find("0 slower"), std::string::npos) << same.out;
  const Output slower = bench({"conv", "--mhz", "200", "--compare", old, "--json"});
  EXPECT_EQ(slower.status, 1);
  EXPECT_GE(slower.json()["slower"], 1);  // dispatch, most of a small layer, has no clock
  EXPECT_EQ(bench({"conv", "--mhz", "200", "--compare", old, "--threshold", "900"}).status, 0);
  EXPECT_EQ(bench({"gemm", "--compare", old}).status, 4);  // no row in common
  spill(old, "{}");
  EXPECT_EQ(bench({"conv", "--compare", old}).status, 4);
  EXPECT_EQ(bench({"conv", "--compare", (dir / "none").string()}).status, 4);
}

TEST_F(BenchCommand, ARefusedShapeIsARowAndTheRestRuns) {
  spill(shapes, R"({"gemm":[{"m":4,"n":4,"k":200000,"dtype":"i8->i32"},
                            {"m":4,"n":4,"k":32,"dtype":"i8->i32"}]})");
  const Output r = bench({"--json"});
  EXPECT_EQ(r.status, 1);
  ASSERT_EQ(r.json()["rows"].size(), 2u);
  EXPECT_EQ(r.json()["rows"][0]["error"]["code"], "invalid-argument");
  EXPECT_GT(r.json()["rows"][1]["time_us"]["median"], 0);
  EXPECT_NE(r.err.find("200000"), std::string::npos);
  EXPECT_EQ(html_complaint(bench({"--html"}).out), "");
}

TEST_F(BenchCommand, UsageErrorsEndWithTwo) {
  for (const std::vector<std::string>& bad :
       std::vector<std::vector<std::string>>{{"sort"},
                                             {"--cores", "0"},
                                             {"--cores", "4"},
                                             {"--cores", "1,x"},
                                             {"--dtype", "i9"},
                                             {"gemm", "--dtype", "i16"},
                                             {"-r", "0"},
                                             {"--mhz", "0"},
                                             {"--json", "--csv"},
                                             {"--compare", "x", "--html"},
                                             {"--device", "toaster"},
                                             {"--device", "mmio:sim", "--timing-only"},
                                             {"--threshold", "-1"}}) {
    const Output r = bench(bad);
    EXPECT_EQ(r.status, 2) << bad[0] << ' ' << r.err;
    EXPECT_EQ(r.out, "");
  }
  EXPECT_EQ(tool({"bench", "--device", "sim:cores=1", "--cores", "2", "copy"}).status, 2);
  EXPECT_EQ(tool({"bench", "--device", "rocket:/no/such/node"}).status, 3);
}

TEST_F(BenchCommand, BadFilesEndWithFour) {
  spill(shapes, R"({"gemm":[{"m":0,"n":2,"k":3}]})");
  const Output r = bench({});
  EXPECT_EQ(r.status, 4);
  EXPECT_NE(r.err.find(shapes + ": gemm[0].m must be an integer"), std::string::npos) << r.err;
  EXPECT_EQ(tool({"bench", "--shapes", "/no/such/file.json"}).status, 4);
  EXPECT_EQ(tool({"bench", "--shapes", "nonsense"}).status, 4);
  EXPECT_EQ(bench({"--calibration", shapes}).status, 4);
}

TEST(Bench, ListsTheShapesOfASet) {
  const Output r = tool({"bench", "--list", "--shapes", "mobilenet_v1", "dw"});
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(std::count(r.out.begin(), r.out.end(), '\n'), 13);
  EXPECT_NE(r.out.find("112x112x32 3x3"), std::string::npos) << r.out;
}

TEST(Bench, HelpHasExamplesAndExitCodes) {
  const Output r = tool({"bench", "--help"});
  EXPECT_EQ(r.status, 0);
  EXPECT_NE(r.out.find("Example: npu-probe bench"), std::string::npos);
  EXPECT_NE(r.out.find("Exit codes: 0 ok, 1"), std::string::npos);
}

TEST(Bench, TheWholeNetworkAndTheDecoderLayersAreTimed) {
  for (const char* set : {"mobilenet_v1", "qwen2.5-0.5b"}) {
    const Output r = tool({"bench", "--shapes", set, "--timing-only", "--dtype", "i8", "--cores",
                           "3", "--json", "--device", "sim"});
    ASSERT_EQ(r.status, 0) << r.err;
    for (const auto json = r.json(); const auto& row : json["rows"]) {
      EXPECT_GT(row["roof"]["share"], 0) << row;
      EXPECT_LE(row["roof"]["share"], 1) << row;
    }
  }
}

TEST(Bench, AJobThatNeverEndsIsNoTime) {
  sim::ChipOptions options;
  options.injections = sim::parse_injections("drop-interrupt@1");
  const auto device = device::open_device("sim", options);
  device::Device* const files[] = {device.get()};
  BenchCase c{BenchOp::submit, "", BenchSubmit{1, 1}, {}};
  c.types = default_types(BenchOp::submit).front();
  const BenchSubject subject = make_subject(c, files);
  EXPECT_THROW((void)subject.run(), Error);
}

}  // namespace
}  // namespace npu::probe::test
