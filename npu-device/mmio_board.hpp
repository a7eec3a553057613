// SPDX-License-Identifier: MIT
// This computer as a board: the NPU's registers through /dev/mem or UIO, power by what the kernel
// and the chip's PMU say.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "npu-device/mmio_platform.hpp"
#include "npu-device/mmio_spec.hpp"

namespace npu::device {

/// Throws no_device (no RK3588, a driver is bound, no power), permission_denied, each with a
/// remedy. `root` stands before /dev, /sys and /proc, for tests.
std::unique_ptr<MmioPlatform> this_board(const MmioSpec& spec, const std::string& root = {});

/// Where things are in the RK3588's physical address space.
namespace rk3588 {

/// Base of a core's window [rk3588-base.dtsi].
constexpr std::uint64_t core_base(unsigned core) { return 0xFDAB0000u + 0x10000u * core; }
inline constexpr std::size_t kCoreBytes = 0x10000;

/// PMU: what pm-domains.c reads [rk3588-base.dtsi power-management@fd8d8000; pm-domains.c].
inline constexpr std::uint64_t kPmu = 0xFD8D8000;
inline constexpr std::uint32_t kPmuIdle = 0x120;    ///< bus idle acknowledged
inline constexpr std::uint32_t kPmuStatus = 0x180;  ///< bit 1: domain NPU is off
inline constexpr std::uint32_t kPmuRepair = 0x290;  ///< domain is on
constexpr std::uint32_t idle_bit(unsigned core) { return 1u << (1 + core); }
constexpr std::uint32_t repair_bit(unsigned core) { return 1u << (2 + core); }
inline constexpr std::uint32_t kNpuOff = 1u << 1;

/// CRU: clock gates (1 = stopped) and reset lines (1 = held) [clk-rk3588.c; rst-rk3588.c]. Writes
/// carry a mask in their upper half.
inline constexpr std::uint64_t kCru = 0xFD7C0000;
constexpr std::uint32_t gate(unsigned n) { return 0x800 + 4 * n; }
constexpr std::uint32_t softrst(unsigned n) { return 0xA00 + 4 * n; }
struct CoreLines {
  unsigned con;                  ///< of the gates and of the resets alike
  std::uint32_t bus, registers;  ///< ACLK_NPUn and SRST_A_RKNNn; HCLK_NPUn and SRST_H_RKNNn
};
constexpr CoreLines lines(unsigned core) {
  return core == 0   ? CoreLines{30, 1u << 6, 1u << 8}
         : core == 1 ? CoreLines{27, 1u << 0, 1u << 2}
                     : CoreLines{28, 1u << 0, 1u << 2};
}
/// Roots in gate(29): HCLK_NPU_ROOT, CLK_NPU_DSU0, PCLK_NPU_ROOT.
inline constexpr unsigned kRootCon = 29;
inline constexpr std::uint32_t kRootGates = 1u << 0 | 1u << 1 | 1u << 4;

}  // namespace rk3588
}  // namespace npu::device
