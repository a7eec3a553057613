// SPDX-License-Identifier: MIT
#include "npu-device/mmio_devmem.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "regdb/error.hpp"

namespace npu::device {

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Mapping::~Mapping() { ::munmap(pages_, bytes_); }

void throw_open_error(const std::string& path, int error, const std::string& remedy) {
  const bool denied = error == EACCES || error == EPERM;
  throw Error(denied ? ErrorCode::permission_denied : ErrorCode::no_device,
              fmt::format("{}: {}; {}", path, std::strerror(error), remedy));
}

DevMem::DevMem(const std::string& path)
    // O_SYNC: registers must not be cached.
    : path_(path), fd_(::open(path.c_str(), O_RDWR | O_SYNC | O_CLOEXEC)) {
  if (fd_.get() < 0) {
    const int error = errno;
    throw_open_error(path, error,
                     error == ENOENT
                         ? "the kernel was built without CONFIG_DEVMEM; use a UIO device (uio=...)."
                         : "run as root (CAP_SYS_RAWIO), without kernel lockdown.");
  }
}

std::unique_ptr<Mapping> DevMem::map(std::uint64_t address, std::size_t bytes) const {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t start = address / page * page;
  const std::size_t size =
      static_cast<std::size_t>((address + bytes - start + page - 1) / page * page);
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(),
                        static_cast<off_t>(start));
  if (memory == MAP_FAILED) {
    const int error = errno;
    throw_open_error(
        fmt::format("{} at {:#x} (mmap)", path_, address), error,
        "the kernel guards what a driver has claimed (CONFIG_IO_STRICT_DEVMEM): unbind the driver "
        "or boot with iomem=relaxed.");
  }
  return std::make_unique<Mapping>(memory, size, static_cast<std::size_t>(address - start));
}

std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (in) text << in.rdbuf();
  std::string all = text.str();
  while (!all.empty() && (all.back() == '\n' || all.back() == '\0')) all.pop_back();
  return all;
}

}  // namespace npu::device
