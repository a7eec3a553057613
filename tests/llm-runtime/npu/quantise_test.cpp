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

std::vector<double> squares_of(std::span<const float> w, std::uint32_t columns) {
  std::vector<double> squares(columns);
  for (std::size_t i = 0; i < w.size(); ++i) squares[i % columns] += double{w[i]} * w[i];
  return squares;
}

QuantisedMatrix quantised(std::span<const float> values, std::uint32_t columns, std::uint32_t part,
                          std::span<const float> factors = {}, std::uint32_t block = 1,
                          bool wide = false) {
  const auto rows = static_cast<std::uint32_t>(values.size() / columns);
  QuantisedMatrix matrix = quantised_matrix(wide ? 2 * rows : rows, columns, part);
  for (std::uint32_t r = 0; r < rows; ++r) {
    std::vector<float> row(values.begin() + r * columns, values.begin() + (r + 1) * columns);
    transform_row(factors, block, row);
    (wide ? quantise_row_wide : quantise_row)(row, r, matrix);
  }
  return matrix;
}

std::vector<float> product(const QuantisedMatrix& w, const QuantisedMatrix& x, std::uint32_t m) {
  std::vector<float> out(std::size_t{m} * w.rows);
  for (std::uint32_t p = 0; p < w.parts(); ++p) {
    const auto sums = reference_sums(w, x, p);
    for (std::uint32_t i = 0; i < x.rows; ++i) {  // low bytes are added to the high ones
      add_scaled(std::span(sums).subspan(std::size_t{i} * w.rows, w.rows), w.scales, p,
                 x.scales[i * x.parts() + p],
                 std::span(out).subspan(std::size_t{i % m} * w.rows, w.rows));
    }
  }
  return out;
}

/// Of the product of quantised operands, relative to the length of the true one.
double relative_error(std::span<const float> w, std::span<const float> x, std::uint32_t columns,
                      QuantisationOptions options) {
  const ColumnTransform t = column_transform(squares_of(w, columns), options);
  const auto got = product(quantised(w, columns, options.part, t.weights, t.block),
                           quantised(x, columns, options.part, t.inputs, t.block, options.wide),
                           static_cast<std::uint32_t>(x.size() / columns));
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
  QuantisedMatrix m = quantised_matrix(2, 80, 32);
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
  QuantisedMatrix m = quantised_matrix(1, 32, 0);
  std::vector<float> row(32, 1e-40f);
  quantise_row(row, 0, m);
  EXPECT_EQ(m.scales[0], 0);
  EXPECT_THAT(m.q, testing::Each(0));
}

TEST(QuantiseRow, RefusesWhatIsNotFinite) {
  for (const float bad :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    QuantisedMatrix m = quantised_matrix(1, 64, 0);
    std::vector<float> row(64, 1.0f);
    row[63] = bad;
    EXPECT_THROW(quantise_row(row, 0, m), Error);
  }
  EXPECT_THROW(quantised_matrix(1, 64, 16), Error);
  QuantisedMatrix wide = quantised_matrix(2, 64, 0);
  const std::vector<float> row(64, std::numeric_limits<float>::infinity());
  EXPECT_THROW(quantise_row_wide(row, 0, wide), Error);
}

TEST(QuantiseRowWide, HighAndLowBytesAreTheNumberIn32639Steps) {
  QuantisedMatrix m = quantised_matrix(4, 96, 64);
  auto row = normal(96, 9);
  row[5] = -8;  // the largest of its part
  row[70] = 8;
  quantise_row_wide(row, 1, m);
  for (std::size_t i = 0; i < 96; ++i) {
    const std::size_t p = i / 64;
    EXPECT_FLOAT_EQ(m.scales[2 + p], 256 * m.scales[6 + p]);
    const int q = 256 * m.q[96 + i] + m.q[3 * 96 + i];
    EXPECT_EQ(q, std::nearbyint(row[i] * (1 / m.scales[6 + p]))) << i;
    EXPECT_EQ(m.q[i], 0) << "row 0 was touched";
    EXPECT_EQ(m.q[2 * 96 + i], 0) << "row 0 was touched";
  }
  EXPECT_EQ(256 * m.q[96 + 5] + m.q[3 * 96 + 5], -32639);
  EXPECT_EQ(256 * m.q[96 + 70] + m.q[3 * 96 + 70], 32639);
}

TEST(ColumnTransform, KeepsProducts) {
  for (const std::uint32_t columns : {32u, 96u, 896u, 1536u, 8960u, 7u}) {
    for (const bool equalise : {false, true}) {
      const ColumnTransform t =
          column_transform(squares_of(normal(3 * columns, 3), columns), {.equalise = equalise});
      auto w = normal(columns, 1), x = normal(columns, 2);
      const double before = dot(w, x), length = dot(w, w);
      const double size = std::sqrt(length * dot(x, x));
      transform_row(t.weights, t.block, w);
      transform_row(t.inputs, t.block, x);
      EXPECT_NEAR(dot(w, x), before, 1e-3 * size) << columns;
      if (equalise) continue;
      EXPECT_NEAR(dot(w, w), length, 1e-4 * length) << columns;
    }
  }
  EXPECT_EQ(rotation_block(896), 128u);
  EXPECT_EQ(rotation_block(1536), 512u);
  EXPECT_EQ(rotation_block(4096), 1024u);
}

TEST(ColumnTransform, SpreadsAnOutlier) {
  const ColumnTransform t =
      column_transform(std::vector<double>(512, 1.0), {.equalise = false, .rotate = true});
  std::vector<float> row(512, 0.0f);
  row[100] = 100;
  transform_row(t.inputs, t.block, row);
  for (const float v : row) EXPECT_NEAR(std::fabs(v), 100 / std::sqrt(512.0f), 1e-3);
}

TEST(ColumnTransform, GoesHalfOfTheWayToEqualColumns) {
  // Lengths 1, 4, 0 and 16: the mean of the squares is 68.25.
  const std::vector<double> squares{1, 16, 0, 256};
  const ColumnTransform t = column_transform(squares, {.equalise = true, .rotate = false});
  EXPECT_EQ(t.block, 1u);
  ASSERT_EQ(t.inputs.size(), 4u);
  EXPECT_EQ(t.inputs[2], 1);  // nothing to gain
  EXPECT_EQ(t.weights[2], 1);
  EXPECT_FLOAT_EQ(t.inputs[0], 1 / std::sqrt(std::sqrt(68.25f)));
  EXPECT_FLOAT_EQ(t.inputs[1] / t.inputs[0], 2);
  EXPECT_FLOAT_EQ(t.inputs[3] / t.inputs[0], 4);
  for (const int i : {0, 1, 3}) EXPECT_FLOAT_EQ(t.weights[i] * t.inputs[i], 1) << i;
  const ColumnTransform none = column_transform(std::vector<double>(4), {.rotate = false});
  for (const float factor : none.weights) EXPECT_EQ(factor, 1);
}

TEST(ColumnTransform, PlainIsNone) {
  const ColumnTransform t = column_transform(std::vector<double>(64, 3.0), kPlainQuantisation);
  EXPECT_TRUE(t.weights.empty());
  EXPECT_TRUE(t.inputs.empty());
  EXPECT_EQ(t.block, 1u);
}

TEST(Product, ErrorIsThatOfItsSteps) {
  const std::uint32_t columns = 1024;
  const auto w = normal(64 * columns, 3), x = normal(64 * columns, 4);
  for (const std::uint32_t part : {0u, 128u}) {
    // Rounding to a step is off by step / sqrt(12); the numbers have a variance of 1.
    double expected = 0;
    for (const auto& values : {w, x}) {
      const auto scales = quantised(values, columns, part).scales;
      expected += dot(scales, scales) / static_cast<double>(scales.size()) / 12;
    }
    const double error =
        relative_error(w, x, columns, {.part = part, .equalise = false, .rotate = false});
    EXPECT_NEAR(error / std::sqrt(expected), 1, 0.05) << part;
  }
}

TEST(Product, EveryOptionHelpsAgainstOutliers) {
  const std::uint32_t columns = 1024;
  const auto w = normal(32 * columns, 5);
  auto x = normal(8 * columns, 6);
  for (std::size_t i = 0; i < 8; ++i) x[i * columns + 77] *= 60;
  std::vector<float> quiet = w;  // a model has small weights where its inputs are large
  for (std::size_t r = 0; r < 32; ++r) quiet[r * columns + 77] /= 60;
  const auto error = [&](QuantisationOptions options) {
    return relative_error(quiet, x, columns, options);
  };
  const double plain = error(kPlainQuantisation);
  EXPECT_GT(plain, 0.05);
  EXPECT_LT(error({.part = 128, .equalise = false, .rotate = false}), plain / 2);
  EXPECT_LT(error({.equalise = false, .rotate = true}), plain / 2);
  EXPECT_LT(error({.equalise = true, .rotate = false}), plain / 2);
  EXPECT_LT(error({.equalise = false, .rotate = false, .wide = true}), plain / 2);
  // The default is as good as without the outlier.
  EXPECT_LT(error({}), 1.1 * relative_error(w, normal(8 * columns, 6), columns, {}));
  // With exact activations the error of the weights is left.
  EXPECT_LT(error({.wide = true}), 0.8 * error({}));
}

}  // namespace
}  // namespace npu::llm
