// SPDX-License-Identifier: MIT
// capture: records what somebody else's program does with an NPU.
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ostream.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <ostream>

#include "npu-device/capture_reader.hpp"
#include "npu-device/capture_writer.hpp"
#include "npu-device/command_line.hpp"
#include "npu-device/device.hpp"
#include "npu-probe/preload_libraries.hpp"
#include "npu-probe/probe.hpp"
#include "npu-sim/injection.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::vector<std::string> program;
  std::string output, device, driver, inject, library, sim_library;
  unsigned cores = 3;
  bool force = false, quiet = false;
};

std::string size_of(std::uint64_t bytes) {
  if (bytes < 10'000) return fmt::format("{} bytes", bytes);
  if (bytes < 10'000'000) return fmt::format("{:.1f} kB", static_cast<double>(bytes) / 1e3);
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

// A header is enough to show that the file can be written; the program's processes append to it.
void begin_file(const Options& o) {
  std::error_code error;
  if (fs::exists(o.output, error) &&
      (!fs::is_regular_file(o.output, error) || (!o.force && fs::file_size(o.output, error) != 0)))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} exists; take another name, or --force to overwrite it", o.output));
  if (o.force) fs::remove(o.output, error);
  device::CaptureWriter(o.output).flush();
}

void prepare(const Options& o) {
  if (o.device == "sim") {
    add_to_ld_preload(preload_library("librocket-sim.so", o.sim_library));
    setenv("NPU_SIM_CORES", std::to_string(o.cores).c_str(), 1);
    if (!o.driver.empty()) setenv("NPU_SIM_DRIVER", o.driver.c_str(), 1);
    if (!o.inject.empty()) setenv("NPU_SIM_INJECT", o.inject.c_str(), 1);
    if (o.quiet) setenv("NPU_SIM_QUIET", "1", 1);
  } else {
    // The program may not say clearly what is missing.
    (void)device::open_device("rocket");
  }
  add_to_ld_preload(preload_library("librocket-capture.so", o.library));
  setenv("NPU_CAPTURE", fs::absolute(o.output).c_str(), 1);
}

// Exit code as a shell would tell it.
int run_program(const std::vector<std::string>& words) {
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  // What the terminal sends goes to both; the program decides what it means.
  const auto interrupt = signal(SIGINT, SIG_IGN), quit = signal(SIGQUIT, SIG_IGN);
  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0)
    throw Error(ErrorCode::out_of_memory, fmt::format("pipe: {}", std::strerror(errno)));
  static volatile pid_t child = 0;
  child = fork();
  if (child < 0)
    throw Error(ErrorCode::out_of_memory, fmt::format("fork: {}", std::strerror(errno)));
  if (child == 0) {
    signal(SIGINT, interrupt);
    signal(SIGQUIT, quit);
    signal(SIGPIPE, SIG_DFL);
    execvp(arguments[0], arguments.data());
    const int error = errno;
    if (write(report[1], &error, sizeof error) < 0) _exit(127);
    _exit(127);
  }
  close(report[1]);
  int error = 0;
  const bool started = read(report[0], &error, sizeof error) == 0;  // exec() closed the other end
  close(report[0]);
  const auto terminate = signal(SIGTERM, [](int number) { kill(child, number); });
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  signal(SIGTERM, terminate);
  signal(SIGQUIT, quit);
  signal(SIGINT, interrupt);
  if (!started)
    throw Error(ErrorCode::bad_file, fmt::format("{}: {}", words[0], std::strerror(error)));
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void summarize(const Options& o, std::ostream& err) {
  std::error_code error;
  const std::uint64_t size = fs::file_size(o.output, error);
  std::size_t jobs = 0, not_done = 0, processes = 0, files = 0;
  std::uint64_t bytes[2] = {};
  const device::Capture capture = device::read_capture(o.output);
  for (const device::CaptureEvent& event : capture.events) {
    if (std::holds_alternative<device::CaptureStart>(event.what)) ++processes;
    if (std::holds_alternative<device::CaptureOpen>(event.what)) ++files;
    if (const auto* write = std::get_if<device::CaptureWrite>(&event.what))
      bytes[write->by == device::CaptureWrite::By::device ? 1 : 0] += write->bytes->size();
    if (const auto* job = std::get_if<device::CaptureJob>(&event.what)) {
      ++jobs;
      if (job->outcome != device::CaptureJob::Outcome::done) ++not_done;
    }
  }
  if (processes == 0) {
    fmt::print(err,
               "[ npu-probe capture: {} opened no NPU, so {} is empty. Programs that are "
               "statically linked or make system calls without libc cannot be captured. ]\n",
               o.program[0], o.output);
    return;
  }
  const auto count = [](std::size_t n, const char* one, const char* many) {
    return fmt::format("{} {}", n, n == 1 ? one : many);
  };
  fmt::print(err,
             "[ npu-probe capture: {}{}, {}, {}; written by the program {}, by the NPU {}; {}: "
             "{}{} ]\n",
             count(jobs, "job", "jobs"),
             not_done == 0 ? "" : fmt::format(" ({} not done)", not_done),
             count(files, "open file", "open files"), count(processes, "process", "processes"),
             size_of(bytes[0]), size_of(bytes[1]), o.output, size_of(size),
             capture.truncated ? ", cut short" : "");
}

void capture(const Options& o, Io& io) {
  sim::parse_injections(o.inject);  // told here rather than by the library
  if (o.device != "sim" && !o.inject.empty())
    throw Error(ErrorCode::invalid_argument, "--inject works on the simulated device only");
  begin_file(o);
  prepare(o);
  io.out.flush();
  try {
    io.status = run_program(o.program);
  } catch (...) {
    std::error_code error;
    fs::remove(o.output, error);  // nothing ran
    throw;
  }
  try {
    summarize(o, io.err);
  } catch (const Error& error) {
    fmt::print(io.err, "npu-probe: {}\n", error.what());
  }
}

}  // namespace

void add_capture(cli::App& app, Io& io) {
  const auto o = std::make_shared<Options>();
  cli::App* sub = app.add_subcommand(
      "capture", "Record all that a program does with an NPU, real or simulated, into a file");
  sub->add_option("PROGRAM", o->program, "the program and its arguments, behind --")->required();
  sub->add_option("-o,--output", o->output, "the capture, FILE.npucap")->required();
  sub->add_option("--device", o->device, "sim, or rocket: the NPU of this machine")
      ->check(cli::IsMember({"sim", "rocket"}))
      ->default_val("sim");
  sub->add_option("--cores", o->cores, "NPU cores of the simulated device")
      ->check(cli::Range(1u, 3u));
  sub->add_option("--driver", o->driver,
                  "whose node the simulated device has: rocket (the default), rknpu, both")
      ->check(cli::IsMember({"rocket", "rknpu", "both"}));
  sub->add_option("--inject", o->inject, "faults of the simulated device, as for run");
  sub->add_option("--library", o->library, "librocket-capture.so, if it is not beside the tool");
  sub->add_option("--sim-library", o->sim_library,
                  "librocket-sim.so, if it is not beside the tool");
  sub->add_flag("-f,--force", o->force, "overwrite FILE");
  sub->add_flag("-q,--quiet", o->quiet, "nothing on stderr of what the kernel would have logged");
  sub->prefix_command();
  sub->footer(
      "Each job is waited for before the next one starts, so that the file has the buffers before\n"
      "and after it: results are the program's own, times are not.\n"
      "Exit code: the program's own, 128 + N if signal N ended it; 2, 3 or 4 if it could\n"
      "not be started.\n"
      "Example: npu-probe capture -o a.npucap -- npu-probe bringup --device rocket");
  sub->callback([o, &io] { capture(*o, io); });
}

}  // namespace npu::probe
