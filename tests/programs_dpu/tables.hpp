// SPDX-License-Identifier: MIT
// Table (LUT) programs of the DPU alone, with the registers and values that run on boards [notes
// encodings/dpu-lut-activation.md, userspace activation gates, HW; allbilly silu.py, board].
#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include "board.hpp"

namespace npu::sim::programs {

using Function = std::function<double(double)>;

/// The contents of both tables and what places them.
struct Tables {
  std::array<std::int32_t, 513> le{}, lo{};
  std::uint16_t bn_mul = 0;           ///< fp16: input to index
  std::uint32_t bn_alu = 0x80000000;  ///< fp32 added to the index; -0.0 adds nothing
  std::int32_t offset = 0;            ///< OUT_CVT
  std::uint32_t minus_exp = 0;
  bool add_first = true;  ///< OUT_CVT's CVT_TYPE
  std::uint32_t ew_cfg = 0x300;
  std::uint32_t le_underflow_scale = 0, le_underflow_shift = 0;
  std::uint32_t lo_overflow_scale = 0, lo_overflow_shift = 0;
};

/// f with values in [0, 1], both halves, index scale 2596 (+-6.31).
Tables unit_tables(const Function& f);
/// f = low + 2^span * (0 to 1), both halves.
Tables affine_tables(const Function& f, double index_scale, double low, int span);
/// The whole of [x0, x1] in LO, entries not below `floor`.
Tables shifted_tables(const Function& f, double x0, double x1, double low, int span,
                      std::int32_t floor = 1);

/// Elements f(x) as the board delivers them; runs of at most 32768, each its own start. Empty if a
/// start did not end.
Halves apply(Board& board, const Tables& tables, const Halves& x);

/// The words of one start, n a multiple of 8.
std::vector<std::uint64_t> table_program(const Tables& t, std::uint32_t n, std::uint32_t in,
                                         std::uint32_t out, bool with_tables = true);

}  // namespace npu::sim::programs
