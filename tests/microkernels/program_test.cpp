// SPDX-License-Identifier: MIT
#include "microkernels/program.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "regdb/error.hpp"
#include "regdb/regcmd.hpp"
#include "regdb/registers.hpp"

namespace npu::kernels {
namespace {

Program two_tasks() {
  regdb::RegcmdStream first, second;
  first.write(regdb::cna::CONV_CON1{}).write(regdb::cna::FEATURE_DATA_ADDR{});
  first.end(0x1D);
  for (int i = 0; i < 9; ++i) second.write(regdb::dpu::DST_BASE_ADDR{});
  return {{"in", "out"}, {first.words(), second.words()}, {{0, 1, 0, 0x40}, {1, 8, 1, 0x80}}};
}

TEST(Program, BindFillsInAddressesAndChangesNothingElse) {
  const Program program = two_tasks();
  const std::uint32_t iova[] = {0x1000, 0x20000000};
  const BoundProgram bound = bind(program, iova);
  ASSERT_EQ(bound.tasks.size(), 2u);
  for (std::size_t t = 0; t < 2; ++t) {
    EXPECT_EQ(bound.tasks[t].offset % kProgramAlignment, 0u);
    ASSERT_EQ(bound.tasks[t].count, program.tasks[t].size());
    for (std::size_t w = 0; w < program.tasks[t].size(); ++w) {
      regdb::Regcmd want = regdb::Regcmd::unpack(program.tasks[t][w]);
      if (t == 0 && w == 1) want.value = 0x1040;
      if (t == 1 && w == 8) want.value = 0x20000080;
      EXPECT_EQ(bound.words[bound.tasks[t].offset / 8 + w], want.pack());
    }
  }
  EXPECT_GE(bound.tasks[1].offset, bound.tasks[0].count * 8u);
  EXPECT_GE(bound.words.size() * 8, bound.tasks[1].offset + bound.tasks[1].count * 8u);
}

TEST(Program, BindRefusesWhatCannotBeAnAddress) {
  const Program program = two_tasks();
  const std::uint32_t one[] = {0}, high[] = {0, 0xFFFFFFF0};
  EXPECT_THROW(bind(program, one), Error);
  EXPECT_THROW(bind(program, high), Error);
  Program outside = program;
  outside.relocations[0].word = 100;
  const std::uint32_t iova[] = {0, 0};
  EXPECT_THROW(bind(outside, iova), Error);
  Program far = program;
  far.relocations[0].offset = ~std::uint64_t{0};
  EXPECT_THROW(bind(far, iova), Error);
}

TEST(Program, TextNamesRegistersAndBuffers) {
  const std::string text = to_string(two_tasks());
  EXPECT_THAT(text, testing::HasSubstr("CNA.CONV_CON1"));
  EXPECT_THAT(text, testing::HasSubstr("CNA.FEATURE_DATA_ADDR = in + 0x40"));
  EXPECT_THAT(text, testing::HasSubstr("DPU.DST_BASE_ADDR = out + 0x80"));
}

}  // namespace
}  // namespace npu::kernels
