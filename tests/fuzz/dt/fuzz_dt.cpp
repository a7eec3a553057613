// SPDX-License-Identifier: MIT
// Any bytes as a device tree: refused, or read, judged, compared and switched on without a crash.
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>

#include "npu-probe/dt/enable.hpp"
#include "regdb/error.hpp"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void require_clean(std::string_view text) {
  for (const char c : text) require(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace npu::probe;
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const auto dt = read_blob(bytes, "input");
    require(!dt.nodes.empty() && dt.nodes.front().path == "/");
    for (const auto& check : check_tree(dt, find_npu_nodes(dt))) {
      require_clean(check.evidence);
      require(!check.id.empty() && (check.state != DtState::fail || !check.remedy.empty()));
    }
    require(diff_trees(dt, dt).empty());
    const auto done = enable_npu(bytes, "input", "");
    require(passes(done.checks));
    for (const auto& change : done.changes) require_clean(to_text(change));
  } catch (const npu::Error& error) {
    require_clean(error.what());
  }
  return 0;
}
