// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <fmt/ostream.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "npu-device/command_line.hpp"
#include "npu-probe/calibrate_command.hpp"
#include "npu-probe/calibrate_questions.hpp"
#include "npu-probe/probe.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

using namespace calibrate;

struct Options {
  std::string device;
  std::vector<std::string> names;
  bool allow_faults = false, as_json = false, list = false;
};

std::vector<Question> chosen(const Options& o) {
  const std::vector<Question> all = questions();
  if (o.names.empty()) return all;
  std::vector<Question> some;
  for (const std::string& name : o.names) {
    const auto found = std::ranges::find_if(all, [&](const Question& q) { return q.name == name; });
    if (found == all.end())
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("there is no question \"{}\"; npu-probe calibrate questions --list "
                              "names them",
                              name));
    some.push_back(*found);
  }
  return some;
}

void list(const std::vector<Question>& all, Io& io, bool as_json) {
  if (as_json) {
    nlohmann::json out = nlohmann::json::array();
    for (const Question& q : all)
      out.push_back(
          {{"name", q.name}, {"asks", q.asks}, {"switch", q.has_switch}, {"may_hang", q.risky}});
    io.out << out.dump(2) << '\n';
    return;
  }
  for (const Question& q : all)
    fmt::print(io.out, "{:<36} {}{}\n", q.name, q.asks,
               q.risky ? " [may hang: --allow-faults]" : "");
}

void ask(const Options& o, Io& io) {
  const std::vector<Question> all = chosen(o);
  if (o.list) return list(all, io, o.as_json);
  const std::unique_ptr<device::Device> device = device::open_device(o.device);
  const device::DeviceInfo& info = device->info();
  if (!info.computes)
    throw Error(ErrorCode::not_supported,
                "this device only takes the time and writes no results: leave timing-only out");
  const bool chip = info.time_base == device::TimeBase::chip;
  const bool colour = io.colour("auto");
  Lab lab(*device);
  nlohmann::json answers = nlohmann::json::array();
  std::size_t count[4] = {}, skipped = 0;
  for (const Question& q : all) {
    if (q.risky && chip && !o.allow_faults) {
      ++skipped;
      if (o.as_json)
        answers.push_back({{"name", q.name}, {"asks", q.asks}, {"answer", "skipped"}});
      else
        fmt::print(io.out, "{:<6} {}\n       {} [may hang: --allow-faults]\n", "skip", q.name,
                   q.asks);
      continue;
    }
    const Answer a = q.ask(lab);
    ++count[static_cast<std::size_t>(a.verdict)];
    if (o.as_json) {
      answers.push_back({{"name", q.name},
                         {"asks", q.asks},
                         {"answer", to_string(a.verdict)},
                         {"reading", a.reading},
                         {"evidence", a.evidence}});
      continue;
    }
    const char* on = !colour                     ? ""
                     : a.verdict == Verdict::yes ? "\x1b[32m"
                     : a.verdict == Verdict::no  ? "\x1b[33m"
                                                 : "\x1b[31m";
    fmt::print(io.out, "{}{:<6}{} {}\n       {}\n       {}: {}\n", on, to_string(a.verdict),
               colour ? "\x1b[0m" : "", q.name, q.asks, a.reading, a.evidence);
    io.out.flush();
  }
  if (o.as_json) {
    io.out << nlohmann::json{{"device", info.path},
                             {"backend", info.backend},
                             {"answers", std::move(answers)}}
                  .dump(2, ' ', false, nlohmann::json::error_handler_t::replace)
           << '\n';
  } else {
    fmt::print(io.out, "\n{} ({}): {} yes, {} no, {} other, {} untold, {} skipped\n", info.path,
               info.backend, count[0], count[1], count[2], count[3], skipped);
  }
  // Anything but the model's reading is news.
  io.status = count[1] + count[2] != 0 ? 1 : 0;
}

}  // namespace

void add_calibrate_questions(cli::App& calibrate, Io& io) {
  const auto o = std::make_shared<Options>();
  cli::App* sub = calibrate.add_subcommand(
      "questions", "Ask the device the open questions about the silicon (docs/open-questions.md)");
  sub->add_option("names", o->names, "these alone")->type_name("NAME");
  sub->add_option("--device", o->device, "sim[:ITEM,...], rocket[:PATH], mmio[:ITEM,...]");
  sub->add_flag("--allow-faults", o->allow_faults,
                "on a chip also ask what a task that never ends would answer: each costs a 500 ms "
                "timeout and a reset of the core");
  sub->add_flag("--list", o->list, "print the questions, ask nothing");
  sub->add_flag("--json", o->as_json, "print JSON only");
  sub->footer(
      "yes: the device does what the model takes as its default. no: it does what the other\n"
      "reading says. other: neither. untold: the device refused the program.\n"
      "Exit 0 if no answer was no or other, 1 if one was, 2 unknown question, 3 no device.\n"
      "Example: npu-probe calibrate questions out_cvt_tie --device rocket");
  sub->callback([o, &io] { ask(*o, io); });
}

}  // namespace npu::probe
