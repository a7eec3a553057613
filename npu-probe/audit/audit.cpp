// SPDX-License-Identifier: MIT
#include "npu-probe/audit/audit.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "npu-probe/audit/config_fragment.hpp"
#include "npu-probe/audit/facts.hpp"

namespace npu::probe {
namespace {

/// The first thing to do: causes come before their consequences.
std::string next_step(const Report& report) {
  if (report.verdict == Verdict::no_rk3588 && report.count(State::fail) == 0)
    return "there is no RK3588 here, and nothing is wrong: use the simulated device (--device "
           "sim), "
           "for example `npu-probe bringup --device sim`";
  if (report.verdict == Verdict::ready)
    return "run `npu-probe bringup --device rocket`, the ladder from an open device to a product "
           "on all three cores";
  for (const auto id :
       {"vendor-driver", "kernel-release", "distribution-rocket", "config-drm-accel",
        "config-drm-accel-rocket", "config-rockchip-iommu", "config-rockchip-pm-domains",
        "config-fragment", "module-available", "dt-npu-core0", "dt-npu-core1", "dt-npu-core2",
        "dt-iommu0", "dt-iommu1", "dt-iommu2", "module-loaded", "accel-node", "accel-access"}) {
    const auto* check = report.find(id);
    if (check && check->state == State::fail && !check->remedy.empty()) return check->remedy;
  }
  for (const auto& check : report.checks)
    if (check.state == State::fail && !check.remedy.empty()) return check.remedy;
  return "look at the failed checks above";
}

}  // namespace

const Check* Report::find(std::string_view id) const {
  const auto it = std::find_if(checks.begin(), checks.end(),
                               [&](const Check& check) { return check.id == id; });
  return it == checks.end() ? nullptr : &*it;
}

int Report::count(State state) const {
  return static_cast<int>(std::count_if(checks.begin(), checks.end(),
                                        [&](const Check& check) { return check.state == state; }));
}

Report audit(const Options& options) {
  const Tree tree(options.root);
  auto facts = gather(tree);
  if (!options.config.empty()) {
    facts.kernel.config = read_config_file(options.config);
    facts.kernel.config_source = printable(options.config, 256);
    facts.kernel.config_release = release_of_config(facts.kernel.config);
  }
  Report report;
  if (facts.is_rk3588 || !options.config.empty())
    report.configuration = compare_config(rosenblatt_fragment(), facts.kernel.config);
  report.machine = facts.machine;
  for (auto* text :
       {&report.machine.soc, &report.machine.board, &report.machine.kernel, &report.machine.arch})
    *text = printable(*text, 256);
  check_machine(facts, report.checks);
  if (facts.is_rk3588) {
    check_kernel(facts, report.configuration, report.checks);
    check_device_tree(facts, report.checks);
    check_devices(facts, report.checks);
  } else if (!options.config.empty()) {
    check_configuration(facts, report.configuration, report.checks);
  }
  check_runtime(facts, report.checks);
  check_userspace(facts, report.checks);
  report.verdict = !facts.is_rk3588                 ? Verdict::no_rk3588
                   : report.count(State::fail) != 0 ? Verdict::not_ready
                                                    : Verdict::ready;
  report.status_table = status_table(facts, report);
  report.next_step = next_step(report);
  return report;
}

}  // namespace npu::probe
