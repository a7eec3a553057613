// SPDX-License-Identifier: MIT
#include "preload/capture_descriptors.hpp"

#include <drm.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "preload/capture_real.hpp"
#include "preload/capture_session.hpp"
#include "preload/file_id.hpp"

namespace npu::preload {
namespace {

struct Open {
  std::shared_ptr<CapturedFile> file;
  FileId id;  // of the node: another one means that the number was used again
};

struct Table {
  std::mutex mutex;
  std::map<int, Open> descriptors;
  std::uint32_t next = 0;  // number of the next file
  std::atomic<unsigned> count{0};
  pid_t process = getpid();
  bool locked_for_fork = false;
  std::vector<std::shared_ptr<CapturedFile>> locked;
};

// Never destroyed: programs use descriptors in their own exit handlers.
Table& table() {
  static Table* const t = new Table;
  return *t;
}

// Between vfork() and exec() a child has our memory but descriptors of its own: what it closes is
// not closed here.
bool is_vfork_child(const Table& t) { return getpid() != t.process; }

// Whether descriptors of this thread are to be looked at at all.
bool elsewhere(const Table& t) { return recording_here() || is_vfork_child(t); }

void before_fork() {
  Table& t = table();
  if (t.locked_for_fork) return;
  // In this order everywhere: table, files, session. An ioctl holds its file for as long as a job
  // takes, and never asks for the table.
  t.mutex.lock();
  for (auto& [fd, open] : t.descriptors)
    if (std::find(t.locked.begin(), t.locked.end(), open.file) == t.locked.end())
      t.locked.push_back(open.file);
  for (const auto& file : t.locked) file->mutex().lock();
  lock_session();
  t.locked_for_fork = true;
}
void after_fork(bool in_child) {
  Table& t = table();
  if (!t.locked_for_fork) return;
  t.locked_for_fork = false;
  t.process = getpid();
  unlock_session(in_child);
  for (const auto& file : t.locked) file->mutex().unlock();
  t.locked.clear();
  t.mutex.unlock();
}
void after_fork_in_parent() { after_fork(false); }
void after_fork_in_child() { after_fork(true); }

// The driver's name; empty for anything but an NPU's node.
std::string npu_driver(int fd, const char* path) {
  struct stat64 st;
  // The interposed fstat(): librocket-sim's files must look like what they stand for.
  if (NEXT(fstat64)(fd, &st) != 0 || !S_ISCHR(st.st_mode)) return {};
  const unsigned major_number = major(st.st_rdev);
  // The vendor's driver has a misc device in kernels without DRM.
  if (major_number == 10 && std::string_view(path) == "/dev/rknpu") return "rknpu";
  if (major_number != 261 && major_number != 226) return {};  // accel, drm
  char name[16] = {};
  drm_version version{};
  version.name = name;
  version.name_len = sizeof name - 1;
  if (NEXT(ioctl)(fd, DRM_IOCTL_VERSION, &version) != 0) return {};
  const std::string driver = name;
  return driver == "rocket" || driver == "rknpu" ? driver : std::string();
}

void remove(Table& t, std::map<int, Open>::iterator it,
            std::vector<std::shared_ptr<CapturedFile>>& gone) {
  const auto file = it->second.file;
  t.descriptors.erase(it);
  t.count = static_cast<unsigned>(t.descriptors.size());
  for (const auto& [fd, open] : t.descriptors)
    if (open.file == file) return;
  gone.push_back(file);
}

// Without the table's lock: the file's own may be held for as long as a job takes.
void record_closes(const std::vector<std::shared_ptr<CapturedFile>>& gone) {
  for (const auto& file : gone) {
    const std::lock_guard lock(file->mutex());
    record_event(device::CaptureClose{file->number()});
  }
}

// With the table's lock.
void begin_stream(Table& t, const std::string& driver, const std::string& path) {
  if (!begin_process()) return;
  record_event(describe_process(driver, path), true);
  std::vector<CapturedFile*> inherited;
  for (const auto& [fd, open] : t.descriptors)
    if (std::find(inherited.begin(), inherited.end(), open.file.get()) == inherited.end())
      inherited.push_back(open.file.get());
  for (CapturedFile* file : inherited) {
    const std::lock_guard lock(file->mutex());
    file->record_inherited();
  }
}

}  // namespace

void opened(int fd, const char* path) {
  Table& t = table();
  if (fd < 0 || path == nullptr || !capturing() || elsewhere(t)) return;
  const int saved = errno;
  const std::string driver = npu_driver(fd, path);
  const auto id = driver.empty() ? std::nullopt : id_of(fd);
  if (id) {
    // Behind the handlers of librocket-sim, which open() has registered by now: those must run when
    // ours have stopped all ioctls. One of them per driver.
    static std::atomic<bool> registered[2] = {};
    if (!registered[driver == "rknpu" ? 1 : 0].exchange(true))
      pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    closed(static_cast<unsigned>(fd), static_cast<unsigned>(fd));
    const std::lock_guard lock(t.mutex);
    begin_stream(t, driver, path);
    const std::uint32_t number = t.next++;
    const bool misc = std::string_view(path) == "/dev/rknpu";  // its ioctls are others
    auto file = driver == "rocket" ? make_rocket_file(path, number)
                : misc             ? make_plain_file(driver, path, number)
                                   : make_rknpu_file(path, number);
    t.descriptors[fd] = {std::move(file), *id};
    t.count = static_cast<unsigned>(t.descriptors.size());
    record_event(device::CaptureOpen{number});
  }
  errno = saved;
}

void duplicated(int fd, int copy) {
  Table& t = table();
  if (copy < 0 || copy == fd || t.count == 0 || elsewhere(t)) return;
  const int saved = errno;
  closed(static_cast<unsigned>(copy), static_cast<unsigned>(copy));
  {
    const std::lock_guard lock(t.mutex);
    const auto it = t.descriptors.find(fd);
    if (it != t.descriptors.end()) t.descriptors[copy] = Open(it->second);
    t.count = static_cast<unsigned>(t.descriptors.size());
  }
  errno = saved;
}

void closed(unsigned first, unsigned last) {
  Table& t = table();
  if (t.count == 0 || elsewhere(t)) return;
  const int saved = errno;
  std::vector<std::shared_ptr<CapturedFile>> gone;
  {
    const std::lock_guard lock(t.mutex);
    const int low = first > INT32_MAX ? INT32_MAX : static_cast<int>(first);
    for (auto it = t.descriptors.lower_bound(low);
         it != t.descriptors.end() && static_cast<unsigned>(it->first) <= last;)
      remove(t, std::exchange(it, std::next(it)), gone);
  }
  record_closes(gone);
  errno = saved;
}

std::shared_ptr<CapturedFile> captured_file(int fd) {
  Table& t = table();
  if (t.count == 0 || elsewhere(t)) return nullptr;
  std::vector<std::shared_ptr<CapturedFile>> gone;
  std::shared_ptr<CapturedFile> file;
  {
    const std::lock_guard lock(t.mutex);
    const auto it = t.descriptors.find(fd);
    if (it == t.descriptors.end()) return nullptr;
    if (id_of(fd) == it->second.id)
      file = it->second.file;
    else
      remove(t, it, gone);  // closed by a system call that we did not see
  }
  record_closes(gone);
  if (file) {
    const std::lock_guard lock(t.mutex);
    begin_stream(t, file->driver(), file->path());
  }
  return file;
}

}  // namespace npu::preload
