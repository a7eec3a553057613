// SPDX-License-Identifier: MIT
// The DPU's and DPU_RDMA's part of a convolution task.
#pragma once

#include "npu-sim/conv_config.hpp"
#include "npu-sim/quirks.hpp"

namespace npu::sim {

/// Throws TaskFault for a bit of the DPU that the model does not know.
void check_dpu(const BlockRegisters& registers);

/// Reads the stages, their operands and the output into `config`, whose shape is known. Throws
/// TaskFault as read_conv_config().
void read_dpu(const BlockRegisters& registers, std::uint32_t dma_base, const Quirks& quirks,
              bool feeds_pool, ConvConfig& config);

}  // namespace npu::sim
