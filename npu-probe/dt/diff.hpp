// SPDX-License-Identifier: MIT
// Two device trees compared, in terms of what they say: phandles, which every build of a tree deals
// out anew, are compared by the nodes that they lead to.
#pragma once

#include <string>
#include <vector>

#include "npu-probe/dt/devicetree.hpp"

namespace npu::probe {

struct DtDifference {
  std::string node;
  std::string property;       ///< empty: the whole node
  std::string before, after;  ///< as dtc writes them; empty: not there
  bool npu = false;           ///< of the NPU: its nodes, power domains, rails, their buses
};

/// Those of the NPU first, each part in the order of the paths. A node that only one tree has is
/// one difference, but of the NPU's nodes every property is named.
std::vector<DtDifference> diff_trees(const DeviceTree& before, const DeviceTree& after);

/// A property's value: strings, cells, nodes by their paths.
std::string value_text(const DeviceTree& dt, const DtNode& node, const std::string& property);

/// "/npu@fdab0000:status: "disabled" -> "okay"".
std::string to_text(const DtDifference& difference);

}  // namespace npu::probe
