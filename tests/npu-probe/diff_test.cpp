// SPDX-License-Identifier: MIT
#include "capture_fixture.hpp"

namespace npu::probe::test {
namespace {

using device::Capture;

Capture recorded(const std::string& name, const RecordOptions& options = {}) {
  return record(load_case(mesa(name)), *device::open_device("sim"), options);
}

TEST(Diff, CapturesAtOtherAddressesWithOtherHandlesAreEqual) {
  TempDir dir;
  const std::string a = (dir / "a.npucap").string(), b = (dir / "b.npucap").string();
  save(recorded("add_14_32"), a);
  save(recorded("add_14_32", {.shift = 0x800000, .process = 99, .first_handle = 40}), b);
  const Output r = tool({"diff", a, b});
  EXPECT_EQ(r.status, 0) << r.out << r.err;
  EXPECT_EQ(r.out,
            "2 tasks compared: all registers equal; results of 2 jobs compared: all equal\n");
  EXPECT_EQ(tool({"diff", a, a}).status, 0);
  const Output raw = tool({"diff", "--raw-addresses", "--json", a, b});
  EXPECT_EQ(raw.status, 1);
  // Every difference is an address.
  const auto report = raw.json();
  ASSERT_EQ(report["tasks"].size(), 2u);
  for (const auto& task : report["tasks"])
    for (const auto& reg : task["registers"])
      EXPECT_NE(reg["a"]["register"].get<std::string>().find("ADDR"), std::string::npos) << reg;
}

TEST(Diff, ChangedRegisterIsPrintedAsDecodeDoes) {
  TempDir dir;
  Capture capture = recorded("add_14_32");
  const std::string a = (dir / "a.npucap").string(), b = (dir / "b.npucap").string();
  save(capture, a);
  // DPU.OUT_CVT_SHIFT of the second task.
  const auto& task = job_of(capture, 1).job.tasks.at(0);
  device::CaptureMemory memory;
  for (device::CaptureEvent& event : capture.events) {
    memory.apply(event);
    auto* write = std::get_if<device::CaptureWrite>(&event.what);
    if (write == nullptr || write->by != device::CaptureWrite::By::host) continue;
    const auto& bo = memory.bos({event.process, write->file}).at(write->handle);
    if (task.regcmd < bo.iova || task.regcmd - bo.iova >= bo.bytes.size()) continue;
    auto bytes = *write->bytes;
    for (std::size_t i = task.regcmd - bo.iova; i + 8 <= bytes.size(); i += 8)
      if (bytes[i] == std::byte{0x88} && bytes[i + 1] == std::byte{0x40})
        bytes[i + 2] ^= std::byte{1};
    write->bytes = bytes_of_capture(bytes);
  }
  save(capture, b);
  const Output r = tool({"diff", a, b});
  EXPECT_EQ(r.status, 1);
  EXPECT_NE(r.out.find("--- " + a + "\n+++ " + b), std::string::npos) << r.out;
  EXPECT_NE(r.out.find("@@ job 1 task 0 | job 1 task 0 @@ "), std::string::npos) << r.out;
  EXPECT_NE(r.out.find("DPU.OUT_CVT_SHIFT = 0x"), std::string::npos) << r.out;
  EXPECT_NE(r.out.find("1 differ in 1 registers"), std::string::npos) << r.out;
  EXPECT_EQ(r.out.find("\x1b["), std::string::npos);
  EXPECT_NE(tool({"diff", "--color", "always", a, b}).out.find("\x1b[31m-"), std::string::npos);
  const auto report = tool({"diff", "--json", a, b}).json();
  EXPECT_EQ(report["registers_differ"], 1);
  const auto reg = report["tasks"][0]["registers"][0];
  EXPECT_EQ(reg["a"]["register"], "OUT_CVT_SHIFT");
  EXPECT_NE(reg["a"]["value"], reg["b"]["value"]);
}

TEST(Diff, ChangedResultIsFoundInItsJob) {
  TempDir dir;
  Capture capture = recorded("add_14_32");
  const std::string a = (dir / "a.npucap").string(), b = (dir / "b.npucap").string();
  save(capture, a);
  flip_output(capture, 1, 100, std::byte{0x20});
  save(capture, b);
  const Output r = tool({"diff", "--json", a, b});
  EXPECT_EQ(r.status, 1);
  const auto report = r.json();
  EXPECT_EQ(report["tasks_differ"], 0);
  EXPECT_EQ(report["jobs_differ"], 1);
  EXPECT_EQ(report["data"][0]["job_a"], 1);
  const auto buffer = report["data"][0]["buffers"][0];
  EXPECT_EQ(buffer["bytes"], 1);
  EXPECT_EQ(buffer["max_abs_diff"], 32);
  EXPECT_EQ(buffer["buffer"], job_of(capture, 1).job.out_handles.at(0));
  EXPECT_EQ(tool({"diff", "--no-data", a, b}).status, 0);
}

TEST(Diff, JobMoreShiftsNeitherRegistersNorData) {
  TempDir dir;
  Capture capture = recorded("mobilenet_v1_0.25_128");
  const std::string a = (dir / "a.npucap").string(), b = (dir / "b.npucap").string();
  save(capture, a);
  // Job 11 is gone from B; what it wrote was written by the host.
  bool mine = false;
  std::size_t n = 0;
  std::erase_if(capture.events, [&](device::CaptureEvent& event) {
    if (std::holds_alternative<device::CaptureJob>(event.what)) return mine = n++ == 11;
    auto* write = std::get_if<device::CaptureWrite>(&event.what);
    if (mine && write != nullptr) write->by = device::CaptureWrite::By::host;
    return false;
  });
  save(capture, b);
  const Output r = tool({"diff", "--json", a, b});
  EXPECT_EQ(r.status, 1);
  const auto report = r.json();
  EXPECT_EQ(report["tasks_only_in_a"], 1);
  EXPECT_EQ(report["tasks_only_in_b"], 0);
  EXPECT_EQ(report["tasks_differ"], 0);
  EXPECT_EQ(report["tasks"][0]["a"]["job"], 11);
  EXPECT_EQ(report["jobs_compared"], 27);
  EXPECT_EQ(report["jobs_differ"], 0);
}

TEST(Diff, CasesWordsAndCapturesCompareWithEachOther) {
  TempDir dir;
  const std::string file = (dir / "a.npucap").string(), folder = mesa("add_14_32").string(),
                    words = (mesa("add_14_32") / "regcmd.bin").string();
  save(recorded("add_14_32", {.shift = 0x10000}), file);
  EXPECT_EQ(tool({"diff", folder, file}).status, 0);
  EXPECT_EQ(tool({"diff", words, words}).status, 0);
  const Output against_words = tool({"diff", file, words});
  EXPECT_EQ(against_words.status, 0) << against_words.out;
  EXPECT_NE(against_words.out.find("buffers are not known"), std::string::npos);
  EXPECT_EQ(tool({"diff", "-", folder}, slurp(words)).status, 0);
  EXPECT_EQ(tool({"diff", mesa("add_14_32").string(), mesa("dw3x3_15_64_s2").string()}).status, 1);
}

TEST(Diff, BadInputEndsWithFourAndTwo) {
  EXPECT_EQ(tool({"diff", "/no/such/file", "/no/such/file"}).status, 4);
  EXPECT_EQ(tool({"diff", "-", "-"}).status, 2);
  EXPECT_EQ(tool({"diff", mesa("add_14_32").string()}).status, 2);
}

}  // namespace
}  // namespace npu::probe::test
