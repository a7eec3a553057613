// SPDX-License-Identifier: MIT
// Rules of power: the domains, the rails that feed them, and the clock's rate at boot.
#include <algorithm>
#include <set>

#include "npu-probe/dt/finding.hpp"

namespace npu::probe {
namespace {

const DtNode* supply(const DeviceTree& dt, const DtNode& node, const std::string& property) {
  const auto cells = node.cells(property);
  return cells.size() == 1 ? dt.by_phandle(cells[0]) : nullptr;
}

void check_mmu_domains(const NpuNodes& npu, std::vector<DtCheck>& checks) {
  Finding finding("dt-mmu-power-domain", "power domains of the MMUs");
  for (std::size_t i = 0; i < npu_cores; ++i) {
    const auto *core = npu.core[i], *mmu = npu.mmu[i];
    if (!core || !mmu || !core->has("power-domains")) continue;
    if (!mmu->has("power-domains"))
      finding.bad(*mmu, "has no power-domains, " + core->path + " has");
    else if (mmu->cells("power-domains") != core->cells("power-domains"))
      finding.bad(*mmu, "is in another power domain than " + core->path);
  }
  finding.add_to(checks, DtState::fail, "each is in the domain of its core",
                 "give the MMU the power-domains of its core: with the domain off, the first "
                 "register access hangs the board");
}

/// The domain with this number below the controller, and the number of the one that it lies in.
void check_domain_tree(const DeviceTree& dt, const NpuNodes& npu, std::vector<DtCheck>& checks) {
  Finding finding("dt-power-tree", "the NPU in the power controller");
  const auto* controller = npu.power_controller;
  if (!controller) {
    if (!is_virtual_machine(dt))
      finding.bad(dt.nodes.front(), "no node is compatible with rockchip,rk3588-power-controller");
  } else {
    if (!dt.reachable(*controller)) finding.bad(*controller, "is disabled");
    if (controller->cells("#power-domain-cells") != std::vector<std::uint32_t>{1})
      finding.bad(*controller, "#power-domain-cells is not 1");
    // Domain 8 feeds 9, and 9 the other two [linux rk3588-base.dtsi, rk3588-power.h].
    const std::uint32_t parent_of_core[] = {npu_parent_domain, npu_domain[0], npu_domain[0]};
    for (std::size_t i = 0; i < npu_cores; ++i) {
      const DtNode* domain = nullptr;
      for (const auto& node : dt.nodes)
        if (node.path.starts_with(controller->path + "/") && !node.has("compatible") &&
            node.cells("reg") == std::vector<std::uint32_t>{npu_domain[i]})
          domain = &node;
      const auto* above = domain ? dt.parent_of(*domain) : nullptr;
      if (!domain)
        finding.bad(*controller,
                    fmt::format("domain {} ({}) is missing", npu_domain[i], npu_domain_name[i]));
      else if (above->cells("reg") != std::vector<std::uint32_t>{parent_of_core[i]})
        finding.bad(*domain, fmt::format("does not lie in domain {}", parent_of_core[i]));
    }
  }
  finding.add_to(checks, DtState::fail,
                 controller ? "NPU, in it NPUTOP, in it NPU1 and NPU2" : "none, as it must be",
                 "use the board's device tree of a mainline kernel of 6.18 or later");
}

/// Who names a rail: the cores and the power domain.
struct Consumer {
  const DtNode* node;
  std::string property;
};

std::vector<Consumer> consumers(const NpuNodes& npu) {
  std::vector<Consumer> all;
  for (const auto* core : npu.core)
    for (const auto property : {"npu-supply", "sram-supply"})
      if (core && core->has(property)) all.push_back({core, property});
  if (npu.parent_domain && npu.parent_domain->has("domain-supply"))
    all.push_back({npu.parent_domain, "domain-supply"});
  return all;
}

void check_rails(const DeviceTree& dt, const NpuNodes& npu, std::vector<DtCheck>& checks) {
  Finding names("dt-rail-name", "names of the rails"), on("dt-supply-enabled", "rails enabled"),
      domain("dt-domain-supply", "domain-supply"), same("dt-supply-same", "one rail for all cores");
  const DtNode* logic = nullptr;
  for (const auto& [node, property] : consumers(npu)) {
    const auto* rail = supply(dt, *node, property);
    if (property == "domain-supply" && !rail) domain.bad(*node, "domain-supply points nowhere");
    if (!rail) continue;  // of a core: dt-npu-supply and dt-sram-supply say so
    if (!is_npu_rail(*rail)) {
      const auto name = rail->string("regulator-name");
      names.bad(*node, fmt::format("{} is {}, whose regulator-name is {}", property, rail->path,
                                   name.empty() ? "missing" : name));
    }
    if (!dt.reachable(*rail)) on.bad(*node, fmt::format("{} {} is disabled", property, rail->path));
    if (property == "npu-supply") {
      if (logic && rail != logic)
        same.bad(*node,
                 fmt::format("npu-supply is {}, of another core {}", rail->path, logic->path));
      logic = logic ? logic : rail;
    }
    if (property == "domain-supply" && logic && rail != logic)
      domain.bad(*node, fmt::format("domain-supply is {}, npu-supply {}", rail->path, logic->path));
  }
  // All cores have one pair of rails: of the SRAM too.
  const DtNode* sram = nullptr;
  for (const auto* core : npu.core) {
    const auto* rail = core ? supply(dt, *core, "sram-supply") : nullptr;
    if (rail && sram && rail != sram)
      same.bad(*core, fmt::format("sram-supply is {}, of another core {}", rail->path, sram->path));
    sram = sram ? sram : rail;
  }
  names.add_to(checks, DtState::fail, "vdd_npu*",
               "name the rail that the board's schematics show; on most boards it is vdd_npu_s0. A "
               "wrong rail is switched off when the NPU idles, with whatever else it feeds");
  on.add_to(checks, DtState::fail, "all of them",
            "enable the regulator's node and the bus that it is on");
  domain.add_to(checks, DtState::warn, "the rail of the cores, if there is one",
                "set domain-supply of pd_npu to the regulator of npu-supply: it keeps the rail on "
                "while a job runs");
  same.add_to(checks, DtState::warn, "yes",
              "the cores share one power domain: name the same regulators in all of them");
}

/// The kernel switches off what nobody holds, some 30 s after boot. The driver takes no regulator
/// [rocket_core.c]; the power domain does, by its domain-supply [pm-domains.c].
void check_kept_on(const DeviceTree& dt, const NpuNodes& npu, std::vector<DtCheck>& checks) {
  Finding finding("dt-rail-kept-on", "rails stay on");
  const auto* held = npu.parent_domain ? supply(dt, *npu.parent_domain, "domain-supply") : nullptr;
  if (npu.enabled_cores() > 0)
    for (const auto& node : dt.nodes)
      if (is_npu_rail(node) && dt.reachable(node) && !node.has("regulator-always-on") &&
          &node != held)
        finding.bad(node,
                    "is neither regulator-always-on nor the domain-supply of pd_npu: the "
                    "kernel switches it off after boot");
  finding.add_to(checks, DtState::fail, npu.enabled_cores() > 0 ? "all" : "no core is enabled",
                 "set domain-supply of pd_npu to it, or regulator-always-on: with the rail off, "
                 "reading a register of the NPU hangs the board");
}

void check_clock_rate(const DeviceTree& dt, const NpuNodes& npu, std::vector<DtCheck>& checks) {
  constexpr std::uint32_t mainline_hz = 200000000;
  Finding finding("dt-clock-rate", "clock at boot");
  for (const auto* core : npu.core) {
    if (!core || !core->has("assigned-clocks")) continue;
    const auto inputs = references(dt, *core, "clocks", "#clock-cells").list;
    const auto names = core->strings("clock-names");
    const auto at = std::find(names.begin(), names.end(), "npu");
    const auto index = static_cast<std::size_t>(at - names.begin());
    if (at == names.end() || index >= inputs.size()) continue;
    const auto assigned = references(dt, *core, "assigned-clocks", "#clock-cells").list;
    const auto rates = core->cells("assigned-clock-rates");
    for (std::size_t i = 0; i < std::min(assigned.size(), rates.size()); ++i)
      if (assigned[i] == inputs[index] && rates[i] > mainline_hz)
        finding.bad(*core, fmt::format("assigned-clock-rates asks for {} MHz", rates[i] / 1000000));
  }
  finding.add_to(checks, DtState::warn, "not raised by the tree",
                 "leave it at 200000000: the tree's rate is set while the power domain is off, and "
                 "the firmware then hangs");
}

}  // namespace

void check_power(const DeviceTree& dt, const NpuNodes& npu, std::vector<DtCheck>& checks) {
  if (npu.mainline_cores() == 0) return;
  check_mmu_domains(npu, checks);
  check_domain_tree(dt, npu, checks);
  check_rails(dt, npu, checks);
  check_kept_on(dt, npu, checks);
  check_clock_rate(dt, npu, checks);
}

}  // namespace npu::probe
