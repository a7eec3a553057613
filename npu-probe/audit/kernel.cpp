// SPDX-License-Identifier: MIT
// Checks of the kernel: new enough, and rocket there and loaded. Its configuration:
// config_check.cpp.
#include <fmt/format.h>

#include "npu-probe/audit/facts.hpp"

namespace npu::probe {
namespace {

bool configured(const Facts& f, std::string_view symbol) {
  const char value = f.kernel.config_of(symbol);
  return value == 'y' || value == 'm';
}

void check_release(const Facts& f, Checks& checks) {
  const auto& k = f.kernel;
  if (!k.version) {
    checks.add("kernel-release", "Kernel release", State::unknown,
               k.release.empty()
                   ? "neither proc/sys/kernel/osrelease nor proc/version is readable"
                   : fmt::format("'{}' ({}) is not a release", k.release, k.release_source),
               "capture the tree again with proc/sys/kernel/osrelease in it");
    return;
  }
  const auto where = fmt::format("{} ({})", k.release, k.release_source);
  if (k.version->at_least(6, 18))
    checks.add("kernel-release", "Kernel release", State::ok, where + ": 6.18 or later has rocket");
  else if (k.loaded || configured(f, "CONFIG_DRM_ACCEL_ROCKET"))
    checks.add("kernel-release", "Kernel release", State::warn,
               where + ": older than 6.18, but rocket is there (a backport)",
               "prefer a kernel of 6.18 or later, which has the driver's later fixes");
  else
    checks.add("kernel-release", "Kernel release", State::fail, where + ": rocket came with 6.18",
               k.vendor_kernel.empty()
                   ? "install a mainline kernel of 6.18 or later"
                   : "replace the vendor kernel by a mainline one of 6.18 or later");
}

void check_module(const Facts& f, Checks& checks) {
  const auto& k = f.kernel;
  const bool builtin = !k.module_builtin.empty() || k.config_of("CONFIG_DRM_ACCEL_ROCKET") == 'y';
  constexpr auto available = "module-available", loaded = "module-loaded";
  if (builtin)
    checks.add(available, "rocket module", State::ok,
               fmt::format("built into the kernel ({})",
                           k.module_builtin.empty() ? k.config_source : k.module_builtin));
  else if (!k.module_file.empty())
    checks.add(available, "rocket module", k.module_in_dep ? State::ok : State::warn,
               k.module_file + (k.module_in_dep ? ", listed in modules.dep"
                                                : ", but modules.dep does not list it"),
               k.module_in_dep ? "" : "run `depmod -a`, else modprobe does not find it");
  else if (k.module_in_dep)
    checks.add(available, "rocket module", State::warn, "modules.dep lists it, the file is missing",
               "install the kernel's modules package again");
  else if (k.loaded)
    checks.add(available, "rocket module", State::ok, "in use (" + k.loaded_source + ")");
  else if (k.release.empty())
    checks.add(available, "rocket module", State::unknown, "kernel release unknown",
               "capture the tree again with proc/sys/kernel/osrelease in it");
  else
    checks.add(available, "rocket module", State::fail,
               fmt::format("no rocket.ko below lib/modules/{} or usr/lib/modules/{}", k.release,
                           k.release),
               k.version && k.version->at_least(6, 18)
                   ? how_to_get_rocket(f)
                   : "install a mainline kernel of 6.18 or later that builds rocket");

  if (k.loaded)
    checks.add(loaded, "rocket loaded", State::ok, k.loaded_source);
  else if (builtin)
    checks.add(loaded, "rocket loaded", State::ok, "built into the kernel");
  else
    checks.add(loaded, "rocket loaded", State::fail, "not in proc/modules, no sys/module/rocket",
               k.module_file.empty() ? "first get the module, see above"
               : f.npu.enabled_cores() == 0
                   ? "first enable the NPU nodes in the device tree, then `modprobe rocket`"
                   : "`modprobe rocket`, and add rocket to /etc/modules-load.d/rocket.conf");
}

void check_vendor(const Facts& f, Checks& checks) {
  std::vector<std::string> signs = f.kernel.vendor_signs;
  for (const auto& node : f.dev_nodes)
    if (node.path.starts_with("/dev/rknpu")) signs.push_back(node.path);
  if (f.npu.vendor) signs.push_back(f.npu.vendor->path + " is rockchip,rk3588-rknpu");
  if (!f.log.vendor_driver.empty())
    signs.push_back(fmt::format("{}: {}", f.log_source, f.log.vendor_driver));
  if (!f.kernel.vendor_kernel.empty()) signs.push_back(f.kernel.vendor_kernel);
  if (signs.empty()) {
    checks.add("vendor-driver", "Vendor driver", State::ok,
               "no rknpu module, no /dev/rknpu*, no vendor node");
    return;
  }
  checks.add(
      "vendor-driver", "Vendor driver", State::fail, fmt::format("{}", fmt::join(signs, "; ")),
      "the vendor's rknpu driver and rocket are incompatible and cannot share the NPU: boot a "
      "mainline kernel of 6.18 or later with the mainline device tree of the board, and do "
      "not install the rknpu module");
}

}  // namespace

void check_kernel(const Facts& facts, const std::vector<ConfigSymbol>& symbols,
                  std::vector<Check>& all) {
  Checks checks(all, "Kernel");
  check_release(facts, checks);
  check_configuration(facts, symbols, all);
  check_module(facts, checks);
  check_vendor(facts, checks);
}

}  // namespace npu::probe
