// SPDX-License-Identifier: MIT
// How much slower is a simulated fp16 GEMM, bit exact as on the chip, than a plain fp32 one? Both
// in one run, same shape, same number of threads; the last line prints the ratio.
//
//   sim_gemm_fp16 [--m=1024] [--n=1024] [--k=1024] [Google Benchmark flags]
#include <benchmark/benchmark.h>

#include <cstdio>
#include <memory>
#include <random>
#include <vector>

#include "bench_common.hpp"
#include "npu-sim/chip.hpp"
#include "npu-sim/float_types.hpp"
#include "plain_gemm_fp32.hpp"

namespace {

namespace sim = npu::sim;
namespace bench = npu::bench;

constexpr std::uint32_t kProgram = 0, kA = 0x1000000, kB = 0x10000000, kC = 0x40000000;

struct Shape {
  std::uint32_t m, n, k;
  double gmac() const { return 1e-9 * m * n * k; }
};

std::vector<float> random_floats(std::size_t n) {
  std::mt19937 rng(static_cast<unsigned>(n));
  std::normal_distribution<float> normal;
  std::vector<float> out(n);
  for (float& v : out) v = normal(rng);
  return out;
}

// The values in fp16; where they lie in a cube is of no matter to the time.
std::vector<std::uint16_t> halves(const std::vector<float>& in) {
  std::vector<std::uint16_t> out(in.size());
  for (std::size_t i = 0; i < in.size(); ++i) out[i] = sim::float_to_fp16(in[i]);
  return out;
}

void simulated(benchmark::State& state, const Shape& s) {
  const auto a = halves(random_floats(std::size_t{s.m} * s.k));
  const auto b = halves(random_floats(std::size_t{s.n} * s.k));
  const auto space = std::make_shared<sim::AddressSpace>();
  bench::map(*space, kA, a.data(), a.size() * 2, 0);
  bench::map(*space, kB, b.data(), b.size() * 2, 0);
  bench::map(*space, kC, nullptr, 0, std::size_t{s.m} * s.n * 4);
  const bench::Tasks tasks = bench::map_programs(
      *space, kProgram, bench::gemm_programs({true, s.m, s.n, s.k, kA, kB, kC}));
  sim::Chip chip;
  chip.attach(0, space);
  for (auto _ : state) {
    if (!bench::run(chip, 0, tasks)) {
      state.SkipWithError(chip.fault(0) ? chip.fault(0)->message.c_str() : "no interrupt");
      return;
    }
  }
  state.counters["GMAC/s"] =
      benchmark::Counter(s.gmac(), benchmark::Counter::kIsIterationInvariantRate);
}

// B is packed before the clock starts.
void plain(benchmark::State& state, const Shape& s) {
  const auto a = random_floats(std::size_t{s.m} * s.k);
  const auto b = bench::pack_fp32(random_floats(std::size_t{s.n} * s.k).data(), s.n, s.k);
  std::vector<float> c(std::size_t{s.m} * s.n);
  sim::ThreadPool pool(0);
  for (auto _ : state) {
    bench::plain_gemm_fp32(a.data(), b, c.data(), s.m, s.n, s.k, pool);
    benchmark::DoNotOptimize(c.data());
    benchmark::ClobberMemory();
  }
  state.counters["GMAC/s"] =
      benchmark::Counter(s.gmac(), benchmark::Counter::kIsIterationInvariantRate);
}

}  // namespace

int main(int argc, char** argv) {
  int m = 1024, n = 1024, k = 1024;
  bench::take_flag(argc, argv, "m", &m);
  bench::take_flag(argc, argv, "n", &n);
  bench::take_flag(argc, argv, "k", &k);
  if (m > 8192 || n < 64 || n > 8192 || n % 64 != 0 || k < 32 || k > 8192 || k % 32 != 0 || m < 4) {
    std::fprintf(stderr,
                 "sim_gemm_fp16: give --m from 4 to 8192, --n a multiple of 64 and --k a multiple "
                 "of 32, both up to 8192\n");
    return 2;
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const Shape shape{static_cast<std::uint32_t>(m), static_cast<std::uint32_t>(n),
                    static_cast<std::uint32_t>(k)};
  const auto add = [&](const char* name, auto body) {
    benchmark::RegisterBenchmark(name, [=](benchmark::State& state) { body(state, shape); })
        ->UseRealTime()
        ->Repetitions(5)
        ->Unit(benchmark::kMillisecond);
  };
  add("simulated_fp16", simulated);
  add("plain_fp32", plain);
  bench::RatioReporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  const double simulated_ms = reporter.best("simulated_fp16"),
               plain_ms = reporter.best("plain_fp32");
  if (simulated_ms == 0) return 1;
  if (plain_ms != 0)
    std::printf("ratio of times, simulated fp16 / plain fp32, %d x %d x %d: %.2f (host times)\n", m,
                n, k, simulated_ms / plain_ms);
  return 0;
}
