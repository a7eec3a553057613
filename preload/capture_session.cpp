// SPDX-License-Identifier: MIT
#include "preload/capture_session.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <optional>

#include "preload/raw_syscall.hpp"
#include "preload/sim_note.hpp"
#include "regdb/error.hpp"
#include "version.hpp"

namespace npu::preload {
namespace {

struct Session {
  std::string path;
  std::mutex mutex;
  std::optional<device::CaptureWriter> writer;
  bool begun = false;  // in this process
  std::atomic<bool> on{false};
};

// Never destroyed: programs use descriptors in their own exit handlers.
Session& session() {
  static Session* const s = [] {
    auto* fresh = new Session;
    if (const char* path = std::getenv("NPU_CAPTURE"); path != nullptr && *path != 0) {
      // The program may change its directory before it opens the device.
      char here[4096];
      if (*path != '/' && getcwd(here, sizeof here) != nullptr)
        fresh->path = std::string(here) + "/";
      fresh->path += path;
      fresh->on = true;
    }
    return fresh;
  }();
  return *s;
}

std::string command_line() {
  std::string words;
  const int fd = static_cast<int>(
      raw_syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC));
  if (fd < 0) return words;
  char buffer[4096];
  for (long n; (n = raw_syscall(SYS_read, fd, buffer, sizeof buffer)) > 0 && words.size() < 32768;)
    words.append(buffer, static_cast<std::size_t>(n));
  raw_syscall(SYS_close, fd);
  while (!words.empty() && words.back() == 0) words.pop_back();
  for (char& c : words)
    if (c == 0) c = ' ';
  return words;
}

// The writer's own system calls may come back to us as close() or openat(): librocket-sim.so makes
// those of syscall().
thread_local bool inside = false;

using TakeNote = int (*)(char*, std::size_t);
TakeNote take_note() {
  static const auto f = reinterpret_cast<TakeNote>(dlsym(RTLD_DEFAULT, kTakeNoteSymbol));
  return f;
}

}  // namespace

void complain(const std::string& message) {
  const std::string line = "librocket-capture: " + message + "\n";
  if (raw_syscall(SYS_write, STDERR_FILENO, line.data(), line.size()) < 0) return;
}

bool capturing() { return session().on; }

bool recording_here() { return inside; }

void record(const std::function<void(device::CaptureWriter&, std::uint32_t process)>& fill,
            bool later) {
  Session& s = session();
  if (!s.on) return;
  const int saved = errno;
  const std::lock_guard lock(s.mutex);
  inside = true;
  try {
    if (!s.writer) s.writer.emplace(s.path);
    fill(*s.writer, static_cast<std::uint32_t>(getpid()));
    if (!later) s.writer->flush();
  } catch (const std::exception& error) {
    if (s.on.exchange(false))
      complain(fmt::format("{}. The program goes on; what follows is not recorded.", error.what()));
  }
  inside = false;
  errno = saved;
}

bool begin_process() {
  Session& s = session();
  const std::lock_guard lock(s.mutex);
  return !std::exchange(s.begun, true);
}

device::CaptureStart describe_process(const std::string& driver, const std::string& path) {
  device::CaptureStart start;
  start.process = static_cast<std::uint32_t>(getpid());
  start.program = command_line();
  start.driver = driver;
  start.backend = simulated() ? "sim" : driver;
  start.path = path;
  start.provenance = simulated() ? "modelled" : "measured";
  utsname name;
  if (uname(&name) == 0) {
    start.machine = name.machine;
    start.kernel = name.release;
  }
  start.tool = "rosenblatt " + std::string(version);
  const time_t now = time(nullptr);
  tm utc;
  char text[32];
  if (gmtime_r(&now, &utc) != nullptr && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc))
    start.time = text;
  if (simulated()) {
    const char* cores = std::getenv("NPU_SIM_CORES");
    start.cores = cores != nullptr && *cores >= '1' && *cores <= '3' && cores[1] == 0
                      ? static_cast<std::uint32_t>(*cores - '0')
                      : 3;
  }
  return start;
}

bool simulated() { return take_note() != nullptr; }

SimNote take_sim_note() {
  SimNote note;
  if (!simulated()) return note;
  char text[1024];
  switch (static_cast<SimNoteKind>(take_note()(text, sizeof text))) {
    case SimNoteKind::none: return note;
    case SimNoteKind::dropped: note.outcome = device::CaptureJob::Outcome::dropped; break;
    case SimNoteKind::timed_out: note.outcome = device::CaptureJob::Outcome::timed_out; break;
    case SimNoteKind::faulted: note.outcome = device::CaptureJob::Outcome::faulted; break;
  }
  note.text = text;
  return note;
}

void lock_session() { session().mutex.lock(); }

void unlock_session(bool in_child) {
  if (in_child) session().begun = false;
  session().mutex.unlock();
}

}  // namespace npu::preload
