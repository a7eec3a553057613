// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "npu-device/command_line.hpp"
#include "npu-probe/files.hpp"
#include "npu-probe/lint.hpp"
#include "npu-probe/probe.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

using nlohmann::json;
using regdb::Finding;
using regdb::LintRule;
using regdb::Severity;
namespace fs = std::filesystem;

constexpr std::size_t kMaxBytes = 256u << 20;

struct Options {
  std::vector<std::string> files, disabled, warnings;
  std::string colour = "auto";
  bool as_json = false, list = false, markdown = false, chained = false;
};

// What -W and --disable ask for.
struct Wanted {
  std::set<std::string_view> off, as_error;
  bool notes = false, all_errors = false;
  bool takes(const LintRule& rule) const { return !off.contains(rule.id); }
  Severity severity(const LintRule& rule) const {
    const bool raise =
        as_error.contains(rule.id) || (all_errors && rule.severity == Severity::warning);
    return raise ? Severity::error : rule.severity;
  }
};

Wanted wanted(const Options& o) {
  Wanted w;
  for (const std::string& id : o.disabled) w.off.insert(find_lint_rule(id).id);
  for (const std::string& flag : o.warnings) {
    if (flag == "all")
      w.notes = true;
    else if (flag == "error")
      w.all_errors = true;
    else if (flag.starts_with("error="))
      w.as_error.insert(find_lint_rule(flag.substr(6)).id);
    else if (flag.starts_with("no-"))
      w.off.insert(find_lint_rule(flag.substr(3)).id);
    else
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("-W{}: use -Wall, -Werror, -Werror=RULE or -Wno-RULE", flag));
  }
  return w;
}

struct Checked {
  std::string file;
  std::size_t words = 0, tasks = 0;
  std::vector<Finding> findings;
};

Checked check_stream(const std::string& name, std::span<const std::byte> bytes, bool chained) {
  const std::vector<std::uint64_t> words = regdb::parse_regcmd_bytes(bytes);
  return {name, words.size(), regdb::lint_tasks(words).size(), lint_words(words, chained)};
}

Checked check_file(const std::string& file, bool chained, Io& io) {
  if (file == "-") return check_stream("standard input", read_stream(io.in, kMaxBytes), chained);
  fs::path path = file;
  std::error_code error;
  if (path.filename() == "case.json") path = path.parent_path().empty() ? "." : path.parent_path();
  if (!fs::is_directory(path, error))
    return check_stream(file, read_file(path, kMaxBytes), chained);
  const Case recorded = load_case(path);
  Checked checked{file, recorded.regcmd.size(), 0, lint_case(recorded)};
  for (const CaseSubmit& submit : recorded.submits)
    for (const CaseJob& job : submit.jobs) checked.tasks += job.tasks.size();
  return checked;
}

std::string_view colour_of(Severity severity) {
  switch (severity) {
    case Severity::error: return "\x1b[1;31m";
    case Severity::warning: return "\x1b[1;35m";
    case Severity::note: return "\x1b[1;36m";
  }
  return "";
}

json to_json(const Finding& f, Severity severity) {
  return {
      {"task", f.task},           {"word", f.word},           {"severity", to_string(severity)},
      {"rule", f.rule->id},       {"where", f.where},         {"message", f.message},
      {"remedy", f.rule->remedy}, {"source", f.rule->source}, {"confidence", f.rule->confidence}};
}

void list_rules(const Options& o, Io& io) {
  if (o.markdown) {
    io.out << lint_rules_markdown();
    return;
  }
  json rules = json::array();
  for (const auto set : {regdb::lint_rules(), model_lint_rules()})
    for (const LintRule& rule : set) {
      if (o.as_json)
        rules.push_back({{"rule", rule.id},
                         {"severity", to_string(rule.severity)},
                         {"summary", rule.summary},
                         {"remedy", rule.remedy},
                         {"source", rule.source},
                         {"confidence", rule.confidence}});
      else
        fmt::print(io.out, "{:<20} {:<8} {}\n", rule.id, to_string(rule.severity), rule.summary);
    }
  if (o.as_json) io.out << json{{"rules", rules}}.dump(2) << '\n';
}

void lint_files(const Options& o, Io& io) {
  const Wanted w = wanted(o);
  if (o.list) {
    list_rules(o, io);
    return;
  }
  if (o.files.empty())
    throw Error(ErrorCode::invalid_argument, "lint needs a FILE, a case folder, or - for stdin");
  const bool colour = io.colour(o.colour);
  std::size_t total[3] = {};
  json report = {{"files", json::array()}};
  for (const std::string& file : o.files) {
    const Checked checked = check_file(file, o.chained, io);
    json list = json::array();
    std::size_t count[3] = {};
    for (const Finding& f : checked.findings) {
      if (!w.takes(*f.rule)) continue;
      const Severity severity = w.severity(*f.rule);
      ++count[static_cast<int>(severity)];
      if (o.as_json) {
        list.push_back(to_json(f, severity));
      } else if (severity != Severity::note || w.notes) {
        if (o.files.size() > 1) fmt::print(io.out, "{}: ", checked.file);
        fmt::print(io.out, "task {} word {}: {}{}{}: {} [{}]\n", f.task, f.word,
                   colour ? colour_of(severity) : "", to_string(severity), colour ? "\x1b[0m" : "",
                   f.message, f.rule->id);
      }
    }
    if (o.as_json)
      report["files"].push_back({{"file", checked.file},
                                 {"words", checked.words},
                                 {"tasks", checked.tasks},
                                 {"errors", count[2]},
                                 {"warnings", count[1]},
                                 {"notes", count[0]},
                                 {"findings", std::move(list)}});
    else
      fmt::print(io.out, "{}: {} task{}, {} words: {} errors, {} warnings, {} notes{}\n",
                 checked.file, checked.tasks, checked.tasks == 1 ? "" : "s", checked.words,
                 count[2], count[1], count[0],
                 count[0] != 0 && !w.notes ? " (-Wall shows them)" : "");
    for (int i = 0; i < 3; ++i) total[i] += count[i];
  }
  if (o.as_json) {
    report["errors"] = total[2];
    report["warnings"] = total[1];
    report["notes"] = total[0];
    io.out << report.dump(2, ' ', false, json::error_handler_t::replace) << '\n';
  }
  io.status = total[2] != 0 ? 1 : 0;
}

}  // namespace

void add_lint(cli::App& app, Io& io) {
  const auto o = std::make_shared<Options>();
  cli::App* sub = app.add_subcommand(
      "lint", "Check register programs against the chip's known rules (docs/lint.md)");
  sub->add_option("FILE", o->files,
                  "64-bit little-endian words, a case folder (with its buffers), or - for stdin");
  sub->add_option("-W", o->warnings,
                  "-Wall shows notes, -Werror makes warnings errors, -Werror=RULE one of them, "
                  "-Wno-RULE switches a rule off")
      ->allow_extra_args(false);
  sub->add_option("--disable", o->disabled, "switch a rule off")
      ->type_name("RULE")
      ->allow_extra_args(false);
  sub->add_flag("--chained", o->chained,
                "the tasks run in one start (tables survive); default: one start each");
  sub->add_flag("--rules", o->list, "list the rules");
  sub->add_flag("--markdown", o->markdown, "with --rules: the table of docs/lint.md");
  sub->add_flag("--json", o->as_json, "print JSON only, notes included");
  sub->add_option("--color", o->colour, "auto, always or never")
      ->check(cli::IsMember({"auto", "always", "never"}));
  sub->footer(
      "Words are counted as `npu-probe decode` does. Exit codes: 0 no error, 1 a finding of\n"
      "severity error, 2 usage, 4 an input that cannot be read.\n"
      "Example: npu-probe lint tests/vectors/mesa/conv3x3_28_1_8");
  sub->callback([o, &io] { lint_files(*o, io); });
}

}  // namespace npu::probe
