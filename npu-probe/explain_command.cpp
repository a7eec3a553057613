// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>

#include "npu-device/command_line.hpp"
#include "npu-probe/explain_report.hpp"
#include "npu-probe/probe.hpp"
#include "npu-sim/calibration.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

struct Options {
  std::string file, calibration;
  std::optional<std::size_t> job, task;
  double clock_mhz = 600;
  bool as_json = false;
};

void explain(const Options& o, Io& io) {
  const sim::CalibrationFile calibration =
      o.calibration.empty() ? sim::default_calibration() : sim::load_calibration(o.calibration);
  const ExplainedInput input =
      explain_input(o.file, io.in, {o.clock_mhz * 1e6, &calibration.values});
  ExplainReport report{&input, o.clock_mhz, o.job, o.task};
  // A program is one job, so --task alone says enough.
  if (report.task && !report.job && input.jobs.size() == 1) report.job = 0;
  if (report.task && !report.job)
    throw Error(ErrorCode::invalid_argument, "--task needs --job: there are several jobs");
  if (report.job && *report.job >= input.jobs.size())
    throw Error(ErrorCode::invalid_argument,
                input.jobs.empty() ? fmt::format("{}: there is no job in it", o.file)
                                   : fmt::format("there is no job {}: they are 0 to {}",
                                                 *report.job, input.jobs.size() - 1));
  if (report.task && *report.task >= input.jobs[*report.job].tasks.size())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("there is no task {} in job {}, which has {}", *report.task,
                            *report.job, input.jobs[*report.job].tasks.size()));
  if (o.as_json)
    io.out << to_json(report).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  else
    print_text(report, io.out);
}

}  // namespace

void add_explain(cli::App& app, Io& io) {
  const auto o = std::make_shared<Options>();
  cli::App* sub = app.add_subcommand(
      "explain", "What operator a job is: shapes, layouts, tiling, modelled time");
  sub->add_option("FILE", o->file,
                  "a capture (.npucap), 64-bit little-endian words, a case folder, or - for stdin")
      ->required();
  sub->add_option("--job", o->job, "this job in detail (default: a table of all)")->type_name("N");
  sub->add_option("--task", o->task, "only this task of the job, as its registers say")
      ->type_name("M");
  sub->add_flag("--json", o->as_json, "print JSON only");
  sub->add_option("--clock-mhz", o->clock_mhz,
                  "NPU clock of the timing model (mainline 200, patched 600, vendor 1000)")
      ->capture_default_str()
      ->check(cli::Range(1.0, 4000.0));
  sub->add_option("--calibration", o->calibration, "constants of the timing model")
      ->type_name("FILE.json");
  sub->footer(
      "Nothing is run: the registers are read, and times are modelled.\n"
      "Exit codes: 0 ok (whatever the programs are), 2 usage, 4 bad input file.\n"
      "Example: npu-probe explain tests/vectors/mesa/mobilenet_v1_0.25_128\n"
      "         npu-probe explain tests/vectors/mesa/conv3x3_66_112_32_s2 --job 0");
  sub->callback([o, &io] { explain(*o, io); });
}

}  // namespace npu::probe
