// SPDX-License-Identifier: MIT
// Every question has an answer on the simulated device, and the switches turn the answers.
#include <gtest/gtest.h>

#include <set>

#include "npu-probe/calibrate_questions.hpp"
#include "npu-sim/quirk_names.hpp"

namespace npu::probe::calibrate {
namespace {

Answer ask(const Question& q, const std::string& device) {
  const auto opened = device::open_device(device);
  Lab lab(*opened);
  return q.ask(lab);
}

TEST(CalibrateQuestions, TheModelAnswersYes) {
  EXPECT_GE(questions().size(), 25u);
  for (const Question& q : questions()) {
    const Answer a = ask(q, "sim");
    EXPECT_EQ(to_string(a.verdict), "yes") << q.name << ": " << a.reading << "; " << a.evidence;
    EXPECT_NE(a.reading, "") << q.name;
    EXPECT_NE(a.evidence, "") << q.name;
  }
}

TEST(CalibrateQuestions, EverySwitchTurnsItsAnswer) {
  std::set<std::string_view> asked;
  for (const Question& q : questions()) {
    if (!q.has_switch) continue;
    asked.insert(q.name);
    const bool tie = q.name.ends_with("_tie");
    for (const std::string& value :
         tie ? std::vector<std::string>{"=half_up", "=half_away"} : std::vector<std::string>{""}) {
      const std::string device = "sim:quirk=" + std::string(q.name) + value;
      const Answer a = ask(q, device);
      // Without this quirk the model does not know what the silicon does.
      const std::string_view want = q.name == "dpu_code_7_writes_nothing" ? "untold" : "no";
      EXPECT_EQ(to_string(a.verdict), want) << device << ": " << a.reading << "; " << a.evidence;
    }
  }
  for (const std::string_view quirk : sim::quirk_names())
    EXPECT_EQ(asked.count(quirk), 1u) << "no question asks for " << quirk;
}

TEST(CalibrateQuestions, NamesAreUnique) {
  std::set<std::string_view> names;
  for (const Question& q : questions()) EXPECT_TRUE(names.insert(q.name).second) << q.name;
}

TEST(CalibrateQuestions, DecidesByTheFirstReadingThatFits) {
  const std::vector<Reading> readings = {{"a", {1, 2, 3}}, {"b", {1, 5, 3}}};
  EXPECT_EQ(decide({1, 2, 3}, readings).verdict, Verdict::yes);
  const Answer no = decide({1, 5, 3}, readings);
  EXPECT_EQ(no.verdict, Verdict::no);
  EXPECT_EQ(no.reading, "b");
  EXPECT_EQ(no.evidence, "[1] 5");
  const Answer other = decide({1, 2, 4}, readings);
  EXPECT_EQ(other.verdict, Verdict::other);
  EXPECT_EQ(other.evidence, "[1] 2; first off the model's: [2] 4, not 3");
  EXPECT_EQ(decide({1, 2}, readings).verdict, Verdict::other);
}

}  // namespace
}  // namespace npu::probe::calibrate
