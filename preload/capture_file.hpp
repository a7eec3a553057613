// SPDX-License-Identifier: MIT
// One open file of an NPU's node, as the recorder sees it: buffers with what they held when they
// were last looked at, and the driver's ioctls on their way to it.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "npu-device/capture.hpp"

namespace npu::preload {

/// A buffer: our own mapping of it, and a copy of what the capture says of it so far.
class WatchedBuffer {
 public:
  /// Maps it through a descriptor of its file; view() is null if that fails.
  WatchedBuffer(int fd, std::uint64_t offset, std::uint64_t iova, std::size_t bytes);
  ~WatchedBuffer();
  WatchedBuffer(const WatchedBuffer&) = delete;
  WatchedBuffer& operator=(const WatchedBuffer&) = delete;

  const std::byte* view() const { return view_; }
  std::uint64_t iova() const { return iova_; }
  std::size_t bytes() const { return bytes_; }

  /// Records what differs from the copy, block by block, and copies it.
  void record_changes(device::CaptureWrite::By by, std::uint32_t file, std::uint32_t handle);
  /// As if nothing had been recorded of it.
  void forget();

 private:
  std::byte* view_ = nullptr;
  std::byte* copy_ = nullptr;
  std::uint64_t iova_;
  std::size_t bytes_;
};

/// Thread safe, but for `number`, `begun` and the locks around fork().
class CapturedFile {
 public:
  CapturedFile(std::string driver, std::string path, std::uint32_t number)
      : number_(number), driver_(std::move(driver)), path_(std::move(path)) {}
  virtual ~CapturedFile() = default;
  CapturedFile(const CapturedFile&) = delete;
  CapturedFile& operator=(const CapturedFile&) = delete;

  std::uint32_t number() const { return number_; }
  const std::string& driver() const { return driver_; }
  const std::string& path() const { return path_; }
  std::mutex& mutex() { return mutex_; }

  /// Forwards an ioctl and records it: result as of ioctl(), errno set on -1.
  int ioctl(int fd, unsigned long request, void* argument);

  /// In a child: records what it inherited.
  void record_inherited();

 protected:
  /// With the lock held: what stands around a driver's own ioctls.
  virtual int call(int fd, unsigned long request, void* argument) = 0;
  /// After it was recorded, so that its effects stand behind it.
  virtual void after(int fd, unsigned long request, const void* argument) = 0;
  /// Whether call() and after() have something to do with it: others go on without the lock.
  virtual bool watches(unsigned long request) const = 0;

  void record_host_writes();
  /// `fd`: to hand the buffers' memory to the CPU.
  void record_device_writes(int fd);
  virtual void sync_for_cpu(int fd, std::uint32_t handle) = 0;

  void add_buffer(int fd, std::uint32_t handle, std::uint64_t iova, std::size_t bytes,
                  std::uint64_t offset);
  void remove_buffer(std::uint32_t handle);
  bool has_buffer(std::uint32_t handle) const { return buffers_.contains(handle); }
  const WatchedBuffer* buffer(std::uint32_t handle) const { return buffers_.at(handle).get(); }
  std::vector<std::uint32_t> handles() const;
  std::uint64_t next_submit() { return submits_++; }

 private:
  std::uint32_t number_;
  std::string driver_, path_;
  std::mutex mutex_;
  std::map<std::uint32_t, std::unique_ptr<WatchedBuffer>> buffers_;  // by handle
  std::uint64_t submits_ = 0;
};

/// Of the driver rocket.
std::shared_ptr<CapturedFile> make_rocket_file(std::string path, std::uint32_t number);
/// Of the vendor's driver, a node in /dev/dri.
std::shared_ptr<CapturedFile> make_rknpu_file(std::string path, std::uint32_t number);
/// Of a driver whose ioctls are recorded, but not understood.
std::shared_ptr<CapturedFile> make_plain_file(std::string driver, std::string path,
                                              std::uint32_t number);

std::uint64_t monotonic_ns();

}  // namespace npu::preload
