// SPDX-License-Identifier: MIT
// How a packed matrix lies in memory: the same bits as in the GGUF file, in an order in which
// sixteen rows are the lanes of a vector.
//
//   matrix   panels of 16 rows (the last one filled up with zeros), one after the other
//   panel    slabs of 256 columns (the last one shorter), one after the other, each 64-byte aligned
//   slab     the arrays below, for its columns and 16 rows, one after the other
//
// g counts groups of 32 columns, j quads of columns in a group, r rows, b the columns of a quad.
// Value (g, j, r, b) is that of row r and column 32 g + 4 j + b. A "low nibble" array holds
// [g][j 0..3][r][b] bytes: values of quad j in the low and of quad j + 4 in the high four bits.
//
//   Q4_0   low nibbles; d [g][r] (f16)
//   Q5_0   low nibbles; fifth bits [g][r][b], that of quad j in bit j; d [g][r]
//   Q8_0   values as signed bytes [g][j][r][b]; d [g][r]
//   Q4_K   low nibbles; scales [12][r] (the file's twelve bytes); d [r]; dmin [r]
//   Q5_K   low nibbles; fifth bits [g][r][b]; scales [12][r]; d [r]; dmin [r]
//   Q6_K   low nibbles; upper bits [g][2][r][b], those of quads 4 h + i in bits 2 i, 2 i + 1 of
//          half h; scales [16][r] (int8, one per 16 columns); d [r]
//   F32, F16, BF16   values [column][r]
#pragma once

#include <cstddef>
#include <cstdint>

#include "llm-runtime/tensor_type.hpp"

namespace npu::llm::cpu {

constexpr std::size_t kPanelRows = 16;
constexpr std::size_t kSlabColumns = 256;
constexpr std::size_t kGroupColumns = 32;
constexpr std::size_t kAlignment = 64;

constexpr std::size_t align_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

constexpr bool is_float(TensorType type) {
  return type == TensorType::f32 || type == TensorType::f16 || type == TensorType::bf16;
}
/// Types of 256 values a block: their activations share one scale per 256 as well.
constexpr bool is_k_quant(TensorType type) {
  return type == TensorType::q4_k || type == TensorType::q5_k || type == TensorType::q6_k;
}

/// Offsets of a slab's arrays; what a type lacks is 0.
struct SlabLayout {
  std::size_t high = 0, scales = 0, d = 0, dmin = 0;
};
constexpr SlabLayout slab_layout(TensorType type, std::size_t columns) {
  const std::size_t groups = columns / kGroupColumns;
  switch (type) {
    case TensorType::q4_0: return {0, 0, groups * 256, 0};
    case TensorType::q5_0: return {groups * 256, 0, groups * 320, 0};
    case TensorType::q8_0: return {0, 0, groups * 512, 0};
    case TensorType::q4_k: return {0, 2048, 2240, 2272};
    case TensorType::q5_k: return {2048, 2560, 2752, 2784};
    case TensorType::q6_k: return {2048, 3072, 3328, 0};
    default: return {};
  }
}

/// What is subtracted from a code, which is unsigned, before it is scaled. (The codes of Q8_0 are
/// the stored bytes with the sign bit flipped.)
constexpr int value_offset(TensorType type) {
  switch (type) {
    case TensorType::q4_0: return 8;
    case TensorType::q5_0: return 16;
    case TensorType::q8_0: return 128;
    case TensorType::q6_k: return 32;
    default: return 0;
  }
}

/// Bytes of a slab of `columns` (a multiple of the type's block, at most 256).
constexpr std::size_t slab_bytes(TensorType type, std::size_t columns) {
  return align_up(kPanelRows * row_bytes(type, columns), kAlignment);
}

constexpr std::size_t panel_bytes(TensorType type, std::size_t columns) {
  return columns / kSlabColumns * slab_bytes(type, kSlabColumns) +
         slab_bytes(type, columns % kSlabColumns);
}

constexpr std::size_t panels(std::size_t rows) { return (rows + kPanelRows - 1) / kPanelRows; }

}  // namespace npu::llm::cpu
