// SPDX-License-Identifier: MIT
// Layouts against formulas written down apart from the code, and the way there and back.
#include "npu-probe/explain_tensor.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "explain_random.hpp"

namespace npu::probe::test {
namespace {

std::string show(const NpuTensor& t) {
  return std::string(to_string(t.role)) + " " + formula(t) + " " + dimensions(t) + ": " +
         in_words(t);
}

// Every element has bytes of its own, and they lead back to it; every other byte leads nowhere.
// (int4: two elements share a byte, which leads to the first.)
void round_trip(const NpuTensor& t) {
  std::map<std::uint64_t, Coordinate> owner;
  const std::uint32_t bytes = std::max(1u, bits_of(t.type) / 8);
  std::uint64_t count = 0;
  for (std::uint32_t n = 0; n < t.n; ++n)
    for (std::uint32_t h = 0; h < t.h; ++h)
      for (std::uint32_t w = 0; w < t.w; ++w)
        for (std::uint32_t c = 0; c < t.c; ++c) {
          const auto at = offset_of(t, {n, h, w, c});
          if (!at) continue;
          ++count;
          for (std::uint32_t byte = 0; byte < bytes; ++byte) {
            const bool fresh = owner.emplace(*at + byte, Coordinate{n, h, w, c}).second;
            ASSERT_TRUE(fresh || t.type == ElementType::int4) << show(t);
          }
          ASSERT_LE(*at + bytes, span_bytes(t)) << show(t);
        }
  EXPECT_EQ(elements(t), std::uint64_t{t.n} * t.h * t.w * t.c);
  if (t.group_written >= t.group_planes) {
    EXPECT_EQ(count, elements(t)) << show(t);
  }
  for (std::uint64_t offset = 0; offset < span_bytes(t) + 70; ++offset) {
    const auto at = coordinate_of(t, offset);
    const auto it = owner.find(offset);
    if (it == owner.end()) {
      ASSERT_FALSE(at.has_value()) << show(t) << " at " << offset;
    } else {
      ASSERT_TRUE(at.has_value()) << show(t) << " at " << offset;
      ASSERT_EQ(*at, it->second) << show(t) << " at " << offset << ": " << to_string(t, *at);
    }
  }
}

TEST(ExplainTensor, EveryByteLeadsToItsElementAndBack) {
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    round_trip(random_tensor(random));
    if (HasFatalFailure()) return;
  }
}

TEST(ExplainTensor, Cube) {
  NpuTensor t;
  t.h = 7, t.w = 5, t.c = 40;
  t.line_stride = 5 * 16, t.plane_stride = t.group_stride = 9 * 5 * 16;  // two rows of air
  EXPECT_EQ(formula(t), "[C/16][H][W][16]");
  EXPECT_EQ(dimensions(t), "1x7x5x40");
  EXPECT_EQ(offset_of(t, {0, 3, 2, 35}), std::uint64_t{2 * 720 + 3 * 80 + 2 * 16 + 3});
  EXPECT_EQ(coordinate_of(t, 2 * 720 + 3 * 80 + 2 * 16 + 3), (Coordinate{0, 3, 2, 35}));
  EXPECT_FALSE(coordinate_of(t, 2 * 720 + 3 * 80 + 2 * 16 + 8));  // channel 40
  EXPECT_FALSE(coordinate_of(t, 7 * 80));                         // row 7
  EXPECT_FALSE(offset_of(t, {0, 7, 0, 0}));
  EXPECT_EQ(span_bytes(t), 2u * 720 + 7 * 80);
  EXPECT_EQ(to_string(t, {0, 3, 2, 35}), "(h 3, w 2, c 35)");
}

TEST(ExplainTensor, GroupsOfPlanesOfWhichTheLastAreNotWritten) {
  NpuTensor t;  // int32 out of int8: groups of 32 kernels are 8 planes
  t.type = ElementType::int32;
  t.h = 4, t.w = 1, t.c = 64;
  t.line_stride = 16, t.plane_stride = 64;
  t.group_planes = 8, t.group_written = 4, t.group_stride = 512;
  EXPECT_EQ(offset_of(t, {0, 1, 0, 33}), std::uint64_t{512 + 16 + 4});
  EXPECT_FALSE(offset_of(t, {0, 1, 0, 16}));  // the fifth plane
  EXPECT_FALSE(coordinate_of(t, 4 * 64));
  EXPECT_EQ(coordinate_of(t, 512 + 20), (Coordinate{0, 1, 0, 33}));
}

// [O/32][C/32][KH][KW][32][32] with short last blocks, element by element in memory's order.
TEST(ExplainTensor, KernelsInTheOrderOfMemory) {
  std::mt19937 random(2);
  for (int round = 0; round < 30; ++round) {
    NpuTensor t;
    t.role = TensorRole::weights, t.kind = LayoutKind::kernels;
    t.block_n = 16u << random() % 2, t.block_c = 32;
    t.h = 1 + random() % 3, t.w = 1 + random() % 3;
    t.stored_n = t.n = 1 + random() % 70;
    t.stored_c = t.c = 16 * (1 + random() % 5);
    std::uint64_t at = 0;
    for (std::uint32_t n0 = 0; n0 < t.n; n0 += t.block_n)
      for (std::uint32_t c0 = 0; c0 < t.c; c0 += t.block_c)
        for (std::uint32_t h = 0; h < t.h; ++h)
          for (std::uint32_t w = 0; w < t.w; ++w)
            for (std::uint32_t n = n0; n < std::min(t.n, n0 + t.block_n); ++n)
              for (std::uint32_t c = c0; c < std::min(t.c, c0 + t.block_c); ++c, ++at)
                ASSERT_EQ(offset_of(t, {n, h, w, c}), at) << show(t);
    EXPECT_EQ(span_bytes(t), at);
  }
}

TEST(ExplainTensor, NonsenseIsNowhere) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 3000; ++i) {
    NpuTensor t;
    t.type = static_cast<ElementType>(random() % 9);
    t.kind = static_cast<LayoutKind>(random() % 8);
    const auto size = [&] { return static_cast<std::uint32_t>(random() >> (20 + random() % 44)); };
    t.n = size(), t.h = size() & 0x3FFF, t.w = size() & 0x3FFF, t.c = size() & 0xFFFF;
    t.stored_n = size(), t.stored_c = size(), t.block_n = size(), t.block_c = size();
    t.line_stride = static_cast<std::int32_t>(size());
    t.plane_stride = static_cast<std::int32_t>(size());
    t.group_stride = static_cast<std::int32_t>(size());
    t.position_stride = size();
    t.group_planes = size() % 40, t.group_written = size() % 40;
    for (int k = 0; k < 5; ++k) {
      const std::uint64_t offset = random() >> random() % 64;
      if (const auto at = coordinate_of(t, offset)) {
        EXPECT_LT(at->c, t.c);
        EXPECT_LT(at->h, t.h);
      }
      offset_of(t, {size(), size(), size(), size()});
    }
    span_bytes(t), formula(t), in_words(t), dimensions(t);
  }
}

}  // namespace
}  // namespace npu::probe::test
