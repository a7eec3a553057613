// SPDX-License-Identifier: MIT
// What a program of DPU and DPU_RDMA alone asks for, read from their registers.
#pragma once

#include <array>
#include <cstdint>

#include "npu-sim/conv_config.hpp"
#include "npu-sim/lut.hpp"
#include "npu-sim/register_file.hpp"

namespace npu::sim {

struct FlyingRegisters {
  const RegisterFile& dpu_file;
  const RegisterFile& rdma_file;
  unsigned dpu_group, rdma_group;
  std::uint32_t dpu(std::uint32_t offset) const { return dpu_file.get(dpu_group, offset); }
  std::uint32_t rdma(std::uint32_t offset) const { return rdma_file.get(rdma_group, offset); }
};

/// BS or BN. Operands are bits: int32 or fp32 for the ALU, int16 or fp16 for the multiplier.
struct FlyingStage {
  bool alu, minus, alu_memory;
  bool mul, mul_memory, prelu;
  bool relu, relux;
  std::uint32_t alu_operand, mul_operand, relux_max;
  std::uint32_t shift, shift_negative;  ///< of integer products
  std::uint64_t stream;                 ///< where BRDMA or NRDMA reads
  bool from_memory() const { return alu_memory || mul_memory; }
};

/// Operation of EW, with the ALU's codes [TRM; allbilly expt/elementwise_int.py, board].
enum class FlyingOp : std::uint8_t {
  max = 0,
  min,
  add,
  div,
  minus,
  abs,
  neg,
  floor,
  ceil,
  mul = 16
};

struct FlyingEw {
  bool active;
  FlyingOp op;
  enum class Source : std::uint8_t { registers, per_channel, per_pixel } source;
  std::array<std::uint32_t, 8> values;  ///< EW_OP_VALUE_n
  bool bypass_converter;
  bool prelu;
  std::int32_t offset, scale;
  std::uint32_t shift;
  bool add_first, half_up;
  std::uint64_t operand, operand_plane;
};

struct FlyingConfig {
  std::uint32_t width, height, channels, operand_channels;
  std::uint32_t type;  ///< of main operand and arithmetic: a precision code
  OutputType out_type;
  FlyingStage bs, bn;
  LutConfig lut;
  FlyingEw ew;
  bool ew_relu, ew_relux;
  std::uint32_t ew_relux_max;
  OutCvt cvt;
  std::uint64_t src, src_plane;
  /// Surfaces of an atom of input channels lie dst_plane apart, SIZE_E + 1 of them are written;
  /// groups lie dst_group apart [allbilly int16 to int32 (SIZE_E 1), fp16 to fp32 with SIZE_E 0
  /// (four of eight lanes), board].
  std::uint64_t dst, dst_plane, dst_group, dst_line;
  std::uint32_t group_planes, written_planes;
  bool floating() const { return type == 2; }
  std::uint32_t element_bytes() const { return type == 0 ? 1 : type == 4 ? 4 : 2; }
};

/// Throws TaskFault for what boards refuse or the model does not implement.
FlyingConfig read_flying_config(const FlyingRegisters& registers, const Lut& lut,
                                std::uint32_t dma_base, const Quirks& quirks,
                                bool feeds_pool = false);

}  // namespace npu::sim
