// SPDX-License-Identifier: MIT
#include "bench_common.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "regdb/registers.hpp"

namespace npu::bench {
namespace {

namespace rd = npu::regdb;

constexpr std::uint32_t kBank = 32768;

std::vector<std::uint64_t> gemm_task(const GemmProgram& g, std::uint32_t first,
                                     std::uint32_t rows) {
  rd::RegcmdStream s;
  const std::uint32_t element = g.fp16 ? 2 : 1, precision = g.fp16 ? 2 : 0;
  const std::uint32_t kernel_bytes = g.k * element;
  const std::uint32_t banks = (rows * kernel_bytes + kBank - 1) / kBank + 1;
  const std::uint32_t surfaces = g.fp16 ? 4 : 8;  // of a group of kernels, as SIZE_E counts them
  s.write(rd::dpu::S_POINTER::decode(0xE)).write(rd::dpu_rdma::RDMA_S_POINTER::decode(0xE));
  s.write(rd::cna::CBUF_CON0{.weight_bank = 12 - banks, .data_bank = banks});
  s.write(rd::cna::CONV_CON1{.proc_precision = precision, .in_precision = precision});
  s.write(rd::cna::CONV_CON2{.feature_grains = rows + 1});
  s.write(rd::cna::CONV_CON3{.conv_y_stride = 1, .conv_x_stride = 1});
  s.write(rd::cna::DATA_SIZE0{.datain_width = 1, .datain_height = rows});
  s.write(rd::cna::DATA_SIZE1{.datain_channel_real = g.k, .datain_channel = g.k});
  s.write(rd::cna::DATA_SIZE2{.dataout_width = 1});
  s.write(rd::cna::DATA_SIZE3{.dataout_atomics = rows});
  s.write(rd::cna::WEIGHT_SIZE0{.weight_bytes = g.n * kernel_bytes});
  s.write(rd::cna::WEIGHT_SIZE1{.weight_bytes_per_kernel = kernel_bytes});
  s.write(rd::cna::WEIGHT_SIZE2{.weight_width = 1, .weight_height = 1, .weight_kernels = g.n});
  s.write(rd::cna::CBUF_CON1{.data_entries = (kernel_bytes + 63) / 64});
  s.write(rd::cna::CVT_CON0{.data_sign = true, .cvt_type = 1, .cvt_bypass = true});
  // The cube holds all rows; the task takes its own from the middle of each plane.
  s.write(rd::cna::FEATURE_DATA_ADDR{.feature_base_addr = g.a + first * 16});
  s.write(rd::cna::DMA_CON1{.line_stride = 4});
  s.write(rd::cna::DMA_CON2{.surf_stride = static_cast<std::int32_t>(g.m) - 4});
  s.write(rd::cna::DCOMP_ADDR0{.decompress_addr0 = g.b});
  s.write(rd::core::MISC_CFG{.proc_precision = precision, .qd_en = g.fp16});
  s.write(rd::core::DATAOUT_SIZE_0{.dataout_height = rows, .dataout_width = 1});
  s.write(rd::core::DATAOUT_SIZE_1{.dataout_channel = g.n});
  s.write(rd::dpu::FEATURE_MODE_CFG{.burst_len = 15, .output_mode = 2});
  s.write(rd::dpu::DATA_FORMAT{
      .out_precision = g.fp16 ? 5u : 4u, .in_precision = precision, .proc_precision = precision});
  s.write(rd::dpu::DST_BASE_ADDR{.dst_base_addr = g.c + first * 16});
  s.write(rd::dpu::DST_SURF_STRIDE{.dst_surf_stride = g.m});
  s.write(rd::dpu::DATA_CUBE_WIDTH{.width = 1}).write(rd::dpu::DATA_CUBE_HEIGHT{.height = rows});
  s.write(rd::dpu::DATA_CUBE_CHANNEL{.orig_channel = g.n, .channel = g.n});
  s.write(rd::dpu::BS_CFG::decode(0x53)).write(rd::dpu::BN_CFG::decode(0x53));
  s.write(rd::dpu::BS_OW_CFG{.size_e_2 = surfaces - 1,
                             .size_e_1 = surfaces - 1,
                             .size_e_0 = surfaces - 1,
                             .od_bypass = true});
  s.write(rd::dpu::WDMA_SIZE_0{.channel_wdma = g.n});
  s.write(rd::dpu::WDMA_SIZE_1{.height_wdma = rows, .width_wdma = 1});
  s.write(rd::dpu::EW_CFG::decode(0x383)).write(rd::dpu::OUT_CVT_SCALE{.out_cvt_scale = 1});
  s.write(rd::dpu::SURFACE_ADD{.surf_add = g.m * surfaces});
  s.write(rd::dpu_rdma::RDMA_ERDMA_CFG{.erdma_disable = true});
  s.write(rd::dpu_rdma::RDMA_FEATURE_MODE_CFG{.burst_len = 15, .mrdma_disable = true});
  if (s.size() % 2 != 0) s.word(0);
  s.end(0x1D);
  return s.words();
}

}  // namespace

void map(sim::AddressSpace& space, std::uint32_t iova, const void* data, std::size_t bytes,
         std::size_t room) {
  const std::size_t size = (std::max(bytes, room) + 4095) / 4096 * 4096;
  std::shared_ptr<std::byte[]> memory(new std::byte[size]());
  if (bytes != 0) std::memcpy(memory.get(), data, bytes);
  space.map(iova, std::move(memory), size);
}

Tasks map_programs(sim::AddressSpace& space, std::uint32_t iova,
                   const std::vector<std::vector<std::uint64_t>>& programs) {
  Tasks tasks;
  for (const auto& words : programs) {
    map(space, iova, words.data(), words.size() * 8, 0);
    tasks.iova.push_back(iova);
    tasks.words.push_back(static_cast<std::uint32_t>(words.size()));
    iova += static_cast<std::uint32_t>((words.size() * 8 + 4095) / 4096 * 4096);
  }
  return tasks;
}

bool run(sim::Chip& chip, unsigned core, const Tasks& tasks, std::uint32_t done) {
  for (std::size_t i = 0; i < tasks.iova.size(); ++i) {
    chip.write(core, rd::pc::BASE_ADDRESS::offset, 1);
    chip.write(core, rd::cna::S_POINTER::offset, 0xE + 0x10000000 * core);
    chip.write(core, rd::core::S_POINTER::offset, 0xE + 0x10000000 * core);
    chip.write(core, rd::pc::BASE_ADDRESS::offset, tasks.iova[i]);
    chip.write(core, rd::pc::REGISTER_AMOUNTS::offset, (tasks.words[i] + 1) / 2 - 1);
    chip.write(core, rd::pc::INTERRUPT_MASK::offset, done);
    chip.write(core, rd::pc::INTERRUPT_CLEAR::offset, done);
    chip.write(core, rd::pc::TASK_CON::offset, 0x7001);
    chip.write(core, rd::pc::TASK_DMA_BASE_ADDR::offset, 0);
    chip.write(core, rd::pc::OPERATION_ENABLE::offset, 1);
    if (!chip.irq(core)) return false;
  }
  return true;
}

std::vector<std::vector<std::uint64_t>> gemm_programs(const GemmProgram& g) {
  const std::uint32_t most = 10 * kBank / (g.k * (g.fp16 ? 2 : 1)) / 4 * 4;
  std::vector<std::vector<std::uint64_t>> programs;
  for (std::uint32_t first = 0; first < g.m; first += most)
    programs.push_back(gemm_task(g, first, std::min(most, g.m - first)));
  return programs;
}

void RatioReporter::ReportRuns(const std::vector<Run>& runs) {
  ConsoleReporter::ReportRuns(runs);
  for (const Run& run : runs)
    if (!run.error_occurred && run.run_type == Run::RT_Iteration)
      seconds_[run.run_name.function_name].push_back(run.GetAdjustedRealTime());
}

double RatioReporter::best(const std::string& name) const {
  const auto it = seconds_.find(name);
  return it == seconds_.end() ? 0 : *std::min_element(it->second.begin(), it->second.end());
}

bool take_flag(int& argc, char** argv, const char* name, int* value) {
  const std::string format = std::string("--") + name + "=";
  bool found = false;
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    char* end = nullptr;
    if (std::strncmp(argv[i], format.c_str(), format.size()) == 0) {
      const long number = std::strtol(argv[i] + format.size(), &end, 10);
      if (end != argv[i] + format.size() && *end == '\0' && number > 0 && number < 1 << 20) {
        *value = static_cast<int>(number);
        found = true;
        continue;
      }
    }
    argv[kept++] = argv[i];
  }
  argc = kept;
  return found;
}

}  // namespace npu::bench
