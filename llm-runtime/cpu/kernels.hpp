// SPDX-License-Identifier: MIT
// The inner loops of the matrix products. Every instruction set does the same arithmetic in the
// same order (a lane is a row, so nothing is added across lanes), so that all give the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "llm-runtime/cpu/layout.hpp"

namespace npu::llm::cpu {

/// Up to 256 activations of one row for Q4_0, Q5_0 and Q8_0: x = d[column / 32] * q, q in
/// [-127, 127]. Vector units that multiply unsigned weights want the weights + 128;
/// `correction` is -128 times the sum of q over each 32 columns.
struct alignas(kAlignment) Activations32 {
  std::int8_t q[256];
  float d[8];
  std::int32_t correction[8];
};

/// The same for K-quants: one d for all. Corrections are those of each 16 columns, sums of q those
/// of each 32.
struct alignas(kAlignment) Activations256 {
  std::int8_t q[256];
  std::int32_t correction[16];
  std::int16_t sums[8];
  float d;
};

/// Quantises n columns (a multiple of 32 or 256) of a row into out[0], out[stride], ...; a block
/// that holds an infinity or a NaN gets d = NaN.
void quantize(const float* x, std::size_t n, Activations32* out, std::size_t stride);
void quantize(const float* x, std::size_t n, Activations256* out, std::size_t stride);

/// One or two panels that lie one after the other.
struct Panels {
  TensorType type;
  std::size_t columns;
  const std::byte* data;
  std::size_t count;
};
constexpr std::size_t kMaxPanels = 2;
constexpr std::size_t kSumStride = kMaxPanels * kPanelRows;

/// sums[i * kSumStride + r] = product of row r of the panels with row i of x, i below m. Row i has
/// its activations at x[i], x[i + stride], ... The type decides which of both kinds they are.
void multiply(const Panels& w, const Activations32* x, std::size_t stride, std::size_t m,
              float* sums);
void multiply(const Panels& w, const Activations256* x, std::size_t stride, std::size_t m,
              float* sums);

/// The same in f32 for every type; rows of x lie x_stride floats apart.
void multiply_f32(const Panels& w, const float* x, std::size_t x_stride, std::size_t m,
                  float* sums);

/// ARM only, and only where has_dotprod().
namespace dotprod {
void multiply(const Panels& w, const Activations32* x, std::size_t stride, std::size_t m,
              float* sums);
void multiply(const Panels& w, const Activations256* x, std::size_t stride, std::size_t m,
              float* sums);
}  // namespace dotprod
/// The same where has_i8mm().
namespace i8mm {
void multiply(const Panels& w, const Activations32* x, std::size_t stride, std::size_t m,
              float* sums);
void multiply(const Panels& w, const Activations256* x, std::size_t stride, std::size_t m,
              float* sums);
}  // namespace i8mm

/// The definition of the arithmetic in plain C++: also the path of CPUs without AVX2 or NEON.
namespace plain {
void quantize(const float* x, std::size_t n, Activations32* out, std::size_t stride);
void quantize(const float* x, std::size_t n, Activations256* out, std::size_t stride);
void multiply(const Panels& w, const Activations32* x, std::size_t stride, std::size_t m,
              float* sums);
void multiply(const Panels& w, const Activations256* x, std::size_t stride, std::size_t m,
              float* sums);
void multiply_f32(const Panels& w, const float* x, std::size_t x_stride, std::size_t m,
                  float* sums);
}  // namespace plain

}  // namespace npu::llm::cpu
