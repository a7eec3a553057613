// SPDX-License-Identifier: MIT
// Many threads, several processes, and what a fork inherits.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <random>
#include <thread>

#include "microkernels/gemm.hpp"
#include "microkernels/reference.hpp"
#include "npu-device/device.hpp"
#include "npu-device/rocket_uapi.h"
#include "regdb/error.hpp"

namespace {

using namespace npu;

// One product on a file of its own; true if it equals the reference.
bool multiply(device::Device& device, std::uint32_t seed) {
  std::mt19937 rng(seed);
  const kernels::GemmShape shape{1 + seed % 40, 1 + seed % 70, 1 + seed % 130};
  std::uniform_int_distribution<int> byte(-128, 127);
  std::vector<std::int8_t> a(std::size_t{shape.m} * shape.k), b(std::size_t{shape.n} * shape.k);
  for (auto& x : a) x = static_cast<std::int8_t>(byte(rng));
  for (auto& x : b) x = static_cast<std::int8_t>(byte(rng));
  std::vector<std::int32_t> c(std::size_t{shape.m} * shape.n), want(c.size());
  device::Device* const devices[] = {&device};
  kernels::gemm_i8i32(devices, shape, a, b, c, nullptr);
  kernels::ref_gemm_i8i32(shape, a, b, want);
  return c == want;
}

// Jobs from `threads` threads, each with a file of its own; the number of wrong results.
int storm(unsigned threads, unsigned jobs, std::uint32_t seed) {
  std::vector<std::thread> all;
  std::atomic<int> wrong{0};
  for (unsigned t = 0; t < threads; ++t)
    all.emplace_back([&, t] {
      try {
        const auto device = device::open_device("rocket");
        for (unsigned j = 0; j < jobs; ++j) wrong += !multiply(*device, seed + t * 1000 + j);
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

TEST(Processes, AThousandJobsFromEightThreadsInTwoProcesses) {
  const pid_t child = fork();
  if (child == 0) _exit(storm(4, 125, 50'000) == 0 ? 0 : 1);
  EXPECT_EQ(storm(4, 125, 1), 0);
  EXPECT_EQ(child_status(child), 0);
}

TEST(Processes, AChildGoesOnWithTheFilesThatItInherits) {
  const auto device = device::open_device("rocket");
  ASSERT_TRUE(multiply(*device, 7));
  const auto kept = device->create_buffer(10'000);
  kept.host()[9'999] = std::byte{1};
  const pid_t child = fork();
  if (child == 0) {
    // The handle is known, its memory shared, and jobs run.
    bool good = kept.host()[9'999] == std::byte{1};
    kept.host()[9'999] = std::byte{2};
    device->fini(kept);
    good = good && multiply(*device, 8);
    good = good && multiply(*device::open_device("rocket"), 9);
    _exit(good ? 0 : 1);
  }
  EXPECT_EQ(child_status(child), 0);
  EXPECT_EQ(kept.host()[9'999], std::byte{2});
  EXPECT_TRUE(multiply(*device, 10));
}

TEST(Processes, BuffersMadeAfterAForkAreNotShared) {
  const int fd = open("/dev/accel/accel0", O_RDWR);
  ASSERT_GE(fd, 0);
  const auto make = [fd](std::uint32_t size) -> char* {
    drm_rocket_create_bo bo{};
    bo.size = size;
    if (ioctl(fd, DRM_IOCTL_ROCKET_CREATE_BO, &bo) != 0) return nullptr;
    void* memory =
        mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(bo.offset));
    return memory == MAP_FAILED ? nullptr : static_cast<char*>(memory);
  };
  char* shared = make(4096);
  ASSERT_NE(shared, nullptr);
  const pid_t child = fork();
  if (child == 0) {
    char* mine = make(8192);
    if (mine == nullptr || mine[4096] != 0) _exit(1);
    mine[0] = mine[4096] = 1;
    shared[0] = 1;  // tells the parent
    while (*static_cast<volatile char*>(shared + 1) == 0) usleep(1000);
    _exit(mine[0] == 1 && mine[4096] == 1 ? 0 : 2);
  }
  for (int i = 0; i < 10'000 && *static_cast<volatile char*>(shared) == 0; ++i) usleep(1000);
  char* mine = make(4096);
  ASSERT_NE(mine, nullptr);
  EXPECT_EQ(mine[0], 0);
  mine[0] = 2;
  shared[1] = 1;
  EXPECT_EQ(child_status(child), 0);
  EXPECT_EQ(mine[0], 2);
  close(fd);
}

TEST(Processes, ForkWhileOthersWorkDoesNotLock) {
  std::atomic<bool> stop{false};
  std::thread worker([&] {
    const auto device = device::open_device("rocket");
    for (std::uint32_t seed = 1; !stop; ++seed) multiply(*device, seed);
  });
  for (int i = 0; i < 10; ++i) {
    const pid_t child = fork();
    if (child == 0) _exit(multiply(*device::open_device("rocket"), 3) ? 0 : 1);
    EXPECT_EQ(child_status(child), 0);
  }
  stop = true;
  worker.join();
}

pid_t vfork_and_close() {
  const pid_t child = vfork();
  if (child == 0) {
    for (int fd = 3; fd < 64; ++fd) close(fd);
    close_range(3, ~0u, 0);
    execl("/bin/true", "true", nullptr);
    _exit(1);
  }
  return child;
}

// A child of vfork() runs in its parent's memory until exec(): what it closes is its own.
TEST(Processes, ChildrenOfVforkLeaveTheParentsFilesAlone) {
  const auto device = device::open_device("rocket");
  ASSERT_TRUE(multiply(*device, 11));
  EXPECT_EQ(child_status(vfork_and_close()), 0);
  EXPECT_TRUE(multiply(*device, 12));
  EXPECT_EQ(std::system("exit 3"), 3 << 8);
  EXPECT_TRUE(multiply(*device, 13));
}

TEST(Processes, OpenFilesDoNotPileUp) {
  for (int i = 0; i < 2'000; ++i) {
    const int fd = open("/dev/accel/accel0", O_RDWR);
    ASSERT_GE(fd, 0);
    drm_rocket_create_bo bo{};
    bo.size = 1 << 20;
    ASSERT_EQ(ioctl(fd, DRM_IOCTL_ROCKET_CREATE_BO, &bo), 0);
    ASSERT_EQ(close(fd), 0);
  }
}

TEST(Processes, WaitsForABusyBufferAsTheKernelDoes) {
  // A hang keeps its core for the driver's 500 ms: until then the output is busy.
  const auto device = device::open_device("rocket");
  const auto program = device->create_buffer(4096), out = device->create_buffer(4096);
  device->fini(program);  // 512 empty words: no enable word, so nothing ever ends
  device::Job job;
  job.tasks.push_back({program.iova(), 512});
  job.in_handles.push_back(program.handle());
  job.out_handles.push_back(out.handle());
  device->submit(job);
  using namespace std::chrono_literals;
  EXPECT_THROW(device->prep(out, 1ms), npu::Error);
  EXPECT_NO_THROW(device->prep(out, 60s));  // retired: the kernel reports success
}

}  // namespace
