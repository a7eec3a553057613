// SPDX-License-Identifier: MIT
#include "npu-sim/core_port.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "regdb/registers.hpp"
#include "regdb/tables.hpp"

namespace npu::sim {
namespace {

namespace rd = npu::regdb;

constexpr std::uint32_t kInterruptBits = 0x1FFFF;
constexpr std::uint32_t kDmaErrors = 1u << 12 | 1u << 13;
constexpr std::uint32_t kIommuWindowBytes = 0x100;  // [rk3588-base.dtsi]
// More writes than a program has registers: whatever comes then is lost, as bad input must not take
// all memory.
constexpr std::size_t kHeldWrites = 1u << 16;

bool is_start(std::uint32_t offset, std::uint32_t value) {
  return (offset == rd::pc::OPERATION_ENABLE::offset && (value & 1) != 0) ||
         offset == rd::global::OPERATION_ENABLE::offset;
}

// Offsets of all known registers, in order.
const std::vector<std::uint32_t>& offsets() {
  static const std::vector<std::uint32_t> all = [] {
    std::vector<std::uint32_t> out;
    for (const rd::RegisterInfo& info : rd::registers()) out.push_back(info.offset);
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
  }();
  return all;
}

std::optional<std::size_t> index_of(std::uint32_t offset) {
  const auto it = std::lower_bound(offsets().begin(), offsets().end(), offset);
  if (it == offsets().end() || *it != offset) return std::nullopt;
  return static_cast<std::size_t>(it - offsets().begin());
}

}  // namespace

CorePort::CorePort(Chip& chip, CorePortOptions options)
    : chip_(chip), options_(std::move(options)) {
  const unsigned core = options_.core;
  if (options_.memory) {
    iommu_ = std::make_unique<Iommu>(core == 0 ? 2 : 1, *options_.memory, options_.iommu_quirks);
    space_ = std::make_shared<DmaSpace>(
        *iommu_, *options_.memory,
        options_.mode == StartMode::threaded ? DmaSpace::OnFault::wait : DmaSpace::OnFault::fail,
        [this](const DmaSpace::Failure& failure) { page_fault_latched(failure); });
    chip_.attach(core, space_);
  }
  save_registers();
  reset_registers_ = registers_;
  idle_raw_ = chip_.read(core, rd::pc::INTERRUPT_RAW_STATUS::offset) & ~kInterruptBits;
  mask_ = reset_mask_ = chip_.read(core, rd::pc::INTERRUPT_MASK::offset);
  if (options_.mode == StartMode::threaded) worker_ = std::thread([this] { work(); });
}

CorePort::~CorePort() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    if (phase_ == Phase::started) phase_ = Phase::idle;
    if (phase_ == Phase::running) phase_ = Phase::draining;
    held_.clear();
  }
  if (space_) space_->cancel();
  changed_.notify_all();
  if (worker_.joinable()) worker_.join();
  if (space_) chip_.attach(options_.core, nullptr);
}

std::optional<unsigned> CorePort::iommu_window(std::uint32_t offset) const {
  if (!iommu_ || (offset & 0xFFF) >= kIommuWindowBytes) return std::nullopt;
  if (options_.core == 0 && offset >> 12 == 9) return 0;
  if (offset >> 12 == 10) return iommu_->windows() - 1;
  return std::nullopt;
}

std::uint32_t CorePort::read(std::uint32_t offset) {
  if (const auto window = iommu_window(offset))
    return iommu_->read(*window, offset % kIommuWindowBytes);
  const std::lock_guard lock(mutex_);
  switch (offset) {
    case rd::pc::INTERRUPT_MASK::offset: return mask_;
    case rd::pc::INTERRUPT_STATUS::offset: return raw_ & mask_;
    case rd::pc::INTERRUPT_RAW_STATUS::offset: return raw_ | idle_raw_;
    default: break;
  }
  if (phase_ == Phase::idle) return chip_.read(options_.core, offset);
  const auto index = index_of(offset);
  return index ? registers_[*index] : 0;
}

void CorePort::write(std::uint32_t offset, std::uint32_t value) {
  if (const auto window = iommu_window(offset)) {
    iommu_->write(*window, offset % kIommuWindowBytes, value);
    update_irq();
    return;
  }
  bool run_here = false;
  {
    const std::lock_guard lock(mutex_);
    switch (offset) {
      case rd::pc::INTERRUPT_MASK::offset: mask_ = value & kInterruptBits; break;
      case rd::pc::INTERRUPT_CLEAR::offset:
      case rd::pc::INTERRUPT_STATUS::offset:
      case rd::pc::INTERRUPT_RAW_STATUS::offset: raw_ &= ~value; break;
      default: break;
    }
    // The chip hears of those too: it has its own status and mask, and observers.
    if (phase_ == Phase::idle) {
      apply({offset, value});
      run_here = phase_ == Phase::started && options_.mode == StartMode::in_write;
      if (run_here) phase_ = Phase::running;
    } else if (phase_ == Phase::draining || !is_start(offset, value)) {
      if (held_.size() < kHeldWrites) held_.emplace_back(offset, value);
      if (const auto index = index_of(offset); index && !is_start(offset, value))
        registers_[*index] = value;
    }
  }
  if (run_here) execute();
  update_irq();
}

// Called with mutex_ held and no program running.
void CorePort::apply(Write write) {
  if (is_start(write.first, write.second))
    start(write);
  else
    chip_.write(options_.core, write.first, write.second);
}

void CorePort::start(Write write) {
  fault_.reset();
  if (hung_) {
    fault_ = Fault{FaultKind::hang, "PC.OPERATION_ENABLE",
                   "the core still hangs in an earlier task; it needs a reset"};
    return;
  }
  start_ = write;
  save_registers();
  phase_ = Phase::started;
  changed_.notify_all();
}

void CorePort::save_registers() {
  registers_.clear();
  for (const std::uint32_t offset : offsets())
    registers_.push_back(chip_.read(options_.core, offset));
}

bool CorePort::run() {
  {
    const std::lock_guard lock(mutex_);
    if (phase_ != Phase::started || options_.mode != StartMode::by_caller) return false;
    phase_ = Phase::running;
  }
  execute();
  return true;
}

void CorePort::work() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stop_ || phase_ == Phase::started; });
      if (stop_) return;
      phase_ = Phase::running;
    }
    execute();
  }
}

// Runs the program of start_; called in phase running or draining, without mutex_.
void CorePort::execute() {
  for (;;) {
    if (space_) space_->begin();
    {
      const std::lock_guard lock(mutex_);
      if (phase_ == Phase::draining && space_) space_->cancel();
    }
    // The chip's own interrupt status serves to see what this start raises; the one that software
    // sees is kept here, where it can change while the program runs.
    const unsigned core = options_.core;
    if ((chip_.read(core, rd::pc::INTERRUPT_RAW_STATUS::offset) & kInterruptBits) != 0)
      chip_.write(core, rd::pc::INTERRUPT_CLEAR::offset, kInterruptBits);
    chip_.write(core, start_.first, start_.second);
    std::uint32_t raised = chip_.read(core, rd::pc::INTERRUPT_RAW_STATUS::offset) & kInterruptBits;
    std::optional<Fault> fault = chip_.fault(core);
    if (space_) fault = settle_memory(std::move(fault), raised);
    const bool again = finish(raised, std::move(fault));
    update_irq();
    if (!again) return;
  }
}

// Brings the output home, and shows the IOMMU what it refused.
std::optional<Fault> CorePort::settle_memory(std::optional<Fault> fault, std::uint32_t& raised) {
  const auto failure = space_->commit();
  if (space_->cancelled()) return fault;
  std::optional<DmaSpace::Failure> why;
  const bool dma =
      fault && (fault->kind == FaultKind::dma_read || fault->kind == FaultKind::dma_write);
  if (dma) {
    why = space_->explain(fault->iova);
    // Refused by nobody: above the window, or injected.
    if (!why)
      why = DmaSpace::Failure{fault->iova,
                              fault->kind == FaultKind::dma_read ? Access::read : Access::write,
                              TranslationStatus::page_fault};
  } else if (!fault && failure) {
    why = failure;
    fault = Fault{FaultKind::dma_write, "DPU.DST_BASE_ADDR",
                  fmt::format("DMA write refused at IOVA {:#x}", failure->iova), failure->iova};
    const std::lock_guard lock(mutex_);
    hung_ = true;
    raised = 1u << 13;
  }
  if (!why) return fault;
  fault->iova = why->iova;
  switch (why->status) {
    case TranslationStatus::ok: return fault;  // no such memory: an error on the bus
    case TranslationStatus::page_fault:
      iommu_->report_page_fault(why->iova, why->access);
      fault->message =
          fmt::format("IOMMU page fault: {} at IOVA {:#x} ({})",
                      why->access == Access::read ? "read" : "write", why->iova, fault->where);
      break;
    case TranslationStatus::bus_error:
      iommu_->report_bus_error(why->iova);
      fault->message = fmt::format(
          "IOMMU bus error: the page tables of IOVA {:#x} are not in "
          "memory, or the program touches more than 1 GiB ({})",
          why->iova, fault->where);
      break;
    case TranslationStatus::waiting:
    case TranslationStatus::windows_disagree:
      fault->message = fmt::format(
          "the IOMMU lets nothing through at IOVA {:#x}: it is stalled, "
          "waits for PAGE_FAULT_DONE, or its windows disagree ({})",
          why->iova, fault->where);
      break;
  }
  // The port waits; the DMA engine never hears of an error.
  raised &= ~kDmaErrors;
  return fault;
}

// True if a start that was held back is to be run now.
bool CorePort::finish(std::uint32_t raised, std::optional<Fault> fault) {
  const std::lock_guard lock(mutex_);
  if (phase_ == Phase::draining) {
    chip_.reset(options_.core);
    hung_ = false;
  } else {
    raw_ |= raised;
    fault_ = std::move(fault);
  }
  phase_ = Phase::idle;
  const std::vector<Write> held = std::exchange(held_, {});
  for (std::size_t i = 0; i < held.size(); ++i) {
    apply(held[i]);
    if (phase_ != Phase::started) continue;
    // What came after a start waits for its end, but shows.
    for (const Write& write : std::span(held).subspan(i + 1)) {
      held_.push_back(write);
      if (const auto index = index_of(write.first); index && !is_start(write.first, write.second))
        registers_[*index] = write.second;
    }
    std::erase_if(held_, [](const Write& write) { return is_start(write.first, write.second); });
    break;
  }
  changed_.notify_all();
  if (phase_ != Phase::started || options_.mode == StartMode::by_caller) return false;
  phase_ = Phase::running;
  return true;
}

void CorePort::reset() {
  {
    const std::lock_guard lock(mutex_);
    held_.clear();
    fault_.reset();
    raw_ = 0;
    mask_ = reset_mask_;
    hung_ = false;
    if (phase_ == Phase::running || phase_ == Phase::draining) {
      phase_ = Phase::draining;
      registers_ = reset_registers_;
      if (space_) space_->cancel();
    } else {
      phase_ = Phase::idle;
      chip_.reset(options_.core);
    }
    changed_.notify_all();
  }
  update_irq();
}

void CorePort::power_on_reset() {
  reset();
  if (iommu_) iommu_->reset();
  update_irq();
}

bool CorePort::wait_idle(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, limit, [this] { return phase_ == Phase::idle; });
}

std::optional<Fault> CorePort::fault() const {
  const std::lock_guard lock(mutex_);
  return fault_;
}

// Called by the thread of an access that begins to wait.
void CorePort::page_fault_latched(const DmaSpace::Failure& failure) {
  const bool read = failure.access == Access::read;
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::running)
      fault_ = Fault{read ? FaultKind::dma_read : FaultKind::dma_write, "IOMMU.PAGE_FAULT_ADDR",
                     fmt::format("IOMMU page fault: {} at IOVA {:#x}; the access waits",
                                 read ? "read" : "write", failure.iova),
                     failure.iova};
  }
  update_irq();
}

// Called with mutex_ held.
bool CorePort::level() const { return (raw_ & mask_) != 0 || (iommu_ && iommu_->irq()); }

bool CorePort::irq() const {
  const std::lock_guard lock(mutex_);
  return level();
}

void CorePort::update_irq() {
  std::unique_lock lock(mutex_);
  // Whoever is telling now will see the newest level before it ends.
  if (telling_) return;
  telling_ = true;
  while (!stop_ && options_.irq && level() != told_level_) {
    told_level_ = !told_level_;
    const bool now = told_level_;
    lock.unlock();
    options_.irq(now);
    lock.lock();
  }
  telling_ = false;
}

}  // namespace npu::sim
