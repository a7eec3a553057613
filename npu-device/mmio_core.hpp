// SPDX-License-Identifier: MIT
// One core driven through its registers, write by write as the rocket driver does it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "npu-device/device.hpp"
#include "npu-device/mmio_iommu.hpp"
#include "npu-device/mmio_platform.hpp"
#include "regdb/error.hpp"

namespace npu::device {

struct MmioFault {
  ErrorCode code;
  std::string message;
};

struct MmioJobResult {
  std::optional<MmioFault> fault;
  bool retired = false;  ///< the time was over; the core was reset, or is lost without a reset
};

/// Not thread safe: one thread at a time.
class MmioCore {
 public:
  /// Checks power, maps the window, reads VERSION. Writes nothing. Throws no_device,
  /// permission_denied, device_fault.
  MmioCore(MmioPlatform& platform, unsigned index);
  /// Puts back what the first job found: interrupt mask, BASE_ADDRESS, IOMMU. The S_POINTERs stay
  /// as the driver leaves them, with ping-pong on: turning it off would move one of a block's two
  /// pointers, and whoever comes next would write to the group that does not run.
  ~MmioCore();
  MmioCore(const MmioCore&) = delete;
  MmioCore& operator=(const MmioCore&) = delete;

  unsigned index() const { return index_; }
  std::uint32_t version() const { return version_; }

  /// Runs the tasks of a job in order: one start and one interrupt for each [control-and-uapi.md
  /// B.5, B.6]. `dte`: the file's page table; nullopt: IOMMU in bypass. Never throws for what the
  /// chip does.
  MmioJobResult run(std::span<const Task> tasks, std::optional<std::uint32_t> dte);

  std::uint32_t read(std::uint32_t offset);
  void write(std::uint32_t offset, std::uint32_t value);

 private:
  struct Saved {
    std::uint32_t mask, base, amounts, task_con;
    IommuPort::State iommu;
  };
  void save();
  void restore();
  void start(const Task& task);
  bool wait(std::chrono::steady_clock::time_point deadline, std::uint32_t& raw);
  MmioFault explain(std::uint32_t raw);
  void retire();

  MmioPlatform& platform_;
  unsigned index_;
  std::unique_ptr<RegisterWindow> window_;
  IommuPort iommu_;
  std::uint32_t version_ = 0;
  std::optional<Saved> saved_;
  std::string lost_;  // why the core takes no more jobs
};

}  // namespace npu::device
