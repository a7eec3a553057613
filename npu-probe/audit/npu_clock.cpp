// SPDX-License-Identifier: MIT
#include "npu-probe/audit/npu_clock.hpp"

namespace npu::probe {

std::optional<NpuClock> running_npu_clock(const Tree& tree) {
  std::optional<NpuClock> clock;
  // The compute clock is the firmware's: scmi_clk_npu; aclk_npu* and hclk_npu* are bus clocks.
  for (const auto& name : tree.list("/sys/kernel/debug/clk")) {
    const bool compute =
        name.find("clk_npu") != std::string::npos && name.find("aclk") == std::string::npos &&
        name.find("hclk") == std::string::npos && name.find("pclk") == std::string::npos;
    if (!compute) continue;
    const auto path = "/sys/kernel/debug/clk/" + name + "/clk_rate";
    const auto line = tree.read_line(path);
    if (!line || line->empty() || line->size() > 15 ||
        line->find_first_not_of("0123456789") != std::string::npos)
      continue;
    if (clock && name.find("scmi") == std::string::npos) continue;
    clock = NpuClock{std::stoull(*line), path};
  }
  return clock;
}

}  // namespace npu::probe
