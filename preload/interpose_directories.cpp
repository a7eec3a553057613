// SPDX-License-Identifier: MIT
// libc's functions that list directories.
#include <dirent.h>
#include <glob.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <set>

#include "preload/interpose.hpp"
#include "preload/raw_syscall.hpp"

namespace npu::preload {
namespace {

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

}  // namespace
}  // namespace npu::preload

using namespace npu::preload;

namespace {

DIR* make_directory(std::vector<std::string> names, int fd) {
  auto* dir = new Directory{std::move(names), fd, 0, {}, {}};
  const std::lock_guard lock(directories_mutex);
  directories().insert(dir);
  return reinterpret_cast<DIR*>(dir);
}

std::string without_slashes_behind(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  return std::string(path);
}

// A directory of the system's own that has entries of ours besides: /dev, /sys/class.
DIR* add_our_names(const char* path, DIR* real) {
  if (real == nullptr || *path != '/') return real;
  const std::vector<std::string> ours = names_added_to(without_slashes_behind(path));
  if (ours.empty()) return real;
  std::vector<std::string> names;
  while (const dirent64* entry = NEXT(readdir64)(real)) names.emplace_back(entry->d_name);
  for (const std::string& name : ours)
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  const int fd = static_cast<int>(raw_syscall(SYS_fcntl, NEXT(dirfd)(real), F_DUPFD_CLOEXEC, 0));
  NEXT(closedir)(real);
  return fd < 0 ? nullptr : make_directory(std::move(names), fd);
}

}  // namespace

EXPORT DIR* fdopendir(int fd) {
  const auto node = directory_of(fd);
  return node ? make_directory(list_directory(*node), fd)
              : add_our_names(path_of(fd).c_str(), NEXT(fdopendir)(fd));
}
EXPORT DIR* opendir(const char* path) {
  const auto node = node_at(AT_FDCWD, path);
  if (!node) return add_our_names(path, NEXT(opendir)(path));
  if (node->kind != NodeKind::directory) return errno = ENOTDIR, nullptr;
  const int fd = open_directory(*node, O_RDONLY | O_CLOEXEC);
  return fd < 0 ? nullptr : make_directory(list_directory(*node), fd);
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
  forget_directory(mine->fd);
  raw_syscall(SYS_close, mine->fd);
  delete mine;
  return 0;
}

#define DEFINE_READDIR_R(name, type, member)                            \
  EXPORT int name(DIR* dir, struct type* entry, struct type** result) { \
    Directory* mine = ours(dir);                                        \
    if (mine == nullptr) {                                              \
      using Next = int(DIR*, struct type*, struct type**);              \
      static auto* const next = next_definition<Next>(#name);           \
      return next(dir, entry, result);                                  \
    }                                                                   \
    *result = next_entry(*mine, mine->member);                          \
    if (*result != nullptr) {                                           \
      *entry = **result;                                                \
      *result = entry;                                                  \
    }                                                                   \
    return 0;                                                           \
  }
DEFINE_READDIR_R(readdir_r, dirent, entry)
DEFINE_READDIR_R(readdir64_r, dirent64, entry64)
EXPORT long telldir(DIR* dir) noexcept {
  const Directory* mine = ours(dir);
  return mine != nullptr ? static_cast<long>(mine->next) : NEXT(telldir)(dir);
}
EXPORT void seekdir(DIR* dir, long at) noexcept {
  Directory* mine = ours(dir);
  if (mine == nullptr) return NEXT(seekdir)(dir, at);
  if (at >= 0 && static_cast<std::size_t>(at) <= mine->names.size())
    mine->next = static_cast<std::size_t>(at);
}

// libc's own scandir() and glob() open directories behind the interposed functions' backs.

namespace {

template <class Entry, Entry* (*read)(DIR*)>
int scan(DIR* dir, Entry*** list, int (*filter)(const Entry*),
         int (*compare)(const Entry**, const Entry**)) {
  std::vector<Entry*> entries;
  while (Entry* entry = read(dir)) {
    if (filter != nullptr && filter(entry) == 0) continue;
    auto* copy = static_cast<Entry*>(std::malloc(sizeof(Entry)));
    if (copy == nullptr) break;
    std::memcpy(copy, entry, sizeof(Entry));
    entries.push_back(copy);
  }
  closedir(dir);
  *list = static_cast<Entry**>(std::calloc(entries.size() + 1, sizeof(Entry*)));
  if (*list == nullptr) {
    for (Entry* entry : entries) std::free(entry);
    return errno = ENOMEM, -1;
  }
  if (compare != nullptr)
    std::sort(entries.begin(), entries.end(),
              [&](const Entry* a, const Entry* b) { return compare(&a, &b) < 0; });
  std::copy(entries.begin(), entries.end(), *list);
  return static_cast<int>(entries.size());
}

bool has_ours(const char* path) {
  return path != nullptr && *path == '/' &&
         (node_at(AT_FDCWD, path) || !names_added_to(without_slashes_behind(path)).empty());
}

template <class Glob, class Entry, class Stat>
void use_ours(Glob& buffer, Entry* (*read)(DIR*), int (*stat_)(const char*, Stat*),
              int (*lstat_)(const char*, Stat*)) {
  buffer.gl_opendir = [](const char* path) -> void* { return opendir(path); };
  buffer.gl_closedir = [](void* dir) { closedir(static_cast<DIR*>(dir)); };
  buffer.gl_readdir = reinterpret_cast<decltype(buffer.gl_readdir)>(read);
  buffer.gl_stat = reinterpret_cast<decltype(buffer.gl_stat)>(stat_);
  buffer.gl_lstat = reinterpret_cast<decltype(buffer.gl_lstat)>(lstat_);
}

bool may_meet_ours(const char* pattern, int flags) {
  return pattern != nullptr && *pattern == '/' && (flags & GLOB_ALTDIRFUNC) == 0;
}

}  // namespace

EXPORT int scandir(const char* path, dirent*** list, int (*filter)(const dirent*),
                   int (*compare)(const dirent**, const dirent**)) {
  if (!has_ours(path)) return NEXT(scandir)(path, list, filter, compare);
  DIR* dir = opendir(path);
  return dir == nullptr ? -1 : scan<dirent, readdir>(dir, list, filter, compare);
}
EXPORT int scandir64(const char* path, dirent64*** list, int (*filter)(const dirent64*),
                     int (*compare)(const dirent64**, const dirent64**)) {
  if (!has_ours(path)) return NEXT(scandir64)(path, list, filter, compare);
  DIR* dir = opendir(path);
  return dir == nullptr ? -1 : scan<dirent64, readdir64>(dir, list, filter, compare);
}
EXPORT int glob(const char* pattern, int flags, int (*on_error)(const char*, int),
                glob_t* buffer) noexcept {
  if (!may_meet_ours(pattern, flags)) return NEXT(glob)(pattern, flags, on_error, buffer);
  use_ours<glob_t, dirent, struct stat>(*buffer, readdir, stat, lstat);
  return NEXT(glob)(pattern, flags | GLOB_ALTDIRFUNC, on_error, buffer);
}
EXPORT int glob64(const char* pattern, int flags, int (*on_error)(const char*, int),
                  glob64_t* buffer) noexcept {
  if (!may_meet_ours(pattern, flags)) return NEXT(glob64)(pattern, flags, on_error, buffer);
  use_ours<glob64_t, dirent64, struct stat64>(*buffer, readdir64, stat64, lstat64);
  return NEXT(glob64)(pattern, flags | GLOB_ALTDIRFUNC, on_error, buffer);
}
