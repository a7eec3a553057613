// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cmath>
#include <limits>

#include "llm-runtime/cpu/kernels.hpp"
#include "llm-runtime/cpu/panel.hpp"

namespace npu::llm::cpu::plain {
namespace {

/// q, d of one block; d is NaN if a value is no number.
void quantize_block(const float* x, std::size_t n, std::int8_t* q, float* d) {
  float largest = 0;
  bool finite = true;
  for (std::size_t k = 0; k < n; ++k) {
    finite = finite && std::isfinite(x[k]);
    largest = std::max(largest, std::abs(x[k]));
  }
  *d = finite ? largest * (1.0F / 127.0F) : std::numeric_limits<float>::quiet_NaN();
  // Below this the reciprocal would not be finite; such a block is as good as zero.
  const float scale = finite && largest > 1e-35F ? 127.0F / largest : 0.0F;
  for (std::size_t k = 0; k < n; ++k)
    q[k] = finite ? static_cast<std::int8_t>(std::lrint(x[k] * scale)) : std::int8_t{0};
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

/// Adds what one slab of a row gives; q, d and sums are those of its columns.
float add_slab(TensorType type, const SlabRow& w, std::size_t columns, const std::int8_t* q,
               const float* d, float total) {
  const int offset = value_offset(type);
  if (!is_k_quant(type)) {
    for (std::size_t g = 0; g < columns / 32; ++g)
      total = std::fma(static_cast<float>(dot(w, q, 32 * g, 32, offset)), w.d[g] * d[g], total);
    return total;
  }
  const std::size_t step = type == TensorType::q6_k ? 16 : 32;
  float scaled = 0;
  std::int32_t minima = 0;
  for (std::size_t k = 0; k < 256; k += step) {
    scaled = std::fma(static_cast<float>(dot(w, q, k, step, offset)),
                      static_cast<float>(w.scale[k / 16]), scaled);
    minima += w.minimum[k / 16] * sum(q + k, step);
  }
  total = std::fma(scaled, w.d[0] * *d, total);
  if (type != TensorType::q6_k) total = std::fma(-static_cast<float>(minima), w.dmin * *d, total);
  return total;
}

}  // namespace

void quantize(ActivationBlock block, const float* x, std::size_t n, const ActivationRow& out) {
  const std::size_t size = block == ActivationBlock::of_32 ? 32 : 256;
  const std::size_t corrected = block == ActivationBlock::of_32 ? 32 : 16;
  for (std::size_t k = 0; k < n; k += size)
    quantize_block(x + k, size, out.q + k, out.d + k / size);
  for (std::size_t k = 0; k < n; k += corrected)
    out.correction[k / corrected] = -128 * sum(out.q + k, corrected);
  if (block == ActivationBlock::of_256)
    for (std::size_t k = 0; k < n; k += 32)
      out.sums[k / 32] = static_cast<std::int16_t>(sum(out.q + k, 32));
}

void multiply(const Panels& w, const Activations& x, std::size_t first, std::size_t last,
              float* out) {
  const std::size_t block = is_k_quant(w.type) ? 256 : 32;
  std::fill_n(out, (last - first) * kMaxPanels * kPanelRows, 0.0F);
  const std::byte* slab = w.data;
  for (std::size_t p = 0; p < w.count; ++p)
    for (std::size_t k = 0; k < w.columns; k += kSlabColumns) {
      const std::size_t columns = std::min(kSlabColumns, w.columns - k);
      for (std::size_t r = 0; r < kPanelRows; ++r) {
        const SlabRow row = unpack_slab_row(w.type, slab, columns, r);
        for (std::size_t i = first; i < last; ++i) {
          float& total = out[((i - first) * kMaxPanels + p) * kPanelRows + r];
          total = add_slab(w.type, row, columns, x.q + i * x.columns + k,
                           x.d + (i * x.columns + k) / block, total);
        }
      }
      slab += slab_bytes(w.type, columns);
    }
}

void multiply_f32(const Panels& w, const float* x, std::size_t x_stride, std::size_t rows,
                  float* out) {
  std::fill_n(out, rows * kMaxPanels * kPanelRows, 0.0F);
  float weights[kSlabColumns];
  const std::byte* slab = w.data;
  for (std::size_t p = 0; p < w.count; ++p)
    for (std::size_t k = 0; k < w.columns; k += kSlabColumns) {
      const std::size_t columns = std::min(kSlabColumns, w.columns - k);
      for (std::size_t r = 0; r < kPanelRows; ++r) {
        dequantize_slab_row(w.type, slab, columns, r, weights);
        for (std::size_t i = 0; i < rows; ++i) {
          float partial = 0;  // of the slab: shorter sums round less
          for (std::size_t c = 0; c < columns; ++c)
            partial = std::fma(weights[c], x[i * x_stride + k + c], partial);
          out[(i * kMaxPanels + p) * kPanelRows + r] += partial;
        }
      }
      slab += slab_bytes(w.type, columns);
    }
}

}  // namespace npu::llm::cpu::plain
