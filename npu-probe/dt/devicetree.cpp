// SPDX-License-Identifier: MIT
#include "npu-probe/dt/devicetree.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace npu::probe {

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

const DtNode* DeviceTree::by_path(std::string_view path) const {
  const auto it =
      std::find_if(nodes.begin(), nodes.end(), [&](const DtNode& n) { return n.path == path; });
  return it == nodes.end() ? nullptr : &*it;
}

const DtNode* DeviceTree::by_phandle(std::uint32_t phandle) const {
  const auto it = phandles.find(phandle);
  return it == phandles.end() ? nullptr : &nodes[it->second];
}

const DtNode* DeviceTree::parent_of(const DtNode& node) const {
  return node.parent < 0 ? nullptr : &nodes[static_cast<std::size_t>(node.parent)];
}

bool DeviceTree::reachable(const DtNode& node) const {
  for (const auto* n = &node; n; n = parent_of(*n))
    if (!n->enabled()) return false;
  return true;
}

std::vector<DtRegion> DeviceTree::reg(const DtNode& node) const {
  // Defaults of the device-tree specification: 2 and 1.
  std::uint32_t address_cells = 2, size_cells = 1;
  if (const auto* parent = parent_of(node)) {
    if (const auto c = parent->cells("#address-cells"); !c.empty()) address_cells = c[0];
    if (const auto c = parent->cells("#size-cells"); !c.empty()) size_cells = c[0];
  }
  std::vector<DtRegion> regions;
  if (address_cells == 0 || address_cells > 2 || size_cells > 2) return regions;
  const auto cells = node.cells("reg");
  const auto number = [&](std::size_t at, std::uint32_t count) {
    std::uint64_t value = 0;
    for (std::uint32_t i = 0; i < count; ++i) value = value << 32 | cells[at + i];
    return value;
  };
  const std::size_t step = address_cells + size_cells;
  for (std::size_t i = 0; i + step <= cells.size(); i += step)
    regions.push_back({number(i, address_cells), number(i + address_cells, size_cells)});
  return regions;
}

DtReferences references(const DeviceTree& dt, const DtNode& node, const std::string& property,
                        const std::string& cells_name) {
  DtReferences found;
  const auto it = node.properties.find(property);
  if (it == node.properties.end()) {
    found.error = "is missing";
    return found;
  }
  if (it->second.size() % 4 != 0) {
    found.error = fmt::format("has {} bytes, not a multiple of 4", it->second.size());
    return found;
  }
  const auto cells = dt_cells(it->second);
  for (std::size_t at = 0; at < cells.size();) {
    DtReference one;
    const auto phandle = cells[at++];
    if (phandle != 0) {
      one.target = dt.by_phandle(phandle);
      if (!one.target) {
        found.error = fmt::format("phandle 0x{:x} leads to no node", phandle);
        return found;
      }
      std::size_t count = 0;
      if (!cells_name.empty()) {
        const auto wants = one.target->cells(cells_name);
        if (wants.size() != 1) {
          found.error = fmt::format("{} has no {}", one.target->path, cells_name);
          return found;
        }
        count = wants[0];
      }
      if (count > cells.size() - at) {
        found.error = fmt::format("ends in the middle of an entry: {} wants {} cells, {} are there",
                                  one.target->path, count, cells.size() - at);
        return found;
      }
      const auto first = cells.begin() + static_cast<std::ptrdiff_t>(at);
      one.arguments.assign(first, first + static_cast<std::ptrdiff_t>(count));
      at += count;
    }
    found.list.push_back(std::move(one));
  }
  if (found.list.empty()) found.error = "is empty";
  return found;
}

void index_phandles(DeviceTree& dt) {
  dt.phandles.clear();
  dt.same_phandle.clear();
  for (std::size_t i = 0; i < dt.nodes.size(); ++i)
    for (const auto name : {"phandle", "linux,phandle"}) {
      const auto cells = dt.nodes[i].cells(name);
      if (cells.size() != 1) continue;
      const auto [place, added] = dt.phandles.emplace(cells[0], i);
      if (!added && place->second != i) dt.same_phandle.push_back(dt.nodes[i].path);
    }
}

}  // namespace npu::probe
