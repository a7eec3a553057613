// SPDX-License-Identifier: MIT
#include "npu-probe/audit/devicetree.hpp"

#include <algorithm>

#include "npu-probe/audit/parsers.hpp"

namespace npu::probe {
namespace {

// A real RK3588 tree has some 1500 nodes; more than this is not one.
constexpr std::size_t max_nodes = 20000;
constexpr int max_depth = 24;
constexpr std::size_t max_property = 16384;

bool wanted(std::string_view name) {
  for (const auto exact : {"compatible", "status", "reg", "reg-names", "phandle", "linux,phandle",
                           "model", "#address-cells", "#size-cells", "#power-domain-cells",
                           "power-domains", "iommus", "assigned-clock-rates", "regulator-name",
                           "regulator-always-on", "regulator-boot-on", "device_type"})
    if (name == exact) return true;
  return name.ends_with("-supply");
}

void walk(const Tree& tree, const std::string& dir, const std::string& path, int parent, int depth,
          DeviceTree& dt) {
  if (dt.nodes.size() >= max_nodes || depth > max_depth) return;
  const int self = static_cast<int>(dt.nodes.size());
  dt.nodes.push_back({path, {}, parent});
  std::vector<std::string> children;
  for (const auto& name : tree.list(dir)) {
    // Not through symlinks: a real tree has none, and a damaged capture may loop.
    const auto info = tree.info(join(dir, name), false);
    if (!info) continue;
    if (info->type == FileInfo::Type::directory) {
      children.push_back(name);
    } else if (info->type == FileInfo::Type::regular && wanted(name)) {
      if (auto bytes = tree.read(join(dir, name), max_property))
        dt.nodes[static_cast<std::size_t>(self)].properties[name] = std::move(*bytes);
    }
  }
  for (const auto& name : children)
    walk(tree, join(dir, name), join(path, printable(name, 128)), self, depth + 1, dt);
}

std::uint64_t first_reg(const DeviceTree& dt, const DtNode& node) {
  const auto addresses = dt.reg(node);
  return addresses.empty() ? 0 : addresses.front();
}

}  // namespace

std::vector<std::string> DtNode::strings(const std::string& name) const {
  const auto it = properties.find(name);
  return it == properties.end() ? std::vector<std::string>{} : dt_strings(it->second);
}

std::vector<std::uint32_t> DtNode::cells(const std::string& name) const {
  const auto it = properties.find(name);
  return it == properties.end() ? std::vector<std::uint32_t>{} : dt_cells(it->second);
}

std::string DtNode::string(const std::string& name) const {
  const auto all = strings(name);
  return all.empty() ? std::string() : all.front();
}

bool DtNode::compatible_with(std::string_view name) const {
  const auto all = strings("compatible");
  return std::find(all.begin(), all.end(), name) != all.end();
}

bool DtNode::enabled() const {
  if (!has("status")) return true;
  const auto status = string("status");
  return status == "okay" || status == "ok";
}

const DtNode* DeviceTree::by_phandle(std::uint32_t phandle) const {
  for (const auto& node : nodes)
    for (const auto name : {"phandle", "linux,phandle"})
      if (const auto cells = node.cells(name); cells.size() == 1 && cells[0] == phandle)
        return &node;
  return nullptr;
}

const DtNode* DeviceTree::parent_of(const DtNode& node) const {
  return node.parent < 0 ? nullptr : &nodes[static_cast<std::size_t>(node.parent)];
}

std::vector<std::uint64_t> DeviceTree::reg(const DtNode& node) const {
  // Defaults of the device-tree specification: 2 and 1.
  std::uint32_t address_cells = 2, size_cells = 1;
  if (const auto* parent = parent_of(node)) {
    if (const auto c = parent->cells("#address-cells"); !c.empty()) address_cells = c[0];
    if (const auto c = parent->cells("#size-cells"); !c.empty()) size_cells = c[0];
  }
  std::vector<std::uint64_t> addresses;
  if (address_cells == 0 || address_cells > 2 || size_cells > 2) return addresses;
  const auto cells = node.cells("reg");
  const std::size_t step = address_cells + size_cells;
  for (std::size_t i = 0; i + step <= cells.size(); i += step)
    addresses.push_back(address_cells == 1
                            ? cells[i]
                            : std::uint64_t{cells[i]} << 32 | std::uint64_t{cells[i + 1]});
  return addresses;
}

DeviceTree read_device_tree(const Tree& tree) {
  DeviceTree dt;
  for (const std::string base : {"/sys/firmware/devicetree/base", "/proc/device-tree"}) {
    if (!tree.is_directory(base) || tree.list(base, 1).empty()) continue;
    dt.base = base;
    walk(tree, base, "/", -1, 0, dt);
    return dt;
  }
  return dt;
}

int NpuNodes::mainline_cores() const {
  return static_cast<int>(std::count_if(core.begin(), core.end(), [](const DtNode* n) {
    return n && n->compatible_with("rockchip,rk3588-rknn-core");
  }));
}

int NpuNodes::enabled_cores() const {
  return static_cast<int>(std::count_if(core.begin(), core.end(), [](const DtNode* n) {
    return n && n->compatible_with("rockchip,rk3588-rknn-core") && n->enabled();
  }));
}

NpuNodes find_npu_nodes(const DeviceTree& dt) {
  NpuNodes npu;
  std::vector<const DtNode*> without_reg;
  for (const auto& node : dt.nodes) {
    if (node.compatible_with("rockchip,rk3588-rknpu")) npu.vendor = &node;
    const auto address = first_reg(dt, node);
    bool placed = false;
    for (std::size_t i = 0; i < npu_cores; ++i) {
      if (address == npu_base[i] && !npu.core[i]) {
        npu.core[i] = &node;
        placed = true;
      }
      if (address == npu_mmu_base[i] && !npu.mmu[i]) npu.mmu[i] = &node;
    }
    if (!placed && node.compatible_with("rockchip,rk3588-rknn-core")) without_reg.push_back(&node);
    if (!npu.power_controller && node.compatible_with("rockchip,rk3588-power-controller"))
      npu.power_controller = &node;
    if (!npu.supply && node.string("regulator-name").starts_with("vdd_npu")) npu.supply = &node;
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
