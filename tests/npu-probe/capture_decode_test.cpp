// SPDX-License-Identifier: MIT
#include "capture_fixture.hpp"

namespace npu::probe::test {
namespace {

device::Capture recorded(const std::string& name) {
  return record(load_case(mesa(name)), *device::open_device("sim"));
}

TEST(CaptureDecode, TasksAreThoseOfTheCase) {
  TempDir dir;
  save(recorded("add_14_32"), dir / "a.npucap");
  const Output capture = tool({"decode", "--json", (dir / "a.npucap").string()});
  ASSERT_EQ(capture.status, 0) << capture.err;
  const auto got = capture.json();
  const auto want = tool({"decode", "--json", mesa("add_14_32").string()}).json();
  EXPECT_EQ(got["tasks"], want["tasks"]);
  ASSERT_EQ(got["words"].size(), want["words"].size());
  for (std::size_t i = 0; i < want["words"].size(); ++i)
    EXPECT_EQ(got["words"][i]["word"], want["words"][i]["word"]) << i;
  ASSERT_EQ(got["jobs"].size(), 2u);
  EXPECT_EQ(got["jobs"][1]["index"], 1);
  EXPECT_EQ(got["jobs"][1]["outcome"], "done");
  EXPECT_EQ(got["jobs"][1]["tasks"][0]["regcmd_count"], got["words"].size() / 2);
  // What is printed encodes to the same bytes.
  const Output bytes = tool({"encode", "-"}, capture.out);
  EXPECT_TRUE(bytes.out == slurp(mesa("add_14_32") / "regcmd.bin"));
}

TEST(CaptureDecode, JobsAndTasksAreChosen) {
  TempDir dir;
  const std::string file = (dir / "a.npucap").string();
  save(recorded("conv3x3_66_112_32_s2"), file);
  const Output all = tool({"decode", file});
  EXPECT_NE(all.out.find("job 0: process 4711 file 0 submit 0.0"), std::string::npos) << all.out;
  EXPECT_NE(all.out.find("\ntask 1: "), std::string::npos);
  const Output second = tool({"decode", "--job", "0", "--task", "1", file});
  EXPECT_EQ(second.status, 0);
  EXPECT_EQ(second.out.find("task 0: "), std::string::npos) << second.out;
  EXPECT_NE(second.out.find("task 1: "), std::string::npos);
  EXPECT_EQ(tool({"decode", "--job", "1", file}).status, 2);
  EXPECT_EQ(tool({"decode", "--task", "2", file}).status, 2);
  EXPECT_EQ(tool({"decode", "--job", "0", mesa("add_14_32").string()}).status, 2);
  EXPECT_EQ(tool({"decode", "--task", "1", mesa("add_14_32").string()}).status, 0);
}

TEST(CaptureDecode, ProgramInNoBufferIsTold) {
  TempDir dir;
  device::Capture capture = recorded("add_14_32");
  job_of(capture, 0).job.tasks.at(0).regcmd = 0xFFFF0000;
  save(capture, dir / "a.npucap");
  const Output r = tool({"decode", (dir / "a.npucap").string()});
  EXPECT_EQ(r.status, 0);
  EXPECT_NE(r.out.find("lie in no buffer"), std::string::npos) << r.out;
}

}  // namespace
}  // namespace npu::probe::test
