// SPDX-License-Identifier: MIT
// The part of lint that knows what a task means: the simulated chip's checks, CBUF, buffers.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "npu-probe/lint.hpp"
#include "npu-sim/task_check.hpp"

namespace npu::probe {

struct ModelFinding {
  std::string_view rule;
  std::string where;  ///< BLOCK.REGISTER or BLOCK.REGISTER.field
  std::string message;
};

class ModelLint {
 public:
  /// `job` must outlive it.
  explicit ModelLint(const LintJob& job);
  /// Findings of the next task; to be called in order.
  std::vector<ModelFinding> task(std::size_t index);

 private:
  const LintJob& job_;
  sim::TaskChecker checker_;
  std::vector<LintBuffer> areas_;  ///< of the buffers, neighbours joined
};

/// What a task of the MAC array asks of CBUF; `banks` is CNA.CBUF_CON0, `entries` DATA_ENTRIES.
void lint_cbuf(const sim::ConvConfig& config, std::uint32_t banks, std::uint32_t entries,
               std::vector<ModelFinding>& findings);

}  // namespace npu::probe
