// SPDX-License-Identifier: MIT
// regs dump|read|write|watch: the registers of a core, by name.
#include <fmt/format.h>
#include <fmt/ostream.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "npu-device/command_line.hpp"
#include "npu-device/device.hpp"
#include "npu-probe/case.hpp"
#include "npu-probe/files.hpp"
#include "npu-probe/probe.hpp"
#include "npu-probe/regs.hpp"
#include "npu-probe/regs_watch.hpp"
#include "npu-probe/replay.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr std::size_t kMaxBytes = 64u << 20;

struct Options {
  std::vector<std::string> names;
  std::string device, after, diff, group;
  int core = -1;
  bool all = false, as_json = false, yes = false;
  unsigned interval_ms = 200;
  std::uint64_t count = 0;
};

struct Opened {
  std::unique_ptr<device::Device> device;
  device::RegisterAccess* access = nullptr;
  unsigned core = 0;
  std::vector<ChipRegister> registers;  ///< all
};

Opened open(const Options& o) {
  Opened opened;
  opened.device = device::open_device(o.device);
  opened.access = opened.device->registers();
  if (opened.access == nullptr)
    throw Error(ErrorCode::not_supported,
                fmt::format("{} shows no registers: its driver keeps them to itself; use --device "
                            "mmio (docs/mmio.md), or sim.",
                            opened.device->info().path));
  const auto cores = opened.access->cores();
  opened.core = o.core < 0 ? cores.front() : static_cast<unsigned>(o.core);
  if (std::find(cores.begin(), cores.end(), opened.core) == cores.end())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("--core {}: the device {} has core(s) {}", o.core,
                            opened.device->info().path, fmt::join(cores, ", ")));
  opened.registers = chip_registers(opened.core, opened.access->has_iommu());
  return opened;
}

std::vector<RegisterSelection> select(const Opened& opened, const std::vector<std::string>& names) {
  std::vector<RegisterSelection> selections;
  for (const std::string& name : names)
    selections.push_back(select_registers(opened.registers, name));
  if (selections.empty()) selections.push_back({opened.registers, nullptr});
  return selections;
}

std::vector<ChipRegister> registers_of(const std::vector<RegisterSelection>& selections) {
  std::vector<ChipRegister> registers;
  for (const RegisterSelection& s : selections)
    registers.insert(registers.end(), s.registers.begin(), s.registers.end());
  return registers;
}

// The state that a program leaves, on a simulated device only: a case is run, words of a file are
// written to the registers without a start. Returns the group that shows it.
Group run_first(const Options& o, Opened& opened) {
  if (opened.device->info().provenance != "modelled")
    throw Error(ErrorCode::not_supported,
                "--after starts programs, which `regs` does on a simulated device only; on a chip "
                "use `npu-probe replay`, then `regs dump`.");
  if (fs::is_directory(o.after)) {
    replay_case(*opened.device, load_case(o.after), false);
    return Group::last;
  }
  const std::vector<std::uint64_t> words = regdb::parse_regcmd_bytes(read_file(o.after, kMaxBytes));
  for (const std::uint64_t word : words) {
    const regdb::Regcmd command = regdb::Regcmd::unpack(word);
    const auto block = regdb::block_of_target(command.target);
    // PC words link programs; they are no part of a task's state.
    if (!block || *block == regdb::Block::pc || command.offset % 4 != 0) continue;
    opened.access->write(opened.core, command.offset, command.value);
  }
  return Group::cpu;
}

void print_difference(const Options& o, Io& io, const std::vector<RegisterValue>& values) {
  const std::vector<std::byte> bytes = read_file(o.diff, kMaxBytes);
  const auto before =
      parse_dump({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, o.diff);
  json differences = json::array();
  std::size_t compared = 0;
  for (const RegisterValue& v : values) {
    const auto old = before.find(v.reg.name());
    if (old == before.end()) continue;
    ++compared;
    if (old->second == v.value) continue;
    json fields = json::object();
    std::string text;
    for (const FieldChange& c : changed_fields(v.reg, old->second, v.value)) {
      fields[c.field] = {{"before", c.before}, {"after", c.after}};
      text += fmt::format("  {} {} -> {}", c.field, c.before, c.after);
    }
    if (!o.as_json)
      fmt::print(io.out, "{:<36} {:#010x} -> {:#010x}{}\n", v.reg.name(), old->second, v.value,
                 text);
    differences.push_back({{"block", v.reg.block},
                           {"register", v.reg.info->name},
                           {"before", old->second},
                           {"after", v.value},
                           {"fields", std::move(fields)}});
  }
  if (compared == 0)
    throw Error(
        ErrorCode::bad_file,
        fmt::format("{}: names none of these registers; was it another selection?", o.diff));
  io.status = differences.empty() ? 0 : 1;
  if (o.as_json)
    io.out << json{{"compared", compared}, {"differences", std::move(differences)}}.dump(2) << '\n';
  else
    fmt::print(io.out, "{} of {} registers differ\n", differences.size(), compared);
}

Group group_of(const Options& o, Group otherwise) {
  if (o.group.empty()) return otherwise;
  return o.group == "cpu"    ? Group::cpu
         : o.group == "last" ? Group::last
         : o.group == "0"    ? Group::first
                             : Group::second;
}

void dump(const Options& o, Io& io) {
  Opened opened = open(o);
  const std::vector<ChipRegister> wanted = registers_of(select(opened, o.names));
  const Group natural = o.after.empty() ? Group::cpu : run_first(o, opened);
  const std::vector<RegisterValue> values =
      read_registers(*opened.access, opened.core, wanted, group_of(o, natural));
  if (!o.diff.empty()) return print_difference(o, io, values);
  if (o.as_json) {
    json list = json::array(), skipped = json::array();
    for (const RegisterValue& v : values) list.push_back(to_json(v));
    for (const ChipRegister& reg : wanted)
      if (!reg.unread.empty()) skipped.push_back({{"register", reg.name()}, {"why", reg.unread}});
    const json report = {{"device", opened.device->info().path},
                         {"provenance", opened.device->info().provenance},
                         {"core", opened.core},
                         {"registers", std::move(list)},
                         {"skipped", std::move(skipped)}};
    io.out << report.dump(2) << '\n';
    return;
  }
  const bool colour = io.colour("auto");
  std::size_t at_reset = 0;
  for (const RegisterValue& v : values) {
    if (!o.all && v.value == v.reg.info->reset) {
      ++at_reset;
      continue;
    }
    const std::string text = to_text(v);
    const std::size_t gap = std::min(text.find("  "), text.size());
    const std::string head = text.substr(0, gap);
    const std::string fields = gap < text.size() ? text.substr(gap + 2) : "";
    fmt::print(io.out, "{:#06x}{}  {}{:<{}}{}{}\n", v.reg.offset,
               v.group ? fmt::format(" g{}", *v.group) : "   ", colour ? "\x1b[36m" : "", head,
               fields.empty() ? 0 : 47, colour ? "\x1b[0m" : "", fields);
  }
  std::string unread;
  for (const ChipRegister& reg : wanted)
    if (!reg.unread.empty())
      unread += fmt::format("{}{} ({})", unread.empty() ? "" : ", ", reg.name(), reg.unread);
  fmt::print(io.out, "core {} of {} ({}): {} registers", opened.core, opened.device->info().path,
             opened.device->info().provenance, values.size());
  if (at_reset != 0) fmt::print(io.out, ", {} of them at their reset value (--all)", at_reset);
  io.out << '\n';
  if (!unread.empty()) fmt::print(io.out, "not read: {}\n", unread);
  if (o.names.empty()) fmt::print(io.out, "{}\n", kLockedRange);
}

void read(const Options& o, Io& io) {
  Opened opened = open(o);
  json list = json::array();
  for (const RegisterSelection& s : select(opened, o.names)) {
    for (const ChipRegister& reg : s.registers)
      if (!reg.unread.empty() && s.registers.size() == 1)
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("{} is not read: {}", reg.name(), reg.unread));
    for (const RegisterValue& v :
         read_registers(*opened.access, opened.core, s.registers, group_of(o, Group::cpu))) {
      if (s.field == nullptr) {
        if (o.as_json)
          list.push_back(to_json(v));
        else
          fmt::print(io.out, "{}\n", to_text(v));
        continue;
      }
      const json whole = to_json(v);
      const std::string name(s.field->name);
      // Reserved fields that are 0 are not listed.
      const json value = whole["fields"].value(name, json(0));
      if (o.as_json)
        list.push_back({{"block", v.reg.block},
                        {"register", v.reg.info->name},
                        {"field", name},
                        {"value", value}});
      else
        fmt::print(io.out, "{}.{} = {}\n", v.reg.name(), name,
                   value.is_string() ? value.get<std::string>() : value.dump());
    }
  }
  if (o.as_json)
    io.out << json{{"core", opened.core}, {"registers", std::move(list)}}.dump(2) << '\n';
}

// Asks whoever sits at the terminal; elsewhere --yes is the only yes.
void confirm(const Options& o, Io& io, const std::string& what) {
  if (o.yes) return;
  const bool terminal = &io.in == &std::cin && isatty(STDIN_FILENO) == 1;
  if (!terminal)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{}: nobody is there to ask; say --yes", what));
  fmt::print(io.err, "{}? [y/N] ", what);
  io.err.flush();
  std::string answer;
  std::getline(io.in, answer);
  if (answer != "y" && answer != "Y" && answer != "yes")
    throw Error(ErrorCode::invalid_argument, "nothing was written");
}

void write(const Options& o, Io& io) {
  Opened opened = open(o);
  std::vector<RegisterWrite> writes;
  for (const std::string& text : o.names) writes.push_back(parse_write(opened.registers, text));
  confirm(o, io,
          fmt::format("write {} register(s) of core {} of {}", writes.size(), opened.core,
                      opened.device->info().path));
  json list = json::array();
  for (const RegisterWrite& w : writes) {
    // Status bits that a 1 clears must not be written back.
    const bool readable = w.reg.unread.empty();
    const bool clears = w.reg.info->access == regdb::Access::write_1_clear;
    const std::uint32_t before = readable ? opened.access->read(opened.core, w.reg.offset) : 0;
    const std::uint32_t value = w.merge(clears ? 0 : before);
    opened.access->write(opened.core, w.reg.offset, value);
    const std::uint32_t after = readable ? opened.access->read(opened.core, w.reg.offset) : 0;
    json object = {{"block", w.reg.block},
                   {"register", w.reg.info->name},
                   {"offset", w.reg.offset},
                   {"written", value}};
    if (readable) object["before"] = before, object["after"] = after;
    list.push_back(std::move(object));
    if (o.as_json) continue;
    if (!readable)
      fmt::print(io.out, "{} <- {:#010x} ({})\n", w.reg.name(), value, w.reg.unread);
    else
      fmt::print(io.out, "{} <- {:#010x}  was {:#010x}, reads {}\n", w.reg.name(), value, before,
                 to_text({w.reg, after, std::nullopt}).substr(w.reg.name().size() + 3));
  }
  if (o.as_json) io.out << json{{"core", opened.core}, {"writes", std::move(list)}}.dump(2) << '\n';
}

void watch(const Options& o, Io& io) {
  Opened opened = open(o);
  WatchOptions options;
  options.interval = std::chrono::milliseconds(o.interval_ms);
  options.count = o.count;
  options.json = o.as_json;
  options.screen = io.out_is_terminal && !o.as_json;
  options.colour = io.colour("auto");
  const InterruptiblePause pause;
  watch_registers(*opened.access, opened.core, registers_of(select(opened, o.names)),
                  group_of(o, Group::cpu), options, io.out,
                  [&pause](std::chrono::milliseconds time) { return pause(time); });
}

void add_common(cli::App& sub, Options& o) {
  sub.add_option("--device", o.device, "mmio[:ITEM,...] (docs/mmio.md), mmio:sim, sim");
  sub.add_option("--core", o.core, "0, 1 or 2 (default: the device's first)")
      ->check(cli::Range(0, 2));
  sub.add_flag("--json", o.as_json, "print JSON only");
}

void add_group(cli::App& sub, Options& o) {
  sub.add_option("--group", o.group,
                 "of registers that exist twice: cpu (as a plain read), last (of the last task), "
                 "0, 1; all but cpu turn S_POINTER for the read and back")
      ->check(cli::IsMember({"cpu", "last", "0", "1"}));
}

}  // namespace

void add_regs(cli::App& app, Io& io) {
  cli::App* regs = app.add_subcommand("regs", "Read, write and watch the registers of a core");
  regs->require_subcommand(1);
  regs->footer(fmt::format("{}.\nExample: npu-probe regs dump --device mmio:sim PC", kLockedRange));
  constexpr const char* kNames = "BLOCK[.REGISTER[.FIELD]]";

  const auto d = std::make_shared<Options>();
  cli::App* sub = regs->add_subcommand("dump", "All registers, or those of blocks");
  sub->add_option("NAMES", d->names, "what to show")->type_name("BLOCK[.REGISTER]");
  sub->add_flag("--all", d->all, "also registers that hold their reset value");
  sub->add_option("--diff", d->diff, "only what differs from an earlier dump --json")
      ->type_name("FILE");
  sub->add_option("--after", d->after,
                  "simulated devices: first run a recorded case, or write a register program's "
                  "words to the registers without starting it")
      ->type_name("CASE_DIR|REGCMD");
  add_group(*sub, *d);
  add_common(*sub, *d);
  sub->footer(
      "Exit 0, 1 if --diff found differences, 2 usage, 3 no device, driver bound, no power or no\n"
      "permission, 4 bad file.\n"
      "Example: npu-probe regs dump DPU --device sim --after tests/vectors/mesa/conv3x3_28_1_8");
  sub->callback([d, &io] { dump(*d, io); });

  const auto r = std::make_shared<Options>();
  sub = regs->add_subcommand("read", "Registers or single fields");
  sub->add_option("NAMES", r->names, "what to read")->required()->type_name(kNames);
  add_group(*sub, *r);
  add_common(*sub, *r);
  sub->footer(
      "Exit 0, 2 usage, 3 no device.\n"
      "Example: npu-probe regs read PC.VERSION CNA.S_POINTER.executer --device mmio:sim");
  sub->callback([r, &io] { read(*r, io); });

  const auto w = std::make_shared<Options>();
  sub = regs->add_subcommand("write", "Registers or single fields (asks first)");
  sub->add_option("WRITES", w->names, "in this order")
      ->required()
      ->type_name("BLOCK.REGISTER[.FIELD]=VALUE");
  sub->add_flag("-y,--yes", w->yes, "do not ask");
  add_common(*sub, *w);
  sub->footer(
      "Exit 0, 2 usage or refused, 3 no device.\n"
      "Example: npu-probe regs write PC.BASE_ADDRESS=1 DPU.DATA_CUBE_WIDTH.width=14 --device "
      "mmio:sim --yes");
  sub->callback([w, &io] { write(*w, io); });

  const auto v = std::make_shared<Options>();
  sub = regs->add_subcommand("watch", "Registers over and over; what changes stands out");
  sub->add_option("NAMES", v->names, "what to watch (default: all)")->type_name("BLOCK[.REGISTER]");
  sub->add_option("--interval", v->interval_ms, "milliseconds between two looks")
      ->capture_default_str()
      ->check(cli::Range(1u, 3'600'000u));
  sub->add_option("--count", v->count, "looks (default: until Ctrl-C)");
  add_group(*sub, *v);
  add_common(*sub, *v);
  sub->footer(
      "Exit 0, also after Ctrl-C; 2 usage, 3 no device.\n"
      "Example: npu-probe regs watch PC --device mmio:sim --interval 100 --count 20");
  sub->callback([v, &io] { watch(*v, io); });
}

}  // namespace npu::probe
