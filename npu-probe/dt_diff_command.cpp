// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "npu-device/command_line.hpp"
#include "npu-probe/dt/diff.hpp"
#include "npu-probe/dt_command.hpp"

namespace npu::probe {
namespace {

using nlohmann::ordered_json;

struct Options {
  std::string a, b;
  bool json = false, npu_only = false;
};

void diff(const Options& o, Io& io) {
  auto differences = diff_trees(read_tree(o.a), read_tree(o.b));
  if (o.npu_only) std::erase_if(differences, [](const DtDifference& d) { return !d.npu; });
  io.status = differences.empty() ? 0 : 1;
  if (o.json) {
    ordered_json list = ordered_json::array();
    for (const auto& d : differences)
      list.push_back({{"npu", d.npu},
                      {"node", d.node},
                      {"property", d.property},
                      {"before", d.before},
                      {"after", d.after}});
    io.out << ordered_json{{"a", o.a}, {"b", o.b}, {"differences", list}}.dump(
                  2, ' ', false, ordered_json::error_handler_t::replace)
           << '\n';
    return;
  }
  bool npu = false, others = false;
  for (const auto& d : differences) {
    if (bool& told = d.npu ? npu : others; !told) {
      fmt::print(io.out, "{}\n", d.npu ? "NPU:" : "others:");
      told = true;
    }
    fmt::print(io.out, "{}\n", to_text(d));
  }
  if (differences.empty()) fmt::print(io.out, "no difference{}\n", o.npu_only ? " of the NPU" : "");
}

}  // namespace

void add_dt_diff(cli::App& dt, Io& io) {
  const auto o = std::make_shared<Options>();
  cli::App* sub = dt.add_subcommand("diff", "What changed between two trees, the NPU's part first");
  sub->add_option("A", o->a, "a .dtb file or /proc/device-tree")->required();
  sub->add_option("B", o->b, "the other")->required();
  sub->add_flag("--npu", o->npu_only, "the NPU's part only");
  sub->add_flag("--json", o->json, "print JSON only");
  sub->footer(
      "Phandles are compared by the nodes that they lead to.\n"
      "Exit codes: 0 same, 1 differs, 2 usage, 4 no device tree.\n"
      "Example: npu-probe dt diff old.dtb new.dtb --npu");
  sub->callback([o, &io] { diff(*o, io); });
}

}  // namespace npu::probe
