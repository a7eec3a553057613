// SPDX-License-Identifier: MIT
// A stand-alone pool and a DPU task without a MAC array, drawn at random, with their references.
#pragma once

#include <array>
#include <cstdint>

#include "conv_spec.hpp"
#include "harness.hpp"

namespace npu::sim::property {

struct PoolSpec {
  std::uint32_t type = 2;    ///< 0 int8, 1 int16, 2 fp16
  bool index = false;        ///< the position of each extremum is written too
  std::uint32_t method = 1;  ///< 0 average, 1 max, 2 min
  std::uint32_t in_width = 1, in_height = 1, planes = 1, out_width = 1, out_height = 1;
  std::uint32_t kernel_width = 1, kernel_height = 1, stride_x = 1, stride_y = 1;
  std::uint32_t left = 0, top = 0, right = 0, bottom = 0;
  std::uint32_t recip_width = 0, recip_height = 0, pad_value = 0;
  std::uint32_t src = 0, src_line = 0, src_plane = 0, dst = 0, dst_plane = 0,
                dst_notch = 0;  // bytes, last one atoms
  std::uint32_t dst_index = 0;  ///< behind dst
  std::uint32_t lanes() const { return type == 0 ? 16 : 8; }
};
PoolSpec draw_pool(Draw& draw, Arena& arena);
Task pool_task(const Arena& arena, const PoolSpec& spec);

/// Operand types of a flying task, by their code.
constexpr std::uint32_t kInt8 = 0, kInt16 = 1, kFp16 = 2, kInt32 = 4;

/// BS or BN of such a task: ALU and MUL (in BN: MUL and ALU), then ReLU.
struct StageSpec {
  bool alu = false, minus = false, alu_memory = false;
  bool mul = false, mul_memory = false, prelu = false;
  std::uint32_t alu_operand = 0;  ///< int32 or fp32 bits
  std::uint16_t mul_operand = 0;  ///< int16 or fp16 bits
  std::uint32_t shift = 0, shift_negative = 0;
  Relu relu;
  std::uint32_t stream = 0;
  bool off() const { return !alu && !mul && !relu.on; }
};

enum class Source { registers, per_channel, per_pixel };

struct FlyingSpec {
  std::uint32_t type = kFp16, out = kFp16;          ///< codes
  std::uint32_t width = 1, height = 1, planes = 1;  ///< planes of the input
  StageSpec bs, bn;
  bool ew = true, multiply = false, prelu = false, convert = false;
  Source source = Source::per_pixel;
  std::uint32_t algo = 2;  ///< 0 max, 1 min, 2 add, 3 divide, 4 subtract, 5 abs, 6 negate, 7 floor,
                           ///< 8 ceiling
  std::uint32_t value = 0;  ///< EW_OP_VALUE_0 to 7
  std::int32_t ew_offset = 0, ew_scale = 1;
  std::uint32_t ew_shift = 0;
  bool ew_add_first = false, ew_up = false;
  Relu relu;
  std::int32_t scale = 1, offset = 0;
  std::uint32_t shift = 0, minus_exp = 0;
  bool add_first = false, away = false;
  std::uint32_t src = 0, src_plane = 0, operand = 0, operand_plane = 0;  // bytes
  std::uint32_t dst = 0, dst_plane = 0, dst_group = 0, dst_notch = 0;    // bytes, last one atoms
  std::uint32_t comb_use = 0, size_e = 0;

  // Tables: 0 LE, 1 LO.
  bool lut = false;
  std::array<std::array<std::int16_t, 513>, 2> tables{};
  std::array<std::int32_t, 2> start{}, end{};
  std::array<std::uint32_t, 2> select{}, underflow_shift{}, overflow_shift{};
  std::array<std::int32_t, 2> underflow_scale{}, overflow_scale{};
  bool hybrid = false, underflow = false, overflow = false;  ///< LO answers

  std::uint32_t bytes() const { return type == kInt8 ? 1 : type == kInt32 ? 4 : 2; }
  std::uint32_t channels() const { return planes * 16 / bytes(); }
  std::uint32_t group_planes() const { return out_bytes(out) / bytes(); }
  bool divides() const { return ew && !multiply && algo == 3; }
};
FlyingSpec draw_flying(Draw& draw, Arena& arena, std::uint32_t type, bool lut = false);
Task flying_task(const Arena& arena, const FlyingSpec& spec);

}  // namespace npu::sim::property
