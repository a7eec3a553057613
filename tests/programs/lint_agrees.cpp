// SPDX-License-Identifier: MIT
#include "lint_agrees.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "npu-probe/lint.hpp"

namespace npu::sim::test {

void LintAgrees::remember(const std::vector<std::uint64_t>& words, unsigned core) {
  auto& last = last_[core];
  last.push_back(words);
  if (last.size() > 9) last.erase(last.begin(), last.begin() + 2);  // the group stays the same
}

void LintAgrees::ran(const std::vector<std::uint64_t>& words, const std::optional<Fault>& fault,
                     unsigned core) {
  if (quirks_ != Quirks{}) return;  // lint knows the chip as boards showed it
  remember(words, core);
  std::vector<std::uint64_t> stream;
  probe::LintJob job;
  for (const auto& program : last_[core]) {
    job.tasks.push_back({stream.size(), program.size()});
    stream.insert(stream.end(), program.begin(), program.end());
  }
  job.words = stream;
  if (fault) last_[core].clear();
  if (fault && (fault->kind == FaultKind::dma_read || fault->kind == FaultKind::dma_write)) return;

  // These end: with data that are not right, or on the core whose index they happen to hold.
  constexpr std::string_view kEnd[] = {"fc-data-bank", "flying-width", "partial-multiplier",
                                       "tf32-in-dpu", "core-s-pointer"};
  bool error = false, unproven = false;
  std::string text;
  for (const regdb::Finding& f : probe::lint_job(job)) {
    if (f.task + 1 != job.tasks.size()) continue;
    unproven |= f.rule->id == "unproven";
    if (f.rule->severity != regdb::Severity::error) continue;
    if (!fault && std::find(std::begin(kEnd), std::end(kEnd), f.rule->id) != std::end(kEnd))
      continue;
    error = true;
    text += "\n  " + f.message + " [" + std::string(f.rule->id) + "]";
  }
  if (!fault)
    EXPECT_FALSE(error) << "the program runs on boards, but lint finds:" << text;
  else
    EXPECT_TRUE(error || (unproven && fault->kind == FaultKind::not_modelled))
        << "lint does not find: " << fault->message;
}

}  // namespace npu::sim::test
