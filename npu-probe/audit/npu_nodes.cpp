// SPDX-License-Identifier: MIT
// Checks of the device tree: cores, MMUs, power domains, supplies, the load-order trap, the clock.
#include <fmt/format.h>

#include <algorithm>

#include "npu-probe/audit/facts.hpp"
#include "npu-probe/audit/npu_clock.hpp"

namespace npu::probe {
namespace {

constexpr auto enable_remedy =
    "enable the nodes in the board's device tree or by an overlay: status = \"okay\" for the three "
    "npu nodes and their MMUs, npu-supply and sram-supply = <&vdd_npu_s0>";

void check_cores(const Facts& f, Checks& checks) {
  const bool any_enabled = f.npu.enabled_cores() > 0;
  for (std::size_t i = 0; i < npu_cores; ++i) {
    const auto id = fmt::format("dt-npu-core{}", i);
    const auto title = fmt::format("NPU core {} node", i);
    const auto* core = f.npu.core[i];
    // One core is enough to work; a missing second or third one only costs speed.
    const State bad = any_enabled ? State::warn : State::fail;
    if (!core) {
      checks.add(id, title, bad,
                 fmt::format("no node with reg 0x{:08x} and compatible rockchip,rk3588-rknn-core "
                             "below {}",
                             npu_base[i], f.dt.base),
                 f.npu.vendor ? "boot with the mainline device tree of the board; the vendor's has "
                                "one rockchip,rk3588-rknpu node for all cores"
                              : "use the device tree of a kernel of 6.18 or later");
      continue;
    }
    const auto where = fmt::format("{}{}", f.dt.base, core->path);
    if (!core->compatible_with("rockchip,rk3588-rknn-core"))
      checks.add(id, title, State::fail,
                 fmt::format("{} is compatible with {}, not with rockchip,rk3588-rknn-core", where,
                             core->string("compatible").empty() ? "nothing readable"
                                                                : core->string("compatible")),
                 "boot with the mainline device tree of the board (6.18 or later)");
    else if (!core->enabled())
      checks.add(id, title, bad, fmt::format("{}: status = \"{}\"", where, core->string("status")),
                 enable_remedy);
    else
      checks.add(id, title, State::ok, where + ": enabled");
  }
}

void check_mmus(const Facts& f, Checks& checks) {
  const bool any_core = f.npu.enabled_cores() > 0;
  for (std::size_t i = 0; i < npu_cores; ++i) {
    const auto id = fmt::format("dt-iommu{}", i);
    const auto title = fmt::format("IOMMU {} node", i);
    const auto* mmu = f.npu.mmu[i];
    const auto* core = f.npu.core[i];
    const bool needed = core && core->enabled();
    const State bad = needed || !any_core ? State::fail : State::warn;
    if (!mmu) {
      checks.add(id, title, bad, fmt::format("no node with reg 0x{:08x}", npu_mmu_base[i]),
                 "use the device tree of a kernel of 6.18 or later");
      continue;
    }
    const auto where = fmt::format("{}{}", f.dt.base, mmu->path);
    const auto wants = core ? core->cells("iommus") : std::vector<std::uint32_t>{};
    if (!mmu->compatible_with("rockchip,rk3588-iommu") &&
        !mmu->compatible_with("rockchip,rk3568-iommu") &&
        !mmu->compatible_with("rockchip,iommu-v2"))
      checks.add(id, title, bad, fmt::format("{}: not a Rockchip IOMMU by its compatible", where),
                 "boot with the mainline device tree of the board (6.18 or later)");
    else if (!mmu->enabled())
      checks.add(id, title, bad, fmt::format("{}: status = \"{}\"", where, mmu->string("status")),
                 enable_remedy);
    else if (core && (wants.empty() || f.dt.by_phandle(wants[0]) != mmu))
      checks.add(
          id, title, State::warn,
          fmt::format("{}: enabled, but iommus of {} does not point to it", where, core->path),
          "correct the iommus property of the core: each core has its own MMU");
    else
      checks.add(id, title, State::ok, where + ": enabled");
  }
}

void check_power_domains(const Facts& f, Checks& checks) {
  constexpr auto id = "dt-power-domains";
  constexpr auto title = "NPU power domains";
  std::vector<std::string> good, bad;
  for (std::size_t i = 0; i < npu_cores; ++i) {
    const auto* core = f.npu.core[i];
    if (!core) continue;
    const auto cells = core->cells("power-domains");
    const auto* controller = cells.empty() ? nullptr : f.dt.by_phandle(cells[0]);
    if (cells.size() >= 2 && controller && cells[1] == npu_domain[i])
      good.push_back(fmt::format("core {} -> {} ({})", i, npu_domain_name[i], cells[1]));
    else if (cells.size() >= 2 && controller)
      bad.push_back(fmt::format("core {} -> domain {} in place of {}", i, cells[1], npu_domain[i]));
    else
      bad.push_back(fmt::format("core {} has no usable power-domains", i));
  }
  if (good.empty() && bad.empty()) {
    checks.add(id, title, State::unknown, "no NPU core node to look at",
               "use the device tree of a kernel of 6.18 or later");
  } else if (!bad.empty()) {
    checks.add(id, title, State::warn, fmt::format("{}", fmt::join(bad, "; ")),
               "give each core power-domains = <&power RK3588_PD_NPUTOP / NPU1 / NPU2>: with the "
               "domain off, the first register access hangs the board");
  } else {
    const bool fed = f.npu.parent_domain && f.npu.parent_domain->has("domain-supply");
    checks.add(id, title, fed ? State::ok : State::warn,
               fmt::format("{}; pd_npu {}", fmt::join(good, ", "),
                           !f.npu.parent_domain ? "(power-domain 8) not found"
                           : fed                ? "has its domain-supply"
                                                : "has no domain-supply"),
               fed ? ""
                   : "add domain-supply = <&vdd_npu_s0> to pd_npu: a domain without its supply "
                     "does not acknowledge and may hang the board");
  }
}

void check_supply(const Facts& f, Checks& checks, const std::string& property) {
  std::vector<std::string> good, bad;
  for (std::size_t i = 0; i < npu_cores; ++i) {
    const auto* core = f.npu.core[i];
    if (!core) continue;
    const auto cells = core->cells(property);
    const auto* regulator = cells.size() == 1 ? f.dt.by_phandle(cells[0]) : nullptr;
    if (regulator) {
      const auto name = regulator->string("regulator-name");
      good.push_back(fmt::format("core {} -> {}", i, name.empty() ? regulator->path : name));
    } else {
      bad.push_back(fmt::format("core {} {}", i, cells.empty() ? "has none" : "points nowhere"));
    }
  }
  const auto id = "dt-" + property;
  if (good.empty() && bad.empty())
    checks.add(id, property, State::unknown, "no NPU core node to look at",
               "use the device tree of a kernel of 6.18 or later");
  else
    checks.add(id, property, bad.empty() ? State::ok : State::warn,
               fmt::format("{}", fmt::join(bad.empty() ? good : bad, ", ")),
               bad.empty() ? ""
                           : fmt::format("the binding requires it: set {} = <&vdd_npu_s0> in the "
                                         "board's device tree",
                                         property));
}

/// Whether a file makes the initramfs load rocket.
std::string early_loader(const Tree& tree) {
  std::vector<std::string> files{"/etc/initramfs-tools/modules", "/etc/mkinitcpio.conf",
                                 "/etc/dracut.conf"};
  for (const auto& name : tree.list("/etc/dracut.conf.d", 256))
    files.push_back("/etc/dracut.conf.d/" + name);
  for (const auto& file : files) {
    const auto text = tree.read(file, 1 << 20).value_or("");
    for (const auto line : split_lines(text, 20000)) {
      const auto code = trim(line);
      if (!code.starts_with('#') && code.find("rocket") != std::string_view::npos) return file;
    }
  }
  return {};
}

/// The regulator core switches off what nobody holds, some 30 s after boot. vdd_npu boots enabled
/// but has no consumer until rocket and the power domain use it.
void check_load_order(const Facts& f, Checks& checks) {
  constexpr auto id = "load-order";
  constexpr auto title = "vdd_npu and late module load";
  constexpr auto remedy =
      "load rocket early (add it to /etc/initramfs-tools/modules and run update-initramfs -u), or "
      "set regulator-always-on for vdd_npu_s0, or boot with regulator_ignore_unused";
  if (!f.log.npu_regulator_off.empty()) {
    checks.add(id, title, State::warn, fmt::format("{}: {}", f.log_source, f.log.npu_regulator_off),
               remedy);
    return;
  }
  if (!f.npu.supply) {
    checks.add(id, title, State::unknown, "no regulator of npu-supply or named vdd_npu* found",
               f.npu.enabled_cores() > 0 ? "name the NPU's supply in the board's device tree" : "");
    return;
  }
  const auto name = fmt::format("{} ({}{})", f.npu.supply->string("regulator-name"), f.dt.base,
                                f.npu.supply->path);
  if (f.npu.supply->has("regulator-always-on"))
    checks.add(id, title, State::ok, name + " is regulator-always-on");
  else if (f.kernel.cmdline.find("regulator_ignore_unused") != std::string::npos)
    checks.add(id, title, State::ok, "proc/cmdline: regulator_ignore_unused");
  else if (!f.kernel.rocket_is_module() && f.kernel.config_of("CONFIG_DRM_ACCEL_ROCKET") != 'n' &&
           (!f.kernel.config.empty() || !f.kernel.module_builtin.empty()))
    checks.add(id, title, State::ok, "rocket is built in and claims its domain before the cleanup");
  else if (const auto loader = early_loader(f.tree); !loader.empty())
    checks.add(id, title, State::ok, loader + " loads rocket from the initramfs");
  else if (f.kernel.rocket_is_module()) {
    const auto time = f.log.core_times.empty() ? "" : f.log.core_times.begin()->second;
    checks.add(
        id, title, State::warn,
        name +
            " is not regulator-always-on and rocket is a module: the late regulator "
            "cleanup switches it off if the module comes later" +
            (time.empty() ? "" : fmt::format(" (it came at {} s in {})", time, f.log_source)),
        remedy);
  } else {
    checks.add(id, title, State::unknown, name + " is not always on; no rocket module to judge by",
               "");
  }
}

void check_clock(const Facts& f, Checks& checks) {
  constexpr auto id = "npu-clock";
  constexpr auto title = "NPU clock";
  constexpr auto remedy =
      "200 MHz is where mainline leaves it; a driver or device tree that sets 600 MHz with the "
      "power "
      "domain on gives about 1.4x. Never change the rate while the domain is off: the firmware "
      "hangs";
  std::uint64_t rate = 0;
  std::string source;
  if (const auto clock = running_npu_clock(f.tree)) {
    rate = clock->hz;
    source = clock->path;
  }
  if (source.empty()) {
    for (const auto* core : f.npu.core) {
      if (!core) continue;
      const auto cells = core->cells("assigned-clock-rates");
      if (cells.empty()) continue;
      rate = cells[0];
      source = fmt::format("{}{}/assigned-clock-rates", f.dt.base, core->path);
      break;
    }
  }
  if (source.empty() || rate == 0)
    checks.add(id, title, State::unknown,
               source.empty()
                   ? "neither sys/kernel/debug/clk/*npu*/clk_rate nor assigned-clock-rates"
                   : source + ": 0 Hz",
               "mount debugfs and audit as root to see the rate");
  else
    checks.add(id, title, rate <= 200000000 ? State::warn : State::ok,
               fmt::format("{} MHz ({})", rate / 1000000, source), rate <= 200000000 ? remedy : "");
}

}  // namespace

void check_device_tree(const Facts& facts, std::vector<Check>& all) {
  Checks checks(all, "Device tree");
  check_cores(facts, checks);
  check_mmus(facts, checks);
  check_power_domains(facts, checks);
  check_supply(facts, checks, "npu-supply");
  check_supply(facts, checks, "sram-supply");
  check_load_order(facts, checks);
  check_clock(facts, checks);
}

}  // namespace npu::probe
