// SPDX-License-Identifier: MIT
// Which table answers: NVDLA's rule by hit, overflow and underflow of the index. The one programmed
// table of the shifted functions (exp over [-16, 0] lies in LO alone) works on boards, so the sign
// of the input before BN's addend does not choose [notes dpu-lut-activation, HW].
#include "npu-sim/lut.hpp"

#include <algorithm>
#include <cmath>

#include "npu-sim/known_bits.hpp"
#include "npu-sim/quirks.hpp"
#include "npu-sim/rounding.hpp"
#include "regdb/registers.hpp"

namespace npu::sim {

namespace rd = npu::regdb;

LutConfig read_lut(const RegisterFile& dpu, unsigned group, const Lut& lut, const Quirks& quirks) {
  const auto value = [&](std::uint32_t offset) { return dpu.get(group, offset); };
  const auto at = [&](std::uint32_t offset) {
    return std::int64_t{static_cast<std::int32_t>(value(offset))};
  };
  const std::uint32_t raw = value(rd::dpu::LUT_CFG::offset);
  const auto cfg = rd::dpu::LUT_CFG::decode(raw);
  // LO_LE_MUX 2 (LE and LO as two halves of one function) is what boards have run.
  require(cfg.lut_lo_le_mux == 2, "DPU.LUT_CFG.lut_lo_le_mux", cfg.lut_lo_le_mux);
  require(!cfg.lut_expand_en, "DPU.LUT_CFG.lut_expand_en", 1);
  require(!cfg.lut_cal_sel, "DPU.LUT_CFG.lut_cal_sel", 1);
  require(!cfg.lut_road_sel, "DPU.LUT_CFG.lut_road_sel", 1);
  if (quirks.lut_lost_between_starts && (!lut.loaded(0) || !lut.loaded(1)))
    bad_program("DPU.LUT_ACCESS_DATA",
                "the tables do not survive from an earlier start: load both in this one "
                "(quirk lut_lost_between_starts)");

  LutConfig l{};
  l.active = true;
  l.hybrid = cfg.lut_hybrid_priority;
  l.overflow = cfg.lut_oflow_priority;
  l.underflow = cfg.lut_uflow_priority;
  const auto info = rd::dpu::LUT_INFO::decode(value(rd::dpu::LUT_INFO::offset));
  l.select[0] = info.lut_le_index_select;
  l.select[1] = info.lut_lo_index_select;
  require(l.select[0] < 31, "DPU.LUT_INFO.lut_le_index_select", l.select[0]);
  require(l.select[1] < 31, "DPU.LUT_INFO.lut_lo_index_select", l.select[1]);
  l.start[0] = at(rd::dpu::LUT_LE_START::offset);
  l.end[0] = at(rd::dpu::LUT_LE_END::offset);
  l.start[1] = at(rd::dpu::LUT_LO_START::offset);
  l.end[1] = at(rd::dpu::LUT_LO_END::offset);
  const std::uint32_t scale[] = {value(rd::dpu::LUT_LE_SLOPE_SCALE::offset),
                                 value(rd::dpu::LUT_LO_SLOPE_SCALE::offset)};
  const std::uint32_t shift[] = {value(rd::dpu::LUT_LE_SLOPE_SHIFT::offset),
                                 value(rd::dpu::LUT_LO_SLOPE_SHIFT::offset)};
  for (int id = 0; id < 2; ++id) {
    l.underflow_scale[id] = static_cast<std::int16_t>(scale[id] & 0xFFFF);
    l.overflow_scale[id] = static_cast<std::int16_t>(scale[id] >> 16);
    l.underflow_shift[id] = shift[id] & 0x1F;
    l.overflow_shift[id] = shift[id] >> 5 & 0x1F;
  }
  return l;
}

std::int32_t look_up(const LutConfig& l, const Lut& lut, std::int64_t v) {
  const bool below[] = {v < l.start[0], v < l.start[1]};
  const bool above[] = {v > l.end[0], v > l.end[1]};
  const bool hit[] = {!below[0] && !above[0], !below[1] && !above[1]};
  unsigned id;
  if (hit[0] != hit[1])
    id = hit[1] ? 1 : 0;
  else if (hit[0])
    id = l.hybrid;
  else
    id = above[0] && above[1] ? l.overflow : l.underflow;

  const auto& table = lut.table(id);
  constexpr std::int64_t kLast = Lut::kEntries - 1;
  std::int64_t q;
  if (below[id]) {
    q = table[0] + ((v - l.start[id]) * l.underflow_scale[id] >> l.underflow_shift[id]);
  } else if (above[id]) {
    q = table[kLast] + ((v - l.end[id]) * l.overflow_scale[id] >> l.overflow_shift[id]);
  } else {
    const std::int64_t offset = v - l.start[id], cell = offset >> l.select[id];
    const std::int64_t fraction = offset & ((std::int64_t{1} << l.select[id]) - 1);
    if (cell >= kLast) {
      q = table[kLast];
    } else {
      // Rounded down: a board's leaky ReLU table (slope 0.1, three steps in the last cell) meets
      // its zero at x = 0 only; to nearest it would meet it two index units earlier too [HW scan].
      const std::int64_t left = table[static_cast<std::size_t>(cell)];
      const std::int64_t right = table[static_cast<std::size_t>(cell) + 1];
      q = left + ((right - left) * fraction >> l.select[id]);
    }
  }
  return saturate<std::int16_t>(q);
}

std::int32_t look_up(const LutConfig& l, const Lut& lut, float index) {
  // To the nearest integer: the band in which a board's ELU tables meet their zero is one index
  // unit wide and centred on x = 0, 97 of 4001 samples [notes dpu-lut-activation, x0 probe, HW].
  const double rounded = std::nearbyint(static_cast<double>(index));
  const std::int64_t v =
      std::isnan(rounded)
          ? 0
          : static_cast<std::int64_t>(std::clamp(rounded, -2147483648.0, 2147483647.0));
  return look_up(l, lut, v);
}

float decode_table_value(float v, std::int32_t offset, std::int32_t scale, std::uint32_t minus_exp,
                         const Quirks& quirks) {
  double sum = static_cast<double>(v) + offset;
  // A sum of exactly zero comes out as 2^17: 4 at MINUS_EXP 15, 8 at 14, 16 at 13, 64 at 11 and 128
  // at 10 are what boards show at a zero entry, in flat tails and at x = 0 of signed functions.
  // One rule for the "quirks 1, 2 and 4" of [notes dpu-lut-activation, HW].
  if (sum == 0 && quirks.lut_zero_decodes_as_2_17) sum = 0x1p17;
  return static_cast<float>(std::ldexp(sum * scale, -static_cast<int>(minus_exp)));
}

}  // namespace npu::sim
