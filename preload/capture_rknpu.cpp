// SPDX-License-Identifier: MIT
// The vendor driver's ioctls under the recorder, for its DRM nodes. Semantics: control-and-uapi.md
// E.
#include <drm.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "preload/capture_file.hpp"
#include "preload/capture_real.hpp"
#include "preload/capture_session.hpp"
#include "preload/rknpu_uapi.h"
#include "preload/user_memory.hpp"

namespace npu::preload {
namespace {

using Outcome = device::CaptureJob::Outcome;

constexpr std::uint32_t kMostTasks = 1u << 20;

class RknpuCapture final : public CapturedFile {
 public:
  using CapturedFile::CapturedFile;

 private:
  static unsigned number_of(unsigned long request) {
    return _IOC_TYPE(request) == 'd' ? _IOC_NR(request) : 0;
  }

  bool watches(unsigned long request) const override {
    switch (number_of(request)) {
      case _IOC_NR(DRM_IOCTL_GEM_CLOSE):
      case _IOC_NR(DRM_IOCTL_RKNPU_SUBMIT):
      case _IOC_NR(DRM_IOCTL_RKNPU_MEM_CREATE):
      case _IOC_NR(DRM_IOCTL_RKNPU_MEM_DESTROY): return true;
      default: return false;
    }
  }

  int call(int fd, unsigned long request, void* argument) override {
    if (number_of(request) == _IOC_NR(DRM_IOCTL_RKNPU_SUBMIT)) {
      rknpu_submit submit{};
      const std::size_t size = std::min<std::size_t>(_IOC_SIZE(request), sizeof submit);
      if (copy_from_user(&submit, reinterpret_cast<std::uintptr_t>(argument), size))
        return call_submit(fd, request, argument, submit);
    }
    return NEXT(ioctl)(fd, request, argument);
  }

  void after(int fd, unsigned long request, const void* argument) override {
    const std::size_t size = _IOC_SIZE(request);
    switch (number_of(request)) {
      case _IOC_NR(DRM_IOCTL_RKNPU_MEM_CREATE): {
        rknpu_mem_create create{};
        std::memcpy(&create, argument, std::min(size, sizeof create));
        // A handle in use asks for what is there already.
        if (size < RKNPU_MEM_CREATE_OLD_SIZE || has_buffer(create.handle)) break;
        rknpu_mem_map map{};
        map.handle = create.handle;
        if (NEXT(ioctl)(fd, DRM_IOCTL_RKNPU_MEM_MAP, &map) != 0) break;
        objects_[create.handle] = create.obj_addr;
        add_buffer(fd, create.handle, create.dma_addr, create.size, map.offset);
        break;
      }
      case _IOC_NR(DRM_IOCTL_GEM_CLOSE):
      case _IOC_NR(DRM_IOCTL_RKNPU_MEM_DESTROY): {
        std::uint32_t handle = 0;  // the first field of both
        if (size < sizeof handle) break;
        std::memcpy(&handle, argument, sizeof handle);
        objects_.erase(handle);
        remove_buffer(handle);
        break;
      }
      default: break;
    }
  }

  void sync_for_cpu(int fd, std::uint32_t handle) override {
    // First what the program has written and not yet handed over. Buffers that are not cached
    // need none of it, which the driver calls EINVAL.
    for (const std::uint32_t direction : {RKNPU_MEM_SYNC_TO_DEVICE, RKNPU_MEM_SYNC_FROM_DEVICE}) {
      rknpu_mem_sync sync{};
      sync.flags = direction;
      sync.obj_addr = objects_[handle];
      sync.size = buffer(handle)->bytes();
      NEXT(ioctl)(fd, DRM_IOCTL_RKNPU_MEM_SYNC, &sync);
    }
  }

  void add_tasks(const rknpu_submit& submit, const rknpu_subcore_task& range, device::Job& out);
  device::Job job_of(const rknpu_submit& submit);
  int call_submit(int fd, unsigned long request, void* argument, const rknpu_submit& submit);

  std::map<std::uint32_t, std::uint64_t> objects_;  // handle: obj_addr
};

// Tasks stand in a buffer, which SUBMIT names by the address of the driver's object.
void RknpuCapture::add_tasks(const rknpu_submit& submit, const rknpu_subcore_task& range,
                             device::Job& out) {
  for (const auto& [handle, object] : objects_) {
    const WatchedBuffer* tasks = buffer(handle);
    if (object != submit.task_obj_addr || tasks->view() == nullptr) continue;
    for (std::uint32_t i = 0; i < range.task_number && i < kMostTasks; ++i) {
      const std::uint64_t at = (std::uint64_t{range.task_start} + i) * sizeof(rknpu_task);
      if (at + sizeof(rknpu_task) > tasks->bytes()) return;
      rknpu_task task;
      std::memcpy(&task, tasks->view() + at, sizeof task);
      out.tasks.push_back({static_cast<std::uint32_t>(submit.task_base_addr + task.regcmd_addr),
                           task.regcfg_amount + RKNPU_PC_DATA_EXTRA_AMOUNT});
    }
    return;
  }
}

// One job of a capture: the tasks of all cores, one core's behind the other's. The driver does not
// know what they read and write: all buffers are listed as outputs.
device::Job RknpuCapture::job_of(const rknpu_submit& submit) {
  device::Job job;
  const int cores = __builtin_popcount(submit.core_mask & 7);
  if (cores < 2) {
    add_tasks(submit, {submit.task_start, submit.task_number}, job);
  } else {
    // With three cores their tasks stand two places further on.
    for (int core = 0; core < cores; ++core)
      add_tasks(submit, submit.subcore_task[cores == 3 ? core + 2 : core], job);
  }
  job.out_handles = handles();
  return job;
}

int RknpuCapture::call_submit(int fd, unsigned long request, void* argument,
                              const rknpu_submit& submit) {
  device::CaptureJob event;
  event.file = this->number();
  event.submit = next_submit();
  event.job = job_of(submit);
  record_host_writes();
  record([&](device::CaptureWriter& writer, std::uint32_t process) {
    writer.begin_job(process, event);
  });
  // A program that does not want to wait waits all the same, unless it gets a fence.
  const bool fenced = (submit.flags & (RKNPU_JOB_FENCE_IN | RKNPU_JOB_FENCE_OUT)) != 0;
  const bool waits = (submit.flags & RKNPU_JOB_NONBLOCK) == 0 || !fenced;
  const auto user = reinterpret_cast<std::uintptr_t>(argument);
  rknpu_submit blocking = submit;
  const bool changed =
      waits && (submit.flags & RKNPU_JOB_NONBLOCK) != 0 && _IOC_SIZE(request) >= sizeof submit;
  if (changed) blocking.flags &= ~std::uint32_t{RKNPU_JOB_NONBLOCK};
  event.start_ns = monotonic_ns();
  int result = NEXT(ioctl)(fd, request, changed ? static_cast<void*>(&blocking) : argument);
  const int saved = errno;
  event.end_ns = monotonic_ns();
  if (result == 0) {
    event.outcome = waits ? Outcome::done : Outcome::unknown;
    if (!waits) event.note = "it has a fence, and may have run on";
  } else {
    event.outcome = saved == ETIMEDOUT ? Outcome::timed_out : Outcome::dropped;
    event.note = "SUBMIT failed: " + std::string(std::strerror(saved));
  }
  if (changed) {
    // Who does not wait is told nothing of the end.
    if (result != 0 && saved == ETIMEDOUT) result = 0;
    blocking.flags = submit.flags;
    blocking.task_counter = submit.task_counter;
    blocking.hw_elapse_time = submit.hw_elapse_time;
    copy_to_user(user, &blocking, sizeof blocking);
  }
  record(
      [&](device::CaptureWriter& writer, std::uint32_t process) { writer.end_job(process, event); },
      true);
  record_device_writes(fd);
  record([](device::CaptureWriter&, std::uint32_t) {});
  errno = saved;
  return result;
}

}  // namespace

std::shared_ptr<CapturedFile> make_rknpu_file(std::string path, std::uint32_t number) {
  return std::make_shared<RknpuCapture>("rknpu", std::move(path), number);
}

}  // namespace npu::preload
