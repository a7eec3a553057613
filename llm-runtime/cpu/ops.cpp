// SPDX-License-Identifier: MIT
#include "llm-runtime/cpu/ops.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "llm-runtime/cpu/ops_rows.hpp"
#include "llm-runtime/half.hpp"
#include "regdb/error.hpp"

namespace npu::llm::cpu {
namespace {
// Floats a thread should have to itself, at the least: a step costs about as much as these.
constexpr std::size_t kWorthAStep = 8192;

std::size_t rows_a_piece(std::size_t n) { return std::max(std::size_t{1}, kWorthAStep / (n + 1)); }
}  // namespace

void rms_norm(ThreadPool& pool, const float* x, std::size_t x_stride, const float* weight,
              float eps, std::size_t m, std::size_t n, float* out, std::size_t out_stride) {
  pool.parallel_for(m, rows_a_piece(n), [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i)
      rms_norm_row(x + i * x_stride, weight, eps, n, out + i * out_stride);
  });
}

RopeTable::RopeTable(std::size_t position_count, std::size_t head_size, double base)
    : positions(position_count), half(head_size / 2) {
  if (head_size == 0 || head_size % 2 != 0 || !(base > 0))
    throw Error(ErrorCode::invalid_argument,
                "rope needs an even head size and a positive base, not " +
                    std::to_string(head_size) + " and " + std::to_string(base));
  cosine.resize(positions * half);
  sine.resize(positions * half);
  for (std::size_t i = 0; i < half; ++i) {
    const double theta =
        std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(head_size));
    for (std::size_t p = 0; p < positions; ++p) {
      cosine[p * half + i] = static_cast<float>(std::cos(static_cast<double>(p) * theta));
      sine[p * half + i] = static_cast<float>(std::sin(static_cast<double>(p) * theta));
    }
  }
}

void rope_neox(ThreadPool& pool, const RopeTable& table, std::span<const std::uint32_t> positions,
               std::size_t heads, float* x, std::size_t x_stride) {
  for (const std::uint32_t p : positions)
    if (p >= table.positions)
      throw Error(ErrorCode::invalid_argument, "position " + std::to_string(p) +
                                                   " is beyond a context of " +
                                                   std::to_string(table.positions));
  const std::size_t half = table.half;
  pool.parallel_for(positions.size(), rows_a_piece(2 * half * heads),
                    [&](std::size_t begin, std::size_t end) {
                      for (std::size_t i = begin; i < end; ++i) {
                        const float* cosine = &table.cosine[positions[i] * half];
                        const float* sine = &table.sine[positions[i] * half];
                        for (std::size_t h = 0; h < heads; ++h) {
                          float* a = x + i * x_stride + h * 2 * half;
                          float* b = a + half;
                          for (std::size_t k = 0; k < half; ++k) {
                            const float p = a[k], q = b[k];
                            a[k] = p * cosine[k] - q * sine[k];
                            b[k] = p * sine[k] + q * cosine[k];
                          }
                        }
                      }
                    });
}

void silu_mul(ThreadPool& pool, const float* gate, const float* up, float* out, std::size_t n) {
  pool.parallel_for(n, kWorthAStep, [&](std::size_t begin, std::size_t end) {
    silu_mul_row(gate + begin, up + begin, end - begin, out + begin);
  });
}

void add(ThreadPool& pool, const float* x, float* out, std::size_t n) {
  pool.parallel_for(n, 4 * kWorthAStep, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) out[i] += x[i];
  });
}

void to_f16(const float* x, std::uint16_t* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = float_to_f16(x[i]);
}
void to_f32(const std::uint16_t* x, float* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = f16_to_float(x[i]);
}

}  // namespace npu::llm::cpu
