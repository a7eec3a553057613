// SPDX-License-Identifier: MIT
#include "npu-sim/task_check.hpp"

#include "npu-sim/convolution.hpp"
#include "npu-sim/fault.hpp"
#include "npu-sim/flying.hpp"
#include "npu-sim/task_record.hpp"
#include "regdb/regcmd.hpp"
#include "regdb/registers.hpp"
#include "regdb/tables.hpp"

namespace npu::sim {
namespace {

namespace rd = npu::regdb;

// POINTER_PP_EN, EXECUTER_PP_EN, POINTER_PP_MODE: what the driver writes to CNA and CORE before
// each task; the index of the core, 0 here, goes into bits 29:28 [rocket_job.c].
constexpr std::uint32_t kDriverPointer = 0xE;

constexpr std::uint32_t kPool = rd::enable_mask::ppu | rd::enable_mask::ppu_rdma;
constexpr std::uint32_t kFlying = rd::enable_mask::dpu | rd::enable_mask::dpu_rdma;
constexpr std::uint32_t kConvolution =
    rd::enable_mask::cna | rd::enable_mask::core | rd::enable_mask::dpu;

// The group that runs; it is over at once, so that what follows a fault finds its group too.
unsigned turn(RegisterFile& file) {
  const unsigned group = file.start();
  file.finish();
  return group;
}

}  // namespace

struct TaskChecker::State {
  ChipOptions options;
  bool chained = false;
  RegisterFile cna, core, dpu, dpu_rdma, ppu, ppu_rdma;
  Lut lut;
  Cbuf cbuf;  // shapes only
  std::uint32_t dma_base = 0;

  RegisterFile* block(std::uint32_t offset) {
    switch (offset >> 12) {
      case 1: return &cna;
      case 3: return &core;
      case 4: return &dpu;
      case 5: return &dpu_rdma;
      case 6: return &ppu;
      case 7: return &ppu_rdma;
      default: return nullptr;
    }
  }

  void pool(TaskCheck& result, const PoolFeed* feed) {
    const unsigned group = turn(ppu), reader = feed == nullptr ? turn(ppu_rdma) : 0u;
    result.pool = read_pool_config({ppu, ppu_rdma, group, reader}, dma_base, options.quirks, feed);
    result.records.push_back(record_of(*result.pool));
  }

  // The DPU's part of a task; what a PPU behind it gets.
  PoolFeed flying(TaskCheck& result, bool feeds) {
    const unsigned group = turn(dpu), reader = turn(dpu_rdma);
    const FlyingConfig c =
        read_flying_config({dpu, dpu_rdma, group, reader}, lut, dma_base, options.quirks, feeds);
    result.records.push_back(record_of(c, options.quirks));
    return {{}, c.dst_line, c.width, c.height, c.channels, c.out_type, true};
  }

  PoolFeed convolution(TaskCheck& result, std::uint32_t mask, bool feeds) {
    const bool rdma = (mask & rd::enable_mask::dpu_rdma) != 0;
    const BlockGroups groups{turn(cna), turn(core), turn(dpu), rdma ? turn(dpu_rdma) : 0u};
    const BlockRegisters registers{cna, core, dpu, dpu_rdma, groups, rdma, &lut};
    const ConvConfig& c = result.conv.emplace(
        read_conv_config(registers, dma_base, options.task_mac_budget, options, feeds));
    const ConvShape& s = c.shape;
    result.cbuf_con0 = registers.cna(rd::cna::CBUF_CON0::offset);
    result.data_entries =
        rd::cna::CBUF_CON1::decode(registers.cna(rd::cna::CBUF_CON1::offset)).data_entries;
    check_reuse(c, cbuf);
    result.records.push_back(record_of(c, options.quirks));
    cbuf.features = FeatureTile{s, 0, 0, {}, {}, {}, {}};
    cbuf.weights = WeightTile{};
    cbuf.weights->precision = s.precision;
    cbuf.weights->kernels = s.kernels;
    cbuf.weights->channels = s.channels;
    cbuf.weights->kernel_width = s.kernel_width;
    cbuf.weights->kernel_height = s.kernel_height;
    cbuf.weights->depthwise = s.depthwise;
    if (c.late_hang) hang(c.late_hang->where, c.late_hang->why);
    return feeds ? feed_of(c) : PoolFeed{};
  }

  void run(TaskCheck& result) {
    const std::uint32_t mask = result.blocks;
    if (mask == kPool) {
      pool(result, nullptr);
      return;
    }
    const bool feeds = (mask & rd::enable_mask::ppu) != 0;
    const std::uint32_t first = mask & ~rd::enable_mask::ppu;
    PoolFeed feed;
    if (first == kFlying)
      feed = flying(result, feeds);
    else if ((first & ~rd::enable_mask::dpu_rdma) == kConvolution)
      feed = convolution(result, first, feeds);
    else
      not_modelled("PC.OPERATION_ENABLE", mask);
    if (feeds) pool(result, &feed);
  }
};

TaskChecker::TaskChecker(const ChipOptions& options, bool chained)
    : state_(std::make_unique<State>()) {
  state_->options = options;
  state_->options.observer = nullptr;
  state_->chained = chained;
  for (const std::uint32_t group : {1u, 0u}) {
    state_->core.write(rd::core::S_POINTER::offset, group);
    state_->core.write(rd::core::MAC_GATING::offset, rd::core::MAC_GATING::reset);
  }
}

TaskChecker::~TaskChecker() = default;

TaskCheck TaskChecker::check(std::span<const std::uint64_t> words) {
  State& s = *state_;
  TaskCheck result;
  s.cna.write(rd::cna::S_POINTER::offset, kDriverPointer);
  s.core.write(rd::core::S_POINTER::offset, kDriverPointer);
  if (!s.chained) {
    s.lut.forget();
    s.dma_base = 0;  // the driver writes it before each start
  }
  for (const std::uint64_t word : words) {
    const rd::Regcmd command = rd::Regcmd::unpack(word);
    if (command.target == static_cast<std::uint16_t>(rd::Target::enable)) {
      result.blocks = command.value;
      try {
        s.run(result);
      } catch (const TaskFault& fault) {
        result.fault = fault.fault();
      }
      return result;
    }
    if (command.target == static_cast<std::uint16_t>(rd::Target::pc)) {
      if (command.offset == rd::pc::TASK_DMA_BASE_ADDR::offset) s.dma_base = command.value & ~0xFu;
      continue;
    }
    const auto block = rd::block_of_target(command.target);
    RegisterFile* file = block ? s.block(command.offset) : nullptr;
    if (file == nullptr) continue;
    file->write(command.offset, command.value);
    if (command.offset == rd::dpu::LUT_ACCESS_CFG::offset) s.lut.access_config(command.value);
    if (command.offset == rd::dpu::LUT_ACCESS_DATA::offset) s.lut.access_data(command.value);
  }
  return result;
}

}  // namespace npu::sim
