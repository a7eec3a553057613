// SPDX-License-Identifier: MIT
// What stands behind "mmio:" in a device spec.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace npu::device {

enum class MmioIommu {
  own,     ///< a page table of ours: buffers at IOVAs from 0, as with rocket
  bypass,  ///< paging off: programs hold physical addresses below 4 GiB
};

struct MmioSpec {
  std::vector<unsigned> cores{0};
  bool sim = false;    ///< the simulator's register window in place of a board
  bool force = false;  ///< although a kernel driver is bound to the core
  MmioIommu iommu = MmioIommu::own;
  std::string uio;                ///< "/dev/uioN"; empty: /dev/mem
  std::string heap;               ///< name below /dev/dma_heap
  std::uint64_t mem_address = 0;  ///< reserved region
  std::uint64_t mem_bytes = 0;    ///< 0: none. Without heap and region: huge pages
};

inline constexpr std::string_view kMmioSpecs =
    "\"mmio[:ITEM,...]\" with the items 0, 1, 2 (cores; one or several, 0 if none is named), sim, "
    "force, iommu=own|bypass, uio=/dev/uioN, mem=ADDRESS+SIZE, heap=NAME";

/// Parses what follows "mmio:" ("" for a bare "mmio"). Throws invalid_argument with the item that
/// is wrong.
MmioSpec parse_mmio_spec(std::string_view items);

/// The spec's one spelling, "mmio:0,sim,iommu=bypass"; parsing it gives the same again.
std::string to_string(const MmioSpec& spec);

}  // namespace npu::device
