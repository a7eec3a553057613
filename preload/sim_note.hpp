// SPDX-License-Identifier: MIT
// What the kernel would keep to itself: librocket-sim.so tells it to librocket-capture.so, which is
// another object of the same process and finds this function by name.
#pragma once

#include <cstddef>
#include <string>

namespace npu::preload {

enum class SimNoteKind : int { none = 0, dropped = 1, timed_out = 2, faulted = 3 };

/// int (char* text, size_t room): kind of the first job of this thread that failed since the last
/// call, with the reason.
inline constexpr const char* kTakeNoteSymbol = "rosenblatt_sim_take_note";

/// Of this thread; the first one stays until it is taken. In librocket-sim.so.
void leave_note(SimNoteKind kind, const std::string& text);

}  // namespace npu::preload
