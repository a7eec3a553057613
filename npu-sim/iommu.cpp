// SPDX-License-Identifier: MIT
// Registers, commands and tables: facts from rockchip-iommu.c of Linux 6.18.
#include "npu-sim/iommu.hpp"

#include <bit>
#include <string>

#include "regdb/error.hpp"

namespace npu::sim {
namespace {

static_assert(std::endian::native == std::endian::little, "table words are little endian");

enum Register : std::uint32_t {
  kDteAddr = 0x00,
  kStatus = 0x04,
  kCommand = 0x08,
  kPageFaultAddr = 0x0C,
  kZapOneLine = 0x10,
  kIntRawStat = 0x14,
  kIntClear = 0x18,
  kIntMask = 0x1C,
  kIntStatus = 0x20,
  kAutoGating = 0x24,
};

enum Command : std::uint32_t {
  kEnablePaging = 0,
  kDisablePaging = 1,
  kEnableStall = 2,
  kDisableStall = 3,
  kZapCache = 4,
  kPageFaultDone = 5,
  kForceReset = 6,
};

constexpr std::uint32_t kStatusPaging = 1u << 0, kStatusFault = 1u << 1, kStatusStall = 1u << 2,
                        kStatusIdle = 1u << 3, kStatusReplayEmpty = 1u << 4,
                        kStatusFaultIsWrite = 1u << 5, kStatusStallNotActive = 1u << 31;

// The driver tests the register with a folded pattern and reads it back whole; the flags of a table
// word have no storage here.
constexpr std::uint32_t kDteAddrBits = 0xFFFFFFF0;

constexpr std::uint32_t kValid = 1, kReadable = 2, kWritable = 4;

constexpr std::uint64_t kIovaLimit = std::uint64_t{1} << 32;

}  // namespace

Iommu::Iommu(unsigned windows, PhysicalMemory memory, IommuQuirks quirks)
    : memory_(std::move(memory)), quirks_(quirks), windows_(windows) {
  if (windows == 0 || !memory_.read)
    throw Error(ErrorCode::invalid_argument,
                "an IOMMU needs at least one register window and memory to read its tables from");
}

std::uint32_t Iommu::read(unsigned window, std::uint32_t offset) const {
  const std::lock_guard lock(mutex_);
  const Window& w = windows_.at(window);
  switch (offset) {
    case kDteAddr: return w.dte_addr;
    case kStatus:
      return kStatusIdle | kStatusReplayEmpty | (w.paging ? kStatusPaging : 0) |
             (w.fault ? kStatusFault : 0) | (w.stalled ? kStatusStall : kStatusStallNotActive) |
             (w.fault_was_write ? kStatusFaultIsWrite : 0);
    case kPageFaultAddr: return w.fault_addr;
    case kIntRawStat: return w.raw;
    case kIntMask: return w.mask;
    case kIntStatus: return w.raw & w.mask;
    case kAutoGating: return w.auto_gating;
    default: return 0;
  }
}

void Iommu::write(unsigned window, std::uint32_t offset, std::uint32_t value) {
  {
    const std::lock_guard lock(mutex_);
    Window& w = windows_.at(window);
    switch (offset) {
      case kDteAddr: w.dte_addr = value & kDteAddrBits; break;
      case kCommand: command(w, value); break;
      case kZapOneLine: {
        TlbEntry& entry = w.tlb[value / kPageSize % w.tlb.size()];
        if (entry.page == value / kPageSize) entry = {};
        ++w.zaps;
        break;
      }
      case kIntClear: w.raw &= ~value; break;
      case kIntMask: w.mask = value & (kPageFaultInterrupt | kBusErrorInterrupt); break;
      case kAutoGating: w.auto_gating = value; break;
      default: break;
    }
    ++writes_;
  }
  written_.notify_all();
}

void Iommu::command(Window& w, std::uint32_t value) {
  switch (value) {
    case kEnablePaging: w.paging = true; break;
    case kDisablePaging: w.paging = false; break;
    case kEnableStall:
      // Without paging there is nothing to stall; the driver does not ask for it then.
      if (w.paging && !(quirks_.fault_blocks_stall && w.fault)) w.stalled = true;
      break;
    case kDisableStall: w.stalled = false; break;
    case kZapCache: zap(w); break;
    case kPageFaultDone: w.fault = w.fault_was_write = false; break;
    case kForceReset: {
      const std::uint64_t zaps = w.zaps;
      w = {};  // at once: the driver sleeps up to 100 ms between two looks at DTE_ADDR
      w.zaps = zaps + 1;
      break;
    }
    default: break;
  }
}

void Iommu::zap(Window& w) {
  w.tlb = {};
  ++w.zaps;
}

bool Iommu::irq() const {
  const std::lock_guard lock(mutex_);
  for (const Window& w : windows_)
    if ((w.raw & w.mask) != 0) return true;
  return false;
}

bool Iommu::paging() const {
  const std::lock_guard lock(mutex_);
  return windows_.back().paging;
}

std::uint64_t Iommu::writes() const {
  const std::lock_guard lock(mutex_);
  return writes_;
}

void Iommu::wait_for_write(std::uint64_t seen, std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  written_.wait_for(lock, limit, [&] { return writes_ != seen; });
}

void Iommu::reset() {
  {
    const std::lock_guard lock(mutex_);
    for (Window& w : windows_) {
      const std::uint64_t zaps = w.zaps;
      w = {};
      w.zaps = zaps + 1;
    }
    ++writes_;
  }
  written_.notify_all();
}

void Iommu::report_page_fault(std::uint64_t iova, Access access) {
  const std::lock_guard lock(mutex_);
  Window& w = windows_.back();
  w.fault = true;
  w.fault_was_write = access == Access::write;
  w.fault_addr = static_cast<std::uint32_t>(iova);
  w.raw |= kPageFaultInterrupt;
}

void Iommu::report_bus_error(std::uint64_t iova) {
  const std::lock_guard lock(mutex_);
  Window& w = windows_.back();
  w.fault_addr = static_cast<std::uint32_t>(iova);
  w.raw |= kBusErrorInterrupt;
}

Translation Iommu::translate(std::uint64_t iova, Access access) {
  const Translation result = walk(iova, access);
  if (result.status == TranslationStatus::page_fault) report_page_fault(iova, access);
  if (result.status == TranslationStatus::bus_error) report_bus_error(iova);
  return result;
}

Translation Iommu::probe(std::uint64_t iova, Access access) { return walk(iova, access); }

Translation Iommu::walk(std::uint64_t iova, Access access) {
  if (iova >= kIovaLimit) return {TranslationStatus::page_fault, 0, true};
  const auto address = static_cast<std::uint32_t>(iova);
  const std::uint32_t page = address / kPageSize;
  const auto finish = [&](std::uint32_t word) {
    if ((word & kValid) == 0 || (word & (access == Access::write ? kWritable : kReadable)) == 0)
      return Translation{TranslationStatus::page_fault, 0, true};
    return Translation{TranslationStatus::ok, unfold_address(word) | address % kPageSize, true};
  };

  std::uint64_t directory = 0, zaps = 0;
  {
    const std::lock_guard lock(mutex_);
    const Window& w = windows_.back();
    for (const Window& other : windows_) {
      if (other.paging != w.paging || (w.paging && other.dte_addr != w.dte_addr))
        return {TranslationStatus::windows_disagree};
      if (other.stalled || other.fault) return {TranslationStatus::waiting};
    }
    // Paging off: the port passes addresses as they are [inferred: the driver's identity domain].
    if (!w.paging) return {TranslationStatus::ok, address, false};
    const TlbEntry& entry = w.tlb[page % w.tlb.size()];
    if (entry.page == page && (entry.word & kValid) != 0) return finish(entry.word);
    directory = unfold_address(w.dte_addr);
    if (quirks_.dte_32bit) directory &= 0xFFFFFFFF;
    zaps = w.zaps;
  }

  std::uint32_t directory_word = 0, page_word = 0;
  if (!memory_.read(directory + 4 * (address >> 22), &directory_word, 4))
    return {TranslationStatus::bus_error, 0, true};
  if ((directory_word & kValid) == 0) return {TranslationStatus::page_fault, 0, true};
  if (!memory_.read(unfold_address(directory_word) + 4 * (address >> 12 & 0x3FF), &page_word, 4))
    return {TranslationStatus::bus_error, 0, true};
  if ((page_word & kValid) != 0) {
    const std::lock_guard lock(mutex_);
    Window& w = windows_.back();
    if (w.zaps == zaps) w.tlb[page % w.tlb.size()] = {page, page_word};
  }
  return finish(page_word);
}

}  // namespace npu::sim
