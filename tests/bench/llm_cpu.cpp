// SPDX-License-Identifier: MIT
// Speed of the CPU's matrix products on the shapes of Qwen2.5, beside the speed at which this
// memory can be read at all. Figures are of this host.
//
//   llm_cpu [--threads=N] [Google Benchmark's options]
//
//   read/...      GB/s of a plain sum over 512 MiB
//   decode/...    one row of activations: GB/s of packed weights, each product on weights of its
//                 own so that none is in a cache
//   pack/...      GB/s of weights that go from a file's order into the packed one, and of a copy
//   prefill/...   512 rows: GOP/s, a multiplication and an addition being two
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "bench_common.hpp"
#include "llm-runtime/cpu/attention.hpp"
#include "llm-runtime/cpu/matmul.hpp"
#include "llm-runtime/cpu/panel.hpp"

namespace {

using namespace npu::llm;
using namespace npu::llm::cpu;

std::unique_ptr<ThreadPool> pool;

struct Shape {
  const char* name;
  std::uint32_t rows, columns;
};
constexpr Shape kShapes[] = {{"0.5b-qo", 896, 896},        {"0.5b-kv", 128, 896},
                             {"0.5b-gate-up", 4864, 896},  {"0.5b-down", 896, 4864},
                             {"0.5b-output", 151936, 896}, {"1.5b-qo", 1536, 1536},
                             {"1.5b-kv", 256, 1536},       {"1.5b-gate-up", 8960, 1536},
                             {"1.5b-down", 1536, 8960},    {"1.5b-output", 151936, 1536}};
constexpr TensorType kTypes[] = {TensorType::q4_0, TensorType::q5_0, TensorType::q8_0,
                                 TensorType::q4_k, TensorType::q5_k, TensorType::q6_k,
                                 TensorType::f16};

std::vector<float> activations(std::size_t n) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (float& value : x) value = normal(random);
  return x;
}

/// Packed weights of a type: random bytes but for scales that are zero, which are as quick as
/// others and make no infinities.
Buffer packed(TensorType type, const Shape& shape) {
  Buffer buffer(packed_size(type, shape.rows, shape.columns));
  std::uint64_t state = 1;
  for (std::size_t i = 0; i + 8 <= buffer.bytes(); i += 8) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    const std::uint64_t word = (state >> 3) & 0x3B3B3B3B3B3B3B3BU;  // no exponent is all ones
    std::memcpy(buffer.data() + i, &word, 8);
  }
  return buffer;
}

void products(benchmark::State& state, TensorType type, const Shape& shape, std::size_t m) {
  const std::size_t bytes = packed_size(type, shape.rows, shape.columns);
  // Decode walks through enough copies that the caches have forgotten the first one.
  const std::size_t copies =
      m == 1 ? std::max<std::size_t>(1, (std::size_t{192} << 20) / bytes) : 1;
  std::vector<Buffer> memory;
  std::vector<Matrix> w;
  for (std::size_t i = 0; i < copies; ++i) {
    memory.push_back(packed(type, shape));
    w.push_back(Matrix::from_packed(type, shape.rows, shape.columns,
                                    {memory.back().data(), memory.back().bytes()}));
  }
  const auto x = activations(m * shape.columns);
  std::vector<float> out(m * shape.rows);
  std::size_t next = 0;
  for (auto _ : state) {
    const Product one{&w[next], nullptr, out.data(), shape.rows};
    next = (next + 1) % copies;
    matmul(*pool, {&one, 1}, x.data(), shape.columns, m);
    benchmark::ClobberMemory();
  }
  const double runs = static_cast<double>(state.iterations());
  if (m == 1)
    state.counters["GB/s"] =
        benchmark::Counter(runs * static_cast<double>(bytes) / 1e9, benchmark::Counter::kIsRate);
  else
    state.counters["GOP/s"] =
        benchmark::Counter(2e-9 * runs * static_cast<double>(m) * shape.rows * shape.columns,
                           benchmark::Counter::kIsRate);
}

/// What loading a model does with each matrix; `copy`: the least that it could do.
void pack(benchmark::State& state, TensorType type, bool copy) {
  constexpr Shape kShape{"", 4864, 1536};
  const Buffer file = packed(type, kShape);  // random bytes are any type's blocks
  const WeightView view{type, kShape.rows, kShape.columns, file.data()};
  const std::size_t panel = panel_bytes(type, kShape.columns);
  const std::size_t from = kPanelRows * row_bytes(type, kShape.columns);
  Buffer to(panels(kShape.rows) * panel);
  for (auto _ : state)
    pool->parallel_for(panels(kShape.rows), 4, [&](std::size_t begin, std::size_t end) {
      for (std::size_t p = begin; p < end; ++p)
        if (copy)
          std::memcpy(to.data() + p * panel, file.data() + p * from, from);
        else
          pack_panel(view, p * kPanelRows, to.data() + p * panel);
    });
  state.counters["GB/s"] = benchmark::Counter(
      static_cast<double>(state.iterations()) * static_cast<double>(to.bytes()) / 1e9,
      benchmark::Counter::kIsRate);
}

void read_memory(benchmark::State& state) {
  constexpr std::size_t kWords = std::size_t{64} << 20;
  Buffer buffer(kWords * 8);
  auto* words = buffer.scratch<std::uint64_t>(kWords);
  for (std::size_t i = 0; i < kWords; i += 8) words[i] = i;
  for (auto _ : state)
    pool->parallel_for(kWords, std::size_t{1} << 16, [&](std::size_t begin, std::size_t end) {
      std::uint64_t sum[16] = {};
      for (std::size_t i = begin; i < end; i += 16)
        for (std::size_t j = 0; j < 16; ++j) sum[j] += words[i + j];
      benchmark::DoNotOptimize(sum);
    });
  state.counters["GB/s"] = benchmark::Counter(
      static_cast<double>(state.iterations()) * kWords * 8 / 1e9, benchmark::Counter::kIsRate);
}

void empty_step(benchmark::State& state) {
  for (auto _ : state) pool->run([](unsigned, unsigned) {});
}

/// All of a prompt (m rows from position 0) or one row at the end of it.
void attend(benchmark::State& state, KvType type, std::size_t heads, std::size_t head_size,
            std::size_t positions, bool prefill) {
  const std::size_t kv = 2;
  std::vector<std::byte> k(positions * kv_row_bytes(type, kv, head_size)), v = k;
  const KvCache cache{type, kv, head_size, positions, k.data(), v.data()};
  std::vector<Place> places;
  for (std::size_t p = 0; p < positions; ++p) places.push_back({0, static_cast<std::uint32_t>(p)});
  const auto x = activations(positions * heads * head_size);
  store_kv(*pool, cache, places, x.data(), x.data(), kv * head_size);
  if (!prefill) places = {places.back()};
  const std::size_t row = heads * head_size;
  std::vector<float> out(places.size() * row);
  for (auto _ : state) {
    attention(*pool, cache, places, x.data(), row, heads, 0.125F, out.data(), row);
    benchmark::ClobberMemory();
  }
  const double pairs =
      prefill ? static_cast<double>(positions) * (static_cast<double>(positions) + 1) / 2
              : static_cast<double>(positions);
  state.counters["GOP/s"] = benchmark::Counter(
      4e-9 * static_cast<double>(state.iterations()) * pairs * static_cast<double>(row),
      benchmark::Counter::kIsRate);
}

}  // namespace

int main(int argc, char** argv) {
  int threads = 0;
  npu::bench::take_flag(argc, argv, "threads", &threads);
  pool = std::make_unique<ThreadPool>(static_cast<unsigned>(std::max(threads, 0)));
  benchmark::RegisterBenchmark("read/512MiB", read_memory)->UseRealTime();
  benchmark::RegisterBenchmark("step/empty", empty_step)->UseRealTime();
  for (const TensorType type : kTypes)
    for (const bool copy : {false, true})
      benchmark::RegisterBenchmark(
          ("pack/" + std::string(to_string(type)) + (copy ? "/copy" : "")).c_str(),
          [=](benchmark::State& state) { pack(state, type, copy); })
          ->UseRealTime()
          ->Unit(benchmark::kMicrosecond);
  for (const std::size_t m : {std::size_t{1}, std::size_t{512}, std::size_t{8}})
    for (const Shape& shape : kShapes)
      for (const TensorType type : kTypes) {
        if (shape.columns % block_shape(type).values != 0 || (m > 1 && shape.rows > 100000))
          continue;
        const std::string kind = m == 1 ? "decode/" : m == 8 ? "batch8/" : "prefill/";
        benchmark::RegisterBenchmark(
            (kind + shape.name + "/" + std::string(to_string(type))).c_str(),
            [=](benchmark::State& state) { products(state, type, shape, m); })
            ->UseRealTime()
            ->Unit(benchmark::kMicrosecond);
      }
  for (const bool prefill : {true, false})
    for (const bool small : {true, false})
      for (const KvType type : {KvType::f16, KvType::q8_0})
        benchmark::RegisterBenchmark(
            (std::string("attention/") + (small ? "0.5b" : "1.5b") +
             (type == KvType::f16 ? "/f16" : "/q8_0") + (prefill ? "/prefill512" : "/decode512"))
                .c_str(),
            [=](benchmark::State& state) {
              attend(state, type, small ? 14 : 12, small ? 64 : 128, 512, prefill);
            })
            ->UseRealTime()
            ->Unit(benchmark::kMicrosecond);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  pool.reset();
  return 0;
}
