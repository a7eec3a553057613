// SPDX-License-Identifier: MIT
// Jobs through the vendor's SUBMIT: chains, cores, threads, processes, hangs.
#include <poll.h>
#include <sys/wait.h>

#include <chrono>
#include <random>
#include <thread>

#include "microkernels/gemm.hpp"
#include "microkernels/reference.hpp"
#include "rknpu_client.hpp"

namespace {

using namespace npu;
using rknpu_client::call;
using rknpu_client::create;
using rknpu_client::Fd;
using rknpu_client::job;
using rknpu_client::kCard;
using rknpu_client::map;
using Vendor = rknpu_client::Device;

// One product; true if it equals the reference.
bool multiply(device::Device& device, const kernels::GemmShape& shape, std::uint32_t seed,
              const kernels::GemmOptions& options = {}) {
  std::mt19937 rng(seed);
  std::uniform_int_distribution<int> byte(-128, 127);
  std::vector<std::int8_t> a(std::size_t{shape.m} * shape.k), b(std::size_t{shape.n} * shape.k);
  for (auto& x : a) x = static_cast<std::int8_t>(byte(rng));
  for (auto& x : b) x = static_cast<std::int8_t>(byte(rng));
  std::vector<std::int32_t> c(std::size_t{shape.m} * shape.n), want(c.size());
  device::Device* devices[] = {&device};
  kernels::Gemm gemm(devices, shape, {kernels::DataType::i8, kernels::DataType::i32}, options);
  gemm.set_weights(b);
  gemm.run(a, c);
  kernels::ref_gemm_i8i32(shape, a, b, want);
  return c == want;
}
bool multiply(device::Device& device, std::uint32_t seed) {
  return multiply(device, {1 + seed % 40, 1 + seed % 70, 1 + seed % 130}, seed);
}

// Three tasks of 200 rows in one job.
constexpr kernels::GemmShape kManyTasks{600, 600, 600};
const kernels::GemmOptions kInTiles{.choice =
                                        kernels::GemmChoice{.rows = 200, .columns = 608, .k = 608}};

TEST(RknpuSubmit, TasksOneByOneAndInOneStartAreTheSame) {
  Vendor single(Vendor::Mode::one_by_one), chained(Vendor::Mode::chained);
  EXPECT_TRUE(multiply(single, kManyTasks, 1, kInTiles));
  EXPECT_GE(single.submits(), 2);
  EXPECT_TRUE(multiply(chained, kManyTasks, 1, kInTiles));
  EXPECT_EQ(chained.submits(), 1);
  // What the kernel tells: all tasks counted, the last one's interrupt, the chip's time.
  EXPECT_EQ(chained.last().task_counter, chained.last().task_number);
  const std::uint32_t status = chained.task(chained.last().task_number - 1).int_status;
  EXPECT_EQ(status, 0x300u);  // its tasks alternate between the two groups
  EXPECT_GT(chained.last().hw_elapse_time, 0);
  EXPECT_LT(chained.last().hw_elapse_time, 1'000'000'000);
}

TEST(RknpuSubmit, EveryCoreComputes) {
  for (const std::uint32_t mask : {1u, 2u, 4u}) {
    Vendor device(Vendor::Mode::chained, mask);
    EXPECT_TRUE(multiply(device, 7)) << mask;
    EXPECT_EQ(device.last().core_mask, mask);
  }
  Vendor automatic(Vendor::Mode::chained, 0);
  EXPECT_TRUE(multiply(automatic, 8));
  EXPECT_EQ(automatic.last().core_mask, 1u);  // the driver's choice comes back
  Vendor many(Vendor::Mode::one_by_one, 7);   // the same job on three cores at once
  EXPECT_TRUE(multiply(many, 9));
}

TEST(RknpuSubmit, AJobThatDoesNotBlockLeavesItsResult) {
  Vendor device(Vendor::Mode::one_by_one, 1, RKNPU_JOB_NONBLOCK);
  EXPECT_TRUE(multiply(device, 11));
  EXPECT_EQ(device.last().task_counter, 0u);  // nobody waited, nobody told
  EXPECT_EQ(device.last().hw_elapse_time, 0);
}

TEST(RknpuSubmit, FencesAreReadyWhenTheirJobIs) {
  Vendor device(Vendor::Mode::one_by_one, 1, RKNPU_JOB_NONBLOCK | RKNPU_JOB_FENCE_OUT);
  EXPECT_TRUE(multiply(device, 12));
  const Fd fence(device.last().fence_fd);
  pollfd p{fence, POLLIN, 0};
  EXPECT_EQ(poll(&p, 1, 0), 1);
  rknpu_submit s = job(1, 1);
  s.flags |= RKNPU_JOB_FENCE_IN;
  s.fence_fd = 800;
  EXPECT_EQ(call(device.fd(), DRM_IOCTL_RKNPU_SUBMIT, s), EINVAL);
}

// A program without its enable word: nothing ends it.
struct Hang {
  explicit Hang(int fd)
      : program(create(fd, 4096)), tasks(create(fd, 4096, RKNPU_MEM_KERNEL_MAPPING)) {
    auto* task = static_cast<rknpu_task*>(map(fd, tasks));
    task[0] = {};
    task[0].int_mask = 0x300;
    task[0].regcfg_amount = 16;
    task[0].regcmd_addr = program.dma_addr;
  }
  rknpu_mem_create program, tasks;
};

TEST(RknpuSubmit, WhatMakesNoSenseIsRefused) {
  const Fd fd(open(kCard, O_RDWR));
  const Hang hang(fd);
  const auto submit = [&](auto change) {
    rknpu_submit s = job(hang.tasks.obj_addr, 1);
    change(s);
    return call(fd, DRM_IOCTL_RKNPU_SUBMIT, s);
  };
  EXPECT_EQ(submit([](rknpu_submit& s) { s.task_number = 0; }), EINVAL);
  EXPECT_EQ(submit([](rknpu_submit& s) { s.core_mask = 8; }), EINVAL);
  EXPECT_EQ(submit([](rknpu_submit& s) { s.core_mask = 5; }), EINVAL);  // no such pair
  EXPECT_EQ(submit([](rknpu_submit& s) { s.flags &= ~std::uint32_t{RKNPU_JOB_PC}; }), EINVAL);
  EXPECT_EQ(submit([](rknpu_submit& s) { s.task_obj_addr = 0; }), EINVAL);
  EXPECT_EQ(submit([](rknpu_submit& s) { s.iommu_domain_id = 16; }), EINVAL);
  // Where a board's kernel follows a bad pointer.
  EXPECT_EQ(submit([](rknpu_submit& s) { s.task_obj_addr = 0x1000; }), EFAULT);
  EXPECT_EQ(submit([&](rknpu_submit& s) { s.task_obj_addr = hang.program.obj_addr; }), EFAULT);
  EXPECT_EQ(submit([](rknpu_submit& s) { s.subcore_task[0] = {102, 1}; }), EFAULT);
  // Nothing to count to: it never ends.
  EXPECT_EQ(submit([](rknpu_submit& s) { s.subcore_task[0].task_number = 0; }), ETIMEDOUT);
  EXPECT_EQ(submit([](rknpu_submit& s) { s.subcore_task[0] = {0xFFFFFFFF, 0xFFFFFFFF}; }), EFAULT);
}

// The driver programs the first task's address only [gregordinary/rknpu-submit, on a board].
TEST(RknpuSubmit, TasksThatAreNotLinkedStopAfterTheFirst) {
  Vendor device(Vendor::Mode::not_linked);
  EXPECT_THROW(multiply(device, kManyTasks, 2, kInTiles), npu::Error);
  EXPECT_GT(device.last().task_number, 1u);
  EXPECT_EQ(device.last().task_counter, 1u);
}

TEST(RknpuSubmit, AHangTimesOutAndTheCoreIsResetForTheNext) {
  const Fd fd(open(kCard, O_RDWR));
  const Hang hang(fd);
  rknpu_submit s = job(hang.tasks.obj_addr, 1);
  s.timeout = 50;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(call(fd, DRM_IOCTL_RKNPU_SUBMIT, s), ETIMEDOUT);
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(50));
  EXPECT_EQ(s.task_counter, 0u);
  Vendor device(Vendor::Mode::chained);
  EXPECT_TRUE(multiply(device, 21));
}

TEST(RknpuSubmit, AHangThatNobodyWaitsForKeepsItsCoreUntilTheNextOfItsKind) {
  const Fd fd(open(kCard, O_RDWR));
  const Hang hang(fd);
  rknpu_submit s = job(hang.tasks.obj_addr, 1);
  s.flags |= RKNPU_JOB_NONBLOCK;
  s.timeout = 10;
  EXPECT_EQ(call(fd, DRM_IOCTL_RKNPU_SUBMIT, s), 0);
  // A job that blocks waits three times its time, and is not even begun.
  rknpu_submit behind = job(hang.tasks.obj_addr, 1);
  behind.timeout = 10;
  EXPECT_EQ(call(fd, DRM_IOCTL_RKNPU_SUBMIT, behind), EINVAL);
  Vendor elsewhere(Vendor::Mode::chained, 2);
  EXPECT_TRUE(multiply(elsewhere, 22));
  // The next one that does not block throws it out.
  Vendor device(Vendor::Mode::one_by_one, 1, RKNPU_JOB_NONBLOCK);
  EXPECT_TRUE(multiply(device, 23));
}

TEST(RknpuSubmit, TheInterruptOfTheLastTaskHasToBeTheOneAskedFor) {
  const Fd fd(open(kCard, O_RDWR));
  Vendor device(Vendor::Mode::one_by_one);
  ASSERT_TRUE(multiply(device, 24));
  // The same program, but its task waits for one group's bit: the driver compares pairs.
  rknpu_task task = device.task(0);
  task.int_mask = 0x100;
  const auto tasks = create(fd, 4096, RKNPU_MEM_KERNEL_MAPPING);
  *static_cast<rknpu_task*>(map(fd, tasks)) = task;
  rknpu_submit s = job(tasks.obj_addr, 1);
  s.timeout = 10;
  EXPECT_EQ(call(fd, DRM_IOCTL_RKNPU_SUBMIT, s), ETIMEDOUT);
}

// Jobs from threads, each with a file of its own; the number of wrong results.
int storm(unsigned threads, unsigned jobs, std::uint32_t seed) {
  std::vector<std::thread> all;
  std::atomic<int> wrong{0};
  for (unsigned t = 0; t < threads; ++t)
    all.emplace_back([&, t] {
      try {
        Vendor device(t % 2 == 0 ? Vendor::Mode::chained : Vendor::Mode::one_by_one,
                      t % 4 == 3 ? 3 : 1u << t % 3);
        for (unsigned j = 0; j < jobs; ++j) wrong += !multiply(device, seed + t * 1000 + j);
      } catch (...) {
        ++wrong;
      }
    });
  for (std::thread& thread : all) thread.join();
  return wrong;
}

int child_status(pid_t child) {
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

TEST(RknpuProcesses, JobsFromEightThreadsInTwoProcesses) {
  const pid_t child = fork();
  if (child == 0) _exit(storm(4, 60, 50'000) == 0 ? 0 : 1);
  EXPECT_EQ(storm(4, 60, 1), 0);
  EXPECT_EQ(child_status(child), 0);
}

TEST(RknpuProcesses, AChildGoesOnWithTheFilesThatItInherits) {
  Vendor device(Vendor::Mode::chained);
  ASSERT_TRUE(multiply(device, 31));
  const auto kept = device.create_buffer(10'000);
  kept.host()[9'999] = std::byte{1};
  const pid_t child = fork();
  if (child == 0) {
    bool good = kept.host()[9'999] == std::byte{1};
    kept.host()[9'999] = std::byte{2};
    good = good && multiply(device, 32);
    Vendor own(Vendor::Mode::chained);
    _exit(good && multiply(own, 33) ? 0 : 1);
  }
  EXPECT_EQ(child_status(child), 0);
  EXPECT_EQ(kept.host()[9'999], std::byte{2});
  EXPECT_TRUE(multiply(device, 34));
}

}  // namespace
