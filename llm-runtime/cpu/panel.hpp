// SPDX-License-Identifier: MIT
// Into and out of the packed layout (layout.hpp), value by value.
#pragma once

#include <cstddef>
#include <cstdint>

#include "llm-runtime/cpu/layout.hpp"
#include "llm-runtime/tensor_type.hpp"

namespace npu::llm::cpu {

/// Packs rows [first, first + 16) of `view`; rows beyond its last are zero.
void pack_panel(const WeightView& view, std::size_t first, std::byte* panel);

/// One row of a slab as quantised: codes are unsigned, value = d[g] * (code - value_offset) - m[g]
/// with g = column / 16.
struct SlabRow {
  std::uint8_t code[kSlabColumns];
  int scale[16];    ///< the integer scale of each 16 columns; 1 where the type has none
  int minimum[16];  ///< the integer minimum; 0 where the type has none
  float d[8];       ///< of each 32 columns; K-quants: all the same
  float dmin;
};
SlabRow unpack_slab_row(TensorType type, const std::byte* slab, std::size_t columns,
                        std::size_t row);

/// The weights themselves, as ggml's to_float makes them [ggml-quants.c].
void dequantize_slab_row(TensorType type, const std::byte* slab, std::size_t columns,
                         std::size_t row, float* out);

}  // namespace npu::llm::cpu
