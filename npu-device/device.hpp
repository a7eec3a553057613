// SPDX-License-Identifier: MIT
// One interface for the NPU behind the rocket driver, behind mapped registers, or simulated.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace npu::device {

/// What Device::now() counts.
enum class TimeBase : std::uint8_t {
  chip,   ///< the host's clock around a chip: figures are measured
  model,  ///< the timing model's: figures are modelled
  host,   ///< the host's clock around a simulator: figures say nothing about an NPU
};
std::string_view to_string(TimeBase base);  ///< "measured", "modelled", "host"

struct DeviceInfo {
  std::string backend;     ///< "sim", "rocket" or "mmio"
  std::string path;        ///< device node, or "sim"
  std::string driver;      ///< DRM driver name, "rocket"
  std::string version;     ///< DRM driver version "major.minor.patch"; rocket says 0.0.0
  unsigned cores = 0;      ///< number of NPU cores, 0 if the backend cannot tell
  std::string provenance;  ///< of times taken on it: "measured" (a chip) or "modelled" (sim)
  TimeBase time_base = TimeBase::chip;
  double npu_mhz = 0;       ///< clock that the model counts with; 0: ask the system
  std::string calibration;  ///< name of the model's constants; empty on a chip
  bool chains = false;      ///< takes Job::chained
  bool computes = true;  ///< false: programs are only timed ("sim:timing-only"), no bytes written
};

/// One register program: `regcmd` is its IOVA (16-byte aligned), `regcmd_count` its length in
/// 64-bit words, trailer included [rocket uAPI, struct drm_rocket_task].
struct Task {
  std::uint32_t regcmd = 0;
  std::uint32_t regcmd_count = 0;
};

/// REGISTER_AMOUNTS counts 128-bit units in 16 bits [control-and-uapi.md C.7].
inline constexpr std::uint32_t kMaxRegcmdCount = 131072;

/// Largest buffer: the kernel keeps the size that it mapped in an int [rocket_gem.c].
inline constexpr std::size_t kMaxBufferBytes = 0x7FFFFFFF;

/// Tasks of a job run in order on one core. The handles give the order between jobs: a job waits
/// for earlier writers of its inputs and outputs; only outputs can be waited for with prep().
/// A handle may stand in one list only, once (the kernel drops such a job silently); submit()
/// refuses it.
struct Job {
  std::vector<Task> tasks;
  std::vector<std::uint32_t> in_handles;
  std::vector<std::uint32_t> out_handles;
  /// All tasks in one start with one interrupt (TASK_NUMBER): each program's trailer links to the
  /// next one [control-and-uapi.md B.8]. Only where DeviceInfo::chains says so; the stock driver
  /// starts every task on its own. At most kMaxChainedTasks.
  bool chained = false;
};

/// TASK_NUMBER has 12 bits.
inline constexpr std::size_t kMaxChainedTasks = 4095;

class Device;
class RegisterAccess;

/// A buffer object: host memory that the NPU sees at iova(). Freed with the object. Must not
/// outlive its Device.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  explicit operator bool() const { return device_ != nullptr; }
  std::uint32_t handle() const { return handle_; }
  std::uint32_t iova() const { return iova_; }
  std::size_t size() const { return host_.size(); }
  std::span<std::byte> host() const { return host_; }

  /// Host memory as elements of T; size() / sizeof(T) of them.
  template <class T>
  std::span<T> as() const {
    return {reinterpret_cast<T*>(host_.data()), host_.size() / sizeof(T)};
  }

 private:
  friend class Device;
  Buffer(Device* device, std::uint32_t handle, std::uint32_t iova, std::span<std::byte> host)
      : device_(device), handle_(handle), iova_(iova), host_(host) {}
  Device* device_ = nullptr;
  std::uint32_t handle_ = 0;
  std::uint32_t iova_ = 0;
  std::span<std::byte> host_;
};

/// One open file of an NPU: its own 4 GiB IOVA window and its own job queue. The kernel keeps a
/// file's queued work on one core, so work for three cores needs three files: open_another().
/// Thread safety: one Device is used by one thread at a time; different Devices are independent.
class Device {
 public:
  using Clock = std::chrono::steady_clock;  // CLOCK_MONOTONIC, as PREP_BO's deadline

  virtual ~Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  virtual const DeviceInfo& info() const = 0;

  /// Allocates and maps a zeroed buffer of `bytes` (1 to 2 GiB - 1); the IOVA is page aligned and
  /// 0 is a valid one. Throws out_of_memory, invalid_argument.
  virtual Buffer create_buffer(std::size_t bytes) = 0;

  /// PREP_BO: waits for the jobs that write `buffer`, then makes their bytes visible to the CPU.
  /// Cost grows with the buffer's size. Throws timeout at the deadline; device_fault, or
  /// timeout for a hang, with the reason where the backend knows that a job failed (sim does, once
  /// per failure; rocket cannot tell: the kernel reports success for a job that its 500 ms timeout
  /// retired, so check the data).
  virtual void prep(const Buffer& buffer, Clock::time_point deadline) = 0;
  /// The same with a timeout from now; one too long for the clock waits for ever.
  void prep(const Buffer& buffer, std::chrono::milliseconds timeout);

  /// FINI_BO: makes the CPU's writes visible to the NPU. Call it before submit() on every buffer
  /// that the CPU wrote, register programs included.
  virtual void fini(const Buffer& buffer) = 0;

  /// SUBMIT: queues the jobs and returns. Throws invalid_argument for a job that the kernel would
  /// drop silently (no tasks, no words, unknown or repeated handle) and for a program that cannot
  /// be fetched (not 16-byte aligned, over kMaxRegcmdCount words); nothing is queued then.
  virtual void submit(std::span<const Job> jobs) = 0;
  void submit(const Job& job) { submit(std::span(&job, 1)); }

  /// The time on this device; differences are what counts. On a chip that is Clock. On "sim" it is
  /// the timing model's: it passes in jobs that were waited for and in prep() and fini(), for all
  /// files of the machine alike, never in the host's own work; the first call starts it, later
  /// ones wait until the machine rests. Files count as driven by a thread each.
  virtual std::chrono::nanoseconds now() { return Clock::now().time_since_epoch(); }

  /// Another file on the same device, with its own IOVA window.
  virtual std::unique_ptr<Device> open_another() const = 0;

  /// The register windows of the cores (register_access.hpp), nullptr for a backend without: the
  /// rocket driver lends them to nobody. Lives as long as the Device.
  virtual RegisterAccess* registers() { return nullptr; }

 protected:
  Device() = default;
  Buffer make_buffer(std::uint32_t handle, std::uint32_t iova, std::span<std::byte> host) {
    return Buffer(this, handle, iova, host);
  }
  bool owns(const Buffer& buffer) const { return buffer.device_ == this; }

 private:
  friend class Buffer;
  virtual void destroy_buffer(std::uint32_t handle, std::span<std::byte> host) noexcept = 0;
};

/// Opens "sim" (a machine of its own for each call), "sim:ITEM,..." (cores=N; quirk=NAME, several
/// times, also for "mmio:sim", names in npu-sim's quirk_names.hpp; for now(): mhz=N,
/// calibration=FILE; chain: takes Job::chained; timing-only: leaves the work out), "rocket" (first
/// /dev/accel/accelN whose driver is rocket), "rocket:PATH" or "mmio[:CORE,...]" (mapped registers,
/// docs/mmio.md). An empty spec means $NPU_DEVICE, else "sim". Throws no_device, permission_denied,
/// not_supported, invalid_argument; each with a remedy.
std::unique_ptr<Device> open_device(std::string_view spec = {});

}  // namespace npu::device
