// SPDX-License-Identifier: MIT
// PPU and PPU_RDMA: stand-alone pooling (enable word 0x60).
#pragma once

#include <cstdint>

#include "npu-sim/address_space.hpp"
#include "npu-sim/pool_config.hpp"
#include "npu-sim/quirks.hpp"
#include "npu-sim/task_record.hpp"
#include "npu-sim/thread_pool.hpp"

namespace npu::sim {

/// Reads and checks the registers without running anything: what the pool would read, compute and
/// write. Of `feed` the surfaces may be missing. Throws TaskFault.
TaskRecord pooling_record(const PoolRegisters& registers, std::uint32_t dma_base,
                          const Quirks& quirks, const PoolFeed* feed = nullptr);

/// Max, min and average pooling, of what `feed` says or else of what PPU_RDMA reads; returns the
/// work in window elements. Throws TaskFault; in that case nothing has been written.
std::uint64_t run_pooling(const PoolRegisters& registers, const AddressSpace& space,
                          std::uint32_t dma_base, std::uint64_t budget, const Quirks& quirks,
                          ThreadPool& pool, const TaskHook* hook = nullptr,
                          const PoolFeed* feed = nullptr);

}  // namespace npu::sim
