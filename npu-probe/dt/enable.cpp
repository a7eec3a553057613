// SPDX-License-Identifier: MIT
#include "npu-probe/dt/enable.hpp"

#include <fmt/format.h>
#include <libfdt.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <set>

#include "regdb/error.hpp"

namespace npu::probe {
namespace {

[[noreturn]] void refuse(const std::string& reason) {
  throw Error(ErrorCode::check_failed, reason);
}

std::string board_of(const DeviceTree& dt) {
  const auto model = dt.nodes.front().string("model");
  return model.empty() ? "this board" : model;
}

/// A regulator that the tree calls the NPU's, for its logic.
const DtNode* named_rail(const DeviceTree& dt) {
  for (const auto& node : dt.nodes)
    if (is_npu_rail(node) && node.string("regulator-name").find("_mem") == std::string::npos)
      return &node;
  return nullptr;
}

/// Place of the first compatible string of the board that the overlay names; none: not for it.
std::size_t match(const Overlay& overlay, const DeviceTree& dt) {
  const auto board = dt.nodes.front().strings("compatible");
  for (std::size_t i = 0; i < board.size(); ++i)
    if (std::count(overlay.compatible.begin(), overlay.compatible.end(), board[i]) != 0) return i;
  return std::numeric_limits<std::size_t>::max();
}

/// What is wrong with the rails that an overlay names, on this board; empty: they are the NPU's.
std::string rail_fault(const Overlay& overlay, const DeviceTree& dt) {
  for (const auto& path : {overlay.logic_rail, overlay.sram_rail}) {
    const auto* rail = dt.by_path(path);
    if (!rail) return fmt::format("the tree has no {}", path);
    if (!is_npu_rail(*rail)) {
      const auto name = rail->string("regulator-name");
      return fmt::format("{} is {} there and not the NPU's rail", path,
                         name.empty() ? "a regulator without a name" : name);
    }
  }
  return {};
}

/// Why an overlay that names no rail must not be used on this board; empty: nothing speaks against.
std::string generic_fault(const DeviceTree& dt) {
  const auto* rail = named_rail(dt);
  if (!rail || rail->has("regulator-always-on")) return {};
  return fmt::format(
      "its rail {} ({}) is not regulator-always-on, so that the kernel would switch "
      "it off and the NPU would hang; use the overlay that names the rail",
      rail->string("regulator-name"), rail->path);
}

void set_cell(void* blob, const std::string& path, const char* property, std::uint32_t value) {
  const int node = fdt_path_offset(blob, path.c_str());
  if (node >= 0 && fdt_getprop(blob, node, property, nullptr))
    fdt_setprop_inplace_u32(blob, node, property, value);
}

/// The overlay gives each rail a phandle of its own, in place of the one that it may have had:
/// back to that one, or who else refers to the rail would lose it.
void keep_phandles(void* blob, const DeviceTree& before, const Overlay& overlay,
                   const NpuNodes& npu) {
  const auto old_phandle = [&](const std::string& path) -> std::uint32_t {
    const auto* rail = before.by_path(path);
    const auto cells = rail ? rail->cells("phandle") : std::vector<std::uint32_t>{};
    return cells.size() == 1 ? cells[0] : 0;
  };
  if (const auto logic = old_phandle(overlay.logic_rail); logic != 0) {
    set_cell(blob, overlay.logic_rail, "phandle", logic);
    for (const auto* core : npu.core)
      if (core) set_cell(blob, core->path, "npu-supply", logic);
    if (npu.parent_domain) set_cell(blob, npu.parent_domain->path, "domain-supply", logic);
  }
  if (const auto sram = old_phandle(overlay.sram_rail); sram != 0) {
    set_cell(blob, overlay.sram_rail, "phandle", sram);
    for (const auto* core : npu.core)
      if (core) set_cell(blob, core->path, "sram-supply", sram);
  }
}

std::vector<std::byte> apply(std::span<const std::byte> tree, const DeviceTree& before,
                             const NpuNodes& npu, const Overlay& overlay, const std::string& name) {
  const auto check = [&](int error) {
    if (error != 0)
      throw Error(ErrorCode::bad_file, fmt::format("{}: {} cannot be applied to it ({})", name,
                                                   overlay.name, fdt_strerror(error)));
  };
  // libfdt wants both aligned, writes into the overlay, and needs room in the tree.
  const auto room = tree.size() + 2 * overlay.blob.size() + 4096;
  std::vector<std::uint64_t> from(tree.size() / 8 + 1), work(room / 8 + 1),
      patch(overlay.blob.size() / 8 + 1);
  std::memcpy(from.data(), tree.data(), tree.size());
  std::memcpy(patch.data(), overlay.blob.data(), overlay.blob.size());
  check(fdt_open_into(from.data(), work.data(), static_cast<int>(work.size() * 8)));
  check(fdt_overlay_apply(work.data(), patch.data()));
  if (!overlay.logic_rail.empty()) keep_phandles(work.data(), before, overlay, npu);
  check(fdt_pack(work.data()));
  const void* packed = work.data();
  const auto* first = static_cast<const std::byte*>(packed);
  return {first, first + fdt_totalsize(packed)};
}

/// An overlay has no business with anything else.
void check_changes(const std::vector<DtDifference>& changes, const NpuNodes& npu,
                   const std::string& overlay) {
  std::set<std::string> mine{npu.parent_domain ? npu.parent_domain->path : ""};
  for (const auto* core : npu.core)
    if (core) mine.insert(core->path);
  for (const auto* mmu : npu.mmu)
    if (mmu) mine.insert(mmu->path);
  for (const auto& change : changes)
    if (mine.count(change.node) == 0 ||
        (change.property != "status" && !change.property.ends_with("-supply")))
      refuse(
          fmt::format("{} would also change {}:{}, which is none of its business: the tree is "
                      "not of a board that it is for",
                      overlay, change.node, change.property));
}

}  // namespace

const Overlay& choose_overlay(const DeviceTree& dt) {
  const Overlay* best = nullptr;
  for (const auto& overlay : npu_overlays()) {
    if (overlay.logic_rail.empty() || !rail_fault(overlay, dt).empty()) continue;
    const auto place = match(overlay, dt);
    if (place == std::numeric_limits<std::size_t>::max()) continue;
    if (!best || place < match(*best, dt)) best = &overlay;
  }
  if (best) return *best;
  if (const auto* rail = named_rail(dt))
    refuse(
        fmt::format("no overlay is known for {}, whose rail {} is {}: write one after those in "
                    "dts/, with this path",
                    board_of(dt), rail->string("regulator-name"), rail->path));
  refuse(
      fmt::format("the tree of {} names no rail of the NPU: find it in the board's schematics and "
                  "name it; --board generic enables the cores without one, for rails that are "
                  "always on",
                  board_of(dt)));
}

Enabled enable_npu(std::span<const std::byte> tree, const std::string& name,
                   const std::string& board) {
  const auto before = read_blob(tree, name);
  const auto npu = find_npu_nodes(before);
  if (!is_rk3588(before))
    refuse(fmt::format("{} is for {}, not for an RK3588 or RK3588S", name, board_of(before)));
  if (npu.mainline_cores() != npu_cores)
    refuse(
        fmt::format("{} has nodes for {} of the 3 cores: use the board's device tree of a "
                    "mainline kernel of 6.18 or later",
                    name, npu.mainline_cores()));
  if (passes(check_npu_nodes(before, npu)))
    refuse(
        fmt::format("nothing to do: the NPU of {} is on in {}, with its supplies; see npu-probe "
                    "dt check",
                    board_of(before), name));
  Enabled done;
  done.overlay = board.empty() ? &choose_overlay(before) : find_overlay(board);
  if (!done.overlay)
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("there is no overlay {}; npu-probe dt enable --list names them", board));
  const bool names_rails = !done.overlay->logic_rail.empty();
  if (const auto fault = names_rails ? rail_fault(*done.overlay, before) : generic_fault(before);
      !fault.empty())
    refuse(fmt::format("{} is not for {}: {}", done.overlay->name, board_of(before), fault));
  if (match(*done.overlay, before) == std::numeric_limits<std::size_t>::max())
    done.warnings.push_back(fmt::format(
        "{} is for {}: that its rail is the same on {} only the "
        "rail's name says",
        done.overlay->name, fmt::join(done.overlay->compatible, ", "), board_of(before)));
  done.why = names_rails
                 ? fmt::format("the rail is {} at {}",
                               before.by_path(done.overlay->logic_rail)->string("regulator-name"),
                               done.overlay->logic_rail)
                 : "it names no rail";
  done.blob = apply(tree, before, npu, *done.overlay, name);
  const auto after = read_blob(done.blob, name);
  done.changes = diff_trees(before, after);
  check_changes(done.changes, npu, done.overlay->name);
  done.checks = check_tree(after, find_npu_nodes(after));
  const std::set<std::string> generic_lacks{"dt-npu-supply", "dt-sram-supply", "dt-power-domains"};
  for (const auto& check : done.checks) {
    if (check.state != DtState::warn && check.state != DtState::fail) continue;
    if (names_rails || generic_lacks.count(check.id) == 0)
      refuse(fmt::format("the NPU would still not work ({}): {}; {}", check.id, check.evidence,
                         check.remedy));
  }
  if (!names_rails)
    done.warnings.push_back(
        "no supply is named: the rail must be on without the kernel's doing, or the NPU, and "
        "whoever "
        "reads one of its registers, hangs");
  return done;
}

}  // namespace npu::probe
