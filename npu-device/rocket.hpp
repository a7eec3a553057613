// SPDX-License-Identifier: MIT
// The NPU behind the mainline `rocket` driver, and the seam below it that tests fill.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "npu-device/device.hpp"

namespace npu::device {

struct DriverVersion {
  std::string name;
  int major = 0, minor = 0, patch = 0;
};

/// The system calls that the backend makes. Calls report failure as libc does: -1 (nullptr for
/// mmap) with errno set. May be used from several threads.
struct Ioctl {
  virtual ~Ioctl() = default;
  virtual int open(const char* path, int flags) = 0;
  virtual int ioctl(int fd, unsigned long request, void* argument) = 0;
  virtual void* mmap(std::size_t bytes, int fd, std::uint64_t offset) = 0;
  virtual int munmap(void* memory, std::size_t bytes) = 0;
  virtual int close(int fd) = 0;
  /// DRM_IOCTL_VERSION; 0 on success.
  virtual int version(int fd, DriverVersion* version) = 0;
  /// Paths of the nodes /dev/accel/accel*, lowest number first.
  virtual std::vector<std::string> nodes() = 0;
  /// NPU cores bound to the driver, 0 if that cannot be found out.
  virtual unsigned cores() = 0;
};

/// libdrm and libc.
std::shared_ptr<Ioctl> system_ioctl();

/// Opens `path`, or, if that is empty, the first node whose driver is rocket. Throws no_device,
/// permission_denied, out_of_memory (no file descriptor left).
std::unique_ptr<Device> open_rocket(std::string_view path, std::shared_ptr<Ioctl> system);

}  // namespace npu::device
