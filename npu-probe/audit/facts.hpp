// SPDX-License-Identifier: MIT
// Everything that is read once and looked at by several checks.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "npu-probe/audit/audit.hpp"
#include "npu-probe/audit/parsers.hpp"
#include "npu-probe/audit/tree.hpp"
#include "npu-probe/dt/npu_nodes.hpp"

namespace npu::probe {

struct KernelFacts {
  std::string release, release_source;
  std::optional<KernelVersion> version;
  std::string config, config_source;  ///< text of the configuration; empty if there is none
  std::string config_release;  ///< of a configuration named by the user that says its version
  std::string cmdline;
  std::string module_file;     ///< rocket.ko* of this release
  std::string module_builtin;  ///< the modules.builtin that names rocket
  bool module_in_dep = false;
  bool loaded = false;
  std::string loaded_source;
  std::vector<std::string> vendor_signs;  ///< what shows the vendor's driver or kernel
  std::string vendor_kernel;              ///< why this looks like a vendor kernel, or empty
  /// y, m, n, or ? (unknown)
  char config_of(std::string_view symbol) const {
    return config.empty() ? '?' : config_value(config, symbol);
  }
  /// The version of the kernel that the configuration is of.
  std::optional<KernelVersion> version_of_config() const {
    return config_release.empty() ? version : parse_kernel_release(config_release);
  }
  /// Rocket is a module (configured so, or its file is there) and not built in.
  bool rocket_is_module() const;
};

struct Facts {
  explicit Facts(const Tree& t) : tree(t) {}
  const Tree& tree;
  Machine machine;
  bool is_rk3588 = false;
  std::string rk3588_evidence;
  KernelFacts kernel;
  DeviceTree dt;
  NpuNodes npu;
  std::vector<DevNode> dev_nodes;  ///< /dev/accel/*, /dev/dri/*, /dev/rknpu*
  std::string dev_source;
  KernelLog log;
  std::string log_source;  ///< empty if no log could be read
};

Facts gather(const Tree& tree);
DeviceTree gather_device_tree(const Tree& tree);                // facts.cpp
KernelFacts gather_kernel(const Tree& tree);                    // kernel_facts.cpp
void gather_devices(const Tree& tree, Facts& facts);            // devices.cpp
std::string gather_log(const Tree& tree, std::string& source);  // facts.cpp

/// Collects checks of one group.
class Checks {
 public:
  Checks(std::vector<Check>& all, std::string group) : all_(all), group_(std::move(group)) {}
  void add(std::string id, std::string title, State state, std::string evidence,
           std::string remedy = {});

 private:
  std::vector<Check>& all_;
  std::string group_;
};

void check_machine(const Facts& facts, std::vector<Check>& checks);  // facts.cpp
void check_kernel(const Facts& facts, const std::vector<ConfigSymbol>& symbols,
                  std::vector<Check>& checks);  // kernel.cpp
/// What to do where the kernel has no rocket.
std::string how_to_get_rocket(const Facts& facts);  // config_check.cpp
void check_configuration(const Facts& facts, const std::vector<ConfigSymbol>& symbols,
                         std::vector<Check>& checks);                           // config_check.cpp
void check_device_tree(const Facts& facts, std::vector<Check>& checks);         // device_tree.cpp
void check_devices(const Facts& facts, std::vector<Check>& checks);             // devices.cpp
void check_runtime(const Facts& facts, std::vector<Check>& checks);             // runtime.cpp
void check_userspace(const Facts& facts, std::vector<Check>& checks);           // userspace.cpp
std::vector<StatusRow> status_table(const Facts& facts, const Report& report);  // status_table.cpp

}  // namespace npu::probe
