// SPDX-License-Identifier: MIT
// What the NPU does, a line per event, with the guest's time as the kernel log has it.
#pragma once

#include <cstdint>
#include <cstdio>

#include "npu-sim/npusim.h"

namespace npu::vboard {

void write_trace_line(std::FILE* file, std::int64_t guest_ns, const npusim_trace_event& event);

}  // namespace npu::vboard
