// SPDX-License-Identifier: MIT
// `npu-probe dt check`; the others of the family are in dt_enable_command.cpp, dt_diff_command.cpp.
#include "npu-probe/dt_command.hpp"

#include <fmt/format.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "npu-device/command_line.hpp"
#include "npu-probe/files.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

struct Options {
  std::string tree, colour = "auto";
  bool json = false, all = false;
};

const char* colour_of(DtState state) {
  switch (state) {
    case DtState::ok: return "\033[32m";
    case DtState::note: return "\033[36m";
    case DtState::warn: return "\033[33m";
    case DtState::fail: return "\033[31m";
    case DtState::unknown: return "\033[36m";
  }
  return "";
}

std::ptrdiff_t count(const std::vector<DtCheck>& checks, DtState state) {
  return std::count_if(checks.begin(), checks.end(),
                       [&](const DtCheck& c) { return c.state == state; });
}

ordered_json to_json(const Options& o, const DeviceTree& dt, const std::vector<DtCheck>& checks) {
  ordered_json list = ordered_json::array(), summary;
  for (const auto& c : checks)
    list.push_back({{"id", c.id},
                    {"title", c.title},
                    {"state", to_string(c.state)},
                    {"nodes", c.nodes},
                    {"evidence", c.evidence},
                    {"remedy", c.remedy}});
  for (const auto state :
       {DtState::ok, DtState::note, DtState::warn, DtState::fail, DtState::unknown})
    summary[std::string(to_string(state))] = count(checks, state);
  return {{"tree", o.tree},
          {"model", dt.nodes.front().string("model")},
          {"compatible", dt.nodes.front().strings("compatible")},
          {"verdict", passes(checks) ? "ok" : "findings"},
          {"checks", list},
          {"summary", summary}};
}

void check(const Options& o, Io& io) {
  const auto dt = read_tree(o.tree);
  const auto checks = check_tree(dt, find_npu_nodes(dt));
  if (o.json) {
    io.out << to_json(o, dt, checks).dump(2, ' ', false, ordered_json::error_handler_t::replace)
           << '\n';
  } else {
    fmt::print(io.out, "{}: {}\n", o.tree, name_of_board(dt));
    print_checks(checks, o.all, io.colour(o.colour), io.out);
  }
  io.status = passes(checks) ? 0 : 1;
}

}  // namespace

DeviceTree read_tree(const std::string& path) {
  std::error_code error;
  const auto real = fs::canonical(path, error);  // /proc/device-tree is a symlink
  if (error || !fs::is_directory(real, error)) return read_blob(read_file(path, max_blob), path);
  auto dt = read_folder(real.string(), nullptr);
  if (!dt.nodes.front().has("compatible") && !dt.nodes.front().has("#address-cells"))
    throw Error(ErrorCode::bad_file,
                fmt::format("{} is a folder, but no device tree: it has no file compatible in it; "
                            "the running kernel's is /proc/device-tree",
                            path));
  return dt;
}

std::string name_of_board(const DeviceTree& dt) {
  const auto& root = dt.nodes.front();
  const auto model = root.string("model"), compatible = root.string("compatible");
  return fmt::format("{} ({})", model.empty() ? "unnamed board" : model,
                     compatible.empty() ? "no compatible" : compatible);
}

void print_checks(const std::vector<DtCheck>& checks, bool all, bool colour, std::ostream& out) {
  std::string last_remedy;
  for (const auto& c : checks) {
    if (!all && (c.state == DtState::ok || c.state == DtState::unknown)) continue;
    fmt::print(out, "{}{:<7}{} {}: {}\n", colour ? colour_of(c.state) : "", to_string(c.state),
               colour ? "\033[0m" : "", c.id, c.evidence);
    if (!c.remedy.empty())
      fmt::print(out, "        -> {}\n", c.remedy == last_remedy ? "as above" : c.remedy);
    last_remedy = c.remedy;
  }
  fmt::print(out, "{} checks: {} ok, {} failed, {} warnings, {} notes\n", checks.size(),
             count(checks, DtState::ok) + count(checks, DtState::unknown),
             count(checks, DtState::fail), count(checks, DtState::warn),
             count(checks, DtState::note));
}

void add_dt(cli::App& app, Io& io) {
  cli::App* dt = app.add_subcommand(
      "dt", "Device trees: check the NPU's part, switch it on, compare (docs/dt.md)");
  dt->require_subcommand(1);
  const auto o = std::make_shared<Options>();
  cli::App* sub = dt->add_subcommand("check", "What in this tree keeps the NPU from working?");
  sub->add_option("TREE", o->tree, "a .dtb file, or /proc/device-tree on the board")->required();
  sub->add_flag("-a,--all", o->all, "show what is in order too");
  sub->add_flag("--json", o->json, "print JSON only, with all checks");
  sub->add_option("--color", o->colour, "auto, always or never")
      ->check(cli::IsMember({"auto", "always", "never"}));
  sub->footer(
      "Exit codes: 0 nothing to mend, 1 findings (warn or fail), 2 usage, 4 no device tree.\n"
      "Example: npu-probe dt check /proc/device-tree");
  sub->callback([o, &io] { check(*o, io); });
  add_dt_enable(*dt, io);
  add_dt_diff(*dt, io);
}

}  // namespace npu::probe
