// SPDX-License-Identifier: MIT
#include "npu-probe/dt/diff.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <string_view>

#include "npu-probe/dt/npu_nodes.hpp"

namespace npu::probe {
namespace {

/// How many cells follow each phandle of a property: the name of the target's property that says
/// so, "" for none; nullopt: it holds no phandles that are known here.
std::optional<std::string> cells_name(std::string_view property) {
  constexpr std::array<std::array<std::string_view, 2>, 13> lists{{
      {"clocks", "#clock-cells"},
      {"assigned-clocks", "#clock-cells"},
      {"assigned-clock-parents", "#clock-cells"},
      {"resets", "#reset-cells"},
      {"iommus", "#iommu-cells"},
      {"power-domains", "#power-domain-cells"},
      {"interrupts-extended", "#interrupt-cells"},
      {"phys", "#phy-cells"},
      {"dmas", "#dma-cells"},
      {"pwms", "#pwm-cells"},
      {"cooling-device", "#cooling-cells"},
      {"thermal-sensors", "#thermal-sensor-cells"},
      {"sound-dai", "#sound-dai-cells"},
  }};
  for (const auto& [name, cells] : lists)
    if (property == name) return std::string(cells);
  if (property == "gpios" || property.ends_with("-gpios") || property.ends_with("-gpio"))
    return "#gpio-cells";
  if (property.ends_with("-supply")) return "";
  if (property.starts_with("pinctrl-") && property != "pinctrl-names") return "";
  for (const auto plain :
       {"interrupt-parent", "remote-endpoint", "pm_qos", "memory-region", "operating-points-v2",
        "cpu", "cpus", "nvmem-cells", "next-level-cache", "trip", "phy-handle", "msi-parent",
        "rockchip,grf", "rockchip,pmu", "rockchip,php-grf", "rockchip,vo-grf", "rockchip,vop-grf"})
    if (property == plain) return "";
  return std::nullopt;
}

std::string references_text(const DtReferences& found) {
  std::string out;
  for (const auto& one : found.list) {
    out += out.empty() ? "<" : ", <";
    out += one.target ? "&" + one.target->path : "0";
    for (const auto cell : one.arguments) out += fmt::format(" {}", cell);
    out += ">";
  }
  return out;
}

/// Whether bytes are what dtc makes of strings: printable, each ended by a zero.
bool is_text(std::string_view bytes) {
  if (bytes.empty() || bytes.back() != '\0' || bytes.front() == '\0') return false;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const auto c = static_cast<unsigned char>(bytes[i]);
    if (c == 0 ? i > 0 && bytes[i - 1] == '\0' : c < 0x20 || c > 0x7e) return false;
  }
  return true;
}

std::string path_of(const DtNode* node) { return node ? node->path : std::string(); }

/// Paths of what belongs to the NPU in a tree.
std::set<std::string> npu_paths(const DeviceTree& dt) {
  const auto npu = find_npu_nodes(dt);
  std::set<std::string> paths{path_of(npu.vendor), path_of(npu.power_controller)};
  for (std::size_t i = 0; i < npu_cores; ++i) {
    paths.insert(path_of(npu.core[i]));
    paths.insert(path_of(npu.mmu[i]));
  }
  for (const auto& node : dt.nodes) {
    const bool domain = npu.parent_domain && (node.path == npu.parent_domain->path ||
                                              node.path.starts_with(npu.parent_domain->path + "/"));
    if (domain) paths.insert(node.path);
    // A rail, and what it lies on: with the bus off there is no rail.
    if (is_npu_rail(node))
      for (const auto* n = &node; n && n->parent >= 0; n = dt.parent_of(*n)) paths.insert(n->path);
  }
  paths.erase("");
  return paths;
}

/// Numbers that each build of a tree deals out.
bool dealt_out(const std::string& property) {
  return property == "phandle" || property == "linux,phandle";
}

/// dtc's own records of labels and phandles, not of the board.
bool records(const std::string& path) {
  return path.starts_with("/__symbols__") || path.starts_with("/__fixups__") ||
         path.starts_with("/__local_fixups__");
}

/// Whether a property says the same in both trees: by bytes, and references by what they lead to.
bool same(const DeviceTree& before, const DtNode& old_node, const DeviceTree& after,
          const DtNode& new_node, const std::string& property) {
  if (const auto cells = cells_name(property)) {
    const auto old_list = references(before, old_node, property, *cells);
    const auto new_list = references(after, new_node, property, *cells);
    if (old_list.error.empty() && new_list.error.empty())
      return references_text(old_list) == references_text(new_list);
  }
  return old_node.properties.at(property) == new_node.properties.at(property);
}

std::map<std::string, const DtNode*> by_path(const DeviceTree& dt) {
  std::map<std::string, const DtNode*> nodes;
  for (const auto& node : dt.nodes)
    if (!records(node.path)) nodes.emplace(node.path, &node);
  return nodes;
}

}  // namespace

std::string value_text(const DeviceTree& dt, const DtNode& node, const std::string& property) {
  const auto it = node.properties.find(property);
  if (it == node.properties.end()) return {};
  const auto& bytes = it->second;
  if (bytes.empty()) return "(empty)";
  if (const auto cells = cells_name(property))
    if (const auto found = references(dt, node, property, *cells); found.error.empty())
      return references_text(found);
  if (is_text(bytes)) return fmt::format("\"{}\"", fmt::join(dt_strings(bytes), "\", \""));
  std::string out;
  if (bytes.size() % 4 == 0) {
    for (std::size_t i = 0; i < bytes.size(); i += 4)
      out += fmt::format("{}0x{:x}", i == 0 ? "<" : " ",
                         dt_cells(std::string_view(bytes).substr(i, 4)).front());
    return out + ">";
  }
  for (std::size_t i = 0; i < bytes.size(); ++i)
    out += fmt::format("{}{:02x}", i == 0 ? "[" : " ", static_cast<unsigned char>(bytes[i]));
  return out + "]";
}

std::vector<DtDifference> diff_trees(const DeviceTree& before, const DeviceTree& after) {
  auto npu = npu_paths(before);
  npu.merge(npu_paths(after));
  const auto old_nodes = by_path(before), new_nodes = by_path(after);
  std::set<std::string> paths;
  for (const auto* nodes : {&old_nodes, &new_nodes})
    for (const auto& [path, node] : *nodes) paths.insert(path);
  std::vector<DtDifference> found;
  for (const auto& path : paths) {
    const bool of_npu = npu.count(path) != 0;
    const auto o = old_nodes.find(path), n = new_nodes.find(path);
    const auto* old_node = o == old_nodes.end() ? nullptr : o->second;
    const auto* new_node = n == new_nodes.end() ? nullptr : n->second;
    if (!old_node || !new_node) {
      // Of a node that only one tree has, what lies in it goes without saying.
      const auto above = path.substr(0, path.rfind('/'));
      const bool told = !old_nodes.count(above) != !new_nodes.count(above) && !above.empty();
      if (told && !of_npu) continue;
      found.push_back({path, "", old_node ? "a node" : "", new_node ? "a node" : "", of_npu});
      if (!of_npu) continue;
    }
    std::set<std::string> names;
    for (const auto* node : {old_node, new_node})
      if (node)
        for (const auto& [name, value] : node->properties) names.insert(name);
    for (const auto& name : names) {
      if (dealt_out(name)) continue;
      const bool had = old_node && old_node->has(name), has = new_node && new_node->has(name);
      if (had && has && same(before, *old_node, after, *new_node, name)) continue;
      auto was = had ? value_text(before, *old_node, name) : "";
      auto is = has ? value_text(after, *new_node, name) : "";
      found.push_back({path, name, std::move(was), std::move(is), of_npu});
    }
  }
  std::stable_partition(found.begin(), found.end(), [](const DtDifference& d) { return d.npu; });
  return found;
}

std::string to_text(const DtDifference& d) {
  const auto what = d.property.empty() ? d.node : d.node + ":" + d.property;
  if (d.before.empty()) return printable("+ " + what + (d.property.empty() ? "" : " = " + d.after));
  if (d.after.empty()) return printable("- " + what + (d.property.empty() ? "" : " = " + d.before));
  return printable(fmt::format("  {}: {} -> {}", what, d.before, d.after));
}

}  // namespace npu::probe
