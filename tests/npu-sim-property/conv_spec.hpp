// SPDX-License-Identifier: MIT
// A convolution task in the registers' own terms, drawn at random; its program; its reference.
#pragma once

#include <cstdint>

#include "harness.hpp"

namespace npu::sim::property {

enum class Type { int8, int4, int16, fp16, bf16, tf32 };
constexpr bool is_real(Type t) { return t >= Type::fp16; }

/// Layout facts of an operand type [notes tile-layouts, precision-field].
struct TypeFacts {
  std::uint32_t code, dpu_code, bits;
  std::uint32_t kernel_group, channel_group, depthwise_group;
  std::uint32_t atom() const { return 128 / bits; }
};
constexpr TypeFacts facts(Type t) {
  switch (t) {
    case Type::int8: return {0, 0, 8, 32, 32, 64};
    case Type::int4: return {6, 6, 4, 64, 32, 0};
    case Type::int16: return {1, 1, 16, 16, 32, 0};
    case Type::fp16: return {2, 2, 16, 16, 32, 32};
    case Type::bf16: return {3, 3, 16, 16, 32, 32};
    case Type::tf32: return {7, 5, 32, 16, 16, 0};
  }
  return {};
}

/// Output codes of DPU.DATA_FORMAT.
constexpr std::uint32_t kOutInt8 = 0, kOutInt16 = 1, kOutFp16 = 2, kOutInt32 = 4, kOutFp32 = 5;
constexpr std::uint32_t out_bytes(std::uint32_t code) {
  return code == kOutInt8 ? 1 : code == kOutInt16 || code == kOutFp16 ? 2 : 4;
}

struct Relu {
  bool on = false, limited = false;
  std::uint32_t limit = 0;  ///< int32, or the bits of an fp32
};

struct ConvSpec {
  Type type = Type::int8;
  bool depthwise = false, pixels = false, row_major = false;
  std::uint32_t in_width = 1, in_height = 1, channels = 16, kernels = 1;
  std::uint32_t kernel_width = 1, kernel_height = 1, stride_x = 1, stride_y = 1, dilation_x = 1,
                dilation_y = 1, pad_left = 0, pad_top = 0, pad_word = 0;
  std::uint32_t out_width = 1, out_height = 1, out_channels = 1;
  bool data_reuse = false, weight_reuse = false;

  // memory, in bytes
  std::uint32_t features = 0, line = 0, plane = 0, weights = 0, stream = 0, addend = 0;
  std::uint32_t dst = 0, dst_plane = 0, dst_notch = 0, dst_group = 0, size_e = 0;

  // stages
  std::int32_t cvt_scale = 1, cvt_offset = 0;  // pixels
  std::uint32_t cvt_shift = 0, cvt_round = 0;
  bool qd = true, od_bypass = false, ow_memory = false;
  std::int32_t ow = 0;
  std::uint32_t truncate = 0;
  bool truncate_up = false;
  bool bs_bypass = true, bs_alu = false, bs_minus = false, bs_alu_memory = false;
  std::uint32_t bs_alu_operand = 0;  ///< int32 or fp32 bits
  bool bs_mul = false, bs_mul_memory = false;
  std::int32_t bs_mul_operand = 0;
  std::uint32_t bs_shift = 0, bs_shift_negative = 0;
  bool bs_prelu = false, bn_prelu = false, bn_minus = false;
  std::uint32_t bn_shift = 0, bn_shift_negative = 0;
  Relu bs_relu, bn_relu, ew_relu;
  bool bn_mul = false, bn_alu = false;
  std::uint16_t bn_mul_operand = 0;
  std::uint32_t bn_alu_operand = 0;
  bool ew = false, ew_multiply = false, ew_convert = true, ew_add_first = false, ew_up = false;
  std::uint32_t ew_algo = 2;
  std::int32_t ew_offset = 0, ew_scale = 1;
  std::uint32_t ew_shift = 0;
  std::uint32_t out = kOutInt8;
  std::int32_t scale = 1, offset = 0;
  std::uint32_t shift = 0, minus_exp = 0;
  bool add_first = false, away = false;

  std::uint32_t group() const {
    return depthwise ? facts(type).depthwise_group : facts(type).kernel_group;
  }
  std::uint32_t group_planes() const { return group() * out_bytes(out) / 16; }
  bool dense_stream() const { return !bs_mul_memory && !ow_memory; }  ///< BRDMA data use 1, else 7
  bool reads_stream() const {
    return (bs_alu && bs_alu_memory) || (bs_mul && bs_mul_memory) || ow_memory;
  }
};

/// What a draw may contain; the tests narrow it down.
struct ConvLimits {
  std::uint32_t side = 10, channels = 80, kernels = 80;
  bool stages = true;  ///< false: sums as they are
};

/// A random task of the type, its memory reserved and filled.
ConvSpec draw_conv(Draw& draw, Arena& arena, Type type, const ConvLimits& limits = {});

/// Sets the stages of a spec whose window and memory are drawn.
void draw_stages(Draw& draw, Arena& arena, ConvSpec& spec);
/// Reserves and lays out the output.
void draw_output(Draw& draw, Arena& arena, ConvSpec& spec);
/// Fills a piece of memory with finite elements of the type.
void fill(Draw& draw, Arena& arena, std::uint32_t iova, std::size_t bytes, Type type, int low,
          int high);

Task conv_task(const Arena& arena, const ConvSpec& spec);
std::string describe(const ConvSpec& spec);

}  // namespace npu::sim::property
