// SPDX-License-Identifier: MIT
#include "npu-probe/bench_compare.hpp"

#include <fmt/format.h>

#include <cmath>
#include <deque>
#include <map>
#include <nlohmann/json.hpp>

namespace npu::probe {
namespace {

std::string key_of(const BenchRow& r) {
  return fmt::format("{}\n{}\n{}\n{}\n{}", to_string(r.op), r.name, r.shape, r.dtype, r.cores);
}

std::string title_of(const BenchRow& r) {
  return fmt::format("{} {}{}{} {} x{}", to_string(r.op), r.name, r.name.empty() ? "" : " ",
                     r.shape, r.dtype, r.cores);
}

bool ran(const BenchRow& r) { return r.error.empty() && r.time.median > 0; }

}  // namespace

BenchComparison compare_reports(const BenchReport& before, const BenchReport& after,
                                double threshold) {
  if (before.provenance != after.provenance)
    throw Error(ErrorCode::bad_file,
                fmt::format("the earlier report's times are {}, these are {}: they cannot be "
                            "compared; use the same kind of device",
                            before.provenance, after.provenance));
  BenchComparison c;
  c.threshold = threshold;
  const auto differ = [&](const char* what, const std::string& a, const std::string& b) {
    if (a != b) c.notes.push_back(fmt::format("{}: {} then, {} now", what, a, b));
  };
  differ("device", before.device, after.device);
  differ("NPU clock in MHz", fmt::format("{:g}", before.clock_mhz),
         fmt::format("{:g}", after.clock_mhz));
  differ("calibration", before.calibration, after.calibration);
  std::map<std::string, std::deque<const BenchRow*>> old;
  for (const BenchRow& row : before.rows)
    if (ran(row)) old[key_of(row)].push_back(&row);
  double logs = 0;
  for (const BenchRow& row : after.rows) {
    auto& candidates = old[key_of(row)];
    if (!ran(row) || candidates.empty()) {
      c.only_after.push_back(&row);
      continue;
    }
    BenchPair pair{candidates.front(), &row, 0, false};
    candidates.pop_front();
    pair.ratio = pair.before->time.median / row.time.median;
    pair.slower = row.time.median > pair.before->time.median * (1 + threshold);
    c.slower += pair.slower;
    logs += std::log(pair.ratio);
    c.pairs.push_back(pair);
  }
  for (const BenchRow& row : before.rows)
    for (const BenchRow* left : old[key_of(row)])
      if (left == &row) c.only_before.push_back(&row);
  if (c.pairs.empty())
    throw Error(ErrorCode::bad_file,
                "the earlier report has no row in common with this one: "
                "measure the same shapes, types and cores");
  c.geometric_mean = std::exp(logs / static_cast<double>(c.pairs.size()));
  return c;
}

std::string to_markdown(const BenchComparison& c) {
  std::size_t width = 3;
  for (const BenchPair& pair : c.pairs) width = std::max(width, title_of(*pair.after).size());
  std::string out = fmt::format("| {:<{}} | {:>12} | {:>12} | {:>6} | {:<7} |\n", "row", width,
                                "before us", "after us", "ratio", "verdict");
  out += fmt::format("| {:-<{}} | {:->11}: | {:->11}: | {:->5}: | {:-<7} |\n", "", width, "", "",
                     "", "");
  for (const BenchPair& pair : c.pairs)
    out += fmt::format("| {:<{}} | {:>12.1f} | {:>12.1f} | {:>6.2f} | {:<7} |\n",
                       title_of(*pair.after), width, pair.before->time.median * 1e6,
                       pair.after->time.median * 1e6, pair.ratio,
                       pair.slower                    ? "slower"
                       : pair.ratio > 1 + c.threshold ? "faster"
                                                      : "same");
  out += fmt::format(
      "\n{} row{}, geometric mean of before/after {:.3f}; {} slower by more than "
      "{:g} %\n",
      c.pairs.size(), c.pairs.size() == 1 ? "" : "s", c.geometric_mean, c.slower,
      c.threshold * 100);
  for (const std::string& note : c.notes) out += note + "\n";
  for (const BenchRow* row : c.only_before) out += "only before: " + title_of(*row) + "\n";
  for (const BenchRow* row : c.only_after) out += "only now: " + title_of(*row) + "\n";
  return out;
}

std::string to_json(const BenchComparison& c) {
  using nlohmann::json;
  const auto name = [](const BenchRow& r) {
    return json{{"op", to_string(r.op)}, {"name", r.name},   {"shape", r.shape},
                {"dtype", r.dtype},      {"cores", r.cores}, {"provenance", r.provenance}};
  };
  json rows = json::array(), before = json::array(), after = json::array();
  for (const BenchPair& pair : c.pairs) {
    json row = name(*pair.after);
    row["before_us"] = pair.before->time.median * 1e6;
    row["after_us"] = pair.after->time.median * 1e6;
    row["ratio"] = pair.ratio;
    row["slower"] = pair.slower;
    rows.push_back(row);
  }
  for (const BenchRow* row : c.only_before) before.push_back(name(*row));
  for (const BenchRow* row : c.only_after) after.push_back(name(*row));
  return json{{"threshold", c.threshold}, {"rows", rows},
              {"only_before", before},    {"only_after", after},
              {"slower", c.slower},       {"geometric_mean", c.geometric_mean},
              {"notes", c.notes}}
             .dump(2, ' ', false, json::error_handler_t::replace) +
         "\n";
}

}  // namespace npu::probe
