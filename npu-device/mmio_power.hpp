// SPDX-License-Identifier: MIT
// Whether a core may be touched, found out without touching it.
#pragma once

#include <memory>
#include <string>

#include "npu-device/mmio_devmem.hpp"

namespace npu::device {

/// The kernel's view and, through /dev/mem, the PMU's and the CRU's.
class CorePower {
 public:
  /// `memory`: nullptr if /dev/mem cannot be had. Reads no register of the NPU.
  CorePower(unsigned core, const std::string& root, const DevMem* memory);

  /// Name of the kernel driver that is bound to the core, or empty.
  const std::string& driver() const { return driver_; }

  /// Throws no_device with what is off and how to turn it on, unless power, clocks and resets are
  /// known to be right.
  void check() const;

  /// Pulses the reset lines. False without /dev/mem.
  bool reset() const;

 private:
  void check_registers() const;
  void check_kernel() const;
  [[noreturn]] void refuse(const std::string& what) const;

  unsigned core_;
  std::string root_, device_, driver_;
  std::unique_ptr<Mapping> pmu_, cru_;
};

}  // namespace npu::device
