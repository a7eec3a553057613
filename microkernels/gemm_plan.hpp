// SPDX-License-Identifier: MIT
// How a matrix product is cut into tasks: plain data, no device involved.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "microkernels/data_type.hpp"

namespace npu::kernels {

/// C[m][n] = A[m][k] . B[n][k]^T, all row-major; every size at least 1.
struct GemmShape {
  std::uint32_t m = 0, n = 0, k = 0;
  friend bool operator==(const GemmShape&, const GemmShape&) = default;
};

/// What is multiplied and what comes out. Pairs that the chip computes, and those that the host
/// completes from slices of K:
///   i8 -> i32    exact
///   i8 -> i8     sums plus bias through the output converter
///   i4 -> i16    exact; K at most kMaxGemmKInt16, beyond which int16 could overflow
///   i4 -> i32    exact; slices of K of that size, added by the host
///   f16 -> f32, bf16 -> f32, tf32 -> f32    products of 32 consecutive k are summed exactly and
///                rounded once, such sums added in fp32 in K order; slices added by the host in
///                fp32
///   f16 -> f16   the same, rounded to fp16 at the end
struct GemmTypes {
  DataType in = DataType::i8, out = DataType::i32;
  friend bool operator==(const GemmTypes&, const GemmTypes&) = default;
};
std::string to_string(const GemmTypes& types);  ///< "i8->i32"

/// Output of a product of int8.
using GemmOutput = DataType;

/// Sums of more products of two int8 may leave int32.
inline constexpr std::uint32_t kMaxGemmK = 131071;
/// 511 * 64 < 2^15: sums of more products of two int4 may leave int16. A multiple of 32.
inline constexpr std::uint32_t kMaxGemmKInt16 = 480;

/// Rows, columns or products [begin, begin + size).
struct Range {
  std::uint32_t begin = 0, size = 0;
  std::uint32_t end() const { return begin + size; }
  friend bool operator==(const Range&, const Range&) = default;
};

/// `whole` in `parts` ranges as even as possible, or fewer if there are not as many steps; sizes
/// are multiples of `step` but for the last one.
std::vector<Range> split_range(Range whole, std::uint32_t parts, std::uint32_t step);

/// One task: a tile of C over a slice of K. Offsets are bytes into the core's buffers.
struct GemmTask {
  std::uint32_t slice = 0;  ///< index of the K slice
  Range m, n, k;            ///< real sizes
  std::uint32_t m_padded = 0, n_padded = 0, k_padded = 0;
  std::uint32_t width = 0, height = 0;  ///< the rows as the convolution's cube: width * height
  std::uint32_t data_banks = 0, weight_banks = 0;
  bool data_reuse = false, weight_reuse = false;
  std::uint64_t a_offset = 0, b_offset = 0, bias_offset = 0, c_offset = 0;

  std::uint64_t macs() const { return std::uint64_t{m_padded} * n_padded * k_padded; }
  friend bool operator==(const GemmTask&, const GemmTask&) = default;
};

/// What one core does. Tasks are ordered by slice; the tiles of each slice are the same and use
/// the same place in C, so a slice has to be read back before the next one is started.
struct GemmCore {
  Range m, n;
  std::uint64_t a_bytes = 0, b_bytes = 0, bias_bytes = 0, c_bytes = 0;
  std::vector<GemmTask> tasks;
  friend bool operator==(const GemmCore&, const GemmCore&) = default;
};

struct GemmPlan {
  GemmShape shape;
  GemmTypes types;
  DataType task_output = DataType::i32;  ///< what the tasks write: whole sums if K is sliced
  std::uint32_t slices = 1;              ///< of K; several are summed on the host
  std::uint64_t feature_bytes = 0, weight_bytes = 0, output_bytes = 0;  ///< moved by the NPU
  double seconds = 0;  ///< modelled, of the busiest core, the host's share of sliced K included
  std::vector<GemmCore> cores;  ///< at most as many as asked for, with disjoint parts of C
  friend bool operator==(const GemmPlan&, const GemmPlan&) = default;
};

/// Cuts a product for `cores` (at least 1) cores, by columns of C where there are enough of them,
/// else by rows, and picks the slicing of K that takes the least time by the timing model.
///
/// Limits honoured by every task [compute.md 2.1]: K a multiple of the weight block's channels (32,
/// tf32 16), N of its kernels (int8 32, int4 64, floats 16), M of 4 and at least 4; banks for the
/// features, for integers with one spare (the int8 feature DMA may read one bank too far), a group
/// of kernels fits into the remaining ones, height at most 1020 (FEATURE_GRAINS), at most 4096
/// columns, and few enough products to end long before the kernel's 500 ms.
///
/// Throws invalid_argument for an empty shape, types that are no pair of the list above, or K above
/// their limit; out_of_memory if a matrix does not fit a buffer object.
GemmPlan plan_gemm(const GemmShape& shape, const GemmTypes& types, unsigned cores = 1);
/// Products of int8.
inline GemmPlan plan_gemm(const GemmShape& shape, GemmOutput output, unsigned cores = 1) {
  return plan_gemm(shape, GemmTypes{DataType::i8, output}, cores);
}

/// Several lines for people: sizes, slices, bytes, one line per task.
std::string to_string(const GemmPlan& plan);

}  // namespace npu::kernels
