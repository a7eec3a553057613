// SPDX-License-Identifier: MIT
#include <gmock/gmock.h>

#include "microkernels/gemm_plan.hpp"
#include "microkernels/tuned_plans.hpp"
#include "tool.hpp"

namespace npu::probe::test {
namespace {

using ::testing::HasSubstr;

struct Tune : ::testing::Test {
  TempDir dir;
  std::string shapes = (dir / "shapes.json").string(), file = (dir / "tuned.json").string();
  void SetUp() override {
    spill(shapes, R"({"gemm": [
      {"name": "qkv", "m": 64, "n": 2048, "k": 1536, "dtype": "f16"},
      {"name": "odd", "m": 37, "n": 130, "k": 300, "dtype": "i8->i32"}]})");
  }
};

TEST_F(Tune, WritesPlansThatAreNeverSlower) {
  const Output r = tool({"tune", shapes, "-o", file, "--cores", "1,3", "--json"});
  ASSERT_EQ(r.status, 0) << r.err;
  const kernels::TunedPlans plans = kernels::load_tuned_plans(file);
  ASSERT_EQ(plans.gemms.size(), 4u);
  EXPECT_EQ(plans.machine.provenance, "modelled");
  EXPECT_EQ(plans.machine.npu_mhz, 600);
  for (const kernels::TunedGemm& gemm : plans.gemms) {
    EXPECT_LE(gemm.seconds, gemm.usual_seconds);
    EXPECT_GT(gemm.seconds, 0);
    const kernels::GemmPlan plan =
        kernels::plan_gemm(gemm.shape, gemm.types, gemm.cores,
                           kernels::tuned(plans, gemm.shape, gemm.types, gemm.cores));
    EXPECT_EQ(plan.choice, gemm.choice);
  }
  EXPECT_EQ(r.json()["gemm"].size(), 4u);
  EXPECT_EQ(r.json()["search"][0]["name"], "qkv");
  EXPECT_GT(r.json()["search"][0]["choices"], 1);
}

TEST_F(Tune, TheClockOfTheModelIsPartOfTheMachine) {
  ASSERT_EQ(tool({"tune", shapes, "-o", file, "--device", "sim:mhz=200"}).status, 0);
  EXPECT_EQ(kernels::load_tuned_plans(file).machine.npu_mhz, 200);
  const Output other = tool({"tune", shapes, "-o", file, "--update", "--device", "sim:mhz=1000"});
  EXPECT_EQ(other.status, 4);
  EXPECT_THAT(other.err, HasSubstr("another machine"));
  EXPECT_EQ(kernels::load_tuned_plans(file).machine.npu_mhz, 200);  // left as it was
}

// What is tuned is what then runs.
TEST_F(Tune, BenchTakesTheFile) {
  ASSERT_EQ(tool({"tune", shapes, "-o", file, "--device", "sim:chain", "--cores", "3"}).status, 0);
  const auto kicks = [&](const std::string& device) {
    const Output r = tool({"bench", "gemm", "--shapes", shapes, "--cores", "3", "--tuned", file,
                           "--device", device, "--json"});
    EXPECT_EQ(r.status, 0) << r.err;
    std::vector<int> counts;
    const nlohmann::json report = r.json();
    for (const auto& row : report["rows"]) counts.push_back(row["kicks"].get<int>());
    return counts;
  };
  const kernels::TunedPlans plans = kernels::load_tuned_plans(file);
  const std::vector<int> chained = kicks("sim:chain");
  ASSERT_EQ(chained.size(), plans.gemms.size());
  for (std::size_t i = 0; i < chained.size(); ++i) {
    const kernels::TunedGemm& gemm = plans.gemms[i];
    const auto options = kernels::tuned(plans, gemm.shape, gemm.types, 3, {.chained = true});
    EXPECT_EQ(chained[i],
              static_cast<int>(plan_gemm(gemm.shape, gemm.types, 3, options).time.kicks));
  }
  EXPECT_EQ(kicks("sim").size(), plans.gemms.size());  // stock: no chained plan is taken
  EXPECT_EQ(tool({"bench", "gemm", "--shapes", shapes, "--tuned", shapes}).status, 4);
}

TEST_F(Tune, ChainedPlansWhereTheDeviceTakesThem) {
  ASSERT_EQ(tool({"tune", shapes, "-o", file, "--device", "sim:chain"}).status, 0);
  bool chained = false;
  for (const auto& gemm : kernels::load_tuned_plans(file).gemms) chained |= gemm.choice.chained;
  EXPECT_TRUE(chained);
}

TEST_F(Tune, FilesAreNotOverwrittenUnasked) {
  ASSERT_EQ(tool({"tune", shapes, "-o", file}).status, 0);
  const std::string before = slurp(file);
  const Output again = tool({"tune", shapes, "-o", file});
  EXPECT_EQ(again.status, 2);
  EXPECT_THAT(again.err, HasSubstr("--update"));
  EXPECT_EQ(slurp(file), before);
  EXPECT_EQ(tool({"tune", shapes, "-o", file, "--force"}).status, 0);
  EXPECT_EQ(slurp(file), before);  // the model has no noise
  EXPECT_EQ(tool({"tune", shapes, "-o", file, "--update", "--cores", "1"}).status, 0);
  EXPECT_EQ(kernels::load_tuned_plans(file).gemms.size(), 4u);
  EXPECT_EQ(tool({"tune", shapes, "-o", (dir / "no/such/folder.json").string()}).status, 3);
}

TEST_F(Tune, PrintsATable) {
  const Output r = tool({"tune", shapes});
  ASSERT_EQ(r.status, 0) << r.err;
  for (const char* word : {"qkv", "64x1536x2048", "f16", "modelled", "600 MHz"})
    EXPECT_THAT(r.out, HasSubstr(word));
}

TEST_F(Tune, BadInputEndsWithFourBadUsageWithTwo) {
  EXPECT_EQ(tool({"tune", (dir / "none.json").string()}).status, 4);
  spill(shapes, "{");
  EXPECT_EQ(tool({"tune", shapes}).status, 4);
  spill(shapes, R"({"gemm": []})");
  EXPECT_EQ(tool({"tune", shapes}).status, 4);
  EXPECT_EQ(tool({"tune"}).status, 2);
  EXPECT_EQ(tool({"tune", "qwen2.5-0.5b", "--cores", "4"}).status, 2);
  EXPECT_EQ(tool({"tune", "qwen2.5-0.5b", "--search", "luck"}).status, 2);
  spill(file, "not plans");
  spill(shapes, R"({"gemm": [{"name": "a", "m": 8, "n": 32, "k": 32}]})");
  EXPECT_EQ(tool({"tune", shapes, "-o", file, "--update"}).status, 4);
  EXPECT_EQ(slurp(file), "not plans");
}

// The way of a chip: programs run, and the device's clock counts.
TEST_F(Tune, RunsEveryPlanOnADeviceAndChecksItsResults) {
  spill(shapes, R"({"gemm": [{"name": "a", "m": 9, "n": 70, "k": 200, "dtype": "i8->i32"},
                             {"name": "b", "m": 9, "n": 70, "k": 200, "dtype": "f16"},
                             {"name": "c", "m": 9, "n": 70, "k": 200, "dtype": "i8"},
                             {"name": "d", "m": 9, "n": 70, "k": 200, "dtype": "bf16->f32"},
                             {"name": "e", "m": 9, "n": 70, "k": 200, "dtype": "tf32->f32"},
                             {"name": "f", "m": 9, "n": 70, "k": 200, "dtype": "i4->i16"}]})");
  const Output r = tool({"tune", shapes, "--search", "exhaustive", "-r", "1", "--cores", "2",
                         "--on-chip-sums", "--json"});
  ASSERT_EQ(r.status, 0) << r.err;
  const nlohmann::json report = r.json();
  ASSERT_EQ(report["search"].size(), 6u);
  for (const auto& row : report["search"]) {
    EXPECT_EQ(row["failed"], 0) << row;
    EXPECT_GT(row["timed"], 0);
  }
}

}  // namespace
}  // namespace npu::probe::test
