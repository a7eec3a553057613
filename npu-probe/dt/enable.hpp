// SPDX-License-Identifier: MIT
// Switches the NPU on in a board's tree by one of the overlays of dts/.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "npu-probe/dt/diff.hpp"
#include "npu-probe/dt/overlays.hpp"
#include "npu-probe/dt/rules.hpp"

namespace npu::probe {

struct Enabled {
  const Overlay* overlay = nullptr;
  std::string why;  ///< why this overlay: a clause with the rail and its name
  std::vector<std::byte> blob;
  std::vector<DtDifference> changes;
  std::vector<DtCheck> checks;        ///< of the result
  std::vector<std::string> warnings;  ///< what the user must see to
};

/// The overlay that is for this board and names a rail that the tree calls the NPU's, the most
/// specific first. Throws npu::Error(check_failed) with the reason if there is none.
const Overlay& choose_overlay(const DeviceTree& dt);

/// `board`: the name of an overlay, or empty to let the tree decide; `name` is the tree's, for
/// messages. Throws npu::Error: bad_file if `tree` is none; invalid_argument if there is no such
/// overlay; check_failed with the reason if the board needs none, no overlay is known to be right,
/// or the result would not do.
Enabled enable_npu(std::span<const std::byte> tree, const std::string& name,
                   const std::string& board);

}  // namespace npu::probe
