// SPDX-License-Identifier: MIT
// DPU and DPU_RDMA alone (enable word 0x18): element-wise operations and table look-ups on data
// that come from memory instead of the MAC array.
#pragma once

#include <array>
#include <cstdint>

#include "npu-sim/address_space.hpp"
#include "npu-sim/register_file.hpp"
#include "npu-sim/task_record.hpp"
#include "npu-sim/thread_pool.hpp"

namespace npu::sim {

/// The two look-up tables, 513 entries each: 0 LE (negative half), 1 LO. Filled through the
/// access port: LUT_ACCESS_CFG chooses table and entry, each LUT_ACCESS_DATA write moves on by one.
class Lut {
 public:
  static constexpr std::size_t kEntries = 513;
  void access_config(std::uint32_t value) { config_ = value; }
  void access_data(std::uint32_t value) {
    const std::uint32_t entry = config_ & 0x3FF;
    if ((config_ >> 17 & 1) != 0 && entry < kEntries)
      tables_[config_ >> 16 & 1][entry] = static_cast<std::int16_t>(value);
    config_ = (config_ & ~0x3FFu) | ((entry + 1) & 0x3FF);
  }
  const std::array<std::int16_t, kEntries>& table(unsigned id) const { return tables_[id]; }

 private:
  std::uint32_t config_ = 0;
  std::array<std::array<std::int16_t, kEntries>, 2> tables_{};
};

struct FlyingRegisters {
  const RegisterFile& dpu_file;
  const RegisterFile& rdma_file;
  unsigned dpu_group, rdma_group;
  std::uint32_t dpu(std::uint32_t offset) const { return dpu_file.get(dpu_group, offset); }
  std::uint32_t rdma(std::uint32_t offset) const { return rdma_file.get(rdma_group, offset); }
};

/// Returns the work in elements, weighted. Throws TaskFault; in that case nothing has been written.
std::uint64_t run_flying(const FlyingRegisters& registers, const Lut& lut,
                         const AddressSpace& space, std::uint32_t dma_base, std::uint64_t budget,
                         ThreadPool& pool, const TaskHook* hook = nullptr);

}  // namespace npu::sim
