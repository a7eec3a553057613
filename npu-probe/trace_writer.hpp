// SPDX-License-Identifier: MIT
// Chrome's trace event format, which Perfetto and chrome://tracing open.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "npu-sim/timeline.hpp"

namespace npu::probe {

/// Appends the events of `timeline` to the array `events`, from `begin_us` on: one process for each
/// core, one thread for each block. Adds names of processes and threads on the first call.
void append_trace(const sim::Timeline& timeline, const std::string& label, double begin_us,
                  double npu_hz, nlohmann::json& events);

}  // namespace npu::probe
