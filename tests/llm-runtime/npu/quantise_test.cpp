// SPDX-License-Identifier: MIT
#include "llm-runtime/offload/quantise.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "regdb/error.hpp"

namespace npu::llm {
namespace {

std::vector<float> normal(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> draw;
  std::vector<float> values(n);
  for (float& v : values) v = draw(random);
  return values;
}

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * b[i];
  return sum;
}

QuantisedMatrix quantised(std::span<const float> values, std::uint32_t columns,
                          QuantisationOptions options) {
  const auto rows = static_cast<std::uint32_t>(values.size() / columns);
  QuantisedMatrix matrix = quantised_matrix(rows, columns, options);
  for (std::uint32_t r = 0; r < rows; ++r) {
    std::vector<float> row(values.begin() + r * columns, values.begin() + (r + 1) * columns);
    if (options.rotate) rotate(row);
    quantise_row(row, r, matrix);
  }
  return matrix;
}

std::vector<float> product(const QuantisedMatrix& w, const QuantisedMatrix& x) {
  std::vector<float> out(std::size_t{x.rows} * w.rows);
  for (std::uint32_t p = 0; p < w.parts(); ++p) {
    const auto sums = reference_sums(w, x, p);
    for (std::uint32_t i = 0; i < x.rows; ++i) {
      add_scaled(std::span(sums).subspan(i * w.rows, w.rows), w.scales, p,
                 x.scales[i * x.parts() + p], std::span(out).subspan(i * w.rows, w.rows));
    }
  }
  return out;
}

/// Of the product of quantised operands, relative to the length of the true one.
double relative_error(std::span<const float> w, std::span<const float> x, std::uint32_t columns,
                      QuantisationOptions options) {
  const auto got = product(quantised(w, columns, options), quantised(x, columns, options));
  double error = 0, length = 0;
  const std::size_t rows = w.size() / columns;
  for (std::size_t i = 0; i < x.size() / columns; ++i) {
    for (std::size_t r = 0; r < rows; ++r) {
      const double want = dot(w.subspan(r * columns, columns), x.subspan(i * columns, columns));
      error += std::pow(got[i * rows + r] - want, 2);
      length += want * want;
    }
  }
  return std::sqrt(error / length);
}

TEST(QuantiseRow, TheLargestBecomes127AndEveryPartHasItsScale) {
  QuantisedMatrix m = quantised_matrix(2, 80, {.part = 32});
  ASSERT_EQ(m.parts(), 3u);
  std::vector<float> row(80, 0.0f);
  row[0] = -2.54f;
  row[1] = 0.03f;  // 1.5 steps: to even
  row[33] = 12.7f;
  row[34] = -0.05f;  // half a step: to even, 0
  quantise_row(row, 1, m);
  EXPECT_FLOAT_EQ(m.scales[3], 0.02f);
  EXPECT_FLOAT_EQ(m.scales[4], 0.1f);
  EXPECT_EQ(m.scales[5], 0);
  EXPECT_EQ(m.q[80], -127);
  EXPECT_EQ(m.q[80 + 33], 127);
  EXPECT_EQ(m.q[80 + 34], 0);
  for (int i = 64; i < 80; ++i) EXPECT_EQ(m.q[80 + i], 0);
  for (int i = 0; i < 80; ++i) EXPECT_EQ(m.q[i], 0) << "row 0 was touched";
}

TEST(QuantiseRow, NumbersTooSmallForAScaleAreZero) {
  QuantisedMatrix m = quantised_matrix(1, 32, {});
  std::vector<float> row(32, 1e-40f);
  quantise_row(row, 0, m);
  EXPECT_EQ(m.scales[0], 0);
  EXPECT_THAT(m.q, testing::Each(0));
}

TEST(QuantiseRow, RefusesWhatIsNotFinite) {
  for (const float bad :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    QuantisedMatrix m = quantised_matrix(1, 64, {});
    std::vector<float> row(64, 1.0f);
    row[63] = bad;
    EXPECT_THROW(quantise_row(row, 0, m), Error);
  }
  EXPECT_THROW(quantised_matrix(1, 64, {.part = 16}), Error);
}

TEST(Rotate, KeepsProductsAndLengths) {
  for (const std::uint32_t columns : {32u, 96u, 896u, 1536u, 8960u, 7u}) {
    auto w = normal(columns, 1), x = normal(columns, 2);
    const double before = dot(w, x), length = dot(w, w);
    rotate(w);
    rotate(x);
    EXPECT_NEAR(dot(w, x), before, 1e-3 * std::sqrt(length * dot(x, x))) << columns;
    EXPECT_NEAR(dot(w, w), length, 1e-4 * length) << columns;
  }
  EXPECT_EQ(rotation_block(896), 128u);
  EXPECT_EQ(rotation_block(1536), 512u);
  EXPECT_EQ(rotation_block(4096), 1024u);
}

TEST(Rotate, SpreadsAnOutlier) {
  std::vector<float> row(512, 0.0f);
  row[100] = 100;
  rotate(row);
  for (const float v : row) EXPECT_NEAR(std::fabs(v), 100 / std::sqrt(512.0f), 1e-3);
}

TEST(Product, ErrorIsThatOfItsSteps) {
  const std::uint32_t columns = 1024;
  const auto w = normal(64 * columns, 3), x = normal(64 * columns, 4);
  for (const std::uint32_t part : {0u, 128u}) {
    // Rounding to a step is off by step / sqrt(12); the numbers have a variance of 1.
    double expected = 0;
    for (const auto& values : {w, x}) {
      const auto scales = quantised(values, columns, {.part = part}).scales;
      expected += dot(scales, scales) / static_cast<double>(scales.size()) / 12;
    }
    const double error = relative_error(w, x, columns, {.part = part});
    EXPECT_NEAR(error / std::sqrt(expected), 1, 0.05) << part;
  }
}

TEST(Product, PartsAndRotationHelpAgainstOutliers) {
  const std::uint32_t columns = 1024;
  const auto w = normal(32 * columns, 5);
  auto x = normal(8 * columns, 6);
  for (std::size_t i = 0; i < 8; ++i) x[i * columns + 77] *= 60;
  std::vector<float> quiet = w;  // a model has small weights where its inputs are large
  for (std::size_t r = 0; r < 32; ++r) quiet[r * columns + 77] /= 60;
  const double plain = relative_error(quiet, x, columns, {});
  EXPECT_GT(plain, 0.05);
  EXPECT_LT(relative_error(quiet, x, columns, {.part = 128}), plain / 2);
  EXPECT_LT(relative_error(quiet, x, columns, {.rotate = true}), plain / 2);
}

}  // namespace
}  // namespace npu::llm
