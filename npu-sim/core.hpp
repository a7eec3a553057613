// SPDX-License-Identifier: MIT
// One NPU core: PC, register files, CBUF contents, interrupts.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>

#include "npu-sim/chip.hpp"
#include "npu-sim/convolution.hpp"
#include "npu-sim/flying.hpp"
#include "npu-sim/injection.hpp"
#include "npu-sim/register_file.hpp"
#include "npu-sim/thread_pool.hpp"

namespace npu::sim {

class Core {
 public:
  Core(unsigned index, const ChipOptions& options, ThreadPool& pool)
      : index_(index), options_(options), pool_(pool), injector_(options.injections, index) {
    reset();
  }

  void attach(std::shared_ptr<const AddressSpace> space) {
    space_ = std::move(space);
    if (options_.observer) options_.observer->attached(index_, space_ != nullptr);
  }
  std::uint32_t read(std::uint32_t offset) const;
  void write(std::uint32_t offset, std::uint32_t value);
  bool irq() const { return (raw_status_ & mask_) != 0; }
  void reset();
  const std::optional<Fault>& fault() const { return fault_; }
  /// From any thread.
  bool inject(std::span<const Injection> more) { return injector_.add(more); }

 private:
  void write_block(std::uint32_t offset, std::uint32_t value, bool by_program);
  void announce(TaskRecord&& record, std::uint32_t mask);
  void note_stale_registers(TaskRecord& record, std::uint32_t mask) const;
  void write_pc(std::uint32_t offset, std::uint32_t value);
  void start(const std::function<void()>& work);
  void run_chain();
  bool run_program();
  void enable_blocks(std::uint32_t mask);
  void run_blocks(std::uint32_t mask);
  void run_dpu(std::uint32_t mask, const AddressSpace& space, PoolFeed* feed,
               const TaskHook* listener);
  RegisterFile* block(std::uint32_t offset);
  const RegisterFile* block(std::uint32_t offset) const {
    return const_cast<Core*>(this)->block(offset);
  }

  unsigned index_;
  const ChipOptions& options_;
  ThreadPool& pool_;
  std::shared_ptr<const AddressSpace> space_;

  RegisterFile cna_, core_, dpu_, dpu_rdma_, ppu_, ppu_rdma_;
  std::array<std::uint32_t, 0x100 / 4> ddma_{}, sdma_{};
  Cbuf cbuf_;
  Lut lut_;

  // PC
  std::uint32_t base_address_ = 0;
  std::uint32_t amounts_ = 0;
  std::uint32_t mask_ = 0;
  std::uint32_t raw_status_ = 0;
  std::uint32_t task_con_ = 0;
  std::uint32_t task_dma_base_ = 0;
  std::uint32_t tasks_done_ = 0;
  bool next_program_written_ = false;
  std::uint32_t done_bits_ = 0;                   // raised when all tasks of a start are done
  std::uint64_t macs_left_ = 0, words_left_ = 0;  // of this start; an endless chain must end

  Injector injector_;
  std::uint32_t program_words_ = 0;  // of the current program so far

  bool hung_ = false;
  std::optional<Fault> fault_;
};

}  // namespace npu::sim
