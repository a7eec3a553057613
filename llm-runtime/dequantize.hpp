// SPDX-License-Identifier: MIT
// Rows of every tensor type as floats: the reference that kernels are compared with.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "llm-runtime/tensor_type.hpp"

namespace npu::llm {

/// `from` holds row_bytes(type, to.size()) bytes, aligned as the type's numbers; to.size() is a
/// multiple of the type's block. The same floats as ggml's to_float, bit for bit.
void dequantize_row(TensorType type, const std::byte* from, std::span<float> to);

/// Row `row` of a matrix; to.size() is view.columns.
void dequantize_row(const WeightView& view, std::uint32_t row, std::span<float> to);

/// Scale and minimum of a group of 32 in a Q4_K or Q5_K block, 0 to 63 each.
struct ScaleMin {
  std::uint8_t scale, min;
};

/// The twelve bytes hold, for groups 0 to 3, six bits each of scale and minimum in bytes 0-3 and
/// 4-7; of groups 4 to 7 the low four bits of both in bytes 8-11 and the high two bits at the top
/// of the first eight bytes [ggml-quants.c, get_scale_min_k4].
ScaleMin unpack_scale_min(const std::uint8_t (&scales)[12], int group);
void pack_scale_min(std::uint8_t (&scales)[12], const std::array<ScaleMin, 8>& values);

}  // namespace npu::llm
