// SPDX-License-Identifier: MIT
// The live device tree (sys/firmware/devicetree/base or proc/device-tree), as far as the NPU needs.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "npu-probe/audit/tree.hpp"

namespace npu::probe {

struct DtNode {
  std::string path;                               ///< "/npu@fdab0000"; "/" for the root
  std::map<std::string, std::string> properties;  ///< raw bytes of those that matter here
  int parent = -1;                                ///< index in DeviceTree::nodes

  bool has(const std::string& name) const { return properties.count(name) != 0; }
  std::vector<std::string> strings(const std::string& name) const;
  std::vector<std::uint32_t> cells(const std::string& name) const;
  std::string string(const std::string& name) const;  ///< the first one, or empty
  bool compatible_with(std::string_view name) const;
  /// "okay", "ok" or no property at all: enabled.
  bool enabled() const;
};

struct DeviceTree {
  std::string base;  ///< where it was read; empty if there is none
  std::vector<DtNode> nodes;

  bool present() const { return !nodes.empty(); }
  const DtNode* by_phandle(std::uint32_t phandle) const;
  const DtNode* parent_of(const DtNode& node) const;
  /// Start addresses of the reg property, by the parent's #address-cells and #size-cells.
  std::vector<std::uint64_t> reg(const DtNode& node) const;
};

DeviceTree read_device_tree(const Tree& tree);

inline constexpr int npu_cores = 3;
/// Bases of the cores and the reg of their MMUs [control-and-uapi A.1].
inline constexpr std::array<std::uint32_t, npu_cores> npu_base{0xfdab0000, 0xfdac0000, 0xfdad0000};
inline constexpr std::array<std::uint32_t, npu_cores> npu_mmu_base{0xfdab9000, 0xfdaca000,
                                                                   0xfdada000};
inline constexpr std::array<const char*, npu_cores> npu_domain_name{"NPUTOP", "NPU1", "NPU2"};
inline constexpr std::array<std::uint32_t, npu_cores> npu_domain{9, 10, 11};
inline constexpr std::uint32_t npu_parent_domain = 8;

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

}  // namespace npu::probe
