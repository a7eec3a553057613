// SPDX-License-Identifier: MIT
// Checks of the kernel's configuration: what rocket cannot do without by itself, the rest of the
// fragment in one.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "npu-probe/audit/facts.hpp"

namespace npu::probe {
namespace {

constexpr std::string_view rocket = "CONFIG_DRM_ACCEL_ROCKET", accel = "CONFIG_DRM_ACCEL";

constexpr std::string_view how_to_build =
    "the kernel is new enough, only the module is missing: build it out of tree from the same "
    "version's source package (drivers/accel/rocket) against the matching headers: `make -C "
    "/lib/modules/$(uname -r)/build M=$PWD/drivers/accel/rocket CONFIG_DRM_ACCEL_ROCKET=m modules "
    "modules_install`, then `depmod -a` and `modprobe rocket`; or install a kernel that sets "
    "CONFIG_DRM_ACCEL_ROCKET=m";
constexpr std::string_view how_to_rebuild =
    "CONFIG_DRM_ACCEL is no module: it cannot be added to a kernel that is built without it. "
    "Install a kernel that has it (Debian's has since 7.3), or build one with "
    "kernel/config/rosenblatt.config merged into its configuration";
constexpr std::string_view copy_config =
    "copy the kernel's configuration to /boot/config-<release>, or name it with --config, and "
    "audit again";

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

bool new_enough(const Facts& f) {
  const auto version = f.kernel.version_of_config();
  return version && version->at_least(6, 18);
}

void check_symbols(const Facts& f, Checks& checks) {
  struct Symbol {
    const char* id;
    std::string_view symbol;
    const char* what;
  };
  for (const auto& s : {Symbol{"config-drm-accel", accel, "Accelerator framework"},
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
               good        ? ""
               : no_config ? std::string(copy_config)
                           : fmt::format("use a kernel with {}=y", s.symbol));
  }
}

void check_rocket(const Facts& f, Checks& checks) {
  constexpr auto id = "config-drm-accel-rocket";
  constexpr auto title = "rocket configured";
  const bool elsewhere = !f.kernel.module_file.empty() || f.kernel.loaded;
  if (configured(f, rocket))
    checks.add(id, title, State::ok, spelled(f, rocket));
  else if (f.kernel.config.empty())
    checks.add(id, title, State::unknown, spelled(f, rocket), std::string(copy_config));
  else if (elsewhere)
    checks.add(id, title, State::warn,
               spelled(f, rocket) + ", but the module was built out of tree",
               "build it again after every kernel update (DKMS does so)");
  else
    checks.add(id, title, State::fail, spelled(f, rocket), how_to_get_rocket(f));
}

std::string names(const std::vector<const ConfigSymbol*>& symbols, bool with_reason) {
  std::string out;
  for (const auto* s : symbols) {
    out += out.empty() ? "" : with_reason ? "; " : ", ";
    out += with_reason ? fmt::format("{} ({})", s->symbol, s->reason) : s->symbol;
  }
  return out;
}

/// The symbols of the fragment that have no check of their own.
void check_fragment(const Facts& f, const std::vector<ConfigSymbol>& symbols, Checks& checks) {
  constexpr auto id = "config-fragment";
  constexpr auto title = "Configuration as a whole";
  if (f.kernel.config.empty()) {
    checks.add(id, title, State::unknown, "no kernel configuration found",
               std::string(copy_config));
    return;
  }
  std::vector<const ConfigSymbol*> modules, missing, serious;
  State state = State::ok;
  for (const auto& s : symbols) {
    if (s.state == SymbolState::module) modules.push_back(&s);
    if (s.state != SymbolState::missing) continue;
    missing.push_back(&s);
    constexpr std::array own{accel, rocket, std::string_view("CONFIG_ROCKCHIP_IOMMU"),
                             std::string_view("CONFIG_ROCKCHIP_PM_DOMAINS")};
    if (std::find(own.begin(), own.end(), s.symbol) != own.end()) continue;
    if (s.need == ConfigNeed::optional) continue;
    serious.push_back(&s);
    // Once rocket runs, a board has proved that it does not need what is missing.
    if (s.need == ConfigNeed::required && !f.kernel.loaded)
      state = State::fail;
    else if (state == State::ok)
      state = State::warn;
  }
  auto evidence = fmt::format("{} of the {} symbols of kernel/config/rosenblatt.config are there",
                              symbols.size() - missing.size(), symbols.size());
  if (!modules.empty())
    evidence += fmt::format(", {} as a module: {}", modules.size(), names(modules, false));
  if (!missing.empty()) evidence += fmt::format("; missing: {}", names(missing, false));
  checks.add(id, title, state, fmt::format("{} ({})", evidence, f.kernel.config_source),
             serious.empty() ? "" : "use a kernel that also has " + names(serious, true));
}

/// New enough, yet the distribution left rocket out (Debian's arm64 7.x has DRM_ACCEL=y only).
void check_distribution(const Facts& f, Checks& checks) {
  const auto& k = f.kernel;
  const bool there =
      k.loaded || !k.module_file.empty() || !k.module_builtin.empty() || configured(f, rocket);
  constexpr auto id = "distribution-rocket";
  constexpr auto title = "Distribution builds rocket";
  const auto release = k.config_release.empty() ? k.release : k.config_release;
  if (there)
    checks.add(id, title, State::ok, "rocket is part of this kernel or was added to it");
  else if (!k.version_of_config() || k.config.empty())
    checks.add(id, title, State::unknown, "no kernel configuration to tell from",
               std::string(copy_config));
  else if (!new_enough(f))
    checks.add(id, title, State::fail, fmt::format("{} is too old to have it", release),
               "install a mainline kernel of 6.18 or later");
  else
    checks.add(id, title, State::fail,
               fmt::format("{} is new enough, {}, {}, and there is no rocket.ko", release,
                           spelled(f, accel), spelled(f, rocket)),
               how_to_get_rocket(f));
}

}  // namespace

std::string how_to_get_rocket(const Facts& f) {
  if (!new_enough(f)) return "use a kernel of 6.18 or later with CONFIG_DRM_ACCEL_ROCKET=m";
  // Without a configuration to tell from, the accelerator framework is taken to be there.
  return std::string(f.kernel.config.empty() || configured(f, accel) ? how_to_build
                                                                     : how_to_rebuild);
}

void check_configuration(const Facts& facts, const std::vector<ConfigSymbol>& symbols,
                         std::vector<Check>& all) {
  Checks checks(all, "Kernel");
  check_symbols(facts, checks);
  check_rocket(facts, checks);
  check_fragment(facts, symbols, checks);
  check_distribution(facts, checks);
}

}  // namespace npu::probe
