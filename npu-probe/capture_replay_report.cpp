// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <nlohmann/json.hpp>

#include "npu-probe/capture_replay.hpp"

namespace npu::probe {

void print(std::ostream& out, const JobReplay& r) {
  const std::string place = fmt::format("process {} file {} submit {}.{}", r.file.first,
                                        r.file.second, r.submit, r.index);
  std::string verdict(to_string(r.verdict));
  if (r.compared != 0) verdict += fmt::format("  {} bytes", r.compared);
  fmt::print(out, "  job {:>4}  {:<24}  {:<32}  {:>3} task{}  {}\n", r.number, verdict, place,
             r.tasks, r.tasks == 1 ? " " : "s", r.what);
  using Outcome = device::CaptureJob::Outcome;
  if (r.verdict == Verdict::not_run) {
    fmt::print(out, "    the driver dropped it when it was recorded\n");
    return;
  }
  if (r.verdict == Verdict::unchecked)
    fmt::print(out, "    the recording does not say what it wrote\n");
  if (r.recorded != r.replayed || r.replayed != Outcome::done)
    fmt::print(out, "    recorded: {}, here: {}{}{}\n", to_string(r.recorded),
               to_string(r.replayed), r.note.empty() ? "" : ": ", r.note);
  for (const BufferDifference& difference : r.differences) {
    fmt::print(out, "    {}\n", headline(difference));
    for (const DifferentElement& element : difference.first)
      fmt::print(out, "      {}\n", describe(element, "recorded", "here"));
  }
}

nlohmann::json to_json(const JobReplay& r) {
  nlohmann::json differences = nlohmann::json::array();
  for (const BufferDifference& difference : r.differences)
    differences.push_back(to_json(difference));
  static constexpr std::string_view kVerdicts[] = {"exact", "differs", "not_run", "unchecked"};
  return {{"job", r.number},
          {"process", r.file.first},
          {"file", r.file.second},
          {"submit", r.submit},
          {"index", r.index},
          {"tasks", r.tasks},
          {"operators", r.what},
          {"recorded", to_string(r.recorded)},
          {"replayed", to_string(r.replayed)},
          {"note", r.note},
          {"verdict", kVerdicts[static_cast<std::size_t>(r.verdict)]},
          {"compared_bytes", r.compared},
          {"differences", std::move(differences)}};
}

nlohmann::json to_json(const CaptureReplay& r) {
  return {{"jobs", r.jobs},       {"run", r.run},
          {"exact", r.exact},     {"differ", r.differ},
          {"not_run", r.not_run}, {"unchecked", r.unchecked},
          {"faulted", r.faulted}, {"match", r.differ == 0 && r.faulted == 0}};
}

std::string summary(const CaptureReplay& r) {
  std::string text = fmt::format("{} of {} jobs bit-exact", r.exact, r.run);
  if (r.differ != 0) text += fmt::format(", {} differ", r.differ);
  if (r.faulted != 0) text += fmt::format(", {} faulted here only", r.faulted);
  if (r.unchecked != 0) text += fmt::format(", {} unchecked", r.unchecked);
  if (r.not_run != 0) text += fmt::format(", {} dropped when recorded", r.not_run);
  if (r.jobs != r.run + r.not_run) text += fmt::format(", {} left out", r.jobs - r.run - r.not_run);
  return text;
}

}  // namespace npu::probe
