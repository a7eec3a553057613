// SPDX-License-Identifier: MIT
// A report as JSON, there and back.
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "npu-probe/bench.hpp"

namespace npu::probe {
namespace {

using nlohmann::json;

json spread_json(const BenchSpread& s, const std::string& provenance) {
  return {{"median", s.median * 1e6}, {"min", s.min * 1e6},   {"max", s.max * 1e6},
          {"mad", s.mad * 1e6},       {"samples", s.samples}, {"provenance", provenance}};
}

json row_json(const BenchRow& r) {
  json row = {{"op", to_string(r.op)}, {"name", r.name},   {"shape", r.shape},
              {"dtype", r.dtype},      {"cores", r.cores}, {"provenance", r.provenance}};
  if (!r.error.empty()) {
    row["error"] = {{"code", to_string(r.error_code)}, {"message", r.error}};
    return row;
  }
  row["computed"] = r.computed;
  row["time_us"] = spread_json(r.time, r.provenance);
  row["host_us"] = spread_json(r.host, "host");
  row["prepare_us"] = {{"value", r.prepare * 1e6}, {"provenance", "host"}};
  row["macs"] = r.macs;
  row["least_bytes"] = r.least_bytes;
  row["macs_per_second"] = macs_per_second(r);
  row["bytes_per_second"] = bytes_per_second(r);
  row["submits"] = r.submits;
  row["jobs"] = r.per_run_jobs;
  row["tasks"] = r.per_run_tasks;
  row["kicks"] = r.model.kicks;
  row["regcmd_words"] = r.model.regcmd_words;
  row["bytes_moved"] = r.model.bytes;
  json shares = json::array();
  for (const auto& [name, share] : r.model.shares)
    shares.push_back({{"what", name}, {"share", share}});
  row["model"] = {{"us", r.model.seconds * 1e6}, {"shares", shares}, {"provenance", "modelled"}};
  if (r.roof)
    row["roof"] = {{"us", r.roof->seconds * 1e6},
                   {"bound", r.roof->bound},
                   {"peak_macs_per_second", r.roof->peak_macs},
                   {"macs_per_byte", r.roof->intensity},
                   {"share", roof_share(r)}};
  return row;
}

// Reads members of a report; whatever is missing or of another type is named.
class Reader {
 public:
  Reader(const json& object, std::string path) : object_(object), path_(std::move(path)) {
    if (!object.is_object()) complain("", "an object");
  }
  [[noreturn]] void complain(const std::string& key, const std::string& what) const {
    const std::string at = key.empty() ? path_ : path_.empty() ? key : path_ + "." + key;
    throw Error(ErrorCode::bad_file,
                fmt::format("{} has to be {}", at.empty() ? "the report" : at, what));
  }
  bool has(const char* key) const { return object_.contains(key); }
  const json& at(const char* key) const {
    const auto it = object_.find(key);
    if (it == object_.end()) complain(key, "there");
    return *it;
  }
  std::string text(const char* key) const {
    if (!at(key).is_string()) complain(key, "a string");
    return at(key).get<std::string>();
  }
  double number(const char* key) const {
    if (!at(key).is_number()) complain(key, "a number");
    const double value = at(key).get<double>();
    if (!std::isfinite(value) || value < 0) complain(key, "a number that is not below 0");
    return value;
  }
  std::uint64_t count(const char* key) const {
    if (!at(key).is_number_unsigned()) complain(key, "a whole number");
    return at(key).get<std::uint64_t>();
  }
  std::uint32_t small(const char* key) const {
    const std::uint64_t value = count(key);
    if (value > 0xFFFFFFFFu) complain(key, "a whole number below 2^32");
    return static_cast<std::uint32_t>(value);
  }
  bool flag(const char* key) const {
    if (!at(key).is_boolean()) complain(key, "true or false");
    return at(key).get<bool>();
  }
  const json& list(const char* key) const {
    if (!at(key).is_array()) complain(key, "a list");
    return at(key);
  }
  Reader inner(const char* key) const { return Reader(at(key), path_of(key)); }
  std::string path_of(const char* key) const { return path_.empty() ? key : path_ + "." + key; }

 private:
  const json& object_;
  std::string path_;
};

BenchSpread read_spread(const Reader& r) {
  return {r.number("median") / 1e6, r.number("min") / 1e6, r.number("max") / 1e6,
          r.number("mad") / 1e6, static_cast<std::size_t>(r.count("samples"))};
}

BenchRow read_row(const Reader& r) {
  BenchRow row;
  const auto op = bench_op(r.text("op"));
  if (!op) r.complain("op", "an operator of npu-probe bench");
  row.op = *op;
  row.name = r.text("name");
  row.shape = r.text("shape");
  row.dtype = r.text("dtype");
  row.cores = r.small("cores");
  row.provenance = r.text("provenance");
  if (r.has("error")) {
    row.error = r.inner("error").text("message");
    return row;
  }
  row.computed = r.flag("computed");
  row.time = read_spread(r.inner("time_us"));
  row.host = read_spread(r.inner("host_us"));
  row.prepare = r.inner("prepare_us").number("value") / 1e6;
  row.macs = r.count("macs");
  row.least_bytes = r.count("least_bytes");
  row.submits = r.small("submits");
  row.per_run_jobs = r.small("jobs");
  row.per_run_tasks = r.small("tasks");
  row.model.kicks = r.count("kicks");
  row.model.regcmd_words = r.count("regcmd_words");
  row.model.bytes = r.count("bytes_moved");
  const Reader model = r.inner("model");
  row.model.seconds = model.number("us") / 1e6;
  const json& shares = model.list("shares");
  for (std::size_t i = 0; i < shares.size(); ++i) {
    const Reader share(shares[i], fmt::format("{}[{}]", model.path_of("shares"), i));
    row.model.shares.emplace_back(share.text("what"), share.number("share"));
  }
  if (r.has("roof")) {
    const Reader roof = r.inner("roof");
    row.roof = {roof.number("us") / 1e6, roof.text("bound"), roof.number("peak_macs_per_second"),
                roof.number("macs_per_byte")};
  }
  return row;
}

}  // namespace

std::string to_json(const BenchReport& report) {
  json rows = json::array();
  for (const BenchRow& row : report.rows) rows.push_back(row_json(row));
  const json all = {{"tool", report.tool},
                    {"device", report.device},
                    {"backend", report.backend},
                    {"provenance", report.provenance},
                    {"clock_mhz", report.clock_mhz > 0 ? json(report.clock_mhz) : json(nullptr)},
                    {"clock_source", report.clock_source},
                    {"calibration", report.calibration},
                    {"dram_bytes_per_second", report.dram_bytes_per_second},
                    {"port_bytes_per_cycle", report.port_bytes_per_cycle},
                    {"repetitions", report.repetitions},
                    {"warmup", report.warmup},
                    {"host", report.host},
                    {"rows", rows}};
  // A name from a file may hold bytes that are no UTF-8.
  return all.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

BenchReport parse_bench_report(std::string_view text, std::string_view where) {
  try {
    const json root = json::parse(text);
    const Reader r(root, "");
    BenchReport report;
    report.tool = r.text("tool");
    report.device = r.text("device");
    report.backend = r.text("backend");
    report.provenance = r.text("provenance");
    report.clock_mhz = r.at("clock_mhz").is_null() ? 0 : r.number("clock_mhz");
    report.clock_source = r.text("clock_source");
    report.calibration = r.text("calibration");
    report.dram_bytes_per_second = r.number("dram_bytes_per_second");
    report.port_bytes_per_cycle = r.number("port_bytes_per_cycle");
    report.repetitions = r.small("repetitions");
    report.warmup = r.small("warmup");
    report.host = r.text("host");
    const json& rows = r.list("rows");
    for (std::size_t i = 0; i < rows.size(); ++i)
      report.rows.push_back(read_row(Reader(rows[i], fmt::format("rows[{}]", i))));
    return report;
  } catch (const json::exception& error) {
    throw Error(ErrorCode::bad_file, fmt::format("{}: is no JSON: {}", where, error.what()));
  } catch (const Error& error) {
    throw Error(
        ErrorCode::bad_file,
        fmt::format("{}: {}; it wants a report of npu-probe bench --json", where, error.what()));
  }
}

}  // namespace npu::probe
