// SPDX-License-Identifier: MIT
// Programs against the tables of compute.md 2.3, 2.6 and 3.1, as raw register values.
#include "microkernels/gemm_emit.hpp"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "microkernels/layout.hpp"
#include "random_matrix.hpp"
#include "regdb/error.hpp"
#include "regdb/regcmd.hpp"
#include "regdb/tables.hpp"

namespace npu::kernels {
namespace {

using regdb::Block;
using regdb::Regcmd;

struct Values {
  std::map<std::uint16_t, std::uint32_t> at;  // register offset -> value
  std::map<std::uint16_t, unsigned> writes;
  std::uint32_t enable = 0;
};

// The body of a task and its trailer's form.
Values read_task(const std::vector<std::uint64_t>& words) {
  Values values;
  EXPECT_EQ(words.size() % 2, 0u);
  const std::size_t body = words.size() - 4;
  for (std::size_t i = 0; i < body; ++i) {
    if (words[i] == 0) continue;
    const Regcmd command = Regcmd::unpack(words[i]);
    const auto block = regdb::block_of_target(command.target);
    EXPECT_TRUE(block.has_value()) << std::hex << words[i];
    if (!block) continue;
    EXPECT_NE(regdb::find_register(*block, command.offset), nullptr) << std::hex << words[i];
    values.at[command.offset] = command.value;
    ++values.writes[command.offset];
  }
  EXPECT_EQ(words[body], 0u);
  EXPECT_EQ(words[body + 1], (Regcmd{0x0101, 0, 0x0014}.pack()));
  EXPECT_EQ(words[body + 2], 0x0041000000000000u);
  values.enable = Regcmd::unpack(words[body + 3]).value;
  EXPECT_EQ(words[body + 3], (Regcmd{0x0081, values.enable, 0x0008}.pack()));
  return values;
}

using Expected = std::vector<std::pair<std::uint16_t, std::uint32_t>>;

void expect_values(const Values& values, const Expected& expected) {
  for (const auto& [offset, value] : expected) {
    const auto found = values.at.find(offset);
    ASSERT_NE(found, values.at.end()) << std::hex << offset;
    EXPECT_EQ(found->second, value) << "register " << std::hex << offset;
  }
}

TEST(GemmEmit, RawSumsFollowTheCubeFormTable) {
  // One task: M 16, N 64, K 96 (padded from 90).
  const GemmPlan plan = plan_gemm({16, 64, 90}, GemmOutput::i32);
  const Program program = emit_gemm(plan, 0, 0);
  ASSERT_EQ(program.tasks.size(), 1u);
  const Values values = read_task(program.tasks[0]);
  EXPECT_EQ(values.enable, 0x1Du);
  const std::uint32_t m = 16, n = 64, k = 96;
  expect_values(values, {
                            {0x4004, 0xE},
                            {0x5004, 0xE},
                            {0x100C, 0},
                            {0x1010, (m + 1) << 4},
                            {0x1014, 0x9},
                            {0x1020, 1u << 16 | m},
                            {0x1024, (k - 1) << 16 | k},
                            {0x1028, 1},
                            {0x102C, m},
                            {0x1030, n * k},
                            {0x1034, k},
                            {0x1038, 1u << 24 | 1u << 16 | n},
                            {0x1040, (12 - 2) << 4 | 2},
                            {0x1044, 2},  // 1 bank and the spare one; ceil(96 / 64)
                            {0x104C, 0xB},
                            {0x1050, 0x10000},
                            {0x1054, 0x10000},
                            {0x1058, 0x10000},
                            {0x105C, 0x10000},
                            {0x1078, 0x000F000F},
                            {0x107C, 4},
                            {0x1080, m - 4},
                            {0x1084, 1u << 16 | m},
                            {0x1088, k},
                            {0x3010, 0},
                            {0x3014, (m - 1) << 16},
                            {0x3018, n - 1},
                            {0x301C, 0},
                            {0x3030, 0},
                            {0x400C, 0x1E4},
                            {0x4010, 0x80000000},
                            {0x4024, m << 4},
                            {0x4030, 0},
                            {0x4034, m - 1},
                            {0x4038, 0},
                            {0x403C, (n - 1) << 16 | (n - 1)},
                            {0x4040, 0x53},
                            {0x4050, 0x7FE},
                            {0x4054, 0},
                            {0x4058, n - 1},
                            {0x405C, (m - 1) << 16},
                            {0x4060, 0x53},
                            {0x4070, 0x383},
                            {0x4078, 1},
                            {0x4080, 0},
                            {0x4084, 1},
                            {0x4088, 0},
                            {0x40C0, (m * 8) << 4},
                            {0x500C, 0},
                            {0x5010, m - 1},
                            {0x5014, n - 1},
                            {0x501C, 0},
                            {0x5034, 1},
                            {0x5044, 0x7810},
                            {0x5068, 0x01010101},
                        });
}

TEST(GemmEmit, RequantisedOutputFollowsTheConvolutionTable) {
  // M 60 becomes 8 x 8.
  const GemmPlan plan = plan_gemm({60, 33, 128}, GemmOutput::i8);
  const Program program = emit_gemm(plan, 0, 0, {-3, 21, -125});
  ASSERT_EQ(program.tasks.size(), 1u);
  const Values values = read_task(program.tasks[0]);
  EXPECT_EQ(values.enable, 0x1Du);
  const std::uint32_t w = 8, h = 8, n = 64, k = 128;
  expect_values(values, {
                            {0x100C, 0},
                            {0x1010, 52u << 4},
                            {0x1014, 0x9},
                            {0x1020, w << 16 | h},
                            {0x1024, (k - 1) << 16 | k},
                            {0x1028, w},
                            {0x102C, w * h},
                            {0x1030, n * k},
                            {0x1034, k},
                            {0x1038, 1u << 24 | 1u << 16 | n},
                            {0x1044, 2 * w * (k / 16) / 8},
                            {0x104C, 0xB},
                            {0x107C, 4 * w},
                            {0x1080, w * (h - 4)},
                            {0x1084, w << 16 | h},
                            {0x1088, k},
                            {0x3010, 1},
                            {0x3014, (h - 1) << 16 | (w - 1)},
                            {0x3018, n - 1},
                            {0x400C, 0x1E4},
                            {0x4010, 0},
                            {0x4024, (w * h) << 4},
                            {0x4030, w - 1},
                            {0x4034, h - 1},
                            {0x403C, (n - 1) << 16 | (n - 1)},
                            {0x4040, 0x20150},
                            {0x4050, 0x124},
                            {0x4054, 0},
                            {0x4058, n - 1},
                            {0x405C, (h - 1) << 16 | (w - 1)},
                            {0x4060, 0x53},
                            {0x4070, 0x383},
                            {0x4080, static_cast<std::uint32_t>(-125)},
                            {0x4084, 0xFFFD},
                            {0x4088, 21},
                            {0x40C0, (w * h * 2) << 4},
                            {0x500C, w - 1},
                            {0x5010, h - 1},
                            {0x5014, n - 1},
                            {0x501C, 2},
                            {0x5034, 1},
                            {0x5044, 0x7810},
                            {0x5068, 0x01010101},
                        });
}

TEST(GemmEmit, EveryTaskWritesEveryRegisterOnce) {
  std::mt19937 random(21);
  for (int round = 0; round < 20; ++round) {
    const GemmOutput output = round % 2 == 0 ? GemmOutput::i32 : GemmOutput::i8;
    const GemmPlan plan =
        plan_gemm({pick(random, 1, 700), pick(random, 1, 5000), pick(random, 1, 9999)}, output, 2);
    const Program program =
        emit_gemm(plan, 0, static_cast<std::uint32_t>(plan.stages.size()) - 1, {1, 2, 3});
    for (const auto& task : program.tasks) {
      const Values values = read_task(task);
      for (const regdb::RegisterInfo& reg : regdb::registers()) {
        const std::string name(reg.name);
        const bool block = reg.block == Block::cna || reg.block == Block::core ||
                           reg.block == Block::dpu || reg.block == Block::dpu_rdma;
        // The driver's: core index and enables; clock gating has no part in a result.
        const bool other = name.ends_with("S_STATUS") || name.ends_with("OPERATION_ENABLE") ||
                           name == "CLK_GATE" || name == "MAC_GATING" || reg.offset == 0x1004 ||
                           reg.offset == 0x3004;
        const auto found = values.writes.find(reg.offset);
        const unsigned writes = found == values.writes.end() ? 0 : found->second;
        ASSERT_EQ(writes, block && !other ? 1u : 0u) << name;
      }
    }
  }
}

TEST(GemmEmit, RelocationsPointAtAddressRegistersOfTheRightBuffer) {
  const GemmPlan plan = plan_gemm({3000, 9000, 300}, GemmOutput::i8, 2);
  ASSERT_GT(plan.cores[0].tasks.size(), 3u);
  for (std::size_t core = 0; core < 2; ++core) {
    const Program program = emit_gemm(plan, core, 0, {1, 0, 0});
    std::vector<GemmTask> tasks;
    for (const GemmTask& task : plan.cores[core].tasks)
      if (task.stage == 0) tasks.push_back(task);
    ASSERT_EQ(program.tasks.size(), tasks.size());
    ASSERT_EQ(program.relocations.size(), tasks.size() * 4);
    for (const Relocation& r : program.relocations) {
      const Regcmd command = Regcmd::unpack(program.tasks[r.task][r.word]);
      EXPECT_EQ(command.value, 0u);
      const GemmTask& task = tasks[r.task];
      switch (command.offset) {
        case 0x1070:
          EXPECT_EQ(r.slot, kGemmA + task.a_part);
          EXPECT_EQ(r.offset, task.a_offset);
          break;
        case 0x1110:
          EXPECT_EQ(r.slot, kGemmB);
          EXPECT_EQ(r.offset, task.b_offset);
          break;
        case 0x4020:
          EXPECT_EQ(r.slot, gemm_c_slot(plan.cores[core], task.c_part));
          EXPECT_EQ(r.offset, task.c_offset);
          break;
        case 0x5020:
          EXPECT_EQ(r.slot, kGemmBias);
          EXPECT_EQ(r.offset, task.bias_offset);
          break;
        default: FAIL() << "relocation of register " << std::hex << command.offset;
      }
    }
  }
}

TEST(GemmEmit, SlicesTogetherHoldEveryTask) {
  const GemmPlan plan = plan_gemm({9, 40, 20000}, GemmOutput::i32);
  ASSERT_GT(plan.slices, 1u);
  std::size_t tasks = 0;
  for (std::uint32_t slice = 0; slice < plan.stages.size(); ++slice) {
    tasks += emit_gemm(plan, 0, slice).tasks.size();
  }
  EXPECT_EQ(tasks, plan.cores[0].tasks.size());
}

TEST(GemmEmit, WhatIsOutOfRangeIsRefused) {
  const GemmPlan plan = plan_gemm({4, 32, 32}, GemmOutput::i8);
  EXPECT_THROW(emit_gemm(plan, 1, 0), Error);
  EXPECT_THROW(emit_gemm(plan, 0, 1), Error);
  EXPECT_THROW(emit_gemm(plan, 0, 0, {1, 64, 0}), Error);
}

}  // namespace
}  // namespace npu::kernels
