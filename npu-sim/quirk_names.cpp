// SPDX-License-Identifier: MIT
#include "npu-sim/quirk_names.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <optional>
#include <variant>

#include "regdb/error.hpp"

namespace npu::sim {
namespace {

struct Named {
  std::string_view name;
  std::variant<bool Quirks::*, TieRule Quirks::*> member;
};

constexpr std::array kQuirks{
    Named{"out_cvt_tie", &Quirks::out_cvt_tie},
    Named{"clip_truncate_tie", &Quirks::clip_truncate_tie},
    Named{"ew_cvt_tie", &Quirks::ew_cvt_tie},
    Named{"core_index_in_s_pointer", &Quirks::core_index_in_s_pointer},
    Named{"mrdma_trap", &Quirks::mrdma_trap},
    Named{"size_e_counts_surfaces", &Quirks::size_e_counts_surfaces},
    Named{"lut_zero_decodes_as_2_17", &Quirks::lut_zero_decodes_as_2_17},
    Named{"lut_lost_between_starts", &Quirks::lut_lost_between_starts},
    Named{"stage_mul_partial_surface", &Quirks::stage_mul_partial_surface},
    Named{"flying_width_limit", &Quirks::flying_width_limit},
    Named{"fc_data_bank_shifts_features", &Quirks::fc_data_bank_shifts_features},
    Named{"pad_byte_lanes", &Quirks::pad_byte_lanes},
    Named{"dpu_code_7_writes_nothing", &Quirks::dpu_code_7_writes_nothing},
    Named{"mac_gating_bit_24", &Quirks::mac_gating_bit_24},
    Named{"ew_operand_notch", &Quirks::ew_operand_notch},
    Named{"pool_line_buffer", &Quirks::pool_line_buffer},
    Named{"pool_stride_beyond_kernel", &Quirks::pool_stride_beyond_kernel},
};

std::optional<TieRule> tie_rule(std::string_view text) {
  if (text == "half_even") return TieRule::half_even;
  if (text == "half_up") return TieRule::half_up;
  if (text == "half_away") return TieRule::half_away;
  return std::nullopt;
}

[[noreturn]] void bad(const std::string& what) { throw Error(ErrorCode::invalid_argument, what); }

}  // namespace

std::vector<std::string_view> quirk_names() {
  std::vector<std::string_view> names;
  for (const Named& quirk : kQuirks) names.push_back(quirk.name);
  return names;
}

void set_quirk(Quirks& quirks, std::string_view text) {
  const std::size_t equals = text.find('=');
  const std::string_view name = text.substr(0, equals);
  const bool has_value = equals != std::string_view::npos;
  const std::string_view value = has_value ? text.substr(equals + 1) : std::string_view{};
  for (const Named& quirk : kQuirks) {
    if (quirk.name != name) continue;
    if (const auto* flag = std::get_if<bool Quirks::*>(&quirk.member)) {
      if (has_value && value != "on" && value != "off")
        bad(fmt::format("quirk {}: \"{}\" is neither on nor off", name, value));
      quirks.** flag = has_value ? value == "on" : !(quirks.**flag);
      return;
    }
    const auto rule = tie_rule(value);
    if (!rule)
      bad(fmt::format("quirk {}: give it half_even, half_up or half_away, as {}=half_up", name,
                      name));
    quirks.*std::get<TieRule Quirks::*>(quirk.member) = *rule;
    return;
  }
  bad(fmt::format("there is no quirk \"{}\"; docs/open-questions.md tells of {}", name,
                  fmt::join(quirk_names(), ", ")));
}

}  // namespace npu::sim
