// SPDX-License-Identifier: MIT
// From floats to the int8 operands of the NPU's matrix product, and back from its int32 sums.
//
// W is quantised per output row, x per token; either may have its columns cut into parts, each with
// a scale of its own, whose sums are then added as floats:
//   y[i][r] = sum over parts p of scale_w[r][p] * scale_x[i][p] * (q_w[r][p] . q_x[i][p])
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace npu::llm {

struct QuantisationOptions {
  std::uint32_t part = 0;  ///< columns that share a scale; 0: all
  /// Both operands are multiplied by the same orthogonal matrix before they are rounded, which
  /// spreads outliers over a block of columns and leaves the product as it was.
  bool rotate = false;
};

/// int8 rows with their scales.
struct QuantisedMatrix {
  std::uint32_t rows = 0, columns = 0;
  std::uint32_t part = 0;      ///< columns of a part, never 0; the last one may be shorter
  std::vector<std::int8_t> q;  ///< [rows][columns], -127 to 127
  std::vector<float> scales;   ///< [rows][parts()]
  std::uint32_t parts() const { return part == 0 ? 0 : (columns + part - 1) / part; }
};

/// Room for `rows` rows to be filled by quantise_row(). Throws invalid_argument if a part is no
/// multiple of 32, the columns of a weight block of the chip.
QuantisedMatrix quantised_matrix(std::uint32_t rows, std::uint32_t columns,
                                 const QuantisationOptions& options);

/// Symmetric, the largest magnitude of a part becomes 127; ties to even. A row of zeros gets scale
/// 0. Different rows may be written by different threads. A value that is not finite throws
/// check_failed.
void quantise_row(std::span<const float> values, std::uint32_t row, QuantisedMatrix& to);

/// Columns of a block of rotate(): the largest power of two that divides `columns`, at most 1024.
std::uint32_t rotation_block(std::uint32_t columns);

/// Multiplies each block of columns by a Hadamard matrix scaled to be orthogonal, after turning the
/// signs of a fixed pseudo-random half of the columns. rotate(w) . rotate(x) = w . x.
void rotate(std::span<float> row);

/// out[r] += token_scale * row_scales[r][p] * sums[r] for part `p`; row_scales is [rows][parts].
void add_scaled(std::span<const std::int32_t> sums, std::span<const float> row_scales,
                std::uint32_t p, float token_scale, std::span<float> out);

/// What the chip has to answer: sums[i][r] = q_w[r] . q_x[i] over part `p`, exact.
std::vector<std::int32_t> reference_sums(const QuantisedMatrix& w, const QuantisedMatrix& x,
                                         std::uint32_t p);

}  // namespace npu::llm
