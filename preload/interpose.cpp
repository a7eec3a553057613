// SPDX-License-Identifier: MIT
// libc's functions that a program meets the node and its sysfs entries through. Everything that is
// not ours goes on to the real ones, untouched.
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>

#include "preload/device_files.hpp"
#include "preload/file_id.hpp"
#include "preload/virtual_files.hpp"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace npu::preload {
namespace {

template <class F>
F* real(const char* name) {
  return reinterpret_cast<F*>(dlsym(RTLD_NEXT, name));
}
// NEXT(open)(path, flags): the next definition of a function, looked up once.
#define NEXT(name)                                                          \
  ([] {                                                                     \
    static const auto next = ::npu::preload::real<decltype(::name)>(#name); \
    return next;                                                            \
  }())

// Directories of ours that were opened: a memfd stands for each.
std::mutex open_directories_mutex;
std::map<FileId, std::string>& open_directories() {
  static auto* const all = new std::map<FileId, std::string>;
  return *all;
}
std::atomic<bool> any_directory{false};  // was ever opened: most programs never do

std::optional<Node> directory_of(int fd) {
  if (!any_directory) return std::nullopt;
  const auto id = id_of(fd);
  const std::lock_guard lock(open_directories_mutex);
  const auto it = id ? open_directories().find(*id) : open_directories().end();
  return it == open_directories().end() ? std::nullopt : find_node(it->second);
}

std::optional<Node> node_at(int dirfd, const char* path, bool follow = true) {
  if (path == nullptr) return std::nullopt;
  const int saved = errno;
  std::optional<Node> node;
  if (*path == '/') {
    node = find_node(path, follow);
  } else if (dirfd >= 0 && *path != 0) {
    if (const auto directory = directory_of(dirfd))
      node = find_node(directory->path + "/" + path, follow);
  }
  errno = saved;
  return node;
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

int text_file(const Node& node, int flags) {
  const int fd = memfd_create("sysfs", (flags & O_CLOEXEC) != 0 ? MFD_CLOEXEC : 0);
  if (fd < 0) return -1;
  const auto bytes = static_cast<ssize_t>(node.content.size());
  if (write(fd, node.content.data(), node.content.size()) != bytes || lseek(fd, 0, SEEK_SET) != 0) {
    syscall(SYS_close, fd);
    errno = EIO;
    return -1;
  }
  return fd;
}

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

// What stat() says of a node. Works for struct stat and struct stat64, which are alike on 64-bit.
template <class Stat>
void fill(const Node& node, Stat* st) {
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

// A directory of ours: its DIR* is told by its address.
struct Directory {
  std::vector<std::string> names;
  int fd = -1;
  std::size_t next = 0;
  dirent entry;
  dirent64 entry64;
};
std::mutex directories_mutex;
std::set<const void*>& directories() {
  static std::set<const void*>* const all = new std::set<const void*>;
  return *all;
}
Directory* ours(DIR* dir) {
  const std::lock_guard lock(directories_mutex);
  return directories().contains(dir) ? reinterpret_cast<Directory*>(dir) : nullptr;
}

template <class Entry>
Entry* next_entry(Directory& dir, Entry& entry) {
  if (dir.next == dir.names.size()) return nullptr;
  std::memset(&entry, 0, sizeof entry);
  const std::string& name = dir.names[dir.next++];
  entry.d_ino = dir.next;
  entry.d_off = static_cast<off_t>(dir.next);
  entry.d_reclen = sizeof entry;
  entry.d_type = DT_UNKNOWN;
  std::memcpy(entry.d_name, name.c_str(), name.size() + 1);
  return &entry;
}

ssize_t give_link(const Node& node, char* out, std::size_t room) {
  if (node.kind != NodeKind::link) return errno = EINVAL, -1;
  const std::size_t n = std::min(room, node.content.size());
  std::memcpy(out, node.content.data(), n);
  return static_cast<ssize_t>(n);
}

}  // namespace
}  // namespace npu::preload

using namespace npu::preload;

// open ------------------------------------------------------------------------------------------

namespace {
mode_t mode_of(int flags, va_list list) {
  const bool has_mode = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
  return has_mode ? static_cast<mode_t>(va_arg(list, int)) : 0;
}
}  // namespace

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
    const int result = NEXT(name)(dir, path, st, flags);                            \
    const bool empty = means_itself(path, flags);                                   \
    return empty ? as_device(dir, result, st) : result;                             \
  }
DEFINE_FSTATAT(fstatat, stat)
DEFINE_FSTATAT(fstatat64, stat64)

EXPORT int statx(int dir, const char* path, int flags, unsigned mask, struct statx* out) noexcept {
  const auto node = node_at(dir, path, (flags & AT_SYMLINK_NOFOLLOW) == 0);
  if (!node) {
    const int result = NEXT(statx)(dir, path, flags, mask, out);
    const bool empty = means_itself(path, flags);
    const auto number = empty ? device_number(dir) : std::nullopt;
    if (result == 0 && number) {
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
  if (!node) return NEXT(faccessat)(dir, path, mode, flags);
  if ((mode & X_OK) != 0 && node->kind != NodeKind::directory) return errno = EACCES, -1;
  if ((mode & W_OK) != 0 && node->kind != NodeKind::device) return errno = EACCES, -1;
  return 0;
}
EXPORT int access(const char* path, int mode) noexcept {
  if (!node_at(AT_FDCWD, path)) return NEXT(access)(path, mode);
  return faccessat(AT_FDCWD, path, mode, 0);
}

// directories, links ----------------------------------------------------------------------------

EXPORT DIR* fdopendir(int fd) {
  const auto node = directory_of(fd);
  if (!node) return NEXT(fdopendir)(fd);
  auto* dir = new Directory{list_directory(*node), fd, 0, {}, {}};
  const std::lock_guard lock(directories_mutex);
  directories().insert(dir);
  return reinterpret_cast<DIR*>(dir);
}
EXPORT DIR* opendir(const char* path) {
  const auto node = node_at(AT_FDCWD, path);
  if (!node) return NEXT(opendir)(path);
  if (node->kind != NodeKind::directory) return errno = ENOTDIR, nullptr;
  const int fd = open_directory(*node, O_RDONLY | O_CLOEXEC);
  return fd < 0 ? nullptr : fdopendir(fd);
}
EXPORT dirent* readdir(DIR* dir) {
  Directory* mine = ours(dir);
  return mine != nullptr ? next_entry(*mine, mine->entry) : NEXT(readdir)(dir);
}
EXPORT dirent64* readdir64(DIR* dir) {
  Directory* mine = ours(dir);
  return mine != nullptr ? next_entry(*mine, mine->entry64) : NEXT(readdir64)(dir);
}
EXPORT void rewinddir(DIR* dir) noexcept {
  if (Directory* mine = ours(dir))
    mine->next = 0;
  else
    NEXT(rewinddir)(dir);
}
EXPORT int dirfd(DIR* dir) noexcept {
  if (const Directory* mine = ours(dir)) return mine->fd;
  return NEXT(dirfd)(dir);
}
EXPORT int closedir(DIR* dir) {
  Directory* mine = ours(dir);
  if (mine == nullptr) return NEXT(closedir)(dir);
  {
    const std::lock_guard lock(directories_mutex);
    directories().erase(dir);
  }
  if (const auto id = id_of(mine->fd)) {
    const std::lock_guard lock(open_directories_mutex);
    open_directories().erase(*id);
  }
  syscall(SYS_close, mine->fd);
  delete mine;
  return 0;
}

EXPORT ssize_t readlink(const char* path, char* out, size_t room) noexcept {
  const auto node = node_at(AT_FDCWD, path, false);
  return node ? give_link(*node, out, room) : NEXT(readlink)(path, out, room);
}
EXPORT ssize_t readlinkat(int dir, const char* path, char* out, size_t room) noexcept {
  const auto node = node_at(dir, path, false);
  return node ? give_link(*node, out, room) : NEXT(readlinkat)(dir, path, out, room);
}
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
    if (device && address != MAP_FAILED) mapped(fd, address, bytes, offset);                      \
    return address;                                                                               \
  }
DEFINE_MMAP(mmap)
DEFINE_MMAP(mmap64)
EXPORT int munmap(void* address, size_t bytes) noexcept {
  const int result = NEXT(munmap)(address, bytes);
  if (result == 0) unmapped(address, bytes);
  return result;
}
