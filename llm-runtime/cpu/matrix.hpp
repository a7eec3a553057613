// SPDX-License-Identifier: MIT
// Weights in the order in which this CPU reads them.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "llm-runtime/cpu/buffer.hpp"
#include "llm-runtime/cpu/thread_pool.hpp"
#include "llm-runtime/tensor_type.hpp"

namespace npu::llm::cpu {

/// A weight matrix [rows][columns], packed (layout.hpp). It takes as many bytes as in the file, but
/// for Q6_K (1 % more) and rows that are no multiple of 16.
class Matrix {
 public:
  Matrix() = default;

  /// Packs a copy; `view` may go away afterwards. npu::Error invalid_argument if the columns are
  /// no multiple of the type's block or the type is unknown.
  Matrix(const WeightView& view, ThreadPool& pool);

  /// Uses bytes that packed_bytes() gave earlier, which must stay where they are, 64-byte aligned.
  /// npu::Error bad_file if their number does not fit the shape.
  static Matrix from_packed(TensorType type, std::size_t rows, std::size_t columns,
                            std::span<const std::byte> packed);

  TensorType type() const { return type_; }
  std::size_t rows() const { return rows_; }
  std::size_t columns() const { return columns_; }
  std::size_t bytes() const { return packed_.size(); }
  std::span<const std::byte> packed_bytes() const { return packed_; }

  /// Where the 16 rows of panel `p` begin.
  const std::byte* panel(std::size_t p) const { return packed_.data() + p * panel_bytes_; }

 private:
  TensorType type_ = TensorType::f32;
  std::size_t rows_ = 0, columns_ = 0, panel_bytes_ = 0;
  Buffer own_;
  std::span<const std::byte> packed_;
};

/// Names the packed layout; a cache file made under another name must be made anew. All CPUs share
/// one layout.
std::string_view packed_layout();

/// Bytes that from_packed() expects.
std::size_t packed_size(TensorType type, std::size_t rows, std::size_t columns);

/// row [columns] of the matrix in f32, e.g. the embedding of a token.
void dequantize_row(const Matrix& matrix, std::size_t row, float* out);

}  // namespace npu::llm::cpu
