// SPDX-License-Identifier: MIT
// The inner loops of layout.cpp, compiled once for each instruction set and chosen at run time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace npu::kernels {

/// Rows of `runs` runs of `run` bytes (16, 32 or 64) in one place, `row_step` bytes apart, and the
/// same runs in the other: run j of row r at j * pitch + r * run. Weight groups and feature cubes
/// are both of this form.
struct RunGrid {
  std::size_t rows = 0, runs = 0, run = 0;
  std::size_t row_step = 0, pitch = 0;
  bool stream = false;  ///< past the caches: for what is larger than they are
};

/// Rows to runs.
void gather_runs(const RunGrid& grid, const std::byte* rows, std::byte* runs);
/// The same with runs of 16 bytes that hold 32 values of -8 to 7, two to a byte, the first one in
/// the low half; in the rows each has a byte.
void gather_nibbles(const RunGrid& grid, const std::byte* rows, std::byte* runs);
/// Runs of 16 bytes to rows.
void scatter_runs(const RunGrid& grid, const std::byte* runs, std::byte* rows);

/// What becomes of an element of a row where a value of a run (of 16 bytes) meets it. Integers
/// modulo 2^32; sums of i16 are i32, so that a run meets 32 bytes of its row.
enum class RunUpdate : std::uint8_t { add_i32, add_f32, add_i16, widen_i16 };
void update_rows(RunUpdate update, const RunGrid& grid, const std::byte* runs, std::byte* rows);

}  // namespace npu::kernels
