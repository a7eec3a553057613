// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cmath>
#include <limits>

#include "llm-runtime/cpu/kernels.hpp"
#include "llm-runtime/cpu/panel.hpp"

namespace npu::llm::cpu::plain {
namespace {

/// q of one block; returns d, NaN if a value is no number.
float quantize_block(const float* x, std::size_t n, std::int8_t* q) {
  float largest = 0;
  bool finite = true;
  for (std::size_t k = 0; k < n; ++k) {
    finite = finite && std::isfinite(x[k]);
    largest = std::max(largest, std::abs(x[k]));
  }
  // Below this the reciprocal would not be finite; such a block is as good as zero.
  const float scale = finite && largest > 1e-35F ? 127.0F / largest : 0.0F;
  for (std::size_t k = 0; k < n; ++k)
    q[k] = finite ? static_cast<std::int8_t>(std::lrint(x[k] * scale)) : std::int8_t{0};
  return finite ? largest * (1.0F / 127.0F) : std::numeric_limits<float>::quiet_NaN();
}

int sum(const std::int8_t* q, std::size_t n) {
  int total = 0;
  for (std::size_t k = 0; k < n; ++k) total += q[k];
  return total;
}

std::int32_t dot(const SlabRow& w, const std::int8_t* q, std::size_t k, std::size_t n, int offset) {
  std::int32_t total = 0;
  for (std::size_t i = k; i < k + n; ++i) total += (w.code[i] - offset) * q[i];
  return total;
}

/// `total` and what one slab of a row gives.
float add_slab(TensorType type, const SlabRow& w, std::size_t columns, const Activations32& x,
               float total) {
  for (std::size_t g = 0; g < columns / 32; ++g) {
    const std::int32_t product = dot(w, x.q, 32 * g, 32, value_offset(type));
    total = std::fma(static_cast<float>(product), w.d[g] * x.d[g], total);
  }
  return total;
}

float add_slab(TensorType type, const SlabRow& w, std::size_t /*columns*/, const Activations256& x,
               float total) {
  const std::size_t step = type == TensorType::q6_k ? 16 : 32;
  float scaled = 0;
  std::int32_t minima = 0;
  for (std::size_t k = 0; k < 256; k += step) {
    const std::int32_t product = dot(w, x.q, k, step, value_offset(type));
    scaled = std::fma(static_cast<float>(product), static_cast<float>(w.scale[k / 16]), scaled);
    minima += w.minimum[k / 16] * sum(x.q + k, step);
  }
  total = std::fma(scaled, w.d[0] * x.d, total);
  if (type == TensorType::q6_k) return total;
  return std::fma(-static_cast<float>(minima), w.dmin * x.d, total);
}

template <class Slab>
void multiply_slabs(const Panels& w, const Slab* x, std::size_t stride, std::size_t m,
                    float* sums) {
  std::fill_n(sums, m * kSumStride, 0.0F);
  const std::byte* slab = w.data;
  for (std::size_t p = 0; p < w.count; ++p)
    for (std::size_t k = 0; k < w.columns; k += kSlabColumns) {
      const std::size_t columns = std::min(kSlabColumns, w.columns - k);
      for (std::size_t r = 0; r < kPanelRows; ++r) {
        const SlabRow row = unpack_slab_row(w.type, slab, columns, r);
        for (std::size_t i = 0; i < m; ++i) {
          float& total = sums[i * kSumStride + p * kPanelRows + r];
          total = add_slab(w.type, row, columns, x[k / kSlabColumns * stride + i], total);
        }
      }
      slab += slab_bytes(w.type, columns);
    }
}

}  // namespace

void quantize(const float* x, std::size_t n, Activations32* out, std::size_t stride) {
  for (std::size_t k = 0; k < n; k += 32) {
    Activations32& slab = out[k / kSlabColumns * stride];
    const std::size_t g = k % kSlabColumns / 32;
    slab.d[g] = quantize_block(x + k, 32, slab.q + 32 * g);
    slab.correction[g] = -128 * sum(slab.q + 32 * g, 32);
  }
}

void quantize(const float* x, std::size_t n, Activations256* out, std::size_t stride) {
  for (std::size_t k = 0; k < n; k += kSlabColumns, out += stride) {
    out->d = quantize_block(x + k, 256, out->q);
    for (std::size_t g = 0; g < 16; ++g) out->correction[g] = -128 * sum(out->q + 16 * g, 16);
    for (std::size_t g = 0; g < 8; ++g)
      out->sums[g] = static_cast<std::int16_t>(sum(out->q + 32 * g, 32));
  }
}

void multiply(const Panels& w, const Activations32* x, std::size_t stride, std::size_t m,
              float* sums) {
  multiply_slabs(w, x, stride, m, sums);
}
void multiply(const Panels& w, const Activations256* x, std::size_t stride, std::size_t m,
              float* sums) {
  multiply_slabs(w, x, stride, m, sums);
}

void multiply_f32(const Panels& w, const float* x, std::size_t x_stride, std::size_t m,
                  float* sums) {
  std::fill_n(sums, m * kSumStride, 0.0F);
  float weights[kSlabColumns];
  const std::byte* slab = w.data;
  for (std::size_t p = 0; p < w.count; ++p)
    for (std::size_t k = 0; k < w.columns; k += kSlabColumns) {
      const std::size_t columns = std::min(kSlabColumns, w.columns - k);
      for (std::size_t r = 0; r < kPanelRows; ++r) {
        dequantize_slab_row(w.type, slab, columns, r, weights);
        for (std::size_t i = 0; i < m; ++i) {
          float partial = 0;  // of the slab: shorter sums round less
          for (std::size_t c = 0; c < columns; ++c)
            partial = std::fma(weights[c], x[i * x_stride + k + c], partial);
          sums[i * kSumStride + p * kPanelRows + r] += partial;
        }
      }
      slab += slab_bytes(w.type, columns);
    }
}

}  // namespace npu::llm::cpu::plain
