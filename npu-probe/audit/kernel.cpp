// SPDX-License-Identifier: MIT
// Checks of the kernel: new enough, configured, and rocket there and loaded.
#include <fmt/format.h>

#include "npu-probe/audit/facts.hpp"

namespace npu::probe {
namespace {

constexpr std::string_view how_to_build =
    "the kernel is new enough, only the module is missing: build it out of tree from the same "
    "version's source package (drivers/accel/rocket) against the matching headers: `make -C "
    "/lib/modules/$(uname -r)/build M=$PWD/drivers/accel/rocket CONFIG_DRM_ACCEL_ROCKET=m modules "
    "modules_install`, then `depmod -a` and `modprobe rocket`; or install a kernel that sets "
    "CONFIG_DRM_ACCEL_ROCKET=m";

std::string spelled(const Facts& f, std::string_view symbol) {
  const char value = f.kernel.config_of(symbol);
  if (value == 'n') return fmt::format("{} is not set ({})", symbol, f.kernel.config_source);
  if (value == '?')
    return f.kernel.config.empty()
               ? fmt::format(
                     "no kernel configuration found (proc/config.gz, boot/config-{}, "
                     "lib/modules/{}/config, .../build/.config)",
                     f.kernel.release, f.kernel.release)
               : fmt::format("{} does not appear in {}", symbol, f.kernel.config_source);
  return fmt::format("{}={} ({})", symbol, value, f.kernel.config_source);
}

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

void check_config(const Facts& f, Checks& checks) {
  struct Symbol {
    const char *id, *symbol, *what;
  };
  for (const auto& s : {Symbol{"config-drm-accel", "CONFIG_DRM_ACCEL", "Accelerator framework"},
                        Symbol{"config-rockchip-iommu", "CONFIG_ROCKCHIP_IOMMU", "IOMMU driver"},
                        Symbol{"config-rockchip-pm-domains", "CONFIG_ROCKCHIP_PM_DOMAINS",
                               "Power-domain driver"}}) {
    const bool no_config = f.kernel.config.empty();
    const bool good = configured(f, s.symbol);
    checks.add(s.id, s.what,
               good        ? State::ok
               : no_config ? State::unknown
                           : State::fail,
               spelled(f, s.symbol),
               good ? ""
               : no_config
                   ? "copy the kernel's configuration to /boot/config-<release> and audit again"
                   : fmt::format("use a kernel with {}=y", s.symbol));
  }
  constexpr std::string_view rocket = "CONFIG_DRM_ACCEL_ROCKET";
  const bool elsewhere = !f.kernel.module_file.empty() || f.kernel.loaded;
  if (configured(f, rocket))
    checks.add("config-drm-accel-rocket", "rocket configured", State::ok, spelled(f, rocket));
  else if (f.kernel.config.empty())
    checks.add("config-drm-accel-rocket", "rocket configured", State::unknown, spelled(f, rocket),
               "copy the kernel's configuration to /boot/config-<release> and audit again");
  else if (elsewhere)
    checks.add("config-drm-accel-rocket", "rocket configured", State::warn,
               spelled(f, rocket) + ", but the module was built out of tree",
               "build it again after every kernel update (DKMS does so)");
  else
    checks.add("config-drm-accel-rocket", "rocket configured", State::fail, spelled(f, rocket),
               f.kernel.version && f.kernel.version->at_least(6, 18)
                   ? std::string(how_to_build)
                   : "use a kernel of 6.18 or later with CONFIG_DRM_ACCEL_ROCKET=m");
}

/// New enough, yet the distribution left rocket out (Debian's arm64 7.x has DRM_ACCEL=y only).
void check_distribution(const Facts& f, Checks& checks) {
  const auto& k = f.kernel;
  const bool there = k.loaded || !k.module_file.empty() || !k.module_builtin.empty() ||
                     configured(f, "CONFIG_DRM_ACCEL_ROCKET");
  constexpr auto id = "distribution-rocket";
  constexpr auto title = "Distribution builds rocket";
  if (there)
    checks.add(id, title, State::ok, "rocket is part of this kernel or was added to it");
  else if (!k.version || k.config.empty())
    checks.add(id, title, State::unknown, "no kernel configuration to tell from",
               "copy the kernel's configuration to /boot/config-<release> and audit again");
  else if (!k.version->at_least(6, 18))
    checks.add(id, title, State::fail, fmt::format("{} is too old to have it", k.release),
               "install a mainline kernel of 6.18 or later");
  else
    checks.add(id, title, State::fail,
               fmt::format("{} is new enough, {}, {}, and there is no rocket.ko", k.release,
                           spelled(f, "CONFIG_DRM_ACCEL"), spelled(f, "CONFIG_DRM_ACCEL_ROCKET")),
               std::string(how_to_build));
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
                   ? std::string(how_to_build)
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

void check_kernel(const Facts& facts, std::vector<Check>& all) {
  Checks checks(all, "Kernel");
  check_release(facts, checks);
  check_config(facts, checks);
  check_distribution(facts, checks);
  check_module(facts, checks);
  check_vendor(facts, checks);
}

}  // namespace npu::probe
