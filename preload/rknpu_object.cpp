// SPDX-License-Identifier: MIT
// Facts of rknpu_gem.c and of the kernel's dma-iommu, which places the buffers.
#include "preload/rknpu_object.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "preload/raw_syscall.hpp"
#include "preload/settings.hpp"
#include "regdb/error.hpp"

namespace npu::preload {
namespace {

constexpr auto whole_pages = sim::AddressSpace::whole_pages;
constexpr std::uint64_t kPage = sim::AddressSpace::kPageSize;
// Slab objects of this size are what the addresses step by [inferred]; any step would do.
constexpr std::uint64_t kObjectStep = 0x400;
// Programs expect that their own descriptors are the lowest free ones.
constexpr int kFirstHiddenFd = 512;

int hidden_descriptor(int fd) {
  int hidden = static_cast<int>(raw_syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, kFirstHiddenFd));
  if (hidden < 0) {
    // The limit of a shell is 1024 often, and a kernel's objects need no descriptors at all.
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
      limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 65536);
      setrlimit(RLIMIT_NOFILE, &limit);
      hidden = static_cast<int>(raw_syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, kFirstHiddenFd));
    }
  }
  if (hidden < 0) return fd;  // better a low one than none
  raw_syscall(SYS_close, fd);
  return hidden;
}

}  // namespace

RknpuObject::~RknpuObject() {
  if (owner != nullptr) {
    space->unmap(iova);
    owner->forget(*this);
  }
  pages.reset();
  if (fd >= 0) raw_syscall(SYS_close, fd);
}

// Not before the address is free again: a buffer of another thread may take it at once.
void RknpuObjects::forget(const RknpuObject& object) {
  const std::lock_guard lock(mutex_);
  objects_.erase(object.address);
  used_[object.domain].erase(object.iova);
}

sim::AddressSpace& RknpuObjects::space(int domain) {
  auto& space = spaces_[domain];
  if (!space) space = std::make_shared<sim::AddressSpace>();
  return *space;
}

std::shared_ptr<const sim::AddressSpace> RknpuObjects::domain(int id) {
  const std::lock_guard lock(mutex_);
  space(id);
  return spaces_[id];
}

// From the top of the 32-bit space downwards, aligned to the next power of two of the size
// [iommu_dma_alloc_iova, alloc_iova; mtx512's board shows buffers from 0xffff8000 on]. 0: none.
std::uint32_t RknpuObjects::free_iova(int domain, std::size_t bytes) const {
  const std::uint64_t alignment = std::bit_ceil(std::uint64_t{bytes});
  std::uint64_t end = sim::AddressSpace::kWindow;
  const auto fits = [&](std::uint64_t bottom) -> std::uint64_t {
    if (end < bytes) return 0;
    const std::uint64_t at = (end - bytes) / alignment * alignment;
    return at >= bottom ? at : 0;
  };
  const auto& used = used_[domain];
  for (auto it = used.rbegin(); it != used.rend(); ++it) {
    if (const auto at = fits(it->first + std::uint64_t{it->second}))
      return static_cast<std::uint32_t>(at);
    end = it->first;
  }
  return static_cast<std::uint32_t>(fits(kPage));
}

std::shared_ptr<RknpuObject> RknpuObjects::create(std::uint64_t bytes, std::uint32_t flags,
                                                  int domain, int& error,
                                                  const RknpuObject* shared) {
  error = -EINVAL;
  if (bytes == 0 || domain < 0 || domain >= kRknpuDomains) return nullptr;
  error = -ENOMEM;
  if (bytes >= sim::AddressSpace::kWindow) return nullptr;
  const std::size_t size = whole_pages(bytes);
  auto object = std::make_shared<RknpuObject>();
  const int fd = shared != nullptr
                     ? static_cast<int>(raw_syscall(SYS_fcntl, shared->fd, F_DUPFD_CLOEXEC, 0))
                     : memfd_create("rknpu", MFD_CLOEXEC);
  if (fd < 0) return nullptr;
  object->fd = hidden_descriptor(fd);
  if (shared == nullptr && ftruncate(object->fd, static_cast<off_t>(size)) != 0) return nullptr;
  // The plain system calls: those of libc are interposed.
  void* memory = reinterpret_cast<void*>(
      raw_syscall(SYS_mmap, nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, object->fd, 0));
  if (memory == MAP_FAILED) return nullptr;
  object->pages = std::shared_ptr<std::byte[]>(
      static_cast<std::byte*>(memory), [size](std::byte* p) { raw_syscall(SYS_munmap, p, size); });
  object->id = id_of(object->fd).value_or(FileId{});
  object->flags = flags;
  object->domain = domain;
  object->bytes = size;

  const std::lock_guard lock(mutex_);
  const std::uint32_t iova = free_iova(domain, size);
  if (iova == 0) return nullptr;
  try {
    space(domain).map(iova, object->pages, size);
  } catch (const Error& failure) {
    log(failure.what());
    return nullptr;
  }
  object->iova = iova;
  object->space = spaces_[domain];
  object->address = next_address_;
  object->offset = next_offset_;
  next_address_ += kObjectStep;
  next_offset_ += size;
  used_[domain].emplace(iova, size);
  objects_.emplace(object->address, Entry{object, object->offset, object->id});
  object->owner = this;
  error = 0;
  return object;
}

std::shared_ptr<RknpuObject> RknpuObjects::find(std::uint64_t address) const {
  const std::lock_guard lock(mutex_);
  const auto it = objects_.find(address);
  return it == objects_.end() ? nullptr : it->second.object.lock();
}

std::shared_ptr<RknpuObject> RknpuObjects::find(const FileId& id) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [address, entry] : objects_)
    if (entry.id == id)
      if (auto object = entry.object.lock()) return object;
  return nullptr;
}

std::shared_ptr<RknpuObject> RknpuObjects::at_offset(std::uint64_t offset) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [address, entry] : objects_)
    if (entry.offset == offset) return entry.object.lock();
  return nullptr;
}

void RknpuObjects::after_fork_in_child() {
  new (&mutex_) std::mutex;
  // A thread of the parent may have held an address space: the old ones are never touched again.
  for (auto& space : spaces_) {
    new std::shared_ptr<sim::AddressSpace>(std::move(space));
    space.reset();
  }
  for (const auto& [address, entry] : objects_) {
    const auto object = entry.object.lock();
    if (!object) continue;
    space(object->domain).map(object->iova, object->pages, object->bytes);
    new std::shared_ptr<sim::AddressSpace>(std::move(object->space));
    object->space = spaces_[object->domain];
  }
}

}  // namespace npu::preload
