// SPDX-License-Identifier: MIT
// One change for each rule: a clean recorded program in, exactly that rule out.
#include "regdb/lint.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <set>

#include "regdb/error.hpp"
#include "regdb/registers.hpp"

namespace npu::regdb {
namespace {

using Words = std::vector<std::uint64_t>;

// What Mesa's driver submitted for a 1x1 convolution: 130 words, one task.
Words convolution() {
  std::ifstream in(ROSENBLATT_VECTORS_DIR "/mesa/conv1x1_12_17_24/regcmd.bin", std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
  return parse_regcmd_bytes(std::as_bytes(std::span(bytes)));
}

Words pool(std::uint32_t window) {
  RegcmdStream s;
  s.write(ppu::S_POINTER{.pointer_pp_mode = true, .executer_pp_en = true, .pointer_pp_en = true});
  s.write(ppu_rdma::RDMA_S_POINTER{
      .pointer_pp_mode = true, .executer_pp_en = true, .pointer_pp_en = true});
  s.write(ppu::DATA_CUBE_IN_WIDTH{16}).write(ppu::DATA_CUBE_IN_HEIGHT{16});
  s.write(ppu::DATA_CUBE_IN_CHANNEL{8}).write(ppu::DATA_CUBE_OUT_WIDTH{1});
  s.write(ppu::DATA_CUBE_OUT_HEIGHT{1}).write(ppu::DATA_CUBE_OUT_CHANNEL{8});
  s.write(ppu::OPERATION_MODE_CFG{.flying_mode = true, .pooling_method = 1});
  s.write(ppu::POOLING_KERNEL_CFG{.kernel_height = 1, .kernel_width = window});
  s.write(ppu::POOLING_PADDING_CFG{.pad_left = 7});
  s.write(ppu::DST_BASE_ADDR{0x1000}).write(ppu::DST_SURF_STRIDE{1});
  s.write(ppu::DATA_FORMAT{.proc_precision = 2});
  s.write(ppu_rdma::RDMA_CUBE_IN_WIDTH{16}).write(ppu_rdma::RDMA_CUBE_IN_HEIGHT{16});
  s.write(ppu_rdma::RDMA_CUBE_IN_CHANNEL{8}).write(ppu_rdma::RDMA_SRC_BASE_ADDR{0x2000});
  s.write(ppu_rdma::RDMA_SRC_LINE_STRIDE{16}).write(ppu_rdma::RDMA_SRC_SURF_STRIDE{256});
  s.write(ppu_rdma::RDMA_DATA_FORMAT{2});
  s.word(0);  // an even number of words
  s.end(enable_mask::ppu | enable_mask::ppu_rdma);
  return s.words();
}

// Calls `change` with the value of every write of a register.
void edit(Words& words, std::uint16_t target, std::uint16_t offset,
          const std::function<std::uint32_t(std::uint32_t)>& change) {
  bool found = false;
  for (std::uint64_t& word : words) {
    Regcmd c = Regcmd::unpack(word);
    if (c.target != target || c.offset != offset) continue;
    c.value = change(c.value);
    word = c.pack();
    found = true;
  }
  ASSERT_TRUE(found) << std::hex << offset;
}
template <class R>
void edit(Words& words, const std::function<void(R&)>& change) {
  edit(words, static_cast<std::uint16_t>(R::target), R::offset, [&](std::uint32_t value) {
    R r = R::decode(value);
    change(r);
    return r.encode();
  });
}
// Two words, so that the count stays even.
void insert(Words& words, std::uint16_t target, std::uint32_t value, std::uint16_t offset) {
  words.insert(words.begin(), 2, Regcmd{target, value, offset}.pack());
}

const std::map<std::string_view, std::function<void(Words&)>>& mutations() {
  static const std::map<std::string_view, std::function<void(Words&)>> all = {
      {"unknown-target", [](Words& w) { insert(w, 0x0200, 0, 0x1010); }},
      {"wrong-block", [](Words& w) { insert(w, 0x0201, 0, 0x4010); }},
      {"unknown-register", [](Words& w) { insert(w, 0x0201, 0, 0x1098); }},
      {"read-only-register", [](Words& w) { insert(w, 0x1001, 0, 0x4000); }},
      {"core-s-pointer", [](Words& w) { insert(w, 0x0201, 0xE, 0x1004); }},
      {"driver-register", [](Words& w) { insert(w, 0x0101, 1, 0x0030); }},
      {"reserved-bits",
       [](Words& w) { edit(w, 0x0201, 0x1010, [](auto v) { return v | 1u << 31; }); }},
      {"unknown-value", [](Words& w) { edit(w, 0x1001, 0x4010, [](auto v) { return v | 7u; }); }},
      {"misaligned-address",
       [](Words& w) { edit(w, 0x0201, 0x1110, [](auto v) { return v + 8; }); }},
      {"no-enable", [](Words& w) { w.pop_back(); }},
      {"after-enable", [](Words& w) { w.insert(w.end(), 2, w[10]); }},
      {"no-marker", [](Words& w) { w[w.size() - 2] = 0; }},
      {"no-amounts", [](Words& w) { w[w.size() - 3] = 0; }},
      {"broken-link", [](Words& w) { edit(w, 0x0101, 0x0014, [](auto) { return 64u; }); }},
      {"odd-words", [](Words& w) { w.insert(w.begin() + 60, 0); }},
      {"too-many-words", [](Words& w) { w.insert(w.begin() + 60, 131072, 0); }},
      {"enable-bits", [](Words& w) { edit(w, 0x0081, 0x0008, [](auto v) { return v | 2u; }); }},
      {"enable-unwritten",
       [](Words& w) { edit(w, 0x0081, 0x0008, [](auto v) { return v | enable_mask::ppu; }); }},
      {"write-unused",
       [](Words& w) {
         edit(w, 0x0081, 0x0008, [](auto v) { return v & ~enable_mask::dpu_rdma; });
       }},
      {"missing-pointer", [](Words& w) { edit(w, 0x1001, 0x4004, [](auto) { return 0u; }); }},
      {"missing-register",
       [](Words& w) {
         for (auto& word : w)
           if (Regcmd::unpack(word).offset == cna::CVT_CON0::offset) word = 0;
       }},
      {"rewritten", [](Words& w) { insert(w, 0x0201, 0, cna::CONV_CON2::offset); }},
      {"cbuf-overcommit",
       [](Words& w) { edit<cna::CBUF_CON0>(w, [](auto& r) { r.weight_bank = 12; }); }},
      {"cbuf-no-bank",
       [](Words& w) { edit<cna::CBUF_CON0>(w, [](auto& r) { r.weight_bank = 0; }); }},
      {"fc-data-bank",
       [](Words& w) { edit<cna::CBUF_CON0>(w, [](auto& r) { r.fc_data_bank = 1; }); }},
      {"weight-size",
       [](Words& w) {
         edit<cna::WEIGHT_SIZE1>(w, [](auto& r) { r.weight_bytes_per_kernel += 16; });
       }},
      {"fc-size", [](Words& w) { edit<cna::FC_DATA_SIZE1>(w, [](auto& r) { ++r.dma_channel; }); }},
      {"output-size",
       [](Words& w) { edit<dpu::WDMA_SIZE_0>(w, [](auto& r) { r.channel_wdma = 16; }); }},
      {"rdma-mode",
       [](Words& w) {
         edit<dpu_rdma::RDMA_FEATURE_MODE_CFG>(w, [](auto& r) { r.conv_mode = 3; });
       }},
      {"negative-shift",
       [](Words& w) {
         edit<dpu::BS_CFG>(w, [](auto& r) { r.bs_mul_bypass = false; });
         edit<dpu::BS_MUL_CFG>(w, [](auto& r) { r.bs_mul_shift_value = 5; });
       }},
      {"pool-window-16", [](Words& w) { w = pool(16); }},
  };
  return all;
}

std::set<std::string_view> rules_of(const Words& words) {
  std::set<std::string_view> rules;
  // As the driver is told: all words are one task.
  const LintTask task{0, words.size()};
  for (const Finding& f : lint(words, std::span(&task, 1))) {
    rules.insert(f.rule->id);
    EXPECT_LT(f.word, words.size());
    EXPECT_FALSE(f.message.empty());
    EXPECT_EQ(f.message.find('{'), std::string::npos) << f.message;
  }
  return rules;
}

TEST(Lint, RecordedAndPlainProgramsAreClean) {
  EXPECT_THAT(rules_of(convolution()), testing::IsEmpty());
  EXPECT_THAT(rules_of(pool(15)), testing::IsEmpty());
}

TEST(Lint, EachRuleFindsItsMutationAndNothingElse) {
  for (const auto& [rule, mutate] : mutations()) {
    Words words = convolution();
    mutate(words);
    EXPECT_THAT(rules_of(words), testing::ElementsAre(rule));
  }
}

TEST(Lint, EveryRuleHasAMutation) {
  for (const LintRule& rule : lint_rules())
    EXPECT_EQ(mutations().count(rule.id), 1u) << rule.id << " is not tested";
  EXPECT_EQ(mutations().size(), lint_rules().size());
  EXPECT_THROW(lint_rule("no-such-rule"), Error);
}

TEST(Lint, AFindingNamesRegisterWordAndValues) {
  Words words = convolution();
  edit<cna::CBUF_CON0>(words, [](auto& r) { r.data_bank = 5, r.weight_bank = 9; });
  const auto findings = lint(words);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].rule->severity, Severity::error);
  EXPECT_EQ(findings[0].task, 0u);
  EXPECT_EQ(Regcmd::unpack(words[findings[0].word]).offset, cna::CBUF_CON0::offset);
  EXPECT_EQ(findings[0].where, "CNA.CBUF_CON0.weight_bank");
  EXPECT_EQ(findings[0].message,
            "CNA.CBUF_CON0.weight_bank=9 with CNA.CBUF_CON0.data_bank=5 makes 14 banks, the chip "
            "has 12");
}

TEST(Lint, TasksEndWithTheirEnableWordAndPaddingBelongsToNone) {
  Words words = convolution();
  const Words one = words;
  words.insert(words.end(), 6, 0);
  words.insert(words.end(), one.begin(), one.end());
  words.insert(words.end(), 2, 0);
  const auto tasks = lint_tasks(words);
  ASSERT_EQ(tasks.size(), 2u);
  EXPECT_EQ(tasks[1].first, one.size() + 6);
  EXPECT_EQ(tasks[1].count, one.size());
  EXPECT_TRUE(lint(words).empty());
  words.push_back(one[0]);
  const auto findings = lint(words);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].rule->id, "no-enable");
  EXPECT_EQ(findings[0].task, 2u);
}

// Two full tasks, then only what changes: the register groups alternate [notes regcmd-task-model].
TEST(Lint, PartialProgramsInheritFromTwoTasksBefore) {
  const Words full = convolution();
  Words delta(full.end() - 4, full.end());
  delta.insert(delta.begin(), 2, Regcmd{0x0201, 0x3000, cna::FEATURE_DATA_ADDR::offset}.pack());
  Words words = full;
  words.insert(words.end(), full.begin(), full.end());
  words.insert(words.end(), delta.begin(), delta.end());
  EXPECT_TRUE(lint(words).empty());
  words = full;
  words.insert(words.end(), delta.begin(), delta.end());
  std::set<std::string_view> rules;
  for (const Finding& f : lint(words)) rules.insert(f.rule->id);
  EXPECT_TRUE(rules.contains("missing-register"));
  EXPECT_TRUE(rules.contains("enable-unwritten"));
}

// With ping-pong off and both pointers cleared a delta follows the task before it.
TEST(Lint, PointersThatAreClearedKeepOneGroup) {
  Words full = convolution();
  for (const std::uint16_t offset : {0x4004, 0x5004})
    edit(full, offset == 0x4004 ? 0x1001 : 0x2001, offset, [](auto) { return 0x30u; });
  insert(full, 0x0201, 0x30, cna::S_POINTER::offset);
  insert(full, 0x0801, 0x30, core::S_POINTER::offset);
  Words words = full;
  words.insert(words.end(), full.begin(), full.begin() + 4);
  words.insert(words.end(), full.end() - 4, full.end());
  std::set<std::string_view> rules;
  for (const Finding& f : lint(words)) rules.insert(f.rule->id);
  EXPECT_THAT(rules, testing::ElementsAre("core-s-pointer", "missing-pointer"));
}

TEST(Lint, ATaskOutsideTheStreamIsRefused) {
  const Words words = convolution();
  const LintTask tasks[] = {{100, 31}};
  EXPECT_THROW(lint(words, tasks), Error);
  const LintTask far[] = {{SIZE_MAX, 2}};
  EXPECT_THROW(lint(words, far), Error);
}

}  // namespace
}  // namespace npu::regdb
