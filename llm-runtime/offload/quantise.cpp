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

/// The first three steps of a Walsh-Hadamard transform, within eight values.
void walsh_hadamard_8(float* v) {
  const float a0 = v[0] + v[1], a1 = v[0] - v[1], a2 = v[2] + v[3], a3 = v[2] - v[3];
  const float a4 = v[4] + v[5], a5 = v[4] - v[5], a6 = v[6] + v[7], a7 = v[6] - v[7];
  const float b0 = a0 + a2, b1 = a1 + a3, b2 = a0 - a2, b3 = a1 - a3;
  const float b4 = a4 + a6, b5 = a5 + a7, b6 = a4 - a6, b7 = a5 - a7;
  v[0] = b0 + b4;
  v[1] = b1 + b5;
  v[2] = b2 + b6;
  v[3] = b3 + b7;
  v[4] = b0 - b4;
  v[5] = b1 - b5;
  v[6] = b2 - b6;
  v[7] = b3 - b7;
}

/// In place, unscaled; a power of two of values.
void walsh_hadamard(std::span<float> block) {
  std::size_t half = 1;
  if (block.size() >= 8) {
    for (std::size_t start = 0; start < block.size(); start += 8) walsh_hadamard_8(&block[start]);
    half = 8;
  }
  for (; 4 * half <= block.size(); half *= 4) {  // two steps at a time
    for (std::size_t start = 0; start < block.size(); start += 4 * half) {
      float *a = &block[start], *b = a + half, *c = b + half, *d = c + half;
      for (std::size_t i = 0; i < half; ++i) {
        const float ab = a[i] + b[i], ba = a[i] - b[i], cd = c[i] + d[i], dc = c[i] - d[i];
        a[i] = ab + cd;
        b[i] = ba + dc;
        c[i] = ab - cd;
        d[i] = ba - dc;
      }
    }
  }
  if (half == block.size()) return;
  float *low = block.data(), *high = low + half;
  for (std::size_t i = 0; i < half; ++i) {
    const float a = low[i], b = high[i];
    low[i] = a + b;
    high[i] = a - b;
  }
}

/// To the nearest integer, ties to even, for magnitudes below 2^22: the sum has a unit of 1 in its
/// last bit. Vectorised where nearbyint() is a call; not to be contracted into a multiply-add.
std::int32_t rounded(float value) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23
  return std::bit_cast<std::int32_t>(value + kMagic) - std::bit_cast<std::int32_t>(kMagic);
}

struct Steps {
  float size = 0, inverse = 0;
};

/// Such that the largest magnitude is `most` of them.
Steps steps_of(std::span<const float> values, float most) {
  // The bits of magnitudes are in the order of their values, infinity and NaN above all.
  std::int32_t bits = 0;
  for (const float v : values) {
    bits = std::max(bits, std::bit_cast<std::int32_t>(v) & 0x7fffffff);
  }
  const float largest = std::bit_cast<float>(bits);
  if (!std::isfinite(largest)) {
    throw Error(ErrorCode::bad_file,
                "a number to quantise is not finite: the model's weights are damaged");
  }
  const float size = largest / most;
  // The reciprocal of a denormal would be infinite.
  return size >= 1e-37f ? Steps{size, 1 / size} : Steps{};
}

}  // namespace

QuantisedMatrix quantised_matrix(std::uint32_t rows, std::uint32_t columns, std::uint32_t part) {
  if (part < columns && part % 32 != 0) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("a part of {} columns is no multiple of 32", part));
  }
  QuantisedMatrix matrix;
  matrix.rows = rows;
  matrix.columns = columns;
  matrix.part = part == 0 || part > columns ? columns : part;
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
    const Steps steps = steps_of(part, 127);
    to.scales[std::size_t{row} * to.parts() + p] = steps.size;
    for (std::size_t i = 0; i < part.size(); ++i) {
      q[begin + i] = static_cast<std::int8_t>(rounded(part[i] * steps.inverse));
    }
  }
}

void quantise_row_wide(std::span<const float> values, std::uint32_t row, QuantisedMatrix& to) {
  const std::size_t low_row = to.rows / 2 + row;
  std::int8_t* high = to.q.data() + std::size_t{row} * to.columns;
  std::int8_t* low = to.q.data() + low_row * to.columns;
  for (std::uint32_t p = 0; p < to.parts(); ++p) {
    const std::size_t begin = std::size_t{p} * to.part;
    const std::span<const float> part =
        values.subspan(begin, std::min<std::size_t>(to.part, to.columns - begin));
    const Steps steps = steps_of(part, 127 * 256 + 127);
    to.scales[std::size_t{row} * to.parts() + p] = 256 * steps.size;
    to.scales[low_row * to.parts() + p] = steps.size;
    for (std::size_t i = 0; i < part.size(); ++i) {
      const std::int32_t q = rounded(part[i] * steps.inverse);
      high[begin + i] = static_cast<std::int8_t>((q + 128) >> 8);  // the rest is -128 to 127
      low[begin + i] = static_cast<std::int8_t>(q);
    }
  }
}

ColumnTransform column_transform(std::span<const double> squares,
                                 const QuantisationOptions& options) {
  ColumnTransform transform;
  if (options.equalise) {
    double mean = 0;
    for (const double s : squares) mean += s / static_cast<double>(squares.size());
    for (const double s : squares) {
      // The fourth root: squares to lengths, and half of the way. A column of zeros stays.
      const double factor = s > 0 ? std::sqrt(std::sqrt(s / mean)) : 1.0;
      transform.inputs.push_back(static_cast<float>(factor));
      transform.weights.push_back(static_cast<float>(1 / factor));
    }
  }
  if (!options.rotate) return transform;
  transform.block = rotation_block(static_cast<std::uint32_t>(squares.size()));
  transform.inputs.resize(squares.size(), 1.0f);
  transform.weights.resize(squares.size(), 1.0f);
  const float scale = 1 / std::sqrt(static_cast<float>(transform.block));
  for (std::size_t i = 0; i < squares.size(); ++i) {
    const float turn = turned(i) ? -scale : scale;
    transform.inputs[i] *= turn;
    transform.weights[i] *= turn;
  }
  return transform;
}

void transform_row(std::span<const float> factors, std::uint32_t block, std::span<float> row) {
  for (std::size_t i = 0; i < factors.size(); ++i) row[i] *= factors[i];
  if (block == 1) return;
  for (std::size_t start = 0; start < row.size(); start += block) {
    walsh_hadamard(row.subspan(start, block));
  }
}

std::uint32_t rotation_block(std::uint32_t columns) {
  return std::min(kMaxRotation, std::uint32_t{1} << std::countr_zero(columns));
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
