// SPDX-License-Identifier: MIT
// What an operator's programs cost the host: choosing a plan, emitting, and giving addresses to a
// program that is kept. The goal: emitting and relocating one that is cached takes less than 20 us.
//
//   emit_program [Google Benchmark flags]
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "microkernels/gemm_emit.hpp"

namespace {

using namespace npu::kernels;

struct Case {
  const char* name;
  GemmShape shape;
  GemmTypes types;
  bool chip;
};
constexpr GemmTypes kHalf{DataType::f16, DataType::f16}, kInt8{DataType::i8, DataType::i32};
// Qwen2.5-1.5B's o and down: one token, and a prefill.
constexpr Case kCases[] = {{"o M=1 f16", {1, 1536, 1536}, kHalf, false},
                           {"o M=128 f16", {128, 1536, 1536}, kHalf, false},
                           {"o M=512 i8", {512, 1536, 1536}, kInt8, false},
                           {"down M=128 f16 chip", {128, 1536, 8960}, kHalf, true}};

GemmPlan plan_of(const Case& c) {
  GemmOptions options;
  options.on_chip_sums = c.chip;
  return plan_gemm(c.shape, c.types, 3, options);
}

std::vector<Program> programs_of(const GemmPlan& plan) {
  std::vector<Program> programs;
  for (std::size_t core = 0; core < plan.cores.size(); ++core)
    for (std::uint32_t stage = 0; stage < plan.stages.size(); ++stage)
      programs.push_back(emit_gemm(plan, core, stage));
  return programs;
}

void count(benchmark::State& state, const GemmPlan& plan) {
  double tasks = 0;
  for (const GemmCore& core : plan.cores) tasks += static_cast<double>(core.tasks.size());
  state.counters["tasks"] = tasks;
  state.counters["words"] = static_cast<double>(plan.time.regcmd_words);
}

void plan(benchmark::State& state, const Case& c) {
  for (auto _ : state) benchmark::DoNotOptimize(plan_of(c));
}

void emit(benchmark::State& state, const Case& c) {
  const GemmPlan plan = plan_of(c);
  for (auto _ : state) benchmark::DoNotOptimize(programs_of(plan));
  count(state, plan);
}

void relocate(benchmark::State& state, const Case& c) {
  const GemmPlan plan = plan_of(c);
  const std::vector<Program> programs = programs_of(plan);
  std::vector<std::uint32_t> iova(gemm_slots(plan.cores[0]).size());
  for (std::size_t i = 0; i < iova.size(); ++i) iova[i] = static_cast<std::uint32_t>(i << 24);
  for (auto _ : state)
    for (const Program& program : programs)
      benchmark::DoNotOptimize(npu::kernels::bind(program, iova));
  count(state, plan);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  for (const Case& c : kCases) {
    const auto add = [&](const char* what, void (*body)(benchmark::State&, const Case&)) {
      benchmark::RegisterBenchmark((std::string(what) + "/" + c.name).c_str(), body, c)
          ->Unit(benchmark::kMicrosecond);
    };
    add("plan", plan);
    add("emit", emit);
    add("relocate", relocate);
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
