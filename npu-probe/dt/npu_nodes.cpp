// SPDX-License-Identifier: MIT
#include "npu-probe/dt/npu_nodes.hpp"

#include <algorithm>

namespace npu::probe {
namespace {

bool is_core(const DtNode& node) { return node.compatible_with("rockchip,rk3588-rknn-core"); }

/// Gives `node` the place, unless one that came before fits as well. A device on another bus may
/// have the same address there.
bool take(const DtNode*& place, const DtNode& node, bool (*fits)(const DtNode&)) {
  if (place && (fits(*place) || !fits(node))) return false;
  place = &node;
  return true;
}

}  // namespace

bool is_npu_rail(const DtNode& regulator) {
  return regulator.string("regulator-name").starts_with("vdd_npu");
}

int NpuNodes::mainline_cores() const {
  return static_cast<int>(
      std::count_if(core.begin(), core.end(), [](const DtNode* n) { return n && is_core(*n); }));
}

int NpuNodes::enabled_cores() const {
  return static_cast<int>(std::count_if(
      core.begin(), core.end(), [](const DtNode* n) { return n && is_core(*n) && n->enabled(); }));
}

NpuNodes find_npu_nodes(const DeviceTree& dt) {
  NpuNodes npu;
  std::vector<const DtNode*> without_reg;
  for (const auto& node : dt.nodes) {
    if (node.compatible_with("rockchip,rk3588-rknpu")) npu.vendor = &node;
    const auto reg = dt.reg(node);
    const auto address = reg.empty() ? 0 : reg.front().start;
    bool placed = false;
    for (std::size_t i = 0; i < npu_cores; ++i) {
      if (address == npu_base[i])
        placed |= take(npu.core[i], node, [](auto& n) { return is_core(n); });
      if (address == npu_mmu_base[i])
        take(npu.mmu[i], node, [](auto& n) { return n.has("#iommu-cells"); });
    }
    if (!placed && is_core(node)) without_reg.push_back(&node);
    if (!npu.power_controller && node.compatible_with("rockchip,rk3588-power-controller"))
      npu.power_controller = &node;
    if (!npu.supply && is_npu_rail(node)) npu.supply = &node;
  }
  // A core whose reg cannot be read takes a free place, in the order of the tree.
  for (const auto* node : without_reg)
    for (auto& place : npu.core)
      if (!place) {
        place = node;
        break;
      }
  // An MMU that sits elsewhere is still found through the core's iommus property.
  for (std::size_t i = 0; i < npu_cores; ++i) {
    if (!npu.core[i] || npu.mmu[i]) continue;
    if (const auto cells = npu.core[i]->cells("iommus"); !cells.empty())
      npu.mmu[i] = dt.by_phandle(cells[0]);
  }
  for (const auto* core : npu.core) {
    if (!core) continue;
    if (const auto cells = core->cells("npu-supply"); cells.size() == 1)
      if (const auto* regulator = dt.by_phandle(cells[0])) {
        npu.supply = regulator;
        break;
      }
  }
  if (npu.power_controller) {
    for (const auto& node : dt.nodes) {
      if (!node.path.starts_with(npu.power_controller->path + "/")) continue;
      if (const auto cells = node.cells("reg"); cells.size() == 1 && cells[0] == npu_parent_domain)
        npu.parent_domain = &node;
    }
  }
  return npu;
}

}  // namespace npu::probe
