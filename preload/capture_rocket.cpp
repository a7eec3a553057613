// SPDX-License-Identifier: MIT
// The rocket driver's ioctls under the recorder. Semantics: control-and-uapi.md C.
#include <sys/ioctl.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "npu-device/rocket_uapi.h"
#include "preload/capture_file.hpp"
#include "preload/capture_real.hpp"
#include "preload/capture_session.hpp"
#include "preload/user_memory.hpp"

namespace npu::preload {
namespace {

using Outcome = device::CaptureJob::Outcome;

// What a capture can hold of a job; the kernel's own allocation fails far above.
constexpr std::uint32_t kMostElements = 1u << 20;
// After this time the driver retires a job and resets the core [rocket_job.c, JOB_TIMEOUT_MS].
constexpr std::uint64_t kDriverTimeoutNs = 500'000'000;

template <class T>
bool read_list(std::uint64_t address, std::uint32_t count, std::uint32_t stride,
               std::vector<T>& out) {
  if (count > kMostElements) return false;
  out.resize(count);
  bool good = stride != sizeof(T) || copy_from_user(out.data(), address, count * sizeof(T));
  for (std::uint32_t i = 0; good && stride != sizeof(T) && i < count; ++i)
    good = copy_from_user(&out[i], address + std::uint64_t{i} * stride, sizeof(T));
  if (!good) out.clear();
  return good;
}

template <class T>
int forward(int fd, unsigned long request, T& argument) {
  return NEXT(ioctl)(fd, request, &argument);
}

// Waits for the jobs that write a buffer, for as long as it takes: the driver ends those that hang.
bool wait_for(int fd, std::uint32_t handle) {
  for (;;) {
    drm_rocket_prep_bo prep{};
    prep.handle = handle;
    prep.timeout_ns = static_cast<std::int64_t>(monotonic_ns()) + 60'000'000'000;
    if (forward(fd, DRM_IOCTL_ROCKET_PREP_BO, prep) == 0) return true;
    if (errno != ETIMEDOUT && errno != EBUSY && errno != EINTR && errno != EAGAIN) return false;
  }
}

// A buffer of our own, for the time of one job: an output that can be waited for.
class Fence {
 public:
  explicit Fence(int fd) : fd_(fd) {
    drm_rocket_create_bo create{};
    create.size = 4096;
    if (forward(fd, DRM_IOCTL_ROCKET_CREATE_BO, create) == 0) handle_ = create.handle;
  }
  ~Fence() {
    rocket_gem_close close{handle_, 0};
    if (handle_ != 0) forward(fd_, ROCKET_IOCTL_GEM_CLOSE, close);
  }
  Fence(const Fence&) = delete;
  Fence& operator=(const Fence&) = delete;
  std::uint32_t handle() const { return handle_; }

 private:
  int fd_;
  std::uint32_t handle_ = 0;
};

class RocketFile final : public CapturedFile {
 public:
  using CapturedFile::CapturedFile;

 private:
  bool watches(unsigned long request) const override {
    if (_IOC_TYPE(request) != 'd') return false;
    const unsigned number = _IOC_NR(request);
    return number == _IOC_NR(DRM_IOCTL_ROCKET_CREATE_BO) ||
           number == _IOC_NR(DRM_IOCTL_ROCKET_SUBMIT) || number == _IOC_NR(ROCKET_IOCTL_GEM_CLOSE);
  }

  int call(int fd, unsigned long request, void* argument) override {
    if (_IOC_NR(request) == _IOC_NR(DRM_IOCTL_ROCKET_SUBMIT)) {
      drm_rocket_submit submit{};
      if (_IOC_SIZE(request) >= sizeof submit &&
          copy_from_user(&submit, reinterpret_cast<std::uintptr_t>(argument), sizeof submit))
        return call_submit(fd, request, argument, submit);
    }
    if (_IOC_NR(request) == _IOC_NR(ROCKET_IOCTL_GEM_CLOSE)) {
      // Its pages are gone for us before they are for the driver.
      rocket_gem_close close{};
      if (copy_from_user(&close, reinterpret_cast<std::uintptr_t>(argument), sizeof close))
        closing_ = close.handle;
    }
    return NEXT(ioctl)(fd, request, argument);
  }

  void after(int fd, unsigned long request, const void* argument) override {
    if (_IOC_NR(request) == _IOC_NR(DRM_IOCTL_ROCKET_CREATE_BO)) {
      drm_rocket_create_bo create;
      if (_IOC_SIZE(request) < sizeof create) return;
      std::memcpy(&create, argument, sizeof create);
      add_buffer(fd, create.handle, create.dma_address, create.size, create.offset);
    } else if (_IOC_NR(request) == _IOC_NR(ROCKET_IOCTL_GEM_CLOSE)) {
      remove_buffer(std::exchange(closing_, 0));
    }
  }

  void sync_for_cpu(int fd, std::uint32_t handle) override {
    // Lines that the program has written and not yet handed over must not be lost when PREP_BO
    // throws away what the caches hold [rocket_gem.c; arm64 arch_sync_dma_for_cpu].
    drm_rocket_fini_bo fini{handle, 0};
    forward(fd, DRM_IOCTL_ROCKET_FINI_BO, fini);
    wait_for(fd, handle);
  }

  int call_submit(int fd, unsigned long request, void* argument, const drm_rocket_submit& submit);
  int one_job(int fd, const drm_rocket_submit& submit, std::uint64_t number, std::uint32_t index);
  std::string why_dropped(const drm_rocket_job& job, device::Job& out) const;

  std::uint32_t closing_ = 0;
};

// The kernel drops a job that makes no sense, and SUBMIT returns 0 all the same [rocket_job.c,
// rocket_ioctl_submit_job, rocket_copy_tasks; drm_gem_lock_reservations for a handle that is named
// twice]. Empty: it runs.
std::string RocketFile::why_dropped(const drm_rocket_job& job, device::Job& out) const {
  if (job.task_count == 0) return "it has no tasks";
  if (job.task_struct_size < sizeof(drm_rocket_task)) return "task_struct_size is too small";
  std::vector<drm_rocket_task> tasks;
  if (!read_list(job.tasks, job.task_count, job.task_struct_size, tasks))
    return "its tasks cannot be read";
  for (const drm_rocket_task& task : tasks) out.tasks.push_back({task.regcmd, task.regcmd_count});
  if (!read_list(job.in_bo_handles, job.in_bo_handle_count, 4, out.in_handles) ||
      !read_list(job.out_bo_handles, job.out_bo_handle_count, 4, out.out_handles))
    return "its handles cannot be read";
  for (const device::Task& task : out.tasks)
    if (task.regcmd_count == 0) return "a task has no words";
  std::set<std::uint32_t> seen;
  for (const auto* list : {&out.in_handles, &out.out_handles})
    for (const std::uint32_t handle : *list) {
      if (!has_buffer(handle)) return "handle " + std::to_string(handle) + " is unknown";
      if (!seen.insert(handle).second)
        return "handle " + std::to_string(handle) + " stands in it twice";
    }
  return {};
}

int RocketFile::call_submit(int fd, unsigned long request, void* argument,
                            const drm_rocket_submit& submit) {
  // What the kernel refuses as a whole goes there as a whole.
  bool sound = submit.reserved == 0 && submit.job_struct_size >= sizeof(drm_rocket_job) &&
               submit.job_count != 0 && submit.job_count <= kMostElements;
  for (std::uint32_t i = 0; sound && i < submit.job_count; ++i) {
    drm_rocket_job job;
    sound =
        copy_from_user(&job, submit.jobs + std::uint64_t{i} * submit.job_struct_size, sizeof job);
  }
  if (!sound) return NEXT(ioctl)(fd, request, argument);
  const std::uint64_t number = next_submit();
  for (std::uint32_t i = 0; i < submit.job_count; ++i)
    if (const int result = one_job(fd, submit, number, i); result != 0) return result;
  return 0;
}

int RocketFile::one_job(int fd, const drm_rocket_submit& submit, std::uint64_t number,
                        std::uint32_t index) {
  drm_rocket_submit alone = submit;
  alone.jobs = submit.jobs + std::uint64_t{index} * submit.job_struct_size;
  alone.job_count = 1;
  drm_rocket_job job{};
  if (!copy_from_user(&job, alone.jobs, sizeof job)) return errno = EFAULT, -1;
  device::CaptureJob event;
  event.file = this->number();
  event.submit = number;
  event.index = index;
  const std::string reason = why_dropped(job, event.job);
  record_host_writes();
  record([&](device::CaptureWriter& writer, std::uint32_t process) {
    writer.begin_job(process, event);
  });  // in the file before it runs: it may be the last that this machine does

  std::optional<Fence> fence;
  std::uint32_t wait_handle = 0;
  if (reason.empty()) {
    if (event.job.out_handles.empty()) {
      fence.emplace(fd);
      if ((wait_handle = fence->handle()) != 0) {
        job.out_bo_handles = reinterpret_cast<std::uintptr_t>(&wait_handle);
        job.out_bo_handle_count = 1;
        alone.jobs = reinterpret_cast<std::uintptr_t>(&job);
        alone.job_struct_size = sizeof job;
      }
    } else {
      wait_handle = event.job.out_handles.front();
    }
  }
  take_sim_note();
  event.start_ns = monotonic_ns();
  const int result = forward(fd, DRM_IOCTL_ROCKET_SUBMIT, alone);
  const int saved = errno;
  const bool waited = result == 0 && wait_handle != 0 && wait_for(fd, wait_handle);
  event.end_ns = monotonic_ns();
  const SimNote note = take_sim_note();
  if (result != 0) {
    event.outcome = Outcome::dropped;
    event.note = "SUBMIT failed: " + std::string(std::strerror(saved));
  } else if (!reason.empty()) {
    event.outcome = Outcome::dropped;
    event.note = reason;
  } else if (note.outcome != Outcome::done) {
    event.outcome = note.outcome;
    event.note = note.text;
  } else if (!waited) {
    event.note = "there was nothing to wait for";
  } else if (!simulated() && event.end_ns - event.start_ns >= kDriverTimeoutNs) {
    event.outcome = Outcome::timed_out;
    event.note = "inferred: it took as long as the driver's timeout";
  } else {
    event.outcome = Outcome::done;
  }
  record(
      [&](device::CaptureWriter& writer, std::uint32_t process) { writer.end_job(process, event); },
      true);
  if (event.outcome != Outcome::dropped) record_device_writes(fd);
  record([](device::CaptureWriter&, std::uint32_t) {});
  errno = saved;
  return result;
}

}  // namespace

std::shared_ptr<CapturedFile> make_rocket_file(std::string path, std::uint32_t number) {
  return std::make_shared<RocketFile>("rocket", std::move(path), number);
}

}  // namespace npu::preload
