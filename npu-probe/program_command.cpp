// SPDX-License-Identifier: MIT
// run program: somebody's register program on the simulated chip, with buffers where it wants them.
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <charconv>
#include <cstring>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "npu-device/command_line.hpp"
#include "npu-device/sim_core.hpp"
#include "npu-probe/files.hpp"
#include "npu-probe/probe.hpp"
#include "npu-probe/simulation.hpp"
#include "regdb/error.hpp"
#include "regdb/regcmd.hpp"

namespace npu::probe {
namespace {

using nlohmann::json;

constexpr std::size_t kMostBytes = std::size_t{1} << 30;  // of all buffers together

struct Options {
  std::string program;
  std::uint64_t at = 0xF0000000;
  std::vector<std::string> maps, saves;
  unsigned core = 0;
  bool chained = false, as_json = false;
  SimulationOptions simulation;
};

// "IOVA,SIZE[,FILE]"
struct Area {
  std::uint32_t iova = 0;
  std::size_t bytes = 0;
  std::string file;
};

std::uint64_t number(std::string_view text, const std::string& item) {
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  const std::string_view digits = hex ? text.substr(2) : text;
  std::uint64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, hex ? 16 : 10);
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("\"{}\": \"{}\" is no number (use 4096 or 0x1000)", item, text));
  return value;
}

Area parse_area(const std::string& item, bool needs_file) {
  const auto first = item.find(','),
             second = first == item.npos ? first : item.find(',', first + 1);
  if (first == item.npos || (needs_file && second == item.npos))
    throw Error(ErrorCode::invalid_argument, fmt::format("\"{}\" is not IOVA,SIZE,FILE{}", item,
                                                         needs_file ? "" : " or IOVA,SIZE"));
  Area area;
  const std::uint64_t iova = number(std::string_view(item).substr(0, first), item);
  const std::uint64_t bytes =
      number(std::string_view(item).substr(first + 1,
                                           second == item.npos ? item.npos : second - first - 1),
             item);
  if (second != item.npos) area.file = item.substr(second + 1);
  if (bytes == 0 || bytes > kMostBytes || iova + bytes > sim::AddressSpace::kWindow)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("\"{}\": an area has 1 byte to 1 GiB below 4 GiB", item));
  area.iova = static_cast<std::uint32_t>(iova);
  area.bytes = static_cast<std::size_t>(bytes);
  return area;
}

std::byte* map(sim::AddressSpace& space, std::uint32_t iova, std::size_t bytes) {
  std::shared_ptr<std::byte[]> memory(new std::byte[sim::AddressSpace::whole_pages(bytes)]());
  std::byte* data = memory.get();
  space.map(iova, std::move(memory), bytes);
  return data;
}

// One task ends with each enable word (the trailer's last).
std::vector<device::Task> split(std::span<const std::uint64_t> words, std::uint32_t iova) {
  std::vector<device::Task> tasks;
  std::size_t first = 0;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (regdb::Regcmd::unpack(words[i]).target != static_cast<std::uint16_t>(regdb::Target::enable))
      continue;
    tasks.push_back(
        {static_cast<std::uint32_t>(iova + first * 8), static_cast<std::uint32_t>(i + 1 - first)});
    first = i + 1;
    // Programs start on 16 bytes; drivers fill up with empty words.
    while (first < words.size() && (first % 2 != 0 || words[first] == 0)) ++first;
    i = first - 1;
  }
  if (tasks.empty())
    throw Error(ErrorCode::bad_file,
                "the program has no enable word (target 0x0081), so it starts nothing");
  for (const device::Task& task : tasks)
    if (task.regcmd_count > device::kMaxRegcmdCount)
      throw Error(ErrorCode::bad_file, fmt::format("a task of {} words: at most {} can be fetched",
                                                   task.regcmd_count, device::kMaxRegcmdCount));
  return tasks;
}

void save(const Area& area, std::span<const std::byte> bytes) {
  std::ofstream out(area.file, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
  out.flush();
  if (!out) throw Error(ErrorCode::bad_file, fmt::format("{}: cannot be written", area.file));
}

void run_program(const Options& o, Io& io) {
  const std::vector<std::byte> raw =
      read_file(o.program, std::size_t{device::kMaxRegcmdCount} * 8 * 64);
  if (raw.empty() || raw.size() % 8 != 0)
    throw Error(ErrorCode::bad_file,
                fmt::format("{}: {} bytes are not whole 64-bit words", o.program, raw.size()));
  std::vector<std::uint64_t> words(raw.size() / 8);
  std::memcpy(words.data(), raw.data(), raw.size());
  if (o.at % 4096 != 0 || o.at + raw.size() > sim::AddressSpace::kWindow)
    throw Error(ErrorCode::invalid_argument,
                "--at is a multiple of 4096, with room for the program below 4 GiB");

  const auto space = std::make_shared<sim::AddressSpace>();
  const auto program_iova = static_cast<std::uint32_t>(o.at);
  std::memcpy(map(*space, program_iova, raw.size()), raw.data(), raw.size());
  std::size_t total = 0;
  for (const std::string& item : o.maps) {
    const Area area = parse_area(item, false);
    if ((total += area.bytes) > kMostBytes)
      throw Error(ErrorCode::invalid_argument, "the buffers hold more than 1 GiB together");
    std::byte* data = map(*space, area.iova, area.bytes);
    if (area.file.empty()) continue;
    const std::vector<std::byte> bytes = read_file(area.file, area.bytes);
    std::memcpy(data, bytes.data(), bytes.size());
  }
  std::vector<Area> saves;
  for (const std::string& item : o.saves) {
    saves.push_back(parse_area(item, true));
    std::vector<std::byte> probe(saves.back().bytes);
    if (!space->read(saves.back().iova, probe.data(), probe.size(), nullptr))
      throw Error(ErrorCode::invalid_argument, fmt::format("--save {}: no --map covers it", item));
  }
  const std::vector<device::Task> tasks = split(words, program_iova);

  Simulation simulation(o.simulation);
  sim::Chip chip(simulation.chip_options());
  // A chain is started at its first program and goes on by its own links.
  const std::span<const device::Task> starts(tasks.data(), o.chained ? 1 : tasks.size());
  const auto task_number = static_cast<std::uint32_t>(o.chained ? tasks.size() : 1);
  if (task_number > 0xFFF)
    throw Error(ErrorCode::invalid_argument, "a chain has at most 4095 tasks");
  const device::JobResult result = device::run_job(chip, o.core, space, starts, 1, task_number);
  const sim::Timeline timeline = simulation.take();
  simulation.trace(timeline, "program");
  simulation.save_trace();

  json report = {{"program", o.program},
                 {"words", words.size()},
                 {"tasks", tasks.size()},
                 {"starts", result.tasks_started},
                 {"tasks_run", timeline.tasks.size()},
                 {"core", o.core},
                 {"saved", json::array()}};
  if (!o.as_json)
    fmt::print(io.out, "{} words, {} task{} on core {}: {}\n", words.size(), tasks.size(),
               tasks.size() == 1 ? "" : "s", o.core, result.fault ? "FAULT" : "done");
  for (const Area& area : saves) {
    std::vector<std::byte> bytes(area.bytes);
    space->read(area.iova, bytes.data(), bytes.size(), nullptr);
    save(area, bytes);
    const std::string checksum = fmt::format("{:016x}", fnv1a(bytes));
    if (o.as_json)
      report["saved"].push_back({{"iova", area.iova},
                                 {"bytes", area.bytes},
                                 {"file", area.file},
                                 {"checksum", checksum}});
    else
      fmt::print(io.out, "saved {} bytes at {:#x} to {}  checksum {}\n", area.bytes, area.iova,
                 area.file, checksum);
  }
  if (o.as_json) {
    if (!result.note.empty()) report["note"] = result.note;
    if (result.fault)
      report["error"] = {{"code", to_string(result.fault->code)},
                         {"message", result.fault->message}};
    simulation.report(timeline, report);
    io.out << report.dump(2, ' ', false, json::error_handler_t::replace) << '\n';
  } else {
    if (!result.fault && !o.simulation.timing)
      fmt::print(io.out, "{}\n", simulation.summary(timeline));
    simulation.report(timeline, io.out);
    if (!result.note.empty()) fmt::print(io.err, "npu-probe: {}\n", result.note);
  }
  io.status = result.fault ? exit_code(result.fault->code) : 0;
}

}  // namespace

void add_run_program(cli::App& run, Io& io) {
  const auto o = std::make_shared<Options>();
  cli::App* sub = run.add_subcommand(
      "program", "Run a register program (64-bit words, little endian) on the simulated chip");
  sub->add_option("FILE", o->program, "the words; a task ends with each enable word")->required();
  sub->add_option("--map", o->maps, "a buffer that the program sees; FILE fills its beginning")
      ->type_name("IOVA,SIZE[,FILE]")
      ->allow_extra_args(false);
  sub->add_option("--save", o->saves, "memory to write to a file afterwards, also after a fault")
      ->type_name("IOVA,SIZE,FILE")
      ->allow_extra_args(false);
  sub->add_option("--at", o->at, "IOVA of the program itself")->capture_default_str();
  sub->add_option("--core", o->core, "core that runs it")->check(cli::Range(0u, 2u));
  sub->add_flag(
      "--chained", o->chained,
      "one start for all tasks, which link themselves (TASK_NUMBER; stock mainline starts "
      "each by itself)");
  sub->add_flag("--json", o->as_json, "print JSON only");
  add_simulation_options(*sub, o->simulation);
  sub->footer(
      "The chip is driven as the kernel driver does it: one start and one interrupt for each "
      "task.\n"
      "Example: npu-probe run program conv.regcmd --map 0x0,65536,in.bin --map 0x10000,65536 "
      "--save 0x10000,6272,out.bin");
  sub->callback([o, &io] { run_program(*o, io); });
}

}  // namespace npu::probe
