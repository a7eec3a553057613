// SPDX-License-Identifier: MIT
// What tasks behind the MAC array and DPU-only tasks know alike of DPU and DPU_RDMA.
#pragma once

#include "npu-sim/known_bits.hpp"
#include "regdb/registers.hpp"

namespace npu::sim {

inline constexpr KnownBits kDpuRdmaBits[] = {
    {regdb::dpu_rdma::RDMA_OPERATION_ENABLE::offset, 0xFFFFFFFF},
    {regdb::dpu_rdma::RDMA_DATA_CUBE_WIDTH::offset, 0xFFFFFFFF},
    {regdb::dpu_rdma::RDMA_DATA_CUBE_HEIGHT::offset, 0x00001FFF},
    {regdb::dpu_rdma::RDMA_DATA_CUBE_CHANNEL::offset, 0xFFFFFFFF},
    {regdb::dpu_rdma::RDMA_SRC_BASE_ADDR::offset, 0xFFFFFFFF},
    {regdb::dpu_rdma::RDMA_BRDMA_CFG::offset, 0xFFFFFFFF},  // alone it changes nothing [notes, HW]
    {regdb::dpu_rdma::RDMA_BS_BASE_ADDR::offset, 0xFFFFFFFF},
    {regdb::dpu_rdma::RDMA_NRDMA_CFG::offset, 0xFFFFFFFF},
    {regdb::dpu_rdma::RDMA_BN_BASE_ADDR::offset, 0xFFFFFFFF},
    {regdb::dpu_rdma::RDMA_ERDMA_CFG::offset, 0xFFFFFFFF},
    {regdb::dpu_rdma::RDMA_EW_BASE_ADDR::offset, 0xFFFFFFFF},
    {regdb::dpu_rdma::RDMA_EW_SURF_STRIDE::offset, 0xFFFFFFFF},
    {regdb::dpu_rdma::RDMA_FEATURE_MODE_CFG::offset, 0xFFFFFFFF},
    {regdb::dpu_rdma::RDMA_SURF_NOTCH::offset, 0xFFFFFFFF},
    {regdb::dpu_rdma::RDMA_WEIGHT::offset, 0xFFFFFFFF},  // arbitration: timing only
    {regdb::dpu_rdma::RDMA_EW_SURF_NOTCH::offset, 0xFFFFFFFF},
};

// LUT and EW operands matter only where EW_CFG uses them.
inline bool dpu_operand(std::uint32_t offset) {
  return offset >= regdb::dpu::LUT_ACCESS_CFG::offset ||
         (offset >= regdb::dpu::EW_OP_VALUE_0::offset &&
          offset <= regdb::dpu::EW_OP_VALUE_7::offset);
}

}  // namespace npu::sim
