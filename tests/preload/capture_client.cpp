// SPDX-License-Identifier: MIT
// A program with an NPU, to be recorded: capture_client MODE. Exit code 0 if its own results are
// right. Buffers of each file are created in this order: a, b, c, program.
#include <fcntl.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "npu-device/rocket_uapi.h"
#include "tests/npu-device/small_gemm.hpp"

extern char** environ;

namespace {

using namespace npu::device;
using test::SmallGemm;

void check(bool good, const char* what) {
  if (!good) throw std::runtime_error(what);
}

bool run(SmallGemm& gemm) {
  gemm.owner.fini(gemm.c);
  gemm.owner.submit(gemm.job());
  gemm.owner.prep(gemm.c, std::chrono::seconds(10));
  return gemm.result() == gemm.expected();
}

int wait_for(pid_t child) {
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

void one_job() {
  const auto device = open_device("rocket");
  SmallGemm gemm(*device);
  check(run(gemm), "one job");
}

// Nothing to wait for: the program polls the memory.
void no_outputs() {
  const auto device = open_device("rocket");
  SmallGemm gemm(*device);
  Job job = gemm.job();
  job.out_handles.clear();
  device->submit(job);
  for (int i = 0; i < 1000 && gemm.result() != gemm.expected(); ++i) usleep(10'000);
  check(gemm.result() == gemm.expected(), "a job without outputs");
}

// The kernel runs the first and the last of these jobs.
void dropped() {
  const auto device = open_device("rocket");
  SmallGemm gemm(*device, 5);
  drm_rocket_task task{gemm.task.regcmd, gemm.task.regcmd_count};
  std::uint32_t in[] = {gemm.a.handle(), gemm.b.handle()}, out = gemm.c.handle(), wrong = 77;
  const auto at = [](auto* p) { return reinterpret_cast<std::uintptr_t>(p); };
  drm_rocket_job good{};
  good.tasks = at(&task);
  good.task_count = 1;
  good.task_struct_size = sizeof task;
  good.in_bo_handles = at(in);
  good.in_bo_handle_count = 2;
  good.out_bo_handles = at(&out);
  good.out_bo_handle_count = 1;
  drm_rocket_job bad = good;
  bad.out_bo_handles = at(&wrong);
  drm_rocket_job twice = good;
  twice.out_bo_handles = at(in);
  drm_rocket_job empty = good;
  empty.task_count = 0;
  drm_rocket_job jobs[] = {good, bad, twice, empty, good};
  drm_rocket_submit submit{};
  submit.jobs = at(jobs);
  submit.job_count = 5;
  submit.job_struct_size = sizeof good;
  // The device's own descriptor is not known here: look for it.
  int node = -1;
  char link[64], path[64];
  for (int fd = 3; fd < 64 && node < 0; ++fd) {
    std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    const ssize_t n = readlink(path, link, sizeof link - 1);
    drm_rocket_fini_bo fini{out, 0};
    if (n > 0 && ioctl(fd, DRM_IOCTL_ROCKET_FINI_BO, &fini) == 0) node = fd;
  }
  check(ioctl(node, DRM_IOCTL_ROCKET_SUBMIT, &submit) == 0, "SUBMIT");
  device->prep(gemm.c, std::chrono::seconds(10));
  check(gemm.result() == gemm.expected(), "the good jobs");
  submit.reserved = 1;
  check(ioctl(node, DRM_IOCTL_ROCKET_SUBMIT, &submit) == -1 && errno == EINVAL, "reserved");
  submit.reserved = 0;
  submit.jobs = 16;
  check(ioctl(node, DRM_IOCTL_ROCKET_SUBMIT, &submit) == -1 && errno == EFAULT, "jobs nowhere");
}

void hang() {
  const auto device = open_device("rocket");
  SmallGemm gemm(*device);
  gemm.task.regcmd_count -= 2;  // without its last words it enables nothing
  device->submit(gemm.job());
  device->prep(gemm.c, std::chrono::seconds(30));
}

void forks() {
  const auto device = open_device("rocket");
  SmallGemm gemm(*device, 1);
  check(run(gemm), "before");
  const pid_t child = fork();
  if (child == 0) {
    bool good = run(gemm);
    SmallGemm more(*device, 2);
    good = good && run(more);
    _exit(good ? 0 : 1);
  }
  check(wait_for(child) == 0, "the child");
  check(run(gemm), "after");
}

void threads() {
  std::vector<std::thread> all;
  std::atomic<int> wrong{0};
  for (unsigned t = 0; t < 8; ++t)
    all.emplace_back([t, &wrong] {
      const auto device = open_device("rocket");
      for (unsigned i = 0; i < 6; ++i) {
        SmallGemm gemm(*device, t * 100 + i);
        wrong += !run(gemm);
      }
    });
  for (std::thread& thread : all) thread.join();
  check(wrong == 0, "threads");
}

// One file by several descriptors, and a child that closes them all before it runs a program.
void descriptors() {
  const int first = open("/dev/accel/accel0", O_RDWR | O_CLOEXEC);
  const int second = fcntl(first, F_DUPFD_CLOEXEC, 100);
  check(dup2(first, 120) == 120, "dup2");
  close(first);
  drm_rocket_create_bo create{};
  create.size = 5000;
  check(ioctl(second, DRM_IOCTL_ROCKET_CREATE_BO, &create) == 0, "CREATE_BO");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addclose(&actions, second);
  posix_spawn_file_actions_addclose(&actions, 120);
  char name[] = "/bin/true";
  char* words[] = {name, nullptr};
  pid_t child = -1;
  check(posix_spawn(&child, name, &actions, nullptr, words, environ) == 0, "posix_spawn");
  check(wait_for(child) == 0, "/bin/true");
  posix_spawn_file_actions_destroy(&actions);
  const pid_t sharing = vfork();
  if (sharing == 0) {
    close(second);
    close(120);
    _exit(0);
  }
  wait_for(sharing);
  close(second);
  rocket_gem_close gone{create.handle, 0};
  check(ioctl(120, ROCKET_IOCTL_GEM_CLOSE, &gone) == 0, "GEM_CLOSE");
  close(120);
  check(ioctl(120, ROCKET_IOCTL_GEM_CLOSE, &gone) == -1 && errno == EBADF, "closed");
}

// From the second job on a capture may not grow: for a recorder the disk is full.
void full() {
  const auto device = open_device("rocket");
  SmallGemm gemm(*device);
  check(run(gemm), "before");
  const rlimit limit{2000, 2000};  // less than the capture has by now
  signal(SIGXFSZ, SIG_IGN);
  check(setrlimit(RLIMIT_FSIZE, &limit) == 0, "setrlimit");
  for (int i = 0; i < 3; ++i) check(run(gemm), "after");
}

void endless() {
  const auto device = open_device("rocket");
  for (std::uint32_t seed = 0;; ++seed) {
    SmallGemm gemm(*device, seed);
    check(run(gemm), "endless");
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  const std::pair<const char*, void (*)()> modes[] = {
      {"one-job", one_job}, {"no-outputs", no_outputs},
      {"dropped", dropped}, {"hang", hang},
      {"forks", forks},     {"threads", threads},
      {"endless", endless}, {"descriptors", descriptors},
      {"full", full}};
  try {
    for (const auto& [name, function] : modes)
      if (mode == name) return function(), 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", mode.c_str(), error.what());
    return 1;
  }
  return 2;
}
