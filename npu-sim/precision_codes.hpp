// SPDX-License-Identifier: MIT
// Codes of the precision fields in CNA, CORE, DPU, DPU_RDMA and PPU [notes precision-field, HW].
#pragma once

#include <cstdint>

namespace npu::sim {

inline constexpr std::uint32_t kInt8 = 0, kInt16 = 1, kFp16 = 2, kBf16 = 3, kInt32 = 4, kFp32 = 5,
                               kInt4 = 6, kTf32 = 7;

}  // namespace npu::sim
