// SPDX-License-Identifier: MIT
// What a device tree must hold for the NPU to work, rule by rule. `npu-probe audit` and
// `npu-probe dt check` share these.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "npu-probe/dt/devicetree.hpp"
#include "npu-probe/dt/npu_nodes.hpp"

namespace npu::probe {

enum class DtState {
  ok,
  note,     ///< worth knowing, nothing to mend
  warn,     ///< it may work, but not safely or not with all cores
  fail,     ///< it cannot work so
  unknown,  ///< there is nothing to judge by
};
std::string_view to_string(DtState state);

struct DtCheck {
  std::string id;     ///< stable: scripts rely on it
  std::string title;  ///< of the audit's text form
  DtState state = DtState::unknown;
  std::string evidence;            ///< what the tree says, and where
  std::string remedy;              ///< what to do; empty if nothing
  std::vector<std::string> nodes;  ///< paths of the nodes that are at fault
};

/// Statuses, compatible strings, power domains and supplies of the three cores and MMUs: the part
/// that the audit prints too, with the ids dt-npu-core0..2, dt-iommu0..2, dt-power-domains,
/// dt-npu-supply and dt-sram-supply.
std::vector<DtCheck> check_npu_nodes(const DeviceTree& dt, const NpuNodes& npu);

/// Those, and everything else that can be seen in a whole tree: docs/dt.md lists the ids.
std::vector<DtCheck> check_tree(const DeviceTree& dt, const NpuNodes& npu);

/// No check warns or fails.
bool passes(const std::vector<DtCheck>& checks);

/// A virtual machine's tree: clocks, power and supplies are the emulator's affair.
bool is_virtual_machine(const DeviceTree& dt);
/// Has rockchip,rk3588 or rockchip,rk3588s in the compatible property of its root.
bool is_rk3588(const DeviceTree& dt);

// The parts of check_tree().
void check_resources(const DeviceTree& dt, const NpuNodes& npu, std::vector<DtCheck>& checks);
void check_power(const DeviceTree& dt, const NpuNodes& npu, std::vector<DtCheck>& checks);

}  // namespace npu::probe
