// SPDX-License-Identifier: MIT
// From a checked configuration to what observers, the timing model and fault injection need.
#pragma once

#include <functional>

#include "npu-sim/conv_config.hpp"
#include "npu-sim/observer.hpp"
#include "npu-sim/quirks.hpp"

namespace npu::sim {

/// Called between the check of a task and its work; may throw TaskFault. Null where nobody listens.
using TaskHook = std::function<void(TaskRecord&&)>;

/// `core` and `blocks` are left for the core to fill in.
TaskRecord record_of(const ConvConfig& config, const Quirks& quirks);

/// Bytes and elements of `work` from the transfers.
void sum_transfers(TaskRecord& record);

std::string_view name_of(Precision precision);

}  // namespace npu::sim
