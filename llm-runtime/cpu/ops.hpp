// SPDX-License-Identifier: MIT
// What lies between the matrix products of a transformer. Rows are f32; strides are in floats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "llm-runtime/cpu/thread_pool.hpp"

namespace npu::llm::cpu {

/// out[i][k] = x[i][k] / sqrt(mean of x[i]^2 + eps) * weight[k], for m rows of n. out may be x.
void rms_norm(ThreadPool& pool, const float* x, std::size_t x_stride, const float* weight,
              float eps, std::size_t m, std::size_t n, float* out, std::size_t out_stride);

/// Sines and cosines of rope for the positions of a context.
struct RopeTable {
  /// theta_i = base^(-2 i / head_size), angle of position p: p * theta_i.
  RopeTable(std::size_t positions, std::size_t head_size, double base);
  std::size_t positions = 0, half = 0;
  std::vector<float> cosine, sine;  ///< [positions][half]
};

/// Turns pairs (i, i + head_size / 2) of each of `heads` heads (NEOX order) of m rows, row i being
/// at positions[i] (below table.positions).
void rope_neox(ThreadPool& pool, const RopeTable& table, std::span<const std::uint32_t> positions,
               std::size_t heads, float* x, std::size_t x_stride);

/// out[i] = silu(gate[i]) * up[i], silu(v) = v / (1 + exp(-v)). out may be gate or up.
void silu_mul(ThreadPool& pool, const float* gate, const float* up, float* out, std::size_t n);

/// out[i] += x[i].
void add(ThreadPool& pool, const float* x, float* out, std::size_t n);

/// x[i] = exp(scale * (x[i] - max)) / sum, in place.
void softmax(float* x, std::size_t n, float scale = 1.0F);

/// IEEE halves; to_f16 rounds to nearest even.
void to_f16(const float* x, std::uint16_t* out, std::size_t n);
void to_f32(const std::uint16_t* x, float* out, std::size_t n);

/// The first index of the largest value; n > 0. NaNs lose.
std::size_t argmax(const float* x, std::size_t n);

}  // namespace npu::llm::cpu
