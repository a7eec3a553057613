// SPDX-License-Identifier: MIT
// A report as Markdown and as CSV.
#include <fmt/format.h>

#include <algorithm>

#include "npu-probe/bench_table.hpp"

namespace npu::probe {
namespace {

// Characters, not bytes: every byte of UTF-8 but those that continue a character.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::string padded(const std::string& text, std::size_t width, bool right) {
  const std::string space(width - std::min(width, width_of(text)), ' ');
  return right ? space + text : text + space;
}

// A bar would end the cell, a new line the row.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '|' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return out;
}

// Host times differ from run to run; their columns shall not.
constexpr std::size_t kHostWidth = 12;

void table(std::string& out, std::span<const BenchRow* const> rows) {
  std::vector<BenchColumn> columns = bench_columns(rows);
  std::vector<std::size_t> widths;
  for (BenchColumn& column : columns) {
    std::size_t width =
        column.title == "host" || column.title == "prepare" ? kHostWidth : width_of(column.title);
    for (std::string& cell : column.cells) {
      cell = escaped(cell);
      width = std::max(width, width_of(cell));
    }
    widths.push_back(std::max<std::size_t>(width, 3));
  }
  std::string rule = "|";
  out += "|";
  for (std::size_t i = 0; i < columns.size(); ++i) {
    out += " " + padded(columns[i].title, widths[i], columns[i].right) + " |";
    rule += columns[i].right ? " " + std::string(widths[i] - 1, '-') + ": |"
                             : " " + std::string(widths[i], '-') + " |";
  }
  out += "\n" + rule + "\n";
  for (std::size_t r = 0; r < rows.size(); ++r) {
    out += "|";
    for (std::size_t i = 0; i < columns.size(); ++i)
      out += " " + padded(columns[i].cells[r], widths[i], columns[i].right) + " |";
    out += "\n";
  }
}

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + "\"";
}

}  // namespace

std::string to_markdown(const BenchReport& report) {
  std::string out;
  for (const std::string& line : bench_preamble(report)) out += line + "\n";
  for (const auto& rows : rows_by_op(report)) {
    out += fmt::format("\n### {}\n\n", to_string(rows.front()->op));
    table(out, rows);
    const std::vector<std::string> sums = bench_sums(rows);
    if (!sums.empty()) out += "\n";
    for (const std::string& line : sums) out += line + "\n";
    for (const BenchRow* row : rows)
      if (!row->error.empty())
        out += fmt::format("\nnot run: {} {} {} on {}: {}\n", row->name, row->shape, row->dtype,
                           row->cores, row->error);
  }
  return out;
}

std::string to_csv(const BenchReport& report) {
  std::string out =
      "op,name,shape,dtype,cores,provenance,computed,time_us,min_us,max_us,mad_us,samples,"
      "gmac_per_s,gb_per_s,roof_share,roof_bound,binds,kicks,submits,jobs,tasks,regcmd_words,"
      "bytes_moved,macs,least_bytes,modelled_us,host_us,prepare_us,device,clock_mhz,calibration,"
      "error\n";
  for (const BenchRow& r : report.rows) {
    std::vector<std::string> cells = {std::string(to_string(r.op)), r.name,      r.shape, r.dtype,
                                      fmt::format("{}", r.cores),   r.provenance};
    if (r.error.empty()) {
      cells.push_back(r.computed ? "yes" : "no");
      for (const double s : {r.time.median, r.time.min, r.time.max, r.time.mad})
        cells.push_back(fmt::format("{:.3f}", s * 1e6));
      cells.push_back(fmt::format("{}", r.time.samples));
      cells.push_back(fmt::format("{:.4f}", macs_per_second(r) * 1e-9));
      cells.push_back(fmt::format("{:.4f}", bytes_per_second(r) * 1e-9));
      cells.push_back(r.roof ? fmt::format("{:.5f}", roof_share(r)) : "");
      cells.push_back(r.roof ? r.roof->bound : "");
      cells.push_back(what_binds(r));
      for (const std::uint64_t n : {std::uint64_t{r.model.kicks}, std::uint64_t{r.submits},
                                    std::uint64_t{r.per_run_jobs}, std::uint64_t{r.per_run_tasks},
                                    r.model.regcmd_words, r.model.bytes, r.macs, r.least_bytes})
        cells.push_back(fmt::format("{}", n));
      for (const double s : {r.model.seconds, r.host.median, r.prepare})
        cells.push_back(fmt::format("{:.3f}", s * 1e6));
    } else {
      cells.resize(28);
    }
    cells.push_back(report.device);
    cells.push_back(report.clock_mhz > 0 ? fmt::format("{:g}", report.clock_mhz) : "");
    cells.push_back(report.calibration);
    cells.push_back(r.error);
    for (std::size_t i = 0; i < cells.size(); ++i) out += (i == 0 ? "" : ",") + csv_cell(cells[i]);
    out += "\n";
  }
  return out;
}

}  // namespace npu::probe
