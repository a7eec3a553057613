// SPDX-License-Identifier: MIT
#include "microkernels/gemm_time.hpp"

#include <algorithm>
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

sim::MacType mac_type(DataType in) {
  switch (in) {
    case DataType::i4: return sim::MacType::int4;
    case DataType::f16: return sim::MacType::fp16;
    case DataType::bf16: return sim::MacType::bf16;
    case DataType::tf32: return sim::MacType::tf32;
    default: return sim::MacType::int8;
  }
}

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

// A core's part as the host sees it.
struct Part {
  double elements_a, elements_c;  // packed and read back
  double a_bytes, out_bytes;      // buffers; out: C and scratch
  std::vector<double> stages;     // seconds from submit to the end of waiting
};

// What Gemm::run() does, step by step, on one thread that packs and reads with the help of others.
void schedule(const std::vector<Part>& parts, CoreSplit split, double last_read_ns, double read_ns,
              const sim::Calibration& c, GemmTime& t) {
  const double threads = std::max(c.host_parallelism, 1.0);
  const double sync = c.host_sync_alone_bytes_per_second;
  double now = 0;
  const auto spend = [&](double seconds, double& account) {
    now += seconds;
    account += seconds;
  };
  const std::size_t stages = parts[0].stages.size();
  std::vector<double> done(parts.size());
  for (std::size_t stage = 0; stage < stages; ++stage) {
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const Part& part = parts[i];
      if (stage == 0) {
        // Only the first core's copy is made from the matrix if all need the same one.
        if (i == 0 || split == CoreSplit::rows)
          spend(part.elements_a * c.host_pack_ns * 1e-9 / threads, t.pack);
        else
          spend(2 * part.a_bytes / c.cpu_bytes_per_second, t.copy);  // read and written
        spend(part.a_bytes / sync, t.sync);
      }
      spend(part.out_bytes / sync, t.sync);
      done[i] = now + part.stages[stage];
    }
    for (std::size_t i = 0; i < parts.size(); ++i) {
      now = std::max(now, done[i]);
      spend(parts[i].out_bytes / sync, t.sync);
      const double ns = stage + 1 == stages ? last_read_ns : read_ns;
      spend(parts[i].elements_c * ns * 1e-9 / threads, t.read);
    }
  }
  t.seconds = now;
}

// Reading sums back; completing the result where the chip did not.
double last_read_ns(const GemmTypes& types, DataType task_output, const sim::Calibration& c) {
  double ns = c.host_read_fast_ns;
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
  std::vector<Part> parts;
  for (const GemmCore& core : plan.cores) {
    Part part{.elements_a = static_cast<double>(u64{core.m.size} * plan.shape.k),
              .elements_c = static_cast<double>(u64{core.m.size} * core.n.size),
              .a_bytes = static_cast<double>(core.a_bytes),
              .out_bytes = static_cast<double>(core.c_bytes + core.scratch_bytes),
              .stages = std::vector<double>(plan.stages)};
    double dispatched = 0, device = 0, mac = 0;
    std::vector<sim::TaskWork> job;
    for (std::size_t i = 0; i < core.tasks.size(); ++i) {
      const GemmTask& task = core.tasks[i];
      job.push_back(work(task_types, {task.m_padded, task.n_padded, task.k_padded, task.data_reuse,
                                      task.weight_reuse, task.adds}));
      if (i + 1 != core.tasks.size() && !core.tasks[i + 1].starts_job) continue;
      const sim::JobTime time = sim::estimate_job(job, dispatch, c, operating);
      part.stages[plan.stages == 1 ? 0 : task.slice] += time.total;
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
    parts.push_back(std::move(part));
  }
  t.regcmd_words = u64{t.tasks} * kRegcmdWords;
  schedule(parts, plan.choice.split, last_read_ns(plan.types, plan.task_output, c),
           c.host_read_fast_ns, c, t);
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
    return ceil_div(ceil_div(whole, step), limit / step);
  };
  const u32 mt = tiles(m, choice.rows, rules.row_step);
  const u32 nt = tiles(n, choice.columns, format.kernel_group);
  const u32 slices = tiles(shape.k, choice.k, format.channel_block);
  const auto largest = [](u32 whole, u32 parts, u32 step) {
    return ceil_div(ceil_div(whole, step), parts) * step;
  };
  Tile tile{pad_rows(largest(m, mt, rules.row_step), rules).padded,
            largest(n, nt, format.kernel_group),
            largest(shape.k, slices, format.channel_block),
            false,
            false,
            false};
  const sim::Operating operating{.npu_hz = options.npu_hz,
                                 .active_cores = static_cast<unsigned>(cores.size())};
  sim::Dispatch dispatch = options.dispatch;
  dispatch.chained = choice.chained;

  // Tasks of one slice: some load both operands, the others find one in CBUF.
  const u64 tasks = u64{mt} * nt;
  const u64 macs = u64{tile.m} * tile.n * tile.k, bytes = work(rules.types, tile).output_bytes;
  const u64 per_job =
      std::max<u64>(1, std::min(kMaxJobMacs / macs, kMaxJobBytes / std::max<u64>(bytes, 1)));
  const bool on_chip = rules.adds;
  const u64 jobs = on_chip ? ceil_div(tasks * slices, per_job) : ceil_div(tasks, per_job) * slices;
  u64 loads = choice.order == TaskOrder::features ? mt : nt;
  if (!choice.reuse) loads = tasks;
  loads = std::min(tasks, loads + jobs / slices);
  double seconds = 0;
  for (const bool adds : {false, true}) {
    const u32 count = !on_chip ? (adds ? 0 : slices) : (adds ? slices - 1 : 1);
    if (count == 0) continue;
    Tile first = tile, next = tile;
    first.adds = next.adds = adds;
    next.data_reuse = choice.reuse && choice.order == TaskOrder::features;
    next.weight_reuse = choice.reuse && choice.order == TaskOrder::weights;
    const sim::TaskWork a = work(rules.types, first), b = work(rules.types, next);
    const sim::TaskWork two[] = {a, a}, other[] = {a, b};
    const double one = sim::estimate_job({two, 1}, dispatch, c, operating).total;
    const double again = sim::estimate_job(two, dispatch, c, operating).total - one;
    const double reused = sim::estimate_job(other, dispatch, c, operating).total - one;
    seconds +=
        count * (static_cast<double>(loads) * again + static_cast<double>(tasks - loads) * reused);
    if (!adds) seconds += static_cast<double>(jobs) * (one - again);
  }
  const u32 stages = on_chip ? 1 : slices;
  const u64 c_bytes = type_bytes(rules.types.out, u64{mt} * tile.m * nt * tile.n);
  Part part{
      .elements_a = static_cast<double>(u64{m} * shape.k),
      .elements_c = static_cast<double>(u64{m} * n),
      .a_bytes = static_cast<double>(type_bytes(types.in, u64{mt} * tile.m * slices * tile.k)),
      .out_bytes = static_cast<double>(c_bytes) * (on_chip ? 2 : 1),
      .stages = std::vector<double>(stages, seconds / stages)};
  GemmTime t;
  schedule(std::vector<Part>(cores.size(), part), choice.split,
           last_read_ns(types, rules.types.out, c), c.host_read_fast_ns, c, t);
  return t.seconds;
}

}  // namespace npu::kernels
