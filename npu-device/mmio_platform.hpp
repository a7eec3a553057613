// SPDX-License-Identifier: MIT
// What the mmio backend stands on: a core's registers, memory for DMA, power. A board fills it
// through /dev/mem or UIO, the simulator with its register windows.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "regdb/error.hpp"

namespace npu::device {

/// 32-bit access to the 64 KiB window of one core, its IOMMU included.
class RegisterWindow {
 public:
  virtual ~RegisterWindow() = default;
  /// Offsets are multiples of 4 below 0x10000; never one that locks_chip().
  virtual std::uint32_t read32(std::uint32_t offset) = 0;
  virtual void write32(std::uint32_t offset, std::uint32_t value) = 0;

  /// Whether wait_interrupt() can be used. If not, the caller polls with interrupts masked: the
  /// line is shared with the IOMMU's driver, which would see an interrupt that nobody answers.
  virtual bool has_interrupt() const { return false; }
  /// Returns when the core's line was raised after arm_interrupt(), or at the deadline.
  virtual void arm_interrupt() {}
  virtual void wait_interrupt(std::chrono::steady_clock::time_point) {}

  /// Why the last task failed, from a window that knows more than the registers tell.
  struct Diagnosis {
    ErrorCode code;
    std::string text;
  };
  virtual std::optional<Diagnosis> diagnosis() { return std::nullopt; }
};

/// Memory for the NPU. `host` is where the CPU works on it; nothing passes between the two but by
/// to_device() and from_device().
class DmaMemory {
 public:
  static constexpr std::uint32_t kPage = 4096;

  virtual ~DmaMemory() = default;
  DmaMemory() = default;
  DmaMemory(const DmaMemory&) = delete;
  DmaMemory& operator=(const DmaMemory&) = delete;

  /// Whole pages, page aligned, zero at first for both sides.
  virtual std::span<std::byte> host() const = 0;
  /// Physical address of each page.
  virtual const std::vector<std::uint64_t>& pages() const = 0;

  virtual void to_device(std::size_t offset, std::size_t bytes) = 0;
  virtual void from_device(std::size_t offset, std::size_t bytes) = 0;
};

class DmaAllocator {
 public:
  virtual ~DmaAllocator() = default;
  /// `contiguous`: in one piece below 4 GiB, as programs need it whose addresses nobody translates.
  /// Throws out_of_memory.
  virtual std::unique_ptr<DmaMemory> allocate(std::size_t bytes, bool contiguous) = 0;
};

/// A chip with its cores, for as long as somebody drives it.
class MmioPlatform {
 public:
  virtual ~MmioPlatform() = default;

  virtual std::string path() const = 0;        ///< "/dev/mem", "/dev/uio0", "sim"
  virtual std::string provenance() const = 0;  ///< as in DeviceInfo

  /// Throws unless the core's power, clocks and resets allow access: touching a core without power
  /// hangs the board [control-and-uapi.md F.1]. Called before each job and register access, and
  /// before window(); never touches the core itself.
  virtual void check_power(unsigned core) = 0;
  virtual std::unique_ptr<RegisterWindow> window(unsigned core) = 0;
  virtual DmaAllocator& memory() = 0;

  /// How long a job may take until it counts as hung; the driver gives it 500 ms [rocket_job.c].
  virtual std::chrono::milliseconds job_timeout() const { return std::chrono::milliseconds(500); }

  /// Both reset lines of the core for 10 us, as the driver does after a timeout [rocket_core.c].
  /// False if this platform cannot reach them.
  virtual bool reset(unsigned core) = 0;

  /// Whether a kernel driver is bound to the core all the same (the user forced it).
  virtual bool kernel_driver_bound(unsigned) const { return false; }

  /// A job begins or ends on the core: for who watches a simulated chip.
  virtual void job(unsigned, bool /*begins*/) {}
};

}  // namespace npu::device
