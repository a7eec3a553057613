// SPDX-License-Identifier: MIT
// Checks of the device tree: the rules of npu-probe/dt, the load-order trap, the clock.
#include <fmt/format.h>

#include <algorithm>

#include "npu-probe/audit/facts.hpp"
#include "npu-probe/audit/npu_clock.hpp"
#include "npu-probe/dt/rules.hpp"

namespace npu::probe {
namespace {

/// The audit has no notes: what is fit to be left as it is, is ok.
State state_of(DtState state) {
  switch (state) {
    case DtState::ok:
    case DtState::note: return State::ok;
    case DtState::warn: return State::warn;
    case DtState::fail: return State::fail;
    case DtState::unknown: return State::unknown;
  }
  return State::unknown;
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
      "200 MHz is where mainline leaves it; with kernel/patches/0004 the driver raises it to 600 "
      "MHz "
      "while the power domain is on: about 1.4x. Never put a higher assigned-clock-rates into the "
      "device tree, and never change the rate while the domain is off: the firmware hangs";
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
  for (auto& rule : check_npu_nodes(facts.dt, facts.npu))
    checks.add(rule.id, rule.title, state_of(rule.state), rule.evidence, rule.remedy);
  check_load_order(facts, checks);
  check_clock(facts, checks);
}

}  // namespace npu::probe
