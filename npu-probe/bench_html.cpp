// SPDX-License-Identifier: MIT
// A report as one page that needs nothing from elsewhere.
#include <fmt/format.h>

#include <set>

#include "npu-probe/bench_plot.hpp"
#include "npu-probe/bench_table.hpp"

namespace npu::probe {
namespace {

// Colours that can be told apart in both schemes, also by people who do not see red.
constexpr std::string_view kStyle = R"(
:root { color-scheme: light dark; --back: #fff; --text: #1b1f24; --soft: #667; --line: #d8dce2;
  --roof: #444b57; }
@media (prefers-color-scheme: dark) {
  :root { --back: #14171c; --text: #e4e7ec; --soft: #9aa3b2; --line: #2c323c; --roof: #b9c1cf; } }
body { background: var(--back); color: var(--text); font: 15px/1.5 system-ui, sans-serif;
  max-width: 1200px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
.from, .tick, .axis, .label { fill: var(--soft); color: var(--soft); font-size: 12px; }
.name { fill: var(--text); font-size: 12px; }
svg { width: 100%; height: auto; display: block; font-family: system-ui, sans-serif; }
.grid { stroke: var(--line); } .roof { stroke: var(--roof); stroke-width: 1.5; }
.mark { stroke: var(--text); stroke-width: 2.5; }
.dot { fill-opacity: .75; stroke: var(--back); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; white-space: nowrap; }
td, th { padding: 2px 9px; border-bottom: 1px solid var(--line); text-align: left; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
.key { display: inline-block; margin-right: 1.2em; white-space: nowrap; }
.key svg { display: inline; width: 12px; height: 12px; margin-right: 5px; }
.t-i4 { fill: #aa3377; } .t-i8 { fill: #4477aa; } .t-i16 { fill: #66ccee; }
.t-f16 { fill: #ee6677; } .t-bf16 { fill: #ccbb44; } .t-tf32 { fill: #228833; }
.t-other { fill: #888; }
.c-dispatch { fill: #9aa3b2; } .c-program-fetch { fill: #aa3377; } .c-feature-dma { fill: #66ccee; }
.c-weight-dma { fill: #4477aa; } .c-mac-array { fill: #228833; } .c-operand-dma { fill: #88ccaa; }
.c-dpu { fill: #ccbb44; } .c-ppu { fill: #ddaa33; } .c-write-dma { fill: #ee6677; }
.c-dram-bandwidth { fill: #bb5566; } .c-task-start { fill: #775588; }
)";

std::string key(const std::string& kind, const std::string& text) {
  return fmt::format(
      "<span class=\"key\"><svg viewBox=\"0 0 10 10\"><rect class=\"{}\" "
      "width=\"10\" height=\"10\"/></svg>{}</span>\n",
      kind, html_escaped(text));
}

std::string causes_legend(const BenchReport& report) {
  std::set<std::string> causes;
  for (const BenchRow& row : report.rows)
    for (const auto& [cause, share] : row.model.shares) causes.insert(cause);
  std::string out = "<p>";
  for (const std::string& cause : causes) out += key(cause_class(cause), cause);
  return out + "</p>\n";
}

std::string types_legend(const BenchReport& report) {
  std::set<std::string> types;
  for (const BenchRow& row : report.rows)
    if (row.roof && row.roof->peak_macs > 0)
      types.insert(row.dtype.substr(0, row.dtype.find("->")));
  std::string out = "<p>";
  for (const std::string& type : types) out += key("t-" + html_escaped(type), type);
  return out +
         "<span class=\"from\">circle: 1 core, square: 2, triangle: 3; point at a mark for "
         "its shape</span></p>\n";
}

std::string table(std::span<const BenchRow* const> rows) {
  const std::vector<BenchColumn> columns = bench_columns(rows);
  std::string out = "<div class=\"scroll\"><table>\n<thead><tr>";
  const auto cell = [&](const char* tag, const BenchColumn& column, const std::string& text) {
    out += fmt::format("<{0}{1}>{2}</{0}>", tag, column.right ? " class=\"n\"" : "",
                       html_escaped(text));
  };
  for (const BenchColumn& column : columns) cell("th", column, column.title);
  out += "</tr></thead>\n<tbody>\n";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    out += "<tr>";
    for (const BenchColumn& column : columns) cell("td", column, column.cells[i]);
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

}  // namespace

std::string to_html(const BenchReport& report) {
  std::string out =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
  out += fmt::format("<title>npu-probe bench: {}</title>\n<style>{}</style>\n</head>\n<body>\n",
                     html_escaped(report.device), kStyle);
  out += fmt::format("<h1>npu-probe bench on {}</h1>\n", html_escaped(report.device));
  out += "<p class=\"from\">";
  for (const std::string& line : bench_preamble(report)) out += html_escaped(line) + ".<br>\n";
  out += fmt::format("npu-probe {} on {}.</p>\n", html_escaped(report.tool),
                     html_escaped(report.host));
  const std::string roofline = roofline_svg(report);
  if (!roofline.empty())
    out +=
        "<h2>Roofline</h2>\n<p class=\"from\">Points: products per second of a run, over the "
        "bytes of its operands and results, each once. Lines: what no program can exceed.</p>\n" +
        types_legend(report) + roofline;
  out +=
      "<h2>Where the time goes</h2>\n<p class=\"from\">Colours: modelled shares of the "
      "cores' time. Black or white line: the least time that any program could take.</p>\n" +
      causes_legend(report);
  for (const auto& rows : rows_by_op(report)) {
    out += fmt::format("<h2>{}</h2>\n", to_string(rows.front()->op));
    out += bars_svg(rows) + table(rows);
    for (const std::string& line : bench_sums(rows))
      out += "<p class=\"from\">" + html_escaped(line) + "</p>\n";
    for (const BenchRow* row : rows)
      if (!row->error.empty())
        out += fmt::format("<p>not run: {} {} on {}: {}</p>\n", html_escaped(row->shape),
                           html_escaped(row->dtype), row->cores, html_escaped(row->error));
  }
  return out + "</body>\n</html>\n";
}

}  // namespace npu::probe
