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
#include "npu-sim/rounding.hpp"

namespace npu::sim {
namespace {

constexpr std::uint32_t kStrip = 16;  // channels that pass the stages together

const std::byte* stream(const AddressSpace& space, std::uint64_t address, std::size_t bytes,
                        std::vector<std::byte>& scratch, const char* where) {
  if (const auto view = space.resolve(address, bytes); !view.empty()) return view.data();
  std::uint64_t bad = 0;
  scratch.resize(bytes);
  if (!space.read(address, scratch.data(), bytes, &bad)) dma_fault(FaultKind::dma_read, where, bad);
  return scratch.data();
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

  raw_ = !add_window_ && config.truncate == 0 && !bs.alu && !bs.mul && !bs.relu &&
         !config.bn.relu && !config.ew.active && !config.ew.relu && config.out_cvt.scale == 1 &&
         config.out_cvt.shift == 0 && config.out_cvt.offset == 0 &&
         config.out_type == OutputType::int32;
}

void Dpu::resolve_output(const AddressSpace& space) {
  const ConvShape& s = config_.shape;
  const std::uint32_t plane_count = (config_.out_channels + atom_channels_ - 1) / atom_channels_;
  const std::size_t plane_bytes =
      (std::size_t{s.out_height} - 1) * config_.dst_line + std::size_t{s.out_width} * 16;
  for (std::uint32_t plane = 0; plane < plane_count; ++plane) {
    if (plane % config_.group_planes >= config_.written_planes) {
      planes_.push_back(nullptr);
      continue;
    }
    const std::uint64_t address = config_.dst + plane / config_.group_planes * config_.dst_group +
                                  plane % config_.group_planes * config_.dst_plane;
    const auto view = space.resolve(address, plane_bytes, Access::write);
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
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::int64_t p = v[i] * (memory != nullptr ? memory[i] : bs.mul_operand);
      v[i] = round_shift(p, p >= 0 ? bs.mul_shift : bs.mul_shift_negative, TieRule::half_even);
    }
  }
  if (bs.alu || bs.mul)
    for (std::uint32_t i = 0; i < count; ++i) v[i] = saturate<std::int32_t>(v[i]);
  if (bs.relu) relu(v, count, bs.relux, bs.relux_max);
  if (config_.bn.relu) relu(v, count, config_.bn.relux, config_.bn.relux_max);

  const EwStage& ew = config_.ew;
  if (ew.active) {
    const auto* e = reinterpret_cast<const std::int8_t*>(operand(channel, y, x));
    const TieRule rule = ew.half_up ? TieRule::half_up : quirks_.ew_cvt_tie;
    for (std::uint32_t i = 0; i < count; ++i) {
      std::int64_t operand = e[i];
      if (ew.convert)
        operand = ew.add_first ? round_shift((operand + ew.offset) * ew.scale, ew.shift, rule)
                               : round_shift(operand * ew.scale, ew.shift, rule) + ew.offset;
      v[i] = saturate<std::int32_t>(v[i] + operand);
    }
  }
  if (ew.relu) relu(v, count, ew.relux, ew.relux_max);

  const OutCvt& cvt = config_.out_cvt;
  const TieRule rule = cvt.half_away ? TieRule::half_away : quirks_.out_cvt_tie;
  for (std::uint32_t i = 0; i < count; ++i)
    v[i] = cvt.add_first ? round_shift((v[i] + cvt.offset) * cvt.scale, cvt.shift, rule)
                         : round_shift(v[i] * cvt.scale, cvt.shift, rule) + cvt.offset;
}

void Dpu::store(std::uint32_t y, std::uint32_t x, std::uint32_t first_channel,
                std::uint32_t channels, const std::int32_t* sums, std::int32_t window_sum,
                const std::int32_t* window_sums) const {
  const std::uint32_t end = std::min(config_.out_channels, first_channel + channels);
  for (std::uint32_t channel = first_channel; channel < end; channel += kStrip) {
    const std::uint32_t count = std::min(kStrip, end - channel);
    const std::int32_t* in = sums + (channel - first_channel);
    if (raw_) {
      for (std::uint32_t i = 0; i < count; i += 4) {
        std::int32_t four[4] = {};
        std::memcpy(four, in + i, std::min(4u, count - i) * sizeof(std::int32_t));
        put((channel + i) / 4, y, x, four);
      }
      continue;
    }
    std::int64_t v[kStrip] = {};
    for (std::uint32_t i = 0; i < count; ++i) v[i] = in[i];
    if (add_window_) {
      for (std::uint32_t i = 0; i < count; ++i) {
        const std::int64_t ow = config_.bs.ow_from_memory ? ow_[channel + i] : config_.ow_op;
        v[i] += ow * (window_sums != nullptr ? window_sums[channel + i] : window_sum);
      }
    }
    stages(y, x, channel, count, v);
    if (config_.out_type == OutputType::int8) {
      // Elements of the last atom beyond the real channels are written as 0 (OFFSET_PEND).
      std::int8_t out[kStrip] = {};
      for (std::uint32_t i = 0; i < count; ++i) out[i] = saturate<std::int8_t>(v[i]);
      put(channel / 16, y, x, out);
    } else if (config_.out_type == OutputType::int16) {
      for (std::uint32_t i = 0; i < count; i += 8) {
        std::int16_t eight[8] = {};
        for (std::uint32_t j = 0; j < std::min(8u, count - i); ++j)
          eight[j] = saturate<std::int16_t>(v[i + j]);
        put((channel + i) / 8, y, x, eight);
      }
    } else {
      for (std::uint32_t i = 0; i < count; i += 4) {
        std::int32_t four[4] = {};
        for (std::uint32_t j = 0; j < std::min(4u, count - i); ++j) {
          four[j] = saturate<std::int32_t>(v[i + j]);
          if (config_.out_type == OutputType::fp32) {
            const float value = static_cast<float>(four[j]);
            std::memcpy(&four[j], &value, sizeof value);
          }
        }
        put((channel + i) / 4, y, x, four);
      }
    }
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
  if (bs.relu) clip(bs.relux, bs.relux_max);
  const BnStage& bn = config_.bn;
  if (bn.mul)
    for (std::uint32_t i = 0; i < count; ++i) v[i] *= bn.mul_operand;
  if (bn.alu)
    for (std::uint32_t i = 0; i < count; ++i) v[i] += bn.alu_operand;
  if (bn.relu) clip(bn.relux, bn.relux_max);
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
