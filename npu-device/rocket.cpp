// SPDX-License-Identifier: MIT
#include "npu-device/rocket.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "npu-device/job_check.hpp"
#include "npu-device/rocket_errors.hpp"
#include "npu-device/rocket_uapi.h"

namespace npu::device {
namespace {

/// Closes the node with its last user.
class Node {
 public:
  Node(std::shared_ptr<Ioctl> system, int fd) : system_(std::move(system)), fd_(fd) {}
  ~Node() { system_->close(fd_); }
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  Ioctl& system() const { return *system_; }
  const std::shared_ptr<Ioctl>& shared_system() const { return system_; }
  int fd() const { return fd_; }

  /// 0, or the errno of the failure. A positive result is a success: the first released kernels
  /// return the rest of the timeout from PREP_BO [control-and-uapi.md C.5].
  int call(unsigned long request, void* argument) const {
    for (;;) {
      if (system_->ioctl(fd_, request, argument) >= 0) return 0;
      // A signal interrupts PREP_BO; its deadline is absolute, so the wait just goes on.
      if (errno != EINTR && errno != EAGAIN) return errno;
    }
  }

 private:
  std::shared_ptr<Ioctl> system_;
  int fd_;
};

/// How long freeing a buffer waits for the job that writes it; the kernel retires a hung job
/// after 500 ms [rocket_job.c].
constexpr std::chrono::seconds kFreeWait{2};

std::int64_t deadline_ns(Device::Clock::time_point deadline) {
  // steady_clock is CLOCK_MONOTONIC in libstdc++ and libc++ on Linux, so its time since epoch is
  // what PREP_BO compares with; the kernel reads 0 and the past as "do not wait".
  const auto ns =
      std::chrono::duration_cast<std::chrono::nanoseconds>(deadline.time_since_epoch()).count();
  return std::max<std::int64_t>(ns, 0);
}

template <class T>
std::uint64_t user_pointer(const std::vector<T>& list) {
  return list.empty() ? 0 : reinterpret_cast<std::uintptr_t>(list.data());
}

class RocketDevice final : public Device {
 public:
  RocketDevice(std::unique_ptr<Node> node, DeviceInfo info)
      : node_(std::move(node)), info_(std::move(info)) {}

  const DeviceInfo& info() const override { return info_; }

  Buffer create_buffer(std::size_t bytes) override {
    check_buffer_size(bytes);
    drm_rocket_create_bo create{};
    create.size = static_cast<std::uint32_t>(bytes);
    if (int error = node_->call(DRM_IOCTL_ROCKET_CREATE_BO, &create)) {
      throw rocket_error(RocketCall::create_bo, error, fmt::format("{} bytes", bytes));
    }
    const std::string subject =
        fmt::format("buffer {} ({} bytes at IOVA {:#x})", create.handle, bytes, create.dma_address);
    if (create.dma_address > 0xFFFFFFFFu) {
      gem_close(create.handle);
      throw Error(ErrorCode::not_supported,
                  fmt::format("The driver put {} above 4 GiB, where a register program cannot "
                              "reach; update the kernel.",
                              subject));
    }
    void* memory = node_->system().mmap(bytes, node_->fd(), create.offset);
    if (!memory) {
      const int error = errno;
      gem_close(create.handle);
      throw rocket_error(RocketCall::mmap, error, subject);
    }
    const auto iova = static_cast<std::uint32_t>(create.dma_address);
    const std::span<std::byte> host(static_cast<std::byte*>(memory), bytes);
    open_.emplace(create.handle, subject);
    return make_buffer(create.handle, iova, host);
  }

  void prep(const Buffer& buffer, Clock::time_point deadline) override {
    const std::string& subject = own(buffer);
    if (int error = wait(buffer.handle(), deadline)) {
      throw rocket_error(RocketCall::prep_bo, error, subject);
    }
    written_.erase(buffer.handle());
  }

  void fini(const Buffer& buffer) override {
    const std::string& subject = own(buffer);
    drm_rocket_fini_bo fini{};
    fini.handle = buffer.handle();
    if (int error = node_->call(DRM_IOCTL_ROCKET_FINI_BO, &fini)) {
      throw rocket_error(RocketCall::fini_bo, error, subject);
    }
  }

  void submit(std::span<const Job> jobs) override {
    check_jobs(jobs, [this](std::uint32_t handle) { return open_.contains(handle); });
    if (jobs.empty()) return;
    std::vector<std::vector<drm_rocket_task>> tasks(jobs.size());
    std::vector<drm_rocket_job> list(jobs.size());
    for (std::size_t j = 0; j < jobs.size(); ++j) {
      for (const Task& task : jobs[j].tasks) tasks[j].push_back({task.regcmd, task.regcmd_count});
      list[j].tasks = user_pointer(tasks[j]);
      list[j].in_bo_handles = user_pointer(jobs[j].in_handles);
      list[j].out_bo_handles = user_pointer(jobs[j].out_handles);
      list[j].task_count = static_cast<std::uint32_t>(tasks[j].size());
      list[j].task_struct_size = sizeof(drm_rocket_task);
      list[j].in_bo_handle_count = static_cast<std::uint32_t>(jobs[j].in_handles.size());
      list[j].out_bo_handle_count = static_cast<std::uint32_t>(jobs[j].out_handles.size());
    }
    drm_rocket_submit submit{};
    submit.jobs = user_pointer(list);
    submit.job_count = static_cast<std::uint32_t>(list.size());
    submit.job_struct_size = sizeof(drm_rocket_job);
    if (int error = node_->call(DRM_IOCTL_ROCKET_SUBMIT, &submit)) {
      throw rocket_error(RocketCall::submit, error,
                         fmt::format("{} job(s) to {}", jobs.size(), info_.path));
    }
    for (const Job& job : jobs) written_.insert(job.out_handles.begin(), job.out_handles.end());
  }

  std::unique_ptr<Device> open_another() const override {
    return open_rocket(info_.path, node_->shared_system());
  }

 private:
  void destroy_buffer(std::uint32_t handle, std::span<std::byte> host) noexcept override {
    // The kernel may tear the file's IOVA allocator down at close although a job still holds
    // buffers [control-and-uapi.md F.5], so no buffer that a job may be writing goes unwaited.
    if (written_.erase(handle)) wait(handle, Clock::now() + kFreeWait);
    node_->system().munmap(host.data(), host.size());
    gem_close(handle);
    open_.erase(handle);
  }

  const std::string& own(const Buffer& buffer) const {
    if (!owns(buffer)) {
      throw Error(ErrorCode::invalid_argument,
                  "The buffer is empty or belongs to another device; use the device that created "
                  "it.");
    }
    return open_.at(buffer.handle());
  }

  int wait(std::uint32_t handle, Clock::time_point deadline) const {
    drm_rocket_prep_bo prep{};
    prep.handle = handle;
    prep.timeout_ns = deadline_ns(deadline);
    return node_->call(DRM_IOCTL_ROCKET_PREP_BO, &prep);
  }

  void gem_close(std::uint32_t handle) const {
    rocket_gem_close close{};
    close.handle = handle;
    node_->call(ROCKET_IOCTL_GEM_CLOSE, &close);
  }

  std::unique_ptr<Node> node_;
  DeviceInfo info_;
  std::unordered_map<std::uint32_t, std::string> open_;  // handle -> how messages call the buffer
  std::unordered_set<std::uint32_t> written_;            // outputs not waited for since submit()
};

/// Throws for a node that does not open; returns a node of whatever driver, with its version.
std::pair<std::unique_ptr<Node>, DriverVersion> open_node(const std::shared_ptr<Ioctl>& system,
                                                          const std::string& path) {
  int fd;
  do {
    fd = system->open(path.c_str(), O_RDWR | O_CLOEXEC);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) throw rocket_error(RocketCall::open, errno, path);
  auto node = std::make_unique<Node>(system, fd);
  DriverVersion version;
  if (system->version(fd, &version) != 0) throw rocket_error(RocketCall::version, errno, path);
  return {std::move(node), std::move(version)};
}

std::unique_ptr<Device> make_device(std::unique_ptr<Node> node, const DriverVersion& version,
                                    const std::string& path) {
  DeviceInfo info;
  info.backend = "rocket";
  info.path = path;
  info.driver = version.name;
  info.version = fmt::format("{}.{}.{}", version.major, version.minor, version.patch);
  info.cores = node->system().cores();
  info.provenance = "measured";
  return std::make_unique<RocketDevice>(std::move(node), std::move(info));
}

}  // namespace

std::unique_ptr<Device> open_rocket(std::string_view path, std::shared_ptr<Ioctl> system) {
  if (!path.empty()) {
    const std::string name(path);
    auto [node, version] = open_node(system, name);
    if (version.name != "rocket") {
      throw Error(ErrorCode::no_device,
                  fmt::format("{} belongs to the driver \"{}\", not to rocket; --device rocket "
                              "finds the right node by itself, `npu-probe audit` says why there is "
                              "none.",
                              name, version.name));
    }
    return make_device(std::move(node), version, name);
  }
  std::string seen;
  std::optional<Error> first_error;
  for (const std::string& name : system->nodes()) {
    try {
      auto [node, version] = open_node(system, name);
      if (version.name == "rocket") return make_device(std::move(node), version, name);
      seen += fmt::format("{}{} (driver \"{}\")", seen.empty() ? "" : ", ", name, version.name);
    } catch (const Error& error) {
      // It may be another accelerator's node: go on looking.
      if (!first_error) first_error = error;
    }
  }
  // A node that does not open is the likelier NPU than one of another driver.
  if (first_error) throw *first_error;
  throw no_rocket_node(seen);
}

}  // namespace npu::device
