// SPDX-License-Identifier: MIT
#pragma once

#include <iosfwd>

namespace npu::cli {
class App;
}

namespace npu::probe {

/// Adds the subcommand `audit`. It prints to `out` (std::cout in the short form) and leaves the
/// exit status in `exit_status`; npu::Error passes through to the caller.
void add_audit(cli::App& app, std::ostream& out, int& exit_status);
void add_audit(cli::App& app, int& exit_status);

}  // namespace npu::probe
