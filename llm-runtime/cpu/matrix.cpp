// SPDX-License-Identifier: MIT
#include "llm-runtime/cpu/matrix.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "llm-runtime/cpu/layout.hpp"
#include "llm-runtime/cpu/panel.hpp"
#include "llm-runtime/half.hpp"
#include "regdb/error.hpp"

namespace npu::llm::cpu {
namespace {

void check_shape(TensorType type, std::size_t rows, std::size_t columns) {
  const BlockShape block = block_shape(type);
  if (block.bytes == 0)
    throw Error(ErrorCode::invalid_argument,
                "a weight matrix of an unknown type; convert the file");
  if (rows == 0 || columns == 0 || columns % block.values != 0)
    throw Error(ErrorCode::invalid_argument,
                "a weight matrix of " + std::to_string(rows) + " x " + std::to_string(columns) +
                    " cannot be " + std::string(to_string(type)) +
                    ", whose rows are made of blocks of " + std::to_string(block.values));
}

}  // namespace

std::size_t packed_size(TensorType type, std::size_t rows, std::size_t columns) {
  check_shape(type, rows, columns);
  return panels(rows) * panel_bytes(type, columns);
}

std::string_view packed_layout() { return "panel16-2"; }

Matrix::Matrix(const WeightView& view, ThreadPool& pool)
    : type_(view.type), rows_(view.rows), columns_(view.columns) {
  if (view.data == nullptr)
    throw Error(ErrorCode::invalid_argument, "a weight matrix without data");
  own_ = Buffer(packed_size(type_, rows_, columns_));
  panel_bytes_ = cpu::panel_bytes(type_, columns_);
  packed_ = {own_.data(), own_.bytes()};
  pool.parallel_for(panels(rows_), 4, [&](std::size_t begin, std::size_t end) {
    for (std::size_t p = begin; p < end; ++p)
      pack_panel(view, p * kPanelRows, own_.data() + p * panel_bytes_);
  });
}

Matrix Matrix::from_packed(TensorType type, std::size_t rows, std::size_t columns,
                           std::span<const std::byte> packed) {
  const std::size_t expected = packed_size(type, rows, columns);
  if (packed.size() != expected)
    throw Error(ErrorCode::bad_file, "packed weights of " + std::to_string(packed.size()) +
                                         " bytes where " + std::to_string(expected) +
                                         " are expected; remove the cache file");
  if (reinterpret_cast<std::uintptr_t>(packed.data()) % kAlignment != 0)
    throw Error(ErrorCode::invalid_argument, "packed weights must be aligned to 64 bytes");
  Matrix matrix;
  matrix.type_ = type;
  matrix.rows_ = rows;
  matrix.columns_ = columns;
  matrix.panel_bytes_ = cpu::panel_bytes(type, columns);
  matrix.packed_ = packed;
  return matrix;
}

void dequantize_row(const Matrix& matrix, std::size_t row, float* out) {
  if (row >= matrix.rows())
    throw Error(ErrorCode::invalid_argument,
                "row " + std::to_string(row) + " of a matrix of " + std::to_string(matrix.rows()));
  const std::byte* slab = matrix.panel(row / kPanelRows);
  for (std::size_t k = 0; k < matrix.columns(); k += kSlabColumns) {
    const std::size_t columns = std::min(kSlabColumns, matrix.columns() - k);
    dequantize_slab_row(matrix.type(), slab, columns, row % kPanelRows, out + k);
    slab += slab_bytes(matrix.type(), columns);
  }
}

}  // namespace npu::llm::cpu
