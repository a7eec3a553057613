// SPDX-License-Identifier: MIT
// Floats to every tensor type: for random models and tests, with care but without an importance
// matrix. The blocks are valid for any reader; their bits need not be llama-quantize's.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "llm-runtime/tensor_type.hpp"

namespace npu::llm {

/// `to` takes row_bytes(type, from.size()) bytes, aligned as the type's numbers; from.size() is a
/// multiple of the type's block. Values must be finite.
void quantize_row(TensorType type, std::span<const float> from, std::byte* to);

/// The same for a matrix that lies row by row, of which each row is a multiple of the block.
std::vector<std::byte> quantize(TensorType type, std::span<const float> from);

}  // namespace npu::llm
