// SPDX-License-Identifier: MIT
// sim-run: a program of somebody else's on the simulated NPU.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>

#include "npu-device/command_line.hpp"
#include "npu-probe/preload_libraries.hpp"
#include "npu-probe/probe.hpp"
#include "npu-sim/calibration.hpp"
#include "npu-sim/injection.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::vector<std::string> program;
  std::string library, inject, driver, calibration, trace;
  unsigned cores = 0, clock_mhz = 0;  // 0: what the environment says, or the library's default
  bool quiet = false, explain = false;
};

void sim_run(const Options& o) {
  // Told here rather than by the library.
  sim::parse_injections(o.inject);
  if (!o.calibration.empty()) sim::load_calibration(o.calibration);
  add_to_ld_preload(preload_library("librocket-sim.so", o.library));
  const auto set = [](const char* name, const std::string& value) {
    if (!value.empty()) setenv(name, value.c_str(), 1);
  };
  set("NPU_SIM_STRICT", "1");
  set("NPU_SIM_CORES", o.cores == 0 ? "" : std::to_string(o.cores));
  set("NPU_SIM_INJECT", o.inject);
  set("NPU_SIM_DRIVER", o.driver);
  // The program may go elsewhere before it opens the node.
  set("NPU_SIM_CALIBRATION", o.calibration.empty() ? "" : fs::absolute(o.calibration).string());
  set("NPU_SIM_TRACE", o.trace.empty() ? "" : fs::absolute(o.trace).string());
  set("NPU_SIM_CLOCK_MHZ", o.clock_mhz == 0 ? "" : std::to_string(o.clock_mhz));
  if (o.explain) set("NPU_SIM_EXPLAIN", "1");
  if (o.quiet) set("NPU_SIM_QUIET", "1");
  std::vector<char*> arguments;
  for (const std::string& word : o.program) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  execvp(arguments[0], arguments.data());
  throw Error(ErrorCode::bad_file, fmt::format("{}: {}", o.program[0], std::strerror(errno)));
}

}  // namespace

void add_sim_run(cli::App& app) {
  const auto o = std::make_shared<Options>();
  cli::App* sub = app.add_subcommand(
      "sim-run", "Run an unmodified program that uses the NPU's device node on the simulated NPU");
  sub->add_option("PROGRAM", o->program, "the program and its arguments, behind --")->required();
  sub->add_option("--cores", o->cores, "NPU cores")->check(cli::Range(1u, 3u));
  sub->add_option("--driver", o->driver,
                  "whose node there is: rocket (mainline, /dev/accel/accel0; the default), rknpu "
                  "(vendor kernels, /dev/dri/card1), both")
      ->check(cli::IsMember({"rocket", "rknpu", "both"}));
  sub->add_option("--inject", o->inject, "faults, as for run");
  sub->add_option("--calibration", o->calibration, "constants of the timing model, as for run")
      ->type_name("FILE.json");
  sub->add_option("--trace", o->trace,
                  "a Chrome/Perfetto trace (modelled times), written when the program ends; %p in "
                  "the name becomes the process id")
      ->type_name("FILE.json");
  sub->add_option("--clock-mhz", o->clock_mhz, "NPU clock of the timing model, 600 if not given")
      ->check(cli::Range(1u, 4000u));
  sub->add_flag(
      "--explain", o->explain,
      "when the program ends, name on stderr the silicon's quirks and faults that it hit");
  sub->add_option("--library", o->library, "librocket-sim.so, if it is not beside the tool");
  sub->add_flag("-q,--quiet", o->quiet, "nothing on stderr of what the kernel would have logged");
  sub->prefix_command();
  sub->footer(
      "Exit code: the program's own; 2 or 4 if it could not be started.\n"
      "Examples: npu-probe sim-run -- npu-probe bringup --device rocket\n"
      "          npu-probe sim-run --driver rknpu -- ./matmul_fp16 32 64 16");
  sub->callback([o] { sim_run(*o); });
}

}  // namespace npu::probe
