// SPDX-License-Identifier: MIT
#pragma once

#include "npu-sim/timing.hpp"

namespace npu::sim {

/// Products per cycle of one core's array.
double mac_rate(MacType type, bool depthwise, const Calibration& calibration);

}  // namespace npu::sim
