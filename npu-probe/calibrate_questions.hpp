// SPDX-License-Identifier: MIT
// The open questions about the silicon (docs/open-questions.md) as programs whose results tell the
// readings apart.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "npu-probe/calibrate_lab.hpp"

namespace npu::probe::calibrate {

enum class Verdict : std::uint8_t {
  yes,     ///< the device does what the model takes as its default
  no,      ///< it does what the other reading says
  other,   ///< neither
  untold,  ///< the device refused the program, or it failed in a way that says nothing
};
std::string_view to_string(Verdict verdict);

struct Answer {
  Verdict verdict = Verdict::untold;
  std::string reading;   ///< in words: what the device does
  std::string evidence;  ///< the bytes or values that say so
};

struct Question {
  std::string_view name;  ///< the switch of npu-sim/quirks.hpp, where there is one
  std::string_view asks;  ///< yes means: as the model does by default
  bool has_switch = false;
  bool risky = false;  ///< one of the answers is a task that never ends
  Answer (*ask)(Lab&) = nullptr;
};

/// All, in the order of docs/open-questions.md.
std::vector<Question> questions();

/// Parts of questions(), one for each file.
std::span<const Question> rounding_questions();
std::span<const Question> writer_questions();
std::span<const Question> hang_questions();
std::span<const Question> table_questions();
std::span<const Question> dpu_questions();

/// One reading and the values that it predicts.
struct Reading {
  std::string_view words;
  std::vector<double> values;
};
/// The first reading is the model's. NaNs are equal to each other.
Answer decide(const std::vector<double>& got, const std::vector<Reading>& readings);
/// For a task that ended, or whose end is the answer.
Answer failed(const RunEnd& end);

}  // namespace npu::probe::calibrate
