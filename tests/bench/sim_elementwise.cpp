// SPDX-License-Identifier: MIT
// Pools and element-wise programs on the simulated NPU: elements per second, host time.
//
//   sim_elementwise [Google Benchmark flags]
#include <benchmark/benchmark.h>

#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "bench_common.hpp"
#include "npu-sim/chip.hpp"
#include "npu-sim/float_types.hpp"
#include "regdb/registers.hpp"

namespace {

namespace sim = npu::sim;
namespace bench = npu::bench;
namespace rd = npu::regdb;

constexpr std::uint32_t kProgram = 0, kA = 0x100000, kB = 0x4000000, kOut = 0x8000000;

struct Pool {
  std::uint32_t size, channels, kernel, stride, method;  // method: 0 average, 1 max
  bool fp16;
  std::uint32_t out() const { return (size - kernel) / stride + 1; }
  std::size_t bytes(std::uint32_t side) const {
    return std::size_t{side} * side * channels * (fp16 ? 2 : 1);
  }
};

std::vector<std::uint64_t> pool_program(const Pool& p) {
  rd::RegcmdStream s;
  const std::uint32_t fp16_recip = sim::float_to_fp16(65536.0f / static_cast<float>(p.kernel));
  const std::uint32_t recip = p.method != 0 ? 0 : p.fp16 ? fp16_recip : 0x10000 / p.kernel;
  s.write(rd::ppu::S_POINTER::decode(0xE)).write(rd::ppu_rdma::RDMA_S_POINTER::decode(0xE));
  s.write(rd::ppu::DATA_CUBE_IN_WIDTH{.cube_in_width = p.size});
  s.write(rd::ppu::DATA_CUBE_IN_HEIGHT{.cube_in_height = p.size});
  s.write(rd::ppu::DATA_CUBE_IN_CHANNEL{.cube_in_channel = p.channels});
  s.write(rd::ppu::DATA_CUBE_OUT_WIDTH{.cube_out_width = p.out()});
  s.write(rd::ppu::DATA_CUBE_OUT_HEIGHT{.cube_out_height = p.out()});
  s.write(rd::ppu::DATA_CUBE_OUT_CHANNEL{.cube_out_channel = p.channels});
  s.write(rd::ppu::OPERATION_MODE_CFG{.flying_mode = true, .pooling_method = p.method});
  s.write(rd::ppu::POOLING_KERNEL_CFG{.kernel_stride_height = p.stride,
                                      .kernel_stride_width = p.stride,
                                      .kernel_height = p.kernel,
                                      .kernel_width = p.kernel});
  s.write(rd::ppu::RECIP_KERNEL_WIDTH{.recip_kernel_width = recip});
  s.write(rd::ppu::RECIP_KERNEL_HEIGHT{.recip_kernel_height = recip});
  s.write(rd::ppu::DST_BASE_ADDR{.dst_base_addr = kOut});
  s.write(rd::ppu::DST_SURF_STRIDE{.dst_surf_stride = p.out() * p.out()});
  s.write(rd::ppu::DATA_FORMAT{.index_add = p.out() * p.out(), .proc_precision = p.fp16 ? 2u : 0u});
  s.write(rd::ppu::MISC_CTRL{.burst_len = 3});
  s.write(rd::ppu_rdma::RDMA_CUBE_IN_WIDTH{.cube_in_width = p.size});
  s.write(rd::ppu_rdma::RDMA_CUBE_IN_HEIGHT{.cube_in_height = p.size});
  s.write(rd::ppu_rdma::RDMA_CUBE_IN_CHANNEL{.cube_in_channel = p.channels});
  s.write(rd::ppu_rdma::RDMA_SRC_BASE_ADDR{.src_base_addr = kA});
  s.write(rd::ppu_rdma::RDMA_SRC_LINE_STRIDE{.src_line_stride = p.size});
  s.write(rd::ppu_rdma::RDMA_SRC_SURF_STRIDE{.src_surf_stride = p.size * p.size});
  s.write(rd::ppu_rdma::RDMA_DATA_FORMAT{.in_precision = p.fp16 ? 2u : 1u});
  if (s.size() % 2 != 0) s.word(0);
  s.end(0x60);
  return s.words();
}

// fp16 vectors of 4096 atoms a task [compute.md 6.1].
constexpr std::uint32_t kColumns = 4096;

std::vector<std::uint64_t> element_program(std::uint32_t ew_cfg, std::uint32_t offset) {
  rd::RegcmdStream s;
  s.write(rd::dpu::S_POINTER::decode(0xE)).write(rd::dpu_rdma::RDMA_S_POINTER::decode(0xE));
  s.write(rd::dpu::FEATURE_MODE_CFG::decode(0x1E5));
  s.write(rd::dpu::DATA_FORMAT{.out_precision = 2, .in_precision = 2, .proc_precision = 2});
  s.write(rd::dpu::DST_BASE_ADDR{.dst_base_addr = kOut + offset});
  s.write(rd::dpu::DST_SURF_STRIDE{.dst_surf_stride = kColumns});
  s.write(rd::dpu::DATA_CUBE_WIDTH{.width = kColumns}).write(rd::dpu::DATA_CUBE_HEIGHT{});
  s.write(rd::dpu::DATA_CUBE_CHANNEL{.orig_channel = 8, .channel = 8});
  s.write(rd::dpu::BS_CFG::decode(0x53)).write(rd::dpu::BN_CFG::decode(0x53));
  s.write(rd::dpu::EW_CFG::decode(ew_cfg));
  s.write(rd::dpu::OUT_CVT_SCALE{.fp32tofp16_en = true, .out_cvt_scale = 1});
  s.write(rd::dpu_rdma::RDMA_DATA_CUBE_WIDTH{.width = kColumns});
  s.write(rd::dpu_rdma::RDMA_DATA_CUBE_HEIGHT{});
  s.write(rd::dpu_rdma::RDMA_DATA_CUBE_CHANNEL{.channel = 8});
  s.write(rd::dpu_rdma::RDMA_SRC_BASE_ADDR{.src_base_addr = kA + offset});
  s.write(rd::dpu_rdma::RDMA_EW_BASE_ADDR{.ew_base_addr = kB + offset});
  s.write(rd::dpu_rdma::RDMA_ERDMA_CFG::decode(0x40000008));
  s.write(rd::dpu_rdma::RDMA_FEATURE_MODE_CFG::decode(0x17849));
  if (s.size() % 2 != 0) s.word(0);
  s.end(0x18);
  return s.words();
}

// Values that are finite as fp16, at any pair of bytes.
std::vector<std::uint8_t> random_bytes(std::size_t count) {
  std::mt19937 rng(static_cast<unsigned>(count));
  std::vector<std::uint8_t> out(count);
  for (auto& v : out) v = static_cast<std::uint8_t>(rng() & 0xBB);
  return out;
}

void run(benchmark::State& state, const std::vector<std::vector<std::uint64_t>>& programs,
         std::size_t in_bytes, std::size_t out_bytes, std::uint32_t done, std::size_t elements) {
  const auto space = std::make_shared<sim::AddressSpace>();
  const auto a = random_bytes(in_bytes), b = random_bytes(in_bytes);
  bench::map(*space, kA, a.data(), a.size(), 0);
  bench::map(*space, kB, b.data(), b.size(), 0);
  bench::map(*space, kOut, nullptr, 0, out_bytes);
  const bench::Tasks tasks = bench::map_programs(*space, kProgram, programs);
  sim::Chip chip;
  chip.attach(0, space);
  for (auto _ : state) {
    if (!bench::run(chip, 0, tasks, done)) {
      state.SkipWithError(chip.fault(0) ? chip.fault(0)->message.c_str() : "no interrupt");
      return;
    }
  }
  state.counters["Melements/s"] = benchmark::Counter(static_cast<double>(elements) * 1e-6,
                                                     benchmark::Counter::kIsIterationInvariantRate);
}

void pool(benchmark::State& state, const Pool& p) {
  run(state, {pool_program(p)}, p.bytes(p.size), p.bytes(p.out()), bench::kPpuDone,
      p.bytes(p.out()) / (p.fp16 ? 2 : 1));
}

void elements(benchmark::State& state, std::uint32_t ew_cfg) {
  constexpr std::uint32_t kBytes = 2 << 20;
  std::vector<std::vector<std::uint64_t>> programs;
  for (std::uint32_t at = 0; at < kBytes; at += kColumns * 16)
    programs.push_back(element_program(ew_cfg, at));
  run(state, programs, kBytes, kBytes, bench::kDpuDone, kBytes / 2);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const auto add = [](const char* name, auto body) {
    benchmark::RegisterBenchmark(name, body)->UseRealTime()->Unit(benchmark::kMillisecond);
  };
  const auto add_pool = [&](const char* name, const Pool& p) {
    add(name, [p](benchmark::State& state) { pool(state, p); });
  };
  add_pool("pool_max_int8/112x112x64/3x3/2", {112, 64, 3, 2, 1, false});
  add_pool("pool_max_fp16/112x112x64/3x3/2", {112, 64, 3, 2, 1, true});
  add_pool("pool_average_int8/112x112x64/2x2/2", {112, 64, 2, 2, 0, false});
  add_pool("pool_average_fp16/112x112x64/2x2/2", {112, 64, 2, 2, 0, true});
  add("add_fp16/1M", [](benchmark::State& state) { elements(state, 0x108202C0); });
  add("multiply_fp16/1M", [](benchmark::State& state) { elements(state, 0x108003C4); });
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
