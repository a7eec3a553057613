// SPDX-License-Identifier: MIT
// librocket-capture.so: the functions through which descriptors of an NPU come, multiply and go,
// and its ioctls. Everything is forwarded to the next library: libc, or librocket-sim.so.
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "preload/capture_descriptors.hpp"
#include "preload/capture_real.hpp"
#include "preload/open_mode.hpp"

#define EXPORT extern "C" __attribute__((visibility("default")))

using namespace npu::preload;

#define DEFINE_OPEN(name)                             \
  EXPORT int name(const char* path, int flags, ...) { \
    va_list list;                                     \
    va_start(list, flags);                            \
    const mode_t mode = mode_of(flags, list);         \
    va_end(list);                                     \
    const int fd = NEXT(name)(path, flags, mode);     \
    opened(fd, path);                                 \
    return fd;                                        \
  }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)

#define DEFINE_OPENAT(name)                                    \
  EXPORT int name(int dir, const char* path, int flags, ...) { \
    va_list list;                                              \
    va_start(list, flags);                                     \
    const mode_t mode = mode_of(flags, list);                  \
    va_end(list);                                              \
    const int fd = NEXT(name)(dir, path, flags, mode);         \
    opened(fd, path);                                          \
    return fd;                                                 \
  }
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

// What _FORTIFY_SOURCE makes of open() without a mode.
EXPORT int __open_2(const char* path, int flags) { return open(path, flags); }
EXPORT int __open64_2(const char* path, int flags) { return open64(path, flags); }
EXPORT int __openat_2(int dir, const char* path, int flags) { return openat(dir, path, flags); }
EXPORT int __openat64_2(int dir, const char* path, int flags) { return openat64(dir, path, flags); }

#define DEFINE_FOPEN(name)                                \
  EXPORT FILE* name(const char* path, const char* mode) { \
    FILE* file = NEXT(name)(path, mode);                  \
    if (file != nullptr) opened(fileno(file), path);      \
    return file;                                          \
  }
DEFINE_FOPEN(fopen)
DEFINE_FOPEN(fopen64)

EXPORT int dup(int fd) noexcept {
  const int copy = NEXT(dup)(fd);
  duplicated(fd, copy);
  return copy;
}
EXPORT int dup2(int fd, int to) noexcept {
  const int copy = NEXT(dup2)(fd, to);
  duplicated(fd, copy);
  return copy;
}
EXPORT int dup3(int fd, int to, int flags) noexcept {
  const int copy = NEXT(dup3)(fd, to, flags);
  duplicated(fd, copy);
  return copy;
}
#define DEFINE_FCNTL(name)                                                        \
  EXPORT int name(int fd, int command, ...) {                                     \
    va_list list;                                                                 \
    va_start(list, command);                                                      \
    void* argument = va_arg(list, void*);                                         \
    va_end(list);                                                                 \
    const int result = NEXT(name)(fd, command, argument);                         \
    if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) duplicated(fd, result); \
    return result;                                                                \
  }
DEFINE_FCNTL(fcntl)
DEFINE_FCNTL(fcntl64)

// The table first: when the driver's file goes, another thread may get the number at once.
EXPORT int close(int fd) {
  if (fd >= 0) closed(static_cast<unsigned>(fd), static_cast<unsigned>(fd));
  return NEXT(close)(fd);
}
EXPORT int fclose(FILE* file) {
  const int fd = file == nullptr ? -1 : fileno(file);
  if (fd >= 0) closed(static_cast<unsigned>(fd), static_cast<unsigned>(fd));
  return NEXT(fclose)(file);
}
EXPORT int close_range(unsigned first, unsigned last, int flags) noexcept {
#ifdef CLOSE_RANGE_CLOEXEC
  if ((flags & static_cast<int>(CLOSE_RANGE_CLOEXEC)) != 0)
    return NEXT(close_range)(first, last, flags);
#endif
  closed(first, last);
  return NEXT(close_range)(first, last, flags);
}
EXPORT void closefrom(int low) noexcept {
  closed(low < 0 ? 0 : static_cast<unsigned>(low), ~0u);
  NEXT(closefrom)(low);
}

EXPORT int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list list;
  va_start(list, request);
  void* argument = va_arg(list, void*);
  va_end(list);
  if (const auto file = captured_file(fd)) return file->ioctl(fd, request, argument);
  return NEXT(ioctl)(fd, request, argument);
}
