// SPDX-License-Identifier: MIT
#include "microkernels/gemm_tiling.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "microkernels/executor.hpp"
#include "microkernels/layout.hpp"
#include "npu-device/device.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

using u32 = std::uint32_t;
using u64 = std::uint64_t;

constexpr u32 kMaxHeight = 1020;    // FEATURE_GRAINS = height + 1 in 10 bits
constexpr u32 kMaxWideRows = 4096;  // rows of a task in the width x height form
constexpr u32 kMaxColumns = 4096;   // widest proven task [mtx512 npu_matmul.c]
// Sizes that boards have run with the DPU adding slices [notes k-accumulation, HW].
constexpr u32 kLeastAddRows = 12, kMostAddRows = 512, kMostAddColumns = 384;

bool folds_rows(const TaskRules& rules) { return rules.types.out == DataType::i8; }
u32 spare_banks(DataType in) { return is_float(in) ? 0 : 1; }

u32 banks(DataType type, u64 elements) {
  return static_cast<u32>(ceil_div<u64>(type_bytes(type, elements), kCbufBankBytes));
}

void refuse(const std::string& what) {
  throw Error(ErrorCode::invalid_argument, "this choice is not possible: " + what);
}

void check_buffer(const char* what, u64 bytes) {
  if (bytes > device::kMaxBufferBytes)
    throw Error(ErrorCode::out_of_memory,
                fmt::format("matrix {} needs {} bytes for the NPU, but a buffer holds at most {}: "
                            "compute it in parts",
                            what, bytes, device::kMaxBufferBytes));
}

}  // namespace

TaskRules task_rules(const GemmTypes& types, bool sliced, SliceSums sums) {
  TaskRules rules{.types = types, .row_step = 4, .most_rows = kMaxHeight};
  rules.format = mac_format(types.in);
  rules.most_columns = kMaxColumns;
  if (types.in == DataType::i4) {
    rules.types.out = DataType::i16;  // the only output of int4; exact as long as K is short
  } else if (sliced && sums == SliceSums::chip) {
    rules.adds = true;
    rules.most_rows = kMostAddRows;
    rules.most_columns = kMostAddColumns;
  } else if (sliced) {
    rules.types.out = is_float(types.in) ? DataType::f32 : DataType::i32;
  }
  if (folds_rows(rules)) {
    rules.row_step = 8;
    rules.most_rows = kMaxWideRows;
  }
  return rules;
}

// Raw sums are proven with width 1 and a height that is a multiple of 4. The requantising program
// takes a real two-dimensional shape: a width above 1 keeps clear of the width-1 fault of the int8
// feature DMA, and a height of at least 4 keeps the surface stride positive [compute.md 2.1, 2.7].
// An operand of fewer than 12 positions is read with the wrong stride [notes k-accumulation, HW].
Rows pad_rows(u32 rows, const TaskRules& rules) {
  if (!folds_rows(rules)) {
    const u32 height = std::max(align_up(rows, 4u), rules.adds ? kLeastAddRows : 4u);
    return {height, 1, height};
  }
  const u32 width = rows <= 8 ? 2 : rows <= 16 ? 4 : 8;
  const u32 height = std::max(4u, ceil_div(rows, width));
  return {width * height, width, height};
}

u32 feature_banks(const TaskRules& rules, u32 rows, u32 k) {
  return banks(rules.types.in, u64{rows} * k) + spare_banks(rules.types.in);
}

u32 max_rows(const TaskRules& rules, u32 k) {
  const u32 needed = banks(rules.types.in, u64{rules.format.kernel_group} * k);
  const u32 spare = spare_banks(rules.types.in);
  if (needed + 1 + spare > kCbufBanks) return 0;
  const u32 data_banks = kCbufBanks - needed - spare;
  const auto rows =
      static_cast<u32>(u64{data_banks} * kCbufBankBytes * 8 / (u64{k} * bits(rules.types.in)));
  if (rules.adds && rows < kLeastAddRows) return 0;
  if (!folds_rows(rules)) return std::min(rows / 4 * 4, rules.most_rows);
  return rows < 16 ? rows / 8 * 8 : rows < 32 ? 16 : std::min(rows / 8 * 8, rules.most_rows);
}

u32 max_columns(const TaskRules& rules, u32 rows, u32 k) {
  const u32 group = rules.format.kernel_group;
  const u64 columns = kMaxTaskMacs / (u64{rows} * k) / group * group;
  return static_cast<u32>(
      std::clamp<u64>(columns, group, std::max(rules.most_columns / group * group, group)));
}

u32 first_columns(const TaskRules& rules, u32 rows, u32 k) {
  TaskRules wide = rules;
  wide.most_columns = kMaxColumns;
  return max_columns(wide, pad_rows(rows, rules).padded, k);
}

u32 resident_columns(const TaskRules& rules, u32 rows, u32 k) {
  const u32 data = feature_banks(rules, rows, k);
  if (data >= kCbufBanks) return 0;
  const u64 bytes = u64{kCbufBanks - data} * kCbufBankBytes;
  const u32 group = rules.format.kernel_group;
  const u64 columns = bytes * 8 / (u64{k} * bits(rules.types.in)) / group * group;
  return static_cast<u32>(std::min<u64>(columns, max_columns(rules, rows, k)));
}

u32 longest_k(const TaskRules& rules) {
  u32 k = rules.types.in == DataType::i4 ? kMaxGemmKInt16 : kCbufBanks * kCbufBankBytes;
  while (max_rows(rules, k) == 0) k -= rules.format.channel_block;
  return k;
}

u32 job_columns(const TaskRules& rules, u32 rows, u32 k) {
  const u32 group = rules.format.kernel_group;
  return static_cast<u32>(std::min<u64>(kMaxJobMacs / (u64{rows} * k), 1u << 20) / group * group);
}

bool reuse_is_proven(DataType in, TaskOrder order) {
  return in == DataType::f16 || (in == DataType::i8 && order == TaskOrder::weights);
}

std::vector<Range> split_range(Range whole, u32 parts, u32 step) {
  std::vector<Range> ranges;
  const u32 steps = ceil_div(whole.size, step);
  parts = std::min(parts, steps);
  u32 done = 0;
  for (u32 i = 0; i < parts; ++i) {
    const u32 next = static_cast<u32>(u64{steps} * (i + 1) / parts);
    const u32 end = std::min(whole.size, next * step);
    ranges.push_back({whole.begin + done, end - done});
    done = end;
  }
  return ranges;
}

std::vector<Range> split_by_limit(Range whole, u32 limit, u32 step) {
  return split_range(whole, ceil_div(ceil_div(whole.size, step), std::max(limit / step, 1u)), step);
}

std::vector<CorePart> divide(const GemmShape& shape, u32 cores, CoreSplit split, u32 group) {
  std::vector<CorePart> parts;
  if (split == CoreSplit::columns) {
    for (const Range& n : split_range({0, shape.n}, cores, group))
      parts.push_back({{0, shape.m}, n});
  } else {
    for (const Range& m : split_range({0, shape.m}, cores, 4)) parts.push_back({m, {0, shape.n}});
  }
  return parts;
}

CoreSplit usual_split(const GemmShape& shape, u32 cores, u32 group) {
  const u64 by_n = u64{align_up(ceil_div(shape.n, cores), group)} * align_up(shape.m, 4u);
  const u64 by_m = u64{align_up(ceil_div(shape.m, cores), 4u)} * align_up(shape.n, group);
  return by_n <= by_m + by_m / 8 ? CoreSplit::columns : CoreSplit::rows;
}

void check_gemm(const GemmShape& shape, const GemmTypes& types, unsigned cores) {
  if (shape.m == 0 || shape.n == 0 || shape.k == 0) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("a GEMM of {} x {} x {} is empty: M, N and K must be at least 1",
                            shape.m, shape.n, shape.k));
  }
  using enum DataType;
  constexpr GemmTypes pairs[] = {{i8, i32},  {i8, i8},   {i4, i16},   {i4, i32},
                                 {f16, f32}, {f16, f16}, {bf16, f32}, {tf32, f32}};
  if (std::ranges::find(pairs, types) == std::end(pairs)) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("there is no GEMM {}: use i8->i32, i8->i8, i4->i16, i4->i32, f16->f32, "
                            "f16->f16, bf16->f32 or tf32->f32",
                            to_string(types)));
  }
  const u32 most = types.out == i16 ? kMaxGemmKInt16 : kMaxGemmK;
  if (!is_float(types.in) && shape.k > most) {
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("K = {} may overflow the {} sums: use at most {}, {}", shape.k,
                    to_string(types.out == i16 ? i16 : i32), most,
                    types.out == i16 ? "or i32 output" : "or add partial products in 64 bits"));
  }
  if (cores == 0) throw Error(ErrorCode::invalid_argument, "a GEMM needs at least one core");
  // So that rounding up cannot wrap below, and no absurd shape costs time or memory.
  check_buffer("A", shape.m);
  check_buffer("B", shape.n);
  check_buffer("K", shape.k);
  const MacFormat format = mac_format(types.in);
  u32 m = 0, n = 0;
  for (const CorePart& part :
       divide(shape, cores, usual_split(shape, cores, format.kernel_group), format.kernel_group)) {
    m = std::max(m, part.m.size);
    n = std::max(n, part.n.size);
  }
  const u64 k = align_up(shape.k, format.channel_block);
  check_buffer("A", type_bytes(types.in, m * k));
  check_buffer("B", type_bytes(types.in, n * k));
  check_buffer("C", type_bytes(types.out, u64{m} * align_up(n, format.kernel_group)));
}

void check_choice(const GemmShape& shape, const GemmTypes& types, unsigned cores,
                  const GemmChoice& c) {
  const MacFormat format = mac_format(types.in);
  if (c.cores == 0 || c.cores > cores) refuse(fmt::format("{} core(s) of {}", c.cores, cores));
  if (c.k == 0 || c.k % format.channel_block != 0)
    refuse(fmt::format("k {} is no multiple of {}", c.k, format.channel_block));
  if (c.columns == 0 || c.columns % format.kernel_group != 0)
    refuse(fmt::format("columns {} is no multiple of {}", c.columns, format.kernel_group));
  const bool sliced = c.k < shape.k;
  if (sliced && c.sums == SliceSums::chip && !(types == GemmTypes{DataType::f16, DataType::f16}))
    refuse(fmt::format("the chip adds slices of f16->f16 only, not of {}", to_string(types)));
  if (sliced && types.out == DataType::i16)
    refuse(fmt::format("int16 sums are not added from slices, use k {} or more",
                       align_up(shape.k, format.channel_block)));
  if (types.in == DataType::i4 && c.k > kMaxGemmKInt16)
    refuse(fmt::format("sums of int4 over {} products may leave int16, use k up to {}", c.k,
                       kMaxGemmKInt16));
  const TaskRules rules = task_rules(types, sliced, c.sums);
  if (c.rows == 0 || c.rows % rules.row_step != 0)
    refuse(fmt::format("rows {} is no multiple of {}", c.rows, rules.row_step));
  const u32 rows = max_rows(rules, c.k);
  if (rows == 0) refuse(fmt::format("k {} leaves no room in CBUF", c.k));
  if (c.rows > rows) refuse(fmt::format("{} rows, with k {} at most {}", c.rows, c.k, rows));
  const u32 padded = pad_rows(c.rows, rules).padded;
  const u32 columns = max_columns(rules, padded, c.k);
  if (c.columns > columns)
    refuse(fmt::format("{} columns, with {} rows and k {} at most {}", c.columns, c.rows, c.k,
                       columns));
  if (c.row_passes == 0 || c.column_passes == 0) refuse("C is computed in at least one pass");
  if (sliced && !rules.adds && (c.row_passes != 1 || c.column_passes != 1))
    refuse("slices that the host adds are computed in one pass");
  if (rules.adds) {
    u32 m = 0, n = 0;
    for (const CorePart& part : divide(shape, c.cores, c.split, format.kernel_group)) {
      m = std::max(m, part.m.size);
      n = std::max(n, part.n.size);
    }
    const u32 tall = ceil_div(ceil_div(m, rules.row_step), c.row_passes) * rules.row_step;
    const u32 wide =
        ceil_div(ceil_div(n, format.kernel_group), c.column_passes) * format.kernel_group;
    const u64 macs =
        u64{pad_rows(tall, rules).padded} * wide * align_up(shape.k, format.channel_block);
    if (macs > kMaxJobMacs)
      refuse(fmt::format("a pass of {} rows and {} columns has {} products, a job at most {}", tall,
                         wide, macs, kMaxJobMacs));
  }
  if (c.reuse && !reuse_is_proven(types.in, c.order))
    refuse(fmt::format("no board has shown that {} of {} may stay in CBUF", to_string(c.order),
                       to_string(types.in)));
  if (c.reuse && c.order == TaskOrder::weights && c.columns > resident_columns(rules, padded, c.k))
    refuse(fmt::format("the weights of {} columns do not stay in CBUF beside {} rows", c.columns,
                       c.rows));
  if (c.chained && types.in == DataType::i4)
    refuse("chained tasks of int4 have not been tried on a board");
}

}  // namespace npu::kernels
