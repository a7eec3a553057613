// SPDX-License-Identifier: MIT
#include "npu-probe/calibrate_questions.hpp"

#include <fmt/format.h>

#include <cmath>

namespace npu::probe::calibrate {
namespace {

bool same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

bool same(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!same(a[i], b[i])) return false;
  return true;
}

// Where the readings differ, and what was seen there.
std::string evidence(const std::vector<double>& got, const std::vector<Reading>& readings) {
  constexpr int kMost = 6;
  std::string text;
  int shown = 0;
  for (std::size_t i = 0; i < got.size() && shown < kMost; ++i) {
    bool tells = false;
    for (const Reading& r : readings)
      tells = tells || i >= r.values.size() || !same(r.values[i], readings.front().values[i]) ||
              readings.size() == 1;
    if (!tells) continue;
    text += fmt::format("{}[{}] {:g}", shown == 0 ? "" : ", ", i, got[i]);
    ++shown;
  }
  return text;
}

}  // namespace

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::yes: return "yes";
    case Verdict::no: return "no";
    case Verdict::other: return "other";
    case Verdict::untold: return "untold";
  }
  return "?";
}

Answer decide(const std::vector<double>& got, const std::vector<Reading>& readings) {
  for (std::size_t i = 0; i < readings.size(); ++i)
    if (same(got, readings[i].values))
      return {i == 0 ? Verdict::yes : Verdict::no, std::string(readings[i].words),
              evidence(got, readings)};
  const std::vector<double>& want = readings.front().values;
  for (std::size_t i = 0; i < std::min(got.size(), want.size()); ++i)
    if (!same(got[i], want[i]))
      return {Verdict::other, "none of the readings",
              fmt::format("{}; first off the model's: [{}] {:g}, not {:g}", evidence(got, readings),
                          i, got[i], want[i])};
  return {Verdict::other, "none of the readings", evidence(got, readings)};
}

Answer failed(const RunEnd& end) {
  return {end.refused ? Verdict::untold : Verdict::other,
          end.refused ? "the device refused it" : "the task never ended", end.why};
}

std::vector<Question> questions() {
  std::vector<Question> all;
  for (const auto part : {rounding_questions(), writer_questions(), hang_questions(),
                          table_questions(), dpu_questions()})
    all.insert(all.end(), part.begin(), part.end());
  return all;
}

}  // namespace npu::probe::calibrate
