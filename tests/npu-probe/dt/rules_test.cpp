// SPDX-License-Identifier: MIT
// Every rule finds its own mistake, and no other rule takes it for one of its own.
#include <gmock/gmock.h>

#include <functional>
#include <map>
#include <set>

#include "npu-probe/dt/rules.hpp"
#include "tests/npu-probe/dt/board_tree.hpp"

namespace npu::probe::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using T = BoardTree;

std::vector<DtCheck> checks_of(const BoardTree& board) {
  const auto dt = board.tree();
  return check_tree(dt, find_npu_nodes(dt));
}

/// The rules that found something, with their state.
std::map<std::string, std::string> findings(const BoardTree& board) {
  std::map<std::string, std::string> found;
  for (const auto& check : checks_of(board)) {
    if (check.state == DtState::ok) continue;
    found[check.id] = to_string(check.state);
    EXPECT_FALSE(check.evidence.empty()) << check.id;
    if (check.state != DtState::note) {
      EXPECT_FALSE(check.remedy.empty()) << check.id;
    }
  }
  return found;
}

struct Mutation {
  const char* what;
  const char* id;
  const char* state;
  std::function<void(BoardTree&)> damage;
};

const std::vector<Mutation>& mutations() {
  static const std::vector<Mutation> all{
      {"another chip", "dt-soc", "fail", [](T& t) { t.text("/", "compatible", {"acme,board"}); }},
      {"core 0 off", "dt-npu-core0", "warn",
       [](T& t) { t.text(T::core_path(0), "status", {"disabled"}); }},
      {"core 1 of another kind", "dt-npu-core1", "fail",
       [](T& t) { t.text(T::core_path(1), "compatible", {"rockchip,rk3576-rknn-core"}); }},
      {"core 2 missing", "dt-npu-core2", "warn", [](T& t) { t.remove(T::core_path(2)); }},
      {"core 0 with the MMU of core 1", "dt-iommu0", "warn",
       [](T& t) { t.cells(T::core_path(0), "iommus", {T::mmu1}); }},
      {"MMU 1 off", "dt-iommu1", "fail",
       [](T& t) { t.text(T::mmu_path(1), "status", {"disabled"}); }},
      {"MMU 2 of another kind", "dt-iommu2", "fail",
       [](T& t) { t.text(T::mmu_path(2), "compatible", {"arm,smmu-v3"}); }},
      {"core 1 and its MMU in core 0's domain", "dt-power-domains", "warn",
       [](T& t) {
         t.cells(T::core_path(1), "power-domains", {T::power, 9});
         t.cells(T::mmu_path(1), "power-domains", {T::power, 9});
       }},
      {"no domain-supply", "dt-power-domains", "warn",
       [](T& t) {
         t.remove(T::pd_npu, "domain-supply");
         t.flag(T::rail, "regulator-always-on");
       }},
      {"no npu-supply", "dt-npu-supply", "warn",
       [](T& t) { t.remove(T::core_path(1), "npu-supply"); }},
      {"sram-supply of nobody", "dt-sram-supply", "warn",
       [](T& t) { t.cells(T::core_path(2), "sram-supply", {99}); }},
      {"CNA elsewhere", "dt-reg", "fail",
       [](T& t) {
         t.cells(T::core_path(0), "reg",
                 {0, 0xfdab0000, 0, 0x1000, 0, 0xfdab2000, 0, 0x1000, 0, 0xfdab3000, 0, 0x1000});
       }},
      {"a window too short", "dt-reg", "fail",
       [](T& t) {
         t.cells(T::core_path(1), "reg",
                 {0, 0xfdac0000, 0, 0x100, 0, 0xfdac1000, 0, 0x1000, 0, 0xfdac3000, 0, 0x1000});
       }},
      {"MMU 0 with one window", "dt-reg", "fail",
       [](T& t) {
         t.cells(T::mmu_path(0), "reg", {0, 0xfdab9000, 0, 0x100});
       }},
      {"names of windows exchanged", "dt-reg-names", "fail",
       [](T& t) {
         t.text(T::core_path(2), "reg-names", {"pc", "core", "cna"});
       }},
      {"somebody else's registers", "dt-reg-overlap", "fail",
       [](T& t) {
         t.node("/video@fdac3800");
         t.cells("/video@fdac3800", "reg", {0, 0xfdac3800, 0, 0x100});
       }},
      {"interrupt of core 1 at core 0", "dt-interrupts", "fail",
       [](T& t) {
         t.cells(T::core_path(0), "interrupts", {0, 111, 4, 0});
       }},
      {"edge triggered", "dt-interrupts", "fail",
       [](T& t) {
         t.cells(T::mmu_path(0), "interrupts", {0, 110, 1, 0});
       }},
      {"three cells in place of four", "dt-interrupts", "fail",
       [](T& t) {
         t.cells(T::core_path(1), "interrupts", {0, 111, 4});
       }},
      {"no interrupt", "dt-interrupts", "fail",
       [](T& t) { t.remove(T::core_path(2), "interrupts"); }},
      {"interrupt-parent of nobody", "dt-interrupts", "fail",
       [](T& t) { t.cells(T::core_path(2), "interrupt-parent", {99}); }},
      {"interrupts-extended of nobody", "dt-interrupts", "fail",
       [](T& t) {
         t.cells(T::mmu_path(1), "interrupts-extended", {99, 0, 111, 4, 0});
       }},
      {"clock of nobody", "dt-clocks", "fail",
       [](T& t) {
         t.cells(T::core_path(0), "clocks", {99, 1, 99, 2, 99, 3, 99, 4});
       }},
      {"clocks cut off", "dt-clocks", "fail",
       [](T& t) {
         t.cells(T::mmu_path(2), "clocks", {T::cru, 1, T::cru});
       }},
      {"clocks of six bytes", "dt-clocks", "fail",
       [](T& t) { t.raw(T::mmu_path(2), "clocks", "123456"); }},
      {"firmware's clocks off", "dt-clocks", "fail",
       [](T& t) { t.text("/scmi", "status", {"disabled"}); }},
      {"no names of clocks", "dt-clock-names", "fail",
       [](T& t) { t.remove(T::core_path(0), "clock-names"); }},
      {"one reset", "dt-resets", "fail",
       [](T& t) {
         t.cells(T::core_path(1), "resets", {T::cru, 271});
       }},
      {"other names of resets", "dt-reset-names", "fail",
       [](T& t) {
         t.text(T::core_path(1), "reset-names", {"a", "h"});
       }},
      {"an IOMMU that wants a cell", "dt-iommu-cells", "fail",
       [](T& t) { t.cells(T::mmu_path(0), "#iommu-cells", {1}); }},
      {"two nodes with one phandle", "dt-phandles", "fail",
       [](T& t) {
         t.node("/a", 77);
         t.node("/b", 77);
       }},
      {"the vendor's node", "dt-vendor-node", "fail",
       [](T& t) {
         t.node("/rknpu");
         t.text("/rknpu", "compatible", {"rockchip,rk3588-rknpu"});
       }},
      {"32 GiB of memory", "dt-memory-4gib", "note",
       [](T& t) {
         t.node("/memory@200000");
         t.text("/memory@200000", "device_type", {"memory"});
         t.cells("/memory@200000", "reg", {0, 0x200000, 0, 0xefe00000, 1, 0, 7, 0});
       }},
      {"MMU 1 in another domain", "dt-mmu-power-domain", "fail",
       [](T& t) {
         t.cells(T::mmu_path(1), "power-domains", {T::power, 11});
       }},
      {"MMU 2 in no domain", "dt-mmu-power-domain", "fail",
       [](T& t) { t.remove(T::mmu_path(2), "power-domains"); }},
      {"power controller off", "dt-power-tree", "fail",
       [](T& t) { t.text(T::controller, "status", {"disabled"}); }},
      {"no domain 11", "dt-power-tree", "fail",
       [](T& t) { t.remove(T::pd_npu + "/power-domain@9/power-domain@b"); }},
      {"domain-supply of nobody", "dt-domain-supply", "warn",
       [](T& t) {
         t.flag(T::rail, "regulator-always-on");
         t.cells(T::pd_npu, "domain-supply", {99});
       }},
      {"domain-supply of another rail of the NPU", "dt-domain-supply", "warn",
       [](T& t) {
         t.flag(T::rail, "regulator-always-on");
         t.regulator("/i2c@feaa0000", "vdd_npu_mem_s0", T::spare);
         t.cells(T::pd_npu, "domain-supply", {T::spare});
       }},
      {"the rail of small CPU cores in its place", "dt-rail-name", "fail",
       [](T& t) { t.text(T::rail, "regulator-name", {"vdd_cpu_lit_s0"}); }},
      {"a rail without a name", "dt-rail-name", "fail",
       [](T& t) { t.remove(T::rail, "regulator-name"); }},
      {"another rail for core 2", "dt-supply-same", "warn",
       [](T& t) {
         t.regulator("/i2c@feaa0000", "vdd_npu_2", T::spare);
         t.flag("/i2c@feaa0000/regulator@42", "regulator-always-on");
         t.cells(T::core_path(2), "npu-supply", {T::spare});
       }},
      {"the bus of the rail off", "dt-supply-enabled", "fail",
       [](T& t) { t.text("/i2c@fea90000", "status", {"disabled"}); }},
      {"a rail of the SRAM that goes out", "dt-rail-kept-on", "fail",
       [](T& t) {
         t.regulator("/i2c@feaa0000", "vdd_npu_mem_s0", T::spare);
         for (std::size_t i = 0; i < 3; ++i) t.cells(T::core_path(i), "sram-supply", {T::spare});
       }},
      {"a clock raised by the tree", "dt-clock-rate", "warn",
       [](T& t) { t.cells(T::core_path(0), "assigned-clock-rates", {600000000}); }},
  };
  return all;
}

TEST(DtRules, FindNothingInAWorkingTree) {
  EXPECT_TRUE(findings(BoardTree()).empty());
  EXPECT_TRUE(passes(checks_of(BoardTree())));
}

TEST(DtRules, EachFindsItsMistakeAlone) {
  for (const auto& mutation : mutations()) {
    BoardTree board;
    mutation.damage(board);
    const std::map<std::string, std::string> want{{mutation.id, mutation.state}};
    EXPECT_EQ(findings(board), want) << mutation.what;
    EXPECT_EQ(passes(checks_of(board)), std::string_view(mutation.state) == "note");
  }
}

TEST(DtRules, NoneIsWithoutAMistakeOfItsOwn) {
  std::set<std::string> rules, tried;
  for (const auto& check : checks_of(BoardTree())) EXPECT_TRUE(rules.insert(check.id).second);
  for (const auto& mutation : mutations()) tried.insert(mutation.id);
  EXPECT_EQ(rules, tried);
}

TEST(DtRules, NameTheNodesAtFault) {
  BoardTree board;
  board.text(T::core_path(1), "reg-names", {"pc"});
  for (const auto& check : checks_of(board)) {
    if (check.id != "dt-reg-names") continue;
    EXPECT_THAT(check.nodes, ElementsAre("/npu@fdac0000"));
    EXPECT_EQ(check.evidence, "/npu@fdac0000: reg-names is pc in place of pc, cna, core");
  }
}

TEST(DtRules, OverlapsOfOthersAreNoFinding) {
  BoardTree board;  // disabled; on a bus of its own; a reservation
  board.node("/reserved-memory");
  board.cells("/reserved-memory", "#address-cells", {2});
  board.cells("/reserved-memory", "#size-cells", {2});
  board.flag("/reserved-memory", "ranges");
  board.node("/reserved-memory/windows@fda00000");
  board.cells("/reserved-memory/windows@fda00000", "reg", {0, 0xfda00000, 0, 0x200000});
  board.node("/video@fdac3800");
  board.cells("/video@fdac3800", "reg", {0, 0xfdac3800, 0, 0x100});
  board.text("/video@fdac3800", "status", {"disabled"});
  board.node("/bus@0");
  board.cells("/bus@0", "ranges", {0, 0, 0, 0, 0, 1});
  board.node("/bus@0/device@fdab0000");
  board.cells("/bus@0/device@fdab0000", "reg", {0, 0xfdab0000, 0x1000});
  EXPECT_TRUE(findings(board).empty());
}

TEST(DtRules, RailThatIsNobodysGoesOut) {
  BoardTree board;  // as YY3588 in 7.3.4
  board.remove(T::pd_npu, "domain-supply");
  const std::map<std::string, std::string> want{{"dt-power-domains", "warn"},
                                                {"dt-rail-kept-on", "fail"}};
  EXPECT_EQ(findings(board), want);
}

TEST(DtRules, AnNpuThatIsOffIsSixFailures) {
  BoardTree board;
  board.switch_off();
  const std::map<std::string, std::string> want{
      {"dt-npu-core0", "fail"},  {"dt-npu-core1", "fail"},   {"dt-npu-core2", "fail"},
      {"dt-iommu0", "fail"},     {"dt-iommu1", "fail"},      {"dt-iommu2", "fail"},
      {"dt-npu-supply", "warn"}, {"dt-sram-supply", "warn"}, {"dt-power-domains", "warn"}};
  EXPECT_EQ(findings(board), want);
}

TEST(DtRules, AVirtualMachineNeedsNoPower) {
  BoardTree board;
  board.text("/", "compatible", {"linux,dummy-virt"});
  board.remove("/power-management@fd8d8000");
  board.remove(T::rail);
  for (std::size_t i = 0; i < 3; ++i) {
    for (const auto name : {"power-domains", "npu-supply", "sram-supply"})
      board.remove(T::core_path(i), name);
    for (const auto name : {"power-domains", "clocks", "clock-names"})
      board.remove(T::mmu_path(i), name);
    board.cells(T::core_path(i), "interrupts", {0, 40, 4, 0});
  }
  const std::map<std::string, std::string> want{{"dt-soc", "note"},
                                                {"dt-power-domains", "note"},
                                                {"dt-npu-supply", "note"},
                                                {"dt-sram-supply", "note"}};
  EXPECT_EQ(findings(board), want);
  board.remove(T::core_path(1), "resets");
  EXPECT_EQ(findings(board)["dt-resets"], "fail");
}

TEST(DtRules, AnotherMachineGetsOneSentence) {
  BoardTree board;
  board.text("/", "compatible", {"acme,toaster"});
  for (std::size_t i = 0; i < 3; ++i) board.remove(T::core_path(i));
  const auto checks = checks_of(board);
  ASSERT_EQ(checks.size(), 1u);
  EXPECT_THAT(checks[0].evidence, HasSubstr("acme,toaster"));
}

}  // namespace
}  // namespace npu::probe::test
