// SPDX-License-Identifier: MIT
// Products of activations with weights.
#pragma once

#include <cstddef>
#include <span>

#include "llm-runtime/cpu/matrix.hpp"
#include "llm-runtime/cpu/thread_pool.hpp"

namespace npu::llm::cpu {

/// out[i * out_stride + r] = sum over k of w[r][k] * x[i * x_stride + k], + bias[r] if there is
/// one.
struct Product {
  const Matrix* w = nullptr;
  const float* bias = nullptr;
  float* out = nullptr;
  std::size_t out_stride = 0;  ///< in floats, from one row of activations to the next
};

/// Products of the same m rows of activations x with several matrices of the same columns, in one
/// parallel step (q, k and v; gate and up). Quantised weights meet activations that are quantised
/// to 8 bits: in blocks of 32 for Q4_0, Q5_0 and Q8_0, of 256 for the K-quants; F32, F16 and BF16
/// weights meet them in f32. A row's result depends on nothing but its activations: it is the same,
/// bit for bit, whatever m, the number of threads and the CPU's instruction set are.
/// `out` must not overlap x. npu::Error invalid_argument if columns differ or a pointer is null.
void matmul(ThreadPool& pool, std::span<const Product> products, const float* x,
            std::size_t x_stride, std::size_t m);

/// The exact path: weights in f32 and f32 arithmetic, whatever their type.
void matmul_f32(ThreadPool& pool, std::span<const Product> products, const float* x,
                std::size_t x_stride, std::size_t m);

}  // namespace npu::llm::cpu
