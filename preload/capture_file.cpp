// SPDX-License-Identifier: MIT
#include "preload/capture_file.hpp"

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

#include "preload/capture_real.hpp"
#include "preload/capture_session.hpp"
#include "preload/raw_syscall.hpp"
#include "preload/user_memory.hpp"

namespace npu::preload {
namespace {

constexpr std::size_t kBlock = 4096;
constexpr std::size_t kMostAtOnce = 64 * kBlock;

std::byte* anonymous(std::size_t bytes) {
  // Pages cost nothing until something is written to them.
  void* memory = reinterpret_cast<void*>(raw_syscall(
      SYS_mmap, nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L));
  return memory == MAP_FAILED ? nullptr : static_cast<std::byte*>(memory);
}

}  // namespace

std::uint64_t monotonic_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(now.tv_nsec);
}

WatchedBuffer::WatchedBuffer(int fd, std::uint64_t offset, std::uint64_t iova, std::size_t bytes)
    : iova_(iova), bytes_(bytes) {
  copy_ = anonymous(bytes);
  if (copy_ == nullptr) return;
  void* view = NEXT(mmap)(nullptr, bytes, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(offset));
  // Some drivers map for writing only what is to be written as well.
  if (view == MAP_FAILED)
    view = NEXT(mmap)(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                      static_cast<off_t>(offset));
  if (view != MAP_FAILED)
    view_ = static_cast<std::byte*>(view);
  else
    complain("a buffer cannot be mapped; what it holds is not recorded");
}

WatchedBuffer::~WatchedBuffer() {
  if (view_ != nullptr) NEXT(munmap)(view_, bytes_);
  if (copy_ != nullptr) raw_syscall(SYS_munmap, copy_, bytes_);
}

void WatchedBuffer::forget() {
  if (copy_ != nullptr) madvise(copy_, bytes_, MADV_DONTNEED);
}

void WatchedBuffer::record_changes(device::CaptureWrite::By by, std::uint32_t file,
                                   std::uint32_t handle) {
  if (view_ == nullptr) return;
  std::size_t first = 0, end = 0;  // of the blocks that wait to be recorded
  const auto give = [&] {
    if (first == end) return;
    auto bytes = std::make_shared<std::vector<std::byte>>(copy_ + first, copy_ + end);
    record_event(device::CaptureWrite{by, file, handle, first, std::move(bytes)}, true);
  };
  for (std::size_t at = 0; at < bytes_; at += kBlock) {
    const std::size_t n = std::min(kBlock, bytes_ - at);
    if (std::memcmp(view_ + at, copy_ + at, n) == 0) continue;
    if (at != end || end - first >= kMostAtOnce) {
      give();
      first = at;
    }
    // Other threads may be writing: what is recorded is what was copied.
    std::memcpy(copy_ + at, view_ + at, n);
    end = at + n;
  }
  give();
}

int CapturedFile::ioctl(int fd, unsigned long request, void* argument) {
  if (!capturing()) return NEXT(ioctl)(fd, request, argument);
  device::CaptureIoctl event;
  event.file = number_;
  event.thread = static_cast<std::uint32_t>(raw_syscall(SYS_gettid));
  event.request = static_cast<std::uint32_t>(request);
  const auto user = reinterpret_cast<std::uintptr_t>(argument);
  const auto look = [&](std::vector<std::byte>& bytes) {
    bytes.resize(_IOC_SIZE(request));
    if (!bytes.empty() && !copy_from_user(bytes.data(), user, bytes.size())) bytes.clear();
  };
  const int before = errno;
  look(event.before);
  std::unique_lock lock(mutex_, std::defer_lock);
  if (watches(request)) lock.lock();
  event.start_ns = monotonic_ns();
  errno = before;
  const int result =
      lock.owns_lock() ? call(fd, request, argument) : NEXT(ioctl)(fd, request, argument);
  const int saved = errno;
  event.end_ns = monotonic_ns();
  event.result = result < 0 ? -saved : result;
  look(event.after);
  const std::vector<std::byte> changed = event.after;
  record_event(std::move(event), lock.owns_lock());
  if (lock.owns_lock()) {
    if (result >= 0 && changed.size() == _IOC_SIZE(request)) after(fd, request, changed.data());
    record([](device::CaptureWriter&, std::uint32_t) {});  // to the file, all of it
  }
  errno = saved;
  return result;
}

void CapturedFile::record_host_writes() {
  for (auto& [handle, buffer] : buffers_)
    buffer->record_changes(device::CaptureWrite::By::host, number_, handle);
}

void CapturedFile::record_device_writes(int fd) {
  for (auto& [handle, buffer] : buffers_) {
    sync_for_cpu(fd, handle);
    buffer->record_changes(device::CaptureWrite::By::device, number_, handle);
  }
}

void CapturedFile::add_buffer(int fd, std::uint32_t handle, std::uint64_t iova, std::size_t bytes,
                              std::uint64_t offset) {
  record_event(device::CaptureCreate{number_, handle, iova, bytes}, true);
  buffers_[handle] = std::make_unique<WatchedBuffer>(fd, offset, iova, bytes);
}

void CapturedFile::remove_buffer(std::uint32_t handle) {
  if (buffers_.erase(handle) != 0) record_event(device::CaptureDestroy{number_, handle}, true);
}

std::vector<std::uint32_t> CapturedFile::handles() const {
  std::vector<std::uint32_t> all;
  for (const auto& [handle, buffer] : buffers_) all.push_back(handle);
  return all;
}

void CapturedFile::record_inherited() {
  record_event(device::CaptureOpen{number_}, true);
  submits_ = 0;
  for (auto& [handle, buffer] : buffers_) {
    record_event(device::CaptureCreate{number_, handle, buffer->iova(), buffer->bytes()}, true);
    buffer->forget();
    buffer->record_changes(device::CaptureWrite::By::host, number_, handle);
  }
}

namespace {

class PlainFile final : public CapturedFile {
 public:
  using CapturedFile::CapturedFile;

 private:
  int call(int fd, unsigned long request, void* argument) override {
    return NEXT(ioctl)(fd, request, argument);
  }
  void after(int, unsigned long, const void*) override {}
  bool watches(unsigned long) const override { return false; }
  void sync_for_cpu(int, std::uint32_t) override {}
};

}  // namespace

std::shared_ptr<CapturedFile> make_plain_file(std::string driver, std::string path,
                                              std::uint32_t number) {
  return std::make_shared<PlainFile>(std::move(driver), std::move(path), number);
}

}  // namespace npu::preload
