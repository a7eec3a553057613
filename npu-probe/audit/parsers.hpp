// SPDX-License-Identifier: MIT
// Parsers of what the kernel and the distribution write. Pure functions: any bytes may come in,
// and what makes no sense is skipped.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "npu-probe/dt/text.hpp"

namespace npu::probe {

std::string_view trim(std::string_view text);
/// At most `max_lines` lines, without their ends.
std::vector<std::string_view> split_lines(std::string_view text, std::size_t max_lines = 500000);

struct KernelVersion {
  int major = 0, minor = 0, patch = 0;
  std::string suffix;  ///< "+deb13-arm64", "-rk2410-nocsf", "-rc1", ...
  bool at_least(int want_major, int want_minor) const {
    return major != want_major ? major > want_major : minor >= want_minor;
  }
};
/// Of a release such as "7.3.4+deb13-arm64", "6.18.0", "6.1-rc3".
std::optional<KernelVersion> parse_kernel_release(std::string_view release);
/// The release inside /proc/version ("Linux version 6.18.0 (...) ..."), or empty.
std::string release_of_proc_version(std::string_view text);

/// 'y', 'm', 'n' or '?' (not mentioned) of a symbol in a kernel configuration.
char config_value(std::string_view config, std::string_view symbol);
/// Whether it looks like a kernel configuration at all.
bool looks_like_config(std::string_view text);
/// Decompresses gzip data of at most `limit` bytes of output; nothing if it is damaged.
std::optional<std::string> gunzip(std::string_view data, std::size_t limit);

struct Interrupt {
  unsigned number = 0;
  std::vector<std::uint64_t> counts;  ///< per CPU column
  std::string description;            ///< chip, hardware number, type and names
};
std::vector<Interrupt> parse_interrupts(std::string_view text);
/// "0-3,6" to {0,1,2,3,6}; CPU numbers up to 4095, malformed parts skipped.
std::vector<unsigned> parse_cpu_list(std::string_view text);

/// One line of dev-nodes.txt: path type mode owner group major:minor [-> target].
struct DevNode {
  std::string path;
  char type = '?';  ///< c, b, l (symlink), d
  std::uint32_t mode = 0;
  std::string owner, group;
  std::uint32_t major = 0, minor = 0;
  std::string target;     ///< of a symlink
  bool stand_in = false;  ///< a plain file where the captured tree could not hold a node
};
std::vector<DevNode> parse_dev_manifest(std::string_view text);

struct KernelLog {
  std::map<int, std::int64_t> core_versions;  ///< "Rockchip NPU core N version: V"
  std::map<int, std::string> core_devices;    ///< "fdab0000.npu"
  std::map<int, std::string> core_times;      ///< "16.974889"
  std::string drm_driver;                     ///< "rocket 0.0.0" of "[drm] Initialized ..."
  int job_timeouts = 0;                       ///< "NPU job timed out"
  int page_faults = 0;                        ///< of an IOMMU of the NPU
  std::string npu_regulator_off;              ///< the line "vdd_npu_s0: disabling"
  std::string probe_failure;                  ///< "rocket ...: probe ... failed" or the like
  std::string vendor_driver;                  ///< a line of the vendor's RKNPU driver
};
KernelLog parse_kernel_log(std::string_view text);

/// "25.3.1" inside `text`, e.g. a package version "1:25.3.1-2"; compares as numbers.
struct Version {
  int major = 0, minor = 0, patch = 0;
  auto operator<=>(const Version&) const = default;
};
std::optional<Version> parse_version(std::string_view text);
/// Versions of the installed packages of dpkg's status file.
std::map<std::string, std::string> parse_dpkg_status(std::string_view text);
/// MemTotal of /proc/meminfo in bytes; 0 if it is not there.
std::uint64_t parse_mem_total(std::string_view meminfo);

/// Line of /etc/passwd or /etc/group: name to number.
std::map<std::string, unsigned> parse_name_ids(std::string_view text);
/// The output of id(1): "uid=1000(me) gid=1000(me) groups=1000(me),105(render)".
struct Identity {
  std::string user;
  unsigned uid = 0;
  std::vector<std::string> groups;  ///< names; a number where there is no name
};
std::optional<Identity> parse_id(std::string_view text);

}  // namespace npu::probe
