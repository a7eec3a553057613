// SPDX-License-Identifier: MIT
// From floats to the int8 operands of the NPU's matrix product, and back from its int32 sums.
//
// W is quantised per output row, x per token; either may have its columns cut into parts, each with
// a scale of its own, whose sums are then added as floats:
//   y[i][r] = sum over parts p of scale_w[r][p] * scale_x[i][p] * (q_w[r][p] . q_x[i][p])
// Before that, columns of both may be transformed such that the product stays what it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace npu::llm {

/// docs/quality.md says what each is worth.
struct QuantisationOptions {
  std::uint32_t part = 0;  ///< columns that share a scale; 0: all
  /// Columns of W are brought nearer to one size, those of x in return.
  bool equalise = true;
  /// Both operands are multiplied by the same orthogonal matrix before they are rounded, which
  /// spreads outliers over a block of columns.
  bool rotate = true;
  /// x as two int8 rows, high and low byte, for twice the work: 16 bits instead of 8.
  bool wide = false;
  friend bool operator==(const QuantisationOptions&, const QuantisationOptions&) = default;
};

/// Scales by row and token, nothing else.
inline constexpr QuantisationOptions kPlainQuantisation{.equalise = false, .rotate = false};

/// int8 rows with their scales.
struct QuantisedMatrix {
  std::uint32_t rows = 0, columns = 0;
  std::uint32_t part = 0;      ///< columns of a part, never 0; the last one may be shorter
  std::vector<std::int8_t> q;  ///< [rows][columns], -127 to 127; low bytes -128 to 127
  std::vector<float> scales;   ///< [rows][parts()]
  std::uint32_t parts() const { return part == 0 ? 0 : (columns + part - 1) / part; }
};

/// Room for `rows` rows to be filled by quantise_row(); for wide ones, twice as many as are
/// quantised. `part` is 0 or more than there are for all columns. Throws invalid_argument for one
/// that is no multiple of 32, the columns of a weight block of the chip.
QuantisedMatrix quantised_matrix(std::uint32_t rows, std::uint32_t columns, std::uint32_t part);

/// Symmetric, the largest magnitude of a part becomes 127; ties to even. A row of zeros gets scale
/// 0. Different rows may be written by different threads. A value that is not finite throws
/// bad_file.
void quantise_row(std::span<const float> values, std::uint32_t row, QuantisedMatrix& to);

/// The same with the largest magnitude 32639 = 127 * 256 + 127: the high bytes become row `row`,
/// with scales of 256 steps, and the low bytes become row `row` of the second half.
void quantise_row_wide(std::span<const float> values, std::uint32_t row, QuantisedMatrix& to);

/// What is done to the columns of both operands before they are rounded: a factor for each, then a
/// Hadamard matrix for each block of columns. (W D^-1 H)(H^T D x) = W x.
struct ColumnTransform {
  std::vector<float> weights, inputs;  ///< factors of the columns of W and of x; empty: none
  std::uint32_t block = 1;             ///< columns of a Hadamard matrix, a power of two; 1: none
};

/// `squares` has the sum of the squares of each column of W; only `equalise` looks at them. D is
/// the square root of a column's root mean square, relative to the mean of all: halfway between
/// leaving W alone and making its columns equal.
ColumnTransform column_transform(std::span<const double> squares,
                                 const QuantisationOptions& options);

/// One row of W with transform.weights, or of x with transform.inputs.
void transform_row(std::span<const float> factors, std::uint32_t block, std::span<float> row);

/// Columns of a block of a rotation: the largest power of two that divides `columns`, at most 1024.
std::uint32_t rotation_block(std::uint32_t columns);

/// out[r] += token_scale * row_scales[r][p] * sums[r] for part `p`; row_scales is [rows][parts].
void add_scaled(std::span<const std::int32_t> sums, std::span<const float> row_scales,
                std::uint32_t p, float token_scale, std::span<float> out);

/// What the chip has to answer: sums[i][r] = q_w[r] . q_x[i] over part `p`, exact.
std::vector<std::int32_t> reference_sums(const QuantisedMatrix& w, const QuantisedMatrix& x,
                                         std::uint32_t p);

}  // namespace npu::llm
