// SPDX-License-Identifier: MIT
#include "kernel/virtual-board/soc.hpp"

namespace npu::vboard {
namespace {

// SRST_A_RKNNn and SRST_H_RKNNn in the CRU's SOFTRST_CON registers [rst-rk3588.c].
struct CruLines {
  std::uint32_t offset, bits;
};
constexpr CruLines kCruLines[kCores] = {{0xA00 + 4 * 30, 1u << 6 | 1u << 8},
                                        {0xA00 + 4 * 27, 1u << 0 | 1u << 2},
                                        {0xA00 + 4 * 28, 1u << 0 | 1u << 2}};

// The repair status of the domains nputop, npu1 and npu2, which is set while they are on.
constexpr std::uint32_t kPmuRepair = 0x290, kNpuOn = 7u << 2;

}  // namespace

bool in_reset(const Soc& soc, unsigned core) {
  return (soc.resets >> 2 * core & 3) != 0 ||
         (soc.cru[kCruLines[core].offset / 4] & kCruLines[core].bits) != 0;
}

void write_cru(Soc& soc, std::uint32_t offset, std::uint32_t value) {
  std::uint32_t& word = soc.cru.at(offset / 4);
  const std::uint32_t mask = value >> 16;
  word = (word & ~mask) | (value & mask);
}

std::uint32_t read_pmu(std::uint32_t offset) { return offset == kPmuRepair ? kNpuOn : 0; }

}  // namespace npu::vboard
