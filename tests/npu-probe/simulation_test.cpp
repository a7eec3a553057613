// SPDX-License-Identifier: MIT
// --timing, --explain, --trace, --inject and their relatives.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "npu-sim/calibration.hpp"
#include "regdb/regcmd.hpp"
#include "regdb/registers.hpp"
#include "tool.hpp"

namespace npu::probe::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

struct Scratch {
  Scratch() : dir(fs::temp_directory_path() / ("npu-probe-sim-" + std::to_string(::getpid()))) {
    fs::create_directories(dir);
  }
  ~Scratch() { fs::remove_all(dir); }
  fs::path dir;
};

json read_json(const fs::path& path) {
  std::ifstream in(path);
  return json::parse(in);
}

std::vector<std::string> gemm(std::vector<std::string> more, std::string m = "64") {
  std::vector<std::string> args{"run", "gemm", "--m", m, "--n", "96", "--k", "128", "--json"};
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

TEST(Simulation, TimingSaysWhereTheCyclesGo) {
  const json r = tool(gemm({"--timing"})).json();
  EXPECT_EQ(r["modelled"]["provenance"], "modelled");
  ASSERT_FALSE(r["tasks"].empty());
  std::uint64_t macs = 0;
  double busy = 0;
  for (const json& task : r["tasks"]) {
    macs += task["macs"].get<std::uint64_t>();
    busy += task["us"].get<double>();
    EXPECT_GT(task["cycles"]["mac"].get<double>(), 0);
    EXPECT_GT(task["cycles"]["feature"].get<double>(), 0);
    EXPECT_LE(task["mac_utilisation"].get<double>(), 1);
    EXPECT_FALSE(task["limit"].get<std::string>().empty());
  }
  EXPECT_EQ(macs, 64u * 96 * 128);
  EXPECT_NEAR(busy * 1e-3, r["modelled"]["device_ms"].get<double>(), 1e-9);
}

TEST(Simulation, ClockAndCalibrationChangeTheModelledTimeOnly) {
  const auto at = [](std::vector<std::string> more) { return tool(gemm(std::move(more))).json(); };
  const json slow = at({"--clock-mhz", "200"}), fast = at({"--clock-mhz", "1000"});
  EXPECT_EQ(slow["checksum"], fast["checksum"]);
  EXPECT_GT(slow["modelled"]["device_ms"].get<double>(),
            4 * fast["modelled"]["device_ms"].get<double>());

  Scratch scratch;
  sim::CalibrationFile constants = sim::default_calibration();
  const fs::path file = scratch.dir / "calibration.json";
  json text = json::parse(sim::to_json(constants));
  text["constants"]["iommu_us"]["value"] = 2 * constants.values.iommu_us;
  std::ofstream(file) << text.dump();
  const json dearer = at({"--calibration", file.string()});
  const json usual = at({});
  const auto ms = [](const json& r, const char* key) { return r["modelled"][key].get<double>(); };
  const double jobs = usual["jobs"].get<double>();
  EXPECT_NEAR(ms(dearer, "dispatch_ms") - ms(usual, "dispatch_ms"),
              jobs * constants.values.iommu_us * 1e-3, 1e-9);
  EXPECT_EQ(ms(dearer, "device_ms"), ms(usual, "device_ms"));
}

TEST(Simulation, TraceIsWholeAndInOrder) {
  Scratch scratch;
  const fs::path file = scratch.dir / "trace.json";
  const Output r = tool(gemm({"--trace", file.string(), "--cores", "3"}, "512"));
  ASSERT_EQ(r.status, 0) << r.err;
  const json trace = read_json(file);
  EXPECT_EQ(trace["otherData"]["provenance"], "modelled");
  std::map<std::pair<int, int>, double> end;  // of each track
  std::set<int> cores;
  std::uint64_t macs = 0;
  for (const json& event : trace["traceEvents"]) {
    if (event["ph"] != "X") continue;
    const double ts = event["ts"].get<double>(), us = event["dur"].get<double>();
    double& before = end[{event["pid"].get<int>(), event["tid"].get<int>()}];
    EXPECT_GE(ts, before - 1e-6) << event;
    EXPECT_GT(us, 0) << event;
    before = ts + us;
    cores.insert(event["pid"].get<int>());
    if (event["args"].contains("macs")) macs += event["args"]["macs"].get<std::uint64_t>();
  }
  EXPECT_EQ(cores.size(), 3u);
  EXPECT_EQ(macs, 512u * 96 * 128);
}

TEST(Simulation, TraceThatCannotBeWrittenIsFoundBeforeTheWork) {
  const Output r = tool(gemm({"--trace", "/no/such/folder/trace.json"}));
  EXPECT_EQ(r.status, 4);
  EXPECT_NE(r.err.find("/no/such/folder/trace.json"), std::string::npos) << r.err;
}

TEST(Simulation, ExplainNamesQuirksOfRecordedPrograms) {
  const Output r = tool({"replay", ROSENBLATT_VECTORS_DIR "/mesa/conv3x3_14_32_48_trunc_3c1642e3",
                         "--explain", "--timing", "--json"});
  ASSERT_EQ(r.status, 0) << r.err;
  const json c = r.json()["cases"][0];
  ASSERT_FALSE(c["quirks"].empty());
  EXPECT_EQ(c["quirks"][0]["quirk"], "clip_truncate_tie");
  EXPECT_EQ(c["quirks"][0]["modelled"], true);
  EXPECT_TRUE(c["faults"].empty());
  EXPECT_EQ(c["tasks"].size(), 1u);
}

TEST(Simulation, InjectedFaultsAreSeenByTheDriversEyes) {
  const Output lost = tool(gemm({"--inject", "drop-interrupt@1"}));
  EXPECT_EQ(lost.status, 5);
  EXPECT_NE(lost.err.find("no DPU interrupt"), std::string::npos) << lost.err;
  const Output refused = tool(gemm({"--inject", "iommu-fault@200"}));
  EXPECT_EQ(refused.status, 5);
  EXPECT_NE(refused.err.find("injected iommu-fault@200"), std::string::npos) << refused.err;
  const Output corrupted = tool(gemm({"--inject", "corrupt@70", "--check"}));
  EXPECT_EQ(corrupted.status, 1) << corrupted.out;
  EXPECT_EQ(tool(gemm({"--inject", "delay@1:5", "--check"})).status, 0);
  EXPECT_EQ(tool(gemm({"--inject", "meteor@1"})).status, 2);
}

std::vector<std::uint8_t> read_bytes(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(RunProgram, ARecordedProgramComputesWhatTfliteDoes) {
  Scratch scratch;
  const std::string dir = ROSENBLATT_VECTORS_DIR "/mesa/conv3x3_28_1_8/";
  const std::string out = (scratch.dir / "out.bin").string();
  const Output r =
      tool({"run", "program", "--map", "0,4608," + dir + "bo-001.bin", "--map",
            "0x2000,32," + dir + "bo-002.bin", "--map", "12288,25088," + dir + "bo-003.bin",
            "--map", "40960,25088", "--save", "40960,12544," + out, dir + "regcmd.bin", "--json"});
  ASSERT_EQ(r.status, 0) << r.out << r.err;
  EXPECT_EQ(r.json()["starts"], 1);
  EXPECT_EQ(r.json()["tasks_run"], 1);
  EXPECT_GT(r.json()["modelled"]["total_ms"].get<double>(), 0);
  const auto got = read_bytes(out), want = read_bytes(dir + "cpu-3.bin");
  ASSERT_EQ(got.size(), 28u * 28 * 16);
  ASSERT_EQ(want.size(), 28u * 28 * 8);
  for (std::size_t i = 0; i < want.size(); ++i)
    ASSERT_LE(std::abs(int{want[i]} - int{got[i / 8 * 16 + i % 8] ^ 0x80}), 1) << i;
}

TEST(RunProgram, AChainRunsByItsOwnLinksInOneStart) {
  Scratch scratch;
  const std::string dir = ROSENBLATT_VECTORS_DIR "/mesa/conv3x3_28_1_8/";
  // The same program twice; the first one's trailer names the second.
  const auto bytes = read_bytes(dir + "regcmd.bin");
  std::vector<std::uint64_t> words(bytes.size() / 8);
  std::memcpy(words.data(), bytes.data(), bytes.size());
  std::vector<std::uint64_t> both = words;
  const auto pc = static_cast<std::uint16_t>(regdb::Target::pc);
  const auto second = static_cast<std::uint32_t>(0xF0000000 + words.size() * 8);
  const auto amount = static_cast<std::uint32_t>(words.size() / 2 - 1);
  both[both.size() - 4] = regdb::Regcmd{pc, second, regdb::pc::BASE_ADDRESS::offset}.pack();
  both[both.size() - 3] = regdb::Regcmd{pc, amount, regdb::pc::REGISTER_AMOUNTS::offset}.pack();
  both.insert(both.end(), words.begin(), words.end());
  const std::string file = (scratch.dir / "chain.bin").string();
  std::ofstream(file, std::ios::binary)
      .write(reinterpret_cast<const char*>(both.data()),
             static_cast<std::streamsize>(both.size() * 8));
  std::vector<std::string> args{"run",   "program",
                                file,    "--json",
                                "--map", "0,4608," + dir + "bo-001.bin",
                                "--map", "8192,32," + dir + "bo-002.bin",
                                "--map", "12288,25088," + dir + "bo-003.bin",
                                "--map", "40960,25088"};
  for (const int starts : {2, 1}) {
    if (starts == 1) args.emplace_back("--chained");
    const Output r = tool(args);
    ASSERT_EQ(r.status, 0) << r.out << r.err;
    EXPECT_EQ(r.json()["starts"], starts);
    EXPECT_EQ(r.json()["tasks_run"], 2);
  }
}

TEST(RunProgram, FaultsAndBadInputEndWithTheirCodes) {
  const std::string dir = ROSENBLATT_VECTORS_DIR "/mesa/conv3x3_28_1_8/";
  const std::string program = dir + "regcmd.bin";
  const Output fault = tool({"run", "program", program, "--explain"});
  EXPECT_EQ(fault.status, 5);
  EXPECT_NE(fault.out.find("fault dma-read at "), std::string::npos) << fault.out;
  const auto status = [](std::vector<std::string> args) {
    args.insert(args.begin(), {"run", "program"});
    return tool(args).status;
  };
  EXPECT_EQ(status({"/no/such/file"}), 4);
  EXPECT_EQ(status({dir + "case.json"}), 4);  // no whole words
  EXPECT_EQ(status({dir + "cpu-3.bin"}), 4);  // no enable word
  EXPECT_EQ(status({program, "--map", "0"}), 2);
  EXPECT_EQ(status({program, "--map", "0,x"}), 2);
  EXPECT_EQ(status({program, "--map", "0,0"}), 2);
  EXPECT_EQ(status({program, "--map", "1,4096"}), 2);
  EXPECT_EQ(status({program, "--map", "0,4096", "--map", "0,4096"}), 2);
  EXPECT_EQ(status({program, "--map", "0xFFFFF000,8192"}), 2);
  EXPECT_EQ(status({program, "--map", "0,16,/no/such/file"}), 4);
  EXPECT_EQ(status({program, "--map", "0,16," + dir + "bo-001.bin"}), 4);  // larger than 16
  EXPECT_EQ(status({program, "--save", "0,16,/dev/null"}), 2);             // not mapped
  EXPECT_EQ(status({program, "--save", "0,16"}), 2);
  EXPECT_EQ(status({program, "--at", "5"}), 2);
  EXPECT_EQ(status({program, "--core", "3"}), 2);
}

TEST(Simulation, BadCalibrationsEndWithFour) {
  EXPECT_EQ(tool(gemm({"--calibration", "/no/such/file"})).status, 4);
  Scratch scratch;
  std::ofstream(scratch.dir / "c.json") << "{\"name\": 1}";
  EXPECT_EQ(tool(gemm({"--calibration", (scratch.dir / "c.json").string()})).status, 4);
  EXPECT_EQ(tool(gemm({"--clock-mhz", "0"})).status, 2);
}

}  // namespace
}  // namespace npu::probe::test
