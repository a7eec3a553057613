// SPDX-License-Identifier: MIT
// What the subcommands of `npu-probe dt` share.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "npu-probe/dt/rules.hpp"
#include "npu-probe/probe.hpp"

namespace npu::probe {

/// A blob of any board is far smaller.
inline constexpr std::size_t max_blob = std::size_t{16} << 20;

/// A tree from a .dtb file or from a folder as /proc/device-tree. Throws bad_file if it is neither.
DeviceTree read_tree(const std::string& path);

/// "Radxa ROCK 5 ITX (radxa,rock-5-itx)".
std::string name_of_board(const DeviceTree& dt);

/// The findings, one a paragraph, and with `all` what is in order too; then the counts.
void print_checks(const std::vector<DtCheck>& checks, bool all, bool colour, std::ostream& out);

void add_dt_enable(cli::App& dt, Io& io);
void add_dt_diff(cli::App& dt, Io& io);

}  // namespace npu::probe
