// SPDX-License-Identifier: MIT
#include "npu-sim/timing.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "npu-sim/mac_rate.hpp"
#include "regdb/error.hpp"

namespace npu::sim {
namespace {

constexpr double kWordBytes = 8;

double blocks(std::uint64_t size, double block) {
  return std::ceil(static_cast<double>(size) / block);
}

// Every block of kernels by channels takes a cycle per kernel element and output position; what a
// block has too much is lost.
double mac_cycles(const TaskWork& work, const Calibration& c) {
  if (work.channels == 0) return 0;
  const double steps = static_cast<double>(work.kernel_width) * work.kernel_height *
                       static_cast<double>(work.positions);
  const double rate = mac_rate(work.type, work.depthwise, c);
  if (work.depthwise) return steps * blocks(work.channels, rate);
  const ArrayBlock block = array_block(work.type);
  const double padded =
      blocks(work.kernels, block.kernels) * blocks(work.channels, block.channels) * steps;
  return padded * block.kernels * block.channels / rate;
}

double banks(const TaskWork& work, const Calibration& c) {
  return blocks(work.feature_bytes, c.cbuf_bank_bytes) +
         blocks(work.weight_bytes, c.cbuf_bank_bytes);
}

double seconds_per_interrupt(const Dispatch& dispatch, const Calibration& c) {
  return 1e-6 * (dispatch.interrupt == InterruptCore::little ? c.task_interrupt_little_us
                                                             : c.task_interrupt_big_us);
}

double job_floor_us(const Dispatch& dispatch, const Calibration& c) {
  switch (dispatch.interrupt) {
    case InterruptCore::little: return c.job_little_us;
    case InterruptCore::big_floating: return c.job_big_floating_us;
    case InterruptCore::big_other: return c.job_big_other_us;
    case InterruptCore::big_same: return c.job_big_same_us;
  }
  return c.job_little_us;
}

}  // namespace

std::string_view to_string(MacType type) {
  switch (type) {
    case MacType::int4: return "int4";
    case MacType::int8: return "int8";
    case MacType::int16: return "int16";
    case MacType::fp16: return "fp16";
    case MacType::bf16: return "bf16";
    case MacType::tf32: return "tf32";
    case MacType::fp32: return "fp32";
  }
  return "?";
}

std::string_view to_string(Resource resource) {
  switch (resource) {
    case Resource::fetch: return "program fetch";
    case Resource::feature: return "feature DMA";
    case Resource::weight: return "weight DMA";
    case Resource::mac: return "MAC array";
    case Resource::operand: return "operand DMA";
    case Resource::dpu: return "DPU";
    case Resource::ppu: return "PPU";
    case Resource::write: return "write DMA";
    case Resource::dram: return "DRAM bandwidth";
    case Resource::start: return "task start";
  }
  return "?";
}

ArrayBlock array_block(MacType type) {
  switch (type) {
    case MacType::int4: return {64, 32};
    case MacType::int8: return {32, 32};
    case MacType::int16:
    case MacType::fp16:
    case MacType::bf16: return {16, 32};
    case MacType::tf32:
    case MacType::fp32: return {16, 16};
  }
  return {32, 32};
}

double bits_of(MacType type) {
  switch (type) {
    case MacType::int4: return 4;
    case MacType::int8: return 8;
    case MacType::int16:
    case MacType::fp16:
    case MacType::bf16: return 16;
    case MacType::tf32:
    case MacType::fp32: return 32;
  }
  return 8;
}

double mac_rate(MacType type, bool depthwise, const Calibration& c) {
  if (depthwise)
    return type == MacType::int8 || type == MacType::int4 ? c.depthwise_int8 : c.depthwise_fp16;
  switch (type) {
    case MacType::int4: return c.mac_int4;
    case MacType::int8: return c.mac_int8;
    case MacType::int16: return c.mac_int16;
    case MacType::fp16: return c.mac_fp16;
    case MacType::bf16: return c.mac_bf16;
    case MacType::tf32:
    case MacType::fp32: return c.mac_tf32;
  }
  return c.mac_int8;
}

std::uint64_t TaskWork::macs() const {
  return (depthwise ? 1 : std::uint64_t{kernels}) * channels * kernel_width * kernel_height *
         positions;
}

TaskTime estimate(const TaskWork& work, const Calibration& c, const Operating& operating) {
  if (!(operating.npu_hz > 0) || operating.active_cores == 0)
    throw Error(ErrorCode::invalid_argument,
                "the timing model needs a clock above 0 Hz and at least one active core");
  const double dram_per_cycle = c.dram_bytes_per_second / operating.active_cores / operating.npu_hz;
  const double read = std::min(c.read_bytes_per_cycle, dram_per_cycle);
  const double write = std::min(c.write_bytes_per_cycle, dram_per_cycle);
  const std::uint64_t feature = work.data_reuse ? 0 : work.feature_bytes;
  const std::uint64_t weight = work.weight_reuse ? 0 : work.weight_bytes;
  const auto program = static_cast<std::uint64_t>(work.regcmd_words * kWordBytes);

  TaskTime t;
  t.fetch = static_cast<double>(program) / read;
  t.feature = static_cast<double>(feature) / read;
  t.weight = static_cast<double>(weight) / read;
  t.mac = mac_cycles(work, c);
  t.operand = static_cast<double>(work.operand_bytes) / read;
  // The DPU works on atoms of 16 bytes of its input; results of 4 bytes take more than one.
  const double element =
      work.output_elements == 0
          ? 0
          : std::max(bits_of(work.type) / 8, static_cast<double>(work.output_bytes) /
                                                 static_cast<double>(work.output_elements));
  t.dpu = static_cast<double>(work.output_elements) * element / c.dpu_bytes_per_cycle;
  if (work.table)
    t.dpu = std::max(t.dpu, static_cast<double>(work.output_elements) / c.table_elements_per_cycle);
  t.ppu = static_cast<double>(work.pool_elements) / c.ppu_elements_per_cycle;
  if (work.pool_elements != 0) t.dpu = 0;
  t.write = static_cast<double>(work.output_bytes) / write;
  t.start = c.task_start_cycles;
  t.bytes = feature + weight + program + work.operand_bytes + work.output_bytes;
  t.dram = static_cast<double>(t.bytes) / dram_per_cycle;

  const double slowest = std::max({t.mac, t.operand, t.dpu, t.ppu, t.write});
  t.load = t.fetch + t.weight + t.feature - std::min(t.feature * c.feature_overlap, slowest);
  t.body = slowest + t.start;
  t.total = std::max(t.load + t.body, t.dram);

  const std::pair<double, Resource> causes[] = {
      {t.mac, Resource::mac},         {t.feature, Resource::feature}, {t.weight, Resource::weight},
      {t.operand, Resource::operand}, {t.write, Resource::write},     {t.dpu, Resource::dpu},
      {t.ppu, Resource::ppu},         {t.fetch, Resource::fetch},     {t.start, Resource::start}};
  const auto* worst =
      std::max_element(std::begin(causes), std::end(causes),
                       [](const auto& a, const auto& b) { return a.first < b.first; });
  t.limit = worst->second;
  // Reads, operands and writes share the memory: together they may take longer than any of them.
  if (t.dram > t.load + t.body ||
      (dram_per_cycle < c.read_bytes_per_cycle && t.dram > worst->first))
    t.limit = Resource::dram;

  const double peak = mac_rate(work.type, work.depthwise, c);
  if (t.total > 0) {
    t.mac_utilisation = static_cast<double>(work.macs()) / peak / t.total;
    t.seconds = t.total / operating.npu_hz;
    t.bytes_per_second = static_cast<double>(t.bytes) / t.seconds;
  }
  return t;
}

std::vector<ChainedTask> estimate_chain(std::span<const TaskWork> tasks, const Calibration& c,
                                        const Operating& operating) {
  std::vector<ChainedTask> chain;
  double body_before = 0, banks_before = 0;
  for (const TaskWork& work : tasks) {
    const TaskTime t = estimate(work, c, operating);
    double total = t.total;
    if (body_before > 0) {
      const double hidden = banks_before + banks(work, c) <= c.cbuf_banks ? t.load : t.fetch;
      // Never faster than the memory serves this task.
      total = std::max(t.total - std::min(hidden, body_before), t.dram);
    }
    body_before = t.body;
    banks_before = banks(work, c);
    chain.push_back({t, total / operating.npu_hz});
  }
  return chain;
}

JobTime estimate_starts(std::span<const std::vector<TaskWork>> starts, const Dispatch& dispatch,
                        const Calibration& c, const Operating& operating) {
  JobTime job;
  for (const std::vector<TaskWork>& tasks : starts) {
    job.tasks += tasks.size();
    for (const ChainedTask& task : estimate_chain(tasks, c, operating)) {
      job.device += task.seconds;
      job.mac += task.time.mac / operating.npu_hz;
      job.bytes += task.time.bytes;
    }
    for (const TaskWork& work : tasks) job.macs += work.macs();
  }
  if (job.tasks == 0) return job;
  job.submit = 1e-6 * job_floor_us(dispatch, c);
  job.iommu = dispatch.iommu_kept ? 0 : 1e-6 * c.iommu_us;
  job.interrupts = static_cast<double>(starts.size() - 1) * seconds_per_interrupt(dispatch, c);
  job.total = job.device + job.dispatch();
  return job;
}

JobTime estimate_job(std::span<const TaskWork> tasks, const Dispatch& dispatch,
                     const Calibration& c, const Operating& operating) {
  std::vector<std::vector<TaskWork>> starts;
  if (dispatch.chained) {
    starts.emplace_back(tasks.begin(), tasks.end());
  } else {
    for (const TaskWork& work : tasks) starts.push_back({work});
  }
  return estimate_starts(starts, dispatch, c, operating);
}

double makespan(double host, double device, unsigned threads, unsigned cores) {
  if (threads == 0 || cores == 0)
    throw Error(ErrorCode::invalid_argument, "a makespan needs at least one thread and one core");
  return std::max(host + device, device * threads / std::min(cores, threads));
}

}  // namespace npu::sim
