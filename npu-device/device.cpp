// SPDX-License-Identifier: MIT
#include "npu-device/device.hpp"

#include <fmt/format.h>

#include <unordered_set>
#include <utility>

#include "npu-device/job_check.hpp"
#include "regdb/error.hpp"

namespace npu::device {

std::string_view to_string(TimeBase base) {
  switch (base) {
    case TimeBase::chip: return "measured";
    case TimeBase::model: return "modelled";
    case TimeBase::host: return "host";
  }
  return "?";
}

Buffer::Buffer(Buffer&& other) noexcept
    : device_(std::exchange(other.device_, nullptr)),
      handle_(std::exchange(other.handle_, 0)),
      iova_(std::exchange(other.iova_, 0)),
      host_(std::exchange(other.host_, {})) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  Buffer moved(std::move(other));
  std::swap(device_, moved.device_);
  std::swap(handle_, moved.handle_);
  std::swap(iova_, moved.iova_);
  std::swap(host_, moved.host_);
  return *this;
}

Buffer::~Buffer() {
  if (device_) device_->destroy_buffer(handle_, host_);
}

void Device::prep(const Buffer& buffer, std::chrono::milliseconds timeout) {
  const auto now = Clock::now();
  const auto room =
      std::chrono::duration_cast<std::chrono::milliseconds>(Clock::time_point::max() - now);
  // Negative timeouts mean "do not wait", as does any deadline in the past.
  if (timeout < std::chrono::milliseconds::zero()) timeout = std::chrono::milliseconds::zero();
  prep(buffer, timeout < room ? now + timeout : Clock::time_point::max());
}

void check_buffer_size(std::size_t bytes) {
  if (bytes == 0) {
    throw Error(ErrorCode::invalid_argument,
                "A buffer of 0 bytes cannot be mapped for the NPU; ask for at least 1 byte.");
  }
  if (bytes > kMaxBufferBytes) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("A buffer of {} bytes is too large: the driver maps at most {} bytes "
                            "at once; split it into several buffers.",
                            bytes, kMaxBufferBytes));
  }
}

namespace {

void check_tasks(const Job& job, std::size_t j) {
  if (job.tasks.empty()) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("jobs[{}] has no tasks; the kernel drops such a job without an error. "
                            "Give it at least one register program.",
                            j));
  }
  for (std::size_t t = 0; t < job.tasks.size(); ++t) {
    const Task& task = job.tasks[t];
    if (task.regcmd_count == 0 || task.regcmd_count > kMaxRegcmdCount) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("jobs[{}].tasks[{}].regcmd_count is {}; a register program has 1 to "
                              "{} words, its trailer included.",
                              j, t, task.regcmd_count, kMaxRegcmdCount));
    }
    if (task.regcmd % 16 != 0) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("jobs[{}].tasks[{}].regcmd is {:#x}; a register program starts at a "
                              "multiple of 16 bytes (PC.BASE_ADDRESS has no lower bits).",
                              j, t, task.regcmd));
    }
  }
}

}  // namespace

void check_jobs(std::span<const Job> jobs, const std::function<bool(std::uint32_t)>& is_open,
                bool chains) {
  for (std::size_t j = 0; j < jobs.size(); ++j) {
    check_tasks(jobs[j], j);
    if (jobs[j].chained && !chains)
      throw Error(ErrorCode::not_supported,
                  fmt::format("jobs[{}] is chained, but this driver starts every task on its own; "
                              "submit it without `chained`.",
                              j));
    if (jobs[j].chained && jobs[j].tasks.size() > kMaxChainedTasks)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("jobs[{}] chains {} tasks; TASK_NUMBER takes at most {}.", j,
                              jobs[j].tasks.size(), kMaxChainedTasks));
    std::unordered_set<std::uint32_t> seen;
    for (const auto* list : {&jobs[j].in_handles, &jobs[j].out_handles}) {
      for (std::uint32_t handle : *list) {
        if (!is_open(handle)) {
          throw Error(ErrorCode::invalid_argument,
                      fmt::format("jobs[{}] lists handle {}, which is no buffer of this device; "
                                  "the kernel would drop the job without an error.",
                                  j, handle));
        }
        if (!seen.insert(handle).second) {
          throw Error(ErrorCode::invalid_argument,
                      fmt::format("jobs[{}] lists handle {} twice; the kernel cannot lock a buffer "
                                  "twice and would drop the job without an error. List a buffer "
                                  "that is read and written as an output only.",
                                  j, handle));
        }
      }
    }
  }
}

}  // namespace npu::device
