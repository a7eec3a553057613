// SPDX-License-Identifier: MIT
// A pretended rocket driver below the rocket backend: keeps buffers, records calls, fails on order.
#pragma once

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "npu-device/rocket.hpp"
#include "npu-device/rocket_uapi.h"

namespace npu::device {

struct FakeKernel final : Ioctl {
  struct Node {
    std::string driver = "rocket";
    int open_errno = 0;
    int version_errno = 0;
  };
  struct SubmittedJob {
    drm_rocket_job raw;
    std::vector<drm_rocket_task> tasks;
    std::vector<std::uint32_t> in, out;
  };

  std::map<std::string, Node> accel{{"/dev/accel/accel0", Node{}}};
  std::map<unsigned long, std::deque<int>> errors;  // per request: errnos of the next calls
  int mmap_errno = 0;
  int prep_result = 0;
  std::uint64_t iova = 0;  // of the next buffer

  std::vector<std::string> calls;
  std::map<int, std::string> files;
  std::map<std::uint32_t, drm_rocket_create_bo> buffers;
  std::map<void*, std::size_t> mappings;
  std::vector<drm_rocket_prep_bo> preps;
  std::vector<drm_rocket_fini_bo> finis;
  std::vector<drm_rocket_submit> submits;
  std::vector<SubmittedJob> jobs;

  static int fail(int error) {
    errno = error;
    return -1;
  }

  int open(const char* path, int flags) override {
    calls.push_back(std::string("open ") + path);
    last_flags = flags;
    const auto node = accel.find(path);
    if (node == accel.end()) return fail(ENOENT);
    if (node->second.open_errno) return fail(node->second.open_errno);
    files[next_fd] = path;
    return next_fd++;
  }

  int version(int fd, DriverVersion* version) override {
    const Node& node = accel.at(files.at(fd));
    if (node.version_errno) return fail(node.version_errno);
    version->name = node.driver;
    return 0;
  }

  std::vector<std::string> nodes() override {
    std::vector<std::string> paths;
    for (const auto& [path, node] : accel) paths.push_back(path);
    return paths;
  }
  unsigned cores() override { return 3; }

  int close(int fd) override { return files.erase(fd) ? 0 : fail(EBADF); }

  void* mmap(std::size_t bytes, int fd, std::uint64_t offset) override {
    calls.push_back("mmap");
    if (mmap_errno || !files.contains(fd)) {
      errno = mmap_errno ? mmap_errno : EBADF;
      return nullptr;
    }
    mapped_offset = offset;
    void* memory = std::calloc(1, bytes);
    mappings[memory] = bytes;
    return memory;
  }

  int munmap(void* memory, std::size_t bytes) override {
    const auto mapping = mappings.find(memory);
    if (mapping == mappings.end() || mapping->second != bytes) return fail(EINVAL);
    calls.push_back("munmap");
    mappings.erase(mapping);
    std::free(memory);
    return 0;
  }

  int ioctl(int fd, unsigned long request, void* argument) override {
    if (!files.contains(fd)) return fail(EBADF);
    auto& queue = errors[request];
    if (!queue.empty()) {
      const int error = queue.front();
      queue.pop_front();
      if (error) return fail(error);
    }
    switch (request) {
      case DRM_IOCTL_ROCKET_CREATE_BO: {
        calls.push_back("CREATE_BO");
        auto* create = static_cast<drm_rocket_create_bo*>(argument);
        create->handle = next_handle++;
        create->dma_address = iova;
        create->offset = 0x100000000ull + create->handle * 0x10000ull;
        iova += (create->size + 4095) / 4096 * 4096;
        buffers[create->handle] = *create;
        return 0;
      }
      case DRM_IOCTL_ROCKET_PREP_BO:
        calls.push_back("PREP_BO");
        preps.push_back(*static_cast<drm_rocket_prep_bo*>(argument));
        return prep_result;
      case DRM_IOCTL_ROCKET_FINI_BO:
        calls.push_back("FINI_BO");
        finis.push_back(*static_cast<drm_rocket_fini_bo*>(argument));
        return 0;
      case DRM_IOCTL_ROCKET_SUBMIT: calls.push_back("SUBMIT"); return submit(argument);
      case ROCKET_IOCTL_GEM_CLOSE:
        calls.push_back("GEM_CLOSE");
        return buffers.erase(static_cast<rocket_gem_close*>(argument)->handle) ? 0 : fail(EINVAL);
      default: return fail(ENOTTY);
    }
  }

  int last_flags = 0;
  std::uint64_t mapped_offset = 0;

 private:
  int submit(void* argument) {
    const auto& submit = *static_cast<drm_rocket_submit*>(argument);
    submits.push_back(submit);
    const auto* list = reinterpret_cast<const drm_rocket_job*>(submit.jobs);
    for (std::uint32_t j = 0; j < submit.job_count; ++j) {
      SubmittedJob job{list[j], {}, {}, {}};
      const auto* tasks = reinterpret_cast<const drm_rocket_task*>(list[j].tasks);
      job.tasks.assign(tasks, tasks + list[j].task_count);
      const auto* in = reinterpret_cast<const std::uint32_t*>(list[j].in_bo_handles);
      job.in.assign(in, in + list[j].in_bo_handle_count);
      const auto* out = reinterpret_cast<const std::uint32_t*>(list[j].out_bo_handles);
      job.out.assign(out, out + list[j].out_bo_handle_count);
      jobs.push_back(job);
    }
    return 0;
  }

  int next_fd = 40;
  std::uint32_t next_handle = 1;
};

}  // namespace npu::device
