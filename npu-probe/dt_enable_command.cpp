// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "npu-device/command_line.hpp"
#include "npu-probe/dt/enable.hpp"
#include "npu-probe/dt_command.hpp"
#include "npu-probe/files.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

using nlohmann::ordered_json;

struct Options {
  std::string tree, out, board;
  bool json = false, list = false;
};

void list_overlays(const Options& o, Io& io) {
  ordered_json list = ordered_json::array();
  for (const auto& overlay : npu_overlays()) {
    if (o.json)
      list.push_back({{"name", overlay.name},
                      {"compatible", overlay.compatible},
                      {"logic_rail", overlay.logic_rail},
                      {"sram_rail", overlay.sram_rail}});
    else
      fmt::print(io.out, "{:<24} {:<50} {}\n", overlay.name,
                 overlay.logic_rail.empty() ? "no rail" : overlay.logic_rail,
                 fmt::join(overlay.compatible, ", "));
  }
  if (o.json) io.out << ordered_json{{"overlays", list}}.dump(2) << '\n';
}

void enable(const Options& o, Io& io) {
  if (o.list) {
    list_overlays(o, io);
    return;
  }
  if (o.tree.empty() || o.out.empty())
    throw Error(
        ErrorCode::invalid_argument,
        "dt enable needs a TREE.dtb and -o OUT.dtb: it leaves the tree that it reads alone");
  const auto done = enable_npu(read_file(o.tree, max_blob), o.tree, o.board);
  save_file(o.out, {reinterpret_cast<const char*>(done.blob.data()), done.blob.size()});
  if (o.json) {
    ordered_json changes = ordered_json::array();
    for (const auto& change : done.changes)
      changes.push_back({{"node", change.node},
                         {"property", change.property},
                         {"before", change.before},
                         {"after", change.after}});
    io.out << ordered_json{{"tree", o.tree},
                           {"out", o.out},
                           {"overlay", done.overlay->name},
                           {"passes", passes(done.checks)},
                           {"changes", changes},
                           {"warnings", done.warnings}}
                  .dump(2, ' ', false, ordered_json::error_handler_t::replace)
           << '\n';
    return;
  }
  fmt::print(io.out, "overlay {}: {}\n", done.overlay->name, done.why);
  for (const auto& change : done.changes) fmt::print(io.out, "{}\n", to_text(change));
  for (const auto& warning : done.warnings) fmt::print(io.err, "warning: {}\n", warning);
  if (passes(done.checks))
    fmt::print(io.out, "wrote {}: nothing left to mend in {} checks\n", o.out, done.checks.size());
  else
    fmt::print(io.out, "wrote {}: the cores are on, their supplies are not named\n", o.out);
}

}  // namespace

void add_dt_enable(cli::App& dt, Io& io) {
  const auto o = std::make_shared<Options>();
  cli::App* sub = dt.add_subcommand("enable", "Switch the NPU on in a board's tree");
  sub->add_option("TREE", o->tree, "the board's .dtb file");
  sub->add_option("-o,--output", o->out, "the .dtb file to write");
  sub->add_option("--board", o->board,
                  "the overlay to use (--list names them; default: the one for the board and its "
                  "rail); generic: no supply, for rails that are always on");
  sub->add_flag("--list", o->list, "list the overlays, their rails and boards");
  sub->add_flag("--json", o->json, "print JSON only");
  sub->footer(
      "Writes nothing if the board needs no overlay, none is known to be right, or the result\n"
      "would not pass `dt check`. Exit codes: 0 written, 1 refused, with the reason, 2 usage,\n"
      "3 OUT cannot be written, 4 no device tree.\n"
      "Example: npu-probe dt enable rk3588-rock-5-itx.dtb -o board.dtb");
  sub->callback([o, &io] { enable(*o, io); });
}

}  // namespace npu::probe
