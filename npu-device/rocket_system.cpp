// SPDX-License-Identifier: MIT
// The real system calls below the rocket backend.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xf86drm.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <utility>

#include "npu-device/rocket.hpp"

namespace npu::device {
namespace {

struct SystemIoctl final : Ioctl {
  int open(const char* path, int flags) override { return ::open(path, flags); }

  int ioctl(int fd, unsigned long request, void* argument) override {
    // Repeats after EINTR and EAGAIN.
    return ::drmIoctl(fd, request, argument);
  }

  void* mmap(std::size_t bytes, int fd, std::uint64_t offset) override {
    void* memory =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(offset));
    return memory == MAP_FAILED ? nullptr : memory;
  }

  int munmap(void* memory, std::size_t bytes) override { return ::munmap(memory, bytes); }
  int close(int fd) override { return ::close(fd); }

  int version(int fd, DriverVersion* version) override {
    errno = 0;
    drmVersionPtr drm = ::drmGetVersion(fd);
    if (!drm) {
      if (errno == 0) errno = ENOTTY;
      return -1;
    }
    version->name.assign(drm->name, static_cast<std::size_t>(std::max(drm->name_len, 0)));
    version->major = drm->version_major;
    version->minor = drm->version_minor;
    version->patch = drm->version_patchlevel;
    ::drmFreeVersion(drm);
    return 0;
  }

  std::vector<std::string> nodes() override {
    std::vector<std::pair<unsigned, std::string>> found;
    std::error_code error;
    for (std::filesystem::directory_iterator it("/dev/accel", error), end; !error && it != end;
         it.increment(error)) {
      const std::string name = it->path().filename();
      if (!name.starts_with("accel")) continue;
      unsigned number = 0;
      const char* last = name.data() + name.size();
      const auto parsed = std::from_chars(name.data() + 5, last, number);
      if (parsed.ec == std::errc() && parsed.ptr == last) found.emplace_back(number, it->path());
    }
    std::sort(found.begin(), found.end());
    std::vector<std::string> paths;
    for (auto& [number, path] : found) paths.push_back(std::move(path));
    return paths;
  }

  unsigned cores() override {
    // Bound platform devices are links "fdab0000.npu" [names: dts node npu@fdab0000; inferred].
    unsigned count = 0;
    std::error_code error;
    for (std::filesystem::directory_iterator it("/sys/bus/platform/drivers/rocket", error), end;
         !error && it != end; it.increment(error)) {
      if (it->path().extension() == ".npu") ++count;
    }
    return count;
  }
};

}  // namespace

std::shared_ptr<Ioctl> system_ioctl() { return std::make_shared<SystemIoctl>(); }

}  // namespace npu::device
