// SPDX-License-Identifier: MIT
// The Rockchip IOMMU v2 in front of a core: register windows, page-table walk, faults.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

namespace npu::sim {

enum class Access { read, write };

/// Physical memory as the bus master sees it. True if every byte was there.
struct PhysicalMemory {
  std::function<bool(std::uint64_t address, void* out, std::size_t bytes)> read;
  std::function<bool(std::uint64_t address, const void* in, std::size_t bytes)> write;
};

/// A 40-bit address as DTE_ADDR and table words hold it: bits 31:12 in place, 35:32 in 11:8, 39:36
/// in 7:4; the flags in 3:0 are left out [rockchip-iommu.c].
constexpr std::uint64_t unfold_address(std::uint32_t word) {
  return (word & 0xFFFFF000u) | std::uint64_t{word >> 8 & 0xFu} << 32 |
         std::uint64_t{word >> 4 & 0xFu} << 36;
}
constexpr std::uint32_t fold_address(std::uint64_t address) {
  return static_cast<std::uint32_t>((address & 0xFFFFF000u) | (address >> 32 & 0xFu) << 8 |
                                    (address >> 36 & 0xFu) << 4);
}

/// Where sources disagree about the unit; the defaults are the reading that stock Linux relies on.
struct IommuQuirks {
  /// The directory is fetched below 4 GiB whatever the upper address bits of DTE_ADDR say [wid,
  /// seen in an emulator only].
  bool dte_32bit = false;
  /// "Enable stall" is not acknowledged while a page fault is active [notes, RK3576 boards].
  bool fault_blocks_stall = false;
};

enum class TranslationStatus {
  ok,
  page_fault,        ///< no valid entry, or its permission bit is not set
  bus_error,         ///< a table word could not be fetched
  waiting,           ///< the port is stalled, or a page fault waits for PAGE_FAULT_DONE
  windows_disagree,  ///< paging or directory differ between the windows of the node
};

struct Translation {
  TranslationStatus status = TranslationStatus::page_fault;
  std::uint64_t physical = 0;  ///< with status ok
  bool paged = false;          ///< paging was on; not known with status waiting or windows_disagree
};

/// The MMU node of one core: core 0 has two register windows, the others have one. The driver
/// writes every command to each window and expects all of them to agree; accesses go through the
/// last one and are refused while the windows disagree [rockchip-iommu.c; inferred].
///
/// Thread safety: every member may be called from any thread. No lock is held while `memory` is
/// called.
class Iommu {
 public:
  static constexpr std::uint32_t kPageSize = 4096;
  static constexpr std::uint32_t kPageFaultInterrupt = 1, kBusErrorInterrupt = 2;

  Iommu(unsigned windows, PhysicalMemory memory, IommuQuirks quirks = {});

  unsigned windows() const { return static_cast<unsigned>(windows_.size()); }

  /// 32-bit access to a register window (offset 0 to 0x24; anything else reads 0).
  std::uint32_t read(unsigned window, std::uint32_t offset) const;
  void write(unsigned window, std::uint32_t offset, std::uint32_t value);

  /// Level of the interrupt line: INT_RAWSTAT & INT_MASK of any window.
  bool irq() const;

  /// Looks an address up and leaves the fault registers alone.
  Translation probe(std::uint64_t iova, Access access);
  /// The same, and latches a page fault or bus error as the port does.
  Translation translate(std::uint64_t iova, Access access);

  void report_page_fault(std::uint64_t iova, Access access);
  void report_bus_error(std::uint64_t iova);
  bool paging() const;  ///< of the window that accesses go through

  /// Number of register writes so far.
  std::uint64_t writes() const;
  /// Returns when there were more register writes than `seen`, or when the time is over.
  void wait_for_write(std::uint64_t seen, std::chrono::milliseconds limit);

  /// Power-on state of all windows.
  void reset();

 private:
  struct TlbEntry {
    std::uint32_t page = 0;
    std::uint32_t word = 0;  // page word; 0 (not valid) marks a free entry
  };
  struct Window {
    std::uint32_t dte_addr = 0;
    bool paging = false, stalled = false, fault = false, fault_was_write = false;
    std::uint32_t fault_addr = 0, raw = 0, mask = 0, auto_gating = 0;
    std::uint64_t zaps = 0;  // an entry fetched before a zap must not be cached after it
    std::array<TlbEntry, 64> tlb{};
  };

  void command(Window& window, std::uint32_t value);
  void zap(Window& window);
  Translation walk(std::uint64_t iova, Access access);

  PhysicalMemory memory_;
  IommuQuirks quirks_;
  mutable std::mutex mutex_;
  std::condition_variable written_;
  std::uint64_t writes_ = 0;
  std::vector<Window> windows_;
};

}  // namespace npu::sim
