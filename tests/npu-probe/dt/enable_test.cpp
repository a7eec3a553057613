// SPDX-License-Identifier: MIT
// `dt enable` switches on what is off, leaves the rest alone and says why it refuses; `dt diff`
// names what changed and nothing that only a new build of the tree changes.
#include <gmock/gmock.h>

#include <functional>

#include "npu-probe/dt/enable.hpp"
#include "regdb/error.hpp"
#include "tests/npu-probe/dt/board_tree.hpp"

namespace npu::probe::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using T = BoardTree;

std::vector<std::string> texts(const std::vector<DtDifference>& differences) {
  std::vector<std::string> all;
  for (const auto& one : differences) all.push_back(to_text(one));
  return all;
}

/// The code and sentence with which it is refused.
std::string refusal(const BoardTree& board, const std::string& overlay = {}) {
  try {
    enable_npu(board.bytes(), "board.dtb", overlay);
  } catch (const Error& error) {
    return std::string(to_string(error.code())) + ": " + error.what();
  }
  return "not refused";
}

BoardTree off() {
  BoardTree board;
  board.switch_off();
  return board;
}

TEST(DtOverlays, AreAllInTheToolWithTheirRails) {
  ASSERT_GE(npu_overlays().size(), 8u);
  for (const auto& overlay : npu_overlays()) {
    EXPECT_EQ(overlay.logic_rail.empty(), overlay.name == "rk3588-npu-generic") << overlay.name;
    EXPECT_EQ(overlay.sram_rail.empty(), overlay.logic_rail.empty()) << overlay.name;
    EXPECT_FALSE(overlay.compatible.empty()) << overlay.name;
  }
  EXPECT_EQ(find_overlay("rock-5-itx")->logic_rail, T::rail);
  EXPECT_EQ(find_overlay("generic")->name, "rk3588-npu-generic");
  EXPECT_EQ(find_overlay("toaster"), nullptr);
}

TEST(DtEnable, TakesTheBoardsOwnOverlay) {
  const auto done = enable_npu(off().bytes(), "board.dtb", "");
  EXPECT_EQ(done.overlay->name, "rk3588-rock-5-itx");
  EXPECT_THAT(done.why, HasSubstr("vdd_npu_s0 at /i2c@fea90000/regulator@42"));
  EXPECT_TRUE(passes(done.checks));
  EXPECT_TRUE(done.warnings.empty());
  EXPECT_EQ(done.changes.size(), 13u);  // six statuses, six supplies, one domain-supply
  const auto dt = read_blob(done.blob, "result");
  EXPECT_TRUE(passes(check_tree(dt, find_npu_nodes(dt))));
}

TEST(DtEnable, TakesTheOverlayWithTheRailForOtherBoards) {
  auto board = off();
  board.text("/", "compatible", {"turing,rk1", "rockchip,rk3588"});
  EXPECT_EQ(enable_npu(board.bytes(), "board.dtb", "").overlay->name, "rk3588-npu-rail-i2c1");
  board.text(T::rail, "regulator-name", {"vdd_gpu_s0"});
  board.regulator("/i2c@feaa0000", "vdd_npu_s0", 0);
  board.flag("/i2c@feaa0000/regulator@42", "regulator-always-on");
  EXPECT_EQ(enable_npu(board.bytes(), "board.dtb", "").overlay->name, "rk3588-npu-rail-i2c2");
}

TEST(DtEnable, OthersKeepTheirReferencesToTheRail) {
  auto board = off();
  board.node("/consumer");
  board.cells("/consumer", "vdd-supply", {T::vdd_npu});
  board.cells("/consumer", "acme,rail", {T::vdd_npu});  // not known to be a reference
  const auto done = enable_npu(board.bytes(), "board.dtb", "");
  const auto dt = read_blob(done.blob, "result");
  const auto* rail = dt.by_path(T::rail);
  for (const auto name : {"vdd-supply", "acme,rail"})
    EXPECT_EQ(dt.by_phandle(dt.by_path("/consumer")->cells(name).at(0)), rail);
  EXPECT_EQ(dt.by_phandle(dt.by_path(T::core_path(2))->cells("sram-supply").at(0)), rail);
  EXPECT_EQ(done.changes.size(), 13u);
}

TEST(DtEnable, MendsABoardThatLacksTheDomainSupply) {
  BoardTree board;  // as YY3588 in 7.3.4
  board.text("/", "compatible", {"youyeetoo,yy3588", "rockchip,rk3588"});
  board.remove(T::pd_npu, "domain-supply");
  const auto done = enable_npu(board.bytes(), "board.dtb", "");
  EXPECT_THAT(texts(done.changes),
              ElementsAre("+ " + T::pd_npu + ":domain-supply = <&" + T::rail + ">"));
}

TEST(DtEnable, RefusesWithTheReason) {
  EXPECT_THAT(refusal(BoardTree()), HasSubstr("check-failed: nothing to do"));
  EXPECT_THAT(refusal(off(), "toaster"),
              HasSubstr("invalid-argument: there is no overlay toaster"));
  auto board = off();
  board.text(T::rail, "regulator-name", {"vdd_cpu_lit_s0"});
  EXPECT_THAT(refusal(board), HasSubstr("names no rail of the NPU"));
  EXPECT_THAT(refusal(board, "rock-5-itx"), HasSubstr("is vdd_cpu_lit_s0 there and not the NPU's"));
  EXPECT_THAT(refusal(off(), "npu-rail-i2c2"), HasSubstr("the tree has no /i2c@feaa0000"));
  board.regulator("/i2c@fec90000", "vdd_npu_s0", 0);
  EXPECT_THAT(refusal(board), HasSubstr("no overlay is known for Radxa ROCK 5 ITX, whose rail "
                                        "vdd_npu_s0 is /i2c@fec90000/regulator@42"));
  board = off();
  board.text("/", "compatible", {"acme,toaster"});
  EXPECT_THAT(refusal(board), HasSubstr("not for an RK3588"));
  board = off();
  board.remove(T::core_path(2));
  EXPECT_THAT(refusal(board), HasSubstr("nodes for 2 of the 3 cores"));
  board = off();
  board.text("/i2c@fea90000", "status", {"disabled"});
  EXPECT_THAT(refusal(board), HasSubstr("would still not work (dt-supply-enabled)"));
}

TEST(DtEnable, GenericNamesNoSupplyAndSaysSo) {
  auto board = off();
  const auto done = enable_npu(board.bytes(), "board.dtb", "generic");
  EXPECT_EQ(done.changes.size(), 6u);
  EXPECT_FALSE(passes(done.checks));
  ASSERT_EQ(done.warnings.size(), 1u);
  EXPECT_THAT(done.warnings[0], HasSubstr("no supply is named"));
  board.remove(T::rail, "regulator-always-on");
  EXPECT_THAT(refusal(board, "generic"), HasSubstr("is not regulator-always-on"));
}

TEST(DtEnable, AnotherBoardsOverlayWarns) {
  auto board = off();
  board.text("/", "compatible", {"acme,board", "rockchip,rk3588"});
  const auto done = enable_npu(board.bytes(), "board.dtb", "rock-5-itx");
  ASSERT_EQ(done.warnings.size(), 1u);
  EXPECT_THAT(done.warnings[0], HasSubstr("is for radxa,rock-5-itx"));
}

TEST(DtDiff, SameTreesDoNotDiffer) {
  EXPECT_TRUE(diff_trees(BoardTree().tree(), BoardTree().tree()).empty());
}

TEST(DtDiff, PhandlesDealtOutAnewAreNoDifference) {
  BoardTree board;
  board.cells(T::rail, "phandle", {77});
  board.cells(T::pd_npu, "domain-supply", {77});
  for (std::size_t i = 0; i < 3; ++i)
    for (const auto name : {"npu-supply", "sram-supply"}) board.cells(T::core_path(i), name, {77});
  EXPECT_TRUE(diff_trees(BoardTree().tree(), board.tree()).empty());
  // The same bytes, which now lead elsewhere.
  board.cells(T::core_path(1), "npu-supply", {T::vdd_cpu});
  EXPECT_THAT(texts(diff_trees(BoardTree().tree(), board.tree())),
              ElementsAre("  /npu@fdac0000:npu-supply: <&/i2c@fea90000/regulator@42> -> "
                          "<&/i2c@fd880000/regulator@42>"));
}

TEST(DtDiff, NamesTheNpusPartFirst) {
  BoardTree board;
  board.text("/", "model", {"Another"});
  board.text(T::core_path(2), "status", {"disabled"});
  board.node("/zoo");
  board.node("/zoo/cage");
  board.remove(T::mmu_path(2), "interrupts");
  board.raw("/zoo", "odd", "abc");
  const auto differences = diff_trees(BoardTree().tree(), board.tree());
  EXPECT_THAT(texts(differences),
              ElementsAre("- /iommu@fdada000:interrupts = <0x0 0x70 0x4 0x0>",
                          "  /npu@fdad0000:status: \"okay\" -> \"disabled\"",
                          "  /:model: \"Radxa ROCK 5 ITX\" -> \"Another\"", "+ /zoo"));
  EXPECT_TRUE(differences[1].npu);
  EXPECT_FALSE(differences[2].npu);
}

TEST(DtDiff, LongValuesThatDifferAtTheirEndDiffer) {
  BoardTree a, b;
  a.raw("/", "long", std::string(40000, 'x') + "a");
  b.raw("/", "long", std::string(40000, 'x') + "b");
  EXPECT_EQ(diff_trees(a.tree(), b.tree()).size(), 1u);
}

}  // namespace
}  // namespace npu::probe::test
