// SPDX-License-Identifier: MIT
// What the NPU's default quantisation has to keep of a model with real weights, and of the same
// one with outliers: perplexity within 1 % of the CPU's, the best token in 98 of 100 places.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "llm-runtime/commands/options.hpp"

namespace npu::llm {
namespace {

using nlohmann::json;

constexpr const char* kFolder = ROSENBLATT_SOURCE_DIR "/models/tiny-chat/";

std::string npu_chat(std::vector<std::string> arguments) {
  std::istringstream in;
  std::ostringstream out, err;
  Io io{in, out, err};
  std::vector<const char*> argv{"npu-chat"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  EXPECT_EQ(run(static_cast<int>(argv.size()), argv.data(), io), 0) << err.str();
  return out.str();
}

json eval_text(const std::string& model, std::vector<std::string> ways) {
  std::vector<std::string> arguments{"eval", "-m", model, "--text"};
  arguments.push_back(std::string(kFolder) + "held-out.txt");
  for (const char* argument : {"--special", "--window", "160", "--windows", "16", "--json"}) {
    arguments.emplace_back(argument);
  }
  for (const std::string& way : ways) {
    arguments.emplace_back("--way");
    arguments.push_back(way);
  }
  json rows = json::parse(npu_chat(arguments));
  EXPECT_EQ(rows.size(), ways.size());
  for (std::size_t i = 0; i < ways.size(); ++i) {
    EXPECT_EQ(rows[i].at("way"), ways[i]);
    EXPECT_EQ(rows[i].at("tokens"), 16 * 79);
  }
  return rows;
}

void expect_goals(const json& npu, const json& cpu) {
  EXPECT_NEAR(npu.at("perplexity").get<double>() / cpu.at("perplexity").get<double>(), 1, 0.01);
  EXPECT_GE(npu.at("top1_agreement").get<double>(), 0.98);
}

class DefaultQuantisation : public testing::TestWithParam<const char*> {};

TEST_P(DefaultQuantisation, KeepsWhatTheModelSays) {
  const json rows =
      eval_text(kFolder + std::string("tiny-chat-") + GetParam() + ".gguf", {"cpu", "npu"});
  expect_goals(rows[1], rows[0]);
}
INSTANTIATE_TEST_SUITE_P(TinyChat, DefaultQuantisation, testing::Values("F16", "Q8_0", "Q4_K_M"),
                         [](const auto& name) { return std::string(name.param); });

TEST(DefaultQuantisation, KeepsItWithOutliersWherePlainRoundingDoesNot) {
  const std::string path = testing::TempDir() + "/outliers_" + std::to_string(::getpid()) + ".gguf";
  npu_chat({"make-outliers", "-m", kFolder + std::string("tiny-chat-F16.gguf"), "--channels", "4",
            "--factor", "64", "-o", path});
  const json rows = eval_text(path, {"cpu", "npu", "npu,plain"});
  std::filesystem::remove(path);
  EXPECT_GE(rows[0].at("top1_agreement").get<double>(),
            0.995);  // F32 weights are not rounded there
  expect_goals(rows[1], rows[0]);
  EXPECT_LT(rows[2].at("top1_agreement").get<double>(), 0.9);
  EXPECT_GT(rows[2].at("kl_divergence").get<double>(),
            100 * rows[1].at("kl_divergence").get<double>());
}

}  // namespace
}  // namespace npu::llm
