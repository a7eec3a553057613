// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "conv_spec.hpp"

namespace npu::sim::property {

void fill(Draw& d, Arena& arena, std::uint32_t iova, std::size_t bytes, Type type, int low,
          int high) {
  for (std::size_t i = 0; i < bytes; i += facts(type).bits >= 16 ? facts(type).bits / 8 : 1) {
    const std::uint32_t to = iova + static_cast<std::uint32_t>(i);
    const auto bits = std::bit_cast<std::uint32_t>(d.real(low, high));
    switch (type) {
      case Type::int8:
      case Type::int4: arena.image.store(to, static_cast<std::uint8_t>(d.bits())); break;
      case Type::int16: arena.image.store(to, static_cast<std::uint16_t>(d.bits())); break;
      case Type::bf16: arena.image.store(to, static_cast<std::uint16_t>(bits >> 16)); break;
      case Type::tf32: arena.image.store(to, bits); break;
      case Type::fp16: {
        // Any finite pattern whose exponent lies in the range; below -14 they are subnormal.
        auto half = static_cast<std::uint16_t>(d.bits() & 0x83FF);
        const int exponent = d.pick_signed(std::max(low, -15), std::min(high, 15));
        half = static_cast<std::uint16_t>(half | (exponent + 15) << 10);
        arena.image.store(to, d.once_in(16) ? std::uint16_t{0} : half);
        break;
      }
    }
  }
}

namespace {

// Exponents of the operands: a narrow range most times, all that the type has (without overflow
// of an fp32 sum) sometimes.
void fill_operands(Draw& d, Arena& arena, std::uint32_t iova, std::size_t bytes, Type type) {
  if (type == Type::fp16 && d.once_in(3)) return fill(d, arena, iova, bytes, type, -15, 15);
  if (type != Type::fp16 && d.once_in(3)) return fill(d, arena, iova, bytes, type, -40, 40);
  if (type != Type::fp16 && d.once_in(8)) return fill(d, arena, iova, bytes, type, -90, -55);
  const int middle = d.pick_signed(-4, 4);
  fill(d, arena, iova, bytes, type, middle - 4, middle + 4);
}

// Neighbours that cancel each other: what is left of a group is far below its largest products.
void cancel(Draw& d, Arena& arena, std::uint32_t iova, std::size_t bytes, Type type, bool negate) {
  const std::uint32_t size = facts(type).bits / 8;
  for (std::uint32_t at = 0; at + 2 * size <= bytes; at += 2 * size) {
    if (d.once_in(4)) continue;
    std::uint8_t* pair = arena.image.at(iova + at);
    std::copy(pair, pair + size, pair + size);
    if (negate) pair[2 * size - 1] ^= 0x80;
  }
}

Relu draw_relu(Draw& d, bool real) {
  Relu relu;
  relu.on = d.once_in(4);
  relu.limited = d.once_in(2);
  relu.limit = real ? std::bit_cast<std::uint32_t>(std::abs(d.real(-3, 6)))
                    : static_cast<std::uint32_t>(d.int32_any());
  return relu;
}

void draw_window(Draw& d, ConvSpec& s, const ConvLimits& limits) {
  const TypeFacts f = facts(s.type);
  const bool point = d.once_in(3);
  s.in_width = s.row_major ? 1 : d.pick(1, limits.side);
  s.in_height = d.pick(1, limits.side);
  s.kernel_width = point || s.row_major ? 1 : d.pick(1, d.once_in(8) ? 11 : 4);
  s.kernel_height = point ? 1 : d.pick(1, d.once_in(8) ? 11 : 4);
  s.stride_x = d.once_in(2) ? 1 : d.pick(1, 7);
  s.stride_y = d.once_in(2) ? 1 : d.pick(1, 7);
  s.dilation_x = d.once_in(4) ? d.pick(2, 5) : 1;
  s.dilation_y = d.once_in(4) ? d.pick(2, 5) : 1;
  s.pad_left = d.once_in(2) ? 0 : d.pick(0, d.once_in(6) ? 15 : s.kernel_width);
  s.pad_top = d.once_in(2) ? 0 : d.pick(0, d.once_in(6) ? 15 : s.kernel_height);
  s.channels = f.atom() * d.pick(1, std::max(1u, limits.channels / f.atom()));
  s.kernels = s.depthwise ? 1 : d.pick(1, limits.kernels);
  // Right and bottom padding have no register: the number of windows says it.
  const auto windows = [&](std::uint32_t in, std::uint32_t pad, std::uint32_t kernel,
                           std::uint32_t dilation, std::uint32_t stride) {
    const std::uint32_t extent = (kernel - 1) * dilation + 1, after = d.pick(0, kernel);
    return in + pad + after < extent ? 1 : (in + pad + after - extent) / stride + 1;
  };
  s.out_width = windows(s.in_width, s.pad_left, s.kernel_width, s.dilation_x, s.stride_x);
  s.out_height = windows(s.in_height, s.pad_top, s.kernel_height, s.dilation_y, s.stride_y);
  s.out_channels = d.pick(1, s.depthwise ? s.channels : s.kernels);
  if (d.once_in(2)) s.out_channels = s.depthwise ? s.channels : s.kernels;
}

void draw_inputs(Draw& d, Arena& arena, ConvSpec& s) {
  const TypeFacts f = facts(s.type);
  if (s.pixels) {
    s.line = s.in_width + d.pick(0, 9);
    s.features = arena.reserve(std::size_t{s.line} * s.in_height);
  } else if (s.row_major) {
    s.line = s.channels * f.bits / 8 + 16 * d.pick(0, 2);
    s.features = arena.reserve(std::size_t{s.line} * s.in_height);
  } else {
    s.line = (s.in_width + d.pick(0, 2)) * 16;
    s.plane = s.line * s.in_height + 16 * d.pick(0, 3);
    s.features = arena.reserve(std::size_t{s.plane} * (s.channels / f.atom()));
  }
  const std::size_t weight_bytes =
      std::size_t{s.kernel_width} * s.kernel_height * s.channels * s.kernels * f.bits / 8;
  s.weights = arena.reserve(weight_bytes);
  if (is_real(s.type)) {
    const std::size_t bytes = s.row_major ? std::size_t{s.line} * s.in_height
                                          : std::size_t{s.plane} * (s.channels / f.atom());
    fill_operands(d, arena, s.features, bytes, s.type);
    fill_operands(d, arena, s.weights, weight_bytes, s.type);
    if (d.once_in(3)) {
      cancel(d, arena, s.features, bytes, s.type, true);
      cancel(d, arena, s.weights, weight_bytes, s.type, false);
    }
  }
  switch (s.type) {
    case Type::int8:
    case Type::int4:
    case Type::int16: s.pad_word = static_cast<std::uint32_t>(d.bits()); break;
    case Type::fp16: s.pad_word = d.pick(0, 0x5000) | (d.once_in(2) ? 0x8000 : 0); break;
    case Type::bf16: s.pad_word = std::bit_cast<std::uint32_t>(d.real(-10, 10)) >> 16; break;
    case Type::tf32: s.pad_word = std::bit_cast<std::uint32_t>(d.real(-10, 10)); break;
  }
}

void draw_float_stages(Draw& d, ConvSpec& s) {
  s.bs_alu_operand = std::bit_cast<std::uint32_t>(d.real(-6, 6));
  s.bs_mul = !s.bs_bypass && d.once_in(4);
  s.bs_mul_operand = d.pick_signed(0x3000, 0x4800);
  s.bn_mul_operand = static_cast<std::uint16_t>(d.pick(0x3000, 0x4800) | d.pick(0, 1) << 15);
  s.bn_alu_operand = std::bit_cast<std::uint32_t>(d.real(-6, 6));
  s.scale = d.pick_signed(0, 1);
  if (d.once_in(5)) {  // as table programs have it: a float from a number with a binary point
    s.add_first = true;
    s.offset = d.pick_signed(-100, 100);
    s.scale = d.pick_signed(-8, 8);
    s.minus_exp = d.pick(0, 15);
  }
}

void draw_integer_stages(Draw& d, ConvSpec& s) {
  s.qd = !d.once_in(4);
  s.od_bypass = d.once_in(6) || s.od_bypass;
  s.ow = d.once_in(3) ? 0 : d.once_in(4) ? d.pick_signed(-32768, 32767) : d.pick_signed(-128, 127);
  if (!s.qd && !s.od_bypass) s.ow = 0;
  s.ow_memory = s.qd && !s.od_bypass && !s.pixels && d.once_in(6);
  s.truncate = d.once_in(4) ? d.pick(1, d.once_in(4) ? 31 : 6) : 0;
  s.truncate_up = d.once_in(2);
  s.bs_alu_operand = static_cast<std::uint32_t>(d.int32_any());
  s.bs_mul = d.once_in(3);
  s.bs_mul_memory = s.bs_mul && d.once_in(2);
  s.bs_mul_operand = d.pick_signed(-32768, 32767);
  s.bn_mul_operand = static_cast<std::uint16_t>(d.bits());
  s.bn_alu_operand = static_cast<std::uint32_t>(d.int32_any());
  s.bn_shift = d.pick(0, d.once_in(6) ? 63 : 20);
  s.bn_shift_negative = d.once_in(2) ? s.bn_shift : d.pick(0, 20);
  s.bs_shift = d.pick(0, d.once_in(6) ? 63 : 20);
  s.bs_shift_negative = d.once_in(2) ? s.bs_shift : d.pick(0, 20);
  if (d.once_in(4)) return;  // OUT_CVT as it is after a raw program
  s.scale = d.once_in(6) ? d.pick_signed(-32768, 32767) : d.pick_signed(1, 32767);
  s.shift = d.pick(0, d.once_in(6) ? 63 : 30);
  s.offset = d.once_in(6) ? d.int32_any() : d.pick_signed(-128, 127);
  s.add_first = d.once_in(3);
  s.away = d.once_in(3);
}

}  // namespace

void draw_stages(Draw& d, Arena& arena, ConvSpec& s) {
  const bool real = is_real(s.type);
  s.bs_bypass = d.once_in(4);
  s.bs_alu = !s.bs_bypass && !d.once_in(3);
  s.bs_minus = d.once_in(3);
  s.bs_alu_memory = s.bs_alu && d.once_in(2);
  s.bn_mul = d.once_in(4);
  s.bn_alu = d.once_in(4);
  s.bn_minus = d.once_in(3);
  s.bs_prelu = d.once_in(3);
  s.bn_prelu = d.once_in(3);
  if (real)
    draw_float_stages(d, s);
  else
    draw_integer_stages(d, s);
  if (s.type == Type::int16) {  // nothing of the kind has run
    s.ow = 0;
    s.ow_memory = false;
    s.truncate = 0;
  }
  if (s.bs_bypass) s.bs_mul = s.bs_mul_memory = false;
  s.bs_relu = s.bs_bypass ? Relu{} : draw_relu(d, real);
  s.bn_relu = draw_relu(d, real);
  s.ew_relu = draw_relu(d, real);
  if (s.reads_stream()) {
    const std::uint32_t groups = (s.out_channels + 7) / 8;
    s.stream = arena.reserve(std::size_t{groups} * (s.dense_stream() ? 32 : 64));
    if (real)
      fill(d, arena, s.stream, std::size_t{groups} * 32, Type::tf32, -6, 6);
    else if (!d.once_in(4))
      for (std::uint32_t i = 0; i < groups * 8; ++i)  // in the range that sums have
        arena.image.store(s.stream + i / 8 * (s.dense_stream() ? 32 : 64) + i % 8 * 4,
                          d.pick_signed(-100000, 100000));
  }
  // The addend has 16 bytes per position and plane; smaller planes mis-stride on boards.
  if ((s.type == Type::int8 || s.type == Type::fp16) && s.out_width * s.out_height >= 12 &&
      d.once_in(3)) {
    s.ew = true;
    const std::uint32_t planes = (s.out_channels + facts(s.type).atom() - 1) / facts(s.type).atom();
    const std::size_t bytes = std::size_t{s.out_width} * s.out_height * 16 * planes;
    s.addend = arena.reserve(bytes);
    if (real) {
      fill(d, arena, s.addend, bytes, Type::fp16, -8, 8);
      s.ew_algo = d.one_of({0u, 1u, 2u, 4u});
      s.ew_multiply = d.once_in(4);
      s.ew_convert = !s.ew_multiply;  // the other way hangs, or spoils half of the lanes
    } else {
      s.ew_convert = !d.once_in(4);
      s.ew_add_first = d.once_in(2);
      s.ew_up = d.once_in(2);
      s.ew_offset = d.once_in(4) ? d.int32_any() : d.pick_signed(-128, 127);
      s.ew_scale = d.pick_signed(-32768, 32767);
      s.ew_shift = d.pick(0, d.once_in(6) ? 63 : 12);
    }
  }
}

void draw_output(Draw& d, Arena& arena, ConvSpec& s) {
  if (is_real(s.type))
    s.out = d.once_in(2) ? kOutFp16 : kOutFp32;
  else if (s.type == Type::int4)
    s.out = d.once_in(3) ? kOutFp32 : kOutInt16;
  else if (s.type == Type::int16)
    s.out = kOutInt32;
  else
    s.out = d.one_of({kOutInt8, kOutInt8, kOutInt32, kOutFp32, kOutFp16});
  if (s.type == Type::int8 && !s.depthwise && s.out == kOutInt32)
    s.od_bypass = true;  // clear, the sums are wrong on boards
  // SIZE_E has 3 bits: 8 surfaces are the most that a group gets.
  s.size_e = std::min(8u, s.group_planes()) - 1;
  if (d.once_in(8)) s.size_e = d.pick(0, s.size_e);
  const std::uint32_t groups = (s.out_channels + s.group() - 1) / s.group();
  if (d.once_in(3)) {
    // Planes side by side in each row: what row-major GEMM programs use.
    const std::uint32_t planes = groups * s.group_planes();
    s.dst_plane = s.out_width * 16;
    s.dst_group = s.group_planes() * s.dst_plane;
    s.dst_notch = (planes - 1) * s.out_width + d.pick(0, 2);
    s.dst = arena.reserve(std::size_t{s.out_height} * (s.out_width + s.dst_notch) * 16);
  } else {
    s.dst_notch = d.once_in(3) ? d.pick(1, 3) : 0;
    s.dst_plane =
        (s.out_height * (s.out_width + s.dst_notch) + (d.once_in(3) ? d.pick(1, 4) : 0)) * 16;
    s.dst_group = s.group_planes() * s.dst_plane + (d.once_in(3) ? 16 * d.pick(1, 4) : 0);
    s.dst = arena.reserve(std::size_t{s.dst_group} * groups);
  }
}

ConvSpec draw_conv(Draw& d, Arena& arena, Type type, const ConvLimits& limits) {
  ConvSpec s;
  s.type = type;
  const TypeFacts f = facts(type);
  s.depthwise = f.depthwise_group != 0 && d.once_in(4);
  s.pixels = type == Type::int8 && !s.depthwise && d.once_in(6);
  s.row_major = !s.pixels && d.once_in(6);
  draw_window(d, s, limits);
  if (s.pixels) s.channels = 16;
  draw_inputs(d, arena, s);
  draw_output(d, arena, s);
  if (limits.stages) draw_stages(d, arena, s);
  if (s.pixels) {
    s.cvt_scale = d.pick_signed(-32768, 32767);
    s.cvt_shift = d.pick(0, d.once_in(4) ? 63 : 16);
    s.cvt_offset = d.once_in(4) ? d.pick_signed(-32768, 32767) : d.pick_signed(-128, 127);
    s.cvt_round = d.pick(0, 1);
    // The value of the 15 lanes that no pixel feeds is not known: their weights cancel it.
    if (s.ow < -127 || s.ow > 128) s.ow = 0;
    const std::uint32_t ow = s.qd && !s.od_bypass ? static_cast<std::uint32_t>(s.ow) : 0;
    const std::uint32_t count = s.kernel_width * s.kernel_height * 16 * s.kernels;
    for (std::uint32_t i = 0; i < count; ++i)  // one block of 16 channels: the lane is i % 16
      if (i % 16 != 0) arena.image.store(s.weights + i, static_cast<std::uint8_t>(0 - ow));
  }
  return s;
}

std::string describe(const ConvSpec& s) {
  const char* names[] = {"int8", "int4", "int16", "fp16", "bf16", "tf32"};
  return fmt::format(
      "{}{}{}{} {}x{}x{} -> {}x{}x{} of {} kernels {}x{}, stride {},{} dilation {},{} pad {},{} "
      "({:#x}), out {} size_e {}{}{}; ow {}{}{} truncate {}; BS {} alu {} mul {}; BN mul {} alu "
      "{}; EW {} algo {} mul {}; relu {}{}{}; OUT_CVT {} >> {} + {} {}",
      names[static_cast<int>(s.type)], s.depthwise ? " depthwise" : "", s.pixels ? " pixels" : "",
      s.row_major ? " row-major" : "", s.in_height, s.in_width, s.channels, s.out_height,
      s.out_width, s.out_channels, s.kernels, s.kernel_height, s.kernel_width, s.stride_y,
      s.stride_x, s.dilation_y, s.dilation_x, s.pad_top, s.pad_left, s.pad_word, s.out, s.size_e,
      s.data_reuse ? ", data reuse" : "", s.weight_reuse ? ", weight reuse" : "", s.ow,
      s.qd ? "" : " (QD off)", s.od_bypass ? " (bypassed)" : "", s.truncate, !s.bs_bypass, s.bs_alu,
      s.bs_mul, s.bn_mul, s.bn_alu, s.ew, s.ew_algo, s.ew_multiply, s.bs_relu.on, s.bn_relu.on,
      s.ew_relu.on, s.scale, s.shift, s.offset, s.add_first ? "(add first)" : "");
}

}  // namespace npu::sim::property
