// SPDX-License-Identifier: MIT
#include "npu-probe/timing_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "npu-probe/default_measurements.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

[[noreturn]] void bad(std::string_view where, std::size_t line, const std::string& what) {
  throw Error(ErrorCode::bad_file, fmt::format("{}:{}: {}", where, line, what));
}

// Fields of one line; a quoted field may hold commas, doubled quotes and nothing else special.
std::vector<std::string> split_line(std::string_view line, std::string_view where,
                                    std::size_t number) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quoted) {
      if (c != '"') {
        fields.back() += c;
      } else if (i + 1 < line.size() && line[i + 1] == '"') {
        fields.back() += '"';
        ++i;
      } else {
        quoted = false;
      }
    } else if (c == '"') {
      if (!fields.back().empty()) bad(where, number, "a quote inside a field");
      quoted = true;
    } else if (c == ',') {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
  if (quoted) bad(where, number, "a quoted field does not end on its line");
  return fields;
}

double number(const std::string& text, std::string_view column, std::string_view where,
              std::size_t line) {
  double value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size() || !std::isfinite(value) ||
      value < 0)
    bad(where, line, fmt::format("{} is \"{}\", not a number of 0 or more", column, text));
  return value;
}

// What is known about whole groups of published rows, for tables without a column "reason".
std::string known_reason(const Measurement& row) {
  const auto from = [&row](std::string_view text) {
    return row.source.find(text) != std::string::npos;
  };
  if (row.op == "jobs" && row.npu_clock_mhz == 600 && row.unit == "jobs/s" &&
      from("perf/iova-and-multicore"))
    return "the source gives no clock for this run; the same tile runs at 7.68 ms per 64-task job "
           "at 600 MHz in the same document, and these figures fit 200 MHz";
  if (row.op == "gemm" && from("perf/device-vs-host-split"))
    return "device time that the vendor driver's clock shows for 1 or 2 submits of a few tasks, up "
           "to 5 times that per task of the larger products of the same table; probably the "
           "governor raising the clock";
  if (row.op == "network" && from("tomeuvizoso") && row.npu_clock_mhz > 200)
    return "the posts give no clock; their MobileNetV1 and SSDLite MobileDet both fit 200 MHz";
  if (row.op == "network" && row.source.rfind("seed", 0) == 0)
    return "a figure in a plan, without type, model file, source, or what its time includes";
  return {};
}

}  // namespace

std::vector<Measurement> parse_measurements(std::string_view csv, std::string_view where) {
  constexpr std::size_t kMostRows = 10'000;
  static constexpr std::string_view kNeeded[] = {
      "op",    "dtype", "shape", "cores",  "npu_clock_mhz", "metric",
      "value", "unit",  "stack", "source", "conditions"};
  std::vector<Measurement> rows;
  std::map<std::string, std::size_t, std::less<>> column;
  std::size_t line_number = 0;
  while (!csv.empty()) {
    const auto end = csv.find('\n');
    std::string_view line = csv.substr(0, end);
    csv.remove_prefix(end == std::string_view::npos ? csv.size() : end + 1);
    ++line_number;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty() || line.front() == '#') continue;
    const std::vector<std::string> fields = split_line(line, where, line_number);
    if (column.empty()) {
      for (std::size_t i = 0; i < fields.size(); ++i)
        if (!column.emplace(fields[i], i).second)
          bad(where, line_number, fmt::format("two columns are called \"{}\"", fields[i]));
      for (const std::string_view name : kNeeded)
        if (column.count(name) == 0)
          bad(where, line_number, fmt::format("the first line has no column \"{}\"", name));
      continue;
    }
    if (fields.size() != column.size())
      bad(where, line_number,
          fmt::format("{} fields where the first line has {}", fields.size(), column.size()));
    if (rows.size() == kMostRows) bad(where, line_number, "more rows than a report can hold");
    const auto at = [&](std::string_view name) -> std::string {
      const auto found = column.find(name);
      return found == column.end() ? std::string() : fields[found->second];
    };
    Measurement m{at("op"),         at("dtype"), at("shape"), 0,           0,
                  at("metric"),     0,           at("unit"),  at("stack"), at("source"),
                  at("conditions"), at("split"), at("reason")};
    const double cores = number(at("cores"), "cores", where, line_number);
    if (cores > 1024 || cores != std::floor(cores))
      bad(where, line_number, "cores is not a whole number of at most 1024");
    m.cores = static_cast<unsigned>(cores);
    m.npu_clock_mhz = number(at("npu_clock_mhz"), "npu_clock_mhz", where, line_number);
    m.value = number(at("value"), "value", where, line_number);
    if (m.value == 0) bad(where, line_number, "value is 0, which no ratio can be taken of");
    if (m.split.empty()) m.split = "check";
    if (m.split != "fit" && m.split != "check")
      bad(where, line_number, fmt::format("split is \"{}\", not fit or check", m.split));
    rows.push_back(std::move(m));
  }
  if (column.empty()) bad(where, line_number, "holds no table");
  return rows;
}

double error_of(double ratio) { return ratio >= 1 ? ratio - 1 : 1 / ratio - 1; }

Statistics statistics(std::span<const ReportRow> rows, std::string_view split) {
  Statistics s;
  std::vector<double> errors;
  double logarithms = 0, worst = -1;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const ReportRow& row = rows[i];
    if (!split.empty() && row.measured.split != split) continue;
    ++s.rows;
    if (row.ratio == 0) {
      ++s.inexpressible;
      continue;
    }
    const double error = error_of(row.ratio);
    errors.push_back(error);
    logarithms += std::log(row.ratio);
    if (error > worst) {
      worst = error;
      s.worst_row = i;
      s.worst_ratio = row.ratio;
    }
    if (error > 1) {
      ++s.off_by_2;
      if (row.reason.empty()) ++s.unexplained;
    }
  }
  if (errors.empty()) return s;
  std::sort(errors.begin(), errors.end());
  const std::size_t half = errors.size() / 2;
  s.median_error = errors.size() % 2 == 1 ? errors[half] : (errors[half - 1] + errors[half]) / 2;
  s.geometric_mean = std::exp(logarithms / static_cast<double>(errors.size()));
  return s;
}

Report make_report(std::span<const Measurement> rows, const sim::Calibration& calibration) {
  Report report;
  for (const Measurement& row : rows) {
    ReportRow r{row, predict(row, calibration), 0, {}};
    if (r.modelled.value) {
      r.ratio = *r.modelled.value / row.value;
      if (error_of(r.ratio) > 1) r.reason = row.reason.empty() ? known_reason(row) : row.reason;
    }
    report.rows.push_back(std::move(r));
  }
  report.fit = statistics(report.rows, "fit");
  report.check = statistics(report.rows, "check");
  report.all = statistics(report.rows, "");
  return report;
}

std::string_view default_measurements() { return kDefaultMeasurements; }

}  // namespace npu::probe
