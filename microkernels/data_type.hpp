// SPDX-License-Identifier: MIT
// Element types, and what the chip makes of them.
#pragma once

#include <cstdint>
#include <string_view>

#include "npu-sim/timing.hpp"

namespace npu::kernels {

enum class DataType : std::uint8_t { i4, i8, i16, f16, bf16, tf32, i32, f32 };
std::string_view to_string(DataType type);

/// Bits of an element in memory. tf32 operands are stored as fp32.
constexpr std::uint32_t bits(DataType type) {
  switch (type) {
    case DataType::i4: return 4;
    case DataType::i8: return 8;
    case DataType::i16:
    case DataType::f16:
    case DataType::bf16: return 16;
    case DataType::tf32:
    case DataType::i32:
    case DataType::f32: return 32;
  }
  return 0;
}
/// Bytes of elements in the chip's memory, the last one whole.
constexpr std::uint64_t type_bytes(DataType type, std::uint64_t elements) {
  return (elements * bits(type) + 7) / 8;
}
constexpr bool is_float(DataType type) {
  return type == DataType::f16 || type == DataType::bf16 || type == DataType::tf32 ||
         type == DataType::f32;
}

/// Elements of a feature atom of 16 bytes: C2 of the layout [C/C2][H][W][C2].
constexpr std::uint32_t atom_elements(DataType type) { return 128 / bits(type); }

/// How the MAC array takes its operands [compute.md 1.4, 2.2; notes tile-layouts, HW].
struct MacFormat {
  std::uint32_t precision;      ///< code of CNA and CORE
  std::uint32_t dpu_precision;  ///< code of the DPU's input and processing
  std::uint32_t kernel_group;   ///< kernels taken together; weights come in groups of them
  std::uint32_t channel_block;  ///< channels of a weight block; K is a multiple of it
  std::uint32_t macs_per_cycle;
};
/// Throws invalid_argument for a type that the array does not take (i32, f32).
MacFormat mac_format(DataType input);

/// How the timing model calls operands of a type; int8 for those that the array does not take.
constexpr sim::MacType mac_type(DataType input) {
  switch (input) {
    case DataType::i4: return sim::MacType::int4;
    case DataType::i16: return sim::MacType::int16;
    case DataType::f16: return sim::MacType::fp16;
    case DataType::bf16: return sim::MacType::bf16;
    case DataType::tf32: return sim::MacType::tf32;
    case DataType::i8:
    case DataType::i32:
    case DataType::f32: break;
  }
  return sim::MacType::int8;
}

/// The DPU's code of an output type: its own for all but tf32, which it cannot write.
std::uint32_t output_precision(DataType output);

}  // namespace npu::kernels
