// SPDX-License-Identifier: MIT
// The inner loops of ops.hpp that take vectors.
#pragma once

#include <cstddef>

namespace npu::llm::cpu {

void rms_norm_row(const float* x, const float* weight, float eps, std::size_t n, float* out);
void silu_mul_row(const float* gate, const float* up, std::size_t n, float* out);

}  // namespace npu::llm::cpu
