// SPDX-License-Identifier: MIT
// A stand-alone pool and a DPU task without a MAC array, drawn at random, with their references.
#pragma once

#include <array>
#include <cstdint>

#include "conv_spec.hpp"
#include "harness.hpp"

namespace npu::sim::property {

struct PoolSpec {
  bool fp16 = true;
  std::uint32_t method = 1;  ///< 0 average, 1 max, 2 min
  std::uint32_t in_width = 1, in_height = 1, planes = 1, out_width = 1, out_height = 1;
  std::uint32_t kernel_width = 1, kernel_height = 1, stride_x = 1, stride_y = 1;
  std::uint32_t left = 0, top = 0, right = 0, bottom = 0;
  std::uint32_t recip_width = 0, recip_height = 0, pad_value = 0;
  std::uint32_t src = 0, src_line = 0, src_plane = 0, dst = 0, dst_plane = 0;  // bytes
  std::uint32_t lanes() const { return fp16 ? 8 : 16; }
};
PoolSpec draw_pool(Draw& draw, Arena& arena);
Task pool_task(const Arena& arena, const PoolSpec& spec);

/// Operand types of a flying task, by their code.
constexpr std::uint32_t kInt8 = 0, kInt16 = 1, kFp16 = 2, kInt32 = 4;

struct FlyingSpec {
  std::uint32_t type = kFp16;
  std::uint32_t width = 1, height = 1, planes = 1;  ///< planes of the input
  bool ew = true, multiply = false, relu = false;
  std::uint32_t algo = 2;  ///< 0 max, 1 min, 2 add, 3 divide, 4 subtract
  bool bn_mul = false, bn_alu = false;
  std::uint32_t bn_mul_operand = 0, bn_alu_operand = 0;
  bool to_fp32 = false;
  std::int32_t scale = 1, offset = 0;
  std::uint32_t shift = 0, minus_exp = 0;
  bool add_first = false, away = false;
  std::uint32_t src = 0, src_plane = 0, operand = 0, operand_plane = 0;  // bytes
  std::uint32_t dst = 0, dst_plane = 0, dst_notch = 0;                   // bytes, bytes, atoms
  std::uint32_t comb_use = 0;

  // Tables: 0 for negative inputs, 1 for the others.
  bool lut = false;
  std::array<std::array<std::int16_t, 513>, 2> tables{};
  std::array<std::int32_t, 2> start{}, end{};
  std::array<std::uint32_t, 2> select{}, underflow_shift{}, overflow_shift{};
  std::array<std::int32_t, 2> underflow_scale{}, overflow_scale{};

  std::uint32_t bytes() const { return type == kInt8 ? 1 : type == kInt32 ? 4 : 2; }
  std::uint32_t channels() const { return planes * 16 / bytes(); }
};
FlyingSpec draw_flying(Draw& draw, Arena& arena, std::uint32_t type, bool lut = false);
Task flying_task(const Arena& arena, const FlyingSpec& spec);

}  // namespace npu::sim::property
