// SPDX-License-Identifier: MIT
#include "npu-probe/lint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "npu-probe/lint_model.hpp"
#include "regdb/error.hpp"
#include "regdb/registers.hpp"

namespace npu::probe {
namespace {

using regdb::Finding;
using regdb::LintTask;

// "CNA.CBUF_CON0" of "CNA.CBUF_CON0.data_bank".
std::string_view register_of(std::string_view where) {
  const auto first = where.find('.');
  return first == where.npos ? where : where.substr(0, where.find('.', first + 1));
}

// The last write of a register in a task; its last word if there is none.
std::size_t word_of(const LintJob& job, const LintTask& task, std::string_view where) {
  const std::string_view path = register_of(where);
  const auto dot = path.find('.');
  const regdb::RegisterInfo* reg =
      dot == path.npos ? nullptr : regdb::find_register(path.substr(0, dot), path.substr(dot + 1));
  std::size_t found = task.first + task.count - 1;
  for (std::size_t i = task.first; i < task.first + task.count; ++i) {
    const auto c = regdb::Regcmd::unpack(job.words[i]);
    if (c.target == static_cast<std::uint16_t>(regdb::Target::enable)) return std::min(found, i);
    if (reg != nullptr && c.offset == reg->offset &&
        c.target == static_cast<std::uint16_t>(regdb::target_of(reg->block)))
      found = i;
  }
  return found;
}

void check_lists(const LintJob& job, std::vector<Finding>& findings) {
  const std::size_t word = job.tasks.empty() ? 0 : job.tasks[0].first;
  const std::set<std::uint32_t> in(job.in_bos.begin(), job.in_bos.end());
  const std::set<std::uint32_t> out(job.out_bos.begin(), job.out_bos.end());
  for (const std::uint32_t handle : out)
    if (in.contains(handle))
      findings.push_back({&find_lint_rule("bo-in-and-out"), 0, word, "",
                          fmt::format("handle {} is an input and an output of the job", handle)});
  if (in.size() != job.in_bos.size() || out.size() != job.out_bos.size())
    findings.push_back({&find_lint_rule("bo-listed-twice"), 0, word, "",
                        "a handle stands twice in the inputs or outputs of the job"});
}

}  // namespace

std::vector<Finding> lint_job(const LintJob& job) {
  std::vector<Finding> findings = regdb::lint(job.words, job.tasks);
  // What regdb calls an error is not said twice.
  std::set<std::pair<std::size_t, std::string>> said;
  for (const Finding& f : findings)
    if (f.rule->severity == regdb::Severity::error)
      said.emplace(f.task, std::string(register_of(f.where)));
  check_lists(job, findings);
  for (std::size_t t = 0; t < job.task_iova.size() && t < job.tasks.size(); ++t)
    if (job.task_iova[t] % 16 != 0)
      findings.push_back({&find_lint_rule("program-address"), t, job.tasks[t].first,
                          "PC.BASE_ADDRESS",
                          fmt::format("the program lies at {:#x}", job.task_iova[t])});

  ModelLint model(job);
  for (std::size_t t = 0; t < job.tasks.size(); ++t) {
    if (job.tasks[t].count == 0) continue;
    for (ModelFinding& f : model.task(t)) {
      // A block that nobody set up says nothing more.
      const std::string path(register_of(f.where));
      if (said.contains({t, path}) || said.contains({t, path.substr(0, path.find('.'))})) continue;
      findings.push_back({&find_lint_rule(f.rule), t, word_of(job, job.tasks[t], f.where),
                          std::move(f.where), std::move(f.message)});
    }
  }
  std::stable_sort(findings.begin(), findings.end(), [](const Finding& a, const Finding& b) {
    return a.task != b.task ? a.task < b.task : a.word < b.word;
  });
  return findings;
}

std::vector<Finding> lint_words(std::span<const std::uint64_t> words, bool chained) {
  LintJob job;
  job.words = words;
  job.tasks = regdb::lint_tasks(words);
  job.chained = chained;
  return lint_job(job);
}

std::vector<Finding> lint_case(const Case& recorded) {
  std::vector<Finding> all;
  std::size_t before = 0;
  for (const CaseSubmit& submit : recorded.submits)
    for (const CaseJob& from : submit.jobs) {
      LintJob job;
      job.words = recorded.regcmd;
      for (const CaseTask& task : from.tasks) {
        job.tasks.push_back({task.first_word, task.count});
        job.task_iova.push_back(task.regcmd);
      }
      for (const CaseBo& bo : submit.bos)
        job.buffers.push_back(
            {bo.iova, bo.size, fmt::format("{} (handle {})", bo.role, bo.handle)});
      job.in_bos = from.in;
      job.out_bos = from.out;
      for (Finding& f : lint_job(job)) {
        f.task += before;
        all.push_back(std::move(f));
      }
      before += from.tasks.size();
    }
  return all;
}

}  // namespace npu::probe
