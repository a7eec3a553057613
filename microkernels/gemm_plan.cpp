// SPDX-License-Identifier: MIT
#include "microkernels/gemm_plan.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

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

// The tiles of one pass over one slice of K.
struct Tiles {
  std::vector<Range> m, n;
  u32 tallest;
};

Tiles tile(Range m, Range n, u32 rows, u32 columns, const TaskRules& rules) {
  Tiles t{split_by_limit(m, rows, rules.row_step),
          split_by_limit(n, columns, rules.format.kernel_group), 0};
  for (const Range& range : t.m)
    t.tallest = std::max(t.tallest, pad_rows(range.size, rules).padded);
  return t;
}

// One core's part under construction.
struct CoreBuilder {
  const GemmPlan& plan;
  const TaskRules& rules;
  const CorePart& part;
  GemmCore core;
  std::vector<u64> b_slice;  // offsets

  u64 in_bytes(u64 elements) const { return type_bytes(rules.types.in, elements); }
  u64 out_bytes(u64 elements) const { return type_bytes(rules.types.out, elements); }

  void add_weights() {
    const u64 kernels = align_up(part.n.size, rules.format.kernel_group);
    for (const Range& k : plan.k_slices) {
      b_slice.push_back(core.b_bytes);
      core.b_bytes += in_bytes(kernels * align_up(k.size, rules.format.channel_block));
    }
    // Room for a multiplier beside each addend.
    core.bias_bytes = rules.types.out == DataType::i8 ? kernels * 8 : 0;
  }

  // All slices of a block of C; returns the bytes of its features.
  u64 add_pass(u32 pass, u32 a_part, Range rows, Range columns) {
    const GemmChoice& choice = plan.choice;
    const bool host_sums = plan.slices > 1 && !rules.adds;
    const u32 group = rules.format.kernel_group, c_part = pass % GemmPlan::kWindow;
    u64 c_bytes = 0, a_bytes = 0;
    for (const Range& m : split_by_limit(rows, choice.rows, rules.row_step))
      c_bytes += out_bytes(u64{pad_rows(m.size, rules).padded} * align_up(columns.size, group));
    for (u32 s = 0; s < plan.slices; ++s) {
      const u32 k = align_up(plan.k_slices[s].size, rules.format.channel_block);
      // What adds to nothing may be wider than boards have seen with an operand.
      const bool wide = rules.adds && s == 0 && choice.order == TaskOrder::features;
      const Tiles tiles =
          tile(rows, columns, choice.rows,
               wide ? first_columns(rules, choice.rows, choice.k) : choice.columns, rules);
      std::vector<u64> a_tile, c_tile;
      u64 c_end = 0;
      for (const Range& m : tiles.m) {
        const u64 padded = pad_rows(m.size, rules).padded;
        a_tile.push_back(a_bytes);
        c_tile.push_back(c_end);
        a_bytes += in_bytes(padded * k);
        c_end += out_bytes(padded * align_up(columns.size, group));
      }
      for_each_tile(
          choice.order, tiles.m.size(), tiles.n.size(), [&](std::size_t m, std::size_t n) {
            const Rows padded = pad_rows(tiles.m[m].size, rules);
            const Range tile_n = tiles.n[n];
            GemmTask task;
            task.stage = host_sums ? s : pass;
            task.slice = s;
            task.m = tiles.m[m];
            task.n = tile_n;
            task.k = plan.k_slices[s];
            task.m_padded = padded.padded;
            task.n_padded = align_up(tile_n.size, group);
            task.k_padded = k;
            task.width = padded.width;
            task.height = padded.height;
            // Weights that stay must not move with the boundary between features and weights.
            task.data_banks = feature_banks(
                rules, choice.order == TaskOrder::weights ? tiles.tallest : padded.padded, k);
            task.weight_banks = kCbufBanks - task.data_banks;
            task.a_part = a_part;
            task.c_part = c_part;
            task.a_offset = a_tile[m];
            task.b_offset = b_slice[s] + in_bytes(u64{tile_n.begin - part.n.begin} * k);
            task.bias_offset = u64{tile_n.begin - part.n.begin} * 4;
            // A tile of rows is one cube over all columns of the pass: tiles of columns may differ.
            const u64 at =
                c_tile[m] + out_bytes(u64{padded.padded} * (tile_n.begin - columns.begin));
            task.adds = rules.adds && s != 0;
            task.to_scratch = rules.adds && s + 1 != plan.slices;
            task.sums_offset = task.adds ? (s - 1) % 2 * c_bytes + at : 0;
            task.c_offset = task.to_scratch ? s % 2 * c_bytes + at : at;
            core.tasks.push_back(task);
          });
    }
    if (core.c_bytes.size() <= c_part) core.c_bytes.resize(c_part + 1);
    core.c_bytes[c_part] = std::max(core.c_bytes[c_part], c_bytes);
    if (rules.adds) core.scratch_bytes = std::max(core.scratch_bytes, 2 * c_bytes);
    return a_bytes;
  }
};

// `wide`: passes along N of the core that has most, so that a stage is the same rows on all cores.
GemmCore plan_core(const CorePart& part, const GemmPlan& plan, const TaskRules& rules, u32 wide) {
  CoreBuilder builder{plan, rules, part, {.m = part.m, .n = part.n}, {}};
  builder.add_weights();
  u32 first = 0;
  for (const Range& rows : split_range(part.m, plan.choice.row_passes, rules.row_step)) {
    const auto a_part = static_cast<u32>(builder.core.a_bytes.size());
    u64 a_bytes = 0;
    u32 pass = first;
    for (const Range& columns :
         split_range(part.n, plan.choice.column_passes, rules.format.kernel_group))
      a_bytes = builder.add_pass(pass++, a_part, rows, columns);
    builder.core.a_bytes.push_back(a_bytes);
    first += wide;
  }
  return builder.core;
}

// The executor's jobs begin where it would cut, and nothing is reused from the job before: another
// file's may have run in between [notes cbuf-reuse, HW].
void mark_jobs(const GemmPlan& plan, GemmCore& core) {
  const bool features = plan.choice.order == TaskOrder::features;
  JobCutter cutter;
  for (std::size_t i = 0; i < core.tasks.size(); ++i) {
    GemmTask& task = core.tasks[i];
    if (i == 0 || task.stage != core.tasks[i - 1].stage) cutter = {};
    task.starts_job = cutter.cuts(task_info(plan, core, task));
    if (!plan.choice.reuse || task.starts_job) continue;
    const GemmTask& before = core.tasks[i - 1];
    task.data_reuse = features && before.a_offset == task.a_offset;
    task.weight_reuse = !features && before.b_offset == task.b_offset;
  }
}

// The same for all cores: of a smaller part there may be fewer.
std::vector<GemmStage> plan_stages(const GemmPlan& plan) {
  std::vector<GemmStage> stages;
  for (const GemmCore& core : plan.cores)
    for (const GemmTask& task : core.tasks) {
      if (task.stage >= stages.size()) stages.resize(task.stage + 1);
      stages[task.stage] = {false, task.a_part, task.c_part};
    }
  for (std::size_t s = 0; s < stages.size(); ++s)
    stages[s].packs = s == 0 || stages[s].a_part != stages[s - 1].a_part;
  return stages;
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
  plan.k_slices = split_by_limit({0, shape.k}, choice.k, format.channel_block);
  plan.slices = static_cast<u32>(plan.k_slices.size());
  const std::vector<CorePart> parts =
      divide(shape, choice.cores, choice.split, format.kernel_group);
  std::size_t wide = 1;
  for (const CorePart& part : parts)
    wide = std::max(wide, split_range(part.n, choice.column_passes, format.kernel_group).size());
  for (const CorePart& part : parts) {
    GemmCore core = plan_core(part, plan, rules, static_cast<u32>(wide));
    for (const u64 bytes : core.a_bytes) check_buffer("A", bytes);
    check_buffer("B", core.b_bytes);
    for (const u64 bytes : core.c_bytes) check_buffer("C", bytes);
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
  plan.stages = plan_stages(plan);
  plan.time = modelled_time(plan, options);
  plan.seconds = plan.time.seconds;
  return plan;
}

}  // namespace

std::uint32_t gemm_c_slot(const GemmCore& core, std::uint32_t part) {
  return kGemmA + static_cast<u32>(core.a_bytes.size()) + part;
}

std::vector<Slot> gemm_slots(const GemmCore& core) {
  using enum Slot::Role;
  std::vector<Slot> slots{
      {"b", core.b_bytes, input},
      {"bias", core.bias_bytes, core.bias_bytes != 0 ? input : unused},
      {"scratch", core.scratch_bytes, core.scratch_bytes != 0 ? scratch : unused}};
  for (std::size_t i = 0; i < core.a_bytes.size(); ++i)
    slots.push_back({i == 0 ? "a" : fmt::format("a{}", i), core.a_bytes[i], input});
  for (std::size_t i = 0; i < core.c_bytes.size(); ++i)
    slots.push_back({i == 0 ? "c" : fmt::format("c{}", i), core.c_bytes[i],
                     core.c_bytes[i] != 0 ? output : unused});
  return slots;
}

TaskInfo task_info(const GemmPlan& plan, const GemmCore& core, const GemmTask& task) {
  const u64 out = type_bytes(plan.task_output, u64{task.m_padded} * task.n_padded);
  return {.macs = task.macs(),
          .bytes = type_bytes(plan.types.in, u64{task.k_padded} * (task.m_padded + task.n_padded)) +
                   out * (task.adds ? 2 : 1),
          .out_slot = task.to_scratch ? u32{kGemmScratch} : gemm_c_slot(core, task.c_part),
          .last_atom = task.c_offset + out - kAtomBytes,
          .checked = !task.to_scratch};
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
    text += fmt::format("  core {}: a {} b {} bias {} c {} scratch {} bytes\n", i,
                        fmt::join(core.a_bytes, "+"), core.b_bytes, core.bias_bytes,
                        fmt::join(core.c_bytes, "+"), core.scratch_bytes);
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
