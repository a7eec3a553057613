// SPDX-License-Identifier: MIT
// From a row of the table to the model's figure. Every rule here is about conditions that a row
// states; there are no constants of single rows.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

#include "npu-probe/timing_report.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

using sim::MacType;

// Rows that are not about the NPU, or leave out what the figure depends on.
struct Inexpressible {
  std::string why;
};

bool has(const std::string& text, std::string_view word) {
  const auto it = std::search(
      text.begin(), text.end(), word.begin(), word.end(),
      [](unsigned char a, unsigned char b) { return std::tolower(a) == std::tolower(b); });
  return it != text.end();
}

// The number in front of `word`: "5 files".
std::optional<unsigned> count_before(const std::string& text, std::string_view word) {
  const auto at = text.find(word);
  if (at == std::string::npos) return std::nullopt;
  std::size_t end = at;
  while (end > 0 && (text[end - 1] == ' ' || text[end - 1] == '-')) --end;
  std::size_t begin = end;
  while (begin > 0 && std::isdigit(static_cast<unsigned char>(text[begin - 1])) != 0) --begin;
  unsigned value = 0;
  const auto [stop, error] = std::from_chars(text.data() + begin, text.data() + end, value);
  if (error != std::errc() || stop != text.data() + end || value == 0 || value > 4096)
    return std::nullopt;
  return value;
}

std::optional<std::uint64_t> last_number(const std::string& text) {
  std::size_t end = text.size();
  while (end > 0 && std::isdigit(static_cast<unsigned char>(text[end - 1])) == 0) --end;
  std::size_t begin = end;
  while (begin > 0 && std::isdigit(static_cast<unsigned char>(text[begin - 1])) != 0) --begin;
  std::uint64_t value = 0;
  const auto [stop, error] = std::from_chars(text.data() + begin, text.data() + end, value);
  if (error != std::errc() || value == 0 || value > (1u << 20)) return std::nullopt;
  return value;
}

struct Sizes {
  std::uint64_t m, k, n;
};

Sizes sizes(const std::string& shape) {
  std::uint64_t value[3];
  const char* at = shape.data();
  const char* const end = at + shape.size();
  for (int i = 0; i < 3; ++i) {
    if (i != 0 && (at == end || *at++ != 'x')) throw Inexpressible{"the shape is not MxKxN"};
    const auto [stop, error] = std::from_chars(at, end, value[i]);
    if (error != std::errc() || value[i] == 0 || value[i] > (1u << 20))
      throw Inexpressible{"the shape is not MxKxN"};
    at = stop;
  }
  return {value[0], value[1], value[2]};
}

MacType mac_type(const std::string& dtype) {
  if (dtype == "int4" || dtype == "w4a4") return MacType::int4;
  if (dtype == "int8" || dtype == "uint8" || dtype == "w8a8") return MacType::int8;
  if (dtype == "fp16" || dtype == "f16") return MacType::fp16;
  if (dtype == "bf16") return MacType::bf16;
  if (dtype == "tf32") return MacType::tf32;
  if (dtype == "int16") throw Inexpressible{"int16 products are four int8 ones plus host work"};
  throw Inexpressible{fmt::format("the NPU has no operand type {}", dtype)};
}

struct Setting {
  const Measurement& row;
  sim::Calibration c;
  sim::Operating clock;
  sim::Dispatch dispatch;
  bool vendor;
};

Setting setting(const Measurement& row, const sim::Calibration& c) {
  Setting s{row, c, {row.npu_clock_mhz * 1e6, 1}, {}, row.stack == "vendor"};
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
  }
  return s;
}

// Cores that several files keep busy share the memory.
unsigned active(const Measurement& row, unsigned files) {
  return std::max(1u, std::min(row.cores, files));
}

GemmRun gemm_run(const Setting& s) {
  const Measurement& row = s.row;
  const std::string& text = row.conditions;
  const Sizes size = sizes(row.shape);
  GemmRun run;
  run.m = size.m;
  run.k = size.k;
  run.n = size.n;
  run.type = mac_type(row.dtype);
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
  run.fast_read = run.asymmetric;
  run.output_right_sized = s.vendor || has(text, "right-sized");
  // "wait": what a thread waits for its jobs, without its own work.
  run.device_only = row.metric == "device time" || row.metric == "wait";
  return run;
}

Modelled predict_gemm(Setting& s) {
  const GemmRun run = gemm_run(s);
  s.clock.active_cores = active(s.row, run.files);
  return gemm_time(run, s.c, s.clock, s.dispatch);
}

sim::TaskWork one_tile(std::uint64_t m, std::uint64_t k, std::uint64_t n, MacType type) {
  GemmRun run;
  run.m = m;
  run.k = k;
  run.n = n;
  run.type = type;
  return gemm_tasks(run, {m, n, k, 1, 1, 1}, n).front();
}

Modelled from_job(const sim::JobTime& job) {
  Modelled r;
  r.device = job.device;
  r.dispatch = job.dispatch();
  r.mac = job.mac;
  r.bytes = job.bytes;
  r.macs = job.macs;
  r.tasks = job.tasks;
  r.jobs = 1;
  r.seconds = job.total;
  return r;
}

Modelled predict_submit(Setting& s) {
  const Sizes size = sizes(s.row.shape);
  // The table of interrupt affinities was measured with the address space kept attached; rows
  // that compare the stock driver say so.
  s.dispatch.iommu_kept = !has(s.row.conditions, "stock");
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
  const std::vector<sim::TaskWork> tasks(*count, one_tile(256, 384, 256, mac_type(s.row.dtype)));
  Modelled r = from_job(sim::estimate_job(tasks, s.dispatch, s.c, s.clock));
  r.jobs = threads;
  r.tasks *= threads;
  r.bytes *= threads;
  r.macs *= threads;
  const double floor =
      s.c.job_little_us * 1e-6;  // between a thread's jobs its core may serve others
  r.seconds = sim::makespan(floor, r.seconds - floor, threads, s.row.cores);
  r.mac_share = r.mac * threads / s.clock.active_cores / r.seconds;
  return r;
}

Modelled predict_network(Setting& s) {
  const auto layers = network_layers(s.row.shape);
  if (!layers) throw Inexpressible{"the network is not in the model's table"};
  if (mac_type(s.row.dtype) != MacType::int8) throw Inexpressible{"networks are modelled in int8"};
  Modelled r;
  // Layers follow each other. The open stack runs each as one job on one core; the vendor's
  // compiler shares the rows of a layer between cores.
  const unsigned cores = s.vendor && !has(s.row.conditions, "librocketnpu") ? s.row.cores : 1;
  s.clock.active_cores = std::max(1u, cores);
  std::vector<sim::TaskWork> all;
  for (const Layer& layer : *layers) {
    const std::vector<sim::TaskWork> tasks = layer_tasks(layer, s.c);
    all.insert(all.end(), tasks.begin(), tasks.end());
    if (s.vendor && !has(s.row.conditions, "librocketnpu")) continue;
    const sim::JobTime job = sim::estimate_job(tasks, s.dispatch, s.c, s.clock);
    r.device += job.device;
    r.dispatch += job.dispatch();
    r.mac += job.mac;
    r.bytes += job.bytes;
    r.macs += job.macs;
    r.tasks += job.tasks;
    ++r.jobs;
  }
  if (r.jobs == 0) {
    const sim::JobTime job = sim::estimate_job(all, s.dispatch, s.c, s.clock);
    r = from_job(job);
    r.device /= cores;
    r.mac /= cores;
    r.host = s.c.vendor_invoke_ms * 1e-3;
  } else {
    const Layer& first = layers->front();
    const double outside = static_cast<double>(first.size) * first.size * first.in;
    r.host = s.c.mesa_invoke_ms * 1e-3 + outside * s.c.mesa_element_ns * 1e-9;
  }
  r.seconds = r.device + r.dispatch + r.host;
  r.mac_share = r.mac / r.seconds;
  return r;
}

void add(Modelled& sum, const Modelled& part, double times) {
  sum.seconds += part.seconds * times;
  sum.device += part.device * times;
  sum.host += part.host * times;
  sum.dispatch += part.dispatch * times;
  sum.mac += part.mac * times;
  sum.mac_share += part.mac_share * part.seconds * times;  // seconds until the end
  const auto n = static_cast<std::uint64_t>(times);
  sum.bytes += part.bytes * n;
  sum.macs += part.macs * n;
  sum.tasks += part.tasks * n;
  sum.jobs += part.jobs * n;
}

struct Product {
  std::uint64_t k, n;
};
std::vector<Product> products(const LanguageModel& m) {
  return {{m.width, m.query},       {m.width, m.key_value},    {m.width, m.key_value},
          {m.query, m.width},       {m.width, m.feed_forward}, {m.width, m.feed_forward},
          {m.feed_forward, m.width}};
}

Modelled vendor_decode(const Setting& s, const LanguageModel& model) {
  Modelled r;
  const double bytes =
      static_cast<double>(model.weights()) * sim::bits_of(mac_type(s.row.dtype)) / 8;
  const double ports = s.c.read_bytes_per_cycle * s.clock.npu_hz * s.row.cores;
  r.bytes = static_cast<std::uint64_t>(bytes);
  r.macs = model.weights();
  r.device = bytes / std::min(s.c.dram_bytes_per_second, ports);
  r.dispatch = static_cast<double>(model.layers) * s.c.llm_layer_us * 1e-6;
  r.seconds = r.device + r.dispatch;
  return r;
}

Modelled predict_llm(Setting& s) {
  const Measurement& row = s.row;
  const LanguageModel* model = find_language_model(row.shape);
  if (model == nullptr) throw Inexpressible{"the language model is not in the model's table"};
  if (row.dtype.rfind("q4", 0) == 0 || row.dtype.rfind("q8", 0) == 0 ||
      row.dtype.rfind("iq", 0) == 0)
    throw Inexpressible{"the host unpacks these weights for every batch, which is not modelled"};
  s.clock.active_cores = std::max(1u, row.cores);
  const bool decode = has(row.shape, "decode");
  if (decode && !s.vendor) throw Inexpressible{"the open stack decodes on the CPU"};
  if (decode) return vendor_decode(s, *model);
  const auto tokens = last_number(row.shape);
  if (!has(row.shape, "prefill") || !tokens)
    throw Inexpressible{"the row is neither decode nor prefill of a number of tokens"};

  GemmRun run;
  run.type = mac_type(row.dtype);
  if (!s.vendor && run.type != MacType::fp16 && run.type != MacType::bf16)
    throw Inexpressible{"rotating and quantising activations on the host is not modelled"};
  run.cores = row.cores;
  Modelled r;
  if (s.vendor) {
    run.m = *tokens;
    run.files = row.cores;
    run.data_reuse = run.resident = run.device_only = true;
    double activations = 0;
    for (const Product& p : products(*model)) {
      run.k = p.k;
      run.n = p.n;
      add(r, gemm_time(run, s.c, s.clock, s.dispatch), static_cast<double>(model->layers));
      activations += static_cast<double>((p.k + p.n) * *tokens * model->layers);
    }
    r.host = activations * s.c.llm_activation_ns * 1e-9;
    r.seconds += r.host + vendor_decode(s, *model).seconds;
    r.mac_share /= r.seconds;
    return r;
  }
  constexpr std::uint64_t kBatch = 512;  // llama.cpp's default micro-batch
  run.m = std::min(*tokens, kBatch);
  run.files = 5;
  run.resident = has(row.conditions, "resident");
  run.accumulate = run.data_reuse = run.type == MacType::fp16;
  run.asymmetric = run.output_right_sized = run.fast_read = true;
  const double batches = static_cast<double>(*tokens) / static_cast<double>(run.m);
  for (const Product& p : products(*model)) {
    run.k = p.k;
    run.n = p.n;
    add(r, gemm_time(run, s.c, s.clock, s.dispatch), static_cast<double>(model->layers) * batches);
  }
  const double t = static_cast<double>(*tokens);
  const double attention =
      2 * t * t * static_cast<double>(model->query * model->layers) / s.c.llm_attention_flops;
  r.host += attention;
  r.seconds += attention;
  r.mac_share /= r.seconds;
  return r;
}

double amount_per_second(const Setting& s, const Modelled& r) {
  const Measurement& row = s.row;
  if (row.op == "jobs") return static_cast<double>(r.jobs) / r.seconds;
  if (row.op == "llm") {
    const double tokens =
        has(row.shape, "decode") ? 1 : static_cast<double>(last_number(row.shape).value_or(1));
    return tokens / r.seconds;
  }
  return 1 / r.seconds;
}

double in_unit(const Setting& s, const Modelled& r) {
  const std::string& unit = s.row.unit;
  if (unit == "s") return r.seconds;
  if (unit == "ms") return r.seconds * 1e3;
  if (unit == "us") return r.seconds * 1e6;
  if (unit == "tok/s" || unit == "jobs/s" || unit == "1/s" || unit == "fps")
    return amount_per_second(s, r);
  if (s.row.op == "gemm") {
    const Sizes size = sizes(s.row.shape);
    const double operations =
        2 * static_cast<double>(size.m) * static_cast<double>(size.k) * static_cast<double>(size.n);
    if (unit == "GOP/s" || unit == "GFLOP/s" || unit == "GFLOPS" || unit == "GOPS")
      return operations / r.seconds * 1e-9;
    if (unit == "TOP/s" || unit == "TFLOP/s") return operations / r.seconds * 1e-12;
  }
  throw Inexpressible{fmt::format("a {} in {} cannot be modelled", s.row.op, unit)};
}

}  // namespace

Prediction predict(const Measurement& row, const sim::Calibration& calibration) {
  Prediction p;
  try {
    if (row.stack != "rocket" && row.stack != "vendor")
      throw Inexpressible{"not a measurement of the NPU"};
    if (!(row.npu_clock_mhz > 0)) throw Inexpressible{"the row gives no NPU clock"};
    if (row.cores == 0 || row.cores > 3) throw Inexpressible{"the NPU has 1 to 3 cores"};
    Setting s = setting(row, calibration);
    if (row.op == "gemm")
      p.detail = predict_gemm(s);
    else if (row.op == "submit")
      p.detail = predict_submit(s);
    else if (row.op == "jobs")
      p.detail = predict_jobs(s);
    else if (row.op == "network")
      p.detail = predict_network(s);
    else if (row.op == "llm")
      p.detail = predict_llm(s);
    else
      throw Inexpressible{fmt::format("the model has no workload for \"{}\"", row.op)};
    p.value = in_unit(s, p.detail);
  } catch (const Inexpressible& reason) {
    p.inexpressible = reason.why;
  } catch (const Error& error) {
    p.inexpressible = error.what();
  }
  return p;
}

}  // namespace npu::probe
