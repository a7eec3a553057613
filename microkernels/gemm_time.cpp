// SPDX-License-Identifier: MIT
#include "microkernels/gemm_time.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "microkernels/executor.hpp"
#include "microkernels/gemm_plan.hpp"
#include "microkernels/gemm_tiling.hpp"
#include "microkernels/layout.hpp"

namespace npu::kernels {
namespace {

using u32 = std::uint32_t;
using u64 = std::uint64_t;

constexpr u32 kRegcmdWords = 154;  // of a task, trailer included

struct Tile {
  u32 m, n, k;  // padded
  bool data_reuse, weight_reuse, adds;
};

sim::TaskWork work(const GemmTypes& task, const Tile& t) {
  const u64 out = type_bytes(task.out, u64{t.m} * t.n);
  return {.type = mac_type(task.in),
          .kernels = t.n,
          .channels = t.k,
          .positions = t.m,
          .regcmd_words = kRegcmdWords,
          .feature_bytes = type_bytes(task.in, u64{t.m} * t.k),
          .weight_bytes = type_bytes(task.in, u64{t.n} * t.k),
          .operand_bytes = t.adds ? out : 0,
          .output_bytes = out,
          .output_elements = u64{t.m} * t.n,
          .data_reuse = t.data_reuse,
          .weight_reuse = t.weight_reuse};
}

const sim::Calibration& calibration(const GemmOptions& o) {
  return o.calibration != nullptr ? *o.calibration : sim::default_calibration().values;
}

// A stage as the host sees it.
struct HostStage {
  double packed = 0;            // elements of A made ready before, once
  double a_bytes = 0;           // of a core's copy of them
  double out_bytes = 0;         // of a core's buffer of C
  double read = 0;              // elements of C read afterwards, all cores
  std::vector<double> seconds;  // from submit to the end of waiting, of each core
};

// What Gemm::run() does, step by step. Cores have threads of their own; packing and reading back
// use all of them.
void schedule(const std::vector<HostStage>& stages, std::size_t window, bool copies, double read_ns,
              double last_read_ns, const sim::Calibration& c, GemmTime& t) {
  const double threads = std::max(c.host_parallelism, 1.0);
  const double sync = c.host_sync_alone_bytes_per_second;
  double now = 0;
  const auto spend = [&](double seconds, double& account) {
    now += seconds;
    account += seconds;
  };
  std::vector<double> free(stages[0].seconds.size()), done(stages.size());
  std::size_t next = 0;
  const auto read = [&] {
    const HostStage& stage = stages[next];
    now = std::max(now, done[next++]);
    spend(stage.out_bytes / sync, t.sync);
    const double ns = next == stages.size() || window > 1 ? last_read_ns : read_ns;
    spend(stage.read * ns * 1e-9 / threads, t.read);
  };
  for (std::size_t s = 0; s < stages.size(); ++s) {
    const HostStage& stage = stages[s];
    spend(stage.packed * c.host_pack_ns * 1e-9 / threads, t.pack);
    // Each further copy is read and written.
    if (copies)
      spend(2 * stage.a_bytes * static_cast<double>(free.size() - 1) / c.cpu_bytes_per_second,
            t.copy);
    spend(stage.a_bytes / sync, t.sync);
    if (s >= window) read();
    spend(stage.out_bytes / sync, t.sync);
    for (std::size_t i = 0; i < free.size(); ++i) {
      free[i] = std::max(free[i], now) + stage.seconds[i];
      done[s] = std::max(done[s], free[i]);
    }
  }
  while (next < stages.size()) read();
  t.seconds = now;
}

// Reading sums back; completing the result where the chip did not.
double last_read_ns(const GemmTypes& types, DataType task_output, const GemmOptions& options) {
  const sim::Calibration& c = calibration(options);
  double ns = c.host_read_fast_ns + options.convert_ns;
  if (types.out == DataType::i8 && task_output != DataType::i8) ns += c.host_read_ns;
  if (types.out == DataType::f16 && task_output != DataType::f16) ns += c.host_read_fast_ns;
  return ns;
}

}  // namespace

GemmTime modelled_time(const GemmPlan& plan, const GemmOptions& options) {
  const sim::Calibration& c = calibration(options);
  const sim::Operating operating{.npu_hz = options.npu_hz,
                                 .active_cores = static_cast<unsigned>(plan.cores.size())};
  sim::Dispatch dispatch = options.dispatch;
  dispatch.chained = plan.choice.chained;
  const GemmTypes task_types{plan.types.in, plan.task_output};
  GemmTime t;
  std::vector<HostStage> stages(plan.stages.size());
  for (HostStage& stage : stages) stage.seconds.resize(plan.cores.size());
  for (std::size_t i = 0; i < plan.cores.size(); ++i) {
    const GemmCore& core = plan.cores[i];
    double dispatched = 0, device = 0, mac = 0;
    std::vector<sim::TaskWork> job;
    for (std::size_t n = 0; n < core.tasks.size(); ++n) {
      const GemmTask& task = core.tasks[n];
      HostStage& stage = stages[task.stage];
      if (!task.to_scratch) stage.read += static_cast<double>(u64{task.m.size} * task.n.size);
      job.push_back(work(task_types, {task.m_padded, task.n_padded, task.k_padded, task.data_reuse,
                                      task.weight_reuse, task.adds}));
      if (n + 1 != core.tasks.size() && !core.tasks[n + 1].starts_job) continue;
      const sim::JobTime time = sim::estimate_job(job, dispatch, c, operating);
      stage.seconds[i] += time.total;
      dispatched += time.dispatch();
      device += time.device;
      mac += time.mac;
      t.bytes += time.bytes;
      ++t.jobs;
      t.kicks += dispatch.chained ? 1 : static_cast<u32>(job.size());
      t.tasks += static_cast<u32>(job.size());
      job.clear();
    }
    if (dispatched + device > t.dispatch + t.device) {
      t.dispatch = dispatched;
      t.device = device;
      t.mac = mac;
    }
  }
  const auto largest = [&](std::vector<u64> GemmCore::*bytes, u32 part) {
    u64 most = 0;
    for (const GemmCore& core : plan.cores)
      if (part < (core.*bytes).size()) most = std::max(most, (core.*bytes)[part]);
    return static_cast<double>(most);
  };
  for (std::size_t s = 0; s < stages.size(); ++s) {
    const GemmStage& stage = plan.stages[s];
    stages[s].out_bytes = largest(&GemmCore::c_bytes, stage.c_part);
    if (!stage.packs) continue;
    stages[s].a_bytes = largest(&GemmCore::a_bytes, stage.a_part);
    stages[s].packed = stages[s].a_bytes * 8 / bits(plan.types.in) *
                       (plan.choice.split == CoreSplit::rows ? plan.cores.size() : 1);
  }
  t.regcmd_words = u64{t.tasks} * kRegcmdWords;
  schedule(stages, plan.queues() ? GemmPlan::kWindow : 1, plan.choice.split == CoreSplit::columns,
           c.host_read_fast_ns, last_read_ns(plan.types, plan.task_output, options), c, t);
  return t;
}

double rough_time(const GemmShape& shape, const GemmTypes& types, const GemmChoice& choice,
                  const GemmOptions& options) {
  const sim::Calibration& c = calibration(options);
  const MacFormat format = mac_format(types.in);
  const bool sliced = choice.k < shape.k;
  const TaskRules rules = task_rules(types, sliced, choice.sums);
  const std::vector<CorePart> cores =
      divide(shape, choice.cores, choice.split, format.kernel_group);
  u32 m = 0, n = 0;
  for (const CorePart& core : cores) {
    m = std::max(m, core.m.size);
    n = std::max(n, core.n.size);
  }
  const auto tiles = [](u32 whole, u32 limit, u32 step) {
    return ceil_div(ceil_div(whole, step), std::max(limit / step, 1u));
  };
  const auto largest = [](u32 whole, u32 parts, u32 step) {
    return ceil_div(ceil_div(whole, step), parts) * step;
  };
  const u32 passes = choice.row_passes * choice.column_passes;
  const u32 pass_m = largest(m, choice.row_passes, rules.row_step);
  const u32 pass_n = largest(n, choice.column_passes, format.kernel_group);
  const u32 mt = tiles(pass_m, choice.rows, rules.row_step);
  const u32 slices = tiles(shape.k, choice.k, format.channel_block);
  const u32 tile_m = pad_rows(largest(pass_m, mt, rules.row_step), rules).padded;
  const u32 tile_k = largest(shape.k, slices, format.channel_block);
  const sim::Operating operating{.npu_hz = options.npu_hz,
                                 .active_cores = static_cast<unsigned>(cores.size())};
  sim::Dispatch dispatch = options.dispatch;
  dispatch.chained = choice.chained;

  // The tasks of one pass: of each slice, some load both operands, the others find one in CBUF.
  const bool chip = rules.adds;
  double seconds = 0;
  for (const bool adds : {false, true}) {
    const u32 count = !chip ? (adds ? 0 : slices) : (adds ? slices - 1 : 1);
    if (count == 0) continue;
    const u32 widest = chip && !adds ? first_columns(rules, choice.rows, choice.k) : choice.columns;
    const u32 nt = tiles(pass_n, widest, format.kernel_group);
    const Tile first{tile_m, largest(pass_n, nt, format.kernel_group), tile_k, false, false, adds};
    Tile next = first;
    next.data_reuse = choice.reuse && choice.order == TaskOrder::features;
    next.weight_reuse = choice.reuse && choice.order == TaskOrder::weights;
    const sim::TaskWork a = work(rules.types, first), b = work(rules.types, next);
    const sim::TaskWork two[] = {a, a}, other[] = {a, b};
    const double one = sim::estimate_job({two, 1}, dispatch, c, operating).total;
    const double again = sim::estimate_job(two, dispatch, c, operating).total - one;
    const double reused = sim::estimate_job(other, dispatch, c, operating).total - one;
    const u64 tasks = u64{mt} * nt;
    const u64 macs = u64{first.m} * first.n * first.k;
    const double cut = chip ? (adds ? 0 : 1)
                            : std::ceil(static_cast<double>(tasks) /
                                        static_cast<double>(std::max<u64>(kMaxJobMacs / macs, 1)));
    double loads = static_cast<double>(choice.order == TaskOrder::features ? mt : nt) + cut;
    loads = choice.reuse ? std::min<double>(loads, static_cast<double>(tasks))
                         : static_cast<double>(tasks);
    seconds += count * (loads * again + (static_cast<double>(tasks) - loads) * reused +
                        cut * (one - again));
  }
  const bool host_sums = slices > 1 && !chip;
  const u32 stages = host_sums ? slices : passes;
  const double copies = choice.split == CoreSplit::rows ? static_cast<double>(cores.size()) : 1;
  std::vector<HostStage> host(stages);
  for (u32 s = 0; s < stages; ++s) {
    HostStage& stage = host[s];
    stage.seconds.assign(cores.size(), host_sums ? seconds / slices : seconds);
    stage.out_bytes = static_cast<double>(type_bytes(rules.types.out, u64{mt} * tile_m * pass_n));
    stage.read = static_cast<double>(u64{std::min(pass_m, m)} * std::min(pass_n, n)) *
                 static_cast<double>(cores.size());
    if (host_sums ? s != 0 : s % choice.column_passes != 0) continue;
    const u64 elements = u64{mt} * tile_m * slices * tile_k;
    stage.a_bytes = static_cast<double>(type_bytes(types.in, elements));
    stage.packed = static_cast<double>(elements) * copies;
  }
  GemmTime t;
  schedule(host, host_sums ? 1 : GemmPlan::kWindow, choice.split == CoreSplit::columns,
           c.host_read_fast_ns, last_read_ns(types, rules.types.out, options), c, t);
  return t.seconds;
}

}  // namespace npu::kernels
