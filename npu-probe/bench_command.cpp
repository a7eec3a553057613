// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>

#include "npu-device/command_line.hpp"
#include "npu-probe/bench_compare.hpp"
#include "npu-probe/bench_run.hpp"
#include "npu-probe/bench_shapes.hpp"
#include "npu-probe/files.hpp"
#include "npu-probe/probe.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

constexpr std::size_t kMaxReportBytes = 64u << 20;

struct Options {
  std::vector<std::string> operators, dtypes;
  std::string shapes = "default", compare, tuned;
  BenchSetting setting;
  std::optional<unsigned> repetitions, warmup;
  double threshold = 10;
  bool as_json = false, as_csv = false, as_html = false, markdown = false, list = false;
};

std::string text_of(const std::string& path, std::size_t limit) {
  const std::vector<std::byte> bytes = read_file(path, limit);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::vector<BenchOp> operators_of(const std::vector<std::string>& names) {
  std::vector<BenchOp> ops;
  for (const std::string& name : names) {
    if (name == "all") return {};
    ops.push_back(*bench_op(name));  // the command line has checked them
  }
  return ops;
}

std::vector<BenchCase> cases_of(const Options& o) {
  std::vector<TypeFilter> types;
  for (const std::string& text : o.dtypes) types.push_back(parse_type_filter(text));
  const std::vector<BenchOp> ops = operators_of(o.operators);
  std::vector<BenchCase> cases = expand_cases(named_shapes(o.shapes), ops, types);
  if (cases.empty())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("no shape of \"{}\" is of the operators and types asked for; npu-probe "
                            "bench --list --shapes {} shows what it has",
                            o.shapes, o.shapes));
  return cases;
}

// "[=====>    ] 12/40 gemm 512x512x512 i8->i32 x2" on one line, over itself.
BenchProgress progress_bar(Io& io) {
  if (!io.err_is_terminal) return [](std::size_t, std::size_t, const BenchCase&, unsigned) {};
  return [&io](std::size_t done, std::size_t all, const BenchCase& c, unsigned cores) {
    constexpr std::size_t kWidth = 24;
    const std::size_t full = kWidth * done / all;
    fmt::print(io.err, "\r\x1b[K[{}>{}] {}/{} {} {} {} x{}", std::string(full, '='),
               std::string(kWidth - full, ' '), done + 1, all, to_string(c.op), shape_text(c),
               c.types ? types_text(*c.types) : "", cores);
    io.err.flush();
  };
}

void print_list(const std::vector<BenchCase>& cases, Io& io) {
  for (const BenchCase& c : cases)
    fmt::print(io.out, "{:<7} {:<18} {:<26} {}\n", to_string(c.op), c.name, shape_text(c),
               c.types ? types_text(*c.types) : "");
}

// The worst of the rows; a refused shape is a check that failed.
int status_of(const BenchReport& report) {
  int status = 0;
  for (const BenchRow& row : report.rows)
    if (!row.error.empty()) status = std::max(status, exit_code(row.error_code) == 5 ? 5 : 1);
  return status;
}

void bench(Options& o, Io& io) {
  const std::vector<BenchCase> cases = cases_of(o);
  if (o.list) {
    print_list(cases, io);
    return;
  }
  std::optional<BenchReport> earlier;
  if (!o.compare.empty())
    earlier = parse_bench_report(text_of(o.compare, kMaxReportBytes), o.compare);
  std::sort(o.setting.cores.begin(), o.setting.cores.end());
  o.setting.cores.erase(std::unique(o.setting.cores.begin(), o.setting.cores.end()),
                        o.setting.cores.end());
  o.setting.repetitions = o.repetitions;
  o.setting.warmup = o.warmup;
  if (!o.tuned.empty()) o.setting.plans = kernels::load_tuned_plans(o.tuned);
  BenchReport report;
  try {
    report = run_bench(cases, o.setting, progress_bar(io));
  } catch (...) {
    if (io.err_is_terminal) io.err << "\r\x1b[K" << std::flush;
    throw;
  }
  if (io.err_is_terminal) io.err << "\r\x1b[K" << std::flush;
  io.status = status_of(report);
  for (const BenchRow& row : report.rows)
    if (!row.error.empty())
      fmt::print(io.err, "npu-probe: {} {} {} on {} core{}: {}\n", to_string(row.op), row.shape,
                 row.dtype, row.cores, row.cores == 1 ? "" : "s", row.error);
  if (earlier) {
    const BenchComparison comparison = compare_reports(*earlier, report, o.threshold / 100);
    io.out << (o.as_json ? to_json(comparison) : to_markdown(comparison));
    if (comparison.slower != 0) io.status = std::max(io.status, 1);
    return;
  }
  io.out << (o.as_json   ? to_json(report)
             : o.as_csv  ? to_csv(report)
             : o.as_html ? to_html(report)
                         : to_markdown(report));
}

}  // namespace

void add_bench(cli::App& app, Io& io) {
  cli::App* sub =
      app.add_subcommand("bench", "Time operators: GMAC/s, GB/s, share of the roofline");
  const auto o = std::make_shared<Options>();
  std::vector<std::string> names{"all"};
  for (const BenchOp op : kBenchOps) names.emplace_back(to_string(op));
  sub->add_option("operators", o->operators,
                  "gemm, conv, dw, add, pool, copy, submit or all (default)")
      ->check(cli::IsMember(names));
  sub->add_option("--shapes", o->shapes,
                  "default, qwen2.5-0.5b, qwen2.5-1.5b or another language model, mobilenet_v1 or "
                  "another network, or a file (docs/bench.md)")
      ->type_name("SET|FILE.json")
      ->capture_default_str();
  sub->add_option("--cores", o->setting.cores, "NPU cores, each number in turn: 1,2,3")
      ->delimiter(',')
      ->check(cli::Range(1u, 3u))
      ->capture_default_str();
  sub->add_option("--dtype", o->dtypes, "types: i8, f16, i8->i32, f16->f32, ...")
      ->delimiter(',')
      ->type_name("TYPE,...");
  sub->add_option("-r,--repetitions", o->repetitions,
                  "runs that count (5; on sim 1: they are alike)")
      ->check(cli::Range(1u, 100000u));
  sub->add_option("--warmup", o->warmup, "runs before that do not (1; on sim 0)")
      ->check(cli::Range(0u, 100000u));
  sub->add_option("--device", o->setting.device, "sim, rocket[:PATH], mmio[:ITEM,...]");
  sub->add_option("--mhz", o->setting.mhz,
                  "NPU clock: of the timing model on sim (600), else where the system does not "
                  "tell it")
      ->check(cli::Range(1.0, 4000.0));
  sub->add_option("--calibration", o->setting.calibration, "constants of the timing model")
      ->type_name("FILE.json");
  sub->add_option("--tuned", o->tuned, "plans of matrix products that npu-probe tune found")
      ->type_name("FILE.json");
  sub->add_flag("--timing-only", o->setting.timing_only,
                "sim: check and time the programs, do not compute");
  sub->add_option("--simulate-limit", o->setting.simulate_limit,
                  "sim: rows that would take longer to simulate are only timed, in seconds")
      ->check(cli::Range(0.0, 1e6))
      ->capture_default_str();
  auto* formats = sub->add_option_group("Output");
  formats->add_flag("--markdown", o->markdown, "tables (default)");
  formats->add_flag("--json", o->as_json, "print JSON only");
  formats->add_flag("--csv", o->as_csv, "a line per row");
  formats->add_flag("--html", o->as_html, "a page with a roofline plot, readable offline");
  formats->require_option(0, 1);
  sub->add_option("--compare", o->compare,
                  "earlier report (--json): print ratios, exit 1 if a row became slower")
      ->type_name("OLD.json");
  sub->add_option("--threshold", o->threshold, "what counts as slower, in %")
      ->check(cli::Range(0.0, 1000.0))
      ->capture_default_str();
  sub->add_flag("--list", o->list, "print the shapes and run nothing");
  sub->footer(
      "Exit codes: 0 ok, 1 a shape was refused or a row became slower, 2 usage, 3 no device or no\n"
      "permission, 4 bad shapes or earlier report, 5 device fault or timeout (what ran is "
      "printed).\n"
      "Example: npu-probe bench gemm --shapes qwen2.5-1.5b --dtype f16 --cores 1,3\n"
      "Example: npu-probe bench --shapes mobilenet_v1 --html > mobilenet.html\n"
      "Example: npu-probe bench gemm --json > old.json; npu-probe bench gemm --compare old.json");
  sub->callback([o, &io] {
    if (!o->compare.empty() && (o->as_csv || o->as_html))
      throw cli::UsageError("--compare", "prints Markdown or --json");
    bench(*o, io);
  });
}

}  // namespace npu::probe
