// SPDX-License-Identifier: MIT
// Rules of what a driver asks the tree for: registers, interrupts, clocks, resets, the IOMMU's
// cells; and of the tree as a whole: phandles, overlaps, the vendor's node, memory.
#include <algorithm>
#include <functional>
#include <initializer_list>

#include "npu-probe/dt/finding.hpp"

namespace npu::probe {
namespace {

constexpr auto mainline_remedy =
    "use the board's device tree of a mainline kernel of 6.18 or later; if you wrote the nodes "
    "yourself, compare them with npu-probe dt diff";

struct Unit {
  const DtNode* node;
  std::size_t core;
  bool is_mmu;
};

std::vector<Unit> units(const NpuNodes& npu) {
  std::vector<Unit> all;
  for (std::size_t i = 0; i < npu_cores; ++i) {
    if (npu.core[i]) all.push_back({npu.core[i], i, false});
    if (npu.mmu[i]) all.push_back({npu.mmu[i], i, true});
  }
  return all;
}

/// Windows of a node [linux rk3588-base.dtsi]. Only the first core's MMU has two, and the driver
/// writes every command to all that the tree names [rockchip-iommu.c].
std::vector<DtRegion> expected_reg(const Unit& unit) {
  const std::uint64_t base = npu_base[unit.core], mmu = npu_mmu_base[unit.core];
  constexpr std::uint64_t mmu_registers = 0x28;  // up to AUTO_GATING at 0x24 [rockchip-iommu.c]
  if (!unit.is_mmu) return {{base, 0x1000}, {base + 0x1000, 0x1000}, {base + 0x3000, 0x1000}};
  if (unit.core != 0) return {{mmu, mmu_registers}};
  return {{mmu, mmu_registers}, {mmu + 0x1000, mmu_registers}};
}

void check_reg(const DeviceTree& dt, const std::vector<Unit>& all, std::vector<DtCheck>& checks) {
  Finding reg("dt-reg", "registers"), names("dt-reg-names", "names of the registers");
  for (const auto& unit : all) {
    const auto want = expected_reg(unit);
    const auto have = dt.reg(*unit.node);
    if (have.size() != want.size())
      reg.bad(*unit.node, fmt::format("{} windows in place of {}", have.size(), want.size()));
    for (std::size_t i = 0; i < std::min(have.size(), want.size()); ++i)
      if (have[i].start != want[i].start || have[i].size < want[i].size)
        reg.bad(*unit.node, fmt::format("window {} is 0x{:x}, 0x{:x} bytes, in place of 0x{:x}", i,
                                        have[i].start, have[i].size, want[i].start));
    const auto told = unit.node->strings("reg-names");
    if (!unit.is_mmu && told != std::vector<std::string>{"pc", "cna", "core"})
      names.bad(*unit.node,
                fmt::format("reg-names is {} in place of pc, cna, core",
                            told.empty() ? "missing" : fmt::format("{}", fmt::join(told, ", "))));
  }
  reg.add_to(checks, DtState::fail, "every window is where the chip has it", mainline_remedy);
  names.add_to(checks, DtState::fail, "pc, cna, core",
               "set reg-names = \"pc\", \"cna\", \"core\": the driver finds its windows by name");
}

/// Children of buses that translate addresses are not comparable with the NPU's, and memory is no
/// device: a virtual machine reserves the windows in what it calls its memory.
bool on_root_bus(const DeviceTree& dt, const DtNode& node) {
  if (node.path.starts_with("/reserved-memory/") || node.string("device_type") == "memory")
    return false;
  for (const auto* bus = dt.parent_of(node); bus && bus->parent >= 0; bus = dt.parent_of(*bus)) {
    const auto ranges = bus->properties.find("ranges");
    if (ranges == bus->properties.end() || !ranges->second.empty()) return false;
  }
  return node.parent >= 0;
}

bool overlap(const DtRegion& a, const DtRegion& b) {
  return a.start < b.start ? b.start - a.start < a.size : a.start - b.start < b.size;
}

void check_overlap(const DeviceTree& dt, const std::vector<Unit>& all,
                   std::vector<DtCheck>& checks) {
  Finding finding("dt-reg-overlap", "overlapping registers");
  for (const auto& unit : all) {
    if (!dt.reachable(*unit.node) || !on_root_bus(dt, *unit.node)) continue;
    for (const auto& other : dt.nodes) {
      if (&other == unit.node || !dt.reachable(other) || !on_root_bus(dt, other)) continue;
      // Two of the NPU's own: named once.
      const bool own =
          std::any_of(all.begin(), all.end(), [&](const Unit& u) { return u.node == &other; });
      if (own && &other < unit.node) continue;
      for (const auto& a : dt.reg(*unit.node))
        for (const auto& b : dt.reg(other))
          if (a.size != 0 && b.size != 0 && overlap(a, b))
            finding.bad(*unit.node, fmt::format("0x{:x} is also claimed by {}",
                                                std::max(a.start, b.start), other.path));
    }
  }
  finding.add_to(checks, DtState::fail, "none of another enabled node",
                 "disable or correct the other node: only one driver can have the registers");
}

const DtNode* interrupt_parent(const DeviceTree& dt, const DtNode& node) {
  for (const auto* n = &node; n; n = dt.parent_of(*n))
    if (const auto cells = n->cells("interrupt-parent"); cells.size() == 1)
      return dt.by_phandle(cells[0]);
  return nullptr;
}

/// What is wrong with a node's interrupt, or empty.
std::string interrupt_fault(const DeviceTree& dt, const Unit& unit) {
  const auto* parent = interrupt_parent(dt, *unit.node);
  auto cells = unit.node->cells("interrupts");
  std::size_t width = 0;
  if (unit.node->has("interrupts-extended")) {  // takes precedence [devicetree specification 2.4]
    const auto list = references(dt, *unit.node, "interrupts-extended", "#interrupt-cells");
    if (!list.error.empty() || !list.list.front().target)
      return "interrupts-extended " + (list.error.empty() ? "names nobody" : list.error);
    parent = list.list.front().target;
    cells = list.list.front().arguments;
    width = cells.size();
  } else {
    if (cells.empty()) return "interrupts is missing";
    if (!parent) return "its interrupt-parent leads to no node";
    const auto told = parent->cells("#interrupt-cells");
    if (told.size() != 1 || told[0] == 0) return parent->path + " has no #interrupt-cells";
    width = told[0];
    if (cells.size() % width != 0)
      return fmt::format("interrupts has {} cells, {} wants {} for each", cells.size(),
                         parent->path, width);
  }
  if (!dt.reachable(*parent)) return parent->path + " is disabled";
  const auto spi = npu_first_spi + static_cast<std::uint32_t>(unit.core);
  // Of the GIC's cells: 0 a shared interrupt, its number, 4 level high [arm,gic-v3.yaml].
  if (is_rk3588(dt) && parent->compatible_with("arm,gic-v3") &&
      (width < 3 || cells[0] != 0 || cells[1] != spi || cells[2] != 4))
    return fmt::format("its interrupt is not SPI {}, level high", spi);
  return {};
}

void check_interrupts(const DeviceTree& dt, const std::vector<Unit>& all,
                      std::vector<DtCheck>& checks) {
  Finding finding("dt-interrupts", "interrupts");
  for (const auto& unit : all)
    if (const auto fault = interrupt_fault(dt, unit); !fault.empty())
      finding.bad(*unit.node, fault);
  finding.add_to(checks, DtState::fail, "each core's, shared with its MMU", mainline_remedy);
}

/// clocks or resets: that they lead to providers that are on, and that all names are there.
void check_inputs(const DeviceTree& dt, const std::vector<Unit>& all, const std::string& property,
                  const std::string& cells_name, const std::string& names_property,
                  const std::function<std::vector<std::string>(const Unit&)>& wanted,
                  std::vector<DtCheck>& checks) {
  Finding links("dt-" + property, property), names("dt-" + names_property, names_property);
  for (const auto& unit : all) {
    const auto want = wanted(unit);
    // An emulator's MMU needs none [rockchip-iommu.c: the clocks are optional].
    if (want.empty() || (unit.is_mmu && is_virtual_machine(dt) && !unit.node->has(property)))
      continue;
    const auto found = references(dt, *unit.node, property, cells_name);
    if (!found.error.empty()) links.bad(*unit.node, property + " " + found.error);
    for (const auto& one : found.list)
      if (!one.target || !dt.reachable(*one.target))
        links.bad(*unit.node,
                  fmt::format("{}: {} is {}", property, one.target ? one.target->path : "an entry",
                              one.target ? "disabled" : "empty"));
    if (found.error.empty() && found.list.size() != want.size())
      links.bad(*unit.node,
                fmt::format("{} {} in place of {}", found.list.size(), property, want.size()));
    if (const auto told = unit.node->strings(names_property); told != want)
      names.bad(*unit.node,
                fmt::format("{} is {} in place of {}", names_property,
                            told.empty() ? "missing" : fmt::format("{}", fmt::join(told, ", ")),
                            fmt::join(want, ", ")));
  }
  links.add_to(checks, DtState::fail, "all lead to providers that are enabled", mainline_remedy);
  names.add_to(checks, DtState::fail, "as the binding has them",
               fmt::format("set {} to the names of the binding, in the order of {}", names_property,
                           property));
}

void check_iommu_cells(const DeviceTree& dt, const NpuNodes& npu, std::vector<DtCheck>& checks) {
  Finding finding("dt-iommu-cells", "cells of the IOMMU");
  for (std::size_t i = 0; i < npu_cores; ++i) {
    if (npu.mmu[i])
      if (const auto cells = npu.mmu[i]->cells("#iommu-cells");
          cells != std::vector<std::uint32_t>{0})
        finding.bad(*npu.mmu[i], cells.empty()
                                     ? "#iommu-cells is missing"
                                     : fmt::format("#iommu-cells is {} in place of 0", cells[0]));
    if (npu.core[i] && npu.core[i]->has("iommus"))
      if (const auto cells = npu.core[i]->cells("iommus"); cells.size() != 1)
        finding.bad(*npu.core[i], fmt::format("iommus has {} cells in place of 1", cells.size()));
  }
  (void)dt;
  finding.add_to(
      checks, DtState::fail, "0, and one phandle in each core",
      "set #iommu-cells = <0> in the MMU's node and iommus = <&its_label> in the core's");
}

void check_whole(const DeviceTree& dt, const NpuNodes& npu, std::vector<DtCheck>& checks) {
  Finding phandles("dt-phandles", "phandles");
  for (const auto& path : dt.same_phandle)
    if (const auto* node = dt.by_path(path)) phandles.bad(*node, "another node has its phandle");
  phandles.add_to(checks, DtState::fail, "all different",
                  "build the tree anew from its source: whatever refers to that phandle may get "
                  "the wrong node");
  Finding vendor("dt-vendor-node", "the vendor's node");
  if (npu.vendor && dt.reachable(*npu.vendor))
    vendor.bad(*npu.vendor, "rockchip,rk3588-rknpu is enabled, the vendor's node for all cores");
  vendor.add_to(checks, DtState::fail, "none enabled",
                "disable it: the vendor's driver and rocket cannot share the NPU");
  // Known for RK3568; for RK3588 reported only from an emulator [control-and-uapi F.4].
  DtCheck memory{
      "dt-memory-4gib", "memory above 4 GiB", DtState::ok, "none named in the tree", {}, {}};
  for (const auto& node : dt.nodes)
    if (node.string("device_type") == "memory")
      for (const auto& part : dt.reg(node))
        if (part.start + part.size > std::uint64_t{1} << 32 && memory.state == DtState::ok) {
          memory.state = DtState::note;
          memory.evidence = node.path +
                            ": the NPU's MMU may have to fetch its page tables from above 4 GiB, "
                            "which some Rockchip parts cannot";
          memory.remedy =
              "nothing to do while jobs work; if all of them time out, boot once with mem=3838M";
        }
  checks.push_back(std::move(memory));
}

}  // namespace

void check_resources(const DeviceTree& dt, const NpuNodes& npu, std::vector<DtCheck>& checks) {
  const auto all = units(npu);
  if (npu.mainline_cores() > 0) {
    using Names = std::vector<std::string>;
    check_reg(dt, all, checks);
    check_overlap(dt, all, checks);
    check_interrupts(dt, all, checks);
    check_inputs(
        dt, all, "clocks", "#clock-cells", "clock-names",
        [](const Unit& u) {
          return u.is_mmu ? Names{"aclk", "iface"} : Names{"aclk", "hclk", "npu", "pclk"};
        },
        checks);
    check_inputs(
        dt, all, "resets", "#reset-cells", "reset-names",
        [](const Unit& u) {
          return u.is_mmu ? Names{} : Names{"srst_a", "srst_h"};
        },
        checks);
    check_iommu_cells(dt, npu, checks);
  }
  check_whole(dt, npu, checks);
}

}  // namespace npu::probe
