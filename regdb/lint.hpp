// SPDX-License-Identifier: MIT
// Checks register programs against the database, without a chip: words, trailer, fields, and the
// rules that rk3588.json states as data. What needs the meaning of a whole task is npu-probe's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "regdb/tables.hpp"

namespace npu::regdb {

/// An error never ends, spoils data, or contradicts itself; a warning has no proven program behind
/// it; a note is worth knowing.
enum class Severity : std::uint8_t { note, warning, error };
std::string_view to_string(Severity severity);

enum class LintKind : std::uint8_t { require, never_write, must_write };
enum class LintCompare : std::uint8_t { eq, ne, le, ge, multiple_of };

/// A field, or with field == nullptr a register.
struct LintOperand {
  const RegisterInfo* reg;
  const FieldInfo* field;
};

struct LintTerm {
  LintOperand operand;
  LintCompare op;
  std::uint32_t value;
};

/// require: where `when` holds, the sum (or product) of the fields in `left` compares with `right`
/// or, if that is null, with `value`. Fields count in their own terms (a count is not less one).
/// never_write, must_write: the registers in `left`.
struct LintCheck {
  LintKind kind;
  std::uint32_t enabled;  ///< all these blocks are in the task's enable mask
  std::span<const LintTerm> when;
  std::span<const LintOperand> left;
  bool product;
  LintCompare op;
  LintOperand right;
  std::uint32_t value;
  std::string_view message;  ///< {0}, {1}: name and value of a left field; {l}, {r}: both sides
};

struct LintRule {
  std::string_view id;
  Severity severity;
  std::string_view summary, remedy;
  std::string_view source;
  std::string_view confidence;        ///< board, manual, driver or inferred
  std::span<const LintCheck> checks;  ///< empty: the rule is code
};

/// The rules of rk3588.json, all that lint() below can find.
std::span<const LintRule> lint_rules();
/// Throws invalid_argument if there is none.
const LintRule& lint_rule(std::string_view id);

/// One place where a program breaks a rule.
struct Finding {
  const LintRule* rule;
  std::size_t task;   ///< from 0
  std::size_t word;   ///< in the stream, as `npu-probe decode` counts
  std::string where;  ///< "CNA.CBUF_CON0.weight_bank", "CNA.CBUF_CON0", or empty
  std::string message;
};

/// Words `first` to `first + count` of the stream, as the driver is told of them.
struct LintTask {
  std::size_t first = 0, count = 0;
};

/// The tasks of a stream that nothing else describes: each ends with its enable word; empty words
/// between two programs (drivers align them) belong to none. Words after the last enable word make
/// a last, unfinished task.
std::vector<LintTask> lint_tasks(std::span<const std::uint64_t> words);

/// Findings in the order of tasks and words. The tasks are taken for what one core runs in this
/// order: a register that a task leaves out holds what the task two before wrote (two register
/// groups) or, before that, its reset value.
std::vector<Finding> lint(std::span<const std::uint64_t> words, std::span<const LintTask> tasks);
std::vector<Finding> lint(std::span<const std::uint64_t> words);

}  // namespace npu::regdb
