// SPDX-License-Identifier: MIT
// Semantics and errors: control-and-uapi.md C (rocket_gem.c, rocket_job.c, drm_gem.c).
#include "preload/device_file.hpp"

#include <drm.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "preload/raw_syscall.hpp"
#include "preload/settings.hpp"
#include "preload/sim_note.hpp"
#include "preload/user_memory.hpp"
#include "preload/virtual_files.hpp"
#include "regdb/error.hpp"

namespace npu::preload {
namespace {

constexpr auto whole_pages = sim::AddressSpace::whole_pages;
// Cookies of real nodes begin behind the lowest 4 GiB [DRM_FILE_PAGE_OFFSET_START on 64-bit]; a
// program must take them as given, and whole.
constexpr std::uint64_t kFirstOffset = std::uint64_t{1} << 32;
// After fork() parent and child both go on to make buffers in the one memfd that they share: each
// in a part of its own, so that none gets the other's pages.
constexpr unsigned kPartBits = 40;
// A hostile count must not make us allocate gigabytes: the kernel's kvmalloc would refuse, too.
constexpr std::uint64_t kMostElements = 1u << 20;

// `count` elements of T, `stride` bytes apart in the caller's memory.
template <class T>
int read_array(std::uint64_t address, std::uint32_t count, std::uint32_t stride,
               std::vector<T>& out) {
  if (count > kMostElements) return -ENOMEM;
  out.resize(count);
  for (std::uint32_t i = 0; i < count; ++i)
    if (!copy_from_user(&out[i], address + std::uint64_t{i} * stride, sizeof(T))) return -EFAULT;
  return 0;
}

int copy_string(std::uint64_t to, __kernel_size_t room, const char* text, __kernel_size_t* length) {
  const std::size_t size = std::strlen(text);
  const std::size_t n = room < size ? room : size;
  *length = size;
  return n != 0 && to != 0 && !copy_to_user(to, text, n) ? -EFAULT : 0;
}

// What DRM's core says to its other ioctls on a node whose driver has buffers and jobs, and neither
// displays nor sync objects; nobody is master of it [drm_ioctl.c, drm_ioctl_permit()].
int core_error(unsigned nr) {
  switch (nr) {
    case _IOC_NR(DRM_IOCTL_SET_VERSION):
    case _IOC_NR(DRM_IOCTL_SET_UNIQUE):
    case _IOC_NR(DRM_IOCTL_BLOCK):
    case _IOC_NR(DRM_IOCTL_UNBLOCK):
    case _IOC_NR(DRM_IOCTL_AUTH_MAGIC):
    case _IOC_NR(DRM_IOCTL_SET_MASTER):
    case _IOC_NR(DRM_IOCTL_DROP_MASTER):
    case _IOC_NR(DRM_IOCTL_ADD_DRAW):
    case _IOC_NR(DRM_IOCTL_RM_DRAW):
    case _IOC_NR(DRM_IOCTL_GEM_FLINK):
    case _IOC_NR(DRM_IOCTL_GEM_OPEN): return -EACCES;
    case _IOC_NR(DRM_IOCTL_SET_CLIENT_CAP):
    case _IOC_NR(DRM_IOCTL_WAIT_VBLANK): return -EOPNOTSUPP;
    default: break;
  }
  // Modes, planes, frame buffers and leases, and sync objects among them.
  const bool display = nr >= _IOC_NR(DRM_IOCTL_MODE_GETRESOURCES) &&
                       nr <= _IOC_NR(DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL);
  return display ? -EOPNOTSUPP : -EINVAL;
}

}  // namespace

DeviceFile::DeviceFile(std::shared_ptr<device::SimMachine> machine)
    : file_(std::make_unique<device::SimFile>(std::move(machine))), end_(kFirstOffset) {}

DeviceFile::DeviceFile(const DeviceFile& parent, ForkedTag)
    : places_(parent.places_),
      end_((static_cast<std::uint64_t>(getpid()) << kPartBits) + kFirstOffset),
      last_fd_(parent.last_fd_) {}

dev_t DeviceFile::number() const { return makedev(kAccelMajor, kAccelMinor); }

device::SimFile& DeviceFile::file() {
  if (!file_) {
    file_ = std::make_unique<device::SimFile>(shared_machine());
    for (const auto& [offset, place] : places_)
      if (place.handle != 0) file_->restore_bo(place.handle, place.iova, place.bytes, place.pages);
  }
  return *file_;
}

int DeviceFile::ioctl(int fd, unsigned long request, void* argument) {
  last_fd_ = fd;
  // As drm_ioctl(): the number chooses, the caller's size decides how much is copied.
  if (_IOC_TYPE(request) != DRM_IOCTL_BASE) return -ENOTTY;
  const auto user = reinterpret_cast<std::uintptr_t>(argument);
  const auto take = [&](auto& value) {
    std::memset(&value, 0, sizeof value);
    const std::size_t size = std::min<std::size_t>(_IOC_SIZE(request), sizeof value);
    return copy_from_user(&value, user, size) ? 0 : -EFAULT;
  };
  const auto give = [&](const auto& value) {
    const std::size_t size = std::min<std::size_t>(_IOC_SIZE(request), sizeof value);
    return copy_to_user(user, &value, size) ? 0 : -EFAULT;
  };
  try {
    switch (_IOC_NR(request)) {
      case _IOC_NR(DRM_IOCTL_VERSION): return version(argument);
      case _IOC_NR(DRM_IOCTL_GET_CAP): {
        drm_get_cap cap;
        if (const int error = take(cap)) return error;
        switch (cap.capability) {
          case DRM_CAP_TIMESTAMP_MONOTONIC: cap.value = 1; break;
          case DRM_CAP_PRIME: cap.value = 3; break;  // generic import and export
          case DRM_CAP_SYNCOBJ:
          case DRM_CAP_SYNCOBJ_TIMELINE: cap.value = 0; break;
          default: return -EOPNOTSUPP;  // the others belong to displays
        }
        return give(cap);
      }
      case _IOC_NR(DRM_IOCTL_GEM_CLOSE): {
        drm_gem_close close;
        if (const int error = take(close)) return error;
        return close_bo(close.handle);
      }
      case _IOC_NR(DRM_IOCTL_ROCKET_CREATE_BO): {
        drm_rocket_create_bo create;
        if (const int error = take(create)) return error;
        if (const int error = create_bo(fd, create)) return error;
        return give(create);
      }
      case _IOC_NR(DRM_IOCTL_ROCKET_SUBMIT): {
        drm_rocket_submit s;
        if (const int error = take(s)) return error;
        return submit(s);
      }
      case _IOC_NR(DRM_IOCTL_ROCKET_PREP_BO): {
        drm_rocket_prep_bo prep;
        if (const int error = take(prep)) return error;
        return prep_bo(prep);
      }
      case _IOC_NR(DRM_IOCTL_ROCKET_FINI_BO): {
        drm_rocket_fini_bo fini;
        if (const int error = take(fini)) return error;
        return fini_bo(fini);
      }
      case _IOC_NR(DRM_IOCTL_GET_CLIENT): {
        drm_client client;
        if (const int error = take(client)) return error;
        if (client.idx != 0) return -EINVAL;
        client = {};
        client.auth = geteuid() == 0;
        client.pid = static_cast<unsigned long>(getpid());
        client.uid = 65534;  // the kernel does not tell
        return give(client);
      }
      case _IOC_NR(DRM_IOCTL_GET_STATS): return give(drm_stats{});
      case _IOC_NR(DRM_IOCTL_PRIME_HANDLE_TO_FD): {
        drm_prime_handle prime;
        if (const int error = take(prime)) return error;
        return export_bo(prime);
      }
      case _IOC_NR(DRM_IOCTL_PRIME_FD_TO_HANDLE): {
        drm_prime_handle prime;
        if (const int error = take(prime)) return error;
        // The driver cannot import: neither what is no dma-buf nor one of another device.
        return raw_syscall(SYS_fcntl, prime.fd, F_GETFD) < 0 ? -EBADF : -EINVAL;
      }
      default: return core_error(_IOC_NR(request));
    }
  } catch (const std::bad_alloc&) {
    return -ENOMEM;
  } catch (const Error& error) {
    log(error.what());
    return error.code() == ErrorCode::out_of_memory ? -ENOMEM : -EINVAL;
  }
}

int DeviceFile::version(void* argument) {
  drm_version v{};
  const auto user = reinterpret_cast<std::uintptr_t>(argument);
  if (!copy_from_user(&v, user, sizeof v)) return -EFAULT;
  v.version_major = v.version_minor = v.version_patchlevel = 0;
  const auto at = [](const char* p) {
    return static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(p));
  };
  if (const int e = copy_string(at(v.name), v.name_len, "rocket", &v.name_len)) return e;
  if (const int e = copy_string(at(v.date), v.date_len, "0", &v.date_len)) return e;
  if (const int e = copy_string(at(v.desc), v.desc_len, "rocket DRM", &v.desc_len)) return e;
  return copy_to_user(user, &v, sizeof v) ? 0 : -EFAULT;
}

int DeviceFile::create_bo(int fd, drm_rocket_create_bo& create) {
  // No mmap offset can be had for no pages [drm_gem_create_mmap_offset, drm_mm.c].
  if (create.size == 0) return -ENOSPC;
  if (create.size > device::kMaxBufferBytes) return -ENOMEM;
  const std::lock_guard lock(mutex_);
  device::SimFile& sim = file();
  const std::uint64_t bytes = whole_pages(create.size);
  const std::uint64_t offset = end_;
  // Not ftruncate(): another process may have made the file longer, and it must not become shorter.
  if (raw_syscall(SYS_pwrite64, fd, "", 1, offset + bytes - 1) != 1) return -ENOMEM;
  // The plain system calls: those of libc are interposed.
  void* memory =
      reinterpret_cast<void*>(raw_syscall(SYS_mmap, nullptr, bytes, PROT_READ | PROT_WRITE,
                                          MAP_SHARED, fd, static_cast<off_t>(offset)));
  if (memory == MAP_FAILED) return -ENOMEM;
  std::shared_ptr<std::byte[]> pages(static_cast<std::byte*>(memory),
                                     [bytes](std::byte* p) { raw_syscall(SYS_munmap, p, bytes); });
  try {
    create.handle = sim.create_bo(create.size, pages);
  } catch (const Error& error) {
    return error.code() == ErrorCode::out_of_memory ? -ENOSPC : -EINVAL;  // the window is full
  }
  create.dma_address = sim.find(create.handle)->iova;
  create.offset = offset;
  end_ = offset + bytes;
  places_.emplace(offset, Place{create.handle, static_cast<std::uint32_t>(create.dma_address),
                                create.size, 0, std::move(pages)});
  return 0;
}

int DeviceFile::close_bo(std::uint32_t handle) {
  const std::lock_guard lock(mutex_);
  if (!file().close_bo(handle)) return -EINVAL;
  for (auto it = places_.begin(); it != places_.end(); ++it) {
    if (it->second.handle != handle) continue;
    it->second.handle = 0;
    if (it->second.mappings == 0) release(it);
    break;
  }
  return 0;
}

// Nobody can reach the pages any more, but for jobs that still run; those have them mapped.
void DeviceFile::release(std::map<std::uint64_t, Place>::iterator place) {
  if (place->second.pages.use_count() == 1 && last_fd_ >= 0) {
    // If the descriptor is another file's by now, its inode differs and the hole must not be made;
    // the caller holds a descriptor of this file, which is the one that was used last.
    fallocate(last_fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
              static_cast<off_t>(place->first),
              static_cast<off_t>(whole_pages(place->second.bytes)));
  }
  places_.erase(place);
}

int DeviceFile::submit(const drm_rocket_submit& s) {
  if (s.job_count == 0) return 0;
  if (s.job_struct_size < sizeof(drm_rocket_job) || s.reserved != 0) return -EINVAL;
  std::vector<drm_rocket_job> jobs;
  if (const int error = read_array(s.jobs, s.job_count, s.job_struct_size, jobs)) return error;
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    // What is wrong inside of a job drops it, and SUBMIT says 0 all the same [rocket_job.c].
    const drm_rocket_job& job = jobs[i];
    const auto dropped = [&](const char* why) {
      leave_note(SimNoteKind::dropped, why);
      log("SUBMIT: the kernel drops job " + std::to_string(i) + " without a word: " + why);
    };
    device::Job out;
    std::vector<drm_rocket_task> tasks;
    if (job.task_count == 0 || job.task_struct_size < sizeof(drm_rocket_task)) {
      dropped("no tasks, or task_struct_size is too small");
      continue;
    }
    if (read_array(job.tasks, job.task_count, job.task_struct_size, tasks) != 0 ||
        read_array(job.in_bo_handles, job.in_bo_handle_count, 4, out.in_handles) != 0 ||
        read_array(job.out_bo_handles, job.out_bo_handle_count, 4, out.out_handles) != 0) {
      dropped("a pointer leads nowhere");
      continue;
    }
    for (const drm_rocket_task& task : tasks) out.tasks.push_back({task.regcmd, task.regcmd_count});
    try {
      file().submit(std::span(&out, 1));
    } catch (const Error& error) {
      dropped(error.what());
    }
  }
  return 0;
}

int DeviceFile::prep_bo(const drm_rocket_prep_bo& prep) {
  if (prep.reserved != 0) return -EINVAL;
  std::shared_ptr<device::SimBuffer> buffer;
  std::shared_ptr<device::SimMachine> machine;
  {
    const std::lock_guard lock(mutex_);
    buffer = file().find(prep.handle);
    machine = file().machine();
  }
  if (!buffer) return -ENOENT;
  using Clock = device::Device::Clock;
  const Clock::time_point deadline{
      std::chrono::nanoseconds(std::max<std::int64_t>(0, prep.timeout_ns))};
  const bool poll = deadline <= Clock::now();
  const auto fault = machine->wait(*buffer, deadline);
  if (!fault) return 0;
  if (fault->missed_deadline) return poll ? -EBUSY : -ETIMEDOUT;
  const bool hang = fault->code == ErrorCode::timeout;
  leave_note(hang ? SimNoteKind::timed_out : SimNoteKind::faulted, fault->message);
  log(fault->message);
  return 0;  // the kernel does not look at a fence's error
}

int DeviceFile::export_bo(const drm_prime_handle& prime) {
  if ((prime.flags & ~static_cast<unsigned>(DRM_CLOEXEC | DRM_RDWR)) != 0) return -EINVAL;
  const std::lock_guard lock(mutex_);
  if (!file().find(prime.handle)) return -ENOENT;
  log("PRIME_HANDLE_TO_FD: a board exports the buffer; the simulated driver cannot");
  return -EOPNOTSUPP;
}

int DeviceFile::fini_bo(const drm_rocket_fini_bo& fini) {
  if (fini.reserved != 0) return -EINVAL;
  const std::lock_guard lock(mutex_);
  return file().find(fini.handle) ? 0 : -ENOENT;
}

int DeviceFile::check_mapping(std::size_t bytes, int flags, std::uint64_t offset, MapTarget&) {
  const std::lock_guard lock(mutex_);
  const auto it = places_.find(offset);
  if (it == places_.end() || it->second.handle == 0 || bytes == 0 ||
      bytes > whole_pages(it->second.bytes))
    return EINVAL;
  // Copy-on-write of a buffer makes no sense to a device [drm_gem_shmem_mmap].
  return (flags & MAP_TYPE) == MAP_PRIVATE ? EINVAL : 0;
}

void DeviceFile::add_mapping(std::uint64_t offset) {
  const std::lock_guard lock(mutex_);
  const auto it = places_.find(offset);
  if (it != places_.end()) ++it->second.mappings;
}

void DeviceFile::remove_mapping(std::uint64_t offset) {
  const std::lock_guard lock(mutex_);
  const auto it = places_.find(offset);
  if (it == places_.end() || it->second.mappings == 0) return;
  if (--it->second.mappings == 0 && it->second.handle == 0) release(it);
}

}  // namespace npu::preload
