// SPDX-License-Identifier: MIT
// Explanations for people and for programs.
#pragma once

#include <iosfwd>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "npu-probe/explain_input.hpp"

namespace npu::probe {

struct ExplainReport {
  const ExplainedInput* input = nullptr;
  double clock_mhz = 600;
  /// One job (position in the input) in detail; empty: a table of all.
  std::optional<std::size_t> job, task;
};

/// A table with one line for each operator and a line of totals, or the details of one job or task.
void print_text(const ExplainReport& report, std::ostream& out);
nlohmann::json to_json(const ExplainReport& report);
nlohmann::json to_json(const Operator& op, const ExplainedJob& job);

/// "35.1 M", "812", "1.20 G".
std::string counted(std::uint64_t value);
/// "bo 3+0x40" where a buffer of the job holds the address, else empty.
std::string buffer_of(const ExplainedJob& job, std::uint64_t iova);

}  // namespace npu::probe
