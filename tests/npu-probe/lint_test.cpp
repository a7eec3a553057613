// SPDX-License-Identifier: MIT
// The rules that need a task's meaning: for each a program that breaks it and no other.
#include "npu-probe/lint.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <set>

#include "../programs/cube_task.hpp"
#include "../programs_dpu/cube.hpp"
#include "../programs_dpu/tables.hpp"
#include "lint_pool.hpp"
#include "regdb/error.hpp"
#include "regdb/registers.hpp"
#include "tool.hpp"

namespace npu::probe::test {
namespace {

namespace rd = npu::regdb;
namespace code = npu::sim::test::code;
namespace dpu_only = npu::sim::programs;
using sim::test::CubeTask;
using Rules = std::set<std::string_view>;
using Words = std::vector<std::uint64_t>;

Rules ids(const std::vector<rd::Finding>& findings) {
  Rules rules;
  for (const rd::Finding& f : findings) {
    rules.insert(f.rule->id);
    EXPECT_FALSE(f.message.empty());
    EXPECT_EQ(f.message.find("(quirk"), std::string::npos) << f.message;
  }
  return rules;
}
Rules lint_all(const Words& words) { return ids(lint_words(words)); }

// Mesa's program for a convolution, as the driver gave it to the kernel, with its buffers.
Case recorded(const char* name = "conv1x1_12_17_24") { return load_case(mesa(name)); }

template <class R>
void edit(Words& words, const std::function<void(R&)>& change) {
  for (std::uint64_t& word : words) {
    rd::Regcmd c = rd::Regcmd::unpack(word);
    if (c.target != static_cast<std::uint16_t>(R::target) || c.offset != R::offset) continue;
    R r = R::decode(c.value);
    change(r);
    c.value = r.encode();
    word = c.pack();
  }
}
template <class R>
Rules mesa_with(const std::function<void(R&)>& change, const char* name = "conv1x1_12_17_24") {
  Case c = recorded(name);
  edit<R>(c.regcmd, change);
  return ids(lint_case(c));
}
Rules case_with(const std::function<void(Case&)>& change) {
  Case c = recorded();
  change(c);
  return ids(lint_case(c));
}

CubeTask product(std::uint32_t in, std::uint32_t out, std::uint32_t m, std::uint32_t k,
                 std::uint32_t n) {
  CubeTask t = sim::test::matmul(in, out, m, k, n);
  t.input = 0x100000, t.weights = 0x300000, t.output = 0x800000;
  return t;
}
CubeTask with_operand(CubeTask t, std::uint32_t at) {
  const std::uint32_t plane = t.out_width * t.out_height;
  t.ew = sim::test::EwOperand{sim::test::kEwAdd, at, plane * 16, plane};
  return t;
}

Rules pool(const PoolSize& size = {}) { return lint_all(pool_words(size)); }

Rules table(bool add_first, bool with_tables) {
  dpu_only::Tables t = dpu_only::unit_tables([](double) { return 0.5; });
  t.add_first = add_first;
  return lint_all(dpu_only::table_program(t, 64, 0x10000, 0x20000, with_tables));
}

Rules flying(const std::function<void(dpu_only::Cube&)>& change) {
  dpu_only::Cube c{.width = 4, .channels = 16};
  change(c);
  return lint_all(dpu_only::cube_program(c, {.main = 0x10000, .bs = 0x80000}, 0x100000));
}

// The recorded convolution with a pool of 2x2 behind it.
Rules pool_behind_dpu() {
  Case c = recorded();
  edit<rd::dpu::FEATURE_MODE_CFG>(c.regcmd, [](auto& r) { r.output_mode = 1; });
  rd::RegcmdStream s;
  s.write(rd::ppu::S_POINTER::decode(0xE));
  s.write(rd::ppu::DATA_CUBE_IN_WIDTH{12}).write(rd::ppu::DATA_CUBE_IN_HEIGHT{12});
  s.write(rd::ppu::DATA_CUBE_IN_CHANNEL{24}).write(rd::ppu::DATA_CUBE_OUT_WIDTH{6});
  s.write(rd::ppu::DATA_CUBE_OUT_HEIGHT{6}).write(rd::ppu::DATA_CUBE_OUT_CHANNEL{24});
  s.write(rd::ppu::OPERATION_MODE_CFG{.pooling_method = 1});
  s.write(rd::ppu::POOLING_KERNEL_CFG{
      .kernel_stride_height = 2, .kernel_stride_width = 2, .kernel_height = 2, .kernel_width = 2});
  s.write(rd::ppu::POOLING_PADDING_CFG{}).write(rd::ppu::DATA_FORMAT{});
  s.write(rd::ppu::DST_BASE_ADDR{0x5000}).write(rd::ppu::DST_SURF_STRIDE{36});
  if (s.size() % 2 != 0) s.word(0);
  Words words = c.regcmd;
  words.insert(words.begin(), s.words().begin(), s.words().end());
  words.back() |= std::uint64_t{rd::enable_mask::ppu} << 16;
  return lint_all(words);
}

Words both(const CubeTask& first, const CubeTask& second) {
  Words words = emit(first);
  const Words more = emit(second);
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

struct Mutation {
  std::function<Rules()> before, after;
  Rules also = {};  ///< another rule that the same words break
};

const std::map<std::string_view, Mutation>& mutations() {
  const auto clean = [] { return ids(lint_case(recorded())); };
  const auto fp16 = [](std::uint32_t m, std::uint32_t k = 64) {
    return [=] { return lint_all(emit(product(code::fp16, code::fp32, m, k, 32))); };
  };
  static const std::map<std::string_view, Mutation> all = {
      {"contradiction",
       {clean,
        [] { return mesa_with<rd::cna::DATA_SIZE3>([](auto& r) { ++r.dataout_atomics; }); }}},
      {"unproven",
       {clean, [] { return mesa_with<rd::cna::CONV_CON3>([](auto& r) { r.nn_mode = 1; }); }}},
      {"never-ends",
       {clean,
        [] { return mesa_with<rd::dpu::FEATURE_MODE_CFG>([](auto& r) { r.output_mode = 1; }); }}},
      {"mrdma-trap",
       {clean,
        [] {
          return mesa_with<rd::dpu_rdma::RDMA_FEATURE_MODE_CFG>(
              [](auto& r) { r.mrdma_disable = false; });
        }}},
      {"size-e",
       {clean,
        [] {
          return mesa_with<rd::dpu::BS_OW_CFG>(
              [](auto& r) { r.size_e_0 = r.size_e_1 = r.size_e_2 = 3; });
        }}},
      {"size-e-short",
       {clean,
        [] {
          return mesa_with<rd::dpu::BS_OW_CFG>(
              [](auto& r) { r.size_e_0 = r.size_e_1 = r.size_e_2 = 0; });
        }}},
      {"mac-gating",
       {clean,
        [] {
          Words words = recorded().regcmd;
          words.insert(words.begin(), 2,
                       rd::Regcmd{0x0801, 0x06800800, rd::core::MAC_GATING::offset}.pack());
          return lint_all(words);
        }}},
      {"clip-tie",
       {clean,
        [] { return mesa_with<rd::core::CLIP_TRUNCATE>([](auto& r) { r.clip_truncate = 1; }); }}},
      {"pad-lanes",
       {[] { return ids(lint_case(recorded("dw3x3_15_64_s2"))); },
        [] {
          return mesa_with<rd::cna::PAD_CON1>([](auto& r) { r.pad_value = 0x04030201; },
                                              "dw3x3_15_64_s2");
        }}},
      {"gemm-height", {fp16(4), fp16(3)}},
      {"small-plane-operand",
       {[] {
          return lint_all(
              emit(with_operand(product(code::fp16, code::fp16, 16, 64, 64), 0x900000)));
        },
        [] {
          return lint_all(emit(with_operand(product(code::fp16, code::fp16, 8, 64, 64), 0x900000)));
        }}},
      {"in-place-operand",
       {[] {
          return lint_all(
              emit(with_operand(product(code::fp16, code::fp16, 16, 64, 64), 0x900000)));
        },
        [] {
          return lint_all(
              emit(with_operand(product(code::fp16, code::fp16, 16, 64, 64), 0x800000)));
        }}},
      {"flying-width",
       {[] { return flying([](auto&) {}); },
        [] { return flying([](auto& c) { c.width = 8191; }); }}},
      {"partial-multiplier",
       {[] { return flying([](auto& c) { c.bs_cfg = 0x42, c.bs_mul = 1, c.brdma = 8; }); },
        [] {
          return flying(
              [](auto& c) { c.bs_cfg = 0x42, c.bs_mul = 1, c.brdma = 8, c.channels = 12; });
        }}},
      {"cbuf-features",
       {fp16(256, 512),
        [] {
          CubeTask t = product(code::fp16, code::fp32, 256, 512, 32);
          t.data_bank = 7;
          return lint_all(emit(t));
        }}},
      {"cbuf-entries",
       {clean, [] { return mesa_with<rd::cna::CBUF_CON1>([](auto& r) { r.data_entries = 5; }); }}},
      {"cbuf-kernel",
       {[] {
          return lint_all(emit(sim::test::conv_fp16({1024, 4, 4, 16, 3, 3, 1, 1, 1, 1}, 5)));
        },
        [] {
          return lint_all(emit(sim::test::conv_fp16({2048, 4, 4, 16, 3, 3, 1, 1, 1, 1}, 5)));
        }}},
      {"cbuf-reuse",
       {[] {
          const CubeTask t = product(code::fp16, code::fp32, 64, 512, 128);
          CubeTask second = t;
          second.weight_reuse = true;
          return lint_all(both(t, second));
        },
        [] {
          const CubeTask t = product(code::fp16, code::fp32, 64, 512, 1024);
          CubeTask second = t;
          second.weight_reuse = true;
          return lint_all(both(t, second));
        }}},
      {"cbuf-slack",
       {[] { return lint_all(emit(product(code::int8, code::int32, 16, 64, 32))); },
        [] {
          CubeTask t = product(code::int8, code::int32, 16, 64, 32);
          t.data_bank = 1;
          return lint_all(emit(t));
        }}},
      {"cbuf-row",
       {[] {
          return lint_all(emit(sim::test::conv_fp16({512, 1, 130, 16, 1, 1}, 5)));
        },
        [] {
          return lint_all(emit(sim::test::conv_fp16({512, 1, 140, 16, 1, 1}, 5)));
        }}},
      {"plane-overlap",
       {clean,
        [] {
          return mesa_with<rd::dpu::DST_SURF_STRIDE>([](auto& r) { r.dst_surf_stride = 100; });
        }}},
      {"pool-timeout", {clean, [] { return pool(); }}},
      {"pool-line-buffer",
       {[] { return pool(); }, [] { return pool({.in_width = 40, .kernel = 3}); }}},
      {"pool-stride", {[] { return pool(); }, [] { return pool({.in_width = 8, .stride_x = 3}); }}},
      {"pool-rows-unread",
       {[] { return pool({.in_height = 30, .kernel = 3, .stride_y = 3}); },
        [] { return pool({.in_height = 31, .kernel = 3, .stride_y = 3}); }}},
      {"dpu-feeds-ppu", {clean, pool_behind_dpu}},
      {"lut-zero", {[] { return table(false, true); }, [] { return table(true, true); }}},
      {"lut-not-loaded", {[] { return table(false, true); }, [] { return table(false, false); }}},
      {"tf32-in-dpu",
       {[] { return lint_all(emit(product(code::tf32, code::fp32, 16, 64, 32))); },
        [] {
          CubeTask t = product(code::tf32, code::fp32, 16, 64, 32);
          t.dpu_code = code::tf32;
          return lint_all(emit(t));
        },
        {"unknown-value"}}},
      {"address-outside",
       {clean,
        [] {
          return case_with([](Case& c) {
            for (CaseBo& bo : c.submits[0].bos)
              if (bo.handle == c.submits[0].jobs[0].out[0]) bo.size = 100;
          });
        }}},
      {"output-over-program",
       {clean,
        [] {
          return case_with([](Case& c) {
            CaseSubmit& s = c.submits[0];
            s.jobs[0].tasks[0].regcmd = s.find(s.jobs[0].out[0])->iova;
          });
        }}},
      {"program-address",
       {clean,
        [] { return case_with([](Case& c) { c.submits[0].jobs[0].tasks[0].regcmd += 8; }); }}},
      {"bo-in-and-out",
       {clean,
        [] {
          return case_with(
              [](Case& c) { c.submits[0].jobs[0].in.push_back(c.submits[0].jobs[0].out[0]); });
        }}},
      {"bo-listed-twice",
       {clean,
        [] {
          return case_with(
              [](Case& c) { c.submits[0].jobs[0].in.push_back(c.submits[0].jobs[0].in[0]); });
        }}},
  };
  return all;
}

TEST(LintModel, EachRuleFindsItsMutationAndNothingElse) {
  for (const auto& [rule, mutation] : mutations()) {
    const Rules before = mutation.before();
    Rules fresh;
    for (const std::string_view id : mutation.after())
      if (!before.contains(id)) fresh.insert(id);
    Rules want = mutation.also;
    want.insert(rule);
    EXPECT_EQ(fresh, want) << "before: " << testing::PrintToString(before);
    EXPECT_FALSE(before.contains(rule)) << rule;
  }
}

TEST(LintModel, EveryRuleHasAMutation) {
  for (const rd::LintRule& rule : model_lint_rules())
    EXPECT_TRUE(mutations().contains(rule.id)) << rule.id << " is not tested";
  EXPECT_EQ(mutations().size(), model_lint_rules().size());
  EXPECT_THROW(find_lint_rule("no-such-rule"), Error);
}

TEST(LintModel, RuleNamesAreDistinct) {
  Rules seen;
  for (const auto rules : {rd::lint_rules(), model_lint_rules()})
    for (const rd::LintRule& rule : rules) EXPECT_TRUE(seen.insert(rule.id).second) << rule.id;
}

TEST(LintModel, RecordedStreamsHaveNoErrors) {
  for (const auto& entry : std::filesystem::directory_iterator(mesa())) {
    if (!entry.is_directory()) continue;
    const Case c = load_case(entry.path());
    for (const auto& findings : {lint_case(c), lint_words(c.regcmd)})
      for (const rd::Finding& f : findings)
        EXPECT_NE(f.rule->severity, rd::Severity::error)
            << entry.path() << " task " << f.task << ": " << f.message << " [" << f.rule->id << "]";
  }
}

// What regdb calls an error is not said again by the model.
TEST(LintModel, AnErrorIsSaidOnce) {
  Words words = recorded().regcmd;
  edit<rd::cna::CBUF_CON0>(words, [](auto& r) { r.weight_bank = 12; });
  EXPECT_EQ(lint_words(words).size(), 1u);
}

TEST(LintModel, TablesSurviveWithinAChain) {
  const dpu_only::Tables t = dpu_only::unit_tables([](double) { return 0.5; });
  Words words = dpu_only::table_program(t, 64, 0x10000, 0x20000);
  const Words second = dpu_only::table_program(t, 64, 0x10000, 0x20000, false);
  words.insert(words.end(), second.begin(), second.end());
  EXPECT_TRUE(ids(lint_words(words)).contains("lut-not-loaded"));
  EXPECT_FALSE(ids(lint_words(words, true)).contains("lut-not-loaded"));
}

}  // namespace
}  // namespace npu::probe::test
