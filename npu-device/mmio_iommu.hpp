// SPDX-License-Identifier: MIT
// The Rockchip IOMMU in front of a core, driven as rockchip-iommu.c does: command sequences over
// its register windows and a two-level page table [control-and-uapi.md D].
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "npu-device/mmio_platform.hpp"

namespace npu::device {

/// Offsets inside one IOMMU register window.
namespace mmu {
inline constexpr std::uint32_t kDteAddr = 0x00, kStatus = 0x04, kCommand = 0x08,
                               kPageFaultAddr = 0x0C, kZapOneLine = 0x10, kIntRawStat = 0x14,
                               kIntClear = 0x18, kIntMask = 0x1C, kIntStatus = 0x20,
                               kAutoGating = 0x24;
}

/// Bases of the windows inside the core's: core 0 has two [rk3588-base.dtsi].
std::vector<std::uint32_t> iommu_windows(unsigned core);

/// A file's page table. 4 KiB pages, read and write, up to 40-bit physical addresses.
class PageTable {
 public:
  explicit PageTable(DmaAllocator& memory);

  /// Maps whole pages from `iova` (page aligned) on. Throws out_of_memory.
  void map(std::uint32_t iova, const std::vector<std::uint64_t>& pages);
  void unmap(std::uint32_t iova, std::size_t pages);

  /// What DTE_ADDR gets: the directory's address, folded.
  std::uint32_t dte() const;

 private:
  void set(DmaMemory& table, std::size_t index, std::uint32_t word);

  DmaAllocator& memory_;
  std::unique_ptr<DmaMemory> directory_;
  std::array<std::unique_ptr<DmaMemory>, 1024> tables_;
};

/// The commands, sent to every window of a core.
class IommuPort {
 public:
  IommuPort(RegisterWindow& window, unsigned core);

  /// What was found, to be put back: DTE_ADDR, INT_MASK and paging of each window.
  struct State {
    struct Window {
      std::uint32_t dte = 0, mask = 0;
      bool paging = false;
    };
    std::vector<Window> windows;
  };
  State state();
  bool paging();

  /// Reset, directory, interrupts, paging on (rk_iommu_enable). Throws device_fault if the unit
  /// does not answer.
  void enable(std::uint32_t dte);
  /// Paging off (rk_iommu_disable). False if the unit did not acknowledge.
  bool disable();
  void restore(const State& state);

  struct Fault {
    std::uint32_t iova = 0;
    bool write = false, bus_error = false;
  };
  /// What the windows' interrupt status says of the last job.
  std::optional<Fault> fault();

 private:
  void command(std::uint32_t value);
  bool wait(std::uint32_t mask, std::uint32_t value);
  bool stall();
  void reset();

  RegisterWindow& window_;
  std::vector<std::uint32_t> bases_;
};

}  // namespace npu::device
