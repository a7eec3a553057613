// SPDX-License-Identifier: MIT
// From a row of the table to the model's figure. Every rule here is about conditions that a row
// states; there are no constants of single rows.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "npu-probe/timing_setting.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

using sim::MacType;

// Where a row gives none: mainline leaves the NPU at 200 MHz, vendor kernels raise it to 1 GHz.
constexpr double kMainlineHz = 200e6, kVendorHz = 1e9;

struct Sizes {
  std::uint64_t m, k, n;
};

// "512x3840x4096", with or without words behind it; "1024^3".
Sizes sizes(const std::string& shape) {
  const Inexpressible unclear{"the shape is not MxKxN"};
  std::uint64_t value[3];
  const char* at = shape.data();
  const char* const end = at + shape.size();
  for (int i = 0; i < 3; ++i) {
    while (i != 0 && at != end && *at == ' ') ++at;
    if (i != 0) {
      if (at == end || (*at != 'x' && *at != 'X' && *at != '*')) throw unclear;
      ++at;
      while (at != end && *at == ' ') ++at;
    }
    const auto [stop, error] = std::from_chars(at, end, value[i]);
    if (error != std::errc() || value[i] == 0 || value[i] > (1u << 20)) throw unclear;
    at = stop;
    if (i == 0 && end - at >= 2 && at[0] == '^' && at[1] == '3')
      return {value[0], value[0], value[0]};
  }
  return {value[0], value[1], value[2]};
}

bool vendor_stack(const std::string& stack) {
  for (const char* name : {"vendor", "rknn", "rkllm", "rknpu", "rk-llama"})
    if (has(stack, name)) return true;
  return false;
}

bool open_stack(const std::string& stack) {
  for (const char* name : {"rocket", "mesa", "teflon", "mainline", "open"})
    if (has(stack, name)) return true;
  return false;
}

Setting setting(const Measurement& row, const sim::Calibration& c) {
  Setting s{row, c, {row.npu_clock_mhz * 1e6, 1}, {}, vendor_stack(row.stack), {}};
  if (s.clock.npu_hz == 0) s.clock.npu_hz = s.vendor ? kVendorHz : kMainlineHz;
  const std::string& text = row.conditions;
  s.dispatch.chained = s.vendor || has(text, "chained") || has(text, "one kick");
  s.dispatch.iommu_kept = s.vendor || has(text, "keep-attached") || has(text, "kept attached");
  if (has(text, "big core")) {
    s.dispatch.interrupt = sim::InterruptCore::big_floating;
    if (has(text, "another big") || has(text, "different big") || has(text, "other big"))
      s.dispatch.interrupt = sim::InterruptCore::big_other;
    if (has(text, "same") || has(text, "one big core") || has(text, "co-located"))
      s.dispatch.interrupt = sim::InterruptCore::big_same;
  }
  if (s.vendor) {
    s.dispatch.interrupt = sim::InterruptCore::big_same;
    s.c.job_big_same_us = c.vendor_job_us;
    s.c.host_sync_alone_bytes_per_second = c.host_sync_bytes_per_second;
  }
  return s;
}

GemmRun gemm_run(const Setting& s) {
  const Measurement& row = s.row;
  const std::string& text = row.conditions;
  const Sizes size = sizes(row.shape);
  GemmRun run;
  run.m = size.m;
  run.k = size.k;
  run.n = size.n;
  // Products of 16-bit integers are four of 8-bit ones [notes tile-layouts, HW].
  run.type = mac_type(row.dtype);
  if (run.type == MacType::int16) run.type = MacType::int8;
  run.cores = row.cores;
  // The library's default is 5 files where it uses more than one core.
  run.files = count_before(text, " files").value_or(row.cores > 1 ? 5 : 1);
  if (has(text, "single file") || has(text, "one worker")) run.files = 1;
  const bool streaming = has(text, "not resident") || has(text, "one-shot");
  run.resident = has(text, "resident") && !streaming;
  run.cold = !run.resident && !has(text, "warm pack");
  // What the library does by itself: fp16 slices are added by the DPU where weights are resident.
  run.accumulate =
      run.type == MacType::fp16 && (run.resident || has(text, "K accumulation") || s.vendor);
  run.data_reuse = run.accumulate && !has(text, "no reuse");
  run.asymmetric = s.vendor || has(text, "asymmetric");
  run.fast_read = run.asymmetric || has(text, "vector");
  run.output_right_sized = s.vendor || has(text, "right-sized");
  // "wait": what a thread waits for its jobs, without its own work; PREP_BO synchronises too.
  run.waits = has(row.metric, "wait");
  run.device_only = has(row.metric, "device") || run.waits;
  return run;
}

Modelled predict_gemm(Setting& s) {
  const GemmRun run = gemm_run(s);
  s.clock.active_cores = active(s.row, run.files);
  Modelled r = gemm_time(run, s.c, s.clock, s.dispatch);
  if (mac_type(s.row.dtype) != MacType::int16) return r;
  for (double* part : {&r.seconds, &r.host, &r.dispatch, &r.device, &r.mac}) *part *= 4;
  for (std::uint64_t* part : {&r.bytes, &r.macs}) *part *= 4;
  r.tasks *= 4;
  r.jobs *= 4;
  return r;
}

sim::TaskWork one_tile(std::uint64_t m, std::uint64_t k, std::uint64_t n, MacType type) {
  GemmRun run;
  run.m = m;
  run.k = k;
  run.n = n;
  run.type = type;
  return gemm_tasks(run, {m, n, k, 1, 1, 1}, n).front();
}

Modelled predict_submit(Setting& s) {
  const Sizes size = sizes(s.row.shape);
  // The table of interrupt affinities was measured with the address space kept attached; rows
  // that compare the stock driver say so.
  const std::string& text = s.row.conditions;
  s.dispatch.iommu_kept = s.vendor || !has(text, "stock");
  // Rows about the driver's IOMMU handling that leave the interrupt's core open fit a big one: 54
  // and 34 us, where the table of affinities has 51 (little) and 33.5 (big) with the address space
  // kept attached.
  const bool little = has(text, "little") || has(text, "A55");
  if (!s.vendor && !little && (has(text, "IOMMU") || has(text, "stock")) &&
      s.dispatch.interrupt == sim::InterruptCore::little)
    s.dispatch.interrupt = sim::InterruptCore::big_floating;
  const unsigned count = count_before(s.row.conditions, " tasks").value_or(1);
  const std::vector<sim::TaskWork> tasks(count,
                                         one_tile(size.m, size.k, size.n, mac_type(s.row.dtype)));
  Modelled r = from_job(sim::estimate_job(tasks, s.dispatch, s.c, s.clock));
  r.mac_share = r.mac / r.seconds;
  if (s.row.metric == "latency") return r;
  if (!has(s.row.metric, "overhead") || !has(s.row.conditions, "IOMMU"))
    throw Inexpressible{"of a submit the model knows the latency and the IOMMU's overhead"};
  sim::Dispatch stock = s.dispatch;
  stock.iommu_kept = false;
  sim::Dispatch kept = s.dispatch;
  kept.iommu_kept = true;
  r.seconds = sim::estimate_job(tasks, stock, s.c, s.clock).total -
              sim::estimate_job(tasks, kept, s.c, s.clock).total;
  return r;
}

// The scheduling probe: jobs of equal 256x384x256 tiles, every thread with a file of its own
// [rocket-userspace, multicore_threads, multicore_probe; facts].
Modelled predict_jobs(Setting& s) {
  const auto count = count_before(s.row.shape, "task");
  if (!count) throw Inexpressible{"the row does not say how many tasks a job has"};
  const unsigned threads =
      count_before(s.row.conditions, " thread").value_or(s.row.cores > 0 ? s.row.cores : 1);
  s.clock.active_cores = active(s.row, threads);
  // One file's jobs stay on one core while some are queued.
  const unsigned queued = count_before(s.row.conditions, " jobs on one").value_or(1);
  const std::vector<sim::TaskWork> tasks(*count, one_tile(256, 384, 256, mac_type(s.row.dtype)));
  Modelled r = from_job(sim::estimate_job(tasks, s.dispatch, s.c, s.clock));
  r.jobs = threads;
  r.tasks *= threads;
  r.bytes *= threads;
  r.macs *= threads;
  const double floor =
      s.c.job_little_us * 1e-6;  // between a thread's jobs its core may serve others
  r.seconds = sim::makespan(floor, (r.seconds - floor) * queued, threads, s.row.cores);
  r.mac_share = r.mac * threads / s.clock.active_cores / r.seconds;
  return r;
}

bool is_operator(const std::string& op) {
  for (const char* name : {"conv", "depthwise", "pool", "maxpool", "avgpool", "eltwise", "add",
                           "mul", "sub", "max", "min", "lut", "activation"})
    if (op == name) return true;
  return false;
}

double amount_per_second(const Setting& s, const Modelled& r) {
  const Measurement& row = s.row;
  if (row.op == "jobs") return static_cast<double>(r.jobs) / r.seconds;
  if (row.op == "llm" && !has(row.metric, "first token")) {
    const double tokens = is_decode(row) ? 1 : static_cast<double>(prompt_tokens(row).value_or(1));
    return tokens / r.seconds;
  }
  return r.streams / r.seconds;
}

// Multiplications per cycle of one core's array.
double peak_rate(const Setting& s) {
  const sim::ArrayBlock block = sim::array_block(mac_type(s.row.dtype));
  return static_cast<double>(block.kernels) * block.channels;
}

double in_unit(const Setting& s, const Modelled& r) {
  const std::string& unit = s.row.unit;
  if (unit == "s") return r.seconds;
  if (unit == "ms") return r.seconds * 1e3;
  if (unit == "us" || unit == "\u00b5s" || unit == "\u03bcs") return r.seconds * 1e6;
  for (const char* rate : {"tok/s", "t/s", "tokens/s", "jobs/s", "1/s", "fps", "FPS", "inf/s"})
    if (unit == rate) return amount_per_second(s, r);
  const auto bytes = static_cast<double>(r.bytes);
  for (const auto& [name, size] : {std::pair<const char*, double>{"B", 1},
                                   {"KB", 1e3},
                                   {"MB", 1e6},
                                   {"GB", 1e9},
                                   {"KiB", 1024},
                                   {"MiB", 1048576},
                                   {"GiB", 1073741824}}) {
    if (unit == name) return bytes / size;
    if (unit == std::string(name) + "/s") return bytes / size / r.seconds;
  }
  if (unit == "%" && (has(s.row.metric, "MAC") || has(s.row.metric, "utili")))
    return 100 * static_cast<double>(r.macs) /
           (r.seconds * s.row.cores * s.clock.npu_hz * peak_rate(s));
  if (s.row.op == "gemm" || s.row.op == "matmul") {
    const Sizes size = sizes(s.row.shape);
    const double operations =
        2 * static_cast<double>(size.m) * static_cast<double>(size.k) * static_cast<double>(size.n);
    for (const char* name : {"GOP/s", "GFLOP/s", "GFLOPS", "GOPS"})
      if (unit == name) return operations / r.seconds * 1e-9;
    for (const char* name : {"TOP/s", "TFLOP/s", "TOPS", "TFLOPS"})
      if (unit == name) return operations / r.seconds * 1e-12;
  }
  throw Inexpressible{
      fmt::format("{} of a {} in {} is not modelled", s.row.metric, s.row.op, unit)};
}

}  // namespace

Prediction predict(const Measurement& given, const sim::Calibration& calibration) {
  Prediction p;
  Measurement row = given;
  try {
    if (!vendor_stack(row.stack) && !open_stack(row.stack))
      throw Inexpressible{"not a measurement of the NPU"};
    if (row.cores > 3) throw Inexpressible{"the NPU has 1 to 3 cores"};
    row.cores = std::max(row.cores, 1u);
    Setting s = setting(row, calibration);
    if (given.cores == 0) s.assumed.emplace_back("one core");
    if (!(row.npu_clock_mhz > 0))
      s.assumed.push_back(fmt::format("{:g} MHz", s.clock.npu_hz * 1e-6));
    if (has(row.shape, "whisper") || row.op == "whisper")
      p.detail = predict_whisper(s);
    else if (row.op == "gemm" || row.op == "matmul")
      p.detail = predict_gemm(s);
    else if (row.op == "submit")
      p.detail = predict_submit(s);
    else if (row.op == "jobs")
      p.detail = predict_jobs(s);
    else if (row.op == "network")
      p.detail = predict_network(s);
    else if (row.op == "llm")
      p.detail = predict_llm(s);
    else if (is_operator(row.op))
      p.detail = predict_operator(s);
    else
      throw Inexpressible{fmt::format("the model has no workload for \"{}\"", row.op)};
    const double value = in_unit(s, p.detail);
    if (!(value > 0) || !std::isfinite(value))
      throw Inexpressible{fmt::format("this row's work comes to no {}", row.unit)};
    p.value = value;
    p.assumed = fmt::format("{}", fmt::join(s.assumed, ", "));
  } catch (const Inexpressible& reason) {
    p.inexpressible = reason.why;
  } catch (const Error& error) {
    p.inexpressible = error.what();
  }
  return p;
}

}  // namespace npu::probe
