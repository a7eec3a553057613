// SPDX-License-Identifier: MIT
#include "microkernels/gemm_plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "microkernels/layout.hpp"
#include "npu-device/device.hpp"
#include "npu-sim/timing.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

using u32 = std::uint32_t;
using u64 = std::uint64_t;

constexpr u32 kBanks = 12, kBankBytes = 32768;  // [mesa rkt_ml.h]
constexpr u32 kMaxHeight = 1020;                // FEATURE_GRAINS = height + 1 in 10 bits
constexpr u32 kMaxWideRows = 4096;              // rows of a task in the width x height form
constexpr u32 kMaxColumns = 4096;               // widest proven task [mtx512 npu_matmul.c]
constexpr u64 kMaxTaskMacs = u64{1} << 30;

constexpr u32 kRegcmdWords = 130;  // of a task, for the timing model

struct Rows {
  u32 padded, width, height;
};

// Whether the rows of a task are folded into a rectangle.
bool folds_rows(const GemmTypes& task) { return task.out == DataType::i8; }

u32 bytes(DataType type, u64 elements) { return static_cast<u32>(elements * bits(type) / 8); }

// The rows of a tile as a convolution's cube. Raw sums are proven with width 1 and a
// height that is a multiple of 4. The requantising program takes a real two-dimensional shape: a
// width above 1 keeps clear of the width-1 fault of the int8 feature DMA, and a height of at
// least 4 keeps the surface stride positive [compute.md 2.1, 2.7].
Rows pad_rows(u32 rows, const GemmTypes& task) {
  if (!folds_rows(task)) {
    const u32 height = align_up(rows, 4u);
    return {height, 1, height};
  }
  const u32 width = rows <= 8 ? 2 : rows <= 16 ? 4 : 8;
  const u32 height = std::max(4u, ceil_div(rows, width));
  return {width * height, width, height};
}

u32 spare_banks(DataType in) { return is_float(in) ? 0 : 1; }

// Most rows of a task for this K, 0 if not even the least number fits.
u32 max_rows(u32 k_padded, const GemmTypes& task) {
  const MacFormat format = mac_format(task.in);
  const u32 needed = ceil_div(bytes(task.in, u64{format.kernel_group} * k_padded), kBankBytes);
  const u32 spare = spare_banks(task.in);
  if (needed + 1 + spare > kBanks) return 0;
  const u32 data_banks = kBanks - needed - spare;
  const u32 rows =
      static_cast<u32>(u64{data_banks} * kBankBytes * 8 / (u64{k_padded} * bits(task.in)));
  if (!folds_rows(task)) return std::min(rows / 4 * 4, kMaxHeight);
  return rows < 16 ? rows / 8 * 8 : rows < 32 ? 16 : std::min(rows / 8 * 8, kMaxWideRows);
}

// Parts of at most `limit` (a multiple of step), as even as steps allow.
std::vector<Range> split_by_limit(Range whole, u32 limit, u32 step) {
  return split_range(whole, ceil_div(ceil_div(whole.size, step), limit / step), step);
}

struct Tiling {
  GemmTypes task;
  std::vector<Range> k;  // slices
  u32 rows = 0;          // most rows of a task
  double seconds = 0;
};

u32 columns_limit(u32 rows, u32 k_padded, u32 group) {
  const u64 columns = kMaxTaskMacs / (u64{rows} * k_padded) / group * group;
  return static_cast<u32>(std::clamp<u64>(columns, group, kMaxColumns));
}

sim::MacType mac_type(DataType in) {
  switch (in) {
    case DataType::i4: return sim::MacType::int4;
    case DataType::f16: return sim::MacType::fp16;
    case DataType::bf16: return sim::MacType::bf16;
    case DataType::tf32: return sim::MacType::tf32;
    default: return sim::MacType::int8;
  }
}

// Modelled seconds of one core's part, all tiles taken as large as the largest.
double modelled(u32 m_tiles, u32 m, u32 n_tiles, u32 n, u32 slices, u32 k, const GemmTypes& task,
                const sim::Operating& operating) {
  const sim::Calibration& constants = sim::default_calibration().values;
  const sim::TaskWork work{.type = mac_type(task.in),
                           .kernels = n,
                           .channels = k,
                           .positions = m,
                           .regcmd_words = kRegcmdWords,
                           .feature_bytes = bytes(task.in, u64{m} * k),
                           .weight_bytes = bytes(task.in, u64{n} * k),
                           .output_bytes = bytes(task.out, u64{m} * n),
                           .output_elements = u64{m} * n};
  const double each =
      sim::estimate(work, constants, operating).seconds + constants.task_interrupt_little_us * 1e-6;
  // Each further slice is read and added to what is there.
  const double added = static_cast<double>(u64{m_tiles} * m * n_tiles * n) * (slices - 1) * 12.0;
  return each * m_tiles * n_tiles * slices + added / constants.cpu_bytes_per_second;
}

GemmTypes task_types(const GemmTypes& types, u32 slices) {
  GemmTypes task = types;
  if (types.in == DataType::i4) {
    task.out = DataType::i16;  // the only output of int4; exact as long as K is short
  } else if (slices > 1) {
    task.out = is_float(types.in) ? DataType::f32 : DataType::i32;
  }
  return task;
}

// The longest K that a task can have, a multiple of the weight block's channels.
u32 longest_k(const GemmTypes& types) {
  const MacFormat format = mac_format(types.in);
  u32 k = types.in == DataType::i4 ? kMaxGemmKInt16 : kBanks * kBankBytes;
  while (max_rows(k, task_types(types, 2)) == 0) k -= format.channel_block;
  return k;
}

// The fastest number of K slices for the part of C that one core computes.
Tiling choose_tiling(u32 m, u32 n, u32 k, const GemmTypes& types, const sim::Operating& operating) {
  constexpr u32 kCandidates = 16;
  const MacFormat format = mac_format(types.in);
  Tiling best;
  u32 candidates = 0;
  const u32 fewest = ceil_div(k, longest_k(types));
  for (u32 slices = fewest; slices <= ceil_div(k, format.channel_block) && candidates < kCandidates;
       ++slices) {
    const GemmTypes task = task_types(types, slices);
    std::vector<Range> ranges = split_range({0, k}, slices, format.channel_block);
    u32 k_padded = 0;
    for (const Range& range : ranges)
      k_padded = std::max(k_padded, align_up(range.size, format.channel_block));
    const u32 rows = max_rows(k_padded, task);
    if (rows == 0) continue;
    ++candidates;
    const u32 m_tiles = ceil_div(m, rows);
    const u32 m_padded = pad_rows(ceil_div(m, m_tiles), task).padded;
    const u32 n_padded = align_up(n, format.kernel_group);
    const u32 n_tiles = ceil_div(n_padded, columns_limit(m_padded, k_padded, format.kernel_group));
    const double seconds = modelled(m_tiles, m_padded, n_tiles,
                                    align_up(ceil_div(n_padded, n_tiles), format.kernel_group),
                                    slices, k_padded, task, operating);
    if (best.rows == 0 || seconds < best.seconds) best = {task, std::move(ranges), rows, seconds};
  }
  return best;
}

GemmCore plan_core(Range m, Range n, const Tiling& tiling) {
  GemmCore core{.m = m, .n = n};
  const MacFormat format = mac_format(tiling.task.in);
  const u32 n_total = align_up(n.size, format.kernel_group);
  u32 k_padded_max = 0;
  for (const Range& k : tiling.k)
    k_padded_max = std::max(k_padded_max, align_up(k.size, format.channel_block));
  const u32 row_step = folds_rows(tiling.task) ? 8 : 4;
  const u32 rows = std::max(row_step, tiling.rows / row_step * row_step);
  const std::vector<Range> m_tiles = split_by_limit(m, rows, row_step);
  u32 tallest = 0;
  for (const Range& tile : m_tiles)
    tallest = std::max(tallest, pad_rows(tile.size, tiling.task).padded);
  const std::vector<Range> n_tiles = split_by_limit(
      n, columns_limit(tallest, k_padded_max, format.kernel_group), format.kernel_group);

  u64 a_tile = 0, b_slice = 0;
  for (u32 s = 0; s < tiling.k.size(); ++s) {
    const Range k = tiling.k[s];
    const u32 k_padded = align_up(k.size, format.channel_block);
    u64 c_tile = 0;
    for (const Range& tile : m_tiles) {
      const Rows padded = pad_rows(tile.size, tiling.task);
      const u32 a_bytes = bytes(tiling.task.in, u64{padded.padded} * k_padded);
      const u32 data_banks = ceil_div(a_bytes, kBankBytes) + spare_banks(tiling.task.in);
      for (const Range& columns : n_tiles) {
        GemmTask task;
        task.slice = s;
        task.m = tile;
        task.n = columns;
        task.k = k;
        task.m_padded = padded.padded;
        task.n_padded = align_up(columns.size, format.kernel_group);
        task.k_padded = k_padded;
        task.width = padded.width;
        task.height = padded.height;
        task.data_banks = data_banks;
        task.weight_banks = kBanks - data_banks;
        task.a_offset = a_tile;
        task.b_offset = b_slice + bytes(tiling.task.in, u64{columns.begin - n.begin} * k_padded);
        task.bias_offset = u64{columns.begin - n.begin} * 4;
        task.c_offset = c_tile;
        core.tasks.push_back(task);
        c_tile += bytes(tiling.task.out, u64{task.m_padded} * task.n_padded);
      }
      a_tile += a_bytes;
    }
    b_slice += bytes(tiling.task.in, u64{n_total} * k_padded);
    core.c_bytes = c_tile;
  }
  core.a_bytes = a_tile;
  core.b_bytes = b_slice;
  core.bias_bytes = tiling.task.out == DataType::i8 ? u64{n_total} * 4 : 0;
  return core;
}

void check_buffer(const char* what, u64 bytes) {
  if (bytes > device::kMaxBufferBytes) {
    throw Error(ErrorCode::out_of_memory,
                fmt::format("matrix {} needs {} bytes for the NPU, but a buffer holds at most {}: "
                            "compute it in parts",
                            what, bytes, device::kMaxBufferBytes));
  }
}

void check_shape(const GemmShape& shape, const GemmTypes& types, unsigned cores) {
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
  if (cores == 0) {
    throw Error(ErrorCode::invalid_argument, "a GEMM needs at least one core");
  }
  check_buffer("A", shape.m);  // so that rounding up cannot wrap below
  check_buffer("B", shape.n);
  check_buffer("K", shape.k);
}

// By columns, so that no weights are stored twice, unless rows balance clearly better.
std::vector<GemmCore> divide(const GemmShape& shape, u32 cores, u32 group) {
  const u64 by_n = u64{align_up(ceil_div(shape.n, cores), group)} * align_up(shape.m, 4u);
  const u64 by_m = u64{align_up(ceil_div(shape.m, cores), 4u)} * align_up(shape.n, group);
  std::vector<GemmCore> parts;
  if (by_n <= by_m + by_m / 8) {
    for (const Range& n : split_range({0, shape.n}, cores, group)) {
      parts.push_back({.m = {0, shape.m}, .n = n});
    }
  } else {
    for (const Range& m : split_range({0, shape.m}, cores, 4)) {
      parts.push_back({.m = m, .n = {0, shape.n}});
    }
  }
  return parts;
}

}  // namespace

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

std::string to_string(const GemmTypes& types) {
  return fmt::format("{}->{}", to_string(types.in), to_string(types.out));
}

GemmPlan plan_gemm(const GemmShape& shape, const GemmTypes& types, unsigned cores) {
  check_shape(shape, types, cores);
  const MacFormat format = mac_format(types.in);
  std::vector<GemmCore> parts = divide(shape, cores, format.kernel_group);
  u32 m = 0, n = 0;
  for (const GemmCore& part : parts) {
    m = std::max(m, part.m.size);
    n = std::max(n, part.n.size);
  }
  // Before anything is laid out, so that no absurd shape costs time or memory here.
  const u64 k_padded = align_up(shape.k, format.channel_block);
  check_buffer("A", u64{m} * k_padded * bits(types.in) / 8);
  check_buffer("B", u64{n} * k_padded * bits(types.in) / 8);
  check_buffer("C", u64{m} * align_up(n, format.kernel_group) * bits(types.out) / 8);
  // One tiling for all cores: the slices of K are the unit that the host waits for and adds.
  const sim::Operating operating{.active_cores = static_cast<unsigned>(parts.size())};
  const Tiling tiling = choose_tiling(m, n, shape.k, types, operating);

  GemmPlan plan{.shape = shape, .types = types, .task_output = tiling.task.out};
  plan.slices = static_cast<u32>(tiling.k.size());
  plan.seconds = tiling.seconds;
  for (const GemmCore& part : parts) {
    GemmCore core = plan_core(part.m, part.n, tiling);
    check_buffer("A", core.a_bytes);
    check_buffer("B", core.b_bytes);
    check_buffer("C", core.c_bytes);
    for (const GemmTask& task : core.tasks) {
      plan.feature_bytes += bytes(types.in, u64{task.m_padded} * task.k_padded);
      plan.weight_bytes += bytes(types.in, u64{task.n_padded} * task.k_padded);
      plan.output_bytes += bytes(plan.task_output, u64{task.m_padded} * task.n_padded);
    }
    plan.cores.push_back(std::move(core));
  }
  return plan;
}

std::string to_string(const GemmPlan& plan) {
  std::string text = fmt::format(
      "gemm m={} n={} k={} {}: {} core(s), {} slice(s) of k, tasks write {}; bytes: features {}, "
      "weights {}, output {}\n",
      plan.shape.m, plan.shape.n, plan.shape.k, to_string(plan.types), plan.cores.size(),
      plan.slices, to_string(plan.task_output), plan.feature_bytes, plan.weight_bytes,
      plan.output_bytes);
  for (std::size_t i = 0; i < plan.cores.size(); ++i) {
    const GemmCore& core = plan.cores[i];
    text += fmt::format("  core {}: a {} b {} bias {} c {} bytes\n", i, core.a_bytes, core.b_bytes,
                        core.bias_bytes, core.c_bytes);
    for (const GemmTask& task : core.tasks) {
      text += fmt::format(
          "    m {}+{} ({}={}x{}) n {}+{} ({}) k {}+{} ({}) banks {}/{}{}{} a+{:#x} b+{:#x} "
          "c+{:#x}\n",
          task.m.begin, task.m.size, task.m_padded, task.width, task.height, task.n.begin,
          task.n.size, task.n_padded, task.k.begin, task.k.size, task.k_padded, task.data_banks,
          task.weight_banks, task.data_reuse ? " data-reuse" : "",
          task.weight_reuse ? " weight-reuse" : "", task.a_offset, task.b_offset, task.c_offset);
    }
  }
  return text;
}

}  // namespace npu::kernels
