// SPDX-License-Identifier: MIT
// The inner loops of the matrix products. Every instruction set does the same arithmetic in the
// same order (a lane is a row, so nothing is added across lanes), so that all give the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "llm-runtime/cpu/layout.hpp"

namespace npu::llm::cpu {

/// How activations are quantised: x = d * q, q in [-127, 127], d one for each block.
enum class ActivationBlock : std::uint8_t { none, of_32, of_256 };

constexpr ActivationBlock activation_block(TensorType type) {
  return is_float(type)     ? ActivationBlock::none
         : is_k_quant(type) ? ActivationBlock::of_256
                            : ActivationBlock::of_32;
}

/// Rows of activations [rows][columns], quantised.
struct Activations {
  std::size_t rows = 0, columns = 0;
  const std::int8_t* q = nullptr;  ///< [rows][columns]
  const float* d = nullptr;        ///< [rows][columns / block]
  /// -128 times the sum of q over each 32 columns (of_32) or 16 columns (of_256): what the dot
  /// product with values + 128 has too much.
  const std::int32_t* correction = nullptr;
  const std::int16_t* sums = nullptr;  ///< of_256: the sum of q over each 32 columns
};

/// One row of them, to be written.
struct ActivationRow {
  std::int8_t* q;
  float* d;
  std::int32_t* correction;
  std::int16_t* sums;
};

/// One or two panels that lie one after the other.
struct Panels {
  TensorType type;
  std::size_t columns;
  const std::byte* data;
  std::size_t count;
};

constexpr std::size_t kMaxPanels = 2;

/// n is a multiple of the block. A block that holds an infinity or a NaN gets d = NaN.
void quantize(ActivationBlock block, const float* x, std::size_t n, const ActivationRow& out);

/// out[i - first][r] (32 floats from row to row) = product of row r of the panels with row i of x,
/// for i in [first, last). Quantised types.
void multiply(const Panels& w, const Activations& x, std::size_t first, std::size_t last,
              float* out);

/// The same in f32 for every type: x [last - first] rows, x_stride floats apart.
void multiply_f32(const Panels& w, const float* x, std::size_t x_stride, std::size_t rows,
                  float* out);

/// The definition of the arithmetic in plain C++: also the path of CPUs without AVX2 or NEON.
namespace plain {
void quantize(ActivationBlock block, const float* x, std::size_t n, const ActivationRow& out);
void multiply(const Panels& w, const Activations& x, std::size_t first, std::size_t last,
              float* out);
void multiply_f32(const Panels& w, const float* x, std::size_t x_stride, std::size_t rows,
                  float* out);
}  // namespace plain

}  // namespace npu::llm::cpu
