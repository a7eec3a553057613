// SPDX-License-Identifier: MIT
// The three forms of a report.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "npu-probe/audit/audit.hpp"

namespace npu::probe {
namespace {

const char* colour_of(State state) {
  switch (state) {
    case State::ok: return "\033[32m";
    case State::warn: return "\033[33m";
    case State::fail: return "\033[31m";
    case State::unknown: return "\033[36m";
  }
  return "";
}

std::string painted(std::string_view text, const char* code, bool colour) {
  return colour ? fmt::format("{}{}\033[0m", code, text) : std::string(text);
}

/// Breaks `text` at spaces so that lines after the first start at `indent`.
std::string wrapped(std::string_view text, std::size_t indent, std::size_t width = 100) {
  std::string out;
  std::size_t column = indent;
  while (!text.empty()) {
    const auto space = text.find(' ');
    const auto word = text.substr(0, space);
    if (column != indent && column + 1 + word.size() > width) {
      out += '\n' + std::string(indent, ' ');
      column = indent;
    } else if (column != indent) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
    if (space == std::string_view::npos) break;
    text.remove_prefix(space + 1);
  }
  return out;
}

std::string memory_text(std::uint64_t bytes) {
  return bytes == 0 ? std::string("memory unknown")
                    : fmt::format("{:.1f} GiB", static_cast<double>(bytes) / (1 << 30));
}

/// A cell of a Markdown table: what would end the cell, or start HTML, is escaped.
std::string cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|' || c == '\\' || c == '*') out += '\\';
    if (c == '<')
      out += "&lt;";
    else if (c == '&')
      out += "&amp;";
    else
      out += c;
  }
  return out;
}

std::string machine_line(const Machine& m) {
  std::string line = m.board.empty() ? std::string() : m.board + ", ";
  line += m.soc.empty() ? "no known SoC" : m.soc;
  line += fmt::format(", {}, kernel {}, {}", m.arch.empty() ? "unknown architecture" : m.arch,
                      m.kernel.empty() ? "unknown" : m.kernel, memory_text(m.memory_bytes));
  return line;
}

/// Only what is not as the fragment has it; all of it is in the other two forms.
std::string configuration_text(const std::vector<ConfigSymbol>& symbols, bool colour) {
  std::string out;
  for (std::size_t i = 0; i < symbols.size();) {
    const auto& s = symbols[i];
    std::string names;  // neighbours often share a reason
    for (; i < symbols.size() && symbols[i].reason == s.reason && symbols[i].state == s.state; ++i)
      names +=
          fmt::format("{}{}={}", names.empty() ? "" : ", ", symbols[i].symbol, symbols[i].wanted);
    if (s.state != SymbolState::module && s.state != SymbolState::missing) continue;
    const bool harmless = s.state == SymbolState::module || s.need == ConfigNeed::optional;
    out += fmt::format("  {} {}\n{}{}\n",
                       painted(fmt::format("{:<7}", to_string(s.state)),
                               colour_of(harmless ? State::unknown : State::warn), colour),
                       names, std::string(10, ' '), wrapped(s.reason, 10));
  }
  if (out.empty()) return out;
  return fmt::format("\n{}\n", painted("Configuration, where it differs from "
                                       "kernel/config/rosenblatt.config",
                                       "\033[1m", colour)) +
         out;
}

}  // namespace

std::string render_text(const Report& report, bool colour) {
  std::string out = fmt::format("{}\n", machine_line(report.machine));
  std::size_t width = 0;
  for (const auto& check : report.checks) width = std::max(width, check.title.size());
  std::string group, last_remedy;
  for (const auto& check : report.checks) {
    if (check.group != group) {
      group = check.group;
      out += fmt::format("\n{}\n", painted(group, "\033[1m", colour));
    }
    const std::size_t indent = 2 + 7 + 1 + width + 2;
    out += fmt::format(
        "  {} {:<{}}  {}\n",
        painted(fmt::format("{:<7}", to_string(check.state)), colour_of(check.state), colour),
        check.title, width, wrapped(check.evidence, indent));
    if (check.remedy.empty() || check.state == State::ok) continue;
    out +=
        fmt::format("{}-> {}\n", std::string(indent, ' '),
                    check.remedy == last_remedy ? "as above" : wrapped(check.remedy, indent + 3));
    last_remedy = check.remedy;
  }
  out += configuration_text(report.configuration, colour);
  const char* verdict_colour = report.verdict == Verdict::not_ready ? "\033[31m" : "\033[32m";
  out += fmt::format("\n{}: {} ok, {} warn, {} fail, {} unknown\n",
                     painted(to_string(report.verdict), verdict_colour, colour),
                     report.count(State::ok), report.count(State::warn), report.count(State::fail),
                     report.count(State::unknown));
  return out + fmt::format("Next: {}\n", wrapped(report.next_step, 6));
}

std::string render_json(const Report& report) {
  using json = nlohmann::ordered_json;
  json checks = json::array(), table = json::array(), configuration = json::array();
  for (const auto& c : report.checks)
    checks.push_back({{"id", c.id},
                      {"title", c.title},
                      {"state", to_string(c.state)},
                      {"evidence", c.evidence},
                      {"remedy", c.remedy}});
  for (const auto& r : report.status_table)
    table.push_back({{"component", r.component},
                     {"mainline_state", r.state},
                     {"evidence", r.evidence},
                     {"notes", r.notes}});
  for (const auto& s : report.configuration)
    configuration.push_back({{"symbol", s.symbol},
                             {"wanted", std::string(1, s.wanted)},
                             {"found", s.found == '?' ? json() : json(std::string(1, s.found))},
                             {"state", to_string(s.state)},
                             {"need", to_string(s.need)},
                             {"reason", s.reason}});
  const auto& m = report.machine;
  const json all = {{"verdict", to_string(report.verdict)},
                    {"machine",
                     {{"soc", m.soc},
                      {"board", m.board},
                      {"kernel", m.kernel},
                      {"arch", m.arch},
                      {"memory_bytes", m.memory_bytes}}},
                    {"checks", checks},
                    {"status_table", table},
                    {"configuration", configuration},
                    {"summary",
                     {{"ok", report.count(State::ok)},
                      {"warn", report.count(State::warn)},
                      {"fail", report.count(State::fail)},
                      {"unknown", report.count(State::unknown)}}},
                    {"next_step", report.next_step}};
  return all.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string render_markdown(const Report& report) {
  std::string out = "# RK3588 NPU on mainline: status\n\n";
  out += fmt::format("- **Verdict:** {}\n", to_string(report.verdict));
  out += fmt::format("- **Machine:** {}\n", cell(machine_line(report.machine)));
  out += fmt::format("- **Kernel under audit:** {}\n\n",
                     report.machine.kernel.empty() ? "unknown" : cell(report.machine.kernel));
  out += "| Component | Mainline state | Evidence | Notes |\n|---|---|---|---|\n";
  for (const auto& r : report.status_table)
    out += fmt::format("| {} | {} | {} | {} |\n", cell(r.component), cell(r.state),
                       cell(r.evidence), cell(r.notes));
  out += "\n## Checks\n\n| Check | State | Evidence | Remedy |\n|---|---|---|---|\n";
  for (const auto& c : report.checks)
    out += fmt::format("| {} | {} | {} | {} |\n", cell(c.id), to_string(c.state), cell(c.evidence),
                       c.state == State::ok ? "" : cell(c.remedy));
  if (!report.configuration.empty())
    out +=
        "\n## Kernel configuration\n\n| Symbol | Wanted | Found | State | Need | Reason |\n"
        "|---|---|---|---|---|---|\n";
  for (const auto& s : report.configuration)
    out += fmt::format("| {} | {} | {} | {} | {} | {} |\n", s.symbol, s.wanted,
                       s.found == '?' ? "" : std::string(1, s.found), to_string(s.state),
                       to_string(s.need), cell(s.reason));
  out += fmt::format("\n{} ok, {} warn, {} fail, {} unknown. Next: {}\n", report.count(State::ok),
                     report.count(State::warn), report.count(State::fail),
                     report.count(State::unknown), cell(report.next_step));
  return out;
}

}  // namespace npu::probe
