// SPDX-License-Identifier: MIT
#include "npu-probe/probe.hpp"

#include <cstdlib>
#include <ostream>

#include "npu-device/command_line.hpp"
#include "version.hpp"
#ifdef ROSENBLATT_WITH_AUDIT
#include "npu-probe/audit/audit_command.hpp"
#endif

namespace npu::probe {

bool Io::colour(const std::string& when) const {
  if (when == "always") return true;
  const char* no_colour = std::getenv("NO_COLOR");
  return when == "auto" && out_is_terminal && (no_colour == nullptr || *no_colour == '\0');
}

int run(int argc, const char* const* argv, Io& io) {
  cli::App app("Bring up, test and inspect the RK3588 NPU on mainline Linux.", "npu-probe");
  app.set_version_flag("--version", "npu-probe " + std::string(version));
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 ok, 1 a check failed, 2 usage, 3 no device or no permission,\n"
      "4 bad input file, 5 device fault or timeout.\n"
      "--device: sim (default), rocket, rocket:/dev/accel/accelN, mmio[:ITEM,...]; also "
      "$NPU_DEVICE.\n"
      "Example: npu-probe bringup --device sim");
#ifdef ROSENBLATT_WITH_AUDIT
  add_audit(app, io.out, io.status);
#endif
  add_bringup(app, io);
  add_calibrate(app, io);
  add_run(app, io);
  add_bench(app, io);
  add_replay(app, io);
  add_regs(app, io);
  add_diff(app, io);
  add_compare(app, io);
  add_sim_run(app);
  add_capture(app, io);
  add_decode(app, io);
  add_dt(app, io);
  add_encode(app, io);
  add_explain(app, io);
  add_lint(app, io);
  add_timing_report(app, io);
  add_tune(app, io);
  return cli::run(app, "npu-probe", argc, argv, io.out, io.err, io.status);
}

}  // namespace npu::probe
