// SPDX-License-Identifier: MIT
// The nodes of a device tree that belong to the NPU.
#pragma once

#include <array>
#include <cstdint>

#include "npu-probe/dt/devicetree.hpp"

namespace npu::probe {

inline constexpr int npu_cores = 3;
/// Bases of the cores and the reg of their MMUs [control-and-uapi A.1].
inline constexpr std::array<std::uint32_t, npu_cores> npu_base{0xfdab0000, 0xfdac0000, 0xfdad0000};
inline constexpr std::array<std::uint32_t, npu_cores> npu_mmu_base{0xfdab9000, 0xfdaca000,
                                                                   0xfdada000};
inline constexpr std::array<const char*, npu_cores> npu_domain_name{"NPUTOP", "NPU1", "NPU2"};
inline constexpr std::array<std::uint32_t, npu_cores> npu_domain{9, 10, 11};
inline constexpr std::uint32_t npu_parent_domain = 8;
/// Shared peripheral interrupt of core 0 and its MMU; the next cores have the next numbers.
inline constexpr std::uint32_t npu_first_spi = 110;

/// The nodes of the NPU, found by compatible string or by reg and never by name: later kernels
/// renamed two of the MMU nodes [control-and-uapi A.1].
struct NpuNodes {
  std::array<const DtNode*, npu_cores> core{};
  std::array<const DtNode*, npu_cores> mmu{};
  const DtNode* vendor = nullptr;            ///< rockchip,rk3588-rknpu
  const DtNode* power_controller = nullptr;  ///< that the cores' power-domains points to
  const DtNode* parent_domain = nullptr;     ///< power-domain@8
  const DtNode* supply = nullptr;            ///< regulator of npu-supply, or the one named vdd_npu*
  int mainline_cores() const;                ///< with the binding's compatible string
  int enabled_cores() const;                 ///< of those, not disabled
};
NpuNodes find_npu_nodes(const DeviceTree& dt);

/// Whether a regulator's node is a rail of the NPU, by its name: every board of Linux that names
/// its rail calls it vdd_npu_s0, and the SRAM's vdd_npu_mem_s0 [linux boot/dts/rockchip].
bool is_npu_rail(const DtNode& regulator);

}  // namespace npu::probe
