// SPDX-License-Identifier: MIT
// What a DPU task without a MAC array must do to memory: BS, BN, table, EW, OUT_CVT.
#include <algorithm>
#include <bit>
#include <cmath>

#include "plain.hpp"
#include "pool_spec.hpp"

namespace npu::sim::property {
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
    case 5: return std::abs(v);
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

}  // namespace

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

}  // namespace npu::sim::property
