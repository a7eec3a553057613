// SPDX-License-Identifier: MIT
// The simulated device: buffers, jobs, order, failures.
#include <gmock/gmock.h>

#include <thread>

#include "npu-device/sim_device.hpp"
#include "regdb/error.hpp"
#include "small_gemm.hpp"

namespace npu::device {
namespace {

using namespace std::chrono_literals;
using test::SmallGemm;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr auto kWait = 60s;  // never reached: only bounds a failing test

/// Enough tasks that the job is still running when the next statement of a test is.
constexpr std::size_t kLong = 20000;

template <class Call>
std::string message_of(ErrorCode code, Call call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(to_string(error.code()), to_string(code)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

void expect_works(Device& device) {
  SmallGemm gemm(device, 99);
  device.submit(gemm.job());
  device.prep(gemm.c, kWait);
  EXPECT_EQ(gemm.result(), gemm.expected());
}

struct Sim : ::testing::Test {
  std::unique_ptr<Device> device = open_sim({.cores = 3, .threads = 1});
};

TEST_F(Sim, TellsWhatItIs) {
  EXPECT_EQ(device->info().backend, "sim");
  EXPECT_EQ(device->info().path, "sim");
  EXPECT_EQ(device->info().driver, "rocket");
  EXPECT_EQ(device->info().version, "0.0.0");
  EXPECT_EQ(device->info().cores, 3u);
  EXPECT_EQ(device->info().provenance, "modelled");
}

TEST_F(Sim, BuffersAreZeroedPageAlignedAndWritable) {
  Buffer buffer = device->create_buffer(5000);
  EXPECT_EQ(buffer.size(), 5000u);
  EXPECT_THAT(buffer.host(), Each(std::byte{0}));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.host().data()) % 4096, 0u);
  std::fill(buffer.host().begin(), buffer.host().end(), std::byte{0xFF});
  buffer = Buffer();
  EXPECT_THAT(device->create_buffer(5000).host(), Each(std::byte{0}));
}

TEST_F(Sim, IovasAreThoseThatMesaSawOnAKernel) {
  // The recorded ioctl log of a residual block (add_14_32).
  const std::size_t sizes[] = {2048, 128, 2048, 128, 6272, 12544, 12544, 1088, 1088};
  std::vector<Buffer> buffers;
  std::vector<std::uint32_t> iovas, handles;
  for (std::size_t size : sizes) {
    buffers.push_back(device->create_buffer(size));
    iovas.push_back(buffers.back().iova());
    handles.push_back(buffers.back().handle());
  }
  EXPECT_THAT(iovas,
              ElementsAre(0, 0x1000, 0x2000, 0x3000, 0x4000, 0x6000, 0xa000, 0xe000, 0xf000));
  EXPECT_THAT(handles, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9));
}

TEST_F(Sim, FreedHolesAndHandlesAreUsedAgainLowestFirst) {
  Buffer first = device->create_buffer(4096);
  Buffer second = device->create_buffer(8192);
  Buffer third = device->create_buffer(4096);
  first = Buffer();
  second = Buffer();
  Buffer wide = device->create_buffer(3 * 4096);
  EXPECT_EQ(wide.iova(), 0u);
  EXPECT_EQ(wide.handle(), 1u);
  Buffer next = device->create_buffer(1);
  EXPECT_EQ(next.iova(), 0x4000u);
  EXPECT_EQ(next.handle(), 2u);
}

TEST_F(Sim, FilesHaveWindowsOfTheirOwn) {
  auto another = device->open_another();
  EXPECT_EQ(device->create_buffer(1).iova(), 0u);
  EXPECT_EQ(another->create_buffer(1).iova(), 0u);
}

TEST_F(Sim, SizesOutsideTheRangeAreRefused) {
  message_of(ErrorCode::invalid_argument, [&] { device->create_buffer(0); });
  message_of(ErrorCode::invalid_argument, [&] { device->create_buffer(std::size_t{1} << 31); });
}

TEST_F(Sim, FullWindowIsOutOfMemory) {
  // Never touched, so no memory stands behind the pages.
  std::vector<Buffer> buffers;
  const std::string text = message_of(ErrorCode::out_of_memory, [&] {
    for (int i = 0; i < 65; ++i) buffers.push_back(device->create_buffer(64u << 20));
  });
  EXPECT_THAT(text, HasSubstr("free buffers"));
  buffers.clear();
  expect_works(*device);
}

TEST_F(Sim, GemmIsExact) {
  SmallGemm gemm(*device);
  device->submit(gemm.job());
  device->prep(gemm.c, kWait);
  EXPECT_EQ(gemm.result(), gemm.expected());
  EXPECT_THAT(take_sim_notes(*device), IsEmpty());
}

TEST_F(Sim, GemmIsExactOnEveryCore) {
  for (unsigned cores = 1; cores <= 3; ++cores) {
    auto machine = open_sim({.cores = cores, .threads = 1});
    for (unsigned i = 0; i < 2 * cores; ++i) expect_works(*machine);
    EXPECT_THAT(sim_stats(*machine).jobs, SizeIs(cores));
  }
}

TEST_F(Sim, TasksAndJobsOfOneSubmitRunInOrder) {
  // The second job reads what the first one wrote: B of the second is C of the first.
  SmallGemm first(*device), second(*device, 2);
  second.load(test::gemm_program(second.a.iova(), first.c.iova(), second.c.iova()));
  Job consumer{{second.task}, {second.a.handle(), first.c.handle()}, {second.c.handle()}};
  std::vector<Job> jobs{first.job(50), consumer};
  device->submit(jobs);
  device->prep(second.c, kWait);
  EXPECT_EQ(first.result(), first.expected());
  // The int32 sums of `first` have 512 bytes; the 1024 of its page that B takes end in zeros.
  const auto* bytes = reinterpret_cast<const std::byte*>(first.c.host().data());
  std::copy(bytes, bytes + first.c.size(), second.b.host().begin());
  std::fill(second.b.host().begin() + 512, second.b.host().end(), std::byte{0});
  EXPECT_EQ(second.result(), second.expected());
}

TEST_F(Sim, EvenAndOddWordCountsRun) {
  // The engine fetches pairs of words; an odd count makes it read one word more.
  for (int padding = 0; padding < 2; ++padding) {
    SmallGemm gemm(*device);
    auto words = test::gemm_program(gemm.a.iova(), gemm.b.iova(), gemm.c.iova());
    words.insert(words.begin(), padding, 0);
    gemm.load(words);
    device->submit(gemm.job());
    device->prep(gemm.c, kWait);
    EXPECT_EQ(gemm.result(), gemm.expected()) << words.size() << " words";
  }
}

TEST_F(Sim, NoJobsAreNoWork) {
  device->submit(std::span<const Job>{});
  EXPECT_THAT(sim_stats(*device).jobs, Each(0u));
}

TEST_F(Sim, JobsThatTheKernelWouldDropAreRefusedAsAWhole) {
  SmallGemm gemm(*device);
  const Job good = gemm.job();
  Job twice = good;
  twice.in_handles.push_back(gemm.c.handle());
  Job unknown = good;
  unknown.out_handles = {1000};
  Job crooked = good;
  crooked.tasks[0].regcmd += 8;
  for (const Job& bad : {Job{}, twice, unknown, crooked}) {
    const std::vector<Job> jobs{good, bad};
    EXPECT_THAT(message_of(ErrorCode::invalid_argument, [&] { device->submit(jobs); }),
                HasSubstr("jobs[1]"));
  }
  device->prep(gemm.c, kWait);
  EXPECT_THAT(sim_stats(*device).jobs, Each(0u));
}

TEST_F(Sim, BufferOfAnotherFileIsRefused) {
  auto another = device->open_another();
  Buffer buffer = device->create_buffer(1);
  message_of(ErrorCode::invalid_argument, [&] { another->prep(buffer, kWait); });
  message_of(ErrorCode::invalid_argument, [&] { another->fini(buffer); });
  message_of(ErrorCode::invalid_argument, [&] { device->prep(Buffer(), kWait); });
}

TEST_F(Sim, PrepOfAnIdleBufferDoesNotWait) {
  Buffer buffer = device->create_buffer(1);
  EXPECT_NO_THROW(device->prep(buffer, Device::Clock::time_point{}));
}

TEST_F(Sim, PrepThrowsTimeoutAtTheDeadlineAndWorksLater) {
  SmallGemm gemm(*device);
  device->submit(gemm.job(kLong));
  EXPECT_THAT(message_of(ErrorCode::timeout, [&] { device->prep(gemm.c, 0ms); }),
              HasSubstr("wait longer"));
  EXPECT_THAT(message_of(ErrorCode::timeout,
                         [&] { device->prep(gemm.c, Device::Clock::time_point::min()); }),
              HasSubstr("wait longer"));
  // An input has no fence.
  EXPECT_NO_THROW(device->prep(gemm.a, 0ms));
  device->prep(gemm.c, std::chrono::milliseconds::max());
  EXPECT_EQ(gemm.result(), gemm.expected());
}

TEST_F(Sim, ThreeFilesUseThreeCores) {
  std::vector<std::unique_ptr<Device>> files;
  files.push_back(std::move(device));
  files.push_back(files[0]->open_another());
  files.push_back(files[0]->open_another());
  std::vector<SmallGemm> gemms;
  for (auto& file : files) gemms.emplace_back(*file);
  for (int i = 0; i < 3; ++i) files[i]->submit(gemms[i].job(100));
  for (int i = 0; i < 3; ++i) files[i]->prep(gemms[i].c, kWait);
  EXPECT_THAT(sim_stats(*files[2]).jobs, ElementsAre(1, 1, 1));
  EXPECT_THAT(sim_stats(*files[0]).tasks, Each(100u));
}

TEST_F(Sim, FileStaysOnItsCoreWhileItHasWork) {
  SmallGemm gemm(*device);
  device->submit(gemm.job(kLong));
  for (int i = 0; i < 9; ++i) device->submit(gemm.job());
  device->prep(gemm.c, kWait);
  EXPECT_THAT(sim_stats(*device).jobs, ElementsAre(10, 0, 0));
}

TEST_F(Sim, FilesRunConcurrentlyFromThreadsOfTheirOwn) {
  std::vector<std::unique_ptr<Device>> files;
  for (int i = 0; i < 4; ++i) files.push_back(device->open_another());
  std::vector<int> wrong(files.size());
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < files.size(); ++i) {
    threads.emplace_back([&, i] {
      for (std::uint32_t round = 0; round < 40; ++round) {
        SmallGemm gemm(*files[i], static_cast<std::uint32_t>(i * 1000 + round));
        files[i]->submit(gemm.job(3));
        files[i]->prep(gemm.c, kWait);
        if (gemm.result() != gemm.expected()) ++wrong[i];
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_THAT(wrong, Each(0));
  std::uint64_t jobs = 0, tasks = 0;
  for (auto count : sim_stats(*device).jobs) jobs += count;
  for (auto count : sim_stats(*device).tasks) tasks += count;
  EXPECT_EQ(jobs, 160u);
  EXPECT_EQ(tasks, 480u);
}

TEST_F(Sim, ListedBufferFreedInFlightLivesUntilTheJobEnds) {
  SmallGemm gemm(*device);
  const auto expected = gemm.expected();
  device->submit(gemm.job(kLong));
  gemm.a = Buffer();  // listed as inputs: mapped until the job is over
  gemm.b = Buffer();
  device->prep(gemm.c, kWait);
  EXPECT_EQ(gemm.result(), expected);
  EXPECT_THAT(take_sim_notes(*device), IsEmpty());
  EXPECT_EQ(device->create_buffer(1).iova(), 0u);  // unmapped by now
}

TEST_F(Sim, UnlistedBufferFreedInFlightFaultsTheJobAndNothingElse) {
  SmallGemm gemm(*device);
  device->submit(gemm.job(kLong));
  gemm.program = Buffer();
  EXPECT_THAT(message_of(ErrorCode::device_fault, [&] { device->prep(gemm.c, kWait); }),
              HasSubstr("PC.BASE_ADDRESS"));
  expect_works(*device);
}

TEST_F(Sim, OutputFreedInFlightIsSafe) {
  for (int i = 0; i < 20; ++i) {
    SmallGemm gemm(*device);
    device->submit(gemm.job(50));
  }
  expect_works(*device);
}

TEST_F(Sim, DeviceClosedWithQueuedJobsLeavesTheOthersAlone) {
  auto another = device->open_another();
  {
    SmallGemm gemm(*another);
    for (int i = 0; i < 50; ++i) another->submit(gemm.job(1000));
  }
  another.reset();
  expect_works(*device);
  std::uint64_t jobs = 0;
  for (auto count : sim_stats(*device).jobs) jobs += count;
  EXPECT_LT(jobs, 51u);
}

TEST_F(Sim, ReadOutsideEveryBufferIsAFaultAndTheNextJobWorks) {
  SmallGemm gemm(*device);
  const auto good = test::gemm_program(gemm.a.iova(), gemm.b.iova(), gemm.c.iova());
  device->submit(gemm.job());
  device->prep(gemm.c, kWait);

  gemm.load(test::gemm_program(0xF0000000, gemm.b.iova(), gemm.c.iova()));
  device->submit(gemm.job(2));
  EXPECT_THAT(message_of(ErrorCode::device_fault, [&] { device->prep(gemm.c, kWait); }),
              AllOf(HasSubstr("Job 2, task 1 of 2"), HasSubstr("CNA.FEATURE_DATA_ADDR"),
                    HasSubstr("other tasks did not run")));
  // Reported once; the buffer can be used again.
  EXPECT_NO_THROW(device->prep(gemm.c, kWait));
  EXPECT_THAT(take_sim_notes(*device), ElementsAre(HasSubstr("CNA.FEATURE_DATA_ADDR")));
  EXPECT_THAT(take_sim_notes(*device), IsEmpty());

  gemm.load(good);
  device->submit(gemm.job());
  device->prep(gemm.c, kWait);
  EXPECT_EQ(gemm.result(), gemm.expected());
}

TEST_F(Sim, WriteOutsideEveryBufferIsAFault) {
  SmallGemm gemm(*device);
  gemm.load(test::gemm_program(gemm.a.iova(), gemm.b.iova(), 0xFFFFFF00));
  device->submit(gemm.job());
  EXPECT_THAT(message_of(ErrorCode::device_fault, [&] { device->prep(gemm.c, kWait); }),
              HasSubstr("DPU.DST_BASE_ADDR"));
  expect_works(*device);
}

TEST_F(Sim, ProgramOutsideEveryBufferIsAFault) {
  SmallGemm gemm(*device);
  gemm.task.regcmd = 0x80000000;
  device->submit(gemm.job());
  EXPECT_THAT(message_of(ErrorCode::device_fault, [&] { device->prep(gemm.c, kWait); }),
              HasSubstr("PC.BASE_ADDRESS"));
  expect_works(*device);
}

TEST_F(Sim, ProgramWithoutEnableWordIsAHangThatTheTimeoutWouldRetire) {
  SmallGemm gemm(*device);
  gemm.load(std::vector<std::uint64_t>(4, 0));
  device->submit(gemm.job());
  EXPECT_THAT(message_of(ErrorCode::timeout, [&] { device->prep(gemm.c, kWait); }),
              AllOf(HasSubstr("500 ms"), HasSubstr("NPU job timed out")));
  expect_works(*device);
}

TEST_F(Sim, UnmodelledRequestNamesItsField) {
  SmallGemm gemm(*device);
  auto words = test::gemm_program(gemm.a.iova(), gemm.b.iova(), gemm.c.iova());
  // The MAC array has no type of code 4.
  words.insert(words.end() - 4, regdb::Regcmd{0x0201, 0x240, 0x100C}.pack());
  gemm.load(words);
  device->submit(gemm.job());
  EXPECT_THAT(message_of(ErrorCode::device_fault, [&] { device->prep(gemm.c, kWait); }),
              HasSubstr("CNA.CONV_CON1.in_precision"));
  expect_works(*device);
}

TEST_F(Sim, EarlierFaultIsNotHiddenByALaterGoodJob) {
  SmallGemm gemm(*device);
  Job bad = gemm.job();
  bad.tasks[0].regcmd = 0x80000000;
  const std::vector<Job> jobs{bad, gemm.job()};
  device->submit(jobs);
  EXPECT_THAT(message_of(ErrorCode::device_fault, [&] { device->prep(gemm.c, kWait); }),
              HasSubstr("Job 1,"));
  EXPECT_EQ(gemm.result(), gemm.expected());
}

TEST_F(Sim, FaultsOfOneFileAreNotSeenByAnother) {
  auto another = device->open_another();
  SmallGemm good(*device), bad(*another);
  bad.task.regcmd = 0x80000000;
  for (int i = 0; i < 30; ++i) {
    another->submit(bad.job());
    device->submit(good.job());
  }
  device->prep(good.c, kWait);
  EXPECT_EQ(good.result(), good.expected());
  message_of(ErrorCode::device_fault, [&] { another->prep(bad.c, kWait); });
  EXPECT_THAT(take_sim_notes(*another), SizeIs(30));
  EXPECT_THAT(take_sim_notes(*device), IsEmpty());
}

TEST_F(Sim, NotesAreBounded) {
  SmallGemm gemm(*device);
  gemm.task.regcmd = 0x80000000;
  for (int i = 0; i < 100; ++i) device->submit(gemm.job());
  message_of(ErrorCode::device_fault, [&] { device->prep(gemm.c, kWait); });
  const auto notes = take_sim_notes(*device);
  ASSERT_THAT(notes, SizeIs(64));
  EXPECT_THAT(notes.back(), HasSubstr("Job 100,"));
}

}  // namespace
}  // namespace npu::device
