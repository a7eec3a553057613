// SPDX-License-Identifier: MIT
#include <algorithm>
#include <bit>
#include <cmath>

#include "pool_spec.hpp"

namespace npu::sim::property {
namespace {

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

}  // namespace npu::sim::property
