// SPDX-License-Identifier: MIT
// The DPU's two look-up tables: contents, configuration, interpolation.
#pragma once

#include <array>
#include <cstdint>

#include "npu-sim/register_file.hpp"

namespace npu::sim {

/// The two look-up tables, 513 entries each: 0 LE (negative half), 1 LO. Filled through the
/// access port: LUT_ACCESS_CFG chooses table and entry, each LUT_ACCESS_DATA write moves on by one.
class Lut {
 public:
  static constexpr std::size_t kEntries = 513;
  void access_config(std::uint32_t value) { config_ = value; }
  void access_data(std::uint32_t value) {
    const std::uint32_t entry = config_ & 0x3FF;
    if ((config_ >> 17 & 1) != 0 && entry < kEntries) {
      tables_[config_ >> 16 & 1][entry] = static_cast<std::int16_t>(value);
      loaded_[config_ >> 16 & 1] = true;
    }
    config_ = (config_ & ~0x3FFu) | ((entry + 1) & 0x3FF);
  }
  const std::array<std::int16_t, kEntries>& table(unsigned id) const { return tables_[id]; }

  /// A start begins: what an earlier one loaded is no longer there to rely on.
  void forget() { loaded_ = {}; }
  bool loaded(unsigned id) const { return loaded_[id]; }

 private:
  std::uint32_t config_ = 0;
  std::array<std::array<std::int16_t, kEntries>, 2> tables_{};
  std::array<bool, 2> loaded_{};
};

struct LutConfig {
  bool active;
  std::int64_t start[2], end[2];
  std::uint32_t select[2];
  std::int32_t underflow_scale[2], overflow_scale[2];
  std::uint32_t underflow_shift[2], overflow_shift[2];
  unsigned hybrid, underflow, overflow;  ///< which table answers when both could: 0 LE, 1 LO
};

struct Quirks;

/// Throws TaskFault for table modes that no board has run, and for tables not loaded.
LutConfig read_lut(const RegisterFile& dpu, unsigned group, const Lut& lut, const Quirks& quirks);

/// Table value at an index that the stages before made from the data.
std::int32_t look_up(const LutConfig& config, const Lut& lut, std::int64_t index);
std::int32_t look_up(const LutConfig& config, const Lut& lut, float index);

/// OUT_CVT behind a table with CVT_TYPE 1: (v + offset) * 2^-minus_exp * scale.
float decode_table_value(float v, std::int32_t offset, std::int32_t scale, std::uint32_t minus_exp,
                         const Quirks& quirks);

}  // namespace npu::sim
