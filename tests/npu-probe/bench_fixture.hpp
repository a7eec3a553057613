// SPDX-License-Identifier: MIT
// A report with names that mean harm, and readers of what the writers print.
#pragma once

#include <cctype>
#include <string>
#include <vector>

#include "npu-probe/bench.hpp"

namespace npu::probe::test {

inline BenchReport hostile_report() {
  BenchReport report;
  report.tool = "1.0";
  report.device = "sim";
  report.backend = "sim";
  report.provenance = "modelled";
  report.clock_mhz = 600;
  report.clock_source = "--mhz";
  report.calibration = "test constants, \"quoted\" <b>";
  report.repetitions = 3;
  report.warmup = 1;
  report.host = "Linux";
  report.dram_bytes_per_second = 30e9;
  report.port_bytes_per_cycle = 16;
  BenchRow row;
  row.name = "</title><script>alert(1)</script>|\\\"&,\n'";
  row.shape = "100x100x100";
  row.dtype = "i8->i32";
  row.provenance = "modelled";
  row.time = {1e-3, 0.9e-3, 1.2e-3, 0.1e-3, 3};
  row.host = {0.25e-3, 0.2e-3, 0.3e-3, 0.01e-3, 3};
  row.macs = 1'000'000;
  row.least_bytes = 60'000;
  row.submits = 1;
  row.per_run_jobs = row.per_run_tasks = 1;
  row.model = {1e-3, 1, 1, 1, 126, 61'008, 1'000'000, {{"dispatch", 0.7}, {"MAC array", 0.3}}};
  row.roof = BenchRoof{0.25e-3, "array", 614.4e9, 16.7};
  report.rows.push_back(row);
  row.name = "plain";
  row.op = BenchOp::conv;
  row.dtype = "i8";
  row.computed = false;
  row.model.shares = {{"weight DMA", 1.0}};
  report.rows.push_back(row);
  row = {};
  row.name = "refused";
  row.shape = "1x1x999999999";
  row.dtype = "i8->i32";
  row.provenance = "modelled";
  row.error = "K is too large, \"really\" <i>";
  report.rows.push_back(row);
  return report;
}

/// RFC 4180, strictly enough for a test.
inline std::vector<std::vector<std::string>> parse_csv(const std::string& text) {
  std::vector<std::vector<std::string>> lines(1, {""});
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '"' && i + 1 < text.size() && text[i + 1] == '"') {
      lines.back().back() += '"';
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (quoted || (c != ',' && c != '\n')) {
      lines.back().back() += c;
    } else if (c == ',') {
      lines.back().emplace_back();
    } else if (i + 1 < text.size()) {
      lines.push_back({""});
    }
  }
  return lines;
}

/// Empty for a page whose elements close in order, with attributes in quotes and no stray '<' or
/// '&'; else what is wrong.
inline std::string html_complaint(const std::string& html) {
  std::vector<std::string> open;
  for (std::size_t i = 0; i < html.size(); ++i) {
    if (!open.empty() && open.back() == "style") {  // raw text
      i = html.find("</style>", i);
      if (i == std::string::npos) return "style does not end";
    }
    if (html[i] == '&') {
      const std::size_t end = html.find(';', i);
      if (end == std::string::npos || end - i > 6) return "stray &";
      continue;
    }
    if (html[i] == '>') return "stray >";
    if (html[i] != '<') continue;
    if (html.compare(i, 15, "<!DOCTYPE html>") == 0) {
      i += 14;
      continue;
    }
    std::size_t at = i + 1;
    const bool closes = html[at] == '/';
    if (closes) ++at;
    std::string name;
    while (std::isalnum(static_cast<unsigned char>(html[at])) != 0) name += html[at++];
    if (name.empty()) return "stray < at " + html.substr(i, 30);
    bool quoted = false, alone = false;
    for (; at < html.size() && (quoted || html[at] != '>'); ++at) {
      if (html[at] == '"') quoted = !quoted;
      if (!quoted && html[at] == '<') return "< inside the tag " + html.substr(i, 40);
      if (quoted && html[at] == '<') return "< inside an attribute of " + html.substr(i, 40);
      alone = html[at] == '/';
    }
    if (at == html.size()) return "tag without end";
    i = at;
    if (closes) {
      if (open.empty() || open.back() != name) return "</" + name + "> does not close anything";
      open.pop_back();
    } else if (!alone && name != "meta" && name != "br") {
      open.push_back(name);
    }
  }
  return open.empty() ? "" : "<" + open.back() + "> stays open";
}

}  // namespace npu::probe::test
