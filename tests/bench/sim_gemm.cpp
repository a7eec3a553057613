// SPDX-License-Identifier: MIT
// How much slower is a simulated int8 GEMM than a plain one? Both in one run, same shape, same
// number of threads; the last lines print the ratios.
//
//   sim_gemm [--size=512] [Google Benchmark flags]
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "npu-sim/chip.hpp"
#include "npu-sim/mac_int8.hpp"
#include "npu-sim/thread_pool.hpp"
#include "regdb/registers.hpp"

namespace {

namespace sim = npu::sim;
namespace rd = npu::regdb;

constexpr std::uint32_t kProgram = 0, kA = 0x10000, kB = 0x4000000, kC = 0x8000000;

std::vector<std::int8_t> random_bytes(std::size_t n) {
  std::mt19937 rng(static_cast<unsigned>(n));
  std::vector<std::int8_t> out(n);
  for (auto& byte : out) byte = static_cast<std::int8_t>(rng());
  return out;
}

// Rows of the feature cube that a 384 KiB CBUF takes with one bank to spare.
std::uint32_t rows_per_task(std::uint32_t size) {
  return std::min(size, 10 * 32768 / size / 4 * 4);
}

std::vector<std::uint64_t> program(std::uint32_t size, std::uint32_t first, std::uint32_t rows) {
  rd::RegcmdStream s;
  const std::uint32_t banks = (rows * size + 32767) / 32768 + 1;
  s.write(rd::dpu::S_POINTER::decode(0xE)).write(rd::dpu_rdma::RDMA_S_POINTER::decode(0xE));
  s.write(rd::cna::CBUF_CON0{.weight_bank = 12 - banks, .data_bank = banks});
  s.write(rd::cna::CONV_CON1{}).write(rd::cna::CONV_CON2{.feature_grains = rows + 1});
  s.write(rd::cna::CONV_CON3{.conv_y_stride = 1, .conv_x_stride = 1});
  s.write(rd::cna::DATA_SIZE0{.datain_width = 1, .datain_height = rows});
  s.write(rd::cna::DATA_SIZE1{.datain_channel_real = size, .datain_channel = size});
  s.write(rd::cna::DATA_SIZE2{.dataout_width = 1});
  s.write(rd::cna::DATA_SIZE3{.dataout_atomics = rows});
  s.write(rd::cna::WEIGHT_SIZE0{.weight_bytes = size * size});
  s.write(rd::cna::WEIGHT_SIZE1{.weight_bytes_per_kernel = size});
  s.write(rd::cna::WEIGHT_SIZE2{.weight_width = 1, .weight_height = 1, .weight_kernels = size});
  s.write(rd::cna::CBUF_CON1{.data_entries = (size + 63) / 64});
  s.write(rd::cna::CVT_CON0{.data_sign = true, .cvt_type = 1, .cvt_bypass = true});
  // The cube holds all rows; the task takes its own from the middle of each plane.
  s.write(rd::cna::FEATURE_DATA_ADDR{.feature_base_addr = kA + first * 16});
  s.write(rd::cna::DMA_CON1{.line_stride = 4});
  s.write(rd::cna::DMA_CON2{.surf_stride = static_cast<std::int32_t>(size) - 4});
  s.write(rd::cna::DCOMP_ADDR0{.decompress_addr0 = kB});
  s.write(rd::core::MISC_CFG{});
  s.write(rd::core::DATAOUT_SIZE_0{.dataout_height = rows, .dataout_width = 1});
  s.write(rd::core::DATAOUT_SIZE_1{.dataout_channel = size});
  s.write(rd::dpu::FEATURE_MODE_CFG{.burst_len = 15, .output_mode = 2});
  s.write(rd::dpu::DATA_FORMAT{.out_precision = 4});
  s.write(rd::dpu::DST_BASE_ADDR{.dst_base_addr = kC + first * 16});
  s.write(rd::dpu::DST_SURF_STRIDE{.dst_surf_stride = size});
  s.write(rd::dpu::DATA_CUBE_WIDTH{.width = 1}).write(rd::dpu::DATA_CUBE_HEIGHT{.height = rows});
  s.write(rd::dpu::DATA_CUBE_CHANNEL{.orig_channel = size, .channel = size});
  s.write(rd::dpu::BS_CFG::decode(0x53)).write(rd::dpu::BN_CFG::decode(0x53));
  s.write(rd::dpu::BS_OW_CFG{.size_e_2 = 7, .size_e_1 = 7, .size_e_0 = 7, .od_bypass = true});
  s.write(rd::dpu::WDMA_SIZE_0{.channel_wdma = size});
  s.write(rd::dpu::WDMA_SIZE_1{.height_wdma = rows, .width_wdma = 1});
  s.write(rd::dpu::EW_CFG::decode(0x383)).write(rd::dpu::OUT_CVT_SCALE{.out_cvt_scale = 1});
  s.write(rd::dpu::SURFACE_ADD{.surf_add = size * 8});
  s.write(rd::dpu_rdma::RDMA_ERDMA_CFG{.erdma_disable = true});
  s.write(rd::dpu_rdma::RDMA_FEATURE_MODE_CFG{.burst_len = 15, .mrdma_disable = true});
  if (s.size() % 2 != 0) s.word(0);
  s.end(0x1D);
  return s.words();
}

void map(sim::AddressSpace& space, std::uint32_t iova, const void* data, std::size_t bytes,
         std::size_t room) {
  const std::size_t size = (std::max(bytes, room) + 4095) / 4096 * 4096;
  std::shared_ptr<std::byte[]> memory(new std::byte[size]());
  if (bytes != 0) std::memcpy(memory.get(), data, bytes);
  space.map(iova, std::move(memory), size);
}

void simulated(benchmark::State& state) {
  const auto size = static_cast<std::uint32_t>(state.range(0));
  const auto a = random_bytes(std::size_t{size} * size), b = random_bytes(a.size());
  const auto space = std::make_shared<sim::AddressSpace>();
  map(*space, kA, a.data(), a.size(), 0);
  map(*space, kB, b.data(), b.size(), 0);
  map(*space, kC, nullptr, 0, a.size() * 4);
  std::vector<std::vector<std::uint64_t>> tasks;
  for (std::uint32_t first = 0; first < size; first += rows_per_task(size))
    tasks.push_back(program(size, first, std::min(rows_per_task(size), size - first)));
  for (std::size_t i = 0; i < tasks.size(); ++i)
    map(*space, kProgram + static_cast<std::uint32_t>(i) * 4096, tasks[i].data(),
        tasks[i].size() * 8, 4096);
  sim::Chip chip;
  chip.attach(0, space);
  for (auto _ : state) {
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      chip.write(0, 0x10, 1);
      chip.write(0, 0x1004, 0xE);
      chip.write(0, 0x3004, 0xE);
      chip.write(0, 0x10, kProgram + static_cast<std::uint32_t>(i) * 4096);
      chip.write(0, 0x14, static_cast<std::uint32_t>((tasks[i].size() + 1) / 2 - 1));
      chip.write(0, 0x20, 0x300);
      chip.write(0, 0x24, 0x300);
      chip.write(0, 0x30, 0x7001);
      chip.write(0, 0x08, 1);
      if (!chip.irq(0)) {
        state.SkipWithError(chip.fault(0) ? chip.fault(0)->message.c_str() : "no interrupt");
        return;
      }
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

class RatioReporter : public benchmark::ConsoleReporter {
 public:
  void ReportRuns(const std::vector<Run>& runs) override {
    ConsoleReporter::ReportRuns(runs);
    for (const Run& run : runs)
      if (!run.error_occurred && run.run_type == Run::RT_Iteration)
        seconds_[run.run_name.function_name].push_back(run.GetAdjustedRealTime());
  }
  // Best of the repetitions: other work on the machine only ever adds time.
  double best(const std::string& name) const {
    const auto it = seconds_.find(name);
    return it == seconds_.end() ? 0 : *std::min_element(it->second.begin(), it->second.end());
  }

 private:
  std::map<std::string, std::vector<double>> seconds_;
};

}  // namespace

int main(int argc, char** argv) {
  int size = 512;
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    if (std::sscanf(argv[i], "--size=%d", &size) != 1) argv[kept++] = argv[i];
  }
  argc = kept;
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
  RatioReporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  const double simulated_ms = reporter.best("simulated");
  if (simulated_ms == 0) return 1;
  for (const char* name : {"plain", "plain_prepacked"})
    if (const double ms = reporter.best(name); ms != 0)
      std::printf("ratio of speeds, simulated / %s, int8 %d x %d x %d: %.2f (host times)\n", name,
                  size, size, size, ms / simulated_ms);
  return 0;
}
