// SPDX-License-Identifier: MIT
// Life of the files and their buffers; the ioctls are in device_file.cpp and rknpu_file.cpp.
#include "preload/device_files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <vector>

#include "preload/device_file.hpp"
#include "preload/file_id.hpp"
#include "preload/raw_syscall.hpp"
#include "preload/recording.hpp"
#include "preload/rknpu_file.hpp"
#include "preload/settings.hpp"

namespace npu::preload {
namespace {

struct Mapping {
  std::size_t bytes;
  std::shared_ptr<OpenFile> file;
  std::uint64_t offset;
};

struct Registry {
  std::mutex mutex;
  std::map<FileId, std::shared_ptr<OpenFile>> files;
  std::map<std::uintptr_t, Mapping> mappings;
  std::mutex machine_mutex;
  std::shared_ptr<device::SimMachine> machine;  // of this process
  std::shared_ptr<RknpuMachine> rknpu_machine;  // likewise
  RknpuObjects rknpu_objects;
  std::atomic<unsigned> count{0};  // of files, for the quick answer "none of ours"
  std::atomic<long> process = raw_syscall(SYS_getpid);

  // False in a child of vfork(), which runs in the memory of its parent: what it closes and unmaps
  // concerns its own descriptors only, and the parent's tables stay as they are.
  bool own_process() const { return process == raw_syscall(SYS_getpid); }
};

std::atomic<bool> any_mapping{false};  // was ever made: most programs never do

// Never destroyed: programs use descriptors in their own exit handlers.
Registry& registry() {
  static Registry* const r = new Registry;
  return *r;
}

std::shared_ptr<OpenFile> file_of(int fd) {
  Registry& r = registry();
  if (r.count == 0) return nullptr;
  const auto id = id_of(fd);
  if (!id) return nullptr;
  const std::lock_guard lock(r.mutex);
  const auto it = r.files.find(*id);
  return it == r.files.end() ? nullptr : it->second;
}

void before_fork() {
  Registry& r = registry();
  r.mutex.lock();
  for (auto& [id, file] : r.files) file->mutex().lock();
  r.machine_mutex.lock();
  r.rknpu_objects.before_fork();
}
void after_fork_in_parent() {
  Registry& r = registry();
  r.rknpu_objects.after_fork_in_parent();
  r.machine_mutex.unlock();
  for (auto& [id, file] : r.files) file->mutex().unlock();
  r.mutex.unlock();
}
// Threads of the simulated chip stay behind in the parent. Nothing of theirs may be touched, not
// even destroyed: the child begins with a chip of its own over the same memory.
void after_fork_in_child() {
  Registry& r = registry();
  r.process = raw_syscall(SYS_getpid);
  forget_recording();
  new (&r.mutex) std::mutex;
  new (&r.machine_mutex) std::mutex;
  new std::shared_ptr<device::SimMachine>(std::move(r.machine));  // kept for ever
  new std::shared_ptr<RknpuMachine>(std::move(r.rknpu_machine));
  r.rknpu_objects.after_fork_in_child();
  for (auto& [id, file] : r.files) {
    const auto parents = *new std::shared_ptr<OpenFile>(file);
    file = parents->in_child();
    for (auto& [address, mapping] : r.mappings)
      if (mapping.file == parents) mapping.file = file;
  }
}

}  // namespace

std::shared_ptr<device::SimMachine> shared_machine() {
  Registry& r = registry();
  const std::lock_guard lock(r.machine_mutex);
  if (r.machine) return r.machine;
  sim::ChipOptions options = settings().chip_options();
  options.observer = start_recording([] {
    return shared_machine()->drain(device::Device::Clock::now() + std::chrono::seconds(10));
  });
  return r.machine = std::make_shared<device::SimMachine>(device::SimOptions{.chip = options},
                                                          settings().hang_time);
}

std::shared_ptr<RknpuMachine> shared_rknpu_machine() {
  Registry& r = registry();
  const std::lock_guard lock(r.machine_mutex);
  if (r.rknpu_machine) return r.rknpu_machine;
  sim::ChipOptions options = settings().chip_options();
  options.observer = start_recording([] { return true; });  // SUBMIT returns when the job has ended
  return r.rknpu_machine =
             std::make_shared<RknpuMachine>(options, settings().hang_time, r.rknpu_objects);
}

RknpuObjects& rknpu_objects() { return registry().rknpu_objects; }

namespace {

std::shared_ptr<OpenFile> make_file(const Node& node) {
  const dev_t number = makedev(node.major, node.minor);
  switch (node.driver) {
    case NodeDriver::rocket: return std::make_shared<DeviceFile>(shared_machine());
    case NodeDriver::rknpu_card: return std::make_shared<RknpuFile>(RknpuFile::Kind::card, number);
    case NodeDriver::rknpu_render:
      return std::make_shared<RknpuFile>(RknpuFile::Kind::render, number);
    case NodeDriver::rknpu_misc: return std::make_shared<RknpuFile>(RknpuFile::Kind::misc, number);
  }
  return nullptr;
}

}  // namespace

int open_device(const Node& node, int flags) {
  static const int once = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  (void)once;
  const int fd = memfd_create("npu", (flags & O_CLOEXEC) != 0 ? MFD_CLOEXEC : 0);
  if (fd < 0) return -1;
  const auto id = id_of(fd);
  if (!id) return -1;
  std::shared_ptr<OpenFile> file;
  try {
    file = make_file(node);
  } catch (...) {
    raw_syscall(SYS_close, fd);
    errno = ENOMEM;
    return -1;
  }
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  r.files[*id] = std::move(file);
  ++r.count;
  return fd;
}

bool is_device(int fd) { return file_of(fd) != nullptr; }

std::optional<dev_t> device_number(int fd) {
  const auto file = file_of(fd);
  return file ? std::optional(file->number()) : std::nullopt;
}

int device_ioctl(int fd, unsigned long request, void* argument) {
  const auto file = file_of(fd);
  if (!file) {
    errno = EBADF;
    return -1;
  }
  const int result = file->ioctl(fd, request, argument);
  if (result >= 0) return result;
  errno = -result;
  return -1;
}

int check_mapping(int fd, std::size_t bytes, int flags, off_t offset, MapTarget& target) {
  const auto file = file_of(fd);
  if (!file) return EBADF;
  target = {fd, static_cast<std::uint64_t>(offset)};
  return file->check_mapping(bytes, flags, target.offset, target);
}

void mapped(int fd, void* address, std::size_t bytes, off_t offset) {
  auto file = file_of(fd);
  if (!file || !registry().own_process()) return;
  any_mapping = true;
  file->add_mapping(static_cast<std::uint64_t>(offset));
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  r.mappings[reinterpret_cast<std::uintptr_t>(address)] = {bytes, std::move(file),
                                                           static_cast<std::uint64_t>(offset)};
}

namespace {

std::uintptr_t whole_pages(std::size_t bytes) { return sim::AddressSpace::whole_pages(bytes); }

// Takes [first, last) out of the table. What is left of a mapping on either side stays; the parts
// that went, with the file that each belonged to, are what is returned.
std::vector<Mapping> take_out(Registry& r, std::uintptr_t first, std::uintptr_t last) {
  std::vector<Mapping> gone;
  auto it = r.mappings.upper_bound(first);
  if (it != r.mappings.begin()) --it;
  while (it != r.mappings.end() && it->first < last) {
    const std::uintptr_t begin = it->first, end = begin + whole_pages(it->second.bytes);
    if (end <= first) {
      ++it;
      continue;
    }
    Mapping mapping = std::move(it->second);
    it = r.mappings.erase(it);
    const auto keep = [&](std::uintptr_t from, std::uintptr_t to) {
      mapping.file->add_mapping(mapping.offset);
      r.mappings[from] = {to - from, mapping.file, mapping.offset};
    };
    if (begin < first) keep(begin, first);
    if (last < end) keep(last, end);
    gone.push_back(std::move(mapping));
  }
  return gone;
}

}  // namespace

void unmapped(void* address, std::size_t bytes) {
  Registry& r = registry();
  if (!any_mapping || !r.own_process()) return;
  std::vector<Mapping> gone;
  {
    const std::lock_guard lock(r.mutex);
    const auto first = reinterpret_cast<std::uintptr_t>(address);
    gone = take_out(r, first, first + whole_pages(bytes));
  }
  for (const Mapping& mapping : gone) mapping.file->remove_mapping(mapping.offset);
}

bool is_mapped(void* address) {
  Registry& r = registry();
  if (!any_mapping) return false;
  const std::lock_guard lock(r.mutex);
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  auto it = r.mappings.upper_bound(at);
  return it != r.mappings.begin() && at < (--it)->first + whole_pages(it->second.bytes);
}

void remapped(void* from, std::size_t bytes, void* to, std::size_t new_bytes) {
  Registry& r = registry();
  if (!r.own_process()) return;
  std::vector<Mapping> gone;
  {
    const std::lock_guard lock(r.mutex);
    const auto first = reinterpret_cast<std::uintptr_t>(from);
    gone = take_out(r, first, first + whole_pages(bytes));
    if (gone.empty()) return;
    // mremap() takes one mapping, or a part of one.
    gone.front().file->add_mapping(gone.front().offset);
    r.mappings[reinterpret_cast<std::uintptr_t>(to)] = {new_bytes, gone.front().file,
                                                        gone.front().offset};
  }
  for (const Mapping& mapping : gone) mapping.file->remove_mapping(mapping.offset);
}

void descriptors_changed() {
  Registry& r = registry();
  if (r.count == 0 || !r.own_process()) return;
  const int saved = errno;
  std::vector<std::shared_ptr<OpenFile>> gone;  // destroyed without the lock
  {
    const std::lock_guard lock(r.mutex);
    std::map<FileId, bool> alive;
    // Not opendir(): that is interposed, and this may run inside of it.
    const int dir = static_cast<int>(
        raw_syscall(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (dir < 0) {
      errno = saved;
      return;
    }
    alignas(8) char buffer[4096];
    for (;;) {
      const long n = raw_syscall(SYS_getdents64, dir, buffer, sizeof buffer);
      if (n <= 0) break;
      for (long at = 0; at < n;) {
        const auto* entry = reinterpret_cast<const struct dirent64*>(buffer + at);
        at += entry->d_reclen;
        char* end = nullptr;
        const long fd = std::strtol(entry->d_name, &end, 10);
        if (end == entry->d_name || *end != 0) continue;
        if (const auto id = id_of(static_cast<int>(fd))) alive[*id] = true;
      }
    }
    raw_syscall(SYS_close, dir);
    for (auto it = r.files.begin(); it != r.files.end();) {
      if (alive.contains(it->first)) {
        ++it;
        continue;
      }
      gone.push_back(std::move(it->second));
      it = r.files.erase(it);
      --r.count;
    }
  }
  for (const auto& file : gone) file->closed();
  gone.clear();
  errno = saved;
}

}  // namespace npu::preload
