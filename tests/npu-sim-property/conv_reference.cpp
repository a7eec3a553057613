// SPDX-License-Identifier: MIT
// What a convolution task must do to memory: nested loops over the layouts of compute.md 2.2 and
// 3, sums without rounding, then the stages in the order CORE, BS, BN, EW, OUT_CVT.
#include <algorithm>
#include <bit>
#include <cmath>

#include "conv_spec.hpp"
#include "plain.hpp"

namespace npu::sim::property {
namespace {

int nibble(std::uint8_t byte, std::uint32_t index) {
  const int v = byte >> (index % 2 * 4) & 15;
  return v >= 8 ? v - 16 : v;
}

// Element `index` of a run of elements that starts at `iova`.
double element(const Image& m, Type type, std::uint64_t iova, std::uint64_t index) {
  switch (type) {
    case Type::int8: return m.load<std::int8_t>(iova + index);
    case Type::int4:
      return nibble(m.load<std::uint8_t>(iova + index / 2), static_cast<std::uint32_t>(index));
    case Type::int16: return m.load<std::int16_t>(iova + index * 2);
    case Type::fp16: return fp16_value(m.load<std::uint16_t>(iova + index * 2));
    case Type::bf16: return bf16_value(m.load<std::uint16_t>(iova + index * 2));
    case Type::tf32: return tf32_value(m.load<float>(iova + index * 4));
  }
  return 0;
}

double padding(const ConvSpec& s) {
  switch (s.type) {
    case Type::int8: return static_cast<std::int8_t>(s.pad_word);
    case Type::int4: return nibble(static_cast<std::uint8_t>(s.pad_word), 0);
    case Type::int16: return static_cast<std::int16_t>(s.pad_word);
    case Type::fp16: return fp16_value(static_cast<std::uint16_t>(s.pad_word));
    case Type::bf16: return bf16_value(static_cast<std::uint16_t>(s.pad_word));
    case Type::tf32: return tf32_value(std::bit_cast<float>(s.pad_word));
  }
  return 0;
}

// Input under tap (ky, kx) of the window at (y, x).
double input(const ConvSpec& s, const Image& m, std::uint64_t base, std::uint32_t c,
             std::uint32_t y, std::uint32_t x, std::uint32_t ky, std::uint32_t kx) {
  const std::int64_t iy = std::int64_t{y} * s.stride_y + ky * s.dilation_y - s.pad_top;
  const std::int64_t ix = std::int64_t{x} * s.stride_x + kx * s.dilation_x - s.pad_left;
  if (iy < 0 || ix < 0 || iy >= s.in_height || ix >= s.in_width) return padding(s);
  const auto row = static_cast<std::uint64_t>(iy), column = static_cast<std::uint64_t>(ix);
  if (s.pixels) {
    if (c != 0) return 0;
    const Wide pixel = m.load<std::uint8_t>(base + row * s.line + column);
    const Tie tie = s.cvt_round != 0 ? Tie::up : Tie::even;
    return static_cast<double>(
        clamp_bits(shift_right(pixel * s.cvt_scale, s.cvt_shift, tie) + s.cvt_offset, 8));
  }
  if (s.row_major) return element(m, s.type, base + row * s.line, c);
  const std::uint32_t atom = facts(s.type).atom();
  return element(m, s.type, base + std::uint64_t{c / atom} * s.plane + row * s.line + column * 16,
                 c % atom);
}

// Index of a weight in the stream; the last blocks are as small as what is left.
std::uint64_t weight_index(const ConvSpec& s, std::uint32_t o, std::uint32_t c, std::uint32_t ky,
                           std::uint32_t kx) {
  const TypeFacts f = facts(s.type);
  const std::uint64_t taps = s.kernel_width * s.kernel_height, tap = ky * s.kernel_width + kx;
  const std::uint32_t wide = s.depthwise ? f.depthwise_group : f.channel_group;
  const std::uint32_t c_first = c / wide * wide, c_count = std::min(wide, s.channels - c_first);
  if (s.depthwise) return c_first * taps + tap * c_count + (c - c_first);
  const std::uint32_t o_first = o / f.kernel_group * f.kernel_group;
  const std::uint32_t o_count = std::min(f.kernel_group, s.kernels - o_first);
  return o_first * taps * s.channels + (c_first * taps + tap * c_count) * o_count +
         std::uint64_t{o - o_first} * c_count + (c - c_first);
}

struct Loaded {
  const Image& features;
  const Image& weights;
  std::uint64_t feature_address, weight_address;
};

double weight(const ConvSpec& s, const Loaded& in, std::uint32_t o, std::uint32_t c,
              std::uint32_t ky, std::uint32_t kx) {
  return element(in.weights, s.type, in.weight_address, weight_index(s, o, c, ky, kx));
}

std::uint64_t addend_address(const ConvSpec& s, std::uint32_t o, std::uint32_t y, std::uint32_t x) {
  const std::uint32_t atom = facts(s.type).atom();
  return s.addend + ((std::uint64_t{o / atom} * s.out_height + y) * s.out_width + x) * 16 +
         o % atom * (16 / atom);
}

Wide apply(const Relu& relu, Wide v) {
  if (!relu.on) return v;
  v = std::max<Wide>(v, 0);
  return relu.limited ? std::min<Wide>(v, static_cast<std::int32_t>(relu.limit)) : v;
}

float apply(const Relu& relu, float v) {
  if (!relu.on) return v;
  if (v < 0) v = 0;
  const auto limit = std::bit_cast<float>(relu.limit);
  return relu.limited && v > limit ? limit : v;
}

Wide product(Wide v, Wide factor, std::uint32_t shift, std::uint32_t shift_negative, bool prelu) {
  if (prelu && v >= 0) return v;
  v *= factor;
  return shift_right(v, v < 0 ? shift_negative : shift, Tie::even);
}

Wide integer_result(const ConvSpec& s, const Image& m, const Loaded& in, std::uint32_t o,
                    std::uint32_t y, std::uint32_t x) {
  Wide sum = 0, window = 0;
  const std::uint32_t first = s.depthwise ? o : 0, last = s.depthwise ? o + 1 : s.channels;
  for (std::uint32_t ky = 0; ky < s.kernel_height; ++ky)
    for (std::uint32_t kx = 0; kx < s.kernel_width; ++kx)
      for (std::uint32_t c = first; c < last; ++c) {
        const auto v =
            static_cast<std::int64_t>(input(s, in.features, in.feature_address, c, y, x, ky, kx));
        sum += v * static_cast<std::int64_t>(weight(s, in, o, c, ky, kx));
        window += v;
      }
  const std::uint64_t record = s.stream + std::uint64_t{o / 8} * 64 + o % 8 * 2;
  if (s.qd && !s.od_bypass)
    sum += window * (s.ow_memory ? m.load<std::int16_t>(record + 32) : s.ow);
  Wide v = clamp_bits(shift_right(sum, s.truncate, s.truncate_up ? Tie::up : Tie::even), 32);
  if (s.bs_alu) {
    Wide operand = static_cast<std::int32_t>(s.bs_alu_operand);
    if (s.bs_alu_memory)
      operand = m.load<std::int32_t>(s.dense_stream() ? s.stream + o * 4
                                                      : s.stream + o / 8 * 64 + o % 8 * 4);
    v += s.bs_minus ? -operand : operand;
  }
  if (s.bs_mul)
    v = product(v, s.bs_mul_memory ? m.load<std::int16_t>(record + 48) : s.bs_mul_operand,
                s.bs_shift, s.bs_shift_negative, s.bs_prelu);
  v = clamp_bits(v, 32);
  v = apply(s.bs_relu, v);
  // BN multiplies first, by an unsigned number [notes out-cvt-converter, HW].
  // Product, addend, shift [iree-rocket activation.rs, vendor programs].
  const bool multiplies = s.bn_mul && (!s.bn_prelu || v < 0);
  if (multiplies) v *= s.bn_mul_operand;
  if (s.bn_alu) {
    const Wide operand = static_cast<std::int32_t>(s.bn_alu_operand);
    v += s.bn_minus ? -operand : operand;
  }
  if (multiplies) v = shift_right(v, v >= 0 ? s.bn_shift : s.bn_shift_negative, Tie::even);
  v = clamp_bits(v, 32);
  v = apply(s.bn_relu, v);
  if (s.ew) {
    Wide e = m.load<std::int8_t>(addend_address(s, o, y, x));
    const Tie tie = s.ew_up ? Tie::up : Tie::even;
    if (s.ew_convert)
      e = s.ew_add_first ? shift_right((e + s.ew_offset) * s.ew_scale, s.ew_shift, tie)
                         : shift_right(e * s.ew_scale, s.ew_shift, tie) + s.ew_offset;
    v = clamp_bits(v + e, 32);
  }
  v = apply(s.ew_relu, v);
  const Tie tie = s.away ? Tie::away : Tie::even;
  return s.add_first ? shift_right((v + s.offset) * s.scale, s.shift, tie)
                     : shift_right(v * s.scale, s.shift, tie) + s.offset;
}

// Sums of aligned groups of K, each rounded once, added in the order of the weight stream: blocks
// of channels, then taps [notes chips/rk3588, HW, for one tap]. Depthwise: one sum of all taps.
float float_sum(const ConvSpec& s, const Loaded& in, std::uint32_t o, std::uint32_t y,
                std::uint32_t x) {
  const std::uint32_t block = facts(s.type).channel_group;
  float total = 0;
  ExactSum window;
  for (std::uint32_t first = 0; first < (s.depthwise ? 1 : s.channels); first += block)
    for (std::uint32_t ky = 0; ky < s.kernel_height; ++ky)
      for (std::uint32_t kx = 0; kx < s.kernel_width; ++kx) {
        if (s.depthwise) {
          window.add(input(s, in.features, in.feature_address, o, y, x, ky, kx),
                     weight(s, in, o, o, ky, kx));
          continue;
        }
        ExactSum sum;
        for (std::uint32_t c = first; c < std::min(s.channels, first + block); ++c)
          sum.add(input(s, in.features, in.feature_address, c, y, x, ky, kx),
                  weight(s, in, o, c, ky, kx));
        total += sum.rounded();
      }
  return s.depthwise ? window.rounded() : total;
}

float float_result(const ConvSpec& s, const Image& m, const Loaded& in, std::uint32_t o,
                   std::uint32_t y, std::uint32_t x) {
  float v = float_sum(s, in, o, y, x);
  if (s.bs_alu) {
    const float operand =
        s.bs_alu_memory ? m.load<float>(s.stream + o * 4) : std::bit_cast<float>(s.bs_alu_operand);
    v = s.bs_minus ? v - operand : v + operand;
  }
  if (s.bs_mul && (!s.bs_prelu || v < 0))
    v *= static_cast<float>(fp16_value(static_cast<std::uint16_t>(s.bs_mul_operand)));
  v = apply(s.bs_relu, v);
  if (s.bn_mul && (!s.bn_prelu || v < 0)) v *= static_cast<float>(fp16_value(s.bn_mul_operand));
  if (s.bn_alu) {
    const auto operand = std::bit_cast<float>(s.bn_alu_operand);
    v = s.bn_minus ? v - operand : v + operand;
  }
  v = apply(s.bn_relu, v);
  if (s.ew) {
    const auto e =
        static_cast<float>(fp16_value(m.load<std::uint16_t>(addend_address(s, o, y, x))));
    if (s.ew_multiply)
      v *= e;
    else if (s.ew_algo == 0)
      v = v < e ? e : v;  // of equal numbers (zeros) the main operand
    else if (s.ew_algo == 1)
      v = e < v ? e : v;
    else
      v = s.ew_algo == 2 ? v + e : v - e;
  }
  v = apply(s.ew_relu, v);
  if (s.add_first) {
    v += static_cast<float>(s.offset);
    v *= static_cast<float>(s.scale);
    v = std::ldexp(v, -static_cast<int>(s.minus_exp));
  }
  return v;
}

}  // namespace

void conv_effect(const ConvSpec& s, Image& m, PlainCbuf& cbuf) {
  const auto before = std::make_shared<const Image>(m);
  if (!s.data_reuse) {
    cbuf.features = before;
    cbuf.feature_address = s.features;
  }
  if (!s.weight_reuse) {
    cbuf.weights = before;
    cbuf.weight_address = s.weights;
  }
  const Loaded in{*cbuf.features, *cbuf.weights, cbuf.feature_address, cbuf.weight_address};
  const std::uint32_t bytes = out_bytes(s.out), atom = 16 / bytes;
  for (std::uint32_t plane = 0; plane * atom < s.out_channels; ++plane) {
    if (plane % s.group_planes() > s.size_e) continue;  // not among the surfaces that are written
    for (std::uint32_t y = 0; y < s.out_height; ++y)
      for (std::uint32_t x = 0; x < s.out_width; ++x) {
        const std::uint64_t to = s.dst + std::uint64_t{plane / s.group_planes()} * s.dst_group +
                                 plane % s.group_planes() * s.dst_plane +
                                 (std::uint64_t{y} * (s.out_width + s.dst_notch) + x) * 16;
        for (std::uint32_t lane = 0; lane < atom; ++lane) {
          const std::uint32_t o = plane * atom + lane;
          const bool real = o < s.out_channels;  // lanes beyond the last channel are 0
          if (is_real(s.type)) {
            const float v = real ? float_result(s, *before, in, o, y, x) : 0;
            if (s.out == kOutFp16)
              m.store(to + lane * 2, fp16_bits(static_cast<double>(v)));
            else
              m.store(to + lane * 4, v);
            continue;
          }
          const Wide v = real ? integer_result(s, *before, in, o, y, x) : 0;
          switch (s.out) {
            case kOutInt8: m.store(to + lane, static_cast<std::int8_t>(clamp_bits(v, 8))); break;
            case kOutInt16:
              m.store(to + lane * 2, static_cast<std::int16_t>(clamp_bits(v, 16)));
              break;
            case kOutFp16:  // of the number as an fp32
              m.store(to + lane * 2,
                      fp16_bits(static_cast<double>(static_cast<float>(clamp_bits(v, 32)))));
              break;
            case kOutInt32:
              m.store(to + lane * 4, static_cast<std::int32_t>(clamp_bits(v, 32)));
              break;
            default: m.store(to + lane * 4, static_cast<float>(clamp_bits(v, 32)));
          }
        }
      }
  }
}

}  // namespace npu::sim::property
