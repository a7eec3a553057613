// SPDX-License-Identifier: MIT
// The model never guesses silently: a register bit that it does not know stops the task.
#pragma once

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <string>

#include "npu-sim/fault.hpp"
#include "regdb/tables.hpp"

namespace npu::sim {

/// The bits of a register that the model understands (or knows to change only timing).
struct KnownBits {
  std::uint16_t offset;
  std::uint32_t mask;
};

/// Throws not_modelled, naming the field, if a register of `block` has a bit set that `known` does
/// not list. `get(offset)` gives the value; `ignored(offset)` skips operands of unused units.
template <std::size_t N, class Get, class Ignored>
void check_known(regdb::Block block, const KnownBits (&known)[N], Get get, Ignored ignored) {
  for (const regdb::RegisterInfo& info : regdb::registers()) {
    if (info.block != block || (info.offset & 0xFFF) <= 4 || ignored(info.offset)) continue;
    std::uint32_t mask = 0;
    for (const KnownBits& entry : known)
      if (entry.offset == info.offset) mask = entry.mask;
    const std::uint32_t unknown = get(info.offset) & ~mask;
    if (unknown == 0) continue;
    for (const regdb::FieldInfo& field : info.fields) {
      if (const std::uint32_t value = field.extract(unknown); value != 0) {
        std::string lower(field.name);
        std::transform(lower.begin(), lower.end(), lower.begin(),
                       [](unsigned char c) { return std::tolower(c); });
        not_modelled(
            std::string(regdb::info(block).name) + "." + std::string(info.name) + "." + lower,
            value);
      }
    }
  }
}

/// Throws not_modelled(where, value) unless `supported`.
inline void require(bool supported, const char* where, std::uint64_t value) {
  if (!supported) not_modelled(where, value);
}

}  // namespace npu::sim
