// SPDX-License-Identifier: MIT
// Registers of compute.md 6.1 and 5.6 [allbilly elementwise.py; notes dpu-lut-activation, HW].
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "plain.hpp"
#include "pool_spec.hpp"
#include "regdb/registers.hpp"

namespace npu::sim::property {

namespace rd = npu::regdb;

namespace {

Wide floor_shift(Wide v, std::uint32_t shift) {
  const Wide unit = Wide{1} << shift;
  return (v - ((v % unit + unit) % unit)) / unit;
}

// NVDLA's choice of a table: the one that is hit; if both or none are, what the priorities say.
std::size_t choose_table(const FlyingSpec& s, Wide v) {
  std::array<bool, 2> below{}, above{}, hit{};
  for (std::size_t id = 0; id < 2; ++id) {
    below[id] = v < s.start[id];
    above[id] = v > s.end[id];
    hit[id] = !below[id] && !above[id];
  }
  if (hit[0] != hit[1]) return hit[1] ? 1 : 0;
  if (hit[0]) return s.hybrid ? 1 : 0;
  return (above[0] && above[1] ? s.overflow : s.underflow) ? 1 : 0;
}

float look_up(const FlyingSpec& s, float index) {
  const Wide v = clamp_bits(static_cast<Wide>(std::nearbyint(static_cast<double>(index))), 32);
  const std::size_t id = choose_table(s, v);
  const auto& table = s.tables[id];
  Wide q;
  if (v < s.start[id]) {
    q = table[0] + floor_shift((v - s.start[id]) * s.underflow_scale[id], s.underflow_shift[id]);
  } else if (v > s.end[id]) {
    q = table[512] + floor_shift((v - s.end[id]) * s.overflow_scale[id], s.overflow_shift[id]);
  } else {
    const Wide distance = v - s.start[id], cell = Wide{1} << s.select[id];
    const auto left = static_cast<std::size_t>(std::min<Wide>(distance / cell, 512));
    const std::size_t right = std::min<std::size_t>(left + 1, 512);
    q = table[left] + floor_shift((table[right] - table[left]) * (distance % cell), s.select[id]);
  }
  return static_cast<float>(clamp_bits(q, 16));
}

float relu_float(const Relu& relu, float v) {
  if (!relu.on) return v;
  if (v < 0) v = 0;
  const auto limit = std::bit_cast<float>(relu.limit);
  return relu.limited && limit < v ? limit : v;
}

Wide relu_integer(const Relu& relu, Wide v) {
  if (!relu.on) return v;
  v = std::max<Wide>(v, 0);
  return relu.limited ? std::min<Wide>(v, static_cast<std::int32_t>(relu.limit)) : v;
}

float float_stage(const StageSpec& s, const Image& m, bool bn, std::uint32_t channel, float v) {
  for (int step = 0; step < 2; ++step) {
    if ((step == 0) == bn) {  // BN multiplies first
      const std::uint16_t factor =
          s.mul_memory ? m.load<std::uint16_t>(s.stream + channel * 2) : s.mul_operand;
      if (s.mul && (!s.prelu || v < 0)) v *= static_cast<float>(fp16_value(factor));
    } else if (s.alu) {
      const auto operand = std::bit_cast<float>(
          s.alu_memory ? m.load<std::uint32_t>(s.stream + channel * 4) : s.alu_operand);
      v = s.minus ? v - operand : v + operand;
    }
  }
  return relu_float(s.relu, v);
}

float float_operation(const FlyingSpec& s, const Image& m, std::uint64_t operand, float v) {
  float e;
  if (s.source == Source::registers)
    e = s.multiply ? static_cast<float>(fp16_value(static_cast<std::uint16_t>(s.value)))
                   : std::bit_cast<float>(s.value);
  else
    e = static_cast<float>(fp16_value(m.load<std::uint16_t>(operand)));
  if (s.multiply) return s.prelu && v >= 0 ? v : v * e;
  switch (s.algo) {
    case 0: return v < e ? e : v;
    case 1: return e < v ? e : v;
    case 2: return v + e;
    case 3: return v / e;
    case 4: return v - e;
    case 5: return v < 0 ? -v : v;
    case 6: return -v;
    case 7: return static_cast<float>(std::floor(static_cast<double>(v)));
    default: return static_cast<float>(std::ceil(static_cast<double>(v)));
  }
}

float float_result(const FlyingSpec& s, const Image& m, std::uint32_t channel, std::uint64_t main,
                   std::uint64_t operand) {
  auto v = static_cast<float>(fp16_value(m.load<std::uint16_t>(main)));
  v = float_stage(s.bs, m, false, channel, v);
  v = float_stage(s.bn, m, true, channel, v);
  if (s.lut) v = look_up(s, v);
  if (s.ew) v = float_operation(s, m, operand, v);
  v = relu_float(s.relu, v);
  if (s.add_first && s.lut) {
    // Exact up to the last step; a sum of zero is read as 2^17 [notes dpu-lut-activation, HW].
    const double sum = static_cast<double>(v) + s.offset;
    v = static_cast<float>(
        std::ldexp((sum == 0 ? 131072 : sum) * s.scale, -static_cast<int>(s.minus_exp)));
  } else if (s.add_first) {
    v += static_cast<float>(s.offset);
    v *= static_cast<float>(s.scale);
    v = std::ldexp(v, -static_cast<int>(s.minus_exp));
  }
  return v;
}

Wide integer(const FlyingSpec& s, const Image& m, std::uint64_t at) {
  if (s.type == kInt8) return m.load<std::int8_t>(at);
  if (s.type == kInt16) return m.load<std::int16_t>(at);
  return m.load<std::int32_t>(at);
}

Wide integer_stage(const StageSpec& s, const Image& m, std::uint32_t channel, Wide v) {
  if (s.alu) {
    const Wide operand = s.alu_memory ? m.load<std::int32_t>(s.stream + channel * 4)
                                      : static_cast<std::int32_t>(s.alu_operand);
    v += s.minus ? -operand : operand;
  }
  if (s.mul && (!s.prelu || v < 0)) {
    v *= static_cast<std::int16_t>(s.mul_operand);
    v = shift_right(v, v < 0 ? s.shift_negative : s.shift, Tie::even);
  }
  return relu_integer(s.relu, clamp_bits(v, 32));
}

// A lane of 32 bits negated: the smallest number has no opposite.
Wide negated(Wide v) { return v == INT32_MIN ? v : -v; }

Wide integer_operation(const FlyingSpec& s, const Image& m, std::uint64_t operand, Wide v) {
  Wide e;
  if (s.source == Source::registers) {
    e = static_cast<std::int32_t>(s.value);
    if (s.type != kInt32) e = static_cast<std::int16_t>(s.value);
  } else {
    e = integer(s, m, operand);
    const Tie tie = s.ew_up ? Tie::up : Tie::even;
    if (s.convert)
      e = s.ew_add_first ? shift_right((e + s.ew_offset) * s.ew_scale, s.ew_shift, tie)
                         : shift_right(e * s.ew_scale, s.ew_shift, tie) + s.ew_offset;
  }
  if (s.multiply) {
    // The second operand of a product is read as signed int16 [notes, HW, for int32].
    if (s.prelu && v >= 0) return v;
    return v * static_cast<std::int16_t>(static_cast<std::int64_t>(e));
  }
  switch (s.algo) {
    case 0: return std::max(v, e);
    case 1: return std::min(v, e);
    case 2: return v + e;
    case 4: return v + negated(static_cast<std::int32_t>(static_cast<std::int64_t>(e)));
    case 5: return v < 0 ? negated(v) : v;
    default: return negated(v);
  }
}

Wide integer_result(const FlyingSpec& s, const Image& m, std::uint32_t channel, std::uint64_t main,
                    std::uint64_t operand) {
  Wide v = integer_stage(s.bs, m, channel, integer(s, m, main));
  v = integer_stage(s.bn, m, channel, v);
  if (s.ew) v = integer_operation(s, m, operand, v);
  return relu_integer(s.relu, clamp_bits(v, 32));
}

Wide converted(const FlyingSpec& s, Wide v) {
  const Tie tie = s.away ? Tie::away : Tie::even;
  return s.add_first ? shift_right((v + s.offset) * s.scale, s.shift, tie)
                     : shift_right(v * s.scale, s.shift, tie) + s.offset;
}

void store_integer(Image& m, std::uint32_t out, std::uint64_t to, Wide v) {
  if (out == kOutInt8) m.store(to, static_cast<std::int8_t>(clamp_bits(v, 8)));
  if (out == kOutInt16) m.store(to, static_cast<std::int16_t>(clamp_bits(v, 16)));
  if (out == kOutInt32) m.store(to, static_cast<std::int32_t>(clamp_bits(v, 32)));
  if (out == kOutFp32) m.store(to, static_cast<float>(clamp_bits(v, 32)));
}

void flying_effect(const FlyingSpec& s, Image& m) {
  const Image before = m;
  const std::uint32_t atom = 16 / s.bytes(), out_size = out_bytes(s.out), out_atom = 16 / out_size;
  for (std::uint32_t c = 0; c < s.channels(); ++c) {
    const std::uint32_t group = c / atom, plane = c % atom / out_atom;
    if (plane > s.size_e) continue;  // not among the surfaces that are written
    for (std::uint32_t y = 0; y < s.height; ++y)
      for (std::uint32_t x = 0; x < s.width; ++x) {
        const std::uint64_t position = (std::uint64_t{y} * s.width + x) * 16;
        const std::uint64_t lane = c % atom * s.bytes();
        const std::uint64_t main = s.src + std::uint64_t{group} * s.src_plane + position + lane;
        const std::uint64_t operand = s.operand + std::uint64_t{group} * s.operand_plane + lane +
                                      (s.source == Source::per_pixel ? position : 0);
        const std::uint64_t to = s.dst + std::uint64_t{group} * s.dst_group + plane * s.dst_plane +
                                 (std::uint64_t{y} * (s.width + s.dst_notch) + x) * 16 +
                                 c % out_atom * out_size;
        if (s.type != kFp16) {
          store_integer(m, s.out, to, converted(s, integer_result(s, before, c, main, operand)));
          continue;
        }
        const float v = float_result(s, before, c, main, operand);
        if (s.out == kOutFp32) {
          m.store(to, v);
        } else if (s.out == kOutFp16) {
          m.store(to, fp16_bits(static_cast<double>(v)));
        } else {  // the lane becomes an integer before an ordinary converter
          const Wide whole = clamp_bits(
              static_cast<Wide>(std::nearbyint(std::clamp(static_cast<double>(v), -1e12, 1e12))),
              32);
          store_integer(m, s.out, to, s.add_first ? whole : converted(s, whole));
        }
      }
  }
}

// Two tables that meet at zero, most times, and cover a part of what the index reaches.
void draw_lut(Draw& d, FlyingSpec& s) {
  s.lut = true;
  s.ew = d.once_in(3);  // behind the table, with an operand from a register
  s.source = Source::registers;
  s.prelu = s.multiply = false;
  s.algo = d.pick(0, 1);
  s.value = std::bit_cast<std::uint32_t>(d.real(0, 14));
  s.bn.mul = true;
  s.bn.prelu = s.bn.mul_memory = s.bn.alu_memory = false;
  s.bn.mul_operand = static_cast<std::uint16_t>(d.pick(0x5000, 0x7000));  // 32 to 8192
  s.bn.alu = d.once_in(2);
  s.bn.alu_operand = std::bit_cast<std::uint32_t>(d.real(-2, 8));
  s.hybrid = d.once_in(2);
  s.underflow = d.once_in(2);
  s.overflow = d.once_in(2);
  for (std::size_t id = 0; id < 2; ++id) {
    for (auto& entry : s.tables[id])
      entry = d.once_in(8) ? std::int16_t{0} : static_cast<std::int16_t>(d.bits());
    s.select[id] = d.pick(0, 8);
    const std::int32_t span = 512 << s.select[id];
    s.start[id] = id == 0 ? -span : d.once_in(2) ? 0 : d.pick_signed(-100, 100);
    s.end[id] = id == 0 ? 0 : s.start[id] + (d.once_in(3) ? d.pick_signed(0, span) : span);
    s.underflow_scale[id] = d.pick_signed(-32768, 32767);
    s.overflow_scale[id] = d.pick_signed(-32768, 32767);
    s.underflow_shift[id] = d.pick(0, 31);
    s.overflow_shift[id] = d.pick(0, 31);
  }
  s.add_first = true;
  s.offset = d.pick_signed(0, 1);
  s.scale = 1;
  s.minus_exp = 15;
  s.out = kOutFp16;
}

Relu draw_relu(Draw& d, bool real) {
  Relu relu;
  relu.on = d.once_in(4);
  relu.limited = d.once_in(2);
  relu.limit = real ? std::bit_cast<std::uint32_t>(std::abs(d.real(-3, 6)))
                    : static_cast<std::uint32_t>(d.int32_any());
  return relu;
}

void draw_stage(Draw& d, Arena& arena, FlyingSpec& s, StageSpec& stage, bool bn) {
  const bool real = s.type == kFp16;
  if (d.once_in(2)) return;
  stage.relu = draw_relu(d, real);
  if (bn && !real) return;  // BN on integers: only its ReLU has run on boards
  stage.alu = d.once_in(2);
  stage.mul = d.once_in(3);
  stage.minus = d.once_in(3);
  stage.prelu = d.once_in(3);
  stage.alu_operand = real ? std::bit_cast<std::uint32_t>(d.real(-6, 6))
                           : static_cast<std::uint32_t>(d.int32_any());
  stage.mul_operand = static_cast<std::uint16_t>(d.bits());
  if (real) stage.mul_operand = static_cast<std::uint16_t>((stage.mul_operand & 0x8FFF) | 0x3000);
  if (!real) {
    stage.shift = d.pick(0, d.once_in(6) ? 63 : 20);
    stage.shift_negative = d.once_in(2) ? stage.shift : d.pick(0, 20);
  }
  if (!d.once_in(3)) return;
  // One kind of operand from memory at a time.
  if (stage.alu && (d.once_in(2) || !real || !stage.mul)) {
    stage.alu_memory = true;
    stage.stream = arena.reserve(std::size_t{s.channels()} * 4);
    if (real) fill(d, arena, stage.stream, std::size_t{s.channels()} * 4, Type::tf32, -6, 6);
  } else if (real && stage.mul) {
    stage.mul_memory = true;
    stage.stream = arena.reserve(std::size_t{s.channels()} * 2);
    fill(d, arena, stage.stream, std::size_t{s.channels()} * 2, Type::fp16, -4, 4);
  }
}

void draw_operation(Draw& d, FlyingSpec& s) {
  const bool real = s.type == kFp16;
  s.ew = !d.once_in(8);
  s.multiply = d.once_in(4);
  s.prelu = s.multiply && d.once_in(3);
  s.algo = d.one_of({0u, 1u, 2u, 4u});
  if (d.once_in(4)) s.algo = real ? d.one_of({3u, 5u, 6u, 7u, 8u}) : d.one_of({5u, 6u});
  s.source =
      d.one_of({Source::per_pixel, Source::per_pixel, Source::per_channel, Source::registers});
  // 1 to 1.99 as an fp16 (multiplier) or an fp32 (ALU); any integer.
  s.value = real ? s.multiply ? 0x3C00 | d.pick(0, 0x3FF) : 0x3F800000 | d.pick(0, 0x7FFFFF)
                 : static_cast<std::uint32_t>(d.int32_any());
  // An fp16 ALU needs its converter, an fp16 multiplier its bypass, int32 has none.
  s.convert = real ? !s.multiply && s.algo != 3 : s.type != kInt32 && d.once_in(3);
  if (!real) {
    s.ew_offset = d.once_in(4) ? d.int32_any() : d.pick_signed(-128, 127);
    s.ew_scale = d.pick_signed(-32768, 32767);
    s.ew_shift = d.pick(0, d.once_in(6) ? 63 : 12);
    s.ew_add_first = d.once_in(2);
    s.ew_up = d.once_in(2);
  }
  s.relu = draw_relu(d, real);
}

void draw_converter(Draw& d, FlyingSpec& s) {
  if (s.type == kFp16) {
    s.out = d.one_of({kOutFp16, kOutFp16, kOutFp32, kOutInt16, kOutInt32});
    if (s.divides()) s.out = kOutFp16;
    if (d.once_in(5)) {
      s.add_first = true;
      s.offset = d.pick_signed(-100, 100);
      s.scale = d.pick_signed(-8, 8);
      s.minus_exp = d.pick(0, 15);
    }
    return;
  }
  s.out = s.type == kInt8    ? d.one_of({kOutInt8, kOutInt8, kOutInt16, kOutInt32, kOutFp32})
          : s.type == kInt16 ? d.one_of({kOutInt16, kOutInt16, kOutInt32, kOutFp32})
                             : d.one_of({kOutInt32, kOutInt32, kOutFp32});
  if (d.once_in(3)) return;
  s.scale = d.once_in(6) ? d.pick_signed(-32768, 32767) : d.pick_signed(1, 300);
  s.shift = d.pick(0, d.once_in(6) ? 63 : 16);
  s.offset = d.once_in(6) ? d.int32_any() : d.pick_signed(-128, 127);
  s.add_first = d.once_in(3);
  s.away = d.once_in(3);
}

}  // namespace

FlyingSpec draw_flying(Draw& d, Arena& arena, std::uint32_t type, bool lut) {
  FlyingSpec s;
  s.type = type;
  s.width = d.pick(1, d.once_in(4) ? 200 : 20);
  s.height = d.pick(1, 4);
  s.planes = d.pick(1, 3);
  const std::uint32_t plane = s.width * s.height * 16;
  s.src_plane = plane + (d.once_in(3) ? 16 * d.pick(1, 5) : 0);
  s.src = arena.reserve(std::size_t{s.src_plane} * s.planes);
  draw_stage(d, arena, s, s.bs, false);
  draw_stage(d, arena, s, s.bn, true);
  draw_operation(d, s);
  draw_converter(d, s);
  if (lut) draw_lut(d, s);
  s.comb_use = s.ew && s.source != Source::registers ? d.one_of({0u, 4u}) : 0;
  s.operand_plane =
      s.source == Source::per_channel ? 16 : plane + (d.once_in(3) ? 16 * d.pick(1, 5) : 0);
  s.operand = arena.reserve(std::size_t{s.operand_plane} * s.planes);
  if (type == kFp16) {
    const int low = d.once_in(3) ? -15 : -4, high = d.once_in(3) ? 15 : 4;
    fill(d, arena, s.src, std::size_t{s.src_plane} * s.planes, Type::fp16, low, high);
    fill(d, arena, s.operand, std::size_t{s.operand_plane} * s.planes, Type::fp16, low, high);
    for (std::uint32_t at = 0; s.divides() && at < s.operand_plane * s.planes; at += 2)
      if ((arena.image.load<std::uint16_t>(s.operand + at) & 0x7FFF) == 0)
        arena.image.store(s.operand + at, std::uint16_t{0x3C00});  // nothing is divided by zero
  }
  s.size_e = d.once_in(6) ? d.pick(0, s.group_planes() - 1) : s.group_planes() - 1;
  s.dst_notch = d.once_in(3) ? d.pick(1, 4) : 0;
  s.dst_plane = ((s.width + s.dst_notch) * s.height + (d.once_in(3) ? d.pick(1, 5) : 0)) * 16;
  s.dst_group = s.dst_plane * s.group_planes() + (d.once_in(3) ? 16 * d.pick(1, 5) : 0);
  s.dst = arena.reserve(std::size_t{s.dst_group} * s.planes);
  return s;
}

namespace {

// EDATA_SIZE: 1, 2, 3 for 8, 16, 32 bits.
std::uint32_t operand_size(const FlyingSpec& s) {
  return s.bytes() == 1 ? 1 : s.bytes() == 2 ? 2 : 3;
}

// A reader of BS or BN operands: off, dense ALU operands, dense multipliers.
std::uint32_t data_use(const StageSpec& s) { return s.alu_memory ? 1 : s.mul_memory ? 4 : 0; }

void put_lut(Task& t, const FlyingSpec& s) {
  namespace dpu = rd::dpu;
  for (std::size_t id = 0; id < 2; ++id) {
    put(t, dpu::LUT_ACCESS_CFG{.lut_access_type = true, .lut_table_id = id != 0});
    for (const std::int16_t entry : s.tables[id])
      put(t, dpu::LUT_ACCESS_DATA{.lut_access_data = static_cast<std::uint16_t>(entry)});
  }
  put(t, dpu::LUT_CFG{.lut_hybrid_priority = s.hybrid,
                      .lut_oflow_priority = s.overflow,
                      .lut_uflow_priority = s.underflow,
                      .lut_lo_le_mux = 2});
  put(t, dpu::LUT_INFO{.lut_lo_index_select = s.select[1], .lut_le_index_select = s.select[0]});
  put(t, dpu::LUT_LE_START{.lut_le_start = s.start[0]});
  put(t, dpu::LUT_LE_END{.lut_le_end = s.end[0]});
  put(t, dpu::LUT_LO_START{.lut_lo_start = s.start[1]});
  put(t, dpu::LUT_LO_END{.lut_lo_end = s.end[1]});
  const auto half = [](std::int32_t v) { return static_cast<std::uint16_t>(v); };
  put(t, dpu::LUT_LE_SLOPE_SCALE{.lut_le_slope_oflow_scale = half(s.overflow_scale[0]),
                                 .lut_le_slope_uflow_scale = half(s.underflow_scale[0])});
  put(t, dpu::LUT_LE_SLOPE_SHIFT{.lut_le_slope_oflow_shift = s.overflow_shift[0],
                                 .lut_le_slope_uflow_shift = s.underflow_shift[0]});
  put(t, dpu::LUT_LO_SLOPE_SCALE{.lut_lo_slope_oflow_scale = half(s.overflow_scale[1]),
                                 .lut_lo_slope_uflow_scale = half(s.underflow_scale[1])});
  put(t, dpu::LUT_LO_SLOPE_SHIFT{.lut_lo_slope_oflow_shift = s.overflow_shift[1],
                                 .lut_lo_slope_uflow_shift = s.underflow_shift[1]});
}

void put_dpu(Task& t, const Arena& arena, const FlyingSpec& s) {
  namespace dpu = rd::dpu;
  put(t, dpu::FEATURE_MODE_CFG{.burst_len = 15, .output_mode = 2, .flying_mode = 1});
  put(t, dpu::DATA_FORMAT{.out_precision = s.out,
                          .in_precision = s.type,
                          .bs_mul_shift_value_neg = s.bs.shift_negative,
                          .proc_precision = s.type});
  put(t, dpu::DST_BASE_ADDR{.dst_base_addr = arena.address(s.dst)});
  put(t, dpu::DST_SURF_STRIDE{.dst_surf_stride = s.dst_plane / 16});
  put(t, dpu::DATA_CUBE_WIDTH{.width = s.width});
  put(t, dpu::DATA_CUBE_HEIGHT{.height = s.height});
  put(t, dpu::DATA_CUBE_NOTCH_ADDR{.notch_addr_1 = s.dst_notch, .notch_addr_0 = s.dst_notch});
  put(t, dpu::DATA_CUBE_CHANNEL{.orig_channel = s.channels(), .channel = s.channels()});
  put(t, dpu::BS_CFG{.bs_alu_algo = s.bs.minus ? 4u : 2u,
                     .bs_alu_src = s.bs.alu_memory ? 1u : 0u,
                     .bs_relux_en = s.bs.relu.limited,
                     .bs_relu_bypass = !s.bs.relu.on,
                     .bs_mul_prelu = s.bs.prelu,
                     .bs_mul_bypass = !s.bs.mul,
                     .bs_alu_bypass = !s.bs.alu,
                     .bs_bypass = s.bs.off()});
  put(t, dpu::BS_ALU_CFG{.bs_alu_operand = static_cast<std::int32_t>(s.bs.alu_operand)});
  put(t, dpu::BS_MUL_CFG{.bs_mul_operand = static_cast<std::int16_t>(s.bs.mul_operand),
                         .bs_mul_shift_value = s.bs.shift,
                         .bs_mul_src = s.bs.mul_memory ? 1u : 0u});
  put(t, dpu::BS_RELUX_CMP_VALUE{.bs_relux_cmp_dat = static_cast<std::int32_t>(s.bs.relu.limit)});
  put(t, dpu::BS_OW_CFG{.size_e_2 = s.size_e, .size_e_1 = s.size_e, .size_e_0 = s.size_e});
  put(t, dpu::BS_OW_OP{});
  put(t, dpu::WDMA_SIZE_0{.channel_wdma = s.channels()});
  put(t, dpu::WDMA_SIZE_1{.height_wdma = s.height, .width_wdma = s.width});
  put(t, dpu::BN_CFG{.bn_alu_algo = s.bn.minus ? 4u : 2u,
                     .bn_alu_src = s.bn.alu_memory ? 1u : 0u,
                     .bn_relux_en = s.bn.relu.limited,
                     .bn_relu_bypass = !s.bn.relu.on,
                     .bn_mul_prelu = s.bn.prelu,
                     .bn_mul_bypass = !s.bn.mul,
                     .bn_alu_bypass = !s.bn.alu,
                     .bn_bypass = s.bn.off()});
  put(t, dpu::BN_ALU_CFG{.bn_alu_operand = s.bn.alu_operand});
  put(t,
      dpu::BN_MUL_CFG{.bn_mul_operand = s.bn.mul_operand, .bn_mul_src = s.bn.mul_memory ? 1u : 0u});
  put(t, dpu::BN_RELUX_CMP_VALUE{.bn_relux_cmp_dat = s.bn.relu.limit});
  const bool memory = s.ew && s.source != Source::registers;
  put(t, dpu::EW_CFG{.ew_cvt_type = s.ew_add_first ? 1u : 0u,
                     .ew_cvt_round = s.ew_up,
                     .ew_data_mode = memory && s.source == Source::per_pixel ? 1u : 0u,
                     .edata_size = memory ? operand_size(s) : 0u,
                     .ew_alu_algo = s.algo,
                     .ew_relux_en = s.relu.limited,
                     .ew_relu_bypass = !s.relu.on,
                     .ew_op_cvt_bypass = !s.convert,
                     .ew_lut_bypass = !s.lut,
                     .ew_op_src = memory ? 1u : 0u,
                     .ew_mul_prelu = s.prelu,
                     .ew_op_type = s.ew && s.multiply ? 1u : 0u,
                     .ew_op_bypass = !s.ew,
                     .ew_bypass = !s.ew && !s.lut && !s.relu.on});
  put(t, dpu::EW_CVT_OFFSET_VALUE{.ew_op_cvt_offset = s.ew_offset});
  put(t, dpu::EW_CVT_SCALE_VALUE{.ew_op_cvt_shift = s.ew_shift, .ew_op_cvt_scale = s.ew_scale});
  put(t, dpu::EW_RELUX_CMP_VALUE{.ew_relux_cmp_dat = s.relu.limit});
  put(t, dpu::EW_OP_VALUE_0{.ew_operand_0 = s.value});
  put(t, dpu::EW_OP_VALUE_1{.ew_operand_1 = s.value});
  put(t, dpu::EW_OP_VALUE_2{.ew_operand_2 = s.value});
  put(t, dpu::EW_OP_VALUE_3{.ew_operand_3 = s.value});
  put(t, dpu::EW_OP_VALUE_4{.ew_operand_4 = s.value});
  put(t, dpu::EW_OP_VALUE_5{.ew_operand_5 = s.value});
  put(t, dpu::EW_OP_VALUE_6{.ew_operand_6 = s.value});
  put(t, dpu::EW_OP_VALUE_7{.ew_operand_7 = s.value});
  put(t, dpu::OUT_CVT_OFFSET{.out_cvt_offset = s.offset});
  put(t, dpu::OUT_CVT_SCALE{.fp32tofp16_en = s.out == kOutFp16, .out_cvt_scale = s.scale});
  put(t, dpu::OUT_CVT_SHIFT{.cvt_type = s.add_first ? 1u : 0u,
                            .cvt_round = s.away,
                            .minus_exp = s.minus_exp,
                            .out_cvt_shift = s.shift});
  put(t, dpu::SURFACE_ADD{.surf_add = s.dst_group / 16});
  put(t, dpu::UNDOC_40C4{});
  if (s.lut) put_lut(t, s);
}

void put_rdma(Task& t, const Arena& arena, const FlyingSpec& s) {
  namespace rdma = rd::dpu_rdma;
  put(t, rdma::RDMA_DATA_CUBE_WIDTH{.width = s.width});
  put(t, rdma::RDMA_DATA_CUBE_HEIGHT{.height = s.height});
  put(t, rdma::RDMA_DATA_CUBE_CHANNEL{.channel = s.channels()});
  put(t, rdma::RDMA_SRC_BASE_ADDR{.src_base_addr = arena.address(s.src)});
  put(t, rdma::RDMA_BRDMA_CFG{.brdma_data_use = data_use(s.bs)});
  put(t, rdma::RDMA_BS_BASE_ADDR{.bs_base_addr =
                                     data_use(s.bs) != 0 ? arena.address(s.bs.stream) : 0});
  put(t, rdma::RDMA_NRDMA_CFG{.nrdma_data_use = data_use(s.bn)});
  put(t, rdma::RDMA_BN_BASE_ADDR{.bn_base_addr =
                                     data_use(s.bn) != 0 ? arena.address(s.bn.stream) : 0});
  const bool memory = s.ew && s.source != Source::registers;
  if (memory)
    put(t, rdma::RDMA_ERDMA_CFG{.erdma_data_mode = s.source == Source::per_pixel ? 1u : 0u,
                                .erdma_data_size = operand_size(s)});
  else
    put(t, rdma::RDMA_ERDMA_CFG{.erdma_disable = true});
  put(t, rdma::RDMA_EW_BASE_ADDR{.ew_base_addr = memory ? arena.address(s.operand) : 0});
  put(t, rdma::RDMA_EW_SURF_STRIDE{.ew_surf_stride = memory ? s.operand_plane / 16 : 0});
  put(t, rdma::RDMA_FEATURE_MODE_CFG{.in_precision = s.type,
                                     .burst_len = 15,
                                     .comb_use = s.comb_use,
                                     .proc_precision = s.type,
                                     .mrdma_fp16tofp32_en = s.type == kFp16 && !s.divides(),
                                     .flying_mode = 1});
  put(t, rdma::RDMA_SRC_DMA_CFG{});
  put(t, rdma::RDMA_SURF_NOTCH{.surf_notch_addr = (s.src_plane - s.width * s.height * 16) / 16});
  put(t, rdma::RDMA_PAD_CFG{});
  put(t, rdma::RDMA_WEIGHT{.e_weight = 1, .n_weight = 1, .b_weight = 1, .m_weight = 1});
  put(t, rdma::RDMA_EW_SURF_NOTCH{});
}

}  // namespace

Task flying_task(const Arena& arena, const FlyingSpec& s) {
  Task t;
  put(t, rd::dpu::S_POINTER::decode(0xE));
  put(t, rd::dpu_rdma::RDMA_S_POINTER::decode(0xE));
  put_dpu(t, arena, s);
  put_rdma(t, arena, s);
  t.enable = rd::enable_mask::dpu | rd::enable_mask::dpu_rdma;
  t.may_drop = !s.lut;
  t.text = fmt::format(
      "flying type {} to {}{} {}x{}x{}, BS alu {} mul {} relu {}, BN alu {} mul {} relu {}, EW {} "
      "algo {} mul {} source {} convert {} relu {}, notch {} size_e {}, OUT_CVT {} >> {} + {} {}",
      s.type, s.out, s.lut ? " table" : "", s.height, s.width, s.channels(), s.bs.alu, s.bs.mul,
      s.bs.relu.on, s.bn.alu, s.bn.mul, s.bn.relu.on, s.ew, s.algo, s.multiply,
      static_cast<int>(s.source), s.convert, s.relu.on, s.dst_notch, s.size_e, s.scale, s.shift,
      s.offset, s.add_first ? "(add first)" : "");
  t.effect = [s](Image& image, PlainCbuf&) { flying_effect(s, image); };
  return t;
}

}  // namespace npu::sim::property
