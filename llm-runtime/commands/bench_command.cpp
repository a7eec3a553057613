// SPDX-License-Identifier: MIT
// npu-chat bench: tokens per second, measured as llama-bench does: `pp` evaluates a prompt in an
// empty context, `tg` makes tokens one after the other in an empty context. Tokens are random:
// nothing depends on them.
#include <fmt/format.h>
#include <fmt/ostream.h>
#include <sys/resource.h>

#include <chrono>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>

#include "llm-runtime/commands/options.hpp"
#include "regdb/error.hpp"

namespace npu::llm {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;

struct BenchOptions {
  ModelOptions model;
  std::vector<unsigned> prompt{512}, generate{64}, threads;
  unsigned repetitions = 5;
  bool as_json = false, no_warmup = false;
};

struct Result {
  unsigned threads = 0, prompt = 0, generated = 0;
  std::vector<double> tokens_per_second;
  OffloadStats npu;  ///< of one repetition

  std::string test() const {
    return prompt != 0 ? fmt::format("pp{}", prompt) : fmt::format("tg{}", generated);
  }
  double tokens() const { return prompt + generated; }
  double per_token(std::uint64_t count) const { return static_cast<double>(count) / tokens(); }
  double mean() const {
    double sum = 0;
    for (const double t : tokens_per_second) sum += t;
    return sum / static_cast<double>(tokens_per_second.size());
  }
  double deviation() const {
    if (tokens_per_second.size() < 2) return 0;
    double sum = 0;
    for (const double t : tokens_per_second) sum += (t - mean()) * (t - mean());
    return std::sqrt(sum / static_cast<double>(tokens_per_second.size() - 1));
  }
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::vector<std::int32_t> random_tokens(std::size_t n, std::uint32_t vocabulary) {
  std::mt19937 random(1);
  std::vector<std::int32_t> tokens(n);
  for (auto& token : tokens) token = static_cast<std::int32_t>(random() % vocabulary);
  return tokens;
}

double evaluate(Engine& engine, unsigned prompt, unsigned generated) {
  const auto tokens = random_tokens(prompt + generated, engine.model().shape().vocabulary);
  engine.truncate(0, 0);
  const auto start = Clock::now();
  if (prompt != 0) {
    engine.append(0, tokens);
  } else {
    for (const std::int32_t& token : tokens) engine.append(0, std::span(&token, 1));
  }
  return static_cast<double>(tokens.size()) / seconds_since(start);
}

Result measure(Engine& engine, unsigned prompt, unsigned generated, const BenchOptions& o) {
  Result result{engine.options().threads, prompt, generated, {}};
  if (!o.no_warmup) evaluate(engine, prompt, std::min(generated, 4u));  // caches and clocks
  for (unsigned i = 0; i < o.repetitions; ++i) {
    const OffloadStats before =
        engine.offload_stats() != nullptr ? *engine.offload_stats() : OffloadStats{};
    result.tokens_per_second.push_back(evaluate(engine, prompt, generated));
    if (engine.offload_stats() == nullptr) continue;
    result.npu.submits = engine.offload_stats()->submits - before.submits;
    result.npu.jobs = engine.offload_stats()->jobs - before.jobs;
    result.npu.device = engine.offload_stats()->device - before.device;
  }
  return result;
}

/// The same test on a board: by the plan that the engine follows, beside an RK3588's CPU.
/// Nothing for a chip, whose figures are measured, and without an NPU.
std::optional<ForwardTime> modelled(const Engine& engine, const Plan* plan, const Result& r) {
  if (plan == nullptr) return std::nullopt;
  const Model& model = engine.model();
  return r.prompt != 0 ? modelled_prefill(model, *plan, r.prompt, engine.options().batch)
                       : modelled_decode(model, *plan, r.generated, 0);
}

/// What the engine does, with the times of a board.
std::optional<Plan> board_plan(const Engine& engine) {
  const device::DeviceInfo* info = engine.device_info();
  if (info == nullptr || info->time_base == device::TimeBase::chip) return std::nullopt;
  const CpuTimes cpu = modelled_cpu_times(engine.model(), sim::default_calibration().values);
  const PlanOptions options{.cores = info->cores != 0 ? info->cores : 3,
                            .offload = engine.options().offload,
                            .dispatch = {},
                            .calibration = nullptr};
  return make_plan(engine.model(), cpu, options).with(engine.options().offload.plan);
}

/// Bytes; the largest so far of this process.
std::uint64_t peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

/// A test on a board.
struct OnBoard {
  Result result;
  ForwardTime time;
  double npu_hz = 0;
};

void print_board(const std::vector<OnBoard>& tests, Io& io) {
  fmt::print(io.out, "\nOn an RK3588 with its NPU at {:g} MHz:\n", tests.front().npu_hz / 1e6);
  fmt::print(io.out, "| {:>7} | {:>14} | {:>10} | {:>13} | {:>9} | {:28} |\n", "test",
             "t/s (modelled)", "ms", "submits/token", "NPU busy", "binds");
  fmt::print(io.out, "| {:->6}: | {:->13}: | {:->9}: | {:->12}: | {:->8}: | {:-<28} |\n", "", "",
             "", "", "", "");
  for (const auto& [r, t, hz] : tests) {
    fmt::print(io.out, "| {:>7} | {:>14.2f} | {:>10.2f} | {:>13.1f} | {:>8.0f}% | {:28} |\n",
               r.test(), r.tokens() / t.seconds(), t.seconds() * 1e3, r.per_token(r.npu.submits),
               100 * (t.npu_mac + t.npu_memory) / t.seconds(), t.binds());
  }
}

void bench(const BenchOptions& o, Io& io) {
  if (o.repetitions == 0) throw Error(ErrorCode::invalid_argument, "-r must be at least 1");
  const std::string path = model_path(o.model);
  const auto start = Clock::now();
  const Model model = Model::load(path);
  double load_seconds = seconds_since(start);
  const std::string size =
      fmt::format("{:.2f} MiB", static_cast<double>(model.weight_bytes()) / (1 << 20));
  const std::string parameters =
      fmt::format("{:.2f} M", static_cast<double>(model.parameters()) / 1e6);
  const std::string type(to_string(model.main_type()));

  json rows = json::array();
  std::vector<OnBoard> on_board;
  if (!o.as_json) {
    fmt::print(io.out, "| {:24} | {:>12} | {:>10} | {:>8} | {:>7} | {:>7} | {:>20} |\n", "model",
               "size", "params", "device", "threads", "test", "t/s (host)");
    fmt::print(io.out,
               "| {:-<24} | {:->11}: | {:->9}: | {:->7}: | {:->6}: | {:->6}: | {:->19}: |\n", "",
               "", "", "", "", "", "");
  }
  std::vector<unsigned> threads = o.threads;
  if (threads.empty()) threads.push_back(o.model.threads);
  for (const unsigned count : threads) {
    EngineOptions options = engine_options(o.model);
    options.threads = count;
    unsigned longest = 1;
    for (const unsigned n : o.prompt) longest = std::max(longest, n);
    for (const unsigned n : o.generate) longest = std::max(longest, n);
    if (options.context == 0) options.context = longest;
    const auto packing = Clock::now();
    Engine engine(model, options);
    load_seconds += seconds_since(packing);
    std::vector<Result> results;
    for (const unsigned n : o.prompt) {
      if (n != 0) results.push_back(measure(engine, n, 0, o));
    }
    for (const unsigned n : o.generate) {
      if (n != 0) results.push_back(measure(engine, 0, n, o));
    }
    const std::optional<Plan> plan = board_plan(engine);
    for (const Result& r : results) {
      const auto board = modelled(engine, plan ? &*plan : nullptr, r);
      if (board) on_board.push_back({r, *board, plan->options.offload.npu_hz});
      if (o.as_json) {
        rows.push_back({{"model_filename", path},
                        {"model_type", fmt::format("{} {}", model.name(), type)},
                        {"model_size", model.weight_bytes()},
                        {"model_n_params", model.parameters()},
                        {"device", engine.options().device},
                        {"n_threads", r.threads},
                        {"n_batch", engine.options().batch},
                        {"type_kv", o.model.kv_type},
                        {"n_prompt", r.prompt},
                        {"n_gen", r.generated},
                        {"source", "host"},
                        {"avg_ts", r.mean()},
                        {"stddev_ts", r.deviation()},
                        {"samples_ts", r.tokens_per_second},
                        {"load_s", load_seconds},
                        {"peak_memory_bytes", peak_memory()}});
        if (engine.device_info() != nullptr) {
          rows.back()["npu_submits_per_token"] = r.per_token(r.npu.submits);
          rows.back()["npu_jobs_per_token"] = r.per_token(r.npu.jobs);
        }
        if (board) {
          json row = rows.back();
          row["source"] = "modelled";
          row["n_threads"] = nullptr;
          row["npu_mhz"] = plan->options.offload.npu_hz / 1e6;
          row["avg_ts"] = r.tokens() / board->seconds();
          row["stddev_ts"] = nullptr;
          row["samples_ts"] = json::array();
          row["binds"] = board->binds();
          row["seconds"] = {{"total", board->seconds()},
                            {"cpu_products", board->cpu_products},
                            {"npu_mac", board->npu_mac},
                            {"npu_memory", board->npu_memory},
                            {"npu_dispatch", board->npu_dispatch},
                            {"transfer", board->transfer},
                            {"convert", board->convert},
                            {"attention", board->attention},
                            {"layers", board->layers}};
          // The clock of the simulated machine, over all that was run.
          row["npu_clock_s"] = std::chrono::duration<double>(r.npu.device).count();
          for (const char* host : {"load_s", "peak_memory_bytes"}) row.erase(host);
          rows.push_back(std::move(row));
        }
      } else {
        fmt::print(io.out, "| {:24} | {:>12} | {:>10} | {:>8} | {:>7} | {:>7} | {:>20} |\n",
                   fmt::format("{} {}", model.name(), type).substr(0, 24), size, parameters,
                   engine.options().device, r.threads, r.test(),
                   fmt::format("{:.2f} ± {:.2f}", r.mean(), r.deviation()));
        io.out.flush();
      }
    }
  }
  if (o.as_json) {
    fmt::print(io.out, "{}\n", rows.dump(2, ' ', false, json::error_handler_t::replace));
  } else {
    fmt::print(io.out, "\nload {:.2f} s (host), peak memory {:.0f} MiB\n", load_seconds,
               static_cast<double>(peak_memory()) / (1 << 20));
    if (!on_board.empty()) print_board(on_board, io);
  }
}

}  // namespace

void add_bench(cli::App& app, Io& io) {
  const auto o = std::make_shared<BenchOptions>();
  cli::App* command = app.add_subcommand("bench", "Tokens per second of prefill and decode");
  add_model_option(*command, o->model);
  command->add_option("--device", o->model.device, "cpu, auto, sim, rocket[:PATH], mmio");
  command->add_option("-p,--n-prompt", o->prompt, "tokens of the prompt; several: 128,512; 0: none")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("-n,--n-gen", o->generate, "tokens to make; several: 16,64; 0: none")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("-t,--threads", o->threads, "threads; several: 1,2")->delimiter(',');
  command->add_option("-r,--repetitions", o->repetitions, "of each test")->capture_default_str();
  command->add_flag("--no-warmup", o->no_warmup, "no evaluation before those that count");
  command->add_option("-c,--ctx-size", o->model.context,
                      "tokens of context (default: what the tests need)");
  command->add_option("-b,--batch-size", o->model.batch, "tokens evaluated at a time")
      ->capture_default_str();
  command->add_option("--kv-type", o->model.kv_type, "type of the KV cache")
      ->check(cli::IsMember({"f16", "q8_0", "f32"}))
      ->capture_default_str();
  add_weight_cache_option(*command, o->model);
  command->add_flag("--json", o->as_json, "JSON, with the names of llama-bench");
  command->footer(
      "`host` figures are those of this computer, a simulator's work included; `modelled` ones\n"
      "(with --device sim or auto:sim) those of an RK3588 by the timing model.\n"
      "Exit codes: 0 ok, 2 usage, 3 no device or no permission, 4 bad model file, 5 device fault.\n"
      "Example: npu-chat bench -m model.gguf -p 512 -n 64 -t 1,2 --json");
  command->callback([o, &io] { bench(*o, io); });
}

}  // namespace npu::llm
