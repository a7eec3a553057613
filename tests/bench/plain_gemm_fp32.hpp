// SPDX-License-Identifier: MIT
// The fp32 matrix product that the simulated fp16 one is measured against.
#pragma once

#include <cstddef>
#include <vector>

#include "npu-sim/thread_pool.hpp"

namespace npu::bench {

/// B [n][k] in panels of kernels side by side, as plain_gemm_fp32() wants it.
std::vector<float> pack_fp32(const float* b, std::size_t n, std::size_t k);

/// c [m][n] = a [m][k] x b [n][k]^T in fp32 with vectors, fused multiply-adds, register tiles,
/// blocks of K and all threads of the pool. `n` is a multiple of 64.
void plain_gemm_fp32(const float* a, const std::vector<float>& packed_b, float* c, std::size_t m,
                     std::size_t n, std::size_t k, sim::ThreadPool& pool);

}  // namespace npu::bench
