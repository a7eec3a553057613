// SPDX-License-Identifier: MIT
// What stands around the NPU: its reset lines, and the registers in which a program without a
// kernel driver finds out whether the NPU may be touched (docs/mmio.md).
#pragma once

#include <array>
#include <cstdint>

namespace npu::vboard {

constexpr unsigned kCores = 3;

/// First page of the CRU: clock gates and reset lines, whose writes have a mask in their upper half
/// [clk-rk3588.c; rst-rk3588.c]. All clocks run.
constexpr std::uint64_t kCruAddress = 0xFD7C0000, kCruBytes = 0x1000;
/// Power domains, which are on [pm-domains.c]. Read-only here.
constexpr std::uint64_t kPmuAddress = 0xFD8D8000, kPmuBytes = 0x400;
/// The same reset lines for the kernel, which knows no CRU in this tree: a "snps,dw-high-reset"
/// controller. srst_a of core n is bit 2n, srst_h bit 2n+1; a set bit asserts.
constexpr std::uint64_t kResetAddress = 0xFD7C2000, kResetBytes = 4;

struct Soc {
  std::uint32_t resets = 0;
  std::array<std::uint32_t, kCruBytes / 4> cru{};
};

/// Whether one of the core's lines is asserted.
bool in_reset(const Soc& soc, unsigned core);
void write_cru(Soc& soc, std::uint32_t offset, std::uint32_t value);
std::uint32_t read_pmu(std::uint32_t offset);

}  // namespace npu::vboard
