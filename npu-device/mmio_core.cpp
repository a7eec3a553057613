// SPDX-License-Identifier: MIT
#include "npu-device/mmio_core.hpp"

#include <fmt/format.h>

#include <thread>

#include "npu-device/register_access.hpp"
#include "regdb/registers.hpp"

namespace npu::device {
namespace {

namespace pc = regdb::pc;
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr std::uint32_t kVersion = 0x46495245;  // "FIRE" [rock5b]
constexpr std::uint32_t kDpuDone = 0x300;       // bits 8, 9: group 0, 1
constexpr std::uint32_t kPpuDone = 0xC00;       // bits 10, 11
constexpr std::uint32_t kDmaErrors = 0x3000;    // bits 12 (read), 13 (write)
constexpr std::uint32_t kClearAll = 0x1FFFF;

// POINTER_PP_EN, EXECUTER_PP_EN, POINTER_PP_MODE; bits 29:28 hold the core's index.
constexpr std::uint32_t s_pointer(unsigned core) { return 0xEu + 0x10000000u * core; }

// Tasks of a network end within some 100 us; later a sleep costs nothing.
constexpr auto kSpin = 200us;
constexpr auto kNap = 50us;

}  // namespace

MmioCore::MmioCore(MmioPlatform& platform, unsigned index)
    : platform_(platform),
      index_(index),
      window_((platform.check_power(index), platform.window(index))),
      iommu_(*window_, index) {
  version_ = window_->read32(pc::VERSION::offset);
  if (version_ != kVersion)
    throw Error(ErrorCode::no_device,
                fmt::format("{}: core {} answers with VERSION {:#010x}; an RK3588 NPU has "
                            "{:#010x}. Is this an RK3588?",
                            platform.path(), index, version_, kVersion));
}

MmioCore::~MmioCore() {
  try {
    if (saved_) restore();
  } catch (const std::exception&) {
    // Power went meanwhile, and the registers with it.
  }
}

std::uint32_t MmioCore::read(std::uint32_t offset) {
  check_register_offset(offset, true);
  platform_.check_power(index_);
  return window_->read32(offset);
}

void MmioCore::write(std::uint32_t offset, std::uint32_t value) {
  check_register_offset(offset, false);
  platform_.check_power(index_);
  window_->write32(offset, value);
}

void MmioCore::save() {
  saved_ =
      Saved{window_->read32(pc::INTERRUPT_MASK::offset), window_->read32(pc::BASE_ADDRESS::offset),
            window_->read32(pc::REGISTER_AMOUNTS::offset), window_->read32(pc::TASK_CON::offset),
            iommu_.state()};
}

void MmioCore::restore() {
  platform_.check_power(index_);
  window_->write32(pc::OPERATION_ENABLE::offset, 0);
  window_->write32(pc::INTERRUPT_CLEAR::offset, kClearAll);
  window_->write32(pc::REGISTER_AMOUNTS::offset, saved_->amounts);
  window_->write32(pc::TASK_CON::offset, saved_->task_con);
  window_->write32(pc::BASE_ADDRESS::offset, saved_->base);
  iommu_.restore(saved_->iommu);
  window_->write32(pc::INTERRUPT_MASK::offset, saved_->mask);
  saved_.reset();
}

// The kernel's writes for one task, in its order (B.5).
void MmioCore::start(const Task& task) {
  window_->write32(pc::BASE_ADDRESS::offset, 1);
  window_->write32(regdb::cna::S_POINTER::offset, s_pointer(index_));
  window_->write32(regdb::core::S_POINTER::offset, s_pointer(index_));
  window_->write32(pc::BASE_ADDRESS::offset, task.regcmd);
  window_->write32(pc::REGISTER_AMOUNTS::offset, (task.regcmd_count + 1) / 2 - 1);
  window_->write32(pc::INTERRUPT_MASK::offset, window_->has_interrupt() ? kDpuDone : 0);
  window_->write32(pc::INTERRUPT_CLEAR::offset, kDpuDone);
  window_->write32(pc::TASK_CON::offset, 0x7001);
  window_->write32(pc::TASK_DMA_BASE_ADDR::offset, 0);
  if (window_->has_interrupt()) window_->arm_interrupt();
  window_->write32(pc::OPERATION_ENABLE::offset, 1);
}

// True when a DPU bit is up.
bool MmioCore::wait(Clock::time_point deadline, std::uint32_t& raw) {
  const auto spin = Clock::now() + kSpin;
  for (;;) {
    raw = window_->read32(pc::INTERRUPT_RAW_STATUS::offset);
    if ((raw & kDpuDone) != 0) return true;
    const auto now = Clock::now();
    if (now >= deadline) return false;
    if (window_->has_interrupt())
      window_->wait_interrupt(deadline);
    else if (now >= spin)
      std::this_thread::sleep_for(kNap);
  }
}

MmioFault MmioCore::explain(std::uint32_t raw) {
  if (const auto fault = iommu_.fault()) {
    if (fault->bus_error)
      return {ErrorCode::device_fault,
              fmt::format("IOMMU bus error at IOVA {:#x}: its tables cannot be read", fault->iova)};
    return {ErrorCode::device_fault,
            fmt::format("IOMMU page fault: {} at IOVA {:#x}; the address lies outside every buffer",
                        fault->write ? "write" : "read", fault->iova)};
  }
  if (const auto known = window_->diagnosis()) return {known->code, known->text};
  if ((raw & kDmaErrors) != 0)
    return {ErrorCode::device_fault,
            fmt::format("DMA error interrupt (raw status {:#x}); an address of the program lies "
                        "outside memory",
                        raw)};
  if ((raw & kPpuDone) != 0)
    return {ErrorCode::timeout,
            "only the PPU interrupt came, for which the driver does not wait; submit such a task "
            "in a job of its own"};
  return {ErrorCode::timeout, fmt::format("no DPU interrupt (raw status {:#x}); the job's {} ms "
                                          "are over",
                                          raw, platform_.job_timeout().count())};
}

// What the driver does after a timeout (B.10): IOMMU off, both reset lines, afresh.
void MmioCore::retire() {
  window_->write32(pc::INTERRUPT_MASK::offset, 0);
  window_->write32(pc::OPERATION_ENABLE::offset, 0);
  iommu_.disable();
  if (platform_.reset(index_)) {
    window_->write32(pc::INTERRUPT_CLEAR::offset, kClearAll);
    return;
  }
  lost_ = fmt::format(
      "core {} hangs since an earlier job and nothing here reaches its reset lines; open /dev/mem "
      "too (they are in the CRU), or unload and load the rocket driver, or power-cycle the board",
      index_);
}

MmioJobResult MmioCore::run(std::span<const Task> tasks, std::optional<std::uint32_t> dte) {
  MmioJobResult result;
  const auto fail = [&](ErrorCode code, std::string message) {
    result.fault = MmioFault{code, std::move(message)};
    return result;
  };
  if (!lost_.empty()) return fail(ErrorCode::device_fault, lost_);
  try {
    platform_.check_power(index_);
    if (!saved_) {
      if (platform_.kernel_driver_bound(index_) && iommu_.paging())
        return fail(ErrorCode::device_fault,
                    fmt::format("the kernel's driver runs a job on core {} right now; stop every "
                                "program that uses /dev/accel",
                                index_));
      save();
    }
    if (dte)
      iommu_.enable(*dte);
    else
      iommu_.disable();
  } catch (const Error& error) {
    return fail(error.code(), error.what());
  }
  // The whole job shares one timeout, as in the driver's scheduler.
  const auto deadline = Clock::now() + platform_.job_timeout();
  platform_.job(index_, true);
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    start(tasks[t]);
    std::uint32_t raw = 0;
    const bool done = wait(deadline, raw);
    const bool last = t + 1 == tasks.size();
    // A DMA error or a page fault together with "done": the task wrote rubbish.
    if (done && (raw & kDmaErrors) == 0) {
      window_->write32(pc::INTERRUPT_MASK::offset, 0);
      window_->write32(pc::OPERATION_ENABLE::offset, 0);
      window_->write32(pc::INTERRUPT_CLEAR::offset, kClearAll);
      continue;
    }
    result.retired = true;
    MmioFault fault = explain(raw);
    // PREP_BO returns 0 after the driver's timeout and the data is right
    // [notes/pool-completion, HW].
    const bool pool = fault.code == ErrorCode::timeout && (raw & kPpuDone) != 0 &&
                      (raw & kDmaErrors) == 0 && last;
    if (!pool) {
      while (fault.message.ends_with('.')) fault.message.pop_back();
      result.fault =
          MmioFault{fault.code,
                    fmt::format("task {} of {} on core {}: {}{}", t + 1, tasks.size(), index_,
                                fault.message, last ? "" : "; the job's other tasks did not run")};
    }
    retire();
    platform_.job(index_, false);
    return result;
  }
  iommu_.disable();
  platform_.job(index_, false);
  return result;
}

}  // namespace npu::device
