// SPDX-License-Identifier: MIT
#include "microkernels/gemm_plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "microkernels/executor.hpp"
#include "microkernels/gemm_tiling.hpp"
#include "microkernels/layout.hpp"
#include "npu-device/device.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

using u32 = std::uint32_t;
using u64 = std::uint64_t;

// Order of the tiles of one slice.
template <class F>
void for_each_tile(TaskOrder order, std::size_t m_tiles, std::size_t n_tiles, F body) {
  if (order == TaskOrder::features) {
    for (std::size_t m = 0; m < m_tiles; ++m)
      for (std::size_t n = 0; n < n_tiles; ++n) body(m, n);
  } else {
    for (std::size_t n = 0; n < n_tiles; ++n)
      for (std::size_t m = 0; m < m_tiles; ++m) body(m, n);
  }
}

GemmCore plan_core(const CorePart& part, const GemmShape& shape, const GemmChoice& choice,
                   const TaskRules& rules) {
  GemmCore core{.m = part.m, .n = part.n};
  const MacFormat format = rules.format;
  const DataType in = rules.types.in;
  const u32 n_total = align_up(part.n.size, format.kernel_group);
  const std::vector<Range> slices = split_by_limit({0, shape.k}, choice.k, format.channel_block);
  const std::vector<Range> m_tiles = split_by_limit(part.m, choice.rows, rules.row_step);
  const std::vector<Range> n_tiles = split_by_limit(part.n, choice.columns, format.kernel_group);
  u32 tallest = 0;
  for (const Range& tile : m_tiles) tallest = std::max(tallest, pad_rows(tile.size, rules).padded);

  u64 a_slice = 0, b_slice = 0;
  for (u32 s = 0; s < slices.size(); ++s) {
    const Range k = slices[s];
    const u32 k_padded = align_up(k.size, format.channel_block);
    std::vector<u64> a_tile, c_tile;
    u64 c_end = 0;
    for (const Range& tile : m_tiles) {
      const u64 rows = pad_rows(tile.size, rules).padded;
      a_tile.push_back(a_slice);
      a_slice += type_bytes(in, rows * k_padded);
      for (const Range& columns : n_tiles) {
        c_tile.push_back(c_end);
        c_end += type_bytes(rules.types.out, rows * align_up(columns.size, format.kernel_group));
      }
    }
    for_each_tile(choice.order, m_tiles.size(), n_tiles.size(), [&](std::size_t m, std::size_t n) {
      const Rows padded = pad_rows(m_tiles[m].size, rules);
      const Range columns = n_tiles[n];
      GemmTask task;
      task.slice = s;
      task.m = m_tiles[m];
      task.n = columns;
      task.k = k;
      task.m_padded = padded.padded;
      task.n_padded = align_up(columns.size, format.kernel_group);
      task.k_padded = k_padded;
      task.width = padded.width;
      task.height = padded.height;
      // Weights that stay must not move with the boundary between features and weights.
      task.data_banks = feature_banks(
          rules, choice.order == TaskOrder::weights ? tallest : padded.padded, k_padded);
      task.weight_banks = kCbufBanks - task.data_banks;
      task.adds = rules.adds && s != 0;
      task.to_scratch = rules.adds && (slices.size() - 1 - s) % 2 != 0;
      task.a_offset = a_tile[m];
      task.b_offset = b_slice + type_bytes(in, u64{columns.begin - part.n.begin} * k_padded);
      task.bias_offset = u64{columns.begin - part.n.begin} * 4;
      task.c_offset = c_tile[m * n_tiles.size() + n];
      core.tasks.push_back(task);
    });
    b_slice += type_bytes(in, u64{n_total} * k_padded);
    core.c_bytes = c_end;
  }
  core.a_bytes = a_slice;
  core.b_bytes = b_slice;
  core.scratch_bytes = rules.adds ? core.c_bytes : 0;
  core.bias_bytes = rules.types.out == DataType::i8 ? u64{n_total} * 4 : 0;
  return core;
}

// The executor's jobs begin where it would cut, and nothing is reused from the job before: another
// file's may have run in between [notes cbuf-reuse, HW].
void mark_jobs(const GemmPlan& plan, GemmCore& core) {
  const bool features = plan.choice.order == TaskOrder::features;
  JobCutter cutter;
  for (std::size_t i = 0; i < core.tasks.size(); ++i) {
    GemmTask& task = core.tasks[i];
    const bool new_stage = i == 0 || (plan.stages > 1 && task.slice != core.tasks[i - 1].slice);
    if (new_stage) cutter = {};
    task.starts_job = cutter.cuts(task_info(plan, task));
    if (!plan.choice.reuse || task.starts_job) continue;
    const GemmTask& before = core.tasks[i - 1];
    task.data_reuse = features && before.a_offset == task.a_offset;
    task.weight_reuse = !features && before.b_offset == task.b_offset;
  }
}

void check_buffer(const char* what, u64 bytes) {
  if (bytes > device::kMaxBufferBytes) {
    throw Error(ErrorCode::out_of_memory,
                fmt::format("matrix {} needs {} bytes for the NPU, but a buffer holds at most {}: "
                            "compute it in parts",
                            what, bytes, device::kMaxBufferBytes));
  }
}

GemmPlan plan_choice(const GemmShape& shape, const GemmTypes& types, const GemmChoice& choice,
                     const GemmOptions& options) {
  const MacFormat format = mac_format(types.in);
  const TaskRules rules = task_rules(types, choice.k < shape.k, choice.sums);
  GemmPlan plan{.shape = shape, .types = types, .choice = choice, .task_output = rules.types.out};
  plan.slices = ceil_div(ceil_div(shape.k, format.channel_block), choice.k / format.channel_block);
  plan.stages = rules.adds ? 1 : plan.slices;
  for (const CorePart& part : divide(shape, choice.cores, choice.split, format.kernel_group)) {
    GemmCore core = plan_core(part, shape, choice, rules);
    check_buffer("A", core.a_bytes);
    check_buffer("B", core.b_bytes);
    check_buffer("C", core.c_bytes);
    mark_jobs(plan, core);
    for (const GemmTask& task : core.tasks) {
      if (!task.data_reuse)
        plan.feature_bytes += type_bytes(types.in, u64{task.m_padded} * task.k_padded);
      if (!task.weight_reuse)
        plan.weight_bytes += type_bytes(types.in, u64{task.n_padded} * task.k_padded);
      plan.output_bytes +=
          type_bytes(plan.task_output, u64{task.m_padded} * task.n_padded) * (task.adds ? 2 : 1);
    }
    plan.cores.push_back(std::move(core));
  }
  plan.time = modelled_time(plan, options);
  plan.seconds = plan.time.seconds;
  return plan;
}

}  // namespace

TaskInfo task_info(const GemmPlan& plan, const GemmTask& task) {
  const u64 out = type_bytes(plan.task_output, u64{task.m_padded} * task.n_padded);
  return {.macs = task.macs(),
          .bytes = type_bytes(plan.types.in, u64{task.k_padded} * (task.m_padded + task.n_padded)) +
                   out * (task.adds ? 2 : 1),
          .out_slot = task.to_scratch ? kGemmScratch : kGemmC,
          .last_atom = task.c_offset + out - kAtomBytes};
}

GemmPlan plan_gemm(const GemmShape& shape, const GemmTypes& types, unsigned cores,
                   const GemmOptions& options) {
  // The rough times rank the choices; the few best are compared task by task.
  constexpr std::size_t kFinalists = 3;
  std::vector<std::pair<double, GemmChoice>> ranked;
  for (const GemmChoice& choice : gemm_choices(shape, types, cores, options))
    ranked.emplace_back(rough_time(shape, types, choice, options), choice);
  const std::size_t finalists = std::min(kFinalists, ranked.size());
  std::partial_sort(ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(finalists),
                    ranked.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  GemmPlan best;
  for (std::size_t i = 0; i < finalists; ++i) {
    GemmPlan plan = plan_choice(shape, types, ranked[i].second, options);
    if (i == 0 || plan.seconds < best.seconds) best = std::move(plan);
  }
  return best;
}

std::string to_string(const GemmPlan& plan) {
  std::string text = fmt::format(
      "gemm m={} n={} k={} {}: {} core(s), {} slice(s) of k, tasks write {}; bytes: features {}, "
      "weights {}, output {}\n  {}\n",
      plan.shape.m, plan.shape.n, plan.shape.k, to_string(plan.types), plan.cores.size(),
      plan.slices, to_string(plan.task_output), plan.feature_bytes, plan.weight_bytes,
      plan.output_bytes, to_string(plan.choice));
  for (std::size_t i = 0; i < plan.cores.size(); ++i) {
    const GemmCore& core = plan.cores[i];
    text += fmt::format("  core {}: a {} b {} bias {} c {} scratch {} bytes\n", i, core.a_bytes,
                        core.b_bytes, core.bias_bytes, core.c_bytes, core.scratch_bytes);
    for (const GemmTask& task : core.tasks) {
      text += fmt::format(
          "    {}m {}+{} ({}={}x{}) n {}+{} ({}) k {}+{} ({}) banks {}/{}{}{}{}{} a+{:#x} b+{:#x} "
          "c+{:#x}\n",
          task.starts_job ? "job: " : "", task.m.begin, task.m.size, task.m_padded, task.width,
          task.height, task.n.begin, task.n.size, task.n_padded, task.k.begin, task.k.size,
          task.k_padded, task.data_banks, task.weight_banks, task.data_reuse ? " data-reuse" : "",
          task.weight_reuse ? " weight-reuse" : "", task.adds ? " adds" : "",
          task.to_scratch ? " to scratch" : "", task.a_offset, task.b_offset, task.c_offset);
    }
  }
  return text;
}

}  // namespace npu::kernels
