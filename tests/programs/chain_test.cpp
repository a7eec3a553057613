// SPDX-License-Identifier: MIT
// Several tasks: chained into one start, one reading what another wrote, and programs that write
// only what changed [userspace tests/int8_chain_probe.c, crossop_chain_rocket.c,
// regcmd_delta_probe.c, HW].
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string_view>

#include "board.hpp"
#include "cube_task.hpp"
#include "npu-sim/float_types.hpp"
#include "regdb/registers.hpp"

namespace npu::sim::test {
namespace {

constexpr std::uint32_t kM = 64, kK = 256, kN = 64;

// An int8 product with its own operands, output and reference.
struct Product {
  CubeTask task;
  Board::Buffer out;
  std::vector<std::int32_t> want;  // [m][n]
};

Product product(Board& board, unsigned seed, bool zero_input = false) {
  std::mt19937 rng(seed);
  std::uniform_int_distribution<int> byte(-128, 127);
  Product p;
  p.task = matmul(code::int8, code::int32, kM, kK, kN);
  const auto in = board.alloc(kM * kK), w = board.alloc(kN * kK);
  std::vector<int> a(kM * kK), b(kN * kK);
  for (auto& v : a) v = zero_input ? 0 : byte(rng);
  for (auto& v : b) v = byte(rng);
  for (std::uint32_t k = 0; k < kK; ++k) {
    for (std::uint32_t m = 0; m < kM; ++m)
      in.as<std::int8_t>()[cube_at(kM, 1, 16, k, m, 0)] = static_cast<std::int8_t>(a[m * kK + k]);
    for (std::uint32_t n = 0; n < kN; ++n)
      w.as<std::int8_t>()[weight_at(32, 32, kK, 1, 1, n, k, 0, 0)] =
          static_cast<std::int8_t>(b[n * kK + k]);
  }
  for (std::uint32_t m = 0; m < kM; ++m)
    for (std::uint32_t n = 0; n < kN; ++n) {
      std::int32_t sum = 0;
      for (std::uint32_t k = 0; k < kK; ++k) sum += a[m * kK + k] * b[n * kK + k];
      p.want.push_back(sum);
    }
  p.out = board.alloc(kM * kN * 4, 0xAA);
  p.task.input = in.iova;
  p.task.weights = w.iova;
  p.task.output = p.out.iova;
  return p;
}

std::int32_t value(const Product& p, std::uint32_t m, std::uint32_t n) {
  return p.out.as<std::int32_t>()[cube_at(kM, 1, 4, n, m, 0)];
}
// Right values, in the first `columns`; the rest as the sentinel left it.
void expect_columns(const Product& p, std::uint32_t columns) {
  for (std::uint32_t m = 0; m < kM; ++m)
    for (std::uint32_t n = 0; n < kN; ++n)
      ASSERT_EQ(value(p, m, n),
                n < columns ? p.want[m * kN + n] : static_cast<std::int32_t>(0xAAAAAAAA))
          << m << "," << n;
}

TEST(Chain, Int8TasksInOneStartAreExact) {
  for (const bool zero_first : {false, true}) {
    Board board;
    std::vector<Product> products;
    std::vector<std::vector<std::uint64_t>> programs;
    for (unsigned i = 0; i < 8; ++i) {
      products.push_back(product(board, 100 + i, zero_first && i == 0));
      programs.push_back(emit(products.back().task));
    }
    ASSERT_TRUE(board.run_chained(programs)) << board.fault();
    EXPECT_EQ(board.interrupts(), 1u) << "one interrupt for all tasks";
    for (const Product& p : products) expect_columns(p, kN);
  }
}

// An fp16 product reads the cube that another one wrote: both have the same layout.
TEST(Chain, Fp16OutputIsTheNextInput) {
  Board board;
  std::mt19937 rng(4);
  std::uniform_int_distribution<int> small(-2, 2);
  constexpr std::uint32_t m = 32, k = 64, middle = 64, n = 48;
  const auto x = board.alloc(m * k * 2), w1 = board.alloc(middle * k * 2),
             w2 = board.alloc(n * middle * 2), c1 = board.alloc(m * middle * 2, 0xAA),
             out = board.alloc(m * n * 2, 0xAA);
  std::vector<int> xs(m * k), as(middle * k), bs(n * middle);
  for (auto* v : {&xs, &as, &bs})
    for (int& e : *v) e = small(rng);
  const auto half = [](int v) { return float_to_fp16(static_cast<float>(v)); };
  for (std::uint32_t i = 0; i < m; ++i)
    for (std::uint32_t c = 0; c < k; ++c)
      x.as<std::uint16_t>()[cube_at(m, 1, 8, c, i, 0)] = half(xs[i * k + c]);
  for (std::uint32_t o = 0; o < middle; ++o)
    for (std::uint32_t c = 0; c < k; ++c)
      w1.as<std::uint16_t>()[weight_at(16, 32, k, 1, 1, o, c, 0, 0)] = half(as[o * k + c]);
  for (std::uint32_t o = 0; o < n; ++o)
    for (std::uint32_t c = 0; c < middle; ++c)
      w2.as<std::uint16_t>()[weight_at(16, 32, middle, 1, 1, o, c, 0, 0)] =
          half(bs[o * middle + c]);
  CubeTask first = matmul(code::fp16, code::fp16, m, k, middle);
  first.input = x.iova;
  first.weights = w1.iova;
  first.output = c1.iova;
  CubeTask second = matmul(code::fp16, code::fp16, m, middle, n);
  second.input = c1.iova;
  second.weights = w2.iova;
  second.output = out.iova;
  ASSERT_TRUE(board.run_chained({emit(first), emit(second)})) << board.fault();
  for (std::uint32_t i = 0; i < m; ++i)
    for (std::uint32_t o = 0; o < n; ++o) {
      int sum = 0;
      for (std::uint32_t j = 0; j < middle; ++j) {
        int inner = 0;
        for (std::uint32_t c = 0; c < k; ++c) inner += xs[i * k + c] * as[j * k + c];
        sum += inner * bs[o * middle + j];
      }
      ASSERT_EQ(out.as<std::uint16_t>()[cube_at(m, 1, 8, o, i, 0)], half(sum));
    }
}

// What a task writes in regcmd_delta_probe: F everything, S everything at half the columns, D only
// pointers, addresses and the trailer.
std::vector<std::uint64_t> variant(const Product& p, char kind, std::uint32_t pointers,
                                   bool all_pointers) {
  CubeTask t = p.task;
  if (kind == 'S') {
    t = matmul(code::int8, code::int32, kM, kK, kN / 2);
    t.input = p.task.input;
    t.weights = p.task.weights;
    t.output = p.task.output;
  }
  const auto full = emit(t);
  regdb::RegcmdStream s;
  if (all_pointers) {
    s.raw(0x0201, pointers, 0x1004);
    s.raw(0x0801, pointers, 0x3004);
  }
  s.raw(0x1001, pointers & 0xFFFFFFF, 0x4004);
  s.raw(0x2001, pointers & 0xFFFFFFF, 0x5004);
  for (std::size_t i = 2; i < full.size(); ++i) {
    const auto command = regdb::Regcmd::unpack(full[i]);
    const bool address = command.offset == regdb::cna::FEATURE_DATA_ADDR::offset ||
                         command.offset == regdb::cna::DCOMP_ADDR0::offset ||
                         command.offset == regdb::dpu::DST_BASE_ADDR::offset;
    if (kind != 'D' || address || i + 4 >= full.size()) s.word(full[i]);
  }
  return s.words();
}

struct Arm {
  std::string_view tasks;
  std::uint32_t pointers;
  bool all_pointers;
  std::string_view expected;  ///< for each task: F exact, S the scrub's half, - never ends
};

TEST(Chain, APartialProgramUsesTheGroupOfTwoTasksBefore) {
  // [notes regcmd-task-model, HW sweep 2026-09-25]; each arm on a board whose two groups an earlier
  // job left at half the columns.
  const Arm arms[] = {{"FFFF", 0xE, false, "FFFF"}, {"FSD", 0xE, false, "FSF"},
                      {"SFD", 0xE, false, "SFS"},   {"FFDDDD", 0xE, false, "FFFFFF"},
                      {"SSFD", 0xE, false, "SSFS"}, {"FF", 0x30, true, "FF"},
                      {"FD", 0x30, true, "FF"}};
  for (const unsigned core : {0u, 1u})
    for (const Arm& arm : arms) {
      Board board;
      for (unsigned i = 0; i < 2; ++i)
        ASSERT_TRUE(board.run(variant(product(board, i), 'S', 0xE, false), core));
      for (std::size_t i = 0; i < arm.tasks.size(); ++i) {
        const Product p = product(board, 50 + static_cast<unsigned>(i));
        const std::uint32_t pointers = arm.pointers | (arm.all_pointers ? core << 28 : 0);
        ASSERT_TRUE(board.run(variant(p, arm.tasks[i], pointers, arm.all_pointers), core))
            << arm.tasks << " task " << i << ": " << board.fault();
        SCOPED_TRACE(std::string(arm.tasks) + " task " + std::to_string(i));
        expect_columns(p, arm.expected[i] == 'F' ? kN : kN / 2);
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
}

// The same writes without the core's bit, or with another core's: the task never ends and writes
// nothing (24 of 24 jobs).
TEST(Chain, APointerWithoutTheCoresBitHangs) {
  for (const unsigned core : {0u, 1u, 2u})
    for (const unsigned bits : {0u, 1u, 2u}) {
      Board board;
      const Product p = product(board, 9);
      const bool done = board.run(variant(p, 'F', 0x30 | bits << 28, true), core);
      EXPECT_EQ(done, bits == core) << core << " " << bits;
      expect_columns(p, bits == core ? kN : 0);
    }
}

// TASK_NUMBER ends a chain: the link of the last program is not followed.
TEST(Chain, TheLinkOfTheLastTaskIsNotFollowed) {
  Board board;
  const Product p = product(board, 3), q = product(board, 4);
  auto words = emit(q.task);
  const auto nowhere = board.alloc(4096);
  words[words.size() - 4] = regdb::Regcmd{0x0101, nowhere.iova, 0x0010}.pack();
  words[words.size() - 3] = regdb::Regcmd{0x0101, 63, 0x0014}.pack();
  ASSERT_TRUE(board.run_chained({emit(p.task), words})) << board.fault();
  expect_columns(p, kN);
  expect_columns(q, kN);
}

// WEIGHT_REUSE and DATA_REUSE keep what the task before left in CBUF: the results are those of the
// programs without them [userspace ROCKET_REUSE, HW], also with the operand gone from memory.
TEST(Chain, ReuseBitsKeepTheOperandOfTheTaskBefore) {
  for (const bool weights : {true, false}) {
    Board board;
    const Product first = product(board, 20);
    Product second = product(board, 21);
    CubeTask t = first.task;
    t.output = second.out.iova;
    (weights ? t.input : t.weights) = weights ? second.task.input : second.task.weights;
    ASSERT_TRUE(board.run(emit(t))) << board.fault();
    const std::vector<std::byte> want(second.out.data, second.out.data + second.out.bytes);
    second.out.fill(0xAA);
    (weights ? t.weight_reuse : t.data_reuse) = true;
    (weights ? t.weights : t.input) = 0x100;  // must not be read
    ASSERT_TRUE(board.run_chained({emit(first.task), emit(t)})) << board.fault();
    EXPECT_EQ(std::memcmp(want.data(), second.out.data, want.size()), 0) << weights;
  }
}

}  // namespace
}  // namespace npu::sim::test
