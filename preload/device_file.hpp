// SPDX-License-Identifier: MIT
// One open file of the node: the rocket driver's ioctls over the simulated machine.
#pragma once

#include <drm.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "npu-device/rocket_uapi.h"
#include "npu-device/sim_machine.hpp"
#include "preload/open_file.hpp"

namespace npu::preload {

/// The chip of this process. Throws npu::Error.
std::shared_ptr<device::SimMachine> shared_machine();

struct ForkedTag {};

/// Thread safe.
class DeviceFile final : public OpenFile {
 public:
  explicit DeviceFile(std::shared_ptr<device::SimMachine> machine);
  /// In a child: the same handles over the same memory, on the child's own chip.
  DeviceFile(const DeviceFile& parent, ForkedTag);
  DeviceFile(const DeviceFile&) = delete;
  DeviceFile& operator=(const DeviceFile&) = delete;

  dev_t number() const override;
  int ioctl(int fd, unsigned long request, void* argument) override;
  /// As mmap() on the node [drm_gem_mmap, drm_gem_shmem_mmap]; it maps the memfd as it is.
  int check_mapping(std::size_t bytes, int flags, std::uint64_t offset, MapTarget& target) override;
  void add_mapping(std::uint64_t offset) override;
  void remove_mapping(std::uint64_t offset) override;
  std::mutex& mutex() override { return mutex_; }
  std::shared_ptr<OpenFile> in_child() const override {
    return std::make_shared<DeviceFile>(*this, ForkedTag{});
  }

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
  int export_bo(const drm_prime_handle& prime);
  int version(void* argument);
  void release(std::map<std::uint64_t, Place>::iterator place);

  std::mutex mutex_;
  std::unique_ptr<device::SimFile> file_;  // null in a child until it is needed
  std::map<std::uint64_t, Place> places_;  // by mmap offset
  std::uint64_t end_ = 0;                  // of the memfd
  int last_fd_ = -1;                       // for punching holes
};

}  // namespace npu::preload
