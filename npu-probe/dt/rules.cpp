// SPDX-License-Identifier: MIT
// The rules that the audit prints too: cores, MMUs, power domains, supplies.
#include "npu-probe/dt/rules.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace npu::probe {
namespace {

constexpr auto enable_remedy =
    "enable the nodes in the board's device tree or by an overlay: status = \"okay\" for the three "
    "npu nodes and their MMUs, npu-supply and sram-supply = <&vdd_npu_s0>";

struct Rules {
  const DeviceTree& dt;
  const NpuNodes& npu;
  std::vector<DtCheck>& checks;
  bool virtual_machine;
  // The single place through which text of the tree reaches a report: nothing gets out unclean.
  void add(std::string id, std::string title, DtState state, const std::string& evidence,
           std::string remedy = {}, std::vector<std::string> nodes = {}) const {
    checks.push_back({std::move(id), std::move(title), state, printable(evidence),
                      std::move(remedy), std::move(nodes)});
  }
};

void check_cores(const Rules& r) {
  const bool any_enabled = r.npu.enabled_cores() > 0;
  for (std::size_t i = 0; i < npu_cores; ++i) {
    const auto id = fmt::format("dt-npu-core{}", i);
    const auto title = fmt::format("NPU core {} node", i);
    const auto* core = r.npu.core[i];
    // One core is enough to work; a missing second or third one only costs speed.
    const DtState bad = any_enabled ? DtState::warn : DtState::fail;
    if (!core) {
      r.add(id, title, bad,
            fmt::format("no node with reg 0x{:08x} and compatible rockchip,rk3588-rknn-core "
                        "below {}",
                        npu_base[i], r.dt.base.empty() ? "/" : r.dt.base),
            r.npu.vendor ? "boot with the mainline device tree of the board; the vendor's has "
                           "one rockchip,rk3588-rknpu node for all cores"
                         : "use the device tree of a kernel of 6.18 or later");
      continue;
    }
    const auto where = r.dt.base + core->path;
    if (!core->compatible_with("rockchip,rk3588-rknn-core"))
      r.add(id, title, DtState::fail,
            fmt::format("{} is compatible with {}, not with rockchip,rk3588-rknn-core", where,
                        core->string("compatible").empty() ? "nothing readable"
                                                           : core->string("compatible")),
            "boot with the mainline device tree of the board (6.18 or later)", {core->path});
    else if (!core->enabled())
      r.add(id, title, bad, fmt::format("{}: status = \"{}\"", where, core->string("status")),
            enable_remedy, {core->path});
    else
      r.add(id, title, DtState::ok, where + ": enabled");
  }
}

void check_mmus(const Rules& r) {
  const bool any_core = r.npu.enabled_cores() > 0;
  for (std::size_t i = 0; i < npu_cores; ++i) {
    const auto id = fmt::format("dt-iommu{}", i);
    const auto title = fmt::format("IOMMU {} node", i);
    const auto* mmu = r.npu.mmu[i];
    const auto* core = r.npu.core[i];
    const bool needed = core && core->enabled();
    const DtState bad = needed || !any_core ? DtState::fail : DtState::warn;
    if (!mmu) {
      r.add(id, title, bad, fmt::format("no node with reg 0x{:08x}", npu_mmu_base[i]),
            "use the device tree of a kernel of 6.18 or later");
      continue;
    }
    const auto where = r.dt.base + mmu->path;
    const auto wants = core ? core->cells("iommus") : std::vector<std::uint32_t>{};
    if (!mmu->compatible_with("rockchip,rk3588-iommu") &&
        !mmu->compatible_with("rockchip,rk3568-iommu") &&
        !mmu->compatible_with("rockchip,iommu-v2"))
      r.add(id, title, bad, fmt::format("{}: not a Rockchip IOMMU by its compatible", where),
            "boot with the mainline device tree of the board (6.18 or later)", {mmu->path});
    else if (!mmu->enabled())
      r.add(id, title, bad, fmt::format("{}: status = \"{}\"", where, mmu->string("status")),
            enable_remedy, {mmu->path});
    else if (core && (wants.empty() || r.dt.by_phandle(wants[0]) != mmu))
      r.add(id, title, DtState::warn,
            fmt::format("{}: enabled, but iommus of {} does not point to it", where, core->path),
            "correct the iommus property of the core: each core has its own MMU", {core->path});
    else
      r.add(id, title, DtState::ok, where + ": enabled");
  }
}

void check_power_domains(const Rules& r) {
  constexpr auto id = "dt-power-domains";
  constexpr auto title = "NPU power domains";
  std::vector<std::string> good, bad, nodes;
  bool any_property = false;
  for (std::size_t i = 0; i < npu_cores; ++i) {
    const auto* core = r.npu.core[i];
    if (!core) continue;
    any_property = any_property || core->has("power-domains");
    const auto cells = core->cells("power-domains");
    const auto* controller = cells.empty() ? nullptr : r.dt.by_phandle(cells[0]);
    if (cells.size() >= 2 && controller && cells[1] == npu_domain[i]) {
      good.push_back(fmt::format("core {} -> {} ({})", i, npu_domain_name[i], cells[1]));
      continue;
    }
    nodes.push_back(core->path);
    if (cells.size() >= 2 && controller)
      bad.push_back(fmt::format("core {} -> domain {} in place of {}", i, cells[1], npu_domain[i]));
    else
      bad.push_back(fmt::format("core {} has no usable power-domains", i));
  }
  if (good.empty() && bad.empty()) {
    r.add(id, title, DtState::unknown, "no NPU core node to look at",
          "use the device tree of a kernel of 6.18 or later");
  } else if (r.virtual_machine && !any_property) {
    r.add(id, title, DtState::note, "none: this is a virtual machine, whose NPU is always powered");
  } else if (!bad.empty()) {
    r.add(id, title, DtState::warn, fmt::format("{}", fmt::join(bad, "; ")),
          "give each core power-domains = <&power RK3588_PD_NPUTOP / NPU1 / NPU2>: with the "
          "domain off, the first register access hangs the board",
          nodes);
  } else {
    const auto* parent = r.npu.parent_domain;
    const bool fed = parent && parent->has("domain-supply");
    if (!fed && parent) nodes.push_back(parent->path);
    r.add(id, title, fed ? DtState::ok : DtState::warn,
          fmt::format("{}; pd_npu {}", fmt::join(good, ", "),
                      !parent ? "(power-domain 8) not found"
                      : fed   ? "has its domain-supply"
                              : "has no domain-supply"),
          fed ? ""
              : "add domain-supply = <&vdd_npu_s0> to pd_npu: a domain without its supply "
                "does not acknowledge and may hang the board",
          nodes);
  }
}

void check_supply(const Rules& r, const std::string& property) {
  std::vector<std::string> good, bad, nodes;
  bool any_property = false;
  for (std::size_t i = 0; i < npu_cores; ++i) {
    const auto* core = r.npu.core[i];
    if (!core) continue;
    any_property = any_property || core->has(property);
    const auto cells = core->cells(property);
    const auto* regulator = cells.size() == 1 ? r.dt.by_phandle(cells[0]) : nullptr;
    if (regulator) {
      const auto name = regulator->string("regulator-name");
      good.push_back(fmt::format("core {} -> {}", i, name.empty() ? regulator->path : name));
    } else {
      bad.push_back(fmt::format("core {} {}", i, cells.empty() ? "has none" : "points nowhere"));
      nodes.push_back(core->path);
    }
  }
  const auto id = "dt-" + property;
  if (good.empty() && bad.empty())
    r.add(id, property, DtState::unknown, "no NPU core node to look at",
          "use the device tree of a kernel of 6.18 or later");
  else if (r.virtual_machine && !any_property)
    r.add(id, property, DtState::note, "none: this is a virtual machine, which has no rails");
  else
    r.add(id, property, bad.empty() ? DtState::ok : DtState::warn,
          fmt::format("{}", fmt::join(bad.empty() ? good : bad, ", ")),
          bad.empty() ? ""
                      : fmt::format("the binding requires it: set {} = <&vdd_npu_s0> in the "
                                    "board's device tree",
                                    property),
          nodes);
}

void check_soc(const Rules& r) {
  const auto& root = r.dt.nodes.front();
  const auto compatible = root.strings("compatible");
  const auto told = compatible.empty() ? std::string("nothing readable")
                                       : fmt::format("{}", fmt::join(compatible, ", "));
  if (is_rk3588(r.dt))
    r.add("dt-soc", "SoC", DtState::ok, told);
  else if (r.virtual_machine)
    r.add("dt-soc", "SoC", DtState::note,
          told + ": a virtual machine, judged without clocks, power and supplies of a chip");
  else
    r.add("dt-soc", "SoC", DtState::fail,
          fmt::format("the tree is for {}, not for an RK3588 or RK3588S", told),
          "give the tree of an RK3588 board: rk3588*.dtb of the kernel package", {"/"});
}

}  // namespace

std::string_view to_string(DtState state) {
  switch (state) {
    case DtState::ok: return "ok";
    case DtState::note: return "note";
    case DtState::warn: return "warn";
    case DtState::fail: return "fail";
    case DtState::unknown: return "unknown";
  }
  return "unknown";
}

bool is_virtual_machine(const DeviceTree& dt) {
  return dt.present() && dt.nodes.front().compatible_with("linux,dummy-virt");
}

bool is_rk3588(const DeviceTree& dt) {
  return dt.present() && (dt.nodes.front().compatible_with("rockchip,rk3588") ||
                          dt.nodes.front().compatible_with("rockchip,rk3588s"));
}

bool passes(const std::vector<DtCheck>& checks) {
  return std::none_of(checks.begin(), checks.end(), [](const DtCheck& c) {
    return c.state == DtState::warn || c.state == DtState::fail;
  });
}

std::vector<DtCheck> check_npu_nodes(const DeviceTree& dt, const NpuNodes& npu) {
  std::vector<DtCheck> checks;
  const Rules rules{dt, npu, checks, is_virtual_machine(dt)};
  check_cores(rules);
  check_mmus(rules);
  check_power_domains(rules);
  check_supply(rules, "npu-supply");
  check_supply(rules, "sram-supply");
  return checks;
}

std::vector<DtCheck> check_tree(const DeviceTree& dt, const NpuNodes& npu) {
  std::vector<DtCheck> checks;
  if (!dt.present()) return checks;
  check_soc({dt, npu, checks, is_virtual_machine(dt)});
  // Of another machine's tree there is nothing to say but that.
  if (checks.back().state == DtState::fail && npu.mainline_cores() == 0) return checks;
  for (auto& check : check_npu_nodes(dt, npu)) checks.push_back(std::move(check));
  check_resources(dt, npu, checks);
  check_power(dt, npu, checks);
  return checks;
}

}  // namespace npu::probe
