// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "npu-device/command_line.hpp"
#include "npu-probe/capture_diff.hpp"
#include "npu-probe/job_operators.hpp"
#include "npu-probe/probe.hpp"
#include "npu-probe/program_diff.hpp"
#include "npu-probe/program_set.hpp"
#include "regdb/decoder.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

using nlohmann::json;

// Of one task; a table of 1026 words has more than anybody reads.
constexpr std::size_t kMostLines = 200;

struct Options {
  std::string a, b, colour = "auto";
  bool raw_addresses = false, no_data = false, as_json = false;
};

struct Counts {
  std::size_t tasks = 0, tasks_differ = 0, registers = 0, only_a = 0, only_b = 0;
  std::size_t unknown_addresses = 0;
};

// Text like `diff --color`.
class Printer {
 public:
  Printer(std::ostream& out, bool colour) : out_(out), colour_(colour) {}
  void line(const char* colour, const std::string& text) {
    if (colour_)
      fmt::print(out_, "\x1b[{}m{}\x1b[0m\n", colour, text);
    else
      fmt::print(out_, "{}\n", text);
  }
  void plain(const std::string& text) { fmt::print(out_, "{}\n", text); }
  void removed(const std::string& text) { line("31", "-" + text); }
  void added(const std::string& text) { line("32", "+" + text); }
  void place(const std::string& text) { line("36", text); }
  void title(const std::string& text) { line("1", text); }

 private:
  std::ostream& out_;
  bool colour_;
};

std::string at(const ProgramTask* task) {
  return task == nullptr ? "none" : fmt::format("job {} task {}", task->job, task->task);
}

std::string describe(const std::vector<std::uint64_t>& words, std::size_t index,
                     const std::string& where) {
  std::string line = regdb::to_line(regdb::decode(words[index]), index);
  while (line.ends_with(' ')) line.pop_back();
  return where.empty() ? line : line + "  (" + where + ")";
}

void print_task(Printer& p, const ProgramTask& a, const ProgramTask& b, const TaskChanges& changes,
                const std::string& name) {
  p.place(fmt::format("@@ {} | {} @@ {}", at(&a), at(&b), name));
  std::size_t lines = 0;
  for (const WordChange& change : changes.words) {
    if (lines++ == kMostLines) {
      p.plain(fmt::format(" ... {} more registers differ; --json has them all",
                          changes.words.size() - kMostLines));
      return;
    }
    if (change.a) p.removed(describe(a.words, *change.a, change.where_a));
    if (change.b) p.added(describe(b.words, *change.b, change.where_b));
  }
}

json to_json(const ProgramTask* task, const std::string& name) {
  if (task == nullptr) return nullptr;
  return {
      {"job", task->job}, {"task", task->task}, {"words", task->words.size()}, {"operator", name}};
}

json to_json(const ProgramTask& a, const ProgramTask& b, const WordChange& change) {
  json object;
  const auto side = [&](const char* name, const ProgramTask& task,
                        const std::optional<std::size_t>& index, const std::string& where) {
    if (!index) {
      object[name] = nullptr;
      return;
    }
    object[name] = regdb::to_json(regdb::decode(task.words[*index]), *index);
    if (!where.empty()) object[name]["address"] = where;
  };
  side("a", a, change.a, change.where_a);
  side("b", b, change.b, change.where_b);
  return object;
}

// What each task computes.
std::vector<std::string> headlines(const ProgramSet& set) {
  std::vector<std::string> names;
  RegisterState state;
  for (const ProgramTask& task : set.tasks) {
    state.driver_start();
    names.push_back(headline(explain_task(task.words, state)));
  }
  return names;
}

// Jobs whose tasks are aligned with each other, each once, both rising.
std::vector<std::pair<std::size_t, std::size_t>> pair_jobs(const std::vector<TaskPair>& pairs,
                                                           const ProgramSet& a,
                                                           const ProgramSet& b) {
  std::vector<std::pair<std::size_t, std::size_t>> jobs;
  for (const TaskPair& pair : pairs) {
    if (!pair.a || !pair.b) continue;
    const std::size_t job_a = a.tasks[*pair.a].job, job_b = b.tasks[*pair.b].job;
    if (jobs.empty() || (job_a > jobs.back().first && job_b > jobs.back().second))
      jobs.emplace_back(job_a, job_b);
  }
  return jobs;
}

void print(Printer& p, const JobDataDifference& d) {
  p.place(fmt::format("@@ data of job {} | job {} @@", d.job_a, d.job_b));
  if (d.outcome_a != d.outcome_b) {
    p.removed(fmt::format(" {}", to_string(d.outcome_a)));
    p.added(fmt::format(" {}", to_string(d.outcome_b)));
  }
  for (const BufferDifference& buffer : d.buffers) {
    p.plain(" " + headline(buffer));
    for (const DifferentElement& element : buffer.first)
      p.plain("   " + probe::describe(element, "a", "b"));
  }
}

json to_json(const JobDataDifference& d) {
  json buffers = json::array();
  for (const BufferDifference& buffer : d.buffers) buffers.push_back(to_json(buffer));
  return {{"job_a", d.job_a},
          {"job_b", d.job_b},
          {"outcome_a", to_string(d.outcome_a)},
          {"outcome_b", to_string(d.outcome_b)},
          {"compared_bytes", d.compared},
          {"buffers", std::move(buffers)}};
}

void diff(const Options& o, Io& io) {
  if (o.a == "-" && o.b == "-")
    throw Error(ErrorCode::invalid_argument, "only one side can come from standard input");
  const ProgramSet a = load_programs(o.a, io.in), b = load_programs(o.b, io.in);
  const auto pairs = align_tasks(a.tasks, b.tasks);
  const auto names_a = headlines(a), names_b = headlines(b);
  Printer p(io.out, io.colour(o.colour));
  Counts n;
  json tasks = json::array();
  bool titled = false;
  const auto title = [&] {
    if (titled || o.as_json) return;
    titled = true;
    p.title("--- " + a.name);
    p.title("+++ " + b.name);
  };
  for (const TaskPair& pair : pairs) {
    const ProgramTask* left = pair.a ? &a.tasks[*pair.a] : nullptr;
    const ProgramTask* right = pair.b ? &b.tasks[*pair.b] : nullptr;
    json words = json::array();
    if (left != nullptr && right != nullptr) {
      ++n.tasks;
      const TaskChanges changes = diff_task(*left, *right, {o.raw_addresses});
      n.unknown_addresses += changes.unknown_addresses;
      if (changes.words.empty()) continue;
      ++n.tasks_differ;
      n.registers += changes.words.size();
      title();
      if (!o.as_json) print_task(p, *left, *right, changes, names_a[*pair.a]);
      if (o.as_json)
        for (const WordChange& change : changes.words)
          words.push_back(to_json(*left, *right, change));
    } else {
      title();
      (left != nullptr ? n.only_a : n.only_b) += 1;
      if (!o.as_json) {
        p.place(fmt::format("@@ {} | {} @@", at(left), at(right)));
        if (left != nullptr)
          p.removed(fmt::format(" {} words: {}", left->words.size(), names_a[*pair.a]));
        if (right != nullptr)
          p.added(fmt::format(" {} words: {}", right->words.size(), names_b[*pair.b]));
      }
    }
    if (o.as_json)
      tasks.push_back({{"a", to_json(left, pair.a ? names_a[*pair.a] : "")},
                       {"b", to_json(right, pair.b ? names_b[*pair.b] : "")},
                       {"registers", words}});
  }

  std::vector<JobDataDifference> data;
  std::size_t data_differ = 0;
  json jobs = json::array();
  if (a.capture && b.capture && !o.no_data) {
    // Tensors as A's programs describe them, every task in its order.
    OperatorReader operators;
    data = diff_data(*a.capture, *b.capture, pair_jobs(pairs, a, b),
                     [&](const SessionJob& job, const device::CaptureMemory& memory) {
                       return operators.read(programs_of(job, memory)).locate;
                     });
    for (const JobDataDifference& d : data) {
      if (!d.differs()) continue;
      ++data_differ;
      title();
      if (o.as_json)
        jobs.push_back(to_json(d));
      else
        print(p, d);
    }
  }
  const bool equal = n.tasks_differ + n.only_a + n.only_b + data_differ == 0;
  if (o.as_json) {
    const json report = {{"a", a.name},
                         {"b", b.name},
                         {"equal", equal},
                         {"tasks_compared", n.tasks},
                         {"tasks_differ", n.tasks_differ},
                         {"registers_differ", n.registers},
                         {"tasks_only_in_a", n.only_a},
                         {"tasks_only_in_b", n.only_b},
                         {"addresses_not_compared", n.unknown_addresses},
                         {"jobs_compared", data.size()},
                         {"jobs_differ", data_differ},
                         {"tasks", std::move(tasks)},
                         {"data", std::move(jobs)}};
    io.out << report.dump(2, ' ', false, json::error_handler_t::replace) << '\n';
  } else {
    std::string text = fmt::format("{} tasks compared: ", n.tasks);
    text += n.tasks_differ == 0
                ? "all registers equal"
                : fmt::format("{} differ in {} registers", n.tasks_differ, n.registers);
    if (n.only_a != 0) text += fmt::format(", {} only in A", n.only_a);
    if (n.only_b != 0) text += fmt::format(", {} only in B", n.only_b);
    if (!data.empty())
      text += fmt::format("; results of {} jobs compared: {}", data.size(),
                          data_differ == 0 ? "all equal" : fmt::format("{} differ", data_differ));
    if (n.unknown_addresses != 0)
      text += fmt::format(
          "; {} addresses differ where one side's buffers are not known "
          "(--raw-addresses shows them)",
          n.unknown_addresses);
    p.plain(text);
  }
  io.status = equal ? 0 : 1;
}

}  // namespace

void add_diff(cli::App& app, Io& io) {
  const auto o = std::make_shared<Options>();
  cli::App* sub = app.add_subcommand(
      "diff", "Show the registers and results in which two recordings or programs differ");
  sub->add_option("A", o->a, "a capture, a case folder, 64-bit words, or - for stdin")->required();
  sub->add_option("B", o->b, "the same")->required();
  sub->add_flag("--raw-addresses", o->raw_addresses,
                "compare addresses as they stand, not as buffer and offset");
  sub->add_flag("--no-data", o->no_data, "programs only");
  sub->add_flag("--json", o->as_json, "print JSON only");
  sub->add_option("--color", o->colour, "auto, always or never")
      ->check(cli::IsMember({"auto", "always", "never"}));
  sub->footer(
      "Tasks are aligned by what they do, so one task more does not shift the others. The results\n"
      "of two captures are compared in the bytes that their jobs wrote.\n"
      "Exit 0 if all is equal, 1 if something differs, 4 for a damaged file.\n"
      "Example: npu-probe diff board.npucap sim.npucap");
  sub->callback([o, &io] { diff(*o, io); });
}

}  // namespace npu::probe
