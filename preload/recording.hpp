// SPDX-License-Identifier: MIT
// What the chip of this process did, told when the process ends: NPU_SIM_TRACE, NPU_SIM_EXPLAIN.
#pragma once

#include <functional>
#include <memory>

#include "npu-sim/observer.hpp"

namespace npu::preload {

/// For the chip of this process, a new one for each; null if nothing is to be told. `drain` waits
/// until the chip is at rest, and says whether it is.
std::shared_ptr<sim::Observer> start_recording(std::function<bool()> drain);

/// In a child of fork(): what the parent's chip did is the parent's to tell.
void forget_recording();

}  // namespace npu::preload
