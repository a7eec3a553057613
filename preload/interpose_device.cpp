// SPDX-License-Identifier: MIT
// libc's functions that act on descriptors and memory.
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "preload/device_files.hpp"
#include "preload/interpose.hpp"
#include "preload/raw_syscall.hpp"

using namespace npu::preload;

// close -----------------------------------------------------------------------------------------

EXPORT int close(int fd) {
  const bool was_ours = is_device(fd);
  const int result = NEXT(close)(fd);
  if (was_ours) descriptors_changed();
  return result;
}
EXPORT int dup2(int from, int to) {
  const bool was_ours = from != to && is_device(to);
  const int result = NEXT(dup2)(from, to);
  if (was_ours) descriptors_changed();
  return result;
}
EXPORT int dup3(int from, int to, int flags) noexcept {
  const bool was_ours = is_device(to);
  const int result = NEXT(dup3)(from, to, flags);
  if (was_ours) descriptors_changed();
  return result;
}
EXPORT int fclose(FILE* file) {
  const bool was_ours = file != nullptr && is_device(fileno(file));
  const int result = NEXT(fclose)(file);
  if (was_ours) descriptors_changed();
  return result;
}
EXPORT int close_range(unsigned first, unsigned last, int flags) noexcept {
  const int result = NEXT(close_range)(first, last, flags);
  descriptors_changed();
  return result;
}
EXPORT void closefrom(int low) noexcept {
  NEXT(closefrom)(low);
  descriptors_changed();
}

// the device ------------------------------------------------------------------------------------

EXPORT int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list list;
  va_start(list, request);
  void* argument = va_arg(list, void*);
  va_end(list);
  if (is_device(fd)) return device_ioctl(fd, request, argument);
  return NEXT(ioctl)(fd, request, argument);
}

#define DEFINE_MMAP(name)                                                                         \
  EXPORT void* name(void* at, size_t bytes, int prot, int flags, int fd, off_t offset) noexcept { \
    const bool device = fd >= 0 && (flags & MAP_ANONYMOUS) == 0 && is_device(fd);                 \
    MapTarget target{fd, static_cast<std::uint64_t>(offset)};                                     \
    if (device) {                                                                                 \
      if (const int error = check_mapping(fd, bytes, flags, offset, target))                      \
        return errno = error, MAP_FAILED;                                                         \
    }                                                                                             \
    void* address =                                                                               \
        NEXT(name)(at, bytes, prot, flags, target.fd, static_cast<off_t>(target.offset));         \
    if (address == MAP_FAILED) return address;                                                    \
    if ((flags & MAP_FIXED) != 0) unmapped(address, bytes);                                       \
    if (device) mapped(fd, address, bytes, offset);                                               \
    return address;                                                                               \
  }
DEFINE_MMAP(mmap)
DEFINE_MMAP(mmap64)
EXPORT int munmap(void* address, size_t bytes) noexcept {
  const int result = NEXT(munmap)(address, bytes);
  if (result == 0) unmapped(address, bytes);
  return result;
}
EXPORT void* mremap(void* address, size_t bytes, size_t new_bytes, int flags, ...) noexcept {
  va_list list;
  va_start(list, flags);
  void* to = (flags & MREMAP_FIXED) != 0 ? va_arg(list, void*) : nullptr;
  va_end(list);
  const bool device = is_mapped(address);
  // VM_DONTEXPAND [drm_gem_shmem_mmap].
  if (device && new_bytes > bytes) return errno = EFAULT, MAP_FAILED;
  void* moved = NEXT(mremap)(address, bytes, new_bytes, flags, to);
  if (moved == MAP_FAILED) return moved;
  if ((flags & MREMAP_FIXED) != 0) unmapped(moved, new_bytes);
  if (device) remapped(address, bytes, moved, new_bytes);
  return moved;
}

// The wrapper by which programs make system calls that libc has no function for, or avoid the one
// that it has. What concerns us takes the ordinary way, with every library in front of us.

EXPORT long syscall(long number, ...) noexcept {
  va_list list;
  va_start(list, number);
  long a[6];
  for (long& x : a) x = va_arg(list, long);
  va_end(list);
  const auto text = [&](int i) { return reinterpret_cast<const char*>(a[i]); };
  const auto data = [&](int i) { return reinterpret_cast<void*>(a[i]); };
  const auto word = [&](int i) { return static_cast<int>(a[i]); };
  const auto size = [&](int i) { return static_cast<size_t>(a[i]); };
  switch (number) {
#ifdef SYS_open
    case SYS_open: return open(text(0), word(1), static_cast<mode_t>(a[2]));
    case SYS_dup2: return dup2(word(0), word(1));
    case SYS_stat: return stat(text(0), static_cast<struct stat*>(data(1)));
    case SYS_lstat: return lstat(text(0), static_cast<struct stat*>(data(1)));
    case SYS_access: return access(text(0), word(1));
    case SYS_readlink: return readlink(text(0), static_cast<char*>(data(1)), size(2));
#endif
    case SYS_openat: return openat(word(0), text(1), word(2), static_cast<mode_t>(a[3]));
    case SYS_close: return close(word(0));
    case SYS_close_range:
      return close_range(static_cast<unsigned>(a[0]), static_cast<unsigned>(a[1]), word(2));
    case SYS_dup3: return dup3(word(0), word(1), word(2));
    case SYS_fstat: return fstat(word(0), static_cast<struct stat*>(data(1)));
    case SYS_newfstatat:
      return fstatat(word(0), text(1), static_cast<struct stat*>(data(2)), word(3));
    case SYS_statx:
      return statx(word(0), text(1), word(2), static_cast<unsigned>(a[3]),
                   static_cast<struct statx*>(data(4)));
    case SYS_faccessat: return faccessat(word(0), text(1), word(2), 0);
    case SYS_readlinkat: return readlinkat(word(0), text(1), static_cast<char*>(data(2)), size(3));
    case SYS_ioctl: return ioctl(word(0), static_cast<unsigned long>(a[1]), data(2));
    case SYS_mmap:
      return reinterpret_cast<long>(mmap(data(0), size(1), word(2), word(3), word(4), a[5]));
    case SYS_munmap: return munmap(data(0), size(1));
    case SYS_mremap:
      return reinterpret_cast<long>(mremap(data(0), size(1), size(2), word(3), data(4)));
    default: return raw_syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  }
}
