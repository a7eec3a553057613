// SPDX-License-Identifier: MIT
// PC: program fetch, task chain, interrupts [TRM 36.4.3; rocket_job.c; control-and-uapi B].
#include "npu-sim/core.hpp"

#include <algorithm>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "npu-sim/fault.hpp"
#include "npu-sim/pooling.hpp"
#include "regdb/regcmd.hpp"
#include "regdb/registers.hpp"
#include "regdb/tables.hpp"

namespace npu::sim {
namespace {

namespace rd = npu::regdb;

constexpr std::uint32_t kVersion = 0x46495245;          // "FIRE", read on a board [rock5b]
constexpr std::uint32_t kInterruptMaskReset = 0x1FFFF;  // [TRM 36.4.3]
constexpr std::uint32_t kInterruptBits = 0x1FFFF;
constexpr std::uint32_t kIdleRawStatus = 0xC0000000;  // undocumented, read on boards [rock5b; wid]
constexpr std::uint32_t kDmaReadError = 1u << 12, kDmaWriteError = 1u << 13;
// A program may link itself and set TASK_NUMBER: more words than this in one start is a loop.
constexpr std::uint64_t kWordBudget = std::uint64_t{1} << 24;
constexpr std::uint32_t kMacGatingReset = 0x07800800;  // [TRM]

// Bit pairs of INTERRUPT_RAW_STATUS: group 0, then group 1.
constexpr unsigned kFeatureBit = 0, kWeightBit = 2, kCscBit = 4, kCoreBit = 6, kDpuBit = 8,
                   kPpuBit = 10;

constexpr std::uint32_t kPool = rd::enable_mask::ppu | rd::enable_mask::ppu_rdma;
constexpr std::uint32_t kFlying = rd::enable_mask::dpu | rd::enable_mask::dpu_rdma;
constexpr std::uint32_t kConvolution =
    rd::enable_mask::cna | rd::enable_mask::core | rd::enable_mask::dpu;

}  // namespace

void Core::reset() {
  for (RegisterFile* file : {&cna_, &core_, &dpu_, &dpu_rdma_, &ppu_, &ppu_rdma_}) file->reset();
  for (const std::uint32_t group : {1u, 0u}) {
    core_.write(rd::core::S_POINTER::offset, group);
    core_.write(rd::core::MAC_GATING::offset, kMacGatingReset);
  }
  ddma_ = {};
  sdma_ = {};
  // Read on a board at rest [notes hw-byte-counters].
  ddma_[0x00 / 4] = 0x0FFF;
  ddma_[0x04 / 4] = 0x01010101;
  ddma_[0x08 / 4] = 0x00010101;
  ddma_[0x10 / 4] = 0x0101;
  ddma_[0x30 / 4] = 0x100;
  cbuf_ = {};
  lut_ = {};
  base_address_ = amounts_ = task_con_ = task_dma_base_ = tasks_done_ = 0;
  mask_ = kInterruptMaskReset;
  raw_status_ = 0;
  hung_ = false;
  fault_.reset();
}

RegisterFile* Core::block(std::uint32_t offset) {
  switch (offset >> 12) {
    case 1: return &cna_;
    case 3: return &core_;
    case 4: return &dpu_;
    case 5: return &dpu_rdma_;
    case 6: return &ppu_;
    case 7: return &ppu_rdma_;
    default: return nullptr;
  }
}

std::uint32_t Core::read(std::uint32_t offset) const {
  if (const RegisterFile* file = block(offset)) return file->read(offset);
  switch (offset) {
    case rd::pc::VERSION::offset: return kVersion;
    case rd::pc::BASE_ADDRESS::offset: return base_address_;
    case rd::pc::REGISTER_AMOUNTS::offset: return amounts_;
    case rd::pc::INTERRUPT_MASK::offset: return mask_;
    case rd::pc::INTERRUPT_STATUS::offset: return raw_status_ & mask_;
    case rd::pc::INTERRUPT_RAW_STATUS::offset: return raw_status_ | kIdleRawStatus;
    case rd::pc::TASK_CON::offset: return task_con_;
    case rd::pc::TASK_DMA_BASE_ADDR::offset: return task_dma_base_;
    case rd::pc::TASK_STATUS::offset: return tasks_done_ & 0xFFF;
    default: break;
  }
  if (offset >> 12 == 8 && (offset & 0xFFF) < 0x100) return ddma_[(offset & 0xFF) / 4];
  if (offset >> 12 == 9 && (offset & 0xFFF) < 0x100) return sdma_[(offset & 0xFF) / 4];
  return 0;  // OPERATION_ENABLE, GLOBAL and VERSION_NUM read 0 on boards
}

void Core::write(std::uint32_t offset, std::uint32_t value) {
  if (block(offset) != nullptr) {
    write_block(offset, value, false);
    return;
  }
  if (options_.observer) options_.observer->register_written(index_, offset, value, false);
  if (offset < 0x1000) {
    write_pc(offset, value);
  } else if (offset >> 12 == 8 && (offset & 0xFFF) < 0x100) {
    ddma_[(offset & 0xFF) / 4] = value;
  } else if (offset >> 12 == 9 && (offset & 0xFFF) < 0x100) {
    sdma_[(offset & 0xFF) / 4] = value;
  } else if (offset == rd::global::OPERATION_ENABLE::offset) {
    // CPU mode: the same block mask without a program in memory [TRM 36.5.4].
    start([this, value] { enable_blocks(value); });
  }
}

void Core::write_block(std::uint32_t offset, std::uint32_t value, bool by_program) {
  if (options_.observer) options_.observer->register_written(index_, offset, value, by_program);
  if (RegisterFile* file = block(offset)) file->write(offset, value);
  if (offset == rd::dpu::LUT_ACCESS_CFG::offset) lut_.access_config(value);
  if (offset == rd::dpu::LUT_ACCESS_DATA::offset) lut_.access_data(value);
}

void Core::write_pc(std::uint32_t offset, std::uint32_t value) {
  switch (offset) {
    case rd::pc::OPERATION_ENABLE::offset:
      // Writing 0 does not stop a running list: the vendor driver writes 1 and 0 at once.
      if ((value & 1) != 0) start([this] { run_chain(); });
      break;
    case rd::pc::BASE_ADDRESS::offset:
      base_address_ = value;
      next_program_written_ = true;
      break;
    case rd::pc::REGISTER_AMOUNTS::offset: amounts_ = value & 0xFFFF; break;
    case rd::pc::INTERRUPT_MASK::offset: mask_ = value & kInterruptBits; break;
    case rd::pc::INTERRUPT_CLEAR::offset:
    case rd::pc::INTERRUPT_STATUS::offset:
    case rd::pc::INTERRUPT_RAW_STATUS::offset: raw_status_ &= ~value; break;
    case rd::pc::TASK_CON::offset:
      if ((value & 1u << 13) != 0) tasks_done_ = 0;  // TASK_COUNT_CLEAR
      task_con_ = value & ~(1u << 13);
      break;
    case rd::pc::TASK_DMA_BASE_ADDR::offset: task_dma_base_ = value & ~0xFu; break;
    default: break;
  }
}

// Whatever ends a start, by CPU or program: faults, interrupts, injected ones.
void Core::start(const std::function<void()>& work) {
  fault_.reset();
  if (hung_) {
    fault_ = Fault{FaultKind::hang, "PC.OPERATION_ENABLE",
                   "the core still hangs in an earlier task; it needs a reset"};
    return;
  }
  if (options_.observer) options_.observer->started(index_);
  const Injector::Start injected = injector_.start();
  std::uint32_t raised = 0;
  try {
    const auto lock = space_ ? space_->lock() : std::shared_lock<std::shared_mutex>();
    macs_left_ = options_.task_mac_budget;
    words_left_ = kWordBudget;
    done_bits_ = 0;
    if (injected.hang) hang("PC.OPERATION_ENABLE", "an injected hang");
    work();
    // One interrupt per start, after its last task [notes regcmd-task-model, HW].
    raised = done_bits_;
  } catch (const TaskFault& stop) {
    fault_ = stop.fault();
    hung_ = true;
    if (fault_->kind == FaultKind::dma_read) raised = kDmaReadError;
    if (fault_->kind == FaultKind::dma_write) raised = kDmaWriteError;
  }
  for (RegisterFile* file : {&cna_, &core_, &dpu_, &dpu_rdma_, &ppu_, &ppu_rdma_})
    file->next_start();
  if (injected.delay.count() != 0) std::this_thread::sleep_for(injected.delay);
  if (!injected.drop) raw_status_ |= raised;
  if (!options_.observer) return;
  if (fault_) options_.observer->faulted(index_, *fault_);
  options_.observer->ended(index_, raw_status_);
}

void Core::run_chain() {
  lut_.forget();
  if (!space_) dma_fault(FaultKind::dma_read, "PC.BASE_ADDRESS", base_address_);
  // TASK_NUMBER ends a chain; a link after the last task may dangle [control-and-uapi B.8].
  const std::uint32_t tasks = std::max<std::uint32_t>(1, task_con_ & 0xFFF);
  for (std::uint32_t task = 0; task < tasks; ++task) {
    const bool linked = run_program();
    ++tasks_done_;
    // Seen on a board through the vendor's driver: 16 programs that are not linked in one start run
    // the first, the task counter stays at 1, and no interrupt comes [gregordinary/rknpu-submit].
    if (!linked && task + 1 < tasks)
      hang("PC.TASK_CON.task_number", "the chain of programs ends before its last task");
  }
}

// Before a task's work: observers hear of it, injected faults strike.
void Core::announce(TaskRecord&& record, std::uint32_t mask) {
  record.core = index_;
  record.blocks = mask;
  // A task of two records (DPU, then PPU) fetches its program once.
  record.work.regcmd_words = std::exchange(program_words_, 0);
  if (options_.observer && options_.observer->listens()) {
    note_stale_registers(record, mask);
    options_.observer->task(record);
  }
  if (injector_.active())
    for (const Transfer& transfer : record.transfers) injector_.transfer(transfer, *space_);
}

void Core::note_stale_registers(TaskRecord& record, std::uint32_t mask) const {
  const std::pair<std::uint32_t, const RegisterFile*> files[] = {
      {rd::enable_mask::cna, &cna_}, {rd::enable_mask::core, &core_},
      {rd::enable_mask::dpu, &dpu_}, {rd::enable_mask::dpu_rdma, &dpu_rdma_},
      {rd::enable_mask::ppu, &ppu_}, {rd::enable_mask::ppu_rdma, &ppu_rdma_}};
  std::string names;
  std::size_t count = 0;
  for (const rd::RegisterInfo& info : rd::registers()) {
    for (const auto& [bit, file] : files) {
      if ((mask & bit) == 0 || block(info.offset) != file || (info.offset & 0xFFF) <= 8) continue;
      if (!file->stale(file->executer(), info.offset) ||
          file->get(file->executer(), info.offset) == info.reset)
        continue;
      if (++count <= 4)
        names += (names.empty() ? "" : ", ") + std::string(rd::info(info.block).name) + "." +
                 std::string(info.name);
    }
  }
  if (count == 0) return;
  record.quirks.push_back(
      {"registers_survive", names,
       std::to_string(count) + " register(s) still hold what an earlier start wrote"});
}

// Runs the list at BASE_ADDRESS up to its enable word. False if it names no next one.
bool Core::run_program() {
  if ((base_address_ & 1) != 0)
    hang("PC.BASE_ADDRESS.pc_sel", "the register bus is with the CPU, so nothing is fetched");
  // The engine reads 128-bit units; amounts may point past the end of the list, so the enable
  // word is what ends it [rk3588-npu B.3].
  const std::uint64_t base = base_address_ & ~0xFull;
  const std::size_t words = (static_cast<std::size_t>(amounts_) + 1) * 2;
  next_program_written_ = false;
  program_words_ = 0;
  std::array<std::uint64_t, 64> chunk;
  for (std::size_t at = 0; at < words; at += chunk.size()) {
    std::size_t count = std::min(chunk.size(), words - at);
    std::uint64_t bad = 0;
    if (injector_.active())
      injector_.transfer({Engine::program, base + at * 8, count * 8}, *space_);
    if (!space_->read(base + at * 8, chunk.data(), count * 8, &bad)) {
      count = bad > base + at * 8 ? static_cast<std::size_t>((bad - base) / 8 - at) : 0;
      const auto end = chunk.begin() + static_cast<std::ptrdiff_t>(count);
      const bool ends = std::any_of(chunk.begin(), end, [](std::uint64_t word) {
        return rd::Regcmd::unpack(word).target == static_cast<std::uint16_t>(rd::Target::enable);
      });
      if (!ends) dma_fault(FaultKind::dma_read, "PC.BASE_ADDRESS", bad);
    }
    injector_.restore(*space_, false);
    if (count > words_left_) hang("PC.TASK_CON.task_number", "the chain of programs does not end");
    words_left_ -= count;
    for (std::size_t i = 0; i < count; ++i) {
      ++program_words_;
      const rd::Regcmd command = rd::Regcmd::unpack(chunk[i]);
      switch (static_cast<rd::Target>(command.target)) {
        case rd::Target::pc:
          // A program links the next one; it does not start itself.
          if (options_.observer)
            options_.observer->register_written(index_, command.offset, command.value, true);
          if (command.offset != rd::pc::OPERATION_ENABLE::offset)
            write_pc(command.offset, command.value);
          break;
        case rd::Target::cna:
        case rd::Target::core:
        case rd::Target::dpu:
        case rd::Target::dpu_rdma:
        case rd::Target::ppu:
        case rd::Target::ppu_rdma: write_block(command.offset, command.value, true); break;
        case rd::Target::enable: enable_blocks(command.value); return next_program_written_;
        default: break;  // empty words, the 0x0041 marker, unknown targets: no effect
      }
    }
  }
  hang("PC.REGISTER_AMOUNTS", "the program has no enable word (target 0x0081) within its amount");
}

void Core::enable_blocks(std::uint32_t mask) {
  try {
    run_blocks(mask);
  } catch (...) {
    if (space_) injector_.restore(*space_, false);
    throw;
  }
  if (space_) injector_.restore(*space_, true);
}

void Core::run_blocks(std::uint32_t mask) {
  // The kernel writes the core's index into bits 29:28 before each task; a program that
  // overwrites it never ends (24 of 24 jobs on a board) [notes regcmd-task-model].
  if (options_.quirks.core_index_in_s_pointer && (mask & rd::enable_mask::cna) != 0 &&
      (cna_.core_index() != index_ || core_.core_index() != index_))
    hang(cna_.core_index() != index_ ? "CNA.S_POINTER" : "CORE.S_POINTER",
         "bits 29:28 do not hold the index of this core (quirk core_index_in_s_pointer)");
  const bool announces = (options_.observer && options_.observer->listens()) || injector_.active();
  const TaskHook hook =
      announces ? TaskHook([this, mask](TaskRecord&& record) { announce(std::move(record), mask); })
                : TaskHook();
  const TaskHook* listener = announces ? &hook : nullptr;
  // The PPU takes what PPU_RDMA reads, or in one task with the DPU what that makes.
  if (mask == kPool) {
    const unsigned ppu = ppu_.start(), rdma = ppu_rdma_.start();
    if (!space_) dma_fault(FaultKind::dma_read, "PPU_RDMA.RDMA_SRC_BASE_ADDR", 0);
    macs_left_ -= run_pooling({ppu_, ppu_rdma_, ppu, rdma}, *space_, task_dma_base_, macs_left_,
                              options_.quirks, pool_, listener);
    // Only PPU bits: stock mainline, which waits for a DPU bit, retires the job by its 500 ms
    // timeout although the output is right [notes pool-completion, HW].
    done_bits_ |= 1u << (kPpuBit + ppu);
    ppu_.finish();
    ppu_rdma_.finish();
    return;
  }
  if (!space_) dma_fault(FaultKind::dma_read, "CNA.FEATURE_DATA_ADDR", 0);
  if ((mask & rd::enable_mask::ppu) == 0) {
    run_dpu(mask, *space_, nullptr, listener);
    return;
  }
  const PortSpace port(*space_);
  PoolFeed feed;
  const unsigned ppu = ppu_.start();
  run_dpu(mask & ~rd::enable_mask::ppu, port, &feed, listener);
  macs_left_ -= run_pooling({ppu_, ppu_rdma_, ppu, 0}, port, task_dma_base_, macs_left_,
                            options_.quirks, pool_, listener, &feed);
  done_bits_ |= 1u << (kPpuBit + ppu);
  ppu_.finish();
}

// A task that ends in the DPU: behind the MAC array, or on data from memory.
void Core::run_dpu(std::uint32_t mask, const AddressSpace& space, PoolFeed* feed,
                   const TaskHook* listener) {
  if (mask == kFlying) {
    const unsigned dpu = dpu_.start(), rdma = dpu_rdma_.start();
    macs_left_ -= run_flying({dpu_, dpu_rdma_, dpu, rdma}, lut_, space, task_dma_base_, macs_left_,
                             options_.quirks, pool_, listener, feed);
    done_bits_ |= 1u << (kDpuBit + dpu);
    dpu_.finish();
    dpu_rdma_.finish();
    return;
  }
  if ((mask & ~rd::enable_mask::dpu_rdma) != kConvolution)
    not_modelled("PC.OPERATION_ENABLE", mask);

  const bool rdma = (mask & rd::enable_mask::dpu_rdma) != 0;
  const BlockGroups groups{cna_.start(), core_.start(), dpu_.start(),
                           rdma ? dpu_rdma_.start() : 0u};
  ConvolutionInput input{BlockRegisters{cna_, core_, dpu_, dpu_rdma_, groups, rdma, &lut_},
                         space,
                         task_dma_base_,
                         macs_left_,
                         options_,
                         pool_,
                         listener,
                         feed};
  macs_left_ -= run_convolution(input, cbuf_);
  done_bits_ |= 1u << (kFeatureBit + groups.cna) | 1u << (kWeightBit + groups.cna) |
                1u << (kCscBit + groups.cna) | 1u << (kCoreBit + groups.core) |
                1u << (kDpuBit + groups.dpu);
  cna_.finish();
  core_.finish();
  dpu_.finish();
  if (rdma) dpu_rdma_.finish();
}

}  // namespace npu::sim
