// SPDX-License-Identifier: MIT
// Order and arithmetic of the stages: compute.md 5.3 to 5.5, 5.10; tie rules and sign handling as
// swept on a board [notes encodings/out-cvt-converter.md].
#include "npu-sim/dpu.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "npu-sim/fault.hpp"
#include "npu-sim/float_types.hpp"
#include "npu-sim/overlap.hpp"
#include "npu-sim/rounding.hpp"

namespace npu::sim {
namespace {

constexpr std::uint32_t kStrip = kDpuStrip;

const std::byte* stream(const AddressSpace& space, std::uint64_t address, std::size_t bytes,
                        std::vector<std::byte>& scratch, const char* where) {
  if (const auto view = space.resolve(address, bytes); !view.empty()) return view.data();
  std::uint64_t bad = 0;
  scratch.resize(bytes);
  if (!space.read(address, scratch.data(), bytes, &bad)) dma_fault(FaultKind::dma_read, where, bad);
  return scratch.data();
}

// Where the transposer puts an element, in units of 16 bits [notes output-transpose-int16, HW].
std::size_t transposed_slot(std::size_t height, std::size_t y, std::size_t channel) {
  return 4 * y + channel / 4 % 4 + channel / 16 * 4 * height + channel % 4 * 16 * height;
}

// x * operand >> shift in integer arithmetic; the shift goes by the sign of the product.
void multiply(std::int64_t& v, std::int64_t operand, std::uint32_t shift,
              std::uint32_t shift_negative, bool prelu) {
  if (prelu && v >= 0) return;
  const std::int64_t product = v * operand;
  v = round_shift(product, product >= 0 ? shift : shift_negative, TieRule::half_even);
}

void relu(std::int64_t* v, std::uint32_t count, bool limited, std::int32_t limit) {
  for (std::uint32_t i = 0; i < count; ++i) v[i] = std::max<std::int64_t>(v[i], 0);
  if (limited)
    for (std::uint32_t i = 0; i < count; ++i) v[i] = std::min<std::int64_t>(v[i], limit);
}

}  // namespace

Dpu::Dpu(const ConvConfig& config, const AddressSpace& space, const Quirks& quirks)
    : config_(config), quirks_(quirks) {
  const BsStage& bs = config.bs;
  const std::uint32_t channels = config.out_channels;
  atom_channels_ = 16 / bytes_of(config.out_type);
  add_window_ = config.add_ow && (config.ow_op != 0 || bs.ow_from_memory);

  std::vector<std::byte> scratch;
  if (bs.reads_stream) {
    if (bs.stream_is_vector) {
      const std::byte* in = stream(space, bs.stream, std::size_t{channels} * 4, scratch,
                                   "DPU_RDMA.RDMA_BS_BASE_ADDR");
      bias_.resize(channels);
      std::memcpy(bias_.data(), in, std::size_t{channels} * 4);
    } else {
      // 64 bytes per 8 channels: int32 ALU[8], int16 CPEND[8], int16 MUL[8].
      const std::size_t groups = (channels + 7) / 8;
      const std::byte* in =
          stream(space, bs.stream, groups * 64, scratch, "DPU_RDMA.RDMA_BS_BASE_ADDR");
      bias_.resize(groups * 8);
      ow_.resize(groups * 8);
      mul_.resize(groups * 8);
      for (std::size_t g = 0; g < groups; ++g, in += 64) {
        std::int16_t shorts[16];
        std::memcpy(bias_.data() + g * 8, in, 32);
        std::memcpy(shorts, in + 32, 32);
        std::copy(shorts, shorts + 8, ow_.data() + g * 8);
        std::copy(shorts + 8, shorts + 16, mul_.data() + g * 8);
      }
    }
  }

  resolve_output(space);
  if (config.ew.active) resolve_operand(space);

  const BnStage& bn = config.bn;
  raw_ = !add_window_ && config.truncate == 0 && !bs.alu && !bs.mul && !bs.relu && !bn.mul &&
         !bn.alu && !bn.relu && !config.transposed && !first_only_ && !config.ew.active &&
         !config.ew.relu && config.out_cvt.scale == 1 && config.out_cvt.shift == 0 &&
         config.out_cvt.offset == 0 && config.out_type == OutputType::int32;

  if (is_float(config.shape.precision)) return;
  lanes_ = integer_lanes(config, quirks, add_window_);
  if (!lanes_) return;
  const std::size_t whole = (channels + kStrip - 1) / kStrip * kStrip;
  lane_alu_.resize(whole);
  lane_mul_.resize(whole);
  lane_ow_.resize(whole);
  for (std::uint32_t c = 0; c < channels; ++c) {
    const double alu = bs.alu_from_memory ? bias_[c] : bs.alu_operand;
    if (bs.alu) lane_alu_[c] = bs.alu_minus ? -alu : alu;
    if (bs.mul) lane_mul_[c] = bs.mul_from_memory ? mul_[c] : bs.mul_operand;
    if (add_window_) lane_ow_[c] = bs.ow_from_memory ? ow_[c] : config.ow_op;
  }
}

void Dpu::resolve_output(const AddressSpace& space) {
  const ConvShape& s = config_.shape;
  first_only_ = config_.late_hang && config_.late_hang->first_position_only;
  if (config_.transposed) {
    const std::size_t last =
        transposed_slot(s.out_height, s.out_height - 1, config_.out_channels - 1);
    const auto view = space.resolve_write(config_.dst, (last + 1) * sizeof(std::int16_t));
    if (view.empty()) dma_fault(FaultKind::dma_write, "DPU.DST_BASE_ADDR", config_.dst);
    transposed_ = view.data();
    return;
  }
  const std::uint32_t plane_count = (config_.out_channels + atom_channels_ - 1) / atom_channels_;
  const std::size_t plane_bytes =
      (std::size_t{s.out_height} - 1) * config_.dst_line + std::size_t{s.out_width} * 16;
  for (std::uint32_t plane = 0; plane < plane_count; ++plane) {
    if (plane % config_.group_planes >= config_.written_planes ||
        plane >= config_.whole_groups_planes || (first_only_ && plane >= config_.group_planes)) {
      planes_.push_back(nullptr);
      continue;
    }
    const std::uint64_t address = config_.surface(plane);
    const auto view = space.resolve_write(address, plane_bytes);
    if (view.empty()) {
      std::uint64_t bad = address;
      std::vector<std::byte> probe(std::min<std::size_t>(plane_bytes, 1 << 20));
      for (std::size_t at = 0; at < plane_bytes; at += probe.size())
        if (!space.read(address + at, probe.data(), std::min(probe.size(), plane_bytes - at), &bad))
          break;
      dma_fault(FaultKind::dma_write, "DPU.DST_BASE_ADDR", bad);
    }
    planes_.push_back(reinterpret_cast<std::uint8_t*>(view.data()));
  }
  overlaps_ = share_bytes(planes_, s.out_height, config_.dst_line, std::size_t{s.out_width} * 16);
}

void Dpu::resolve_operand(const AddressSpace& space) {
  const ConvShape& s = config_.shape;
  const EwStage& ew = config_.ew;
  const std::uint32_t atom = 128 / ew.operand_bits;
  const std::size_t bytes = std::size_t{s.out_width} * s.out_height * 16;
  for (std::uint32_t plane = 0; plane < (config_.out_channels + atom - 1) / atom; ++plane) {
    const std::uint64_t address = plane % 2 == 0 ? ew.even_planes + plane / 2 * ew.even_step
                                                 : ew.odd_planes + plane / 2 * ew.odd_step;
    const auto view = space.resolve(address, bytes);
    if (view.empty())
      dma_fault(FaultKind::dma_read,
                plane % 2 == 0 ? "DPU_RDMA.RDMA_SRC_BASE_ADDR" : "DPU_RDMA.RDMA_EW_BASE_ADDR",
                address);
    operand_.push_back(reinterpret_cast<const std::uint8_t*>(view.data()));
  }
  const std::size_t written =
      (std::size_t{s.out_height} - 1) * config_.dst_line + std::size_t{s.out_width} * 16;
  if (!touch(operand_, bytes, planes_, written)) return;
  // Read as a whole before the first write, whatever the order of the host's threads.
  operand_copy_.resize(bytes * operand_.size());
  for (std::size_t plane = 0; plane < operand_.size(); ++plane) {
    std::uint8_t* copy = operand_copy_.data() + plane * bytes;
    std::memcpy(copy, operand_[plane], bytes);
    operand_[plane] = copy;
  }
}

const std::uint8_t* Dpu::operand(std::uint32_t channel, std::uint32_t y, std::uint32_t x) const {
  const std::uint32_t bytes = config_.ew.operand_bits / 8, atom = 16 / bytes;
  return operand_[channel / atom] + y * config_.ew.line_stride + std::uint64_t{x} * 16 +
         channel % atom * bytes;
}

void Dpu::stages(std::uint32_t y, std::uint32_t x, std::uint32_t channel, std::uint32_t count,
                 std::int64_t* v) const {
  // CORE: shift out of the accumulator, saturate to the 32-bit lane.
  const TieRule truncate_rule =
      config_.truncate_half_up ? TieRule::half_up : quirks_.clip_truncate_tie;
  for (std::uint32_t i = 0; i < count; ++i)
    v[i] = saturate<std::int32_t>(round_shift(v[i], config_.truncate, truncate_rule));

  const BsStage& bs = config_.bs;
  if (bs.alu) {
    const std::int32_t* memory = bs.alu_from_memory ? bias_.data() + channel : nullptr;
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::int64_t a = memory != nullptr ? memory[i] : bs.alu_operand;
      v[i] += bs.alu_minus ? -a : a;
    }
  }
  if (bs.mul) {
    // The product is held wide; the shift goes by its sign [notes, HW].
    const std::int32_t* memory = bs.mul_from_memory ? mul_.data() + channel : nullptr;
    for (std::uint32_t i = 0; i < count; ++i)
      multiply(v[i], memory != nullptr ? memory[i] : bs.mul_operand, bs.mul_shift,
               bs.mul_shift_negative, bs.prelu);
  }
  if (bs.alu || bs.mul)
    for (std::uint32_t i = 0; i < count; ++i) v[i] = saturate<std::int32_t>(v[i]);
  if (bs.relu) relu(v, count, bs.relux, bs.relux_max);
  const BnStage& bn = config_.bn;
  // Product, addend, shift: the vendor's addend for a zero point is in units of the product
  // [iree-rocket activation.rs, vendor programs].
  const std::int64_t addend = bn.alu ? std::int64_t{static_cast<std::int32_t>(bn.alu_operand)} : 0;
  for (std::uint32_t i = 0; (bn.mul || bn.alu) && i < count; ++i) {
    const bool multiplies = bn.mul && (!bn.prelu || v[i] < 0);
    if (multiplies) v[i] *= bn.mul_operand;
    v[i] += bn.alu_minus ? -addend : addend;
    if (multiplies)
      v[i] =
          round_shift(v[i], v[i] >= 0 ? bn.mul_shift : bn.mul_shift_negative, TieRule::half_even);
  }
  if (bn.mul || bn.alu)
    for (std::uint32_t i = 0; i < count; ++i) v[i] = saturate<std::int32_t>(v[i]);
  if (bn.relu) relu(v, count, bn.relux, bn.relux_max);

  const EwStage& ew = config_.ew;
  if (ew.active) {
    const auto* e = reinterpret_cast<const std::int8_t*>(operand(channel, y, x));
    const TieRule rule = ew.half_up ? TieRule::half_up : quirks_.ew_cvt_tie;
    for (std::uint32_t i = 0; i < count; ++i) {
      std::int64_t operand = e[i];
      if (ew.convert)
        operand = ew.add_first ? round_shift((operand + ew.offset) * ew.scale, ew.shift, rule)
                               : round_shift(operand * ew.scale, ew.shift, rule) + ew.offset;
      switch (ew.op) {
        case EwOp::max: v[i] = std::max(v[i], operand); break;
        case EwOp::min: v[i] = std::min(v[i], operand); break;
        case EwOp::minus: v[i] -= operand; break;
        case EwOp::mul: v[i] *= static_cast<std::int16_t>(operand); break;
        case EwOp::add:
        case EwOp::div: v[i] += operand; break;  // division is not for integers
      }
      v[i] = saturate<std::int32_t>(v[i]);
    }
  }
  if (ew.relu) relu(v, count, ew.relux, ew.relux_max);

  const OutCvt& cvt = config_.out_cvt;
  const TieRule rule = cvt.half_away ? TieRule::half_away : quirks_.out_cvt_tie;
  for (std::uint32_t i = 0; i < count; ++i)
    v[i] = cvt.add_first ? round_shift((v[i] + cvt.offset) * cvt.scale, cvt.shift, rule)
                         : round_shift(v[i] * cvt.scale, cvt.shift, rule) + cvt.offset;
}

void Dpu::store(const SumBlock& block) const {
  const ConvShape& s = config_.shape;
  // Without gaps between the lines of the output and of the operand all positions are one run.
  const std::uint64_t line = std::uint64_t{s.out_width} * 16;
  const bool one_run =
      config_.dst_line == line && (!config_.ew.active || config_.ew.line_stride == line);
  for (std::size_t i = 0; i < block.count;) {
    const std::size_t position = block.first_position + i;
    const auto y = static_cast<std::uint32_t>(position / s.out_width);
    const auto x = static_cast<std::uint32_t>(position % s.out_width);
    const std::size_t run =
        one_run ? block.count : std::min<std::size_t>(block.count - i, s.out_width - x);
    store_run(block, i, run, y, x);
    i += run;
  }
}

// `count` positions of the block from `from` on, which lie side by side from (y, x) on.
void Dpu::store_run(const SumBlock& block, std::size_t from, std::size_t count, std::uint32_t y,
                    std::uint32_t x) const {
  const std::uint32_t end = std::min(config_.out_channels, block.first_channel + block.channels);
  for (std::uint32_t channel = block.first_channel; channel < end; channel += kStrip) {
    const std::uint32_t live = std::min(kStrip, end - channel);
    const std::size_t lane = channel - block.first_channel;
    const std::int32_t* sums = block.sums + from * block.stride + lane;
    if (raw_) {
      for (std::uint32_t i = 0; i < live; i += 4) {
        std::uint8_t* to = planes_[(channel + i) / 4];
        if (to == nullptr) continue;
        to += y * config_.dst_line + std::uint64_t{x} * 16;
        const std::size_t bytes = std::min(4u, live - i) * sizeof(std::int32_t);
        if (bytes == 16) {
          for (std::size_t p = 0; p < count; ++p)
            std::memcpy(to + p * 16, sums + p * block.stride + i, 16);
          continue;
        }
        for (std::size_t p = 0; p < count; ++p) {
          std::int32_t four[4] = {};
          std::memcpy(four, sums + p * block.stride + i, bytes);
          std::memcpy(to + p * 16, four, 16);
        }
      }
      continue;
    }
    const std::size_t window_stride = block.window_per_channel ? block.stride : 1;
    const std::int32_t* windows =
        add_window_ ? block.windows + from * window_stride + (block.window_per_channel ? lane : 0)
                    : nullptr;
    if (!lanes_) {
      for (std::size_t p = 0; p < count; ++p) {
        const std::size_t at = x + p;
        store_one(y + static_cast<std::uint32_t>(at / config_.shape.out_width),
                  static_cast<std::uint32_t>(at % config_.shape.out_width), channel, live,
                  sums + p * block.stride, add_window_ ? windows + p * window_stride : nullptr,
                  block.window_per_channel);
      }
      continue;
    }
    IntegerStrip strip{count,
                       sums,
                       block.stride,
                       windows,
                       window_stride,
                       block.window_per_channel,
                       lane_ow_.data() + channel,
                       lane_alu_.data() + channel,
                       lane_mul_.data() + channel,
                       nullptr};
    if (config_.ew.active)
      strip.operand = reinterpret_cast<const std::int8_t*>(operand(channel, y, x));
    if (config_.out_type == OutputType::int8) {
      std::uint8_t* to = planes_[channel / 16];
      if (to == nullptr) continue;
      to += y * config_.dst_line + std::uint64_t{x} * 16;
      run_integer_lanes(*lanes_, strip, reinterpret_cast<std::int8_t*>(to));
      // Elements of the last atom beyond the real channels are written as 0 (OFFSET_PEND).
      if (live < kStrip)
        for (std::size_t p = 0; p < count; ++p) std::memset(to + p * 16 + live, 0, kStrip - live);
      continue;
    }
    std::int32_t values[8 * kStrip];
    for (std::size_t p = 0; p < count; p += 8) {
      const std::size_t n = std::min<std::size_t>(8, count - p);
      IntegerStrip part = strip;
      part.positions = n;
      part.sums += p * block.stride;
      if (add_window_) part.windows += p * window_stride;
      if (part.operand != nullptr) part.operand += p * kStrip;
      run_integer_lanes(*lanes_, part, values);
      for (std::size_t i = 0; i < n; ++i) {
        const std::size_t at = x + p + i;
        put_integers(y + static_cast<std::uint32_t>(at / config_.shape.out_width),
                     static_cast<std::uint32_t>(at % config_.shape.out_width), channel, live,
                     values + i * kStrip);
      }
    }
  }
}

// One position, one strip, value by value: what every configuration can fall back to.
void Dpu::store_one(std::uint32_t y, std::uint32_t x, std::uint32_t channel, std::uint32_t count,
                    const std::int32_t* sums, const std::int32_t* windows,
                    bool window_per_channel) const {
  std::int64_t v[kStrip] = {};
  for (std::uint32_t i = 0; i < count; ++i) {
    v[i] = sums[i];
    if (!add_window_) continue;
    const std::int64_t ow = config_.bs.ow_from_memory ? ow_[channel + i] : config_.ow_op;
    v[i] += ow * (window_per_channel ? windows[i] : *windows);
  }
  stages(y, x, channel, count, v);
  std::int32_t values[kStrip] = {};
  for (std::uint32_t i = 0; i < count; ++i)
    values[i] = config_.out_type == OutputType::int8    ? saturate<std::int8_t>(v[i])
                : config_.out_type == OutputType::int16 ? saturate<std::int16_t>(v[i])
                                                        : saturate<std::int32_t>(v[i]);
  put_integers(y, x, channel, count, values);
}

// Values within the range of the output type to their atoms; lanes beyond `count` are written as 0
// (OFFSET_PEND).
void Dpu::put_integers(std::uint32_t y, std::uint32_t x, std::uint32_t channel, std::uint32_t count,
                       const std::int32_t* v) const {
  if (config_.transposed) {
    put_transposed(y, channel, count, v);
  } else if (config_.out_type == OutputType::int8) {
    std::int8_t out[kStrip] = {};
    for (std::uint32_t i = 0; i < count; ++i) out[i] = static_cast<std::int8_t>(v[i]);
    put(channel / 16, y, x, out);
  } else if (config_.out_type == OutputType::int16) {
    for (std::uint32_t i = 0; i < count; i += 8) {
      std::int16_t eight[8] = {};
      for (std::uint32_t j = 0; j < std::min(8u, count - i); ++j)
        eight[j] = static_cast<std::int16_t>(v[i + j]);
      put((channel + i) / 8, y, x, eight);
    }
  } else if (config_.out_type == OutputType::fp16) {
    for (std::uint32_t i = 0; i < count; i += 8) {
      std::uint16_t eight[8] = {};
      for (std::uint32_t j = 0; j < std::min(8u, count - i); ++j)
        eight[j] = float_to_fp16(static_cast<float>(v[i + j]));
      put((channel + i) / 8, y, x, eight);
    }
  } else {
    for (std::uint32_t i = 0; i < count; i += 4) {
      std::int32_t four[4] = {};
      for (std::uint32_t j = 0; j < std::min(4u, count - i); ++j) {
        four[j] = v[i + j];
        if (config_.out_type == OutputType::fp32) {
          const float value = static_cast<float>(four[j]);
          std::memcpy(&four[j], &value, sizeof value);
        }
      }
      put((channel + i) / 4, y, x, four);
    }
  }
}

void Dpu::put_transposed(std::uint32_t y, std::uint32_t channel, std::uint32_t count,
                         const std::int32_t* v) const {
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto low = static_cast<std::int16_t>(v[i]);  // of the 32-bit lane, not saturated
    std::memcpy(transposed_ + 2 * transposed_slot(config_.shape.out_height, y, channel + i), &low,
                sizeof low);
  }
}

void Dpu::float_stages(std::uint32_t y, std::uint32_t x, std::uint32_t channel, std::uint32_t count,
                       float* v) const {
  const auto clip = [&](bool limited, std::int32_t limit) {
    for (std::uint32_t i = 0; i < count; ++i) v[i] = std::max(v[i], 0.0f);
    if (limited)
      for (std::uint32_t i = 0; i < count; ++i) v[i] = std::min(v[i], std::bit_cast<float>(limit));
  };
  const BsStage& bs = config_.bs;
  if (bs.alu)
    for (std::uint32_t i = 0; i < count; ++i) {
      const float a =
          std::bit_cast<float>(bs.alu_from_memory ? bias_[channel + i] : bs.alu_operand);
      v[i] = bs.alu_minus ? v[i] - a : v[i] + a;
    }
  const auto multiply_float = [&](std::uint32_t bits, bool prelu) {
    const float operand = fp16_to_float(static_cast<std::uint16_t>(bits));
    for (std::uint32_t i = 0; i < count; ++i)
      if (!prelu || v[i] < 0) v[i] *= operand;
  };
  if (bs.mul) multiply_float(static_cast<std::uint32_t>(bs.mul_operand), bs.prelu);
  if (bs.relu) clip(bs.relux, bs.relux_max);
  const BnStage& bn = config_.bn;
  if (bn.mul) multiply_float(bn.mul_operand, bn.prelu);
  if (bn.alu) {
    const float a = std::bit_cast<float>(bn.alu_operand);
    for (std::uint32_t i = 0; i < count; ++i) v[i] = bn.alu_minus ? v[i] - a : v[i] + a;
  }
  if (bn.relu) clip(bn.relux, bn.relux_max);
  if (config_.lut.active)
    for (std::uint32_t i = 0; i < count; ++i)
      v[i] = static_cast<float>(look_up(config_.lut, *config_.tables, v[i]));
  if (config_.ew.at_least_zero)
    for (std::uint32_t i = 0; i < count; ++i) v[i] = std::max(v[i], 0.0f);
  if (config_.ew.active) {
    for (std::uint32_t i = 0; i < count; ++i) {
      std::uint16_t half;
      std::memcpy(&half, operand(channel + i, y, x), sizeof half);
      const float e = fp16_to_float(half);
      switch (config_.ew.op) {
        case EwOp::max: v[i] = std::max(v[i], e); break;
        case EwOp::min: v[i] = std::min(v[i], e); break;
        case EwOp::add: v[i] += e; break;
        case EwOp::minus: v[i] -= e; break;
        case EwOp::div: v[i] /= e; break;
        case EwOp::mul: v[i] *= e; break;
      }
    }
  }
  if (config_.ew.relu) clip(config_.ew.relux, config_.ew.relux_max);
  const OutCvt& cvt = config_.out_cvt;
  if (cvt.add_first && config_.lut.active) {
    for (std::uint32_t i = 0; i < count; ++i)
      v[i] = decode_table_value(v[i], cvt.offset, cvt.scale, cvt.minus_exp, quirks_);
    return;
  }
  if (cvt.add_first)  // (x + offset) * 2^-minus_exp * scale [notes dpu-lut-activation, HW]
    for (std::uint32_t i = 0; i < count; ++i)
      v[i] = std::ldexp((v[i] + static_cast<float>(cvt.offset)) * static_cast<float>(cvt.scale),
                        -static_cast<int>(cvt.minus_exp));
}

void Dpu::store_float(std::uint32_t y, std::uint32_t x, std::uint32_t first_channel,
                      std::uint32_t channels, const float* sums) const {
  const std::uint32_t end = std::min(config_.out_channels, first_channel + channels);
  for (std::uint32_t channel = first_channel; channel < end; channel += kStrip) {
    const std::uint32_t count = std::min(kStrip, end - channel);
    float v[kStrip] = {};
    std::copy_n(sums + (channel - first_channel), count, v);
    float_stages(y, x, channel, count, v);
    for (std::uint32_t i = 0; i < count; i += atom_channels_) {
      const std::uint32_t plane = (channel + i) / atom_channels_;
      if (config_.out_type == OutputType::fp16) {
        std::uint16_t eight[8];
        for (std::uint32_t j = 0; j < 8; ++j)
          eight[j] = i + j < count ? float_to_fp16(v[i + j]) : std::uint16_t{0};
        put(plane, y, x, eight);
      } else {
        put(plane, y, x, v + i);  // lanes beyond the last channel are 0
      }
    }
  }
}

}  // namespace npu::sim
