// SPDX-License-Identifier: MIT
// Reads what the checks of the kernel look at: release, configuration, modules, vendor signs.
#include <fmt/format.h>

#include <array>

#include "npu-probe/audit/facts.hpp"

namespace npu::probe {
namespace {

/// Where modules of a release may be: Debian and most, merged /usr, NixOS.
constexpr std::array module_bases{"/lib/modules", "/usr/lib/modules",
                                  "/run/booted-system/kernel-modules/lib/modules",
                                  "/run/current-system/kernel-modules/lib/modules"};

bool is_module_file(std::string_view name) {
  for (const auto known : {"rocket.ko", "rocket.ko.xz", "rocket.ko.zst", "rocket.ko.gz"})
    if (name == known) return true;
  return false;
}

void read_release(const Tree& tree, KernelFacts& k) {
  if (auto line = tree.read_line("/proc/sys/kernel/osrelease"); line && !line->empty()) {
    k.release = *line;
    k.release_source = "/proc/sys/kernel/osrelease";
  } else if (auto text = tree.read("/proc/version", 4096)) {
    k.release = release_of_proc_version(*text);
    k.release_source = "/proc/version";
  }
  k.release = printable(k.release, 128);
  // The release becomes part of paths below.
  if (k.release.find('/') != std::string::npos) k.release.clear();
  k.version = parse_kernel_release(k.release);
}

void read_config(const Tree& tree, KernelFacts& k) {
  const auto accept = [&](std::optional<std::string> text, const std::string& source) {
    if (!text || !looks_like_config(*text)) return false;
    k.config = std::move(*text);
    k.config_source = source;
    return true;
  };
  if (const auto packed = tree.read("/proc/config.gz"))
    if (accept(gunzip(*packed, max_file_bytes), "/proc/config.gz")) return;
  if (k.release.empty()) return;
  if (const auto path = "/boot/config-" + k.release; accept(tree.read(path), path)) return;
  for (const std::string base : module_bases)
    for (const auto name : {"/config", "/build/.config"})
      if (const auto path = base + "/" + k.release + name; accept(tree.read(path), path)) return;
}

void find_module(const Tree& tree, KernelFacts& k) {
  if (k.release.empty()) return;
  for (const std::string base : module_bases) {
    const auto dir = base + "/" + k.release;
    // In tree; built on the spot (make modules_install of one folder, DKMS).
    for (const auto sub : {"/kernel/drivers/accel/rocket", "/updates", "/updates/dkms", "/extra",
                           "/updates/drivers/accel/rocket"})
      for (const auto& name : tree.list(dir + sub))
        if (k.module_file.empty() && is_module_file(name) &&
            tree.is_regular(dir + sub + "/" + name))
          k.module_file = dir + sub + "/" + name;
    if (const auto dep = tree.read(dir + "/modules.dep"))
      for (const auto line : split_lines(*dep)) {
        const auto file = line.substr(0, line.find(':'));
        const auto slash = file.rfind('/');
        if (is_module_file(slash == std::string_view::npos ? file : file.substr(slash + 1)))
          k.module_in_dep = true;
      }
    if (const auto builtin = tree.read(dir + "/modules.builtin"))
      for (const auto line : split_lines(*builtin))
        if (k.module_builtin.empty() && line.ends_with("/rocket.ko"))
          k.module_builtin = dir + "/modules.builtin";
  }
}

bool proc_modules_has(std::string_view text, std::string_view name) {
  for (const auto line : split_lines(text, 20000))
    if (line.starts_with(name) && line.size() > name.size() && line[name.size()] == ' ')
      return true;
  return false;
}

}  // namespace

bool KernelFacts::rocket_is_module() const {
  const char value = config_of("CONFIG_DRM_ACCEL_ROCKET");
  if (value == 'y' || !module_builtin.empty()) return false;
  return value == 'm' || !module_file.empty();
}

KernelFacts gather_kernel(const Tree& tree) {
  KernelFacts k;
  read_release(tree, k);
  read_config(tree, k);
  find_module(tree, k);
  k.cmdline = printable(trim(tree.read("/proc/cmdline", 8192).value_or("")), 2048);

  const auto modules = tree.read("/proc/modules").value_or("");
  if (proc_modules_has(modules, "rocket")) {
    k.loaded = true;
    k.loaded_source = "/proc/modules";
  } else if (tree.is_directory("/sys/module/rocket")) {
    k.loaded = true;
    k.loaded_source = "/sys/module/rocket";
  } else if (tree.is_directory("/sys/bus/platform/drivers/rocket")) {
    k.loaded = true;
    k.loaded_source = "/sys/bus/platform/drivers/rocket";
  }

  if (proc_modules_has(modules, "rknpu")) k.vendor_signs.push_back("/proc/modules: rknpu");
  for (const auto path : {"/sys/module/rknpu", "/sys/kernel/debug/rknpu",
                          "/sys/bus/platform/drivers/RKNPU", "/proc/rknpu"})
    if (tree.exists(path)) k.vendor_signs.push_back(path);
  if (config_value(k.config, "CONFIG_ROCKCHIP_RKNPU") == 'y' ||
      config_value(k.config, "CONFIG_ROCKCHIP_RKNPU") == 'm')
    k.vendor_signs.push_back(k.config_source + ": CONFIG_ROCKCHIP_RKNPU");
  // Rockchip's BSP kernels are 5.10 and 6.1; distributions mark them by a suffix.
  if (k.version && ((k.version->major == 5 && k.version->minor == 10) ||
                    (k.version->major == 6 && k.version->minor == 1))) {
    for (const auto mark : {"rk35", "rk2", "rockchip", "vendor", "legacy", "-rk"})
      if (k.version->suffix.find(mark) != std::string::npos && k.vendor_kernel.empty())
        k.vendor_kernel = fmt::format("release {} looks like Rockchip's own {}.{} kernel",
                                      k.release, k.version->major, k.version->minor);
    if (k.vendor_kernel.empty() && !k.vendor_signs.empty())
      k.vendor_kernel = fmt::format("release {} with the vendor's driver", k.release);
  }
  return k;
}

}  // namespace npu::probe
