// SPDX-License-Identifier: MIT
// `npu-probe calibrate` on the simulated device gives back the constants that it was opened with.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "npu-probe/files.hpp"
#include "npu-sim/calibration.hpp"
#include "regdb/error.hpp"
#include "tool.hpp"

namespace npu::probe::test {
namespace {

namespace fs = std::filesystem;

class Calibrate : public ::testing::Test {
 protected:
  std::string file(const std::string& name) const { return (dir / name).string(); }
  std::string write(const std::string& name, const sim::Calibration& values) const {
    sim::CalibrationFile calibration = sim::default_calibration();
    calibration.values = values;
    spill(dir / name, sim::to_json(calibration));
    return file(name);
  }
  TempDir dir;
};

// Programs run, bytes are checked.
TEST_F(Calibrate, TheDefaultDeviceHasTheDefaultConstants) {
  const std::string out = file("out.json");
  const Output r = tool({"calibrate", "--device", "sim:chain", "-o", out, "--json"});
  ASSERT_EQ(r.status, 0) << r.out << r.err;
  const auto json = r.json();
  EXPECT_EQ(json["times"], "modelled");
  EXPECT_EQ(json["clock"]["mhz"], 600);
  EXPECT_GT(json["samples"].size(), 60u);
  for (const auto& c : json["constants"])
    EXPECT_NEAR(c["value"].get<double>() / c["default"].get<double>(), 1, 0.01) << c;
  EXPECT_LT(json["error"]["worst"].get<double>(), 0.005);
  EXPECT_EQ(json["clock"]["known_mhz"], 600);
  // The file is one that the others take.
  const Output report = tool({"timing-report", "--calibration", out});
  EXPECT_EQ(report.status, 0) << report.err;
  EXPECT_NE(report.out.find("npu-probe calibrate on sim"), std::string::npos);
  // It is not lost by accident.
  const Output again = tool({"calibrate", "--device", "sim:chain,timing-only", "-o", out});
  EXPECT_EQ(again.status, 4) << again.err;
  EXPECT_NE(again.err.find("--force"), std::string::npos);
  EXPECT_EQ(tool({"calibrate", "--device", "sim:chain,timing-only", "-o", out, "--force"}).status,
            0);
}

TEST_F(Calibrate, AnotherChipIsRecovered) {
  sim::Calibration truth = sim::default_calibration().values;
  truth.mac_int8 = 800;
  truth.mac_fp16 = 400;
  truth.mac_tf32 = 300;
  truth.depthwise_int8 = 32;
  truth.read_bytes_per_cycle = 12;
  truth.write_bytes_per_cycle = 10;
  truth.feature_overlap = 0.3;
  truth.dpu_bytes_per_cycle = 14;
  truth.table_elements_per_cycle = 3;
  truth.ppu_elements_per_cycle = 11;
  truth.task_start_cycles = 600;
  truth.dram_bytes_per_second = 21e9;
  truth.task_interrupt_little_us = 33;
  truth.job_little_us = 70;
  truth.iommu_us = 10;
  for (const std::string& mhz : std::vector<std::string>{"600", "1000"}) {
    const std::string out = file("out" + mhz + ".json");
    const Output r = tool(
        {"calibrate", "--device",
         "sim:chain,timing-only,mhz=" + mhz + ",calibration=" + write("in", truth), "-o", out});
    ASSERT_EQ(r.status, 0) << r.out << r.err;
    const sim::Calibration got = sim::load_calibration(out).values;
    const auto near = [&](double sim::Calibration::*member, const char* name) {
      EXPECT_NEAR(got.*member / truth.*member, 1, 0.05) << name << " at " << mhz << " MHz\n"
                                                        << r.out;
    };
    near(&sim::Calibration::mac_int8, "mac_int8");
    near(&sim::Calibration::mac_fp16, "mac_fp16");
    near(&sim::Calibration::mac_tf32, "mac_tf32");
    near(&sim::Calibration::depthwise_int8, "depthwise_int8");
    near(&sim::Calibration::read_bytes_per_cycle, "read_bytes_per_cycle");
    near(&sim::Calibration::write_bytes_per_cycle, "write_bytes_per_cycle");
    near(&sim::Calibration::feature_overlap, "feature_overlap");
    near(&sim::Calibration::dpu_bytes_per_cycle, "dpu_bytes_per_cycle");
    near(&sim::Calibration::table_elements_per_cycle, "table_elements_per_cycle");
    near(&sim::Calibration::ppu_elements_per_cycle, "ppu_elements_per_cycle");
    near(&sim::Calibration::task_start_cycles, "task_start_cycles");
    near(&sim::Calibration::dram_bytes_per_second, "dram_bytes_per_second");
    near(&sim::Calibration::task_interrupt_little_us, "task_interrupt_little_us");
    EXPECT_NEAR((got.job_little_us + got.iommu_us) / (truth.job_little_us + truth.iommu_us), 1,
                0.05);
    EXPECT_EQ(got.host_pack_ns, truth.host_pack_ns);
  }
}

TEST_F(Calibrate, ADeviceWithoutChainsKeepsWhatItCannotTell) {
  const Output r = tool({"calibrate", "--device", "sim:timing-only", "--json"});
  ASSERT_EQ(r.status, 0) << r.err;
  const nlohmann::json report = r.json();
  for (const auto& c : report["constants"]) {
    if (c["name"] == "task_start_cycles" || c["name"] == "ppu_elements_per_cycle") {
      EXPECT_EQ(c["certainty"], "default") << c;
      EXPECT_NE(c["why"], "") << c;
    }
  }
}

TEST_F(Calibrate, TextFormHasTheTable) {
  const Output r = tool({"calibrate", "--device", "sim:chain,timing-only,mhz=200", "--samples"});
  ASSERT_EQ(r.status, 0) << r.err;
  for (const char* part :
       {"NPU at 200 MHz (the device), times modelled", "64 tiny tasks in a chain", "mac_int8",
        "only the sum of both shows", "as stated", "GMAC/s"})
    EXPECT_NE(r.out.find(part), std::string::npos) << part << "\n" << r.out;
}

TEST_F(Calibrate, UsageAndDevices) {
  EXPECT_EQ(tool({"calibrate", "--device", "rocket:/no/such/node"}).status, 3);
  EXPECT_EQ(tool({"calibrate", "--interrupt", "huge"}).status, 2);
  EXPECT_EQ(tool({"calibrate", "--help"}).status, 0);
  EXPECT_EQ(tool({"calibrate", "--device", "sim:timing-only", "-o", "/no/such/dir/x"}).status, 3);
  EXPECT_EQ(tool({"calibrate", "questions", "no_such_question"}).status, 2);
  EXPECT_EQ(tool({"calibrate", "questions", "--device", "sim:timing-only"}).status, 2);
}

TEST_F(Calibrate, QuestionsAreAnsweredInATable) {
  const Output r = tool({"calibrate", "questions", "out_cvt_tie", "lut_choice"});
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_NE(r.out.find("yes    out_cvt_tie"), std::string::npos) << r.out;
  EXPECT_NE(r.out.find("2 yes, 0 no, 0 other, 0 untold, 0 skipped"), std::string::npos) << r.out;
  const Output turned = tool({"calibrate", "questions", "out_cvt_tie", "--json", "--device",
                              "sim:quirk=out_cvt_tie=half_up"});
  EXPECT_EQ(turned.status, 1);
  EXPECT_EQ(turned.json()["answers"][0]["answer"], "no");
  EXPECT_EQ(turned.json()["answers"][0]["reading"], "half up");
  const Output list = tool({"calibrate", "questions", "--list", "--json"});
  EXPECT_EQ(list.status, 0);
  EXPECT_GE(list.json().size(), 25u);
}

TEST_F(Calibrate, FilesAreWrittenWholeOrNotAtAll) {
  const std::string path = file("x");
  save_file(path, "one", false);
  EXPECT_THROW(save_file(path, "two", false), Error);
  EXPECT_EQ(slurp(path), "one");
  save_file(path, "two", true);
  EXPECT_EQ(slurp(path), "two");
  EXPECT_FALSE(fs::exists(path + ".part"));
  // Another run's file is neither written nor removed.
  std::ofstream(path + ".part") << "other";
  EXPECT_THROW(save_file(path, "three", true), Error);
  EXPECT_EQ(slurp(path), "two");
  EXPECT_EQ(slurp(path + ".part"), "other");
  // Where nothing can be put in place nothing stays behind.
  fs::create_directory(file("folder"));
  EXPECT_THROW(save_file(file("folder"), "four", true), Error);
  EXPECT_FALSE(fs::exists(file("folder") + ".part"));
}

}  // namespace
}  // namespace npu::probe::test
