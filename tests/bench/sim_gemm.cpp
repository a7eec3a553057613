// SPDX-License-Identifier: MIT
// How much slower is a simulated int8 GEMM than a plain one? Both in one run, same shape, same
// number of threads; the last lines print the ratios.
//
//   sim_gemm [--size=512] [Google Benchmark flags]
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "bench_common.hpp"
#include "npu-sim/chip.hpp"
#include "npu-sim/mac_int8.hpp"
#include "npu-sim/thread_pool.hpp"

namespace {

namespace sim = npu::sim;
namespace bench = npu::bench;

constexpr std::uint32_t kProgram = 0, kA = 0x10000, kB = 0x4000000, kC = 0x8000000;

std::vector<std::int8_t> random_bytes(std::size_t n) {
  std::mt19937 rng(static_cast<unsigned>(n));
  std::vector<std::int8_t> out(n);
  for (auto& byte : out) byte = static_cast<std::int8_t>(rng());
  return out;
}

void simulated(benchmark::State& state) {
  const auto size = static_cast<std::uint32_t>(state.range(0));
  const auto a = random_bytes(std::size_t{size} * size), b = random_bytes(a.size());
  const auto space = std::make_shared<sim::AddressSpace>();
  bench::map(*space, kA, a.data(), a.size(), 0);
  bench::map(*space, kB, b.data(), b.size(), 0);
  bench::map(*space, kC, nullptr, 0, a.size() * 4);
  const bench::Tasks tasks = bench::map_programs(
      *space, kProgram, bench::gemm_programs({false, size, size, size, kA, kB, kC}));
  sim::Chip chip;
  chip.attach(0, space);
  for (auto _ : state) {
    if (!bench::run(chip, 0, tasks)) {
      state.SkipWithError(chip.fault(0) ? chip.fault(0)->message.c_str() : "no interrupt");
      return;
    }
  }
  state.counters["GMAC/s"] = benchmark::Counter(static_cast<double>(size) * size * size * 1e-9,
                                                benchmark::Counter::kIsIterationInvariantRate);
}

// C = A . B^T with the same dot product kernels, row-major operands, all threads. With
// `prepacked` the weights are in the kernels' own layout before the clock starts.
void plain(benchmark::State& state, bool prepacked) {
  const auto size = static_cast<std::size_t>(state.range(0));
  const auto a = random_bytes(size * size), b = random_bytes(size * size);
  const sim::MacLayout layout = sim::mac_layout();
  const std::size_t panels = (size + layout.panel - 1) / layout.panel;
  const std::size_t row_bytes = (size + 3) / 4 * 4;
  std::vector<std::uint8_t> rows(size * row_bytes);
  std::vector<std::int8_t> packed(panels * layout.panel * row_bytes);
  std::vector<std::int32_t> init(panels * layout.panel), c(size * panels * layout.panel);
  sim::ThreadPool pool(0);
  const auto pack_b = [&](std::size_t panel) {
    for (std::size_t o = panel * layout.panel; o < std::min(size, (panel + 1) * layout.panel);
         ++o) {
      std::int32_t sum = 0;
      std::int8_t* out = packed.data() + panel * layout.panel * row_bytes + o % layout.panel * 4;
      for (std::size_t k = 0; k < size; k += 4) {
        std::memcpy(out + k * layout.panel, b.data() + o * size + k,
                    std::min<std::size_t>(4, size - k));
      }
      for (std::size_t k = 0; k < size; ++k) sum += b[o * size + k];
      init[o] = -sum * layout.input_xor;
    }
  };
  if (prepacked) pool.parallel_for(panels, pack_b);
  constexpr std::size_t kBlock = 96;
  for (auto _ : state) {
    if (!prepacked) pool.parallel_for(panels, pack_b);
    pool.parallel_for((size + kBlock - 1) / kBlock, [&](std::size_t block) {
      const std::size_t first = block * kBlock, count = std::min(kBlock, size - first);
      const std::uint8_t* windows[kBlock];
      for (std::size_t i = 0; i < count; ++i) {
        std::uint8_t* row = rows.data() + (first + i) * row_bytes;
        const std::int8_t* from = a.data() + (first + i) * size;
        for (std::size_t k = 0; k < size; ++k)
          row[k] = static_cast<std::uint8_t>(from[k]) ^ layout.input_xor;
        windows[i] = row;
      }
      for (std::size_t panel = 0; panel < panels; ++panel)
        sim::mac_int8(
            {windows, count, 1, row_bytes, 0}, packed.data() + panel * layout.panel * row_bytes,
            init.data() + panel * layout.panel,
            c.data() + first * panels * layout.panel + panel * layout.panel, panels * layout.panel);
    });
    benchmark::DoNotOptimize(c.data());
    benchmark::ClobberMemory();
  }
  state.counters["GMAC/s"] = benchmark::Counter(
      static_cast<double>(size) * static_cast<double>(size) * static_cast<double>(size) * 1e-9,
      benchmark::Counter::kIsIterationInvariantRate);
}

}  // namespace

int main(int argc, char** argv) {
  int size = 512;
  bench::take_flag(argc, argv, "size", &size);
  if (size < 32 || size > 4096 || size % 32 != 0) {
    std::fprintf(stderr, "sim_gemm: --size must be a multiple of 32 from 32 to 4096\n");
    return 2;
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const auto add = [&](const char* name, auto body) {
    benchmark::RegisterBenchmark(name, body)
        ->Arg(size)
        ->UseRealTime()
        ->Repetitions(5)
        ->Unit(benchmark::kMillisecond);
  };
  add("simulated", simulated);
  add("plain", [](benchmark::State& state) { plain(state, false); });
  add("plain_prepacked", [](benchmark::State& state) { plain(state, true); });
  bench::RatioReporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  const double simulated_ms = reporter.best("simulated");
  if (simulated_ms == 0) return 1;
  for (const char* name : {"plain", "plain_prepacked"})
    if (const double ms = reporter.best(name); ms != 0)
      std::printf("ratio of speeds, simulated / %s, int8 %d x %d x %d: %.2f (host times)\n", name,
                  size, size, size, ms / simulated_ms);
  return 0;
}
