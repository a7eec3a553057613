// SPDX-License-Identifier: MIT
#include "llm-runtime/offload/quantise.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "regdb/error.hpp"

namespace npu::llm {
namespace {

constexpr std::uint32_t kMaxRotation = 1024;

/// +1 or -1 for a column, the same in every process: the top bit of a multiplicative hash.
bool turned(std::size_t column) { return ((column * 0x9E3779B97F4A7C15u) >> 63) != 0; }

/// In place, unscaled; a power of two of values.
void walsh_hadamard(std::span<float> block) {
  for (std::size_t half = 1; half < block.size(); half *= 2) {
    for (std::size_t start = 0; start < block.size(); start += 2 * half) {
      for (std::size_t i = start; i < start + half; ++i) {
        const float a = block[i], b = block[i + half];
        block[i] = a + b;
        block[i + half] = a - b;
      }
    }
  }
}

}  // namespace

QuantisedMatrix quantised_matrix(std::uint32_t rows, std::uint32_t columns,
                                 const QuantisationOptions& options) {
  if (options.part % 32 != 0) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("a part of {} columns is no multiple of 32", options.part));
  }
  QuantisedMatrix matrix;
  matrix.rows = rows;
  matrix.columns = columns;
  matrix.part = options.part == 0 || options.part > columns ? columns : options.part;
  matrix.q.resize(std::size_t{rows} * columns);
  matrix.scales.resize(std::size_t{rows} * matrix.parts());
  return matrix;
}

void quantise_row(std::span<const float> values, std::uint32_t row, QuantisedMatrix& to) {
  std::int8_t* q = to.q.data() + std::size_t{row} * to.columns;
  for (std::uint32_t p = 0; p < to.parts(); ++p) {
    const std::size_t begin = std::size_t{p} * to.part;
    const std::span<const float> part =
        values.subspan(begin, std::min<std::size_t>(to.part, to.columns - begin));
    float largest = 0, sum = 0;
    for (const float v : part) {
      largest = std::max(largest, std::fabs(v));
      sum += v * 0.0f;  // NaN for a value that is not finite
    }
    if (sum != 0 || std::isnan(sum)) {
      throw Error(ErrorCode::check_failed,
                  "a number to quantise is not finite: the model's weights are damaged");
    }
    const float scale = largest / 127;
    // The reciprocal of a denormal would be infinite.
    const float inverse = scale >= 1e-37f ? 1 / scale : 0;
    to.scales[std::size_t{row} * to.parts() + p] = inverse == 0 ? 0 : scale;
    for (std::size_t i = 0; i < part.size(); ++i) {
      q[begin + i] = static_cast<std::int8_t>(std::nearbyint(part[i] * inverse));
    }
  }
}

std::uint32_t rotation_block(std::uint32_t columns) {
  return std::min(kMaxRotation, std::uint32_t{1} << std::countr_zero(columns));
}

void rotate(std::span<float> row) {
  const std::uint32_t block = rotation_block(static_cast<std::uint32_t>(row.size()));
  const float scale = 1 / std::sqrt(static_cast<float>(block));
  for (std::size_t i = 0; i < row.size(); ++i) row[i] *= turned(i) ? -scale : scale;
  for (std::size_t start = 0; start < row.size(); start += block) {
    walsh_hadamard(row.subspan(start, block));
  }
}

void add_scaled(std::span<const std::int32_t> sums, std::span<const float> row_scales,
                std::uint32_t p, float token_scale, std::span<float> out) {
  const std::size_t parts = row_scales.size() / std::max<std::size_t>(out.size(), 1);
  if (parts == 1) {  // the usual case, which the compiler vectorises
    for (std::size_t r = 0; r < out.size(); ++r) {
      out[r] += token_scale * row_scales[r] * static_cast<float>(sums[r]);
    }
    return;
  }
  for (std::size_t r = 0; r < out.size(); ++r) {
    out[r] += token_scale * row_scales[r * parts + p] * static_cast<float>(sums[r]);
  }
}

std::vector<std::int32_t> reference_sums(const QuantisedMatrix& w, const QuantisedMatrix& x,
                                         std::uint32_t p) {
  const std::size_t begin = std::size_t{p} * w.part;
  const std::size_t count = std::min<std::size_t>(w.part, w.columns - begin);
  std::vector<std::int32_t> sums(std::size_t{x.rows} * w.rows);
  for (std::size_t i = 0; i < x.rows; ++i) {
    for (std::size_t r = 0; r < w.rows; ++r) {
      std::int32_t sum = 0;
      for (std::size_t k = begin; k < begin + count; ++k) {
        sum += w.q[r * w.columns + k] * x.q[i * x.columns + k];
      }
      sums[i * w.rows + r] = sum;
    }
  }
  return sums;
}

}  // namespace npu::llm
