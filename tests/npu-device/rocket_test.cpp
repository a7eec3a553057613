// SPDX-License-Identifier: MIT
// The rocket backend over a pretended kernel: what it asks for when all goes well.
#include "npu-device/rocket.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <time.h>

#include "fake_kernel.hpp"
#include "regdb/error.hpp"

namespace npu::device {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::int64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1000000000 + now.tv_nsec;
}

struct Rocket : ::testing::Test {
  std::shared_ptr<FakeKernel> kernel = std::make_shared<FakeKernel>();
  std::unique_ptr<Device> device = open_rocket("", kernel);
};

TEST_F(Rocket, TellsWhatItOpened) {
  EXPECT_EQ(device->info().backend, "rocket");
  EXPECT_EQ(device->info().path, "/dev/accel/accel0");
  EXPECT_EQ(device->info().driver, "rocket");
  EXPECT_EQ(device->info().version, "0.0.0");
  EXPECT_EQ(device->info().cores, 3u);
  EXPECT_EQ(device->info().provenance, "measured");
  EXPECT_EQ(kernel->last_flags, O_RDWR | O_CLOEXEC);
}

TEST_F(Rocket, FirstNodeOfTheRocketDriverIsTaken) {
  kernel->accel = {{"/dev/accel/accel0", {"ivpu"}}, {"/dev/accel/accel1", {"rocket"}}};
  EXPECT_EQ(open_rocket("", kernel)->info().path, "/dev/accel/accel1");
}

TEST_F(Rocket, AnUnreadableNodeOfAnotherDriverDoesNotHideTheNpu) {
  kernel->accel = {{"/dev/accel/accel0", {"ivpu", EACCES}}, {"/dev/accel/accel1", {"rocket"}}};
  EXPECT_EQ(open_rocket("", kernel)->info().path, "/dev/accel/accel1");
}

TEST_F(Rocket, AllFilesAreClosed) {
  {
    auto another = device->open_another();
    EXPECT_EQ(kernel->files.size(), 2u);
    EXPECT_EQ(another->info().path, "/dev/accel/accel0");
  }
  EXPECT_EQ(kernel->files.size(), 1u);
  device.reset();
  EXPECT_THAT(kernel->files, IsEmpty());
}

TEST_F(Rocket, BufferIsCreatedMappedAndFreed) {
  {
    Buffer first = device->create_buffer(1);
    Buffer second = device->create_buffer(5000);
    EXPECT_EQ(first.iova(), 0u);  // a valid address
    EXPECT_EQ(second.iova(), 0x1000u);
    EXPECT_EQ(second.handle(), 2u);
    EXPECT_EQ(second.size(), 5000u);
    EXPECT_EQ(kernel->buffers.at(2).size, 5000u);
    EXPECT_EQ(kernel->mapped_offset, kernel->buffers.at(2).offset);
    second.as<std::uint32_t>()[1249] = 7;

    Buffer moved = std::move(first);
    EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): that is what is tested
    EXPECT_TRUE(moved);
    EXPECT_EQ(kernel->buffers.size(), 2u);
  }
  EXPECT_THAT(kernel->buffers, IsEmpty());
  EXPECT_THAT(kernel->mappings, IsEmpty());
}

TEST_F(Rocket, BufferAtTheEndOfTheWindow) {
  kernel->iova = 0xFFFFF000;
  EXPECT_EQ(device->create_buffer(4096).iova(), 0xFFFFF000u);
}

TEST_F(Rocket, BufferAboveTheWindowIsRefusedAndFreed) {
  kernel->iova = 0x100000000;
  try {
    device->create_buffer(4096);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::not_supported);
  }
  EXPECT_THAT(kernel->buffers, IsEmpty());
}

TEST_F(Rocket, SubmitHandsOverJobsAsTheKernelReadsThem) {
  Buffer program = device->create_buffer(4096);
  Buffer input = device->create_buffer(4096);
  Buffer output = device->create_buffer(4096);
  const std::vector<Job> jobs{
      {{{0x0, 130}, {0x410, 2}}, {program.handle(), input.handle()}, {output.handle()}},
      {{{0x10, kMaxRegcmdCount}}, {}, {}}};
  device->submit(jobs);

  ASSERT_EQ(kernel->submits.size(), 1u);
  EXPECT_EQ(kernel->submits[0].job_count, 2u);
  EXPECT_EQ(kernel->submits[0].job_struct_size, 40u);
  EXPECT_EQ(kernel->submits[0].reserved, 0u);
  ASSERT_EQ(kernel->jobs.size(), 2u);
  const auto& job = kernel->jobs[0];
  EXPECT_EQ(job.raw.task_count, 2u);
  EXPECT_EQ(job.raw.task_struct_size, 8u);
  EXPECT_EQ(job.tasks[0].regcmd, 0u);
  EXPECT_EQ(job.tasks[0].regcmd_count, 130u);
  EXPECT_EQ(job.tasks[1].regcmd, 0x410u);
  EXPECT_EQ(job.tasks[1].regcmd_count, 2u);
  EXPECT_THAT(job.in, ElementsAre(1, 2));
  EXPECT_THAT(job.out, ElementsAre(3));
  EXPECT_EQ(kernel->jobs[1].raw.in_bo_handles, 0u);
  EXPECT_EQ(kernel->jobs[1].raw.in_bo_handle_count, 0u);
  EXPECT_EQ(kernel->jobs[1].raw.out_bo_handles, 0u);
  EXPECT_EQ(kernel->jobs[1].tasks[0].regcmd_count, kMaxRegcmdCount);
  device->prep(output, 1s);
}

TEST_F(Rocket, NoJobsAskNothingOfTheKernel) {
  device->submit(std::span<const Job>{});
  EXPECT_THAT(kernel->submits, IsEmpty());
}

TEST_F(Rocket, PrepDeadlineIsAbsoluteMonotonicTime) {
  Buffer buffer = device->create_buffer(64);
  const std::int64_t before = monotonic_ns();
  device->prep(buffer, 250ms);
  const std::int64_t after = monotonic_ns();
  ASSERT_EQ(kernel->preps.size(), 1u);
  EXPECT_EQ(kernel->preps[0].handle, buffer.handle());
  EXPECT_EQ(kernel->preps[0].reserved, 0u);
  EXPECT_GE(kernel->preps[0].timeout_ns, before + 250000000);
  EXPECT_LE(kernel->preps[0].timeout_ns, after + 250000000);

  device->prep(buffer, Device::Clock::time_point{});
  EXPECT_EQ(kernel->preps[1].timeout_ns, 0);
  device->prep(buffer, Device::Clock::time_point::min());
  EXPECT_EQ(kernel->preps[2].timeout_ns, 0);
  device->prep(buffer, std::chrono::milliseconds::max());
  EXPECT_EQ(kernel->preps[3].timeout_ns, INT64_MAX);
  device->prep(buffer, std::chrono::milliseconds::min());
  EXPECT_LE(kernel->preps[4].timeout_ns, monotonic_ns());
}

TEST_F(Rocket, PositivePrepResultIsSuccess) {
  Buffer buffer = device->create_buffer(64);
  kernel->prep_result = 25;  // jiffies left, as the first released kernels return
  EXPECT_NO_THROW(device->prep(buffer, 1s));
}

TEST_F(Rocket, InterruptedPrepGoesOnWithTheSameDeadline) {
  Buffer buffer = device->create_buffer(64);
  kernel->errors[DRM_IOCTL_ROCKET_PREP_BO] = {EINTR, EINTR, EAGAIN};
  const auto deadline = Device::Clock::now() + 1s;
  device->prep(buffer, deadline);
  ASSERT_EQ(kernel->preps.size(), 1u);
  EXPECT_EQ(kernel->preps[0].timeout_ns, deadline.time_since_epoch().count());
  EXPECT_THAT(kernel->errors[DRM_IOCTL_ROCKET_PREP_BO], IsEmpty());
}

TEST_F(Rocket, FiniNamesTheBuffer) {
  device->create_buffer(64);
  Buffer buffer = device->create_buffer(64);
  device->fini(buffer);
  ASSERT_EQ(kernel->finis.size(), 1u);
  EXPECT_EQ(kernel->finis[0].handle, buffer.handle());
  EXPECT_EQ(kernel->finis[0].reserved, 0u);
}

TEST_F(Rocket, FreeingABufferThatAJobWritesWaitsForTheJobFirst) {
  Buffer output = device->create_buffer(64);
  device->submit(Job{{{0, 4}}, {}, {output.handle()}});
  kernel->calls.clear();
  output = Buffer();
  EXPECT_THAT(kernel->calls, ElementsAre("PREP_BO", "munmap", "GEM_CLOSE"));
}

TEST_F(Rocket, FreeingAnIdleBufferDoesNotWait) {
  Buffer output = device->create_buffer(64);
  device->submit(Job{{{0, 4}}, {}, {output.handle()}});
  device->prep(output, 1s);
  kernel->calls.clear();
  output = Buffer();
  EXPECT_THAT(kernel->calls, ElementsAre("munmap", "GEM_CLOSE"));
}

}  // namespace
}  // namespace npu::device
