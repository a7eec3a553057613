// SPDX-License-Identifier: MIT
// Buffer objects of the vendor driver. Unlike rocket's they belong to the device: every file of a
// process sees the same IOVAs, and the address of the driver's object names one wherever it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "npu-sim/address_space.hpp"
#include "preload/file_id.hpp"
#include "preload/rknpu_uapi.h"

namespace npu::preload {

/// Domains that MEM_CREATE and SUBMIT may name [rknpu_drv.h].
inline constexpr int kRknpuDomains = 16;

class RknpuObjects;

/// Whole pages in a memfd of its own, so that a mapping, a dma-buf and what fork() hands on are
/// the same memory. Lives as long as handles, mappings and jobs refer to it.
struct RknpuObject {
  std::uint64_t address = 0;  ///< obj_addr
  std::uint64_t offset = 0;   ///< cookie for mmap() on a DRM node
  std::uint32_t flags = 0;
  int domain = 0;
  std::uint32_t iova = 0;
  std::size_t bytes = 0;  ///< whole pages
  int fd = -1;
  FileId id{};  ///< of fd
  std::shared_ptr<std::byte[]> pages;
  std::shared_ptr<sim::AddressSpace> space;
  RknpuObjects* owner = nullptr;  ///< once it has its place

  RknpuObject() = default;
  RknpuObject(const RknpuObject&) = delete;
  RknpuObject& operator=(const RknpuObject&) = delete;
  ~RknpuObject();
};

/// The IOMMU domains and all objects of a process. Thread safe.
class RknpuObjects {
 public:
  /// MEM_CREATE: nullptr with a negative errno in `error`. `shared`: its pages, for an imported
  /// dma-buf.
  std::shared_ptr<RknpuObject> create(std::uint64_t bytes, std::uint32_t flags, int domain,
                                      int& error, const RknpuObject* shared = nullptr);
  std::shared_ptr<RknpuObject> find(std::uint64_t address) const;  ///< nullptr: none
  std::shared_ptr<RknpuObject> find(const FileId& id) const;
  std::shared_ptr<RknpuObject> at_offset(std::uint64_t offset) const;
  std::shared_ptr<const sim::AddressSpace> domain(int id);

  /// Around fork(): the child has the same objects in address spaces of its own.
  void before_fork() { mutex_.lock(); }
  void after_fork_in_parent() { mutex_.unlock(); }
  void after_fork_in_child();

 private:
  friend struct RknpuObject;
  struct Entry {
    std::weak_ptr<RknpuObject> object;
    std::uint64_t offset;
    FileId id;
  };
  void forget(const RknpuObject& object);
  std::uint32_t free_iova(int domain, std::size_t bytes) const;
  sim::AddressSpace& space(int domain);

  mutable std::mutex mutex_;
  std::map<std::uint64_t, Entry> objects_;  // by address, until they are destroyed
  std::map<std::uint32_t, std::size_t> used_[kRknpuDomains];  // IOVAs, likewise
  std::shared_ptr<sim::AddressSpace> spaces_[kRknpuDomains];
  std::uint64_t next_address_ = 0xffffff8102c00000;  // what slab addresses of arm64 look like
  std::uint64_t next_offset_ = 0x100000000;          // DRM_FILE_PAGE_OFFSET_START
};

}  // namespace npu::preload
