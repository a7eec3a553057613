// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "npu-device/capture_reader.hpp"
#include "npu-device/command_line.hpp"
#include "npu-device/sim_device.hpp"
#include "npu-probe/capture_input.hpp"
#include "npu-probe/compare.hpp"
#include "npu-probe/probe.hpp"
#include "npu-sim/injection.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

using nlohmann::json;

struct Options {
  std::string file, a, b, inject_a, inject_b;
  bool all = false, by_task = false, chained = false, no_registers = false;
  bool as_json = false, quiet = false;
  std::optional<std::size_t> job, until;
};

std::unique_ptr<device::Device> open_side(const std::string& spec, const std::string& inject) {
  sim::ChipOptions options;
  options.injections = sim::parse_injections(inject);
  std::unique_ptr<device::Device> device = device::open_device(spec, options);
  if (!inject.empty() && device->info().provenance != "modelled")
    throw Error(ErrorCode::not_supported,
                fmt::format("device \"{}\" takes no injected faults: only a simulated one can",
                            device->info().path));
  return device;
}

std::string ending(const Player::End& end) {
  std::string text = end.refused ? "refused" : std::string(to_string(end.outcome));
  return end.note.empty() ? text : text + ": " + end.note;
}

json to_json(const Player::End& end) {
  return {{"outcome", end.refused ? "refused" : to_string(end.outcome)}, {"note", end.note}};
}

void compare(const Options& o, Io& io) {
  const device::Capture capture = device::read_capture(o.file);
  auto a = open_side(o.a, o.inject_a), b = open_side(o.b, o.inject_b);
  const auto name = [](const std::string& spec, const std::string& inject) {
    return inject.empty() ? spec : spec + " with " + inject;
  };
  if (!o.as_json) {
    fmt::print(io.out, "{}{}\n", o.file, capture.truncated ? "  (cut short)" : "");
    for (const std::string& line : programs_of(capture)) fmt::print(io.out, "  {}\n", line);
    fmt::print(io.out, "  a: {}\n  b: {}\n", name(o.a, o.inject_a), name(o.b, o.inject_b));
  }
  json steps = json::array();
  CompareOptions options;
  options.all = o.all;
  options.by_task = o.by_task;
  options.chained = o.chained;
  options.registers = !o.no_registers;
  options.only = o.job;
  options.until = o.until;
  std::size_t with_registers = 0;
  const CompareTotal total = compare_devices(std::move(a), std::move(b), capture, options,
                                             [&](const StepComparison& step) {
                                               with_registers += step.registers_compared != 0;
                                               if (o.as_json)
                                                 steps.push_back(to_json(step));
                                               else if (step.differs() || !o.quiet)
                                                 print(io.out, step, "a", "b");
                                             });
  if (o.as_json) {
    const json report = {{"file", o.file},
                         {"truncated", capture.truncated},
                         {"a", name(o.a, o.inject_a)},
                         {"b", name(o.b, o.inject_b)},
                         {"jobs", total.jobs},
                         {"steps", total.steps},
                         {"differ", total.differ},
                         {"dropped", total.dropped},
                         {"stopped", total.stopped},
                         {"equal", total.differ == 0},
                         {"compared", std::move(steps)}};
    io.out << report.dump(2, ' ', false, json::error_handler_t::replace) << '\n';
  } else {
    std::string text = total.differ == 0 ? fmt::format("EQUAL  {} step{}", total.steps,
                                                       total.steps == 1 ? "" : "s")
                                         : fmt::format("DIFFERS  {} of {} step{}", total.differ,
                                                       total.steps, total.steps == 1 ? "" : "s");
    text += fmt::format(" of {} jobs", total.jobs);
    if (with_registers == 0 && !o.no_registers)
      text += ", memory only (a side lends its registers to nobody)";
    if (total.dropped != 0) text += fmt::format(", {} dropped when recorded", total.dropped);
    if (total.stopped) text += "; stopped at the first difference (--all goes on)";
    fmt::print(io.out, "  {}\n", text);
  }
  io.status = total.differ == 0 ? 0 : 1;
}

}  // namespace

void print(std::ostream& out, const StepComparison& step, const std::string& a,
           const std::string& b) {
  std::string place = fmt::format("process {} file {} submit {}.{}", step.file.first,
                                  step.file.second, step.submit, step.index);
  place += step.task ? fmt::format(" task {}", *step.task)
                     : fmt::format(", {} task{}", step.tasks, step.tasks == 1 ? "" : "s");
  std::string verdict =
      fmt::format("{}  {} bytes", step.differs() ? "DIFFERS" : "equal  ", step.compared);
  if (step.registers_compared != 0)
    verdict += fmt::format(", {} registers", step.registers_compared);
  fmt::print(out, "  job {:>4}  {:<36}  {:<40}  {}\n", step.job, verdict, place, step.what);
  if (!step.whole.empty()) fmt::print(out, "    not split: {}\n", step.whole);
  using Outcome = device::CaptureJob::Outcome;
  if (step.outcome_differs() || step.a.outcome != Outcome::done)
    fmt::print(out, "    {} {}\n    {} {}\n", a, ending(step.a), b, ending(step.b));
  constexpr std::size_t kMostRegisters = 16;
  for (std::size_t i = 0; i < std::min(step.registers.size(), kMostRegisters); ++i)
    fmt::print(out, "    {} {}\n    {} {}\n", a, step.registers[i].text_a, b,
               step.registers[i].text_b);
  if (step.registers.size() > kMostRegisters)
    fmt::print(out, "    ... {} more registers\n", step.registers.size() - kMostRegisters);
  for (const BufferDifference& buffer : step.buffers) {
    fmt::print(out, "    {}\n", headline(buffer));
    for (const DifferentElement& element : buffer.first)
      fmt::print(out, "      {}\n", describe(element, a, b));
  }
  if (step.off_a && step.differs()) {
    const auto side = [](std::uint64_t off) {
      return off == 0 ? std::string("as recorded") : fmt::format("{} bytes off", off);
    };
    fmt::print(out, "    against the recording: {} {}, {} {}\n", a, side(*step.off_a), b,
               side(*step.off_b));
  }
}

nlohmann::json to_json(const StepComparison& step) {
  json registers = json::array(), buffers = json::array();
  for (const RegisterDifference& r : step.registers)
    registers.push_back({{"register", r.name},
                         {"offset", r.offset},
                         {"a", r.a},
                         {"b", r.b},
                         {"text_a", r.text_a},
                         {"text_b", r.text_b}});
  for (const BufferDifference& buffer : step.buffers) buffers.push_back(to_json(buffer));
  json object = {{"job", step.job},
                 {"process", step.file.first},
                 {"file", step.file.second},
                 {"submit", step.submit},
                 {"index", step.index},
                 {"task", nullptr},
                 {"operators", step.what},
                 {"a", to_json(step.a)},
                 {"b", to_json(step.b)},
                 {"differs", step.differs()},
                 {"registers_compared", step.registers_compared},
                 {"registers", std::move(registers)},
                 {"compared_bytes", step.compared},
                 {"buffers", std::move(buffers)},
                 {"not_split", step.whole}};
  if (step.task) object["task"] = *step.task;
  if (step.off_a) {
    object["bytes_off_recording_a"] = *step.off_a;
    object["bytes_off_recording_b"] = *step.off_b;
  }
  return object;
}

void add_compare(cli::App& app, Io& io) {
  const auto o = std::make_shared<Options>();
  cli::App* sub = app.add_subcommand(
      "compare", "Run a capture on two devices and show the first register or byte that differs");
  sub->add_option("FILE", o->file, "a capture (.npucap)")->required();
  sub->add_option("--a", o->a, "sim[:cores=N,quirk=NAME[=VALUE]], rocket[:PATH], mmio[:ITEM,...]")
      ->type_name("DEVICE")
      ->required();
  sub->add_option("--b", o->b, "the same")->type_name("DEVICE")->required();
  sub->add_flag("--all", o->all, "go on after the first difference");
  sub->add_flag("--by-task", o->by_task,
                "submit the tasks of a job one by one where that is exact");
  sub->add_flag("--chained", o->chained,
                "jobs see what the jobs before them gave on their device, not what is recorded");
  sub->add_flag("--no-registers", o->no_registers, "compare memory only");
  sub->add_option("--job", o->job, "only this job, on the recorded bytes")->type_name("N");
  sub->add_option("--until", o->until, "jobs 0 to N")->type_name("N");
  sub->add_option("--inject-a", o->inject_a, "faults for a simulated side (run --help)")
      ->type_name("FAULTS");
  sub->add_option("--inject-b", o->inject_b, "the same")->type_name("FAULTS");
  sub->add_flag("--json", o->as_json, "print JSON only");
  sub->add_flag("-q,--quiet", o->quiet, "only jobs that differ");
  sub->footer(
      "quirk=NAME turns a switch of docs/open-questions.md over on a simulated side: against a\n"
      "board, the side that agrees has settled the question.\n"
      "Exit 0 if both do the same, 1 if they differ, 3 for a device that cannot be opened, 4 for "
      "a\n"
      "damaged capture.\n"
      "Example: npu-probe compare --a sim --b rocket net.npucap\n"
      "         npu-probe compare --a sim --b sim:quirk=out_cvt_tie=half_up --all net.npucap");
  sub->callback([o, &io] { compare(*o, io); });
}

}  // namespace npu::probe
