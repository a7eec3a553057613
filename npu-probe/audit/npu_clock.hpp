// SPDX-License-Identifier: MIT
// The NPU's clock as the running kernel tells it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "npu-probe/audit/tree.hpp"

namespace npu::probe {

struct NpuClock {
  std::uint64_t hz = 0;  ///< 0: a rate of 0 is what the file says
  std::string path;
};

/// From debugfs, which wants root; nullopt if it is not there.
std::optional<NpuClock> running_npu_clock(const Tree& tree);

}  // namespace npu::probe
