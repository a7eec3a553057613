// SPDX-License-Identifier: MIT
#include "microkernels/gemm_plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "microkernels/layout.hpp"
#include "npu-device/device.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

using u32 = std::uint32_t;
using u64 = std::uint64_t;

constexpr u32 kBanks = 12, kBankBytes = 32768;  // [mesa rkt_ml.h]
constexpr u32 kKernelGroup = 32;                // int8 kernels that the MAC array takes together
constexpr u32 kMaxHeight = 1020;                // FEATURE_GRAINS = height + 1 in 10 bits
constexpr u32 kMaxWideRows = 4096;              // rows of a task in the width x height form
constexpr u32 kMaxColumns = 4096;               // widest proven task [mtx512 npu_matmul.c]
constexpr u64 kMaxTaskMacs = u64{1} << 30;

// Weights of the plan search, in bytes of traffic. A task costs its program and its start; host
// memory is passed by one thread that also adds.
constexpr u64 kTaskCost = u64{64} * 1024;
constexpr u64 kHostByteCost = 4;

struct Rows {
  u32 padded, width, height;
};

// The rows of a tile as a convolution's cube. Raw int32 output is proven with width 1 and a
// height that is a multiple of 4. The requantising program takes a real two-dimensional shape: a
// width above 1 keeps clear of the width-1 fault of the int8 feature DMA, and a height of at
// least 4 keeps the surface stride positive [compute.md 2.1, 2.7].
Rows pad_rows(u32 rows, GemmOutput output) {
  if (output == GemmOutput::i32) {
    const u32 height = align_up(rows, 4u);
    return {height, 1, height};
  }
  const u32 width = rows <= 8 ? 2 : rows <= 16 ? 4 : 8;
  const u32 height = std::max(4u, ceil_div(rows, width));
  return {width * height, width, height};
}

u32 weight_banks_needed(u32 k_padded) { return ceil_div(kKernelGroup * k_padded, kBankBytes); }

// Most rows of a task for this K, 0 if not even the least number fits.
u32 max_rows(u32 k_padded, GemmOutput output) {
  const u32 needed = weight_banks_needed(k_padded);
  if (needed + 2 > kBanks) return 0;  // at least one data bank and the spare one
  const u32 data_banks = kBanks - needed - 1;
  const u32 rows = data_banks * kBankBytes / k_padded;
  if (output == GemmOutput::i32) return std::min(rows / 4 * 4, kMaxHeight);
  return rows < 16 ? rows / 8 * 8 : rows < 32 ? 16 : std::min(rows / 8 * 8, kMaxWideRows);
}

// `parts` ranges of [begin, begin + size), sizes multiples of `step` but for the last one.
std::vector<Range> split(Range whole, u32 parts, u32 step) {
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

// Parts of at most `limit` (a multiple of step), as even as steps allow.
std::vector<Range> split_by_limit(Range whole, u32 limit, u32 step) {
  return split(whole, ceil_div(ceil_div(whole.size, step), limit / step), step);
}

struct Tiling {
  GemmOutput task_output;
  std::vector<Range> k;  // slices
  u32 rows = 0;          // most rows of a task
  u64 cost = 0;
};

u32 columns_limit(u32 rows, u32 k_padded) {
  const u64 columns = kMaxTaskMacs / (u64{rows} * k_padded) / kKernelGroup * kKernelGroup;
  return static_cast<u32>(std::clamp<u64>(columns, kKernelGroup, kMaxColumns));
}

// The cheapest number of K slices for the part of C that one core computes.
Tiling choose_tiling(u32 m, u32 n, u32 k, GemmOutput output) {
  constexpr u32 kCandidates = 16;
  Tiling best;
  u32 candidates = 0;
  for (u32 slices = 1; slices <= ceil_div(k, 32u) && candidates < kCandidates; ++slices) {
    const GemmOutput task_output = slices == 1 ? output : GemmOutput::i32;
    std::vector<Range> ranges = split({0, k}, slices, 32);
    u32 k_padded = 0;
    for (const Range& range : ranges) k_padded = std::max(k_padded, align_up(range.size, 32u));
    const u32 rows = max_rows(k_padded, task_output);
    if (rows == 0) continue;
    ++candidates;
    const u32 m_tiles = ceil_div(m, rows);
    const u32 m_padded = pad_rows(ceil_div(m, m_tiles), task_output).padded;
    const u32 n_padded = align_up(n, 32u);
    const u32 n_tiles = ceil_div(n_padded, columns_limit(m_padded, k_padded));
    const u64 c_elements = u64{m_tiles} * m_padded * n_padded;
    u64 cost = u64{m_tiles} * n_tiles * slices * kTaskCost;
    cost += u64{n_padded} * k_padded * slices * m_tiles;
    cost += u64{m_tiles} * m_padded * k_padded * slices * n_tiles;
    cost += c_elements * (task_output == GemmOutput::i32 ? 4 : 1) * slices;
    // Each further slice is read and added to what is there.
    cost += c_elements * 4 * kHostByteCost * (slices - 1);
    if (best.rows == 0 || cost < best.cost) best = {task_output, std::move(ranges), rows, cost};
  }
  return best;
}

GemmCore plan_core(Range m, Range n, const Tiling& tiling) {
  GemmCore core{.m = m, .n = n};
  const u32 n_total = align_up(n.size, kKernelGroup);
  u32 k_padded_max = 0;
  for (const Range& k : tiling.k) k_padded_max = std::max(k_padded_max, align_up(k.size, 32u));
  const u32 row_step = tiling.task_output == GemmOutput::i32 ? 4 : 8;
  const u32 rows = std::max(row_step, tiling.rows / row_step * row_step);
  const std::vector<Range> m_tiles = split_by_limit(m, rows, row_step);
  u32 tallest = 0;
  for (const Range& tile : m_tiles) {
    tallest = std::max(tallest, pad_rows(tile.size, tiling.task_output).padded);
  }
  const std::vector<Range> n_tiles =
      split_by_limit(n, columns_limit(tallest, k_padded_max), kKernelGroup);
  const u32 out_bytes = tiling.task_output == GemmOutput::i32 ? 4 : 1;

  u64 a_tile = 0, b_slice = 0;
  for (u32 s = 0; s < tiling.k.size(); ++s) {
    const Range k = tiling.k[s];
    const u32 k_padded = align_up(k.size, 32u);
    u64 c_tile = 0;
    for (const Range& tile : m_tiles) {
      const Rows padded = pad_rows(tile.size, tiling.task_output);
      const u32 data_banks = ceil_div(padded.padded * k_padded, kBankBytes) + 1;
      for (const Range& columns : n_tiles) {
        GemmTask task;
        task.slice = s;
        task.m = tile;
        task.n = columns;
        task.k = k;
        task.m_padded = padded.padded;
        task.n_padded = align_up(columns.size, kKernelGroup);
        task.k_padded = k_padded;
        task.width = padded.width;
        task.height = padded.height;
        task.data_banks = data_banks;
        task.weight_banks = kBanks - data_banks;
        task.a_offset = a_tile;
        task.b_offset = b_slice + u64{columns.begin - n.begin} * k_padded;
        task.bias_offset = u64{columns.begin - n.begin} * 4;
        task.c_offset = c_tile;
        core.tasks.push_back(task);
        c_tile += u64{task.m_padded} * task.n_padded * out_bytes;
      }
      a_tile += u64{padded.padded} * k_padded;
    }
    b_slice += u64{n_total} * k_padded;
    core.c_bytes = c_tile;
  }
  core.a_bytes = a_tile;
  core.b_bytes = b_slice;
  core.bias_bytes = tiling.task_output == GemmOutput::i8 ? u64{n_total} * 4 : 0;
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

void check_shape(const GemmShape& shape, unsigned cores) {
  if (shape.m == 0 || shape.n == 0 || shape.k == 0) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("a GEMM of {} x {} x {} is empty: M, N and K must be at least 1",
                            shape.m, shape.n, shape.k));
  }
  if (shape.k > kMaxGemmK) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("K = {} may overflow the int32 sums: use at most {}, or add partial "
                            "products in 64 bits",
                            shape.k, kMaxGemmK));
  }
  if (cores == 0) {
    throw Error(ErrorCode::invalid_argument, "a GEMM needs at least one core");
  }
  check_buffer("A", shape.m);  // so that rounding up cannot wrap below
  check_buffer("B", shape.n);
}

// By columns, so that no weights are stored twice, unless rows balance clearly better.
std::vector<GemmCore> divide(const GemmShape& shape, u32 cores) {
  const u64 by_n = u64{align_up(ceil_div(shape.n, cores), 32u)} * align_up(shape.m, 4u);
  const u64 by_m = u64{align_up(ceil_div(shape.m, cores), 4u)} * align_up(shape.n, 32u);
  std::vector<GemmCore> parts;
  if (by_n <= by_m + by_m / 8) {
    for (const Range& n : split({0, shape.n}, cores, 32)) {
      parts.push_back({.m = {0, shape.m}, .n = n});
    }
  } else {
    for (const Range& m : split({0, shape.m}, cores, 4)) {
      parts.push_back({.m = m, .n = {0, shape.n}});
    }
  }
  return parts;
}

}  // namespace

std::string_view to_string(GemmOutput output) { return output == GemmOutput::i32 ? "i32" : "i8"; }

GemmPlan plan_gemm(const GemmShape& shape, GemmOutput output, unsigned cores) {
  check_shape(shape, cores);
  std::vector<GemmCore> parts = divide(shape, cores);
  u32 m = 0, n = 0;
  for (const GemmCore& part : parts) {
    m = std::max(m, part.m.size);
    n = std::max(n, part.n.size);
  }
  // Before anything is laid out, so that no absurd shape costs time or memory here.
  check_buffer("A", u64{m} * align_up(shape.k, 32u));
  check_buffer("B", u64{n} * align_up(shape.k, 32u));
  check_buffer("C", u64{m} * align_up(n, 32u) * (output == GemmOutput::i32 ? 4 : 1));
  // One tiling for all cores: the slices of K are the unit that the host waits for and adds.
  const Tiling tiling = choose_tiling(m, n, shape.k, output);

  GemmPlan plan{.shape = shape, .output = output, .task_output = tiling.task_output};
  plan.slices = static_cast<u32>(tiling.k.size());
  for (const GemmCore& part : parts) {
    GemmCore core = plan_core(part.m, part.n, tiling);
    check_buffer("A", core.a_bytes);
    check_buffer("B", core.b_bytes);
    check_buffer("C", core.c_bytes);
    for (const GemmTask& task : core.tasks) {
      plan.feature_bytes += u64{task.m_padded} * task.k_padded;
      plan.weight_bytes += u64{task.n_padded} * task.k_padded;
      plan.output_bytes +=
          u64{task.m_padded} * task.n_padded * (plan.task_output == GemmOutput::i32 ? 4 : 1);
    }
    plan.cores.push_back(std::move(core));
  }
  return plan;
}

std::string to_string(const GemmPlan& plan) {
  std::string text = fmt::format(
      "gemm m={} n={} k={} {}: {} core(s), {} slice(s) of k, tasks write {}; bytes: features {}, "
      "weights {}, output {}\n",
      plan.shape.m, plan.shape.n, plan.shape.k, to_string(plan.output), plan.cores.size(),
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
