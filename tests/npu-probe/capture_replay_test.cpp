// SPDX-License-Identifier: MIT
#include "npu-probe/capture_replay.hpp"

#include "capture_fixture.hpp"
#include "npu-device/sim_device.hpp"
#include "regdb/error.hpp"

namespace npu::probe::test {
namespace {

using device::Capture;
using Outcome = device::CaptureJob::Outcome;

struct Played {
  CaptureReplay total;
  std::vector<JobReplay> jobs;
};

Played play(const Capture& capture, const CaptureReplayOptions& options = {},
            const sim::ChipOptions& chip = {}) {
  Played played;
  played.total = replay_capture(device::open_sim(chip), capture, options,
                                [&](const JobReplay& r) { played.jobs.push_back(r); });
  return played;
}

Capture recorded(const std::string& name, const RecordOptions& options = {}) {
  return record(load_case(mesa(name)), *device::open_sim(), options);
}

TEST(CaptureReplay, EveryCaseIsBitExactWhereItWasRecorded) {
  for (const auto& entry : std::filesystem::directory_iterator(mesa())) {
    if (!entry.is_directory() || entry.path().filename() == "mobilenet_v1_0.25_128") continue;
    const Played r = play(record(load_case(entry.path()), *device::open_sim()));
    EXPECT_GE(r.total.jobs, 1u);
    EXPECT_EQ(r.total.exact, r.total.jobs) << entry.path();
    for (const JobReplay& job : r.jobs) EXPECT_GT(job.compared, 0u);
  }
}

TEST(CaptureReplay, NetworkOf28JobsOnTwoFilesIsBitExactChainedAndJobByJob) {
  TempDir dir;
  save(recorded("mobilenet_v1_0.25_128"), dir / "net.npucap");
  const Output r = tool({"replay", "--json", (dir / "net.npucap").string()});
  ASSERT_EQ(r.status, 0) << r.out << r.err;
  const auto total = r.json()["captures"][0]["total"];
  EXPECT_EQ(total["jobs"], 28);
  EXPECT_EQ(total["exact"], 28);
  EXPECT_EQ(r.json()["captures"][0]["jobs"][27]["file"], 1);
  const Output chained = tool({"replay", "--chained", "--json", (dir / "net.npucap").string()});
  ASSERT_EQ(chained.status, 0) << chained.out;
  EXPECT_EQ(chained.json()["captures"][0]["total"]["exact"], 28);
}

TEST(CaptureReplay, ProgramsAreRelocatedWhereBuffersLieElsewhere) {
  for (const std::uint32_t shift : {0x1000u, 0x1000000u, 0x80000000u}) {
    const Played r = play(recorded("add_14_32", {.shift = shift}));
    EXPECT_EQ(r.total.exact, 2u) << std::hex << shift;
    const Played tiles = play(recorded("conv3x3_66_112_32_s2", {.shift = shift}));
    EXPECT_EQ(tiles.total.exact, 1u) << std::hex << shift;
  }
}

TEST(CaptureReplay, FreedAndReplacedBuffersAreFollowed) {
  // Every buffer is created, freed and created again at the same recorded address: a device whose
  // allocator goes on upwards would place it elsewhere, and the programs must still find it.
  Capture capture = recorded("add_14_32");
  std::vector<device::CaptureEvent> events;
  for (const device::CaptureEvent& event : capture.events) {
    events.push_back(event);
    if (const auto* create = std::get_if<device::CaptureCreate>(&event.what)) {
      device::CaptureCreate other = *create;
      other.handle += 100;
      other.iova += 0x100000;
      events.push_back({event.process, other});
      events.push_back({event.process, device::CaptureDestroy{create->file, create->handle}});
      events.push_back(event);
    }
  }
  capture.events = std::move(events);
  const Played r = play(capture);
  EXPECT_EQ(r.total.exact, 2u);
}

TEST(CaptureReplay, ProgramThatOutlivesItsBuffersIsRelocatedToTheNewOnes) {
  // The output is freed behind the first job; another buffer takes its place on the device, while
  // the recording has the new output at the old address. The program is not written again.
  Capture capture = recorded("conv1x1_12_17_24");
  std::vector<device::CaptureEvent> events, again;
  const std::uint32_t out = job_of(capture, 0).job.out_handles.at(0);
  device::CaptureCreate create;
  for (const device::CaptureEvent& event : capture.events) {
    const auto* made = std::get_if<device::CaptureCreate>(&event.what);
    if (made != nullptr && made->handle == out) create = *made;
    const auto* write = std::get_if<device::CaptureWrite>(&event.what);
    if (std::holds_alternative<device::CaptureJob>(event.what) ||
        (write != nullptr && write->by == device::CaptureWrite::By::device))
      again.push_back(event);
  }
  for (const device::CaptureEvent& event : capture.events) {
    if (std::holds_alternative<device::CaptureDestroy>(event.what) && !again.empty()) {
      const std::uint32_t process = event.process;
      events.push_back({process, device::CaptureDestroy{create.file, create.handle}});
      device::CaptureCreate squatter = create;
      squatter.handle = 1000;
      squatter.iova = 0x40000000;
      events.push_back({process, squatter});
      events.push_back({process, create});
      events.insert(events.end(), again.begin(), again.end());
      again.clear();
    }
    events.push_back(event);
  }
  capture.events = std::move(events);
  const Played r = play(capture);
  ASSERT_EQ(r.jobs.size(), 2u);
  EXPECT_EQ(r.total.exact, 2u);
}

TEST(CaptureReplay, ChangedByteIsNamedAndOnlyItsJobDiffers) {
  Capture capture = recorded("add_14_32");
  flip_output(capture, 0, 7, std::byte{0x40});
  const Played r = play(capture);
  ASSERT_EQ(r.jobs.size(), 2u);
  EXPECT_EQ(r.jobs[0].verdict, Verdict::differs);
  ASSERT_EQ(r.jobs[0].differences.size(), 1u);
  const BufferDifference& d = r.jobs[0].differences[0];
  EXPECT_EQ(d.bytes, 1u);
  EXPECT_EQ(d.max_abs_diff, 64);
  ASSERT_EQ(d.first.size(), 1u);
  EXPECT_EQ(d.handle, job_of(capture, 0).job.out_handles.at(0));
  // The second job reads that byte; it gets the recorded one and so must differ from its record.
  EXPECT_EQ(r.jobs[1].verdict, Verdict::differs);
  // On the device's own results it does not.
  const Played chained = play(capture, {.chained = true});
  EXPECT_EQ(chained.jobs[0].verdict, Verdict::differs);
  EXPECT_EQ(chained.jobs[1].verdict, Verdict::exact);
}

TEST(CaptureReplay, ByteThatShouldNotHaveChangedIsADifference) {
  Capture capture = recorded("conv1x1_12_17_24");
  // The recording says that the job left its output as it was.
  std::erase_if(capture.events, [](const device::CaptureEvent& event) {
    const auto* write = std::get_if<device::CaptureWrite>(&event.what);
    return write != nullptr && write->by == device::CaptureWrite::By::device;
  });
  const Played r = play(capture);
  EXPECT_EQ(r.total.differ, 1u);
}

TEST(CaptureReplay, JobsAreChosenByNumber) {
  TempDir dir;
  const std::string file = (dir / "a.npucap").string();
  Capture capture = recorded("add_14_32");
  save(capture, file);
  const auto jobs = [&](const std::vector<std::string>& more) {
    std::vector<std::string> args{"replay", "--json", file};
    args.insert(args.end(), more.begin(), more.end());
    const Output r = tool(args);
    EXPECT_EQ(r.status, 0) << r.out << r.err;
    std::vector<int> numbers;
    const auto report = r.json();
    for (const auto& job : report["captures"][0]["jobs"]) numbers.push_back(job["job"]);
    return numbers;
  };
  EXPECT_EQ(jobs({"--job", "1"}), std::vector<int>{1});
  EXPECT_EQ(jobs({"--until", "0"}), std::vector<int>{0});
  EXPECT_EQ(jobs({"--until", "9"}), (std::vector<int>{0, 1}));
  EXPECT_EQ(tool({"replay", "--job", "2", file}).status, 2);
  EXPECT_EQ(tool({"replay", "--job", "0", mesa("add_14_32").string()}).status, 2);
}

TEST(CaptureReplay, JobsThatWereDroppedAreToldAndNotRun) {
  Capture capture = recorded("conv1x1_12_17_24");
  auto& job = job_of(capture, 0);
  job.outcome = Outcome::dropped;
  job.job.in_handles.push_back(job.job.in_handles.at(0));
  std::erase_if(capture.events, [](const device::CaptureEvent& event) {
    const auto* write = std::get_if<device::CaptureWrite>(&event.what);
    return write != nullptr && write->by == device::CaptureWrite::By::device;
  });
  const Played r = play(capture);
  EXPECT_EQ(r.jobs.at(0).verdict, Verdict::not_run);
  EXPECT_EQ(r.total.run, 0u);
}

TEST(CaptureReplay, UnknownOutcomeWithoutWritesIsNotJudged) {
  Capture capture = recorded("conv1x1_12_17_24");
  job_of(capture, 0).outcome = Outcome::unknown;
  EXPECT_EQ(play(capture).jobs.at(0).verdict, Verdict::exact);  // it has writes
  std::erase_if(capture.events, [](const device::CaptureEvent& event) {
    const auto* write = std::get_if<device::CaptureWrite>(&event.what);
    return write != nullptr && write->by == device::CaptureWrite::By::device;
  });
  EXPECT_EQ(play(capture).jobs.at(0).verdict, Verdict::unchecked);
}

TEST(CaptureReplay, FaultThatTheRecordingDoesNotHaveEndsWithFive) {
  TempDir dir;
  Capture capture = recorded("conv1x1_12_17_24");
  save(capture, dir / "a.npucap");
  const Output r =
      tool({"replay", "--inject", "iommu-fault@40", "--json", (dir / "a.npucap").string()});
  EXPECT_EQ(r.status, 5) << r.out;
  EXPECT_EQ(r.json()["captures"][0]["jobs"][0]["replayed"], "faulted");
  EXPECT_EQ(r.json()["captures"][0]["jobs"][0]["verdict"], "differs");
}

TEST(CaptureReplay, RecordedFaultMustHappenAgain) {
  Capture capture = recorded("conv1x1_12_17_24");
  job_of(capture, 0).outcome = Outcome::faulted;
  EXPECT_EQ(play(capture).total.differ, 1u);  // it ends well here
  std::erase_if(capture.events, [](const device::CaptureEvent& event) {
    const auto* write = std::get_if<device::CaptureWrite>(&event.what);
    return write != nullptr && write->by == device::CaptureWrite::By::device;
  });
  sim::ChipOptions chip;
  chip.injections = sim::parse_injections("iommu-fault@40");
  const Played r = play(capture, {}, chip);
  EXPECT_EQ(r.total.exact, 1u);
  EXPECT_EQ(r.total.faulted, 0u);
  EXPECT_FALSE(r.jobs[0].note.empty());
}

TEST(CaptureReplay, CapturesThatContradictThemselvesEndWithFour) {
  TempDir dir;
  Capture capture = recorded("conv1x1_12_17_24");
  capture.events.push_back({4711, device::CaptureDestroy{0, 99}});
  save(capture, dir / "a.npucap");
  const Output r = tool({"replay", (dir / "a.npucap").string()});
  EXPECT_EQ(r.status, 4) << r.out;
  spill(dir / "b.npucap", "nothing of the kind");
  EXPECT_EQ(tool({"replay", (dir / "b.npucap").string()}).status, 4);
}

TEST(CaptureReplay, BuffersThatNoBoardCouldHoldAreRefusedBeforeTheyAreMade) {
  Capture capture = recorded("conv1x1_12_17_24");
  device::CaptureEvent event;
  event.process = 4711;
  for (std::uint32_t i = 0; i < 40; ++i) {
    event.what = device::CaptureCreate{7, 100 + i, std::uint64_t{i} << 31, 0x7FFFFFFF};
    capture.events.push_back(event);
  }
  EXPECT_THROW(play(capture), Error);
}

TEST(CaptureReplay, JobOfUnknownBuffersOrProgramsDiffersInsteadOfCrashing) {
  Capture capture = recorded("conv1x1_12_17_24");
  job_of(capture, 0).job.in_handles.push_back(12345);
  EXPECT_EQ(play(capture).jobs.at(0).verdict, Verdict::differs);
  capture = recorded("conv1x1_12_17_24");
  job_of(capture, 0).job.tasks.at(0).regcmd = 0xFFFFFFF0;
  EXPECT_EQ(play(capture).jobs.at(0).verdict, Verdict::differs);
  capture = recorded("conv1x1_12_17_24");
  job_of(capture, 0).job.tasks.clear();
  EXPECT_EQ(play(capture).jobs.at(0).verdict, Verdict::differs);
}

}  // namespace
}  // namespace npu::probe::test
