// SPDX-License-Identifier: MIT
#include "npu-probe/program_diff.hpp"

#include <gtest/gtest.h>

#include <random>

#include "regdb/registers.hpp"

namespace npu::probe::test {
namespace {

namespace rd = npu::regdb;

template <class R>
std::uint64_t word(std::uint32_t value) {
  return rd::Regcmd{static_cast<std::uint16_t>(R::target), value, R::offset}.pack();
}

// A task of 40 registers, `differing` of which depend on `seed`.
ProgramTask task(std::uint32_t seed, std::uint32_t differing = 12, std::uint32_t blocks = 0x1D) {
  ProgramTask t;
  for (std::uint32_t i = 0; i < 40; ++i)
    t.words.push_back(rd::Regcmd{0x201, i < differing ? seed * 1000 + i : i,
                                 static_cast<std::uint16_t>(0x1100 + 4 * i)}
                          .pack());
  t.words.push_back(rd::Regcmd{0x81, blocks, 8}.pack());
  return t;
}

std::string text(const std::vector<TaskPair>& pairs) {
  std::string out;
  for (const TaskPair& pair : pairs)
    out += (pair.a ? std::to_string(*pair.a) : "-") + ":" +
           (pair.b ? std::to_string(*pair.b) : "-") + " ";
  return out;
}

TEST(ProgramDiff, InsertedTaskShiftsNothing) {
  const std::vector<ProgramTask> a{task(1), task(2), task(3), task(4)};
  const std::vector<ProgramTask> b{task(1), task(9), task(2), task(3), task(4)};
  EXPECT_EQ(text(align_tasks(a, b)), "0:0 -:1 1:2 2:3 3:4 ");
  EXPECT_EQ(text(align_tasks(b, a)), "0:0 1:- 2:1 3:2 4:3 ");
}

TEST(ProgramDiff, ChangedTaskStaysAlignedAndAnotherOperatorDoesNot) {
  const std::vector<ProgramTask> a{task(1), task(2), task(3)};
  const std::vector<ProgramTask> changed{task(1), task(7), task(3)};
  EXPECT_EQ(text(align_tasks(a, changed)), "0:0 1:1 2:2 ");
  const std::vector<ProgramTask> other{task(1), task(2, 12, 0x60), task(3)};
  EXPECT_EQ(text(align_tasks(a, other)), "0:0 1:- -:1 2:2 ");
  const std::vector<ProgramTask> unlike{task(1), task(7, 40), task(3)};
  EXPECT_EQ(text(align_tasks(a, unlike)), "0:0 1:- -:1 2:2 ");
}

TEST(ProgramDiff, InsertionNextToAChangeIsFoundByLikeness) {
  // Task 2 lost one register's value; a task that is less like it stands before.
  ProgramTask changed = task(2);
  changed.words[0] += 1ull << 16;
  const std::vector<ProgramTask> a{task(1), task(2), task(3)};
  const std::vector<ProgramTask> b{task(1), task(8), changed, task(3)};
  EXPECT_EQ(text(align_tasks(a, b)), "0:0 -:1 1:2 2:3 ");
}

TEST(ProgramDiff, EmptySidesAlign) {
  const std::vector<ProgramTask> one{task(1)};
  EXPECT_EQ(text(align_tasks({}, {})), "");
  EXPECT_EQ(text(align_tasks(one, {})), "0:- ");
  EXPECT_EQ(text(align_tasks({}, one)), "-:0 ");
}

TEST(ProgramDiff, LongProgramsAreSplitWhereTasksAreUnique) {
  // Too long for one table; every hundredth task has changed, and one was inserted early.
  std::vector<ProgramTask> a, b;
  for (std::uint32_t i = 0; i < 3000; ++i) {
    a.push_back(task(i));
    if (i == 10) b.push_back(task(90000));
    ProgramTask t = task(i);
    if (i % 100 == 50 || i == 0 || i == 2999) t.words[1] ^= 1ull << 20;
    b.push_back(t);
  }
  const auto pairs = align_tasks(a, b);
  std::size_t both = 0;
  for (const TaskPair& pair : pairs)
    if (pair.a && pair.b) {
      ++both;
      EXPECT_EQ(*pair.b, *pair.a + (*pair.a >= 10 ? 1 : 0));
    }
  EXPECT_EQ(both, 3000u);
}

TEST(ProgramDiff, LongProgramsWithoutUniqueTasksPairByPosition) {
  std::vector<ProgramTask> a(2200, task(1)), b(2201, task(2));
  const auto pairs = align_tasks(a, b);
  EXPECT_EQ(pairs.size(), 2201u);
  EXPECT_EQ(pairs.front(), (TaskPair{0, 0}));
  EXPECT_EQ(pairs.back(), (TaskPair{std::nullopt, 2200}));
}

TEST(ProgramDiff, EveryTaskStandsOnceAndInOrder) {
  std::mt19937 rng(7);
  for (int round = 0; round < 200; ++round) {
    std::vector<ProgramTask> a, b;
    for (std::size_t i = rng() % 12; i-- > 0;) a.push_back(task(rng() % 6, rng() % 30));
    for (std::size_t i = rng() % 12; i-- > 0;) b.push_back(task(rng() % 6, rng() % 30));
    std::size_t next_a = 0, next_b = 0;
    for (const TaskPair& pair : align_tasks(a, b)) {
      EXPECT_TRUE(pair.a || pair.b);
      if (pair.a) {
        EXPECT_EQ(*pair.a, next_a++);
      }
      if (pair.b) {
        EXPECT_EQ(*pair.b, next_b++);
      }
    }
    EXPECT_EQ(next_a, a.size());
    EXPECT_EQ(next_b, b.size());
  }
}

TEST(ProgramDiff, BuffersPairByOrderAndSize) {
  using Pairs = std::vector<std::optional<std::size_t>>;
  const std::vector<ProgramBuffer> a{{1, 0, 100}, {2, 0, 200}, {3, 0, 300}};
  EXPECT_EQ(pair_buffers(a, {{7, 0, 100}, {8, 0, 200}, {9, 0, 300}}), (Pairs{0, 1, 2}));
  EXPECT_EQ(pair_buffers(a, {{7, 0, 100}, {8, 0, 50}, {9, 0, 200}, {10, 0, 300}}),
            (Pairs{0, 2, 3}));
  EXPECT_EQ(pair_buffers(a, {{7, 0, 100}, {8, 0, 250}, {9, 0, 300}}), (Pairs{0, 1, 2}));
  EXPECT_EQ(pair_buffers(a, {{7, 0, 300}}), (Pairs{std::nullopt, std::nullopt, 0}));
}

ProgramTask with_address(std::uint32_t address, std::vector<ProgramBuffer> buffers) {
  ProgramTask t = task(1);
  t.words.insert(t.words.begin(), word<rd::cna::FEATURE_DATA_ADDR>(address));
  if (!buffers.empty())
    t.buffers = std::make_shared<const std::vector<ProgramBuffer>>(std::move(buffers));
  return t;
}

TEST(ProgramDiff, AddressesCompareAsBufferAndOffset) {
  const ProgramTask a = with_address(0x1040, {{1, 0x1000, 4096}, {2, 0x2000, 8192}});
  const ProgramTask moved = with_address(0x9040, {{5, 0x9000, 4096}, {6, 0x4000, 8192}});
  EXPECT_TRUE(diff_task(a, moved, {}).words.empty());
  EXPECT_EQ(diff_task(a, moved, {.raw_addresses = true}).words.size(), 1u);
  const ProgramTask other = with_address(0x4040, {{5, 0x9000, 4096}, {6, 0x4000, 8192}});
  const TaskChanges changes = diff_task(a, other, {});
  ASSERT_EQ(changes.words.size(), 1u);
  EXPECT_EQ(changes.words[0].where_a, "buffer 1 + 0x40");
  EXPECT_EQ(changes.words[0].where_b, "buffer 6 + 0x40");
  // Without buffers on one side there is nothing to compare by.
  const TaskChanges unknown = diff_task(a, with_address(0x9040, {}), {});
  EXPECT_TRUE(unknown.words.empty());
  EXPECT_EQ(unknown.unknown_addresses, 1u);
  EXPECT_EQ(diff_task(with_address(1, {}), with_address(2, {}), {}).words.size(), 1u);
}

TEST(ProgramDiff, RegistersThatOneSideLacksAndRepeatedWritesAreFound) {
  ProgramTask a = task(1), b = task(1);
  a.words.insert(a.words.begin(), word<rd::dpu::LUT_ACCESS_DATA>(1));
  a.words.insert(a.words.begin() + 1, word<rd::dpu::LUT_ACCESS_DATA>(2));
  b.words.insert(b.words.begin(), word<rd::dpu::LUT_ACCESS_DATA>(1));
  b.words.insert(b.words.begin() + 1, word<rd::dpu::LUT_ACCESS_DATA>(3));
  b.words.insert(b.words.begin() + 2, word<rd::dpu::LUT_ACCESS_DATA>(4));
  b.words.push_back(0);  // padding is no difference
  const TaskChanges changes = diff_task(a, b, {});
  ASSERT_EQ(changes.words.size(), 2u);
  EXPECT_EQ(changes.words[0].a, 1u);
  EXPECT_EQ(changes.words[0].b, 1u);
  EXPECT_FALSE(changes.words[1].a);
  EXPECT_EQ(changes.words[1].b, 2u);
}

}  // namespace
}  // namespace npu::probe::test
