// SPDX-License-Identifier: MIT
#include "npu-device/mmio_iommu.hpp"

#include <fmt/format.h>

#include <cstring>
#include <thread>

#include "npu-sim/iommu.hpp"

namespace npu::device {
namespace {

using namespace std::chrono_literals;
using sim::fold_address;

constexpr std::uint32_t kPage = DmaMemory::kPage;
constexpr std::uint32_t kValid = 1, kReadable = 2, kWritable = 4;

constexpr std::uint32_t kStatusPaging = 1u << 0, kStatusFault = 1u << 1, kStatusStall = 1u << 2,
                        kStatusFaultIsWrite = 1u << 5;
constexpr std::uint32_t kEnablePaging = 0, kDisablePaging = 1, kEnableStall = 2, kDisableStall = 3,
                        kZapCache = 4, kPageFaultDone = 5, kForceReset = 6;
constexpr std::uint32_t kPageFault = 1, kBusError = 2;

// 0xCAFEBABE as the driver's address test writes it: without its low bits.
constexpr std::uint32_t kResetPattern = 0xCAFEB000;

constexpr auto kPollStep = 100us;
constexpr int kPolls = 10, kResetPolls = 1000;  // 1 ms and 100 ms, as the driver waits

}  // namespace

std::vector<std::uint32_t> iommu_windows(unsigned core) {
  return core == 0 ? std::vector<std::uint32_t>{0x9000, 0xA000}
                   : std::vector<std::uint32_t>{0xA000};
}

PageTable::PageTable(DmaAllocator& memory)
    : memory_(memory), directory_(memory.allocate(kPage, false)) {}

std::uint32_t PageTable::dte() const { return fold_address(directory_->pages()[0]) | kValid; }

void PageTable::set(DmaMemory& table, std::size_t index, std::uint32_t word) {
  std::memcpy(table.host().data() + index * 4, &word, 4);
  table.to_device(index * 4, 4);
}

void PageTable::map(std::uint32_t iova, const std::vector<std::uint64_t>& pages) {
  for (std::size_t i = 0; i < pages.size(); ++i) {
    const std::uint32_t page = iova / kPage + static_cast<std::uint32_t>(i);
    auto& table = tables_[page >> 10];
    if (!table) {
      table = memory_.allocate(kPage, false);
      set(*directory_, page >> 10, fold_address(table->pages()[0]) | kValid);
    }
    set(*table, page & 0x3FF, fold_address(pages[i]) | kValid | kReadable | kWritable);
  }
}

void PageTable::unmap(std::uint32_t iova, std::size_t pages) {
  for (std::size_t i = 0; i < pages; ++i) {
    const std::uint32_t page = iova / kPage + static_cast<std::uint32_t>(i);
    if (auto& table = tables_[page >> 10]) set(*table, page & 0x3FF, 0);
  }
}

IommuPort::IommuPort(RegisterWindow& window, unsigned core)
    : window_(window), bases_(iommu_windows(core)) {}

void IommuPort::command(std::uint32_t value) {
  for (const std::uint32_t base : bases_) window_.write32(base + mmu::kCommand, value);
}

// All windows have to agree.
bool IommuPort::wait(std::uint32_t mask, std::uint32_t value) {
  for (int i = 0;; ++i) {
    bool all = true;
    for (const std::uint32_t base : bases_)
      all = all && (window_.read32(base + mmu::kStatus) & mask) == value;
    if (all || i == kPolls) return all;
    std::this_thread::sleep_for(kPollStep);
  }
}

bool IommuPort::paging() {
  for (const std::uint32_t base : bases_)
    if ((window_.read32(base + mmu::kStatus) & kStatusPaging) != 0) return true;
  return false;
}

IommuPort::State IommuPort::state() {
  State state;
  for (const std::uint32_t base : bases_)
    state.windows.push_back({window_.read32(base + mmu::kDteAddr),
                             window_.read32(base + mmu::kIntMask),
                             (window_.read32(base + mmu::kStatus) & kStatusPaging) != 0});
  return state;
}

bool IommuPort::stall() {
  if (!paging()) return true;  // nothing to stall; the unit would not acknowledge
  command(kEnableStall);
  return wait(kStatusStall, kStatusStall);
}

void IommuPort::reset() {
  for (const std::uint32_t base : bases_) {
    window_.write32(base + mmu::kDteAddr, kResetPattern);
    const std::uint32_t got = window_.read32(base + mmu::kDteAddr);
    if (got != kResetPattern)
      throw Error(ErrorCode::device_fault,
                  fmt::format("The IOMMU at {:#06x} of the core does not keep its DTE_ADDR (wrote "
                              "{:#x}, read {:#x}); check clocks and power with `npu-probe audit`.",
                              base, kResetPattern, got));
  }
  command(kForceReset);
  for (const std::uint32_t base : bases_) {
    for (int i = 0; window_.read32(base + mmu::kDteAddr) != 0; ++i) {
      if (i == kResetPolls)
        throw Error(ErrorCode::device_fault,
                    fmt::format("The IOMMU at {:#06x} of the core does not end its reset.", base));
      std::this_thread::sleep_for(kPollStep);
    }
  }
}

void IommuPort::enable(std::uint32_t dte) {
  // A window that does not stall is reset all the same: the driver gives up here, but it can rely
  // on a next attach.
  stall();
  reset();
  for (const std::uint32_t base : bases_) {
    window_.write32(base + mmu::kDteAddr, dte);
    window_.write32(base + mmu::kCommand, kZapCache);
    // The driver writes 3. Nobody answers the interrupt here, and it is shared.
    window_.write32(base + mmu::kIntMask, 0);
  }
  command(kEnablePaging);
  if (!wait(kStatusPaging, kStatusPaging))
    throw Error(ErrorCode::device_fault,
                "The IOMMU does not turn paging on; try iommu=bypass in the device spec.");
  command(kDisableStall);
  wait(kStatusStall, 0);
}

bool IommuPort::disable() {
  if (!paging()) return true;
  bool ok = stall();
  command(kDisablePaging);
  ok = wait(kStatusPaging, 0) && ok;
  for (const std::uint32_t base : bases_) {
    window_.write32(base + mmu::kIntMask, 0);
    window_.write32(base + mmu::kDteAddr, 0);
  }
  command(kDisableStall);
  return wait(kStatusStall, 0) && ok;
}

void IommuPort::restore(const State& state) {
  disable();
  bool paging = false;
  for (std::size_t i = 0; i < bases_.size(); ++i) {
    const State::Window& before = state.windows[i];
    window_.write32(bases_[i] + mmu::kDteAddr, before.dte);
    window_.write32(bases_[i] + mmu::kCommand, kZapCache);
    window_.write32(bases_[i] + mmu::kIntClear, kPageFault | kBusError);
    window_.write32(bases_[i] + mmu::kIntMask, before.mask);
    paging = paging || before.paging;
  }
  if (paging) command(kEnablePaging);
}

std::optional<IommuPort::Fault> IommuPort::fault() {
  for (const std::uint32_t base : bases_) {
    const std::uint32_t raw = window_.read32(base + mmu::kIntRawStat);
    const std::uint32_t status = window_.read32(base + mmu::kStatus);
    if ((raw & (kPageFault | kBusError)) == 0 && (status & kStatusFault) == 0) continue;
    const Fault fault{window_.read32(base + mmu::kPageFaultAddr),
                      (status & kStatusFaultIsWrite) != 0, (raw & kBusError) != 0};
    window_.write32(base + mmu::kCommand, kPageFaultDone);
    window_.write32(base + mmu::kIntClear, kPageFault | kBusError);
    return fault;
  }
  return std::nullopt;
}

}  // namespace npu::device
