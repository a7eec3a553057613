// SPDX-License-Identifier: MIT
// Memory for the NPU on a board without a driver that hands it out.
#pragma once

#include <memory>
#include <string>

#include "npu-device/mmio_devmem.hpp"
#include "npu-device/mmio_platform.hpp"

namespace npu::device {

/// A region that Linux does not use, through /dev/mem: mapped as device memory, which takes aligned
/// words only, so the CPU works on a copy.
std::unique_ptr<DmaAllocator> reserved_memory(const DevMem& memory, std::uint64_t address,
                                              std::uint64_t bytes);

/// Huge pages of this process: pinned, 2 MiB in a piece, cached; physical addresses come from
/// ROOT/proc/self/pagemap.
std::unique_ptr<DmaAllocator> huge_page_memory(const std::string& root);

/// Buffers of ROOT/dev/dma_heap/NAME, a heap whose mappings show their physical addresses.
std::unique_ptr<DmaAllocator> dma_heap_memory(const std::string& root, const std::string& name);

}  // namespace npu::device
