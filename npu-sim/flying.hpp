// SPDX-License-Identifier: MIT
// DPU and DPU_RDMA alone (enable word 0x18): element-wise operations and table look-ups on data
// that come from memory instead of the MAC array.
#pragma once

#include <cstdint>

#include "npu-sim/address_space.hpp"
#include "npu-sim/flying_config.hpp"
#include "npu-sim/pool_feed.hpp"
#include "npu-sim/task_record.hpp"
#include "npu-sim/thread_pool.hpp"

namespace npu::sim {

/// What a checked program reads, computes and writes; `core` and `blocks` are left for the core to
/// fill in.
TaskRecord record_of(const FlyingConfig& config, const Quirks& quirks);

/// `feed`: there is a PPU behind; `space` has to be a PortSpace then.
/// Returns the work in elements, weighted. Throws TaskFault; in that case nothing has been written.
std::uint64_t run_flying(const FlyingRegisters& registers, const Lut& lut,
                         const AddressSpace& space, std::uint32_t dma_base, std::uint64_t budget,
                         const Quirks& quirks, ThreadPool& pool, const TaskHook* hook = nullptr,
                         PoolFeed* feed = nullptr);

}  // namespace npu::sim
