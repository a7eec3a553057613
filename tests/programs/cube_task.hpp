// SPDX-License-Identifier: MIT
// The register programs that the userspace library of the mainline driver proved on a board:
// matrix products and convolutions in cube form, one task each. Register values, their order and
// the shapes are facts of that library's generators and gates [userspace npu_regcmd.c, tests/*.c,
// HW]; the code is ours.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "regdb/regcmd.hpp"

namespace npu::sim::test {

/// Type codes of the precision fields [notes precision-field, HW].
namespace code {
inline constexpr std::uint32_t int8 = 0, int16 = 1, fp16 = 2, bf16 = 3, int32 = 4, fp32 = 5,
                               int4 = 6, tf32 = 7;
}

/// Bits of one element in memory.
constexpr std::uint32_t bits_of(std::uint32_t precision) {
  switch (precision) {
    case code::int4: return 4;
    case code::int8: return 8;
    case code::int16:
    case code::fp16:
    case code::bf16: return 16;
    default: return 32;
  }
}

/// Second operand of the element-wise unit, read in the shape of the output [notes k-accumulation].
struct EwOperand {
  std::uint32_t ew_cfg;
  std::uint32_t address;
  std::uint32_t base_offset;  ///< bytes from plane 0 to plane 1
  std::uint32_t stride;       ///< EW_SURF_STRIDE and both notches, in atoms of 16 bytes
};
inline constexpr std::uint32_t kEwAdd = 0x108202C0, kEwMax = 0x108002C0, kEwMin = 0x108102C0,
                               kEwMul = 0x108003C4;

/// Table stage behind a convolution: BN scales into the index, two tables, affine output.
struct LutEpilogue {
  std::vector<std::int16_t> le, lo;  ///< 513 entries each
  std::uint32_t bn_alu_cfg = 0x80000000;
  std::uint16_t bn_mul_operand = 0;
  std::uint32_t out_cvt_offset = 0, out_cvt_scale = 1, minus_exp = 0;
  std::uint32_t index_select = 5;
  std::uint32_t le_start = 0xFFFFC000, lo_end = 0x4000;
  std::uint16_t le_slope_scale = 0, lo_slope_scale = 0;
  std::uint32_t le_slope_shift = 0, lo_slope_shift = 0;
};

/// One task. The functions below fill it as the library's generators do; a test then changes what
/// the library's probes change.
struct CubeTask {
  std::uint32_t channels = 0, in_width = 1, in_height = 0;
  std::uint32_t kernels = 0, out_width = 1, out_height = 0;
  std::uint32_t kernel_width = 1, kernel_height = 1;
  std::uint32_t stride_x = 1, stride_y = 1, dilation_x = 1, dilation_y = 1;
  std::uint32_t pad_left = 0, pad_top = 0;
  std::uint32_t deconv = 0, deconv_x = 0, deconv_y = 0;
  bool depthwise = false;

  std::uint32_t in_code = 0, core_code = 0, dpu_code = 0, out_code = 0;
  std::uint32_t feature_grains = 0;
  std::uint32_t data_bank = 1, fc_data_bank = 0;
  bool weight_reuse = false, data_reuse = false;
  std::uint32_t pad_value = 0;
  bool qd_en = false, od_bypass = true, ow_src = false;
  std::uint32_t ow_op = 0;
  std::uint32_t size_e = 0, surface_multiple = 0;
  bool tp_org_en = false, tp_precision = false;
  bool narrow = false;  ///< FP32TOFP16_EN
  std::uint32_t out_scale = 1, out_shift = 0, out_round = 0, out_cvt_type = 0, minus_exp = 0;
  std::int32_t out_offset = 0;
  std::uint32_t bs_cfg = 0x53, bs_mul_cfg = 0, bs_shift_negative = 0;
  std::uint32_t brdma_data_use = 0, nrdma_data_use = 0;
  std::uint32_t bn_cfg = 0x53, bn_mul_cfg = 0, bn_alu_cfg = 0, bn_shift_negative = 0;
  std::optional<EwOperand> ew;
  std::optional<LutEpilogue> lut;

  std::uint32_t input = 0, weights = 0, output = 0, bias = 0, bn_stream = 0;

  std::uint32_t weight_bytes() const;
  std::uint32_t kernel_bytes() const;
};

/// C[m][n] = A[m][k] * B[n][k]: height m, width 1, k channels, n kernels.
CubeTask matmul(std::uint32_t precision, std::uint32_t out_code, std::uint32_t m, std::uint32_t k,
                std::uint32_t n);

struct ConvShape2d {
  std::uint32_t channels, in_height, in_width, kernels, kernel_height, kernel_width;
  std::uint32_t stride_y = 1, stride_x = 1, pad_top = 0, pad_left = 0, dilation_y = 1,
                dilation_x = 1;
  std::uint32_t out_height() const {
    return (in_height + 2 * pad_top - dilation_y * (kernel_height - 1) - 1) / stride_y + 1;
  }
  std::uint32_t out_width() const {
    return (in_width + 2 * pad_left - dilation_x * (kernel_width - 1) - 1) / stride_x + 1;
  }
};
/// fp16 operands, fp32 or fp16 output.
CubeTask conv_fp16(const ConvShape2d& shape, std::uint32_t out_code, bool depthwise = false);
/// int8 operands, raw int32 output.
CubeTask conv_int8(const ConvShape2d& shape);
/// int8 operands, int8 output through the requantising converter; zero points in the int8 domain.
CubeTask conv_int8_out(const ConvShape2d& shape, bool depthwise, std::int32_t zero_in,
                       std::int32_t zero_weight, std::int32_t zero_out, std::uint32_t scale,
                       std::uint32_t shift);

/// The words of the program, trailer included.
std::vector<std::uint64_t> emit(const CubeTask& task);

/// Value of a register in a program (its last write); replaces it.
std::uint32_t value_of(const std::vector<std::uint64_t>& words, std::uint16_t offset);
void replace(std::vector<std::uint64_t>& words, std::uint16_t offset, std::uint32_t value);

}  // namespace npu::sim::test
