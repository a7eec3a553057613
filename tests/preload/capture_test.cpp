// SPDX-License-Identifier: MIT
// What librocket-capture.so writes of a program (capture_client.cpp) that it does not disturb.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "npu-device/capture_reader.hpp"
#include "npu-device/rocket_uapi.h"
#include "regdb/error.hpp"
#include "tests/npu-device/small_gemm.hpp"

namespace npu::device {
namespace {

using ::testing::HasSubstr;
using Outcome = CaptureJob::Outcome;

std::vector<CaptureJob> jobs_of(const Capture& capture) {
  std::vector<CaptureJob> jobs;
  for (const CaptureEvent& event : capture.events)
    if (const auto* job = std::get_if<CaptureJob>(&event.what)) jobs.push_back(*job);
  return jobs;
}

template <class T>
std::size_t count(const Capture& capture) {
  std::size_t n = 0;
  for (const CaptureEvent& event : capture.events) n += std::holds_alternative<T>(event.what);
  return n;
}

// The product that a job of SmallGemm leaves in c, from what the capture says of a and b.
std::vector<std::int32_t> product(const CaptureMemory::Bos& bos, std::uint32_t a, std::uint32_t b) {
  using test::kK, test::kM, test::kN;
  const auto* left = reinterpret_cast<const std::int8_t*>(bos.at(a).bytes.data());
  const auto* right = reinterpret_cast<const std::int8_t*>(bos.at(b).bytes.data());
  std::vector<std::int32_t> sums(kM * kN);
  for (std::uint32_t m = 0; m < kM; ++m)
    for (std::uint32_t n = 0; n < kN; ++n)
      for (std::uint32_t k = 0; k < kK; ++k)
        sums[(n / 4 * kM + m) * 4 + n % 4] +=
            left[(k / 16 * kM + m) * 16 + k % 16] * right[n * kK + k];
  return sums;
}

// Every job that was done: its program is what SmallGemm emits for these buffers, its inputs stand
// before it, its product right behind it. Returns how many there are.
std::size_t check_jobs_of(const Capture& capture) {
  CaptureMemory memory;
  std::size_t good = 0;
  const CaptureJob* last = nullptr;
  std::uint32_t process = 0;
  const auto check_last = [&] {
    if (last == nullptr || last->outcome != Outcome::done) return;
    const auto& bos = memory.bos({process, last->file});
    const std::uint32_t a = last->job.in_handles.at(0), b = last->job.in_handles.at(1);
    const auto& c = bos.at(b + 1);
    const auto program = test::gemm_program(static_cast<std::uint32_t>(bos.at(a).iova),
                                            static_cast<std::uint32_t>(bos.at(b).iova),
                                            static_cast<std::uint32_t>(c.iova));
    const auto words = memory.at({process, last->file}, last->job.tasks.at(0).regcmd);
    ASSERT_EQ(words.size(), program.size() * 8);
    EXPECT_EQ(std::memcmp(words.data(), program.data(), words.size()), 0);
    const auto want = product(bos, a, b);
    ASSERT_EQ(c.bytes.size(), want.size() * 4);
    EXPECT_EQ(std::memcmp(c.bytes.data(), want.data(), c.bytes.size()), 0);
    EXPECT_LE(last->start_ns, last->end_ns);
    ++good;
  };
  for (const CaptureEvent& event : capture.events) {
    const auto* write = std::get_if<CaptureWrite>(&event.what);
    const bool result = write != nullptr && write->by == CaptureWrite::By::device;
    if (last != nullptr && event.process == process && !result) {
      check_last();
      last = nullptr;
    }
    memory.apply(event);
    if (const auto* job = std::get_if<CaptureJob>(&event.what)) {
      check_last();
      last = job;
      process = event.process;
    }
  }
  check_last();
  return good;
}

class Recorded : public ::testing::Test {
 protected:
  Recorded() {
    char name[] = "/tmp/record_test.XXXXXX";
    directory_ = mkdtemp(name);
    path_ = directory_ + "/a.npucap";
    messages_ = directory_ + "/messages";
  }
  ~Recorded() override { std::filesystem::remove_all(directory_); }

  pid_t start(const char* mode) {
    const pid_t child = fork();
    if (child != 0) return child;
    const int messages = open(messages_.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(messages, STDERR_FILENO);
    setenv("LD_PRELOAD", CAPTURE_LIBRARIES, 1);
    setenv("NPU_CAPTURE", path_.c_str(), 1);
    setenv("NPU_SIM_QUIET", "1", 1);
    setenv("NPU_SIM_JOB_TIMEOUT_MS", "1", 1);
    execl(CAPTURE_CLIENT, CAPTURE_CLIENT, mode, nullptr);
    _exit(127);
  }
  int run(const char* mode) {
    int status = -1;
    waitpid(start(mode), &status, 0);
    return status;
  }
  std::string messages() const {
    std::ifstream in(messages_);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  std::string directory_, path_, messages_;
};

TEST_F(Recorded, AJobWithItsBuffersBeforeAndAfter) {
  ASSERT_EQ(run("one-job"), 0) << messages();
  const Capture capture = read_capture(path_);
  const auto& start = std::get<CaptureStart>(capture.events.at(0).what);
  EXPECT_EQ(start.driver, "rocket");
  EXPECT_EQ(start.backend, "sim");
  EXPECT_EQ(start.provenance, "modelled");
  EXPECT_EQ(start.path, "/dev/accel/accel0");
  EXPECT_THAT(start.program, HasSubstr("capture_client one-job"));
  EXPECT_EQ(count<CaptureCreate>(capture), 4u);
  EXPECT_EQ(count<CaptureDestroy>(capture), 4u);
  EXPECT_EQ(count<CaptureOpen>(capture), count<CaptureClose>(capture));
  EXPECT_EQ(check_jobs_of(capture), 1u);
  // The ioctl's argument as it went in and as it came out.
  for (const CaptureEvent& event : capture.events) {
    const auto* ioctl = std::get_if<CaptureIoctl>(&event.what);
    if (ioctl == nullptr || ioctl->request != DRM_IOCTL_ROCKET_CREATE_BO) continue;
    drm_rocket_create_bo before, after;
    ASSERT_EQ(ioctl->before.size(), sizeof before);
    ASSERT_EQ(ioctl->after.size(), sizeof after);
    std::memcpy(&before, ioctl->before.data(), sizeof before);
    std::memcpy(&after, ioctl->after.data(), sizeof after);
    EXPECT_EQ(before.handle, 0u);
    EXPECT_NE(after.handle, 0u);
    EXPECT_EQ(before.size, after.size);
    EXPECT_EQ(ioctl->result, 0);
  }
}

TEST_F(Recorded, AFileThatIsCutAtAnyByteOrHasOneWrongBit) {
  ASSERT_EQ(run("one-job"), 0) << messages();
  std::ifstream in(path_, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const auto file = std::as_bytes(std::span(text));
  const std::size_t all = read_capture(file).events.size();
  std::size_t last = 0;
  for (std::size_t cut = 0; cut < file.size(); ++cut) {
    if (cut < 16) {
      EXPECT_THROW(read_capture(file.first(cut)), Error);
      continue;
    }
    const Capture capture = read_capture(file.first(cut));
    EXPECT_LT(capture.events.size(), all);
    EXPECT_GE(capture.events.size(), last);
    last = capture.events.size();
    CaptureMemory memory;
    for (const CaptureEvent& event : capture.events) memory.apply(event);
  }
  std::vector<std::byte> copy(file.begin(), file.end());
  for (std::size_t bit = 0; bit < 8 * copy.size(); ++bit) {
    copy[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    EXPECT_THROW(read_capture(copy), Error) << bit;
    copy[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
  }
}

TEST_F(Recorded, AJobWithoutOutputsThatWritesToABufferThatIsNotListed) {
  ASSERT_EQ(run("no-outputs"), 0) << messages();
  const Capture capture = read_capture(path_);
  ASSERT_EQ(jobs_of(capture).size(), 1u);
  EXPECT_TRUE(jobs_of(capture)[0].job.out_handles.empty());
  EXPECT_EQ(jobs_of(capture)[0].outcome, Outcome::done);
  EXPECT_EQ(check_jobs_of(capture), 1u);
  EXPECT_EQ(count<CaptureCreate>(capture), 4u);  // none of the recorder's own
}

TEST_F(Recorded, JobsThatTheKernelDropsAndSubmitsThatItRefuses) {
  ASSERT_EQ(run("dropped"), 0) << messages();
  const Capture capture = read_capture(path_);
  const auto jobs = jobs_of(capture);
  ASSERT_EQ(jobs.size(), 5u);
  for (std::uint32_t i = 0; i < 5; ++i) {
    EXPECT_EQ(jobs[i].submit, 0u);
    EXPECT_EQ(jobs[i].index, i);
    EXPECT_EQ(jobs[i].outcome, i == 0 || i == 4 ? Outcome::done : Outcome::dropped) << i;
  }
  EXPECT_THAT(jobs[1].note, HasSubstr("77"));
  EXPECT_THAT(jobs[2].note, HasSubstr("twice"));
  EXPECT_THAT(jobs[3].note, HasSubstr("no tasks"));
  EXPECT_EQ(check_jobs_of(capture), 2u);
  std::multiset<int> results;
  for (const CaptureEvent& event : capture.events)
    if (const auto* ioctl = std::get_if<CaptureIoctl>(&event.what))
      if (ioctl->request == DRM_IOCTL_ROCKET_SUBMIT) results.insert(ioctl->result);
  EXPECT_EQ(results, (std::multiset<int>{-EINVAL, -EFAULT, 0}));
}

TEST_F(Recorded, AJobThatHangs) {
  ASSERT_EQ(run("hang"), 0) << messages();
  const auto jobs = jobs_of(read_capture(path_));
  ASSERT_EQ(jobs.size(), 1u);
  EXPECT_EQ(jobs[0].outcome, Outcome::timed_out);
  EXPECT_THAT(jobs[0].note, HasSubstr("hang"));
}

TEST_F(Recorded, AChildWithWhatItInherits) {
  ASSERT_EQ(run("forks"), 0) << messages();
  const Capture capture = read_capture(path_);
  EXPECT_EQ(count<CaptureStart>(capture), 2u);
  EXPECT_EQ(check_jobs_of(capture), 4u);
  std::map<std::uint32_t, std::size_t> jobs;
  for (const CaptureEvent& event : capture.events)
    jobs[event.process] += std::holds_alternative<CaptureJob>(event.what);
  ASSERT_EQ(jobs.size(), 2u);
  for (const auto& [process, n] : jobs) EXPECT_EQ(n, 2u);
}

TEST_F(Recorded, EightThreads) {
  ASSERT_EQ(run("threads"), 0) << messages();
  const Capture capture = read_capture(path_);
  EXPECT_EQ(jobs_of(capture).size(), 48u);
  EXPECT_EQ(count<CaptureOpen>(capture), count<CaptureClose>(capture));
  std::set<std::uint32_t> threads;
  for (const CaptureEvent& event : capture.events)
    if (const auto* ioctl = std::get_if<CaptureIoctl>(&event.what)) threads.insert(ioctl->thread);
  EXPECT_EQ(threads.size(), 8u);
}

TEST_F(Recorded, DescriptorsOfOneFile) {
  ASSERT_EQ(run("descriptors"), 0) << messages();
  const Capture capture = read_capture(path_);
  EXPECT_EQ(count<CaptureStart>(capture), 1u);
  EXPECT_EQ(count<CaptureOpen>(capture), 1u);
  EXPECT_EQ(count<CaptureClose>(capture), 1u);
  EXPECT_EQ(count<CaptureCreate>(capture), 1u);
  EXPECT_EQ(count<CaptureDestroy>(capture), 1u);
}

TEST_F(Recorded, AProgramThatIsKilledAtAnyTime) {
  std::size_t jobs = 0;
  for (int round = 0; round < 12; ++round) {
    std::filesystem::remove(path_);
    const pid_t child = start("endless");
    // Until it has begun; then a bit, another one each time.
    for (int i = 0;
         i < 2000 && (!std::filesystem::exists(path_) || std::filesystem::file_size(path_) < 3000);
         ++i)
      usleep(5000);
    usleep(static_cast<useconds_t>(round) * 1700);
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << messages();
    const Capture capture = read_capture(path_);
    const auto all = jobs_of(capture);
    for (std::size_t i = 0; i + 1 < all.size(); ++i) EXPECT_EQ(all[i].outcome, Outcome::done);
    jobs += all.size();
  }
  EXPECT_GT(jobs, 12u);
}

TEST_F(Recorded, AProgramGoesOnWhenTheFileCannotBeWritten) {
  path_ = directory_ + "/nowhere/a.npucap";
  EXPECT_EQ(run("forks"), 0) << messages();
  EXPECT_THAT(messages(), HasSubstr("The program goes on"));
}

TEST_F(Recorded, AProgramGoesOnWhenTheDiskIsFull) {
  EXPECT_EQ(run("full"), 0) << messages();
  const std::string said = messages();
  EXPECT_THAT(said, HasSubstr("cannot write"));
  EXPECT_THAT(said, HasSubstr("The program goes on"));
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
  EXPECT_EQ(check_jobs_of(read_capture(path_)), 1u);  // what was written before
}

}  // namespace
}  // namespace npu::device
