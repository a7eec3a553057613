// SPDX-License-Identifier: MIT
// Semantics and errors: control-and-uapi.md E and the public sources of the vendor driver 0.9.8
// (rknpu_drv.c, rknpu_gem.c, rknpu_job.c, rknpu_mem.c); what DRM does for every driver:
// drm_ioctl.c.
#include "preload/rknpu_file.hpp"

#include <drm.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "preload/raw_syscall.hpp"
#include "preload/settings.hpp"
#include "preload/user_memory.hpp"
#include "regdb/error.hpp"

namespace npu::preload {
namespace {

constexpr std::uint32_t kHwVersion = 0x46495245;  // VERSION + VERSION_NUM [rock5b; liej6799's log]
constexpr int kMajor = 0, kMinor = 9, kPatch = 8;
constexpr const char* kDate = "20240828";
constexpr const char* kDescription = "RKNPU driver";
constexpr const char* kBusName = "fdab0000.npu";
// The operating point that boards run at: 1 GHz at 0.85 V [rkopnu dt overlay].
constexpr std::uint32_t kClockHz = 1'000'000'000, kMicrovolt = 850'000;

std::uintptr_t address(const void* p) { return reinterpret_cast<std::uintptr_t>(p); }

// drm_ioctl(): the number chooses, the caller's size decides how much is copied; what the driver
// wrote goes back even if it failed.
template <class T, class Function>
int with_argument(unsigned long request, void* argument, Function function) {
  T value;
  std::memset(static_cast<void*>(&value), 0, sizeof value);
  const std::size_t size = std::min<std::size_t>(_IOC_SIZE(request), sizeof value);
  if (!copy_from_user(&value, address(argument), size)) return -EFAULT;
  const int result = function(value);
  if (!copy_to_user(address(argument), &value, size)) return -EFAULT;
  return result;
}

int copy_string(const char* to, __kernel_size_t room, const char* text, __kernel_size_t& length) {
  const std::size_t size = std::strlen(text);
  const std::size_t n = std::min<std::size_t>(room, size);
  length = size;
  return n != 0 && to != nullptr && !copy_to_user(address(to), text, n) ? -EFAULT : 0;
}

}  // namespace

int RknpuFile::ioctl(int, unsigned long request, void* argument) {
  try {
    return kind_ == Kind::misc ? misc(request, argument) : drm(request, argument);
  } catch (const std::bad_alloc&) {
    return -ENOMEM;
  } catch (const Error& error) {
    log(error.what());
    return error.code() == ErrorCode::out_of_memory ? -ENOMEM : -EINVAL;
  }
}

int RknpuFile::drm(unsigned long request, void* argument) {
  if (_IOC_TYPE(request) != DRM_IOCTL_BASE) return -ENOTTY;
  switch (_IOC_NR(request)) {
    case _IOC_NR(DRM_IOCTL_VERSION):
      return with_argument<drm_version>(request, argument, [](drm_version& v) {
        v.version_major = kMajor;
        v.version_minor = kMinor;
        v.version_patchlevel = kPatch;
        if (const int e = copy_string(v.name, v.name_len, "rknpu", v.name_len)) return e;
        if (const int e = copy_string(v.date, v.date_len, kDate, v.date_len)) return e;
        return copy_string(v.desc, v.desc_len, kDescription, v.desc_len);
      });
    case _IOC_NR(DRM_IOCTL_GET_UNIQUE):
      if (kind_ == Kind::render) return -EACCES;
      return with_argument<drm_unique>(request, argument, [this](drm_unique& u) {
        const char* name = unique_known_ ? kBusName : "";
        // Only a buffer that takes it whole gets it [drm_getunique].
        const std::size_t room = u.unique_len >= std::strlen(name) ? u.unique_len : 0;
        return copy_string(u.unique, room, name, u.unique_len);
      });
    case _IOC_NR(DRM_IOCTL_SET_VERSION):
      if (kind_ == Kind::render) return -EACCES;
      return with_argument<drm_set_version>(request, argument, [this](drm_set_version& v) {
        const bool bad = v.drm_di_major != -1 &&
                         (v.drm_di_major != 1 || v.drm_di_minor < 0 || v.drm_di_minor > 4);
        if (!bad && v.drm_di_major == 1 && v.drm_di_minor >= 1) unique_known_ = true;
        v = {1, 4, kMajor, kMinor};
        return bad ? -EINVAL : 0;
      });
    case _IOC_NR(DRM_IOCTL_GET_CAP):
      return with_argument<drm_get_cap>(request, argument, [](drm_get_cap& cap) {
        switch (cap.capability) {
          case DRM_CAP_TIMESTAMP_MONOTONIC: cap.value = 1; return 0;
          case DRM_CAP_PRIME: cap.value = DRM_PRIME_CAP_IMPORT | DRM_PRIME_CAP_EXPORT; return 0;
          case DRM_CAP_SYNCOBJ:
          case DRM_CAP_SYNCOBJ_TIMELINE: cap.value = 0; return 0;
          default: return -EOPNOTSUPP;  // the others belong to displays
        }
      });
    case _IOC_NR(DRM_IOCTL_GEM_CLOSE):
      return with_argument<drm_gem_close>(request, argument,
                                          [this](drm_gem_close& c) { return destroy(c.handle); });
    case _IOC_NR(DRM_IOCTL_PRIME_HANDLE_TO_FD):
      return with_argument<drm_prime_handle>(request, argument, [this](drm_prime_handle& p) {
        return export_handle(p.handle, p.flags, p.fd);
      });
    case _IOC_NR(DRM_IOCTL_PRIME_FD_TO_HANDLE):
      return with_argument<drm_prime_handle>(
          request, argument, [this](drm_prime_handle& p) { return import_handle(p.fd, p.handle); });
    case _IOC_NR(DRM_IOCTL_RKNPU_ACTION):
      return with_argument<rknpu_action>(request, argument,
                                         [this](rknpu_action& a) { return action(a); });
    case _IOC_NR(DRM_IOCTL_RKNPU_SUBMIT):
      return with_argument<rknpu_submit>(request, argument,
                                         [this](rknpu_submit& s) { return submit(s); });
    case _IOC_NR(DRM_IOCTL_RKNPU_MEM_CREATE):
      return with_argument<rknpu_mem_create>(request, argument,
                                             [this](rknpu_mem_create& c) { return create(c); });
    case _IOC_NR(DRM_IOCTL_RKNPU_MEM_MAP):
      return with_argument<rknpu_mem_map>(request, argument,
                                          [this](rknpu_mem_map& m) { return map(m); });
    case _IOC_NR(DRM_IOCTL_RKNPU_MEM_DESTROY):
      return with_argument<rknpu_mem_destroy>(
          request, argument, [this](rknpu_mem_destroy& d) { return destroy(d.handle); });
    case _IOC_NR(DRM_IOCTL_RKNPU_MEM_SYNC):
      return with_argument<rknpu_mem_sync>(request, argument,
                                           [this](rknpu_mem_sync& s) { return sync(s); });
    default: return -EINVAL;  // not ENOTTY, which is for other types
  }
}

// The build without DRM looks at the number only.
int RknpuFile::misc(unsigned long request, void* argument) {
  switch (_IOC_NR(request)) {
    case _IOC_NR(IOCTL_RKNPU_ACTION):
      return with_argument<rknpu_action>(request, argument,
                                         [this](rknpu_action& a) { return action(a); });
    case _IOC_NR(IOCTL_RKNPU_SUBMIT):
      return with_argument<rknpu_submit>(request, argument,
                                         [this](rknpu_submit& s) { return submit(s); });
    case _IOC_NR(IOCTL_RKNPU_MEM_CREATE):
      return with_argument<rknpu_mem_create>(
          request, argument, [this](rknpu_mem_create& c) { return create_dma_buf(c); });
    case _IOC_NR(IOCTL_RKNPU_MEM_DESTROY):
      return with_argument<rknpu_mem_destroy>(request, argument, [this](rknpu_mem_destroy& d) {
        const std::lock_guard lock(mutex_);
        return session_.erase(d.obj_addr) != 0 ? 0 : -EINVAL;
      });
    case _IOC_NR(IOCTL_RKNPU_MEM_SYNC):
      return with_argument<rknpu_mem_sync>(request, argument, [](rknpu_mem_sync& s) {
        return rknpu_objects().find(s.obj_addr) ? 0 : -EINVAL;  // the dma-buf's own business
      });
    default: return -EINVAL;  // MEM_MAP too: the dma-buf is what a program maps
  }
}

int RknpuFile::action(rknpu_action& action) {
  switch (action.flags) {
    case RKNPU_GET_HW_VERSION: action.value = kHwVersion; return 0;
    case RKNPU_GET_DRV_VERSION: action.value = kMajor * 10000 + kMinor * 100 + kPatch; return 0;
    case RKNPU_GET_FREQ: action.value = kClockHz; return 0;
    case RKNPU_GET_VOLT: action.value = kMicrovolt; return 0;
    case RKNPU_ACT_RESET: shared_rknpu_machine()->reset(); return 0;
    // The RK3588 has no such counters: the driver warns and leaves the value alone.
    case RKNPU_ACT_CLR_TOTAL_RW_AMOUNT:
    case RKNPU_GET_DT_WR_AMOUNT:
    case RKNPU_GET_DT_RD_AMOUNT:
    case RKNPU_GET_WT_RD_AMOUNT:
    case RKNPU_GET_TOTAL_RW_AMOUNT: return 0;
    case RKNPU_GET_IOMMU_EN: action.value = 1; return 0;
    case RKNPU_SET_PROC_NICE:
      setpriority(PRIO_PROCESS, 0, static_cast<std::int32_t>(action.value));
      return 0;
    // Of 0.9.8's public sources some know them and some refuse them; a program that asks expects
    // that they work, and power is always on here.
    case RKNPU_POWER_ON:
    case RKNPU_POWER_OFF: return 0;
    // No SRAM is given to the NPU in the vendor's device tree.
    case RKNPU_GET_TOTAL_SRAM_SIZE:
    case RKNPU_GET_FREE_SRAM_SIZE:
    case RKNPU_GET_IOMMU_DOMAIN_ID: action.value = 0; return 0;
    case RKNPU_SET_IOMMU_DOMAIN_ID:
      return action.value < static_cast<std::uint32_t>(kRknpuDomains) ? 0 : -EINVAL;
    // Frequency and voltage cannot be set, and bandwidth priorities are another chip's.
    default: return -EINVAL;
  }
}

int RknpuFile::submit(rknpu_submit& args) {
  if (args.iommu_domain_id >= static_cast<std::uint32_t>(kRknpuDomains)) return -EINVAL;
  const auto machine = shared_rknpu_machine();
  if ((args.flags & RKNPU_JOB_FENCE_IN) != 0) {
    // A fence of ours has signalled by the time that anybody can hold it.
    if (!id_of(args.fence_fd)) return -EINVAL;
    args.fence_fd = -1;
  }
  int fence = -1;
  if ((args.flags & RKNPU_JOB_FENCE_OUT) != 0) {
    // Readable for poll(), as a sync_file whose job is done; ready when SUBMIT returns.
    fence = eventfd(1, EFD_CLOEXEC);
    if (fence < 0) return -errno;
    args.fence_fd = fence;
  }
  const int result = machine->submit(args);
  if (result != 0 && fence >= 0) {
    raw_syscall(SYS_close, fence);
    args.fence_fd = -1;
  }
  return result;
}

std::shared_ptr<RknpuObject> RknpuFile::object(std::uint32_t handle) {
  const std::lock_guard lock(mutex_);
  const auto it = handles_.find(handle);
  return it == handles_.end() ? nullptr : it->second;
}

std::uint32_t RknpuFile::add_handle(std::shared_ptr<RknpuObject> object) {
  const std::lock_guard lock(mutex_);
  std::uint32_t handle = 1;  // the lowest free one, as the kernel's idr
  for (const auto& [used, other] : handles_) {
    if (used != handle) break;
    ++handle;
  }
  handles_.emplace(handle, std::move(object));
  return handle;
}

int RknpuFile::create(rknpu_mem_create& create) {
  auto found = object(create.handle);  // a handle in use: its object is what is asked about
  if (!found) {
    int error = 0;
    found = rknpu_objects().create(create.size, create.flags, create.iommu_domain_id, error);
    if (!found) return error;
    create.handle = add_handle(found);
  }
  create.size = found->bytes;
  create.sram_size = 0;
  create.obj_addr = found->address;
  create.dma_addr = found->iova;
  return 0;
}

// Allocates a dma-buf, or takes the one that `handle` is a descriptor of.
int RknpuFile::create_dma_buf(rknpu_mem_create& create) {
  if ((create.flags & RKNPU_MEM_NON_CONTIGUOUS) != 0) return -EINVAL;
  std::shared_ptr<RknpuObject> source;
  if (create.handle > 0) {
    const auto id = id_of(static_cast<int>(create.handle));
    if (!id) return -EBADF;
    source = rknpu_objects().find(*id);
    if (!source) return -EINVAL;  // not a dma-buf
  }
  int error = 0;
  auto made = rknpu_objects().create(source ? source->bytes : create.size, create.flags,
                                     create.iommu_domain_id, error, source.get());
  if (!made) return error;
  if (!source) {
    const long fd = raw_syscall(SYS_fcntl, made->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return -EFAULT;
    create.handle = static_cast<std::uint32_t>(fd);
  }
  create.size = made->bytes;
  create.obj_addr = made->address;
  create.dma_addr = made->iova;
  const std::lock_guard lock(mutex_);
  session_.emplace(made->address, std::move(made));
  return 0;
}

int RknpuFile::map(rknpu_mem_map& map) {
  const auto found = object(map.handle);
  if (!found) return -ENOENT;
  map.offset = found->offset;
  return 0;
}

int RknpuFile::destroy(std::uint32_t handle) {
  std::shared_ptr<RknpuObject> gone;  // destroyed without the lock
  const std::lock_guard lock(mutex_);
  const auto it = handles_.find(handle);
  if (it == handles_.end()) return -EINVAL;
  gone = std::move(it->second);
  handles_.erase(it);
  return 0;
}

int RknpuFile::sync(const rknpu_mem_sync& sync) {
  if (sync.obj_addr == 0) return -EINVAL;
  const auto found = rknpu_objects().find(sync.obj_addr);
  if (!found) {
    log("MEM_SYNC: obj_addr names no buffer; the kernel of a board would follow it (Oops)");
    return -EFAULT;
  }
  // Memory that is not cached needs no sync, and the driver says so.
  return (found->flags & RKNPU_MEM_CACHEABLE) != 0 ? 0 : -EINVAL;
}

int RknpuFile::export_handle(std::uint32_t handle, std::uint32_t flags, int& fd) {
  if ((flags & ~std::uint32_t{DRM_CLOEXEC | DRM_RDWR}) != 0) return -EINVAL;
  const auto found = object(handle);
  if (!found) return -ENOENT;
  const int command = (flags & DRM_CLOEXEC) != 0 ? F_DUPFD_CLOEXEC : F_DUPFD;
  const long copy = raw_syscall(SYS_fcntl, found->fd, command, 0);
  if (copy < 0) return -errno;
  fd = static_cast<int>(copy);
  return 0;
}

int RknpuFile::import_handle(int fd, std::uint32_t& handle) {
  const auto id = id_of(fd);
  if (!id) return -EBADF;
  auto found = rknpu_objects().find(*id);
  if (!found) return -EINVAL;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [used, other] : handles_)
      if (other == found) return handle = used, 0;
  }
  handle = add_handle(std::move(found));
  return 0;
}

// The cookie belongs to the device, the right to use it to a file with a handle [drm_gem_mmap].
int RknpuFile::check_mapping(std::size_t bytes, int, std::uint64_t offset, MapTarget& target) {
  if (kind_ == Kind::misc) return ENODEV;
  const auto found = rknpu_objects().at_offset(offset);
  if (!found || bytes == 0 || bytes > found->bytes) return EINVAL;
  const std::lock_guard lock(mutex_);
  const bool allowed = std::any_of(handles_.begin(), handles_.end(),
                                   [&](const auto& entry) { return entry.second == found; });
  if (!allowed) return EACCES;
  target = {found->fd, 0};
  return 0;
}

void RknpuFile::add_mapping(std::uint64_t offset) {
  if (auto found = rknpu_objects().at_offset(offset)) {
    const std::lock_guard lock(mutex_);
    mapped_.emplace(offset, std::move(found));
  }
}

void RknpuFile::remove_mapping(std::uint64_t offset) {
  std::shared_ptr<RknpuObject> gone;
  const std::lock_guard lock(mutex_);
  const auto it = mapped_.find(offset);
  if (it == mapped_.end()) return;
  gone = std::move(it->second);
  mapped_.erase(it);
}

void RknpuFile::closed() {
  decltype(handles_) handles;
  decltype(session_) session;
  const std::lock_guard lock(mutex_);
  handles.swap(handles_);
  session.swap(session_);
}

std::shared_ptr<OpenFile> RknpuFile::in_child() const {
  auto copy = std::make_shared<RknpuFile>(kind_, number_);
  copy->handles_ = handles_;
  copy->session_ = session_;
  copy->mapped_ = mapped_;
  copy->unique_known_ = unique_known_;
  return copy;
}

}  // namespace npu::preload
