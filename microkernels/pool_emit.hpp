// SPDX-License-Identifier: MIT
// A pool's programs: tasks of the PPU, or of the DPU on shifted views.
#pragma once

#include <cstdint>
#include <vector>

#include "microkernels/executor.hpp"
#include "microkernels/pool_plan.hpp"
#include "npu-sim/timing.hpp"

namespace npu::kernels {

/// What a core needs for a run: its buffers (slot 0 is the input, the last one the output), its
/// tasks, and what the timing model says of each.
struct PoolProgram {
  std::vector<Slot> slots;
  Stage stage;
  std::vector<sim::TaskWork> work;
  Range in_rows;  ///< path ppu: of the first pass's input
};

/// The path ppu: buffers are cubes [surface][row][column] of what the core reads and writes.
PoolProgram emit_ppu_pool(const Pool2dPlan& plan, const PoolCore& core);

/// How the path `shifted` lays the padded image out, in atoms: [x phase][y phase][row][column]
/// [surface]. With phases, row r of phase p is row r * phases + p of the image, so that the views
/// of a strided window are dense; without them windows are doubled.
struct ShiftLayout {
  std::uint32_t y_phases = 1, x_phases = 1;
  std::uint32_t rows = 0, columns = 0;          ///< of a phase
  std::uint32_t surfaces = 0;                   ///< of the core
  std::uint32_t first_row = 0;                  ///< of the padded image
  std::uint32_t out_row_step = 0, out_row = 0;  ///< output row y begins at y * step rows of out_row
  std::uint32_t out_column_step = 0;            ///< in columns
  std::uint64_t in_atoms = 0;
};
ShiftLayout shift_layout(const Pool2dPlan& plan, const PoolCore& core);
PoolProgram emit_shifted_pool(const Pool2dPlan& plan, const PoolCore& core);

/// What counts as the lowest (max) or highest (min) element, or as 0 (averages), as element bits.
std::uint32_t pool_padding(DataType type, const Pool2dOptions& options);

/// The PPU's reciprocal: 2^16 / k in integers, or as the FP17 with 6 bits of exponent that it takes
/// for floats [allbilly expt/pooling.py, board].
std::uint32_t ppu_reciprocal(DataType type, std::uint32_t k);

/// Output columns of one task: the line buffer keeps those of windows under way. 128 of one row,
/// halved for each doubling of the rows that overlap, none for more than 8 [iree-rocket LIMITS.md,
/// HW; docs/open-questions.md pool_line_buffer].
std::uint32_t ppu_columns(std::uint32_t kernel_height, std::uint32_t stride_y);

}  // namespace npu::kernels
