// SPDX-License-Identifier: MIT
// Sparse physical memory with page tables in it, for tests of the IOMMU.
#pragma once

#include <array>
#include <cstring>
#include <map>

#include "npu-sim/iommu.hpp"

namespace npu::sim::test {

constexpr std::uint32_t kRead = 2, kWrite = 4;

/// Pages of RAM anywhere in 40 bits; every other address is a bus error.
class Ram {
 public:
  std::byte* page(std::uint64_t address) { return pages_[address / 4096].data(); }  // adds it

  bool read(std::uint64_t address, void* out, std::size_t bytes) {
    ++reads;
    const auto it = pages_.find(address / 4096);
    if (it == pages_.end() || address % 4096 + bytes > 4096) return false;
    std::memcpy(out, it->second.data() + address % 4096, bytes);
    return true;
  }
  bool write(std::uint64_t address, const void* in, std::size_t bytes) {
    const auto it = pages_.find(address / 4096);
    if (it == pages_.end() || address % 4096 + bytes > 4096) return false;
    std::memcpy(it->second.data() + address % 4096, in, bytes);
    ++writes;
    written_bytes += bytes;
    return true;
  }
  std::uint32_t word(std::uint64_t address) {
    std::uint32_t value = 0;
    std::memcpy(&value, page(address) + address % 4096, 4);
    return value;
  }
  void set_word(std::uint64_t address, std::uint32_t value) {
    std::memcpy(page(address) + address % 4096, &value, 4);
  }
  PhysicalMemory callbacks() {
    return {[this](std::uint64_t a, void* out, std::size_t n) { return read(a, out, n); },
            [this](std::uint64_t a, const void* in, std::size_t n) { return write(a, in, n); }};
  }

  unsigned reads = 0, writes = 0;
  std::size_t written_bytes = 0;

 private:
  std::map<std::uint64_t, std::array<std::byte, 4096>> pages_;
};

/// Tables as the driver writes them: `directory`, and page tables from `tables` upwards.
class PageTables {
 public:
  PageTables(Ram& ram, std::uint64_t directory, std::uint64_t tables)
      : ram_(ram), directory_(directory), next_(tables) {
    ram.page(directory);
  }
  void map(std::uint32_t iova, std::uint64_t physical, std::uint32_t flags = kRead | kWrite) {
    const std::uint64_t slot = directory_ + 4 * (iova >> 22);
    if (ram_.word(slot) == 0) {
      ram_.page(next_);
      ram_.set_word(slot, fold_address(next_) | 1);
      next_ += 4096;
    }
    ram_.set_word(entry(iova), fold_address(physical) | flags | 1);
  }
  void unmap(std::uint32_t iova) { ram_.set_word(entry(iova), 0); }
  std::uint64_t entry(std::uint32_t iova) {
    return unfold_address(ram_.word(directory_ + 4 * (iova >> 22))) + 4 * (iova >> 12 & 0x3FF);
  }

 private:
  Ram& ram_;
  std::uint64_t directory_, next_;
};

/// The driver's rk_iommu_enable(), step by step; false where it would give up [rockchip-iommu.c].
inline bool driver_enable(Iommu& mmu, std::uint64_t directory) {
  const auto all = [&](std::uint32_t bit) {
    bool set = true;
    for (unsigned w = 0; w < mmu.windows(); ++w) set = set && (mmu.read(w, 0x04) & bit) != 0;
    return set;
  };
  const auto command = [&](std::uint32_t value) {
    for (unsigned w = 0; w < mmu.windows(); ++w) mmu.write(w, 0x08, value);
  };
  if (all(1) && !all(4)) {  // stall: only with paging on and not yet stalled
    command(2);
    if (!all(4)) return false;
  }
  for (unsigned w = 0; w < mmu.windows(); ++w) {
    mmu.write(w, 0x00, 0xCAFEB000);
    if (mmu.read(w, 0x00) != 0xCAFEB000) return false;
  }
  command(6);
  for (unsigned w = 0; w < mmu.windows(); ++w)
    if (mmu.read(w, 0x00) != 0) return false;
  for (unsigned w = 0; w < mmu.windows(); ++w) {
    mmu.write(w, 0x00, fold_address(directory) | 1);
    mmu.write(w, 0x08, 4);
    mmu.write(w, 0x1C, 3);
  }
  command(0);
  if (!all(1)) return false;
  command(3);
  return !all(4);
}

inline bool driver_disable(Iommu& mmu) {
  const auto each = [&](std::uint32_t offset, std::uint32_t value) {
    for (unsigned w = 0; w < mmu.windows(); ++w) mmu.write(w, offset, value);
  };
  each(0x08, 2);
  for (unsigned w = 0; w < mmu.windows(); ++w)
    if ((mmu.read(w, 0x04) & 4) == 0) return false;
  each(0x08, 1);
  each(0x1C, 0);
  each(0x00, 0);
  each(0x08, 3);
  for (unsigned w = 0; w < mmu.windows(); ++w)
    if ((mmu.read(w, 0x04) & 5) != 0) return false;
  return true;
}

}  // namespace npu::sim::test
