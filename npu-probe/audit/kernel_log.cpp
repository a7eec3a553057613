// SPDX-License-Identifier: MIT
// What the kernel log says about the NPU.
#include <charconv>

#include "npu-probe/audit/parsers.hpp"

namespace npu::probe {
namespace {

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// Time stamp of a line such as "[   16.974889] rocket ...", or empty. /dev/kmsg has it as the
/// third field, in microseconds.
std::string time_of(std::string_view line) {
  const auto open = line.find('[');
  const auto close = line.find(']');
  if (open == std::string_view::npos || close == std::string_view::npos || close <= open + 1)
    return {};
  const auto stamp = trim(line.substr(open + 1, close - open - 1));
  if (stamp.empty() || stamp.find_first_not_of("0123456789.") != std::string_view::npos) return {};
  return printable(stamp, 32);
}

bool names_npu_mmu(std::string_view line) {
  // Both spellings of the nodes of cores 1 and 2 [control-and-uapi A.1].
  for (const auto name :
       {"fdab9000.iommu", "fdac9000.iommu", "fdaca000.iommu", "fdad9000.iommu", "fdada000.iommu"})
    if (contains(line, name)) return true;
  return false;
}

/// "rocket fdab0000.npu: Rockchip NPU core 0 version: 1179210309" [rocket_core.c].
void read_core_version(std::string_view line, KernelLog& log) {
  constexpr std::string_view head = "Rockchip NPU core ", middle = " version: ";
  const auto at = line.find(head);
  if (at == std::string_view::npos) return;
  const auto rest = line.substr(at + head.size());
  int core = -1;
  const auto [core_end, core_error] = std::from_chars(rest.data(), rest.data() + rest.size(), core);
  const auto used = static_cast<std::size_t>(core_end - rest.data());
  if (core_error != std::errc() || core < 0 || core > 15) return;
  if (!rest.substr(used).starts_with(middle)) return;
  const auto number = rest.substr(used + middle.size());
  std::int64_t version = 0;
  if (std::from_chars(number.data(), number.data() + number.size(), version).ec != std::errc())
    return;
  log.core_versions[core] = version;
  log.core_times[core] = time_of(line);
  auto device = line.substr(0, at);
  if (const auto name = device.find("rocket "); name != std::string_view::npos) {
    device = device.substr(name + 7);
    log.core_devices[core] = printable(device.substr(0, device.find(':')), 64);
  }
}

}  // namespace

KernelLog parse_kernel_log(std::string_view text) {
  KernelLog log;
  for (const auto line : split_lines(text, 1000000)) {
    read_core_version(line, log);
    if (const auto at = line.find("Initialized rocket "); at != std::string_view::npos) {
      const auto rest = line.substr(at + 12);
      log.drm_driver = printable(rest.substr(0, rest.find(' ', 7)), 64);
    }
    if (contains(line, "NPU job timed out")) ++log.job_timeouts;
    if (contains(line, "Page fault at") && names_npu_mmu(line)) ++log.page_faults;
    // [regulator core] "vdd_npu_s0: disabling", about 30 s after boot.
    if (contains(line, "vdd_npu") && contains(line, ": disabling"))
      log.npu_regulator_off = printable(trim(line), 200);
    if (contains(line, "rocket") && contains(line, ".npu") &&
        (contains(line, "failed") || contains(line, "error")))
      log.probe_failure = printable(trim(line), 200);
    if (log.vendor_driver.empty() && contains(line, "RKNPU"))
      log.vendor_driver = printable(trim(line), 200);
  }
  return log;
}

}  // namespace npu::probe
