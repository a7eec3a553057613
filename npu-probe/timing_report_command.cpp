// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "npu-device/command_line.hpp"
#include "npu-probe/files.hpp"
#include "npu-probe/probe.hpp"
#include "npu-probe/timing_report.hpp"

namespace npu::probe {
namespace {

using nlohmann::json;

struct Options {
  std::string calibration, measurements;
  bool as_json = false, as_csv = false, details = false;
};

json to_json(const Statistics& s) {
  return {{"rows", s.rows},
          {"inexpressible", s.inexpressible},
          {"geometric_mean", s.geometric_mean},
          {"median_error", s.median_error},
          {"worst_ratio", s.worst_ratio},
          {"worst_row", s.worst_row},
          {"off_by_2", s.off_by_2},
          {"unexplained", s.unexplained}};
}

json to_json(const ReportRow& r) {
  const Measurement& m = r.measured;
  json row = {{"op", m.op},
              {"dtype", m.dtype},
              {"shape", m.shape},
              {"cores", m.cores},
              {"npu_clock_mhz", m.npu_clock_mhz},
              {"metric", m.metric},
              {"unit", m.unit},
              {"stack", m.stack},
              {"source", m.source},
              {"conditions", m.conditions},
              {"split", m.split},
              {"measured", m.value}};
  if (!r.modelled.value) {
    row["modelled"] = nullptr;
    row["inexpressible"] = r.modelled.inexpressible;
    return row;
  }
  const Modelled& d = r.modelled.detail;
  row["modelled"] = *r.modelled.value;
  row["ratio"] = r.ratio;
  row["shares"] = shares(d);
  row["mac_share"] = d.mac_share;
  row["seconds"] = {{"total", d.seconds},
                    {"device", d.device},
                    {"host", d.host},
                    {"dispatch", d.dispatch},
                    {"mac", d.mac}};
  row["bytes"] = d.bytes;
  row["macs"] = d.macs;
  row["tasks"] = d.tasks;
  row["jobs"] = d.jobs;
  if (!r.modelled.assumed.empty()) row["assumed"] = r.modelled.assumed;
  if (!r.reason.empty()) row["reason"] = r.reason;
  return row;
}

std::string figure(double value) {
  return value >= 1000 ? fmt::format("{:.0f}", value) : fmt::format("{:.3g}", value);
}

void print_statistics(std::ostream& out, const char* name, const Statistics& s,
                      const Report& report) {
  const std::size_t compared = s.rows - s.inexpressible;
  fmt::print(out, "{:<6} {} rows, {} compared", name, s.rows, compared);
  if (compared != 0) {
    const Measurement& worst = report.rows[s.worst_row].measured;
    fmt::print(out,
               ": geometric mean {:.2f}, median error {:.0f} %, worst {:.2f} ({} {} {}), "
               "{} off by more than 2x, {} of them without a reason",
               s.geometric_mean, 100 * s.median_error, s.worst_ratio, worst.op, worst.dtype,
               worst.shape, s.off_by_2, s.unexplained);
  }
  fmt::print(out, "\n");
}

void print_text(std::ostream& out, const Report& report, const Options& o,
                const std::string& calibration) {
  fmt::print(out, "modelled with {}\n\n", calibration);
  fmt::print(out, "{:>9} {:>9} {:<8} {:>5}  {:<5} row\n", "modelled", "measured", "unit", "ratio",
             "split");
  for (const ReportRow& r : report.rows) {
    const Measurement& m = r.measured;
    const std::string row = fmt::format("{} {} {}, {} {}, {:g} MHz, {}{}{}", m.op, m.dtype, m.shape,
                                        m.cores, m.cores == 1 ? "core" : "cores", m.npu_clock_mhz,
                                        m.stack, m.conditions.empty() ? "" : ": ", m.conditions);
    if (!r.modelled.value) {
      fmt::print(out, "{:>9} {:>9} {:<8} {:>5}  {:<5} {}\n", "-", figure(m.value), m.unit, "-",
                 m.split, row);
      fmt::print(out, "{:>43}not modelled: {}\n", "", r.modelled.inexpressible);
      continue;
    }
    fmt::print(out, "{:>9} {:>9} {:<8} {:>5.2f}  {:<5} {}\n", figure(*r.modelled.value),
               figure(m.value), m.unit, r.ratio, m.split, row);
    const Modelled& d = r.modelled.detail;
    if (o.details)
      fmt::print(out,
                 "{:>43}{:.3g} ms: {}; MAC arrays at work {:.0f} % of the time; {} jobs, {} tasks, "
                 "{:.3g} MB\n",
                 "", d.seconds * 1e3, shares(d), 100 * d.mac_share, d.jobs, d.tasks,
                 static_cast<double>(d.bytes) * 1e-6);
    if (!r.modelled.assumed.empty())
      fmt::print(out, "{:>43}not stated, taken as: {}\n", "", r.modelled.assumed);
    if (error_of(r.ratio) > 1)
      fmt::print(out, "{:>43}off by more than 2x: {}\n", "",
                 r.reason.empty() ? "no reason known" : r.reason);
  }
  fmt::print(out, "\n");
  print_statistics(out, "fit", report.fit, report);
  print_statistics(out, "check", report.check, report);
  print_statistics(out, "all", report.all, report);
}

std::string quoted(const std::string& field) {
  if (field.find_first_of(",\"") == std::string::npos) return field;
  std::string result = "\"";
  for (const char c : field) {
    if (c == '"') result += '"';
    result += c;
  }
  return result + '"';
}

// The table again with three more columns.
void print_csv(std::ostream& out, const Report& report) {
  fmt::print(out,
             "op,dtype,shape,cores,npu_clock_mhz,metric,value,unit,stack,source,conditions,split,"
             "reason,modelled,ratio,not_modelled\n");
  for (const ReportRow& r : report.rows) {
    const Measurement& m = r.measured;
    fmt::print(out, "{},{},{},{},{:g},{},{:.10g},{},{},{},{},{},{},", quoted(m.op), quoted(m.dtype),
               quoted(m.shape), m.cores, m.npu_clock_mhz, quoted(m.metric), m.value, quoted(m.unit),
               quoted(m.stack), quoted(m.source), quoted(m.conditions), m.split,
               quoted(r.reason.empty() ? m.reason : r.reason));
    if (r.modelled.value)
      fmt::print(out, "{:.6g},{:.4g},\n", *r.modelled.value, r.ratio);
    else
      fmt::print(out, ",,{}\n", quoted(r.modelled.inexpressible));
  }
}

void timing_report(const Options& o, Io& io) {
  const sim::CalibrationFile calibration =
      o.calibration.empty() ? sim::default_calibration() : sim::load_calibration(o.calibration);
  std::string csv(default_measurements());
  if (!o.measurements.empty()) {
    const auto bytes = read_file(o.measurements, 16u << 20);
    csv.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  const std::vector<Measurement> rows =
      parse_measurements(csv, o.measurements.empty() ? "measurements.csv" : o.measurements);
  const Report report = make_report(rows, calibration.values);
  if (o.as_json) {
    json out = {{"calibration", calibration.name},
                {"rows", json::array()},
                {"fit", to_json(report.fit)},
                {"check", to_json(report.check)},
                {"all", to_json(report.all)}};
    for (const ReportRow& row : report.rows) out["rows"].push_back(to_json(row));
    io.out << out.dump(2, ' ', false, json::error_handler_t::replace) << '\n';
  } else if (o.as_csv) {
    print_csv(io.out, report);
  } else {
    print_text(io.out, report, o, calibration.name);
  }
}

}  // namespace

void add_timing_report(cli::App& app, Io& io) {
  const auto o = std::make_shared<Options>();
  cli::App* sub = app.add_subcommand(
      "timing-report", "Compare the timing model with what was measured on real boards");
  sub->add_option("--calibration", o->calibration, "constants instead of the built-in ones");
  sub->add_option("table,--measurements", o->measurements,
                  "CSV file with measurements instead of the built-in ones");
  sub->add_flag("--details", o->details, "where the modelled time of each row goes");
  cli::Option* as_json = sub->add_flag("--json", o->as_json, "print JSON only");
  sub->add_flag("--csv", o->as_csv, "print CSV only: the table with modelled values")
      ->excludes(as_json);
  sub->footer(
      "ratio is modelled / measured. Constants were fitted on rows marked fit; rows marked check\n"
      "took no part. The error of a ratio r is max(r, 1/r) - 1. Rows that the model has no "
      "workload\n"
      "for are listed with the reason.\n"
      "Columns of a table: op,dtype,shape,cores,npu_clock_mhz,metric,value,unit,stack,source,\n"
      "conditions, and if wanted split (fit, check) and reason. Clock or cores of 0: not stated.\n"
      "Exit 4 for a damaged calibration or table.\n"
      "Example: npu-probe timing-report --details");
  sub->callback([o, &io] { timing_report(*o, io); });
}

}  // namespace npu::probe
