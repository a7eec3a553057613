// SPDX-License-Identifier: MIT
// The switches of quirks.hpp by their names, for people who try the other reading.
#pragma once

#include <string_view>
#include <vector>

#include "npu-sim/quirks.hpp"

namespace npu::sim {

std::vector<std::string_view> quirk_names();

/// "mrdma_trap" turns a switch over, "mrdma_trap=on" or "=off" sets it; the ties of roundings take
/// "out_cvt_tie=half_even", "=half_up" or "=half_away". Throws npu::Error(invalid_argument) that
/// lists what there is.
void set_quirk(Quirks& quirks, std::string_view text);

}  // namespace npu::sim
