// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "microkernels/gemm.hpp"
#include "microkernels/reference.hpp"
#include "npu-device/command_line.hpp"
#include "npu-probe/files.hpp"
#include "npu-probe/probe.hpp"
#include "npu-probe/simulation.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

using nlohmann::json;

struct Options {
  kernels::GemmShape shape{256, 256, 256};
  std::string dtype = "i8", out = "i32", device;
  unsigned cores = 1, repeat = 1;
  std::uint32_t seed = 1;
  bool check = false, as_json = false;
  SimulationOptions simulation;
};

template <class T>
std::vector<T> random_values(std::mt19937& rng, std::size_t n, int low, int high) {
  std::uniform_int_distribution<int> value(low, high);
  std::vector<T> out(n);
  for (T& x : out) x = static_cast<T>(value(rng));
  return out;
}

struct Outcome {
  kernels::GemmStats stats;
  std::uint64_t checksum = 0;
  bool checked = false, equal = true;
  std::string difference;
};

template <class T>
void finish(const Options& o, const std::vector<T>& got, const std::vector<T>& want, Outcome& out) {
  out.checksum = fnv1a(std::as_bytes(std::span(got)));
  if (!o.check) return;
  out.checked = true;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (got[i] == want[i]) continue;
    out.equal = false;
    out.difference = fmt::format("first difference at m={} n={}: got {}, want {}", i / o.shape.n,
                                 i % o.shape.n, int{got[i]}, int{want[i]});
    return;
  }
}

Outcome execute(const Options& o, std::span<device::Device* const> devices) {
  std::mt19937 rng(o.seed);
  const auto [m, n, k] = o.shape;
  const auto a = random_values<std::int8_t>(rng, std::size_t{m} * k, -128, 127);
  const auto b = random_values<std::int8_t>(rng, std::size_t{n} * k, -128, 127);
  Outcome out;
  if (o.out == "i32") {
    std::vector<std::int32_t> c(std::size_t{m} * n), want;
    kernels::gemm_i8i32(devices, o.shape, a, b, c, &out.stats);
    if (o.check) kernels::ref_gemm_i8i32(o.shape, a, b, (want.resize(c.size()), want));
    finish(o, c, want, out);
  } else {
    const auto bias = random_values<std::int32_t>(rng, n, -10000, 10000);
    // Sums of k products spread like sqrt(k) * 74^2: bring two standard deviations to 127.
    const auto requant = kernels::requant_from_float(
        static_cast<float>(127.0 / (2 * 5476.0 * std::sqrt(static_cast<double>(k)))), 3);
    std::vector<std::int8_t> c(std::size_t{m} * n), want;
    kernels::gemm_i8i8(devices, o.shape, requant, bias, a, b, c, &out.stats);
    if (o.check)
      kernels::ref_gemm_i8i8(o.shape, requant, bias, a, b, (want.resize(c.size()), want));
    finish(o, c, want, out);
  }
  return out;
}

/// The product `repeat` times, each on data of its own, until one differs; jobs and times summed
/// up.
Outcome execute_all(Options o, std::span<device::Device* const> devices, unsigned& runs) {
  Outcome all = execute(o, devices);
  for (runs = 1; runs < o.repeat && all.equal; ++runs) {
    ++o.seed;
    Outcome one = execute(o, devices);
    one.stats.run += all.stats.run;
    one.stats.feature_bytes += all.stats.feature_bytes;
    one.stats.weight_bytes += all.stats.weight_bytes;
    one.stats.output_bytes += all.stats.output_bytes;
    if (!one.equal) one.difference = fmt::format("run {}: {}", runs + 1, one.difference);
    all = std::move(one);
  }
  return all;
}

std::uint64_t bytes_moved(const kernels::GemmStats& stats) {
  return stats.feature_bytes + stats.weight_bytes + stats.output_bytes;
}

void run_gemm(const Options& o, Io& io) {
  // As the NPU stores them: k and n in groups of 32.
  const std::uint64_t m = o.shape.m, n = (std::uint64_t{o.shape.n} + 31) / 32 * 32,
                      k = (std::uint64_t{o.shape.k} + 31) / 32 * 32;
  const std::uint64_t largest = m * k + n * k + m * n * 4;
  if (largest > device::kMaxBufferBytes)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("gemm {} x {} x {} needs {} MiB of matrices; 2047 MiB is the limit of "
                            "this command",
                            o.shape.m, o.shape.n, o.shape.k, largest >> 20));
  Simulation simulation(o.simulation);
  const std::unique_ptr<device::Device> device = simulation.open(o.device);
  std::vector<device::Device*> devices{device.get()};
  std::vector<std::unique_ptr<device::Device>> files;
  while (devices.size() < o.cores) {
    files.push_back(device->open_another());
    devices.push_back(files.back().get());
  }

  Outcome r;
  unsigned runs = 1;
  try {
    r = execute_all(o, devices, runs);
  } catch (const Error&) {  // what led to it is worth telling
    if (!o.as_json) simulation.report(simulation.take(), io.out);
    throw;
  }
  const bool simulated = simulation.simulated();
  const sim::Timeline timeline = simulation.take();
  const std::string backend = device->info().backend;
  const double ms = static_cast<double>((r.stats.run.submit + r.stats.run.wait).count()) * 1e-6;
  // The wall-clock time of a simulation says how fast this host simulates, nothing about a board.
  const char* provenance = simulated ? "host" : "measured";
  if (o.as_json) {
    json report = {{"op", "gemm"},
                   {"m", o.shape.m},
                   {"n", o.shape.n},
                   {"k", o.shape.k},
                   {"dtype", o.dtype},
                   {"out", o.out},
                   {"device", backend},
                   {"cores", r.stats.cores},
                   {"runs", runs},
                   {"jobs", r.stats.run.jobs},
                   {"tasks", r.stats.run.tasks},
                   {"regcmd_words", r.stats.run.regcmd_words},
                   {"bytes_moved", bytes_moved(r.stats)},
                   {"checksum", fmt::format("{:016x}", r.checksum)},
                   {"time_ms", {{"value", ms}, {"provenance", provenance}}}};
    if (r.checked) {
      report["check"] = r.equal ? "equal" : "differs";
      if (!r.equal) report["difference"] = r.difference;
    }
    simulation.report(timeline, report);
    io.out << report.dump(2) << '\n';
  } else {
    fmt::print(io.out, "gemm {} -> {}  m={} n={} k={}  device {}  cores {}\n", o.dtype, o.out,
               o.shape.m, o.shape.n, o.shape.k, backend, r.stats.cores);
    if (o.repeat > 1) fmt::print(io.out, "runs {}; the sums of all:\n", runs);
    fmt::print(io.out, "jobs {}  tasks {}  regcmd words {}  bytes moved {}\n", r.stats.run.jobs,
               r.stats.run.tasks, r.stats.run.regcmd_words, bytes_moved(r.stats));
    fmt::print(io.out, "time {:.3f} ms ({})  checksum {:016x}\n", ms, provenance, r.checksum);
    if (simulated && !o.simulation.timing) fmt::print(io.out, "{}\n", simulation.summary(timeline));
    simulation.report(timeline, io.out);
    if (r.checked)
      fmt::print(
          io.out, "check {}\n",
          r.equal ? "PASS: equal to the CPU reference, bit for bit" : "FAIL: " + r.difference);
  }
  simulation.trace(timeline, "gemm");
  simulation.save_trace();
  io.status = r.equal ? 0 : 1;
}

}  // namespace

void add_run(cli::App& app, Io& io) {
  cli::App* sub = app.add_subcommand("run", "Run one operator on random data");
  sub->require_subcommand(1);
  const auto o = std::make_shared<Options>();
  cli::App* gemm = sub->add_subcommand("gemm", "C[m][n] = A[m][k] . B[n][k]^T");
  gemm->add_option("--m", o->shape.m, "rows of A and C")->check(cli::Range(1u, 1u << 24));
  gemm->add_option("--n", o->shape.n, "rows of B, columns of C")->check(cli::Range(1u, 1u << 24));
  gemm->add_option("--k", o->shape.k, "columns of A and B")->check(cli::Range(1u, 131071u));
  gemm->add_option("--dtype", o->dtype, "type of A and B")->check(cli::IsMember({"i8"}));
  gemm->add_option("--out", o->out, "type of C: raw sums or requantised")
      ->check(cli::IsMember({"i32", "i8"}));
  gemm->add_option("--cores", o->cores, "NPU cores (open files) to split over")
      ->check(cli::Range(1u, 3u));
  gemm->add_option("--seed", o->seed, "of the random operands");
  gemm->add_option("--repeat", o->repeat, "runs, each with a seed one higher (--check: every one)")
      ->check(cli::Range(1u, 1000000u));
  gemm->add_option("--device", o->device, "sim, rocket[:PATH], mmio[:ITEM,...]");
  gemm->add_flag("--check", o->check, "compare with the CPU reference, bit for bit");
  gemm->add_flag("--json", o->as_json, "print JSON only");
  add_simulation_options(*gemm, o->simulation);
  gemm->footer("Example: npu-probe run gemm --m 128 --n 256 --k 512 --dtype i8 --check");
  add_run_program(*sub, io);
  gemm->callback([o, &io] { run_gemm(*o, io); });
  sub->footer("Example: npu-probe run gemm --m 128 --n 256 --k 512 --dtype i8 --check");
}

}  // namespace npu::probe
