// SPDX-License-Identifier: MIT
// What a pool asks for, read from the registers of PPU and PPU_RDMA.
#pragma once

#include <cstdint>
#include <vector>

#include "npu-sim/pool_feed.hpp"
#include "npu-sim/quirks.hpp"
#include "npu-sim/register_file.hpp"
#include "npu-sim/task_record.hpp"

namespace npu::sim {

struct PoolRegisters {
  const RegisterFile& ppu_file;
  const RegisterFile& rdma_file;
  unsigned ppu_group, rdma_group;
  std::uint32_t ppu(std::uint32_t offset) const { return ppu_file.get(ppu_group, offset); }
  std::uint32_t rdma(std::uint32_t offset) const { return rdma_file.get(rdma_group, offset); }
};

/// Codes of OPERATION_MODE_CFG.POOLING_METHOD.
inline constexpr std::uint32_t kPoolAverage = 0, kPoolMax = 1, kPoolMin = 2;

struct PoolConfig {
  std::uint32_t in_width, in_height, out_width, out_height, channels;
  std::uint32_t kernel_width, kernel_height, stride_x, stride_y, pad_left, pad_top;
  std::uint32_t method;
  std::uint32_t type;  // a precision code
  std::uint32_t recip_width, recip_height;
  std::uint32_t pad_value;
  std::vector<std::uint64_t> surfaces;  // of the input
  std::uint64_t src_line, dst, dst_plane, dst_line;
  bool fed;     // by the DPU
  bool silent;  // ends and writes nothing
  bool index;   // the position of each extremum is written too
  std::uint64_t dst_index;
  std::uint32_t element_bytes() const { return type == 0 ? 1 : type >= 4 ? 4 : 2; }
  std::uint32_t planes() const {
    const std::uint32_t lanes = 16 / element_bytes();
    return (channels + lanes - 1) / lanes;
  }
};

/// Reads and checks the registers. Throws TaskFault for what the model does not implement, for
/// contradictions, and for pools that never end. `feed`: what the DPU hands on, or null.
PoolConfig read_pool_config(const PoolRegisters& registers, std::uint32_t dma_base,
                            const Quirks& quirks, const PoolFeed* feed = nullptr);

/// `core` and `blocks` are left for the core to fill in.
TaskRecord record_of(const PoolConfig& config);

}  // namespace npu::sim
