// SPDX-License-Identifier: MIT
#include "llm-runtime/cpu/attention.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "regdb/error.hpp"
#include "tests/llm-runtime/cpu/weights.hpp"

namespace npu::llm::cpu {
namespace {

using test::random_activations;

struct Case {
  KvType type;
  std::size_t heads, kv_heads, head_size;
};

/// Fills a cache, asks for the given places and compares with softmax in doubles.
void check(const Case& c, std::size_t sequences, std::size_t positions,
           const std::vector<Place>& places, double tolerance) {
  ThreadPool pool(2);
  const std::size_t kv = c.kv_heads * c.head_size, row = c.heads * c.head_size;
  std::vector<std::byte> keys(sequences * positions *
                              kv_row_bytes(c.type, c.kv_heads, c.head_size));
  std::vector<std::byte> values = keys;
  const KvCache cache{c.type, c.kv_heads, c.head_size, positions, keys.data(), values.data()};
  const auto k = random_activations(sequences * positions * kv, 1);
  const auto v = random_activations(sequences * positions * kv, 2);
  std::vector<Place> all;
  for (std::uint32_t s = 0; s < sequences; ++s)
    for (std::uint32_t p = 0; p < positions; ++p) all.push_back({s, p});
  store_kv(pool, cache, all, k.data(), v.data(), kv);
  const auto q = random_activations(places.size() * row, 3);
  std::vector<float> out(places.size() * row);
  const float scale = 1 / std::sqrt(static_cast<float>(c.head_size));
  attention(pool, cache, places, q.data(), row, c.heads, scale, out.data(), row);
  for (std::size_t i = 0; i < places.size(); ++i)
    for (std::size_t h = 0; h < c.heads; ++h) {
      const std::size_t head = h / (c.heads / c.kv_heads) * c.head_size;
      const auto at = [&](std::size_t p) {
        return (places[i].sequence * positions + p) * kv + head;
      };
      std::vector<double> weight;
      double total = 0;
      for (std::size_t p = 0; p <= places[i].position; ++p) {
        double score = 0;
        for (std::size_t d = 0; d < c.head_size; ++d)
          score += double{q[i * row + h * c.head_size + d]} * k[at(p) + d];
        total += weight.emplace_back(std::exp(score * double{scale}));
      }
      for (std::size_t d = 0; d < c.head_size; ++d) {
        double expected = 0;
        for (std::size_t p = 0; p < weight.size(); ++p) expected += weight[p] * v[at(p) + d];
        ASSERT_NEAR(out[i * row + h * c.head_size + d], expected / total, tolerance)
            << "row " << i << " at " << places[i].position << " head " << h << " element " << d;
      }
    }
}

const Case kCases[] = {
    {KvType::f32, 4, 4, 64},  {KvType::f32, 14, 2, 64},  {KvType::f32, 6, 2, 128},
    {KvType::f32, 2, 1, 8},   {KvType::f32, 3, 1, 40},   {KvType::f16, 14, 2, 64},
    {KvType::f16, 6, 2, 128}, {KvType::q8_0, 14, 2, 64}, {KvType::q8_0, 4, 2, 96}};

double tolerance(KvType type) {
  // f16: 2^-11 of values up to about 4; q8_0: steps of 1/127 of them.
  return type == KvType::f32 ? 1e-5 : type == KvType::f16 ? 3e-3 : 4e-2;
}

TEST(Attention, PrefillIsCausal) {
  for (const Case& c : kCases) {
    std::vector<Place> places;
    for (std::uint32_t p = 0; p < 70; ++p) places.push_back({0, p});
    check(c, 1, 70, places, tolerance(c.type));
  }
}

TEST(Attention, ChunksContinueWhereTheCacheEnds) {
  for (const Case& c : kCases) {
    std::vector<Place> places;
    for (std::uint32_t p = 90; p < 103; ++p) places.push_back({0, p});
    check(c, 1, 120, places, tolerance(c.type));
  }
}

TEST(Attention, DecodeSeesThePast) {
  for (const Case& c : kCases)
    for (const std::uint32_t p : {0U, 1U, 31U, 32U, 199U})
      check(c, 1, 200, {{0, p}}, tolerance(c.type));
}

TEST(Attention, RowsOfABatchSeeOnlyTheirOwnSequence) {
  for (const Case& c : kCases)
    check(c, 4, 50, {{3, 49}, {0, 0}, {2, 17}, {1, 33}, {1, 34}, {0, 1}, {2, 18}},
          tolerance(c.type));
}

TEST(Attention, ARowsResultDoesNotDependOnItsNeighbours) {
  ThreadPool pool(2);
  const std::size_t heads = 14, size = 64, kv = 2 * size, row = heads * size, positions = 90;
  std::vector<std::byte> keys(positions * kv_row_bytes(KvType::f16, 2, size)), values = keys;
  const KvCache cache{KvType::f16, 2, size, positions, keys.data(), values.data()};
  std::vector<Place> places;
  for (std::uint32_t p = 0; p < positions; ++p) places.push_back({0, p});
  const auto k = random_activations(positions * kv, 1), v = random_activations(positions * kv, 2);
  store_kv(pool, cache, places, k.data(), v.data(), kv);
  const auto q = random_activations(positions * row, 3);
  std::vector<float> all(positions * row), one(row);
  attention(pool, cache, places, q.data(), row, heads, 0.125F, all.data(), row);
  for (std::size_t p = 0; p < positions; ++p) {
    attention(pool, cache, {&places[p], 1}, &q[p * row], row, heads, 0.125F, one.data(), row);
    ASSERT_TRUE(std::equal(one.begin(), one.end(), &all[p * row])) << "position " << p;
  }
}

TEST(Attention, WrongShapesAreNamed) {
  ThreadPool pool(1);
  std::vector<std::byte> memory(1 << 16);
  std::vector<float> q(1024);
  KvCache cache{KvType::f16, 2, 64, 8, memory.data(), memory.data()};
  const Place good[] = {{0, 7}}, beyond[] = {{0, 8}};
  EXPECT_NO_THROW(attention(pool, cache, good, q.data(), 256, 4, 1, q.data(), 256));
  EXPECT_THROW(attention(pool, cache, beyond, q.data(), 256, 4, 1, q.data(), 256), Error);
  EXPECT_THROW(attention(pool, cache, good, q.data(), 256, 3, 1, q.data(), 256), Error);
  cache.head_size = 12;
  EXPECT_THROW(attention(pool, cache, good, q.data(), 256, 4, 1, q.data(), 256), Error);
  cache.head_size = 40;
  cache.type = KvType::q8_0;
  EXPECT_THROW(attention(pool, cache, good, q.data(), 256, 4, 1, q.data(), 256), Error);
}

}  // namespace
}  // namespace npu::llm::cpu
