// SPDX-License-Identifier: MIT
// One open file of the node: the rocket driver's ioctls over the simulated machine.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "npu-device/rocket_uapi.h"
#include "npu-device/sim_machine.hpp"

namespace npu::preload {

/// The chip of this process. Throws npu::Error.
std::shared_ptr<device::SimMachine> shared_machine();

struct ForkedTag {};

/// Thread safe.
class DeviceFile {
 public:
  explicit DeviceFile(std::shared_ptr<device::SimMachine> machine);
  /// In a child: the same handles over the same memory, on the child's own chip.
  DeviceFile(const DeviceFile& parent, ForkedTag);
  DeviceFile(const DeviceFile&) = delete;
  DeviceFile& operator=(const DeviceFile&) = delete;

  /// `fd`: any descriptor of this file. 0 or a negative errno.
  int ioctl(int fd, unsigned long request, void* argument);

  /// 0 or an errno, as mmap() on the node [drm_gem_mmap, drm_gem_shmem_mmap].
  int check_mapping(std::size_t bytes, int flags, std::uint64_t offset);
  void add_mapping(std::uint64_t offset);
  void remove_mapping(std::uint64_t offset);

  /// Held across fork(), so that the child copies whole tables.
  std::mutex& mutex() { return mutex_; }
  bool descends_from(const DeviceFile& other) const { return parent_ == &other; }

 private:
  // A buffer's place in the memfd. It outlives its handle while somebody has it mapped.
  struct Place {
    std::uint32_t handle = 0;  // 0: closed
    std::uint32_t iova = 0;
    std::size_t bytes = 0;
    unsigned mappings = 0;
    std::shared_ptr<std::byte[]> pages;
  };

  device::SimFile& file();
  int create_bo(int fd, drm_rocket_create_bo& create);
  int close_bo(std::uint32_t handle);
  int submit(const drm_rocket_submit& submit);
  int prep_bo(const drm_rocket_prep_bo& prep);
  int fini_bo(const drm_rocket_fini_bo& fini);
  int version(void* argument);
  void release(std::map<std::uint64_t, Place>::iterator place);

  std::mutex mutex_;
  std::unique_ptr<device::SimFile> file_;  // null in a child until it is needed
  std::map<std::uint64_t, Place> places_;  // by mmap offset
  std::uint64_t end_ = 0;                  // of the memfd
  int last_fd_ = -1;                       // for punching holes
  const DeviceFile* parent_ = nullptr;
};

}  // namespace npu::preload
