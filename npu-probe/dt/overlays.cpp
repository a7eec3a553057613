// SPDX-License-Identifier: MIT
#include "npu-probe/dt/overlays.hpp"

#include "npu-probe/dt/devicetree.hpp"
#include "npu-probe/dt/embedded_overlays.hpp"

namespace npu::probe {
namespace {

/// Path in the board's tree of the node that `property` leads to. The overlay labels the content
/// of a fragment, whose target is that node.
std::string target_of(const DeviceTree& overlay, const std::string& property) {
  for (const auto& node : overlay.nodes) {
    if (!node.path.ends_with("/__overlay__")) continue;
    const auto cells = node.cells(property);
    if (cells.size() != 1) continue;
    const auto* content = overlay.by_phandle(cells[0]);
    const auto* fragment = content ? overlay.parent_of(*content) : nullptr;
    if (fragment) return fragment->string("target-path");
  }
  return {};
}

}  // namespace

const std::vector<Overlay>& npu_overlays() {
  static const std::vector<Overlay> all = [] {
    std::vector<Overlay> list;
    for (const auto& blob : embedded::overlays) {
      const auto bytes = std::as_bytes(std::span(blob.bytes, blob.size));
      const auto tree = read_any_blob(bytes, blob.name);
      list.push_back({blob.name, bytes, tree.nodes.front().strings("compatible"),
                      target_of(tree, "npu-supply"), target_of(tree, "sram-supply")});
    }
    return list;
  }();
  return all;
}

const Overlay* find_overlay(std::string_view name) {
  for (const auto& overlay : npu_overlays()) {
    const std::string_view full = overlay.name;
    if (name == full || "rk3588-" + std::string(name) == full ||
        "rk3588-npu-" + std::string(name) == full)
      return &overlay;
  }
  return nullptr;
}

}  // namespace npu::probe
