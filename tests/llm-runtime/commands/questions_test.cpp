// SPDX-License-Identifier: MIT
// The tiny chat model's questions, all of them: as many right answers by the NPU as by the CPU.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "llm-runtime/commands/options.hpp"

namespace npu::llm {
namespace {

using nlohmann::json;

TEST(Questions, TheNpusAnswersAreAsOftenRight) {
  const std::string folder = ROSENBLATT_SOURCE_DIR "/models/tiny-chat/";
  for (const std::string type : {"F16", "Q4_K_M"}) {
    const std::string model = folder + "tiny-chat-" + type + ".gguf", file = folder + "eval.json";
    std::istringstream in;
    std::ostringstream out, err;
    Io io{in, out, err};
    const char* argv[] = {"npu-chat", "eval", "-m",    model.c_str(), "--questions", file.c_str(),
                          "--way",    "cpu",  "--way", "npu",         "--json"};
    ASSERT_EQ(run(static_cast<int>(std::size(argv)), argv, io), 0) << err.str();
    const json rows = json::parse(out.str());
    ASSERT_EQ(rows.size(), 2u);
    const json &cpu = rows[0], &npu = rows[1];
    EXPECT_EQ(npu.at("held_out"), 371);
    EXPECT_EQ(npu.at("questions"), 431);
    EXPECT_EQ(cpu.at("same_as_first"), 431);
    EXPECT_EQ(npu.at("accuracy").get<double>(), npu.at("right").get<double>() / 371);
    EXPECT_GT(cpu.at("accuracy").get<double>(), 0.5);  // the model says something
    EXPECT_NEAR(npu.at("accuracy").get<double>(), cpu.at("accuracy").get<double>(), 0.01) << type;
    EXPECT_NEAR(npu.at("perplexity").get<double>() / cpu.at("perplexity").get<double>(), 1, 0.01)
        << type;
    EXPECT_GE(npu.at("top1_agreement").get<double>(), 0.98) << type;
  }
}

}  // namespace
}  // namespace npu::llm
