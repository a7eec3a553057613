// SPDX-License-Identifier: MIT
#include "npu-probe/bench_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace npu::probe {
namespace {

std::string three_digits(double value) {
  if (!(value > 0)) return "";
  return value >= 99.95   ? fmt::format("{:.0f}", value)
         : value >= 9.995 ? fmt::format("{:.1f}", value)
                          : fmt::format("{:.2f}", value);
}

std::string microseconds(double seconds) { return fmt::format("{:.1f}", seconds * 1e6); }

std::string counted(std::uint64_t n) { return n == 0 ? "" : fmt::format("{}", n); }

std::string cell(const BenchRow& r, std::size_t column) {
  const bool submit = r.op == BenchOp::submit;
  const auto per = [&](std::uint32_t n) {
    return submit && n != 0 ? microseconds(r.time.median / n) : std::string();
  };
  switch (column) {
    case 0: return r.name;
    case 1: return r.shape;
    case 2: return submit ? "" : r.dtype;
    case 3: return fmt::format("{}", r.cores);
    default: break;
  }
  if (!r.error.empty()) return column == 4 ? "not run" : "";
  switch (column) {
    case 4: return microseconds(r.time.median);
    case 5: return r.time.samples > 1 ? fmt::format("± {}", microseconds(r.time.mad)) : "";
    case 6: return per(r.per_run_jobs);
    case 7: return per(r.per_run_tasks);
    case 8: return three_digits(macs_per_second(r) * 1e-9);
    case 9: return submit ? "" : three_digits(bytes_per_second(r) * 1e-9);
    case 10: return r.roof ? fmt::format("{:.1f} % {}", roof_share(r) * 100, r.roof->bound) : "";
    case 11: return what_binds(r);
    case 12: return counted(r.model.kicks);
    case 13: return counted(r.submits);
    case 14: return counted(r.model.regcmd_words);
    case 15: return submit ? "" : fmt::format("{:.2f}", static_cast<double>(r.model.bytes) * 1e-6);
    case 16: return r.provenance != "modelled" ? microseconds(r.model.seconds) : "";
    case 17: return fmt::format("{:.2f} ms", r.host.median * 1e3);
    case 18: return fmt::format("{:.2f} ms", r.prepare * 1e3);
    case 19: return r.computed ? r.provenance : r.provenance + ", not computed";
    default: return "";
  }
}

struct Title {
  const char* text;
  bool right;
};
constexpr Title kTitles[] = {
    {"name", false},       {"shape", false},  {"type", false},    {"cores", true},
    {"time us", true},     {"MAD", true},     {"us/job", true},   {"us/task", true},
    {"GMAC/s", true},      {"GB/s", true},    {"of roof", false}, {"binds", false},
    {"kicks", true},       {"submits", true}, {"words", true},    {"MB moved", true},
    {"modelled us", true}, {"host", true},    {"prepare", true},  {"source", false}};

}  // namespace

std::string what_binds(const BenchRow& row) {
  if (row.model.shares.empty()) return "";
  const auto& [name, share] = row.model.shares.front();
  return fmt::format("{} {:.0f} %", name, share * 100);
}

std::vector<BenchColumn> bench_columns(std::span<const BenchRow* const> rows) {
  std::vector<BenchColumn> columns;
  for (std::size_t i = 0; i < std::size(kTitles); ++i) {
    BenchColumn column{kTitles[i].text, kTitles[i].right, {}};
    bool empty = true;
    for (const BenchRow* row : rows) {
      column.cells.push_back(cell(*row, i));
      empty = empty && column.cells.back().empty();
    }
    if (!empty) columns.push_back(std::move(column));
  }
  return columns;
}

std::vector<std::vector<const BenchRow*>> rows_by_op(const BenchReport& report) {
  std::vector<std::vector<const BenchRow*>> groups;
  for (const BenchOp op : kBenchOps) {
    std::vector<const BenchRow*> rows;
    for (const BenchRow& row : report.rows)
      if (row.op == op) rows.push_back(&row);
    if (!rows.empty()) groups.push_back(std::move(rows));
  }
  return groups;
}

std::vector<std::string> bench_preamble(const BenchReport& r) {
  std::vector<std::string> lines;
  const std::string clock = r.clock_mhz > 0
                                ? fmt::format("NPU at {:g} MHz ({})", r.clock_mhz, r.clock_source)
                                : fmt::format("NPU clock {}", r.clock_source);
  lines.push_back(fmt::format("device {}: times are {}; {}", r.device, r.provenance, clock));
  if (r.provenance == "host")
    lines.push_back("host: how fast this computer simulates, nothing about an NPU");
  const bool model = r.provenance == "modelled";
  lines.push_back(fmt::format("{}, bytes and what binds: timing model, calibration \"{}\"",
                              model ? "times" : "kicks", r.calibration));
  lines.push_back("host, prepare: this computer's clock, around a run and once before the first");
  lines.push_back(
      fmt::format("{} repetition{}, {} warm-up; time is the median, MAD the median "
                  "distance from it",
                  r.repetitions, r.repetitions == 1 ? "" : "s", r.warmup));
  std::size_t timed = 0;
  for (const BenchRow& row : r.rows) timed += row.error.empty() && !row.computed;
  if (timed != 0)
    lines.push_back(fmt::format(
        "{} of {} rows not computed: their programs were checked and timed, nothing else "
        "(--simulate-limit, --timing-only)",
        timed, r.rows.size()));
  return lines;
}

std::vector<std::string> bench_sums(std::span<const BenchRow* const> rows) {
  std::map<std::pair<std::string, unsigned>, std::pair<double, std::size_t>> sums;
  for (const BenchRow* row : rows) {
    if (!row->error.empty() || row->op == BenchOp::submit) continue;
    auto& [seconds, count] = sums[{row->dtype, row->cores}];
    seconds += row->time.median;
    ++count;
  }
  std::vector<std::string> lines;
  for (const auto& [key, sum] : sums)
    if (sum.second > 1)
      lines.push_back(fmt::format("{} on {} core{}: {} rows, {} us together", key.first, key.second,
                                  key.second == 1 ? "" : "s", sum.second, microseconds(sum.first)));
  return lines;
}

}  // namespace npu::probe
