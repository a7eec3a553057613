// SPDX-License-Identifier: MIT
// Physical memory through /dev/mem.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace npu::device {

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  ~FileDescriptor();
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

/// A mapping that ends with the object.
class Mapping {
 public:
  /// `start` lies in a mapping of `bytes` from its page on.
  Mapping(void* pages, std::size_t bytes, std::size_t offset)
      : pages_(pages), bytes_(bytes), offset_(offset) {}
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  std::byte* data() const { return static_cast<std::byte*>(pages_) + offset_; }
  std::uint32_t read32(std::size_t offset) const {
    return *reinterpret_cast<volatile std::uint32_t*>(data() + offset);
  }
  void write32(std::size_t offset, std::uint32_t value) const {
    *reinterpret_cast<volatile std::uint32_t*>(data() + offset) = value;
  }

 private:
  void* pages_;
  std::size_t bytes_, offset_;
};

class DevMem {
 public:
  /// Throws no_device, permission_denied.
  explicit DevMem(const std::string& path);
  /// Throws permission_denied (the kernel guards the range), no_device.
  std::unique_ptr<Mapping> map(std::uint64_t address, std::size_t bytes) const;

 private:
  std::string path_;
  FileDescriptor fd_;
};

/// The whole of a small file of sysfs or procfs without the last newline; empty if there is none.
std::string read_text(const std::string& path);

/// Where a file cannot be opened: permission_denied or no_device with `remedy`.
[[noreturn]] void throw_open_error(const std::string& path, int error, const std::string& remedy);

}  // namespace npu::device
