// SPDX-License-Identifier: MIT
// Register programs against everything that is known of the chip: the rules of regdb, the checks
// that the simulated chip makes before it moves data, and the buffers that a job may touch.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "npu-probe/case.hpp"
#include "regdb/lint.hpp"

namespace npu::probe {

/// A buffer object as the device sees it.
struct LintBuffer {
  std::uint64_t iova = 0, bytes = 0;
  std::string name;
};

/// The tasks of one job, in order, as one core runs them.
struct LintJob {
  std::span<const std::uint64_t> words;
  std::vector<regdb::LintTask> tasks;
  std::vector<std::uint32_t> task_iova;        ///< where each program lies; empty: not known
  std::vector<LintBuffer> buffers;             ///< all that the process has; empty: not known
  std::vector<std::uint32_t> in_bos, out_bos;  ///< handles, as SUBMIT names them
  bool chained =
      false;  ///< one start for all; else each task is started by itself, as mainline does
};

/// Rules that need the meaning of a task, or buffers; regdb::lint_rules() has the others.
std::span<const regdb::LintRule> model_lint_rules();
/// All rules. Throws invalid_argument if there is none of this name.
const regdb::LintRule& find_lint_rule(std::string_view id);

/// Findings by task and word. A register that a rule of regdb complains about is not complained
/// about a second time by the model.
std::vector<regdb::Finding> lint_job(const LintJob& job);
/// A stream of tasks without buffers.
std::vector<regdb::Finding> lint_words(std::span<const std::uint64_t> words, bool chained = false);
/// Every job of a recorded case; tasks are counted over the whole case.
std::vector<regdb::Finding> lint_case(const Case& recorded);

/// The table of docs/lint.md.
std::string lint_rules_markdown();

}  // namespace npu::probe
