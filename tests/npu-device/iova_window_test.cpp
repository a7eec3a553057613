// SPDX-License-Identifier: MIT
#include "npu-device/iova_window.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace npu::device {
namespace {

constexpr std::uint64_t kPage = 4096, kEnd = std::uint64_t{1} << 32;

TEST(IovaWindow, TheSmallestHoleThatIsLargeEnough) {
  IovaWindow window;
  EXPECT_EQ(window.insert(4 * kPage), 0u);
  EXPECT_EQ(window.insert(kPage), 4 * kPage);
  EXPECT_EQ(window.insert(2 * kPage), 5 * kPage);
  EXPECT_EQ(window.insert(kPage), 7 * kPage);
  window.remove(0);
  window.remove(5 * kPage);
  EXPECT_EQ(window.insert(2 * kPage), 5 * kPage);  // the lowest one is larger
  EXPECT_EQ(window.insert(3 * kPage), 0u);
  EXPECT_EQ(window.insert(kPage), 3 * kPage);
  EXPECT_EQ(window.insert(kPage), 8 * kPage);
}

TEST(IovaWindow, OfEqualHolesTheOneThatCameToBeLast) {
  IovaWindow window;
  for (std::uint32_t i = 0; i < 6; ++i) ASSERT_EQ(window.insert(kPage), i * kPage);
  window.remove(3 * kPage);
  window.remove(1 * kPage);
  EXPECT_EQ(window.insert(kPage), 1 * kPage);
  window.remove(1 * kPage);
  window.remove(5 * kPage);  // joins the rest of the window
  EXPECT_EQ(window.insert(kPage), 1 * kPage);
  EXPECT_EQ(window.insert(kPage), 3 * kPage);
  EXPECT_EQ(window.insert(kPage), 5 * kPage);
}

TEST(IovaWindow, AHoleTooSmallOnceItsBeginIsRoundedUpIsPassedOver) {
  IovaWindow window;
  EXPECT_EQ(window.insert(5000), 0u);
  EXPECT_EQ(window.insert(2 * kPage), 2 * kPage);
  EXPECT_EQ(window.insert(kPage), 4 * kPage);
  // The hole at 5000 has 3192 bytes, but no page boundary with room behind it.
  EXPECT_EQ(window.insert(100), 5 * kPage);
  window.remove(2 * kPage);
  // 5000 to 0x4000 is enough for two pages from 0x2000 on, and not for two and a byte.
  EXPECT_EQ(window.insert(2 * kPage + 1), 6 * kPage);
  EXPECT_EQ(window.insert(2 * kPage), 2 * kPage);
}

TEST(IovaWindow, FullAndEmptyRequestsAreRefused) {
  IovaWindow window;
  EXPECT_EQ(window.insert(0), std::nullopt);
  EXPECT_EQ(window.insert(kEnd + 1), std::nullopt);
  EXPECT_EQ(window.insert(kEnd), 0u);
  EXPECT_EQ(window.insert(1), std::nullopt);
  EXPECT_FALSE(window.reserve(0x1000, 1));
  window.remove(0);
  EXPECT_TRUE(window.reserve(0x1000, 1));
  EXPECT_FALSE(window.reserve(0, 0x1001));
  EXPECT_FALSE(window.reserve(0xFFFFF000, 0x1001));
  EXPECT_EQ(window.insert(kPage), 0u);
  window.remove(0x5000);  // nothing of ours: stays as it is
}

// The rule in other words: every gap is listed with the time when it last changed; a request goes
// to the smallest gap in which it fits behind a page boundary, the youngest of equals.
struct Gap {
  std::uint64_t begin, end, born;
};
struct Model {
  std::vector<Gap> gaps{{0, kEnd, 0}};
  std::vector<std::pair<std::uint64_t, std::uint64_t>> buffers;
  std::uint64_t now = 0;

  std::optional<std::uint64_t> insert(std::uint64_t bytes) {
    const Gap* best = nullptr;
    for (const Gap& gap : gaps) {
      const std::uint64_t begin = (gap.begin + kPage - 1) & ~(kPage - 1);
      if (begin > gap.end || gap.end - begin < bytes) continue;
      const std::uint64_t size = gap.end - gap.begin;
      if (best != nullptr) {
        const std::uint64_t least = best->end - best->begin;
        if (size > least || (size == least && gap.born < best->born)) continue;
      }
      best = &gap;
    }
    if (best == nullptr) return std::nullopt;
    const Gap gap = *best;
    gaps.erase(gaps.begin() + (best - gaps.data()));
    const std::uint64_t begin = (gap.begin + kPage - 1) & ~(kPage - 1);
    if (gap.begin < begin) gaps.push_back({gap.begin, begin, ++now});
    if (begin + bytes < gap.end) gaps.push_back({begin + bytes, gap.end, ++now});
    buffers.emplace_back(begin, begin + bytes);
    return begin;
  }
  void remove(std::size_t index) {
    Gap merged{buffers[index].first, buffers[index].second, ++now};
    buffers.erase(buffers.begin() + static_cast<std::ptrdiff_t>(index));
    std::erase_if(gaps, [&](const Gap& gap) {
      if (gap.end != merged.begin && gap.begin != merged.end) return false;
      merged.begin = std::min(merged.begin, gap.begin);
      merged.end = std::max(merged.end, gap.end);
      return true;
    });
    gaps.push_back(merged);
  }
};

TEST(IovaWindow, EqualsTheRuleOverRandomLives) {
  for (std::uint32_t seed = 1; seed <= 40; ++seed) {
    std::mt19937 rng(seed);
    IovaWindow window;
    Model model;
    for (int step = 0; step < 400; ++step) {
      if (!model.buffers.empty() && rng() % 5 < 2) {
        const std::size_t index = rng() % model.buffers.size();
        window.remove(static_cast<std::uint32_t>(model.buffers[index].first));
        model.remove(index);
        continue;
      }
      // Few sizes, so that equal holes are common; some of them no whole pages.
      const std::uint64_t bytes = rng() % 4 == 0 ? 1 + rng() % 20000 : kPage * (1 + rng() % 4);
      const auto want = model.insert(bytes);
      const auto got = window.insert(bytes);
      ASSERT_TRUE(got && want && *got == *want) << "seed " << seed << " step " << step;
    }
  }
}

}  // namespace
}  // namespace npu::device
