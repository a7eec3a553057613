// SPDX-License-Identifier: MIT
// The status table of the mainline audit: one row per part of the stack.
#include <fmt/format.h>

#include "npu-probe/audit/facts.hpp"

namespace npu::probe {
namespace {

std::string evidence_of(const Report& report, std::string_view id) {
  const auto* check = report.find(id);
  return check ? check->evidence : std::string();
}

std::string remedy_of(const Report& report, std::string_view id) {
  const auto* check = report.find(id);
  return check ? check->remedy : std::string();
}

State state_of(const Report& report, std::string_view id) {
  const auto* check = report.find(id);
  return check ? check->state : State::unknown;
}

StatusRow driver_row(const Facts& f, const Report& report) {
  StatusRow row{"rocket driver", "", "", ""};
  const bool available = state_of(report, "module-available") == State::ok ||
                         state_of(report, "module-available") == State::warn;
  const bool loaded = state_of(report, "module-loaded") == State::ok;
  row.state = fmt::format("drivers/accel/rocket, in mainline since 6.18; here: {}",
                          loaded      ? "loaded"
                          : available ? "built, not loaded"
                                      : "absent");
  row.evidence = fmt::format(
      "{}; {}", evidence_of(report, "kernel-release"),
      loaded ? evidence_of(report, "module-loaded") : evidence_of(report, "module-available"));
  row.notes = loaded ? evidence_of(report, "drm-driver")
                     : remedy_of(report, available ? "module-loaded" : "module-available");
  if (!f.log.core_versions.empty())
    row.notes = fmt::format("{} cores in {}", f.log.core_versions.size(), f.log_source);
  return row;
}

StatusRow nodes_row(const Facts& f) {
  StatusRow row{"NPU nodes in rk3588 dtsi", "", "", ""};
  std::vector<std::string> found;
  int mmus = 0;
  for (const auto* core : f.npu.core)
    if (core && core->compatible_with("rockchip,rk3588-rknn-core")) found.push_back(core->path);
  for (const auto* mmu : f.npu.mmu) mmus += mmu != nullptr;
  row.state = fmt::format("in rk3588-base.dtsi since 6.18; here: {} of 3 cores, {} of 3 MMUs",
                          found.size(), mmus);
  row.evidence = found.empty() ? "no such node" : fmt::format("{}", fmt::join(found, ", "));
  row.notes = "found by compatible or reg, not by name";
  return row;
}

StatusRow board_row(const Facts& f, const Report& report) {
  StatusRow row{"NPU nodes in the board file", "", "", ""};
  const int enabled = f.npu.enabled_cores();
  row.state = enabled == 3                 ? "enabled, 3 of 3"
              : enabled > 0                ? fmt::format("enabled in part, {} of 3", enabled)
              : f.npu.mainline_cores() > 0 ? "disabled"
                                           : "absent";
  std::vector<std::string> list;
  for (const auto* core : f.npu.core)
    if (core)
      list.push_back(
          fmt::format("{} {}", core->path, core->has("status") ? core->string("status") : "okay"));
  row.evidence =
      fmt::format("{}{}", f.machine.board.empty() ? "" : f.machine.board + ": ",
                  list.empty() ? "no NPU node" : fmt::format("{}", fmt::join(list, ", ")));
  row.notes = enabled < 3 ? remedy_of(report, enabled == 0 ? "dt-npu-core0" : "dt-npu-core1")
                          : evidence_of(report, "dt-npu-supply");
  return row;
}

StatusRow consumer_row(const Facts& f, const Report& report) {
  StatusRow row{"userspace uAPI consumer", "", "", ""};
  row.state = "Mesa 25.3 and later (rocket, Teflon); npu-probe itself";
  row.evidence = f.is_rk3588 ? evidence_of(report, "mesa-teflon") : "not looked for";
  row.notes = f.is_rk3588 ? fmt::format("access: {}", evidence_of(report, "accel-access")) : "";
  return row;
}

StatusRow vendor_row(const Facts& f, const Report& report) {
  StatusRow row{"vendor stack", "rknpu and librknnrt: out of tree, incompatible with rocket", "",
                ""};
  if (!f.is_rk3588) {
    row.evidence = "not looked for";
    return row;
  }
  const bool driver = state_of(report, "vendor-driver") == State::fail;
  const bool runtime = state_of(report, "vendor-runtime") == State::warn;
  row.state += driver ? "; here: present" : runtime ? "; here: only its runtime" : "; here: absent";
  row.evidence = fmt::format("{}; {}", evidence_of(report, "vendor-driver"),
                             evidence_of(report, "vendor-runtime"));
  row.notes = driver ? remedy_of(report, "vendor-driver") : remedy_of(report, "vendor-runtime");
  return row;
}

}  // namespace

std::vector<StatusRow> status_table(const Facts& f, const Report& report) {
  std::vector<StatusRow> rows;
  if (f.is_rk3588) {
    rows.push_back(driver_row(f, report));
    const int cores = f.npu.mainline_cores();
    rows.push_back({"DT bindings",
                    fmt::format("rockchip,rk3588-rknn-core, in mainline since 6.18; here: {}",
                                cores > 0      ? fmt::format("used by {} nodes", cores)
                                : f.npu.vendor ? "not used, the tree has the vendor's node"
                                               : "not used"),
                    f.dt.present() ? f.dt.base : "no device tree",
                    "Documentation/devicetree/bindings/npu/rockchip,rk3588-rknn-core.yaml"});
    rows.push_back({"NPU power domain",
                    f.npu.parent_domain      ? "pd_npu (domain 8) is in the device tree"
                    : f.npu.power_controller ? "controller found, domain 8 not"
                                             : "not found",
                    evidence_of(report, "dt-power-domains"),
                    evidence_of(report, "config-rockchip-pm-domains")});
    rows.push_back(nodes_row(f));
    rows.push_back(board_row(f, report));
  } else {
    const auto here =
        fmt::format("not an RK3588 ({})", f.machine.arch.empty() ? "unknown" : f.machine.arch);
    rows.push_back({"rocket driver", "in mainline since 6.18", here, ""});
    rows.push_back({"DT bindings", "in mainline since 6.18", here, ""});
    rows.push_back({"NPU power domain", "in mainline", here, ""});
    rows.push_back({"NPU nodes in rk3588 dtsi", "in rk3588-base.dtsi since 6.18", here, ""});
    rows.push_back({"NPU nodes in the board file", "depends on the board", here, ""});
  }
  rows.push_back(consumer_row(f, report));
  rows.push_back(vendor_row(f, report));
  for (auto& row : rows)
    for (auto* text : {&row.component, &row.state, &row.evidence, &row.notes})
      *text = printable(*text);
  return rows;
}

}  // namespace npu::probe
