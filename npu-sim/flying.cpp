// SPDX-License-Identifier: MIT
// Stages in the chip's order: BS (ALU, MUL, ReLU), BN (MUL, ALU, ReLU), EW or table, converter
// [allbilly expt/elementwise_int.py: five scalar operations in one task, board].
#include "npu-sim/flying.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <span>
#include <vector>

#include "npu-sim/fault.hpp"
#include "npu-sim/float_types.hpp"
#include "npu-sim/precision_codes.hpp"
#include "npu-sim/quirks.hpp"
#include "npu-sim/rounding.hpp"

namespace npu::sim {
namespace {

constexpr std::size_t kMaxOutputBytes = 512u << 20;
constexpr std::uint32_t kWidthLimit = 8191, kSpoiltColumns = 7;

// Operands of BS or BN, one per channel.
struct StageOperands {
  std::vector<float> alu, mul;
  std::vector<std::int32_t> alu_int;
};

struct Operands {
  StageOperands bs, bn;
};

StageOperands load_operands(const FlyingStage& s, const FlyingConfig& c, const AddressSpace& space,
                            const Quirks& quirks, const char* where) {
  StageOperands out;
  const std::size_t channels = c.channels;
  out.alu.assign(channels, std::bit_cast<float>(s.alu_operand));
  out.alu_int.assign(channels, static_cast<std::int32_t>(s.alu_operand));
  out.mul.assign(channels, fp16_to_float(static_cast<std::uint16_t>(s.mul_operand)));
  if (!s.from_memory()) return out;
  std::uint64_t bad = 0;
  if (s.alu_memory) {
    std::vector<std::uint32_t> words(channels);
    if (!space.read(s.stream, words.data(), channels * 4, &bad))
      dma_fault(FaultKind::dma_read, where, bad);
    for (std::size_t i = 0; i < channels; ++i) {
      out.alu[i] = std::bit_cast<float>(words[i]);
      out.alu_int[i] = static_cast<std::int32_t>(words[i]);
    }
    return out;
  }
  std::vector<std::uint16_t> halves(channels);
  if (!space.read(s.stream, halves.data(), channels * 2, &bad))
    dma_fault(FaultKind::dma_read, where, bad);
  const std::size_t whole = channels / 8 * 8;
  for (std::size_t i = 0; i < channels; ++i) {
    const bool lost = quirks.stage_mul_partial_surface && whole != 0 && i >= whole;
    out.mul[i] = lost ? 0.0f : fp16_to_float(halves[i]);
  }
  return out;
}

float clip(float v, bool limited, std::uint32_t limit) {
  v = std::max(v, 0.0f);
  return limited ? std::min(v, std::bit_cast<float>(limit)) : v;
}

float float_stage(const FlyingStage& s, const StageOperands& o, std::uint32_t channel, bool bn,
                  float v) {
  const auto alu = [&] {
    if (s.alu) v = s.minus ? v - o.alu[channel] : v + o.alu[channel];
  };
  const auto mul = [&] {
    if (s.mul && (!s.prelu || v < 0)) v *= o.mul[channel];
  };
  if (bn) {
    mul();
    alu();
  } else {
    alu();
    mul();
  }
  return s.relu ? clip(v, s.relux, s.relux_max) : v;
}

float float_operand(const FlyingEw& ew, const std::uint8_t* at) {
  if (ew.source == FlyingEw::Source::registers)
    return ew.op == FlyingOp::mul ? fp16_to_float(static_cast<std::uint16_t>(ew.values[0]))
                                  : std::bit_cast<float>(ew.values[0]);
  std::uint16_t half;
  std::memcpy(&half, at, 2);
  // The converter is what widens an ALU operand; without it the 16 bits, sign extended, stand in
  // the fp32 lane: next to nothing when positive, NaN when negative. That is how a board passes
  // the main operand through on half of the elements [notes sdp-stage-precision, HW; inferred].
  if (ew.bypass_converter && ew.op != FlyingOp::mul && ew.op != FlyingOp::div)
    return std::bit_cast<float>(static_cast<std::int32_t>(static_cast<std::int16_t>(half)));
  return fp16_to_float(half);
}

float float_op(const FlyingEw& ew, float v, float e) {
  switch (ew.op) {
    case FlyingOp::max: return std::isnan(e) ? e : std::max(v, e);
    case FlyingOp::min: return std::isnan(e) ? e : std::min(v, e);
    case FlyingOp::add: return v + e;
    case FlyingOp::div: return v / e;
    case FlyingOp::minus: return v - e;
    case FlyingOp::abs: return std::abs(v);
    case FlyingOp::neg: return -v;
    case FlyingOp::floor: return std::floor(v);
    case FlyingOp::ceil: return std::ceil(v);
    case FlyingOp::mul: return ew.prelu && v >= 0 ? v : v * e;
  }
  return v;
}

float float_element(const FlyingConfig& c, const Operands& o, const Lut& lut, const Quirks& quirks,
                    std::uint32_t channel, const std::uint8_t* main, const std::uint8_t* operand) {
  std::uint16_t half;
  std::memcpy(&half, main, 2);
  float v = float_stage(c.bs, o.bs, channel, false, fp16_to_float(half));
  v = float_stage(c.bn, o.bn, channel, true, v);
  if (c.lut.active) v = static_cast<float>(look_up(c.lut, lut, v));
  if (c.ew.active) v = float_op(c.ew, v, float_operand(c.ew, operand));
  if (c.ew_relu) v = clip(v, c.ew_relux, c.ew_relux_max);
  if (!c.cvt.add_first) return v;
  // The zero fault belongs to CVT_TYPE 1 behind a table: with type 0 a board decodes a zero entry
  // as 0 [allbilly expt, SiLU at x = 0].
  if (c.lut.active)
    return decode_table_value(v, c.cvt.offset, c.cvt.scale, c.cvt.minus_exp, quirks);
  return std::ldexp((v + static_cast<float>(c.cvt.offset)) * static_cast<float>(c.cvt.scale),
                    -static_cast<int>(c.cvt.minus_exp));
}

std::int64_t load_int(std::uint32_t type, const std::uint8_t* at) {
  if (type == kInt8) return static_cast<std::int8_t>(*at);
  if (type == kInt16) {
    std::int16_t v;
    std::memcpy(&v, at, 2);
    return v;
  }
  std::int32_t v;
  std::memcpy(&v, at, 4);
  return v;
}

// BN multiplies, adds and then shifts: the vendor's addend for a zero point is in units of the
// product, -zero_point * multiplier [iree-rocket activation.rs, vendor programs].
std::int64_t int_stage(const FlyingStage& s, const StageOperands& o, std::uint32_t channel, bool bn,
                       std::int64_t v) {
  const auto add = [&] {
    if (s.alu) v += s.minus ? -std::int64_t{o.alu_int[channel]} : std::int64_t{o.alu_int[channel]};
  };
  if (!bn) add();
  const bool multiplies = s.mul && (!s.prelu || v < 0);
  // BN's is unsigned, as behind a convolution [userspace bn probe, HW].
  if (multiplies)
    v *= bn ? std::int64_t{static_cast<std::uint16_t>(s.mul_operand)}
            : std::int64_t{static_cast<std::int16_t>(s.mul_operand)};
  if (bn) add();
  if (multiplies) v = round_shift(v, v >= 0 ? s.shift : s.shift_negative, TieRule::half_even);
  if (s.alu || s.mul) v = saturate<std::int32_t>(v);
  if (s.relu) v = std::max<std::int64_t>(v, 0);
  if (s.relux) v = std::min<std::int64_t>(v, static_cast<std::int32_t>(s.relux_max));
  return v;
}

std::int64_t int_operand(const FlyingConfig& c, const Quirks& quirks, const std::uint8_t* at) {
  const FlyingEw& ew = c.ew;
  if (ew.source == FlyingEw::Source::registers)
    return c.type == kInt8 || c.type == kInt16 ? static_cast<std::int16_t>(ew.values[0])
                                               : static_cast<std::int32_t>(ew.values[0]);
  const std::int64_t e = load_int(c.type, at);
  if (ew.bypass_converter) return e;
  const TieRule rule = ew.half_up ? TieRule::half_up : quirks.ew_cvt_tie;
  return ew.add_first ? round_shift((e + ew.offset) * ew.scale, ew.shift, rule)
                      : round_shift(e * ew.scale, ew.shift, rule) + ew.offset;
}

std::int64_t int_op(const FlyingConfig& c, std::int64_t v, std::int64_t e) {
  // A negated lane wraps: -INT32_MIN is INT32_MIN, and a difference is a sum with the negated
  // operand, so anything less INT32_MIN saturates downwards [allbilly expt edge vectors, board].
  const auto negated = [](std::int64_t x) {
    return std::int64_t{static_cast<std::int32_t>(-static_cast<std::uint32_t>(x))};
  };
  // Division, floor and ceiling work on floats whatever the type says [allbilly expt, board]: the
  // lane's bits are taken for an fp32 (inferred; on a board the results are no integer ones).
  const auto as_float = [](std::int64_t x) {
    return std::bit_cast<float>(static_cast<std::int32_t>(x));
  };
  const auto bits = [](float f) { return std::int64_t{std::bit_cast<std::int32_t>(f)}; };
  switch (c.ew.op) {
    case FlyingOp::max: return std::max(v, e);
    case FlyingOp::min: return std::min(v, e);
    case FlyingOp::add: return v + e;
    case FlyingOp::minus: return v + negated(e);
    case FlyingOp::abs: return v < 0 ? negated(v) : v;
    case FlyingOp::neg: return negated(v);
    case FlyingOp::div: return bits(as_float(v) / as_float(e));
    case FlyingOp::floor: return bits(std::floor(as_float(v)));
    case FlyingOp::ceil: return bits(std::ceil(as_float(v)));
    case FlyingOp::mul:
      if (c.ew.prelu && v >= 0) return v;
      // The second operand of an int32 product is read as signed int16 [notes, HW].
      return v * static_cast<std::int16_t>(e);
  }
  return v;
}

std::int64_t int_element(const FlyingConfig& c, const Operands& o, const Lut& lut,
                         const Quirks& quirks, std::uint32_t channel, const std::uint8_t* main,
                         const std::uint8_t* operand) {
  std::int64_t v = int_stage(c.bs, o.bs, channel, false, load_int(c.type, main));
  v = int_stage(c.bn, o.bn, channel, true, v);
  if (c.lut.active) v = look_up(c.lut, lut, v);
  if (c.ew.active) v = int_op(c, v, int_operand(c, quirks, operand));
  v = saturate<std::int32_t>(v);
  if (c.ew_relu) v = std::max<std::int64_t>(v, 0);
  if (c.ew_relux) v = std::min<std::int64_t>(v, static_cast<std::int32_t>(c.ew_relux_max));
  return v;
}

std::int64_t convert(const OutCvt& cvt, const Quirks& quirks, std::int64_t v) {
  const TieRule rule = cvt.half_away ? TieRule::half_away : quirks.out_cvt_tie;
  return cvt.add_first ? round_shift((v + cvt.offset) * cvt.scale, cvt.shift, rule)
                       : round_shift(v * cvt.scale, cvt.shift, rule) + cvt.offset;
}

void store_float(const FlyingConfig& c, std::uint8_t* at, float f) {
  if (c.out_type == OutputType::fp16) {
    const std::uint16_t half = float_to_fp16(f);
    std::memcpy(at, &half, 2);
  } else {
    std::memcpy(at, &f, 4);
  }
}

void store_int(const FlyingConfig& c, std::uint8_t* at, std::int64_t v) {
  if (c.out_type == OutputType::int8) {
    *at = static_cast<std::uint8_t>(saturate<std::int8_t>(v));
  } else if (c.out_type == OutputType::int16) {
    const std::int16_t s = saturate<std::int16_t>(v);
    std::memcpy(at, &s, 2);
  } else if (c.out_type == OutputType::int32) {
    const std::int32_t s = saturate<std::int32_t>(v);
    std::memcpy(at, &s, 4);
  } else {
    const float f = static_cast<float>(saturate<std::int32_t>(v));
    std::memcpy(at, &f, 4);
  }
}

}  // namespace

TaskRecord record_of(const FlyingConfig& c, const Quirks& quirks) {
  TaskRecord record;
  const std::uint32_t in_atom = 16 / c.element_bytes();
  const std::uint64_t plane = std::uint64_t{c.width} * c.height * 16;
  const std::uint64_t groups = (c.channels + in_atom - 1) / in_atom;
  constexpr std::string_view kNames[] = {"max", "min", "add",   "div", "minus",
                                         "abs", "neg", "floor", "ceil"};
  const std::string_view what = c.lut.active               ? "lut"
                                : !c.ew.active             ? "copy"
                                : c.ew.op == FlyingOp::mul ? "mul"
                                                           : kNames[static_cast<int>(c.ew.op)];
  constexpr std::string_view kTypes[] = {"int8", "int16", "fp16", "", "int32"};
  record.operation =
      fmt::format("{} {} {}x{}x{}", what, kTypes[c.type], c.height, c.width, c.channels);
  TaskWork& w = record.work;
  w.type = c.type == kInt8 ? MacType::int8 : c.element_bytes() == 4 ? MacType::fp32 : MacType::fp16;
  w.positions = std::uint64_t{c.width} * c.height;
  w.output_elements = w.positions * c.channels;
  w.table = c.lut.active;
  record.transfers.push_back({Engine::mrdma, c.src, plane, 1, 0, groups, c.src_plane});
  if (c.ew.active && c.ew.source == FlyingEw::Source::per_pixel)
    record.transfers.push_back(
        {Engine::erdma, c.ew.operand, plane, 1, 0, groups, c.ew.operand_plane});
  if (c.ew.active && c.ew.source == FlyingEw::Source::per_channel)
    record.transfers.push_back({Engine::erdma, c.ew.operand, 16, 1, 0, groups, c.ew.operand_plane});
  const bool to_memory = c.dst < PortSpace::kWire;
  for (std::uint32_t p = 0; to_memory && p < c.written_planes; ++p)
    record.transfers.push_back({Engine::dpu_write, c.dst + p * c.dst_plane,
                                std::uint64_t{c.width} * 16, c.height, c.dst_line, groups,
                                c.dst_group});
  sum_transfers(record);
  if (quirks.flying_width_limit && c.width >= kWidthLimit)
    record.quirks.push_back({"flying_width_limit", "DPU.DATA_CUBE_WIDTH.width",
                             "the last columns of a cube at the 13-bit limit are not right"});
  if (quirks.lut_zero_decodes_as_2_17 && c.lut.active && c.cvt.add_first)
    record.quirks.push_back({"lut_zero_decodes_as_2_17", "DPU.OUT_CVT_OFFSET",
                             "a table value that cancels this offset comes out as 2^17"});
  if (quirks.stage_mul_partial_surface && (c.bs.mul_memory || c.bn.mul_memory) &&
      c.channels > in_atom && c.channels % in_atom != 0)
    record.quirks.push_back({"stage_mul_partial_surface", "DPU.DATA_CUBE_CHANNEL.channel",
                             "the multipliers of the last, partial surface are read as 0"});
  return record;
}

namespace {

const std::uint8_t* plane_of(const AddressSpace& space, std::uint64_t address, std::size_t bytes,
                             const char* where) {
  const auto view = space.resolve(address, bytes);
  if (view.empty()) dma_fault(FaultKind::dma_read, where, address);
  return reinterpret_cast<const std::uint8_t*>(view.data());
}

std::uint8_t* target_of(const AddressSpace& space, std::uint64_t address, std::size_t bytes) {
  const auto view = space.resolve_write(address, bytes);
  if (view.empty()) dma_fault(FaultKind::dma_write, "DPU.DST_BASE_ADDR", address);
  return reinterpret_cast<std::uint8_t*>(view.data());
}

}  // namespace

std::uint64_t run_flying(const FlyingRegisters& registers, const Lut& lut,
                         const AddressSpace& space, std::uint32_t dma_base, std::uint64_t budget,
                         const Quirks& quirks, ThreadPool& pool, const TaskHook* hook,
                         PoolFeed* feed) {
  const FlyingConfig c = read_flying_config(registers, lut, dma_base, quirks, feed != nullptr);
  const std::uint32_t in_bytes = c.element_bytes(), out_bytes = bytes_of(c.out_type);
  const std::uint32_t in_atom = 16 / in_bytes, out_atom = 16 / out_bytes;
  const std::uint32_t groups = (c.channels + in_atom - 1) / in_atom;
  const std::size_t positions = std::size_t{c.width} * c.height;
  const std::uint64_t work = std::uint64_t{positions} * c.channels * 256;
  if (work > budget) hang("DPU.DATA_CUBE_WIDTH", "more elements than 500 ms allow");
  const std::size_t plane_bytes = positions * 16;
  const std::size_t planes = std::size_t{groups} * c.group_planes;
  if (plane_bytes * planes > kMaxOutputBytes)
    bad_program("DPU.DATA_CUBE_WIDTH", "an output of more than 512 MiB");

  const bool memory = c.ew.active && c.ew.source != FlyingEw::Source::registers;
  const bool per_channel = c.ew.source == FlyingEw::Source::per_channel;
  std::vector<const std::uint8_t*> main, operand;
  std::vector<std::uint8_t*> targets(planes);
  if (feed != nullptr) *feed = {{}, c.dst_line, c.width, c.height, c.channels, c.out_type, true};
  const std::size_t target_bytes =
      (std::size_t{c.height} - 1) * c.dst_line + std::size_t{c.width} * 16;
  for (std::uint32_t g = 0; g < groups; ++g) {
    main.push_back(
        plane_of(space, c.src + g * c.src_plane, plane_bytes, "DPU_RDMA.RDMA_SRC_BASE_ADDR"));
    if (memory)
      operand.push_back(plane_of(space, c.ew.operand + g * c.ew.operand_plane,
                                 per_channel ? 16 : plane_bytes, "DPU_RDMA.RDMA_EW_BASE_ADDR"));
    // Only planes that hold channels are written.
    const std::uint32_t left = c.channels - g * in_atom;
    const std::uint32_t used = (std::min(left, in_atom) + out_atom - 1) / out_atom;
    for (std::uint32_t p = 0; p < std::min(used, c.written_planes); ++p)
      targets[std::size_t{g} * c.group_planes + p] =
          target_of(space, c.dst + g * c.dst_group + p * c.dst_plane, target_bytes);
    if (feed != nullptr && used > c.written_planes)
      hang("DPU.BS_OW_CFG.size_e_0", "the PPU waits for surfaces that the DPU does not write");
    for (std::uint32_t p = 0; feed != nullptr && p < used; ++p)
      feed->surfaces.push_back(c.dst + g * c.dst_group + p * c.dst_plane);
  }
  const Operands stages = {load_operands(c.bs, c, space, quirks, "DPU_RDMA.RDMA_BS_BASE_ADDR"),
                           load_operands(c.bn, c, space, quirks, "DPU_RDMA.RDMA_BN_BASE_ADDR")};
  const bool float_out = c.out_type == OutputType::fp16 || c.out_type == OutputType::fp32;
  if (hook != nullptr) (*hook)(record_of(c, quirks));

  // Made aside: the output may lie over an operand.
  std::vector<std::uint8_t> out(plane_bytes * planes);
  constexpr std::size_t kChunk = 512;
  pool.parallel_for((positions + kChunk - 1) / kChunk, [&](std::size_t chunk) {
    const std::size_t last = std::min(positions, (chunk + 1) * kChunk);
    for (std::size_t p = chunk * kChunk; p < last; ++p)
      for (std::uint32_t ch = 0; ch < c.channels; ++ch) {
        const std::uint32_t group = ch / in_atom, lane = ch % in_atom;
        const std::uint8_t* a = main[group] + p * 16 + std::size_t{lane} * in_bytes;
        const std::uint8_t* b = nullptr;
        constexpr std::uint8_t kMissing[4] = {};
        if (memory && ch >= c.operand_channels)
          b = kMissing;
        else if (memory)
          b = operand[group] + (per_channel ? 0 : p * 16) + std::size_t{lane} * in_bytes;
        const std::size_t plane = std::size_t{group} * c.group_planes + lane / out_atom;
        std::uint8_t* to =
            out.data() + plane * plane_bytes + p * 16 + std::size_t{lane % out_atom} * out_bytes;
        if (!c.floating()) {
          store_int(c, to, convert(c.cvt, quirks, int_element(c, stages, lut, quirks, ch, a, b)));
        } else if (float_out) {
          store_float(c, to, float_element(c, stages, lut, quirks, ch, a, b));
        } else {
          const float f = std::nearbyint(float_element(c, stages, lut, quirks, ch, a, b));
          const std::int64_t v =
              std::isnan(f)
                  ? 0
                  : static_cast<std::int64_t>(std::clamp(f, -2147483648.0f, 2147483648.0f));
          store_int(c, to, c.cvt.add_first ? v : convert(c.cvt, quirks, v));
        }
      }
  });
  // At the 13-bit limit the last columns of a board's output are wrong, about 54 elements of an
  // fp16 vector whatever the data [notes dpu-lut-activation, HW]: here they stay as they were.
  const std::uint32_t spoilt =
      quirks.flying_width_limit && c.width >= kWidthLimit ? kSpoiltColumns : 0;
  for (std::size_t p = 0; p < planes; ++p)
    if (targets[p] != nullptr)
      for (std::uint32_t y = 0; y < c.height; ++y)
        std::memcpy(targets[p] + y * c.dst_line,
                    out.data() + p * plane_bytes + std::size_t{y} * c.width * 16,
                    (std::size_t{c.width} - spoilt) * 16);
  return work;
}

}  // namespace npu::sim
