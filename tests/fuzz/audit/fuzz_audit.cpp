// SPDX-License-Identifier: MIT
// Every parser of the audit over any bytes: no crash, and what they promise holds.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "npu-probe/audit/config_fragment.hpp"
#include "npu-probe/audit/parsers.hpp"

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
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto clean = printable(text, 256);
  require_clean(clean);
  require(clean.size() <= 256 + 4 + 3);
  require(printable(clean, 1024) == clean);
  if (const auto version = parse_kernel_release(text)) require_clean(version->suffix);
  release_of_proc_version(text);
  for (const auto symbol : {"CONFIG_DRM_ACCEL", "CONFIG_DRM_ACCEL_ROCKET", "C"}) {
    const char value = config_value(text, symbol);
    require(value == 'y' || value == 'm' || value == 'n' || value == '?');
  }
  // Any bytes as a fragment, and as a configuration under the real one.
  const auto wishes = parse_config_fragment(text);
  for (const auto& wish : wishes) {
    require(wish.symbol.starts_with("CONFIG_") && (wish.value == 'y' || wish.value == 'm'));
    require_clean(wish.symbol + wish.reason);
  }
  require(compare_config(wishes, text).size() == wishes.size());
  for (const auto& symbol : compare_config(rosenblatt_fragment(), text))
    require((symbol.state == SymbolState::unknown) == text.empty());
  require_clean(release_of_config(text));
  if (const auto plain = gunzip(text, 65536)) require(plain->size() <= 65536);
  for (const auto& irq : parse_interrupts(text)) require_clean(irq.description);
  for (const auto cpu : parse_cpu_list(text)) require(cpu <= 4095);
  require(dt_cells(text).size() <= size / 4);
  for (const auto& one : dt_strings(text)) require_clean(one);
  for (const auto& node : parse_dev_manifest(text)) {
    require(node.path.front() == '/' && node.mode <= 07777);
    require_clean(node.path + node.owner + node.group + node.target);
  }
  const auto log = parse_kernel_log(text);
  require_clean(log.drm_driver + log.npu_regulator_off + log.probe_failure + log.vendor_driver);
  for (const auto& [core, version] : log.core_versions) require(core >= 0 && core <= 15);
  for (const auto& [name, version] : parse_dpkg_status(text)) require_clean(name + version);
  parse_version(text);
  parse_mem_total(text);
  parse_name_ids(text);
  if (const auto who = parse_id(text)) require_clean(who->user);
  return 0;
}
