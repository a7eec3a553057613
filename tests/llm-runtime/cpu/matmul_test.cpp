// SPDX-License-Identifier: MIT
#include "llm-runtime/cpu/matmul.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "llm-runtime/cpu/layout.hpp"
#include "llm-runtime/cpu/panel.hpp"
#include "regdb/error.hpp"
#include "tests/llm-runtime/cpu/weights.hpp"

namespace npu::llm::cpu {
namespace {

using test::random_activations;
using test::random_weights;

struct Shape {
  std::uint32_t rows, columns;
};
/// Sums of every length of slab and pieces of panels: whole, short, one row.
std::vector<Shape> shapes(TensorType type) {
  if (block_shape(type).values == 256) return {{1, 256}, {40, 512}, {64, 1536}};
  if (block_shape(type).values == 32) return {{1, 32}, {40, 96}, {33, 896}, {64, 288}};
  return {{1, 1}, {40, 7}, {33, 300}, {64, 512}};
}

std::vector<float> product(ThreadPool& pool, const Matrix& w, const std::vector<float>& x,
                           std::size_t m, const float* bias = nullptr, bool exact = false) {
  std::vector<float> out(m * w.rows(), -1.0F);
  const Product one{&w, bias, out.data(), w.rows()};
  (exact ? matmul_f32 : matmul)(pool, {&one, 1}, x.data(), w.columns(), m);
  return out;
}

class EveryQuantisedType : public testing::TestWithParam<TensorType> {};
class EveryType : public testing::TestWithParam<TensorType> {};

TEST_P(EveryQuantisedType, ProductsAreThoseOfTheDefinitionBitForBit) {
  ThreadPool pool(2);
  std::uint32_t seed = 1;
  for (const Shape shape : shapes(GetParam())) {
    const auto weights = random_weights(GetParam(), shape.rows, shape.columns, ++seed);
    const Matrix w(weights.view(), pool);
    for (const std::size_t m : {1U, 2U, 3U, 5U, 6U, 8U, 13U}) {
      const auto x = random_activations(m * shape.columns, ++seed);
      const auto out = product(pool, w, x, m);
      for (std::size_t i = 0; i < m; ++i)
        for (std::size_t r = 0; r < shape.rows; ++r) {
          const float expected = test::quantised_product(weights.view(), r, &x[i * shape.columns]);
          ASSERT_EQ(std::bit_cast<std::uint32_t>(out[i * shape.rows + r]),
                    std::bit_cast<std::uint32_t>(expected))
              << to_string(GetParam()) << " " << shape.rows << " x " << shape.columns << ", m " << m
              << ", row " << r << " of activations " << i << ": " << out[i * shape.rows + r]
              << " for " << expected;
        }
    }
  }
}

TEST_P(EveryQuantisedType, ErrorIsThatOfEightBitActivations) {
  ThreadPool pool(1);
  const std::uint32_t rows = 32, columns = 1536;
  const auto weights = random_weights(GetParam(), rows, columns, 7);
  const Matrix w(weights.view(), pool);
  const auto x = random_activations(columns, 8);
  const auto out = product(pool, w, x, 1);
  for (std::size_t r = 0; r < rows; ++r) {
    double exact = 0, variance = 0;
    for (std::size_t k = 0; k < columns; ++k) {
      const double value = test::value_at(weights.view(), r, k).exact();
      exact += value * x[k];
      // A step is at most 1/127 of the largest of a block, about 4 here; the error is even in it.
      variance += value * value * (4.0 / 127) * (4.0 / 127) / 12;
    }
    EXPECT_NEAR(out[r], exact, 6 * std::sqrt(variance)) << to_string(GetParam()) << " row " << r;
  }
}

TEST_P(EveryType, ExactPathIsF32Arithmetic) {
  ThreadPool pool(2);
  std::uint32_t seed = 20;
  for (const Shape shape : shapes(GetParam()))
    for (const std::size_t m : {1U, 4U, 7U}) {
      const auto weights = random_weights(GetParam(), shape.rows, shape.columns, ++seed);
      const Matrix w(weights.view(), pool);
      const auto x = random_activations(m * shape.columns, ++seed);
      const auto out = product(pool, w, x, m, nullptr, true);
      for (std::size_t i = 0; i < m; ++i)
        for (std::size_t r = 0; r < shape.rows; ++r) {
          double exact = 0, magnitude = 0;
          for (std::size_t k = 0; k < shape.columns; ++k) {
            const double term =
                test::value_at(weights.view(), r, k).exact() * x[i * shape.columns + k];
            exact += term;
            magnitude += std::abs(term);
          }
          // Slabs of 256 are summed apart; a K-quant's value is itself rounded three times.
          const double bound = magnitude * 64 * 0x1p-24 + 1e-6;
          ASSERT_NEAR(out[i * shape.rows + r], exact, bound) << to_string(GetParam());
        }
    }
}

TEST_P(EveryType, ResultDependsNeitherOnTheBatchNorOnTheThreads) {
  ThreadPool one(1), three(3);
  const std::uint32_t rows = 80, columns = 512, m = 19;
  const auto weights = random_weights(GetParam(), rows, columns, 3);
  const Matrix w(weights.view(), three);
  const auto x = random_activations(m * columns, 4, true);
  for (const bool exact : {false, true}) {
    const auto all = product(three, w, x, m, nullptr, exact);
    for (std::size_t i = 0; i < m; ++i) {
      const std::vector<float> row(&x[i * columns], &x[i * columns] + columns);
      const auto alone = product(one, w, row, 1, nullptr, exact);
      EXPECT_TRUE(std::equal(alone.begin(), alone.end(), &all[i * rows])) << "row " << i;
    }
  }
}

TEST_P(EveryType, RowsAreDequantisedAsTheFileSays) {
  ThreadPool pool(1);
  const auto weights = random_weights(GetParam(), 21, 512, 5);
  const Matrix w(weights.view(), pool);
  std::vector<float> row(512);
  for (const std::size_t r : {0U, 15U, 16U, 20U}) {
    dequantize_row(w, r, row.data());
    for (std::size_t k = 0; k < row.size(); ++k) {
      const auto value = test::value_at(weights.view(), r, k);
      const float expected =
          value.d * static_cast<float>(value.scale) * static_cast<float>(value.q) -
          value.dmin * static_cast<float>(value.minimum);
      ASSERT_EQ(row[k], expected) << to_string(GetParam()) << " row " << r << " column " << k;
    }
  }
  EXPECT_THROW(dequantize_row(w, 21, row.data()), Error);
}

TEST_P(EveryType, PackedBytesCanBeUsedAgain) {
  ThreadPool pool(1);
  const auto weights = random_weights(GetParam(), 40, 512, 6);
  const Matrix w(weights.view(), pool);
  EXPECT_EQ(w.packed_bytes().size(), packed_size(GetParam(), 40, 512));
  const Matrix again = Matrix::from_packed(GetParam(), 40, 512, w.packed_bytes());
  const auto x = random_activations(512, 7);
  EXPECT_EQ(product(pool, w, x, 1), product(pool, again, x, 1));
  EXPECT_THROW(Matrix::from_packed(GetParam(), 48, 768, w.packed_bytes()), Error);
}

// A cache file holds these bytes, so that they may not depend on what memory held before.
TEST_P(EveryType, PackingWritesEveryByte) {
  for (const std::uint32_t rows : {32U, 21U}) {
    const std::uint32_t columns = block_shape(GetParam()).values == 256 ? 512 : 288;
    const auto weights = random_weights(GetParam(), rows, columns, 9);
    std::vector<std::byte> clean(panel_bytes(GetParam(), columns)), dirty = clean;
    for (const std::size_t first : {0U, 16U}) {
      std::ranges::fill(clean, std::byte{0});
      std::ranges::fill(dirty, std::byte{0xA5});
      pack_panel(weights.view(), first, clean.data());
      pack_panel(weights.view(), first, dirty.data());
      EXPECT_EQ(clean, dirty) << to_string(GetParam()) << " of " << rows << " rows from " << first;
    }
  }
}

std::string name(const testing::TestParamInfo<TensorType>& info) {
  return std::string(to_string(info.param));
}
INSTANTIATE_TEST_SUITE_P(, EveryQuantisedType, testing::ValuesIn(test::kQuantised), name);
INSTANTIATE_TEST_SUITE_P(Quantised, EveryType, testing::ValuesIn(test::kQuantised), name);
INSTANTIATE_TEST_SUITE_P(Floats, EveryType, testing::ValuesIn(test::kFloats), name);

TEST(Matmul, ProductsOfOneCallMayDifferInTypeRowsAndBias) {
  ThreadPool pool(2);
  const std::uint32_t columns = 256, m = 9;
  const TensorType types[] = {TensorType::q4_k, TensorType::q8_0, TensorType::f16,
                              TensorType::q6_k};
  const std::uint32_t rows[] = {64, 17, 100, 1};
  const auto x = random_activations(m * columns, 1);
  const auto bias = random_activations(100, 2);
  std::vector<Matrix> matrices;
  std::vector<std::vector<float>> out;
  for (int i = 0; i < 4; ++i) {
    matrices.emplace_back(random_weights(types[i], rows[i], columns, 10U + i).view(), pool);
    out.emplace_back(m * (rows[i] + 3), 7.0F);
  }
  std::vector<Product> products;
  for (std::size_t i = 0; i < 4; ++i)
    products.push_back({&matrices[i], i % 2 ? bias.data() : nullptr, out[i].data(), rows[i] + 3});
  matmul(pool, products, x.data(), columns, m);
  for (std::size_t i = 0; i < 4; ++i) {
    const auto alone = product(pool, matrices[i], x, m, i % 2 ? bias.data() : nullptr);
    for (std::size_t j = 0; j < m; ++j) {
      const float* row = &out[i][j * (rows[i] + 3)];
      EXPECT_TRUE(std::equal(row, row + rows[i], &alone[j * rows[i]])) << i << " " << j;
      EXPECT_EQ(row[rows[i]], 7.0F) << "written beyond the row";
    }
  }
}

TEST(Matmul, NumbersThatAreNoneStayInTheirRow) {
  ThreadPool pool(1);
  const float inf = std::numeric_limits<float>::infinity();
  for (const TensorType type : test::kQuantised) {
    const Matrix w(random_weights(type, 16, 512, 1).view(), pool);
    auto x = random_activations(3 * 512, 2);
    x[600] = inf;
    x[1100] = -std::numeric_limits<float>::quiet_NaN();
    const auto out = product(pool, w, x, 3);
    for (std::size_t r = 0; r < 16; ++r) {
      EXPECT_TRUE(std::isfinite(out[r]));
      EXPECT_TRUE(std::isnan(out[16 + r])) << to_string(type);
      EXPECT_TRUE(std::isnan(out[32 + r])) << to_string(type);
    }
    const std::vector<float> tiny(512, 1e-40F), zero(512, 0.0F);
    for (const float value : product(pool, w, tiny, 1)) EXPECT_NEAR(value, 0, 1e-35);
    for (const float value : product(pool, w, zero, 1)) EXPECT_EQ(value, 0);
  }
}

TEST(Matmul, WrongArgumentsAreNamed) {
  ThreadPool pool(1);
  const auto weights = random_weights(TensorType::q4_0, 16, 64, 1);
  const Matrix w(weights.view(), pool),
      wide(random_weights(TensorType::q8_0, 16, 96, 1).view(), pool);
  std::vector<float> x(96), out(16);
  const Product two[] = {{&w, nullptr, out.data(), 16}, {&wide, nullptr, out.data(), 16}};
  EXPECT_THROW(matmul(pool, two, x.data(), 96, 1), Error);
  const Product none[] = {{nullptr, nullptr, out.data(), 16}};
  EXPECT_THROW(matmul(pool, none, x.data(), 96, 1), Error);
  const Product good[] = {{&w, nullptr, out.data(), 16}};
  EXPECT_THROW(matmul(pool, good, nullptr, 64, 1), Error);
  EXPECT_NO_THROW(matmul(pool, good, x.data(), 64, 0));
  WeightView view = weights.view();
  view.columns = 63;
  EXPECT_THROW(Matrix(view, pool), Error);
  view = weights.view();
  view.data = nullptr;
  EXPECT_THROW(Matrix(view, pool), Error);
  view.type = static_cast<TensorType>(99);
  EXPECT_THROW(Matrix(view, pool), Error);
}

}  // namespace
}  // namespace npu::llm::cpu
