// SPDX-License-Identifier: MIT
// libc's functions that take paths: a program meets the nodes and the sysfs entries around them
// through these. What is not ours goes on to the real ones, untouched.
#include "preload/interpose.hpp"
#include "preload/open_mode.hpp"

#include <linux/limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>

#include "preload/device_files.hpp"
#include "preload/file_id.hpp"
#include "preload/raw_syscall.hpp"

namespace npu::preload {
namespace {

// Directories of ours that were opened: a memfd stands for each.
std::mutex open_directories_mutex;
std::map<FileId, std::string>& open_directories() {
  static auto* const all = new std::map<FileId, std::string>;
  return *all;
}
std::atomic<bool> any_directory{false};  // was ever opened: most programs never do

}  // namespace

std::optional<Node> directory_of(int fd) {
  if (!any_directory) return std::nullopt;
  const auto id = id_of(fd);
  const std::lock_guard lock(open_directories_mutex);
  const auto it = id ? open_directories().find(*id) : open_directories().end();
  return it == open_directories().end() ? std::nullopt : find_node(it->second);
}

std::string path_of(int fd) {
  const std::string link =
      fd == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/" + std::to_string(fd);
  char path[PATH_MAX];
  // Not readlink(): that is interposed.
  const long n = raw_syscall(SYS_readlinkat, AT_FDCWD, link.c_str(), path, sizeof path);
  return n > 0 && n < PATH_MAX ? std::string(path, static_cast<std::size_t>(n)) : std::string();
}

std::optional<Node> node_at(int dirfd, const char* path, bool follow) {
  if (path == nullptr || *path == 0) return std::nullopt;
  const int saved = errno;
  std::optional<Node> node;
  if (*path == '/') {
    node = find_node(path, follow);
  } else if (const auto directory = dirfd >= 0 ? directory_of(dirfd) : std::nullopt) {
    node = find_node(directory->path + "/" + path, follow);
  } else if (begins_like_a_node(path)) {
    if (const std::string base = path_of(dirfd); !base.empty())
      node = find_node(base + "/" + path, follow);
  }
  errno = saved;
  return node;
}

namespace {

// A name that one of our directories does not have.
bool missing(int dirfd, const char* path) {
  if (path == nullptr || *path == 0 || *path == '/' || !directory_of(dirfd)) return false;
  errno = ENOENT;
  return true;
}

}  // namespace

void forget_directory(int fd) {
  const auto id = id_of(fd);
  if (!id) return;
  const std::lock_guard lock(open_directories_mutex);
  open_directories().erase(*id);
}

int open_directory(const Node& node, int flags) {
  if ((flags & O_ACCMODE) != O_RDONLY) return errno = EISDIR, -1;
  const int fd = memfd_create("directory", (flags & O_CLOEXEC) != 0 ? MFD_CLOEXEC : 0);
  const auto id = id_of(fd);
  if (!id) return -1;
  const std::lock_guard lock(open_directories_mutex);
  open_directories()[*id] = node.path;
  any_directory = true;
  return fd;
}

namespace {

int text_file(const Node& node, int flags) {
  const int fd = memfd_create("sysfs", (flags & O_CLOEXEC) != 0 ? MFD_CLOEXEC : 0);
  if (fd < 0) return -1;
  const auto bytes = static_cast<ssize_t>(node.content.size());
  if (write(fd, node.content.data(), node.content.size()) != bytes || lseek(fd, 0, SEEK_SET) != 0) {
    raw_syscall(SYS_close, fd);
    errno = EIO;
    return -1;
  }
  return fd;
}

}  // namespace

int open_node(const Node& node, int flags) {
  switch (node.kind) {
    case NodeKind::device:
      if ((flags & O_DIRECTORY) != 0) return errno = ENOTDIR, -1;
      if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) return errno = EEXIST, -1;
      if ((flags & O_PATH) != 0) return errno = EACCES, -1;
      return open_device(node, flags);
    case NodeKind::text:
      if ((flags & O_ACCMODE) != O_RDONLY) return errno = EACCES, -1;
      if ((flags & O_DIRECTORY) != 0) return errno = ENOTDIR, -1;
      return text_file(node, flags);
    case NodeKind::directory: return open_directory(node, flags);
    case NodeKind::link: break;
  }
  return errno = ELOOP, -1;
}

namespace {

// What stat() says of a node. Works for struct stat and struct stat64, which are alike on 64-bit.
template <class Stat>
void fill_any(const Node& node, Stat* st) {
  std::memset(st, 0, sizeof *st);
  st->st_nlink = 1;
  st->st_blksize = 4096;
  std::uint64_t hash = 1469598103934665603u;
  for (const char c : node.path) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  st->st_ino = static_cast<ino_t>(hash >> 16);
  switch (node.kind) {
    case NodeKind::device:
      st->st_mode = S_IFCHR | 0666;
      st->st_rdev = makedev(node.major, node.minor);
      break;
    case NodeKind::text:
      st->st_mode = S_IFREG | 0444;
      st->st_size = 4096;  // as sysfs says of every file
      break;
    case NodeKind::directory: st->st_mode = S_IFDIR | 0755; break;
    case NodeKind::link:
      st->st_mode = S_IFLNK | 0777;
      st->st_size = static_cast<off_t>(node.content.size());
      break;
  }
}

// AT_EMPTY_PATH: the descriptor itself is meant.
bool means_itself(const char* path, int flags) {
  return (flags & AT_EMPTY_PATH) != 0 && (path == nullptr || *path == 0);
}

// A descriptor of ours is a memfd; programs must see a character device.
template <class Stat>
int as_device(int fd, int result, Stat* st) {
  if (result != 0) return result;
  const auto number = device_number(fd);
  if (!number) {
    if (const auto directory = directory_of(fd)) fill(*directory, st);
    return 0;
  }
  st->st_mode = S_IFCHR | 0666;
  st->st_rdev = *number;
  st->st_size = 0;
  st->st_blocks = 0;
  return 0;
}

ssize_t give_link(const Node& node, char* out, std::size_t room) {
  if (node.kind != NodeKind::link) return errno = EINVAL, -1;
  const std::size_t n = std::min(room, node.content.size());
  std::memcpy(out, node.content.data(), n);
  return static_cast<ssize_t>(n);
}

}  // namespace

void fill(const Node& node, struct stat* st) { fill_any(node, st); }
void fill(const Node& node, struct stat64* st) { fill_any(node, st); }

}  // namespace npu::preload

using namespace npu::preload;

// open ------------------------------------------------------------------------------------------

#define DEFINE_OPEN(name)                                                          \
  EXPORT int name(const char* path, int flags, ...) {                              \
    va_list list;                                                                  \
    va_start(list, flags);                                                         \
    const mode_t mode = mode_of(flags, list);                                      \
    va_end(list);                                                                  \
    if (const auto node = node_at(AT_FDCWD, path)) return open_node(*node, flags); \
    return NEXT(name)(path, flags, mode);                                          \
  }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)

#define DEFINE_OPENAT(name)                                                   \
  EXPORT int name(int dir, const char* path, int flags, ...) {                \
    va_list list;                                                             \
    va_start(list, flags);                                                    \
    const mode_t mode = mode_of(flags, list);                                 \
    va_end(list);                                                             \
    if (const auto node = node_at(dir, path)) return open_node(*node, flags); \
    if (missing(dir, path)) return -1;                                        \
    return NEXT(name)(dir, path, flags, mode);                                \
  }
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

// What _FORTIFY_SOURCE makes of open() without a mode.
EXPORT int __open_2(const char* path, int flags) { return open(path, flags); }
EXPORT int __open64_2(const char* path, int flags) { return open64(path, flags); }
EXPORT int __openat_2(int dir, const char* path, int flags) { return openat(dir, path, flags); }
EXPORT int __openat64_2(int dir, const char* path, int flags) { return openat64(dir, path, flags); }

#define DEFINE_FOPEN(name)                                                                    \
  EXPORT FILE* name(const char* path, const char* mode) {                                     \
    const auto node = node_at(AT_FDCWD, path);                                                \
    if (!node) return NEXT(name)(path, mode);                                                 \
    const bool writes = std::strpbrk(mode, "wa+") != nullptr;                                 \
    const int fd = open_node(*node, (writes ? O_RDWR : O_RDONLY) |                            \
                                        (std::strchr(mode, 'e') != nullptr ? O_CLOEXEC : 0)); \
    return fd < 0 ? nullptr : fdopen(fd, mode);                                               \
  }
DEFINE_FOPEN(fopen)
DEFINE_FOPEN(fopen64)

// stat ------------------------------------------------------------------------------------------

#define DEFINE_STAT(name, type, follow)                         \
  EXPORT int name(const char* path, struct type* st) noexcept { \
    const auto node = node_at(AT_FDCWD, path, follow);          \
    if (!node) return NEXT(name)(path, st);                     \
    fill(*node, st);                                            \
    return 0;                                                   \
  }
DEFINE_STAT(stat, stat, true)
DEFINE_STAT(stat64, stat64, true)
DEFINE_STAT(lstat, stat, false)
DEFINE_STAT(lstat64, stat64, false)

#define DEFINE_FSTAT(name, type)                      \
  EXPORT int name(int fd, struct type* st) noexcept { \
    return as_device(fd, NEXT(name)(fd, st), st);     \
  }
DEFINE_FSTAT(fstat, stat)
DEFINE_FSTAT(fstat64, stat64)

#define DEFINE_FSTATAT(name, type)                                                  \
  EXPORT int name(int dir, const char* path, struct type* st, int flags) noexcept { \
    if (const auto node = node_at(dir, path, (flags & AT_SYMLINK_NOFOLLOW) == 0)) { \
      fill(*node, st);                                                              \
      return 0;                                                                     \
    }                                                                               \
    if (missing(dir, path)) return -1;                                              \
    const int result = NEXT(name)(dir, path, st, flags);                            \
    const bool empty = means_itself(path, flags);                                   \
    return empty ? as_device(dir, result, st) : result;                             \
  }
DEFINE_FSTATAT(fstatat, stat)
DEFINE_FSTATAT(fstatat64, stat64)

// What programs call that were linked before glibc 2.33.
#define DEFINE_XSTAT(name, type, follow)                                                \
  EXPORT int name(int version, const char* path, struct type* st) {                     \
    using Next = int(int, const char*, struct type*);                                   \
    static auto* const next = next_definition<Next>(#name);                             \
    const auto node = node_at(AT_FDCWD, path, follow);                                  \
    if (!node) return next != nullptr ? next(version, path, st) : (errno = ENOSYS, -1); \
    fill(*node, st);                                                                    \
    return 0;                                                                           \
  }
DEFINE_XSTAT(__xstat, stat, true)
DEFINE_XSTAT(__xstat64, stat64, true)
DEFINE_XSTAT(__lxstat, stat, false)
DEFINE_XSTAT(__lxstat64, stat64, false)
EXPORT int __fxstat(int, int fd, struct stat* st) { return fstat(fd, st); }
EXPORT int __fxstat64(int, int fd, struct stat64* st) { return fstat64(fd, st); }
EXPORT int __fxstatat(int, int dir, const char* path, struct stat* st, int flags) {
  return fstatat(dir, path, st, flags);
}
EXPORT int __fxstatat64(int, int dir, const char* path, struct stat64* st, int flags) {
  return fstatat64(dir, path, st, flags);
}

EXPORT int statx(int dir, const char* path, int flags, unsigned mask, struct statx* out) noexcept {
  const auto node = node_at(dir, path, (flags & AT_SYMLINK_NOFOLLOW) == 0);
  if (!node) {
    if (missing(dir, path)) return -1;
    const int result = NEXT(statx)(dir, path, flags, mask, out);
    if (result != 0 || !means_itself(path, flags)) return result;
    if (const auto number = device_number(dir)) {
      out->stx_mode = S_IFCHR | 0666;
      out->stx_rdev_major = major(*number);
      out->stx_rdev_minor = minor(*number);
    }
    return result;
  }
  struct stat st;
  fill(*node, &st);
  std::memset(out, 0, sizeof *out);
  out->stx_mask = STATX_BASIC_STATS;
  out->stx_mode = static_cast<__u16>(st.st_mode);
  out->stx_ino = st.st_ino;
  out->stx_nlink = 1;
  out->stx_size = static_cast<__u64>(st.st_size);
  out->stx_blksize = 4096;
  if (node->kind == NodeKind::device) {
    out->stx_rdev_major = node->major;
    out->stx_rdev_minor = node->minor;
  }
  return 0;
}

EXPORT int faccessat(int dir, const char* path, int mode, int flags) noexcept {
  const auto node = node_at(dir, path);
  if (!node) return missing(dir, path) ? -1 : NEXT(faccessat)(dir, path, mode, flags);
  if ((mode & X_OK) != 0 && node->kind != NodeKind::directory) return errno = EACCES, -1;
  if ((mode & W_OK) != 0 && node->kind != NodeKind::device) return errno = EACCES, -1;
  return 0;
}
EXPORT int access(const char* path, int mode) noexcept {
  if (!node_at(AT_FDCWD, path)) return NEXT(access)(path, mode);
  return faccessat(AT_FDCWD, path, mode, 0);
}
// access() with the effective user, by its two names.
EXPORT int euidaccess(const char* path, int mode) noexcept {
  if (!node_at(AT_FDCWD, path)) return NEXT(euidaccess)(path, mode);
  return faccessat(AT_FDCWD, path, mode, AT_EACCESS);
}
EXPORT int eaccess(const char* path, int mode) noexcept { return euidaccess(path, mode); }

EXPORT ssize_t readlink(const char* path, char* out, size_t room) noexcept {
  const auto node = node_at(AT_FDCWD, path, false);
  return node ? give_link(*node, out, room) : NEXT(readlink)(path, out, room);
}
EXPORT ssize_t readlinkat(int dir, const char* path, char* out, size_t room) noexcept {
  const auto node = node_at(dir, path, false);
  if (node) return give_link(*node, out, room);
  return missing(dir, path) ? -1 : NEXT(readlinkat)(dir, path, out, room);
}
EXPORT ssize_t __readlink_chk(const char* path, char* out, size_t room, size_t size) noexcept {
  if (room > size) std::abort();
  return readlink(path, out, room);
}
EXPORT ssize_t __readlinkat_chk(int dir, const char* path, char* out, size_t room,
                                size_t size) noexcept {
  if (room > size) std::abort();
  return readlinkat(dir, path, out, room);
}
EXPORT char* canonicalize_file_name(const char* path) noexcept { return realpath(path, nullptr); }
EXPORT char* realpath(const char* path, char* out) noexcept {
  const auto node = node_at(AT_FDCWD, path);
  if (!node) return NEXT(realpath)(path, out);
  if (out == nullptr) return strdup(node->path.c_str());
  return std::strcpy(out, node->path.c_str());
}
EXPORT char* __realpath_chk(const char* path, char* out, size_t room) noexcept {
  if (room < PATH_MAX) std::abort();
  return realpath(path, out);
}
