// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <algorithm>

#include "npu-probe/case.hpp"
#include "npu-probe/explain_report.hpp"
#include "tool.hpp"

namespace npu::probe::test {
namespace {

TEST(ExplainCommand, ATableOfANetwork) {
  const Output o = tool({"explain", mesa("mobilenet_v1_0.25_128").string()});
  ASSERT_EQ(o.status, 0) << o.err;
  EXPECT_NE(o.out.find("dwconv 3x3 s2 p0,0,1,1 16, int8, 64x64 -> 32x32, +bias +relu"),
            std::string::npos)
      << o.out;
  EXPECT_NE(o.out.find("28 jobs, 28 tasks, 28 operators"), std::string::npos) << o.out;
  EXPECT_NE(o.out.find("modelled"), std::string::npos);
}

TEST(ExplainCommand, OneJobInDetail) {
  const Output o = tool({"explain", mesa("conv3x3_66_112_32_s2").string(), "--job", "0"});
  ASSERT_EQ(o.status, 0) << o.err;
  for (const char* text :
       {"job 0: 2 tasks", "in 2 tiles of rows of the output: ", "input       1x66x66x112 int8 at ",
        "[C/16][H][W][16]", "bo 3", "weights     32x3x3x112 int8", "modelled", "task 1"})
    EXPECT_NE(o.out.find(text), std::string::npos) << text << '\n' << o.out;
}

TEST(ExplainCommand, JsonSaysTheSame) {
  const Output o = tool({"explain", "--json", mesa("add_14_32").string()});
  ASSERT_EQ(o.status, 0) << o.err;
  const auto json = o.json();
  EXPECT_EQ(json["input"], "case");
  ASSERT_EQ(json["jobs"].size(), 2u);
  const auto& op = json["jobs"][1]["operators"][0];
  EXPECT_EQ(op["kind"], "convolution");
  EXPECT_EQ(op["matrix"], (nlohmann::json{{"m", 196}, {"k", 32}, {"n", 32}}));
  EXPECT_EQ(op["tensors"][0]["dims"], (nlohmann::json{1, 14, 14, 32}));
  EXPECT_EQ(op["modelled"]["provenance"], "modelled");
  EXPECT_TRUE(std::any_of(op["tensors"].begin(), op["tensors"].end(),
                          [](const auto& t) { return t["role"] == "operand"; }));
}

TEST(ExplainCommand, ProgramsFromAFileAndFromStdin) {
  const std::string bytes = slurp(mesa("conv3x3_56_64_64") / "regcmd.bin");
  const Output piped = tool({"explain", "-"}, bytes);
  const Output file = tool({"explain", (mesa("conv3x3_56_64_64") / "regcmd.bin").string()});
  EXPECT_EQ(piped.status, 0) << piped.err;
  EXPECT_EQ(piped.out, file.out);
  EXPECT_NE(piped.out.find("conv 3x3 s1 p1 64->64, int8, 56x56 -> 56x56, +bias"), std::string::npos)
      << piped.out;
  EXPECT_EQ(tool({"explain", "-", "--task", "0"}, bytes).status, 0);
}

TEST(ExplainCommand, WrongUseAndWrongFiles) {
  const std::string good = mesa("add_14_32").string();
  EXPECT_EQ(tool({"explain"}).status, 2);
  EXPECT_EQ(tool({"explain", good, "--job", "2"}).status, 2);
  EXPECT_EQ(tool({"explain", good, "--task", "0"}).status, 2);
  EXPECT_EQ(tool({"explain", good, "--job", "0", "--task", "1"}).status, 2);
  EXPECT_EQ(tool({"explain", "/no/such/file"}).status, 4);
  EXPECT_EQ(tool({"explain", "-"}, "12345").status, 4);
  EXPECT_EQ(tool({"explain", "-"}, "NPUCAP\x1a\n garbage").status, 4);
  const Output help = tool({"explain", "--help"});
  EXPECT_EQ(help.status, 0);
  EXPECT_NE(help.out.find("Example: npu-probe explain"), std::string::npos);
}

// A session of one file that ran a recorded case, as the preload library would record it.
device::Capture captured(const Case& c) {
  device::Capture capture;
  const auto push = [&](auto event) { capture.events.push_back({7, std::move(event)}); };
  const std::uint32_t file = 0;
  {
    push(device::CaptureOpen{file});
    for (const CaseBo& bo : c.submits.at(0).bos) {
      push(device::CaptureCreate{file, bo.handle, bo.iova, bo.size});
      if (!bo.bytes.empty())
        push(device::CaptureWrite{device::CaptureWrite::By::host, file, bo.handle, 0,
                                  std::make_shared<const std::vector<std::byte>>(bo.bytes)});
    }
    for (const CaseJob& job : c.submits.at(0).jobs) {
      device::CaptureJob event;
      event.file = file;
      event.outcome = device::CaptureJob::Outcome::done;
      for (const CaseTask& task : job.tasks) event.job.tasks.push_back({task.regcmd, task.count});
      push(event);
    }
  }
  return capture;
}

TEST(ExplainCommand, ACaptureReadsAsTheCaseThatItRecords) {
  const Case c = load_case(mesa("add_14_32"));
  const ExplainedInput from_case = [&] {
    std::istringstream none;
    return explain_input(mesa("add_14_32").string(), none, {});
  }();
  const ExplainedInput input = explain_capture(captured(c), {});
  ASSERT_EQ(input.jobs.size(), from_case.jobs.size());
  for (std::size_t i = 0; i < input.jobs.size(); ++i) {
    EXPECT_EQ(input.jobs[i].process, 7u);
    EXPECT_EQ(input.jobs[i].outcome, "done");
    ASSERT_EQ(input.jobs[i].operators.size(), 1u);
    EXPECT_EQ(headline(input.jobs[i].operators[0].whole),
              headline(from_case.jobs[i].operators[0].whole));
    EXPECT_EQ(input.jobs[i].operators[0].whole.tensors,
              from_case.jobs[i].operators[0].whole.tensors);
    EXPECT_EQ(input.jobs[i].buffers.size(), from_case.jobs[i].buffers.size());
  }
}

TEST(ExplainCommand, AJobWhoseProgramIsNotInTheCapture) {
  device::Capture capture;
  device::CaptureJob job;
  job.job.tasks.push_back({0x1000, 130});
  capture.events.push_back({7, device::CaptureOpen{0}});
  capture.events.push_back({7, job});
  const ExplainedInput input = explain_capture(capture, {});
  ASSERT_EQ(input.jobs.size(), 1u);
  EXPECT_NE(input.jobs[0].note.find("130 words at 0x1000"), std::string::npos);
  EXPECT_EQ(input.jobs[0].tasks.at(0).kind, OperatorKind::none);
}

}  // namespace
}  // namespace npu::probe::test
