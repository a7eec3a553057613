// SPDX-License-Identifier: MIT
// What the subcommands of npu-probe share: streams, colours, the exit status.
#pragma once

#include <iosfwd>
#include <string>

namespace npu::cli {
class App;
}

namespace npu::probe {

/// Exit codes: 0 ok, 1 a check failed, 2 usage, 3 no device or no permission, 4 bad input file,
/// 5 device fault or timeout.
struct Io {
  std::istream& in;
  std::ostream& out;  ///< results
  std::ostream& err;  ///< messages and progress
  bool out_is_terminal = false;
  bool err_is_terminal = false;
  int status = 0;  ///< set by the subcommand that ran

  /// "auto" (a terminal and no NO_COLOR), "always" or "never".
  bool colour(const std::string& when) const;
};

void add_bench(cli::App& app, Io& io);
void add_capture(cli::App& app, Io& io);
void add_decode(cli::App& app, Io& io);
void add_dt(cli::App& app, Io& io);
void add_encode(cli::App& app, Io& io);
void add_explain(cli::App& app, Io& io);
void add_regs(cli::App& app, Io& io);
void add_lint(cli::App& app, Io& io);
void add_compare(cli::App& app, Io& io);
void add_diff(cli::App& app, Io& io);
void add_replay(cli::App& app, Io& io);
void add_run(cli::App& app, Io& io);
void add_run_program(cli::App& run, Io& io);
void add_sim_run(cli::App& app);
void add_bringup(cli::App& app, Io& io);
void add_calibrate(cli::App& app, Io& io);
void add_timing_report(cli::App& app, Io& io);
void add_tune(cli::App& app, Io& io);

/// The whole tool; argv[0] is its name. Never throws; returns the exit code.
int run(int argc, const char* const* argv, Io& io);

}  // namespace npu::probe
