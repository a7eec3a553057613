// SPDX-License-Identifier: MIT
// From a plan to register programs.
#pragma once

#include <cstddef>
#include <cstdint>

#include "microkernels/gemm_plan.hpp"
#include "microkernels/program.hpp"
#include "microkernels/requant.hpp"

namespace npu::kernels {

/// The tasks of one core and one stage, in the
/// plan's order. Every task writes every register of CNA, CORE, DPU and DPU_RDMA that a convolution
/// can depend on, because registers keep the values of earlier tasks [compute.md 2.6]. `requant` is
/// used if the tasks write int8; with `channels` the bias buffer holds their multipliers, too
/// (pack_bias_and_multipliers()). Throws invalid_argument for a core, stage or requantisation out
/// of range.
Program emit_gemm(const GemmPlan& plan, std::size_t core, std::uint32_t stage,
                  const Requant& requant = {}, const ChannelScales& channels = {});

}  // namespace npu::kernels
