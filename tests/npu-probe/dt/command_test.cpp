// SPDX-License-Identifier: MIT
// `npu-probe dt` as a user has it: files, folders, exit codes, hostile bytes; and the audit.
#include <gmock/gmock.h>

#include <sys/stat.h>

#include <random>

#include "npu-probe/audit/audit.hpp"
#include "npu-probe/dt/rules.hpp"
#include "regdb/error.hpp"
#include "tests/npu-probe/dt/board_tree.hpp"
#include "tests/npu-probe/tool.hpp"

namespace npu::probe::test {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

TEST(DtCheck, ExitsWithWhatItFound) {
  const TempDir dir;
  BoardTree board;
  board.save(dir / "good.dtb");
  board.switch_off();
  board.save(dir / "off.dtb");
  spill(dir / "text.dtb", "no tree at all, but long enough for the header of one");
  spill(dir / "short.dtb", "");
  fs::create_directory(dir / "folder");
  const auto check = [&](const std::string& name) {
    return tool({"dt", "check", (dir / name).string()});
  };
  EXPECT_EQ(check("good.dtb").status, 0);
  EXPECT_THAT(check("good.dtb").out, HasSubstr("30 checks: 30 ok, 0 failed"));
  const auto off = check("off.dtb");
  EXPECT_EQ(off.status, 1);
  EXPECT_THAT(off.out, HasSubstr("fail    dt-npu-core0: /npu@fdab0000: status = \"disabled\""));
  EXPECT_THAT(off.out, HasSubstr("30 checks: 21 ok, 6 failed, 3 warnings, 0 notes"));
  EXPECT_EQ(tool({"dt"}).status, 2);
  EXPECT_EQ(tool({"dt", "check"}).status, 2);
  for (const auto name : {"text.dtb", "short.dtb", "folder", "missing.dtb"}) {
    EXPECT_EQ(check(name).status, 4) << name;
    EXPECT_THAT(check(name).err, HasSubstr(name));
  }
}

TEST(DtEnable, WritesOnlyWhatPasses) {
  const TempDir dir;
  BoardTree board;
  board.save(dir / "on.dtb");
  board.switch_off();
  board.save(dir / "off.dtb");
  spill(dir / "text.dtb", "no tree");
  const auto out = (dir / "out.dtb").string();
  const auto enable = [&](const std::string& name, std::vector<std::string> more = {}) {
    std::vector<std::string> args{"dt", "enable", (dir / name).string()};
    args.insert(args.end(), more.begin(), more.end());
    return tool(args);
  };
  const auto refused = enable("on.dtb", {"-o", out});
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.err, HasSubstr("nothing to do"));
  EXPECT_EQ(enable("off.dtb").status, 2);
  EXPECT_EQ(enable("off.dtb", {"-o", out, "--board", "toaster"}).status, 2);
  EXPECT_EQ(enable("text.dtb", {"-o", out}).status, 4);
  EXPECT_EQ(enable("off.dtb", {"-o", (dir / "no/such/folder.dtb").string()}).status, 3);
  EXPECT_FALSE(fs::exists(out));
  const auto written = enable("off.dtb", {"-o", out});
  EXPECT_EQ(written.status, 0);
  EXPECT_THAT(written.out, HasSubstr("overlay rk3588-rock-5-itx: the rail is vdd_npu_s0"));
  EXPECT_EQ(tool({"dt", "check", out}).status, 0);
  const auto json = enable("off.dtb", {"-o", out, "--board", "generic", "--json"});
  EXPECT_EQ(json.status, 0);
  EXPECT_EQ(json.json()["overlay"], "rk3588-npu-generic");
  EXPECT_EQ(json.json()["passes"], false);
  EXPECT_EQ(json.json()["warnings"].size(), 1u);
  EXPECT_EQ(tool({"dt", "check", out}).status, 1);
  EXPECT_GE(tool({"dt", "enable", "--list", "--json"}).json()["overlays"].size(), 8u);
}

TEST(DtDiff, ExitsWithWhetherTheyDiffer) {
  const TempDir dir;
  BoardTree board;
  board.save(dir / "on.dtb");
  board.save_folder(dir / "base");
  board.text("/", "model", {"Another"});
  board.save(dir / "model.dtb");
  const auto diff = [&](const std::string& a, const std::string& b, const char* option = "--json") {
    return tool({"dt", "diff", (dir / a).string(), (dir / b).string(), option});
  };
  EXPECT_EQ(diff("on.dtb", "base").status, 0);
  EXPECT_EQ(diff("on.dtb", "model.dtb").status, 1);
  EXPECT_EQ(diff("on.dtb", "model.dtb").json()["differences"][0]["property"], "model");
  EXPECT_EQ(diff("on.dtb", "model.dtb", "--npu").status, 0);
  EXPECT_EQ(diff("on.dtb", "missing.dtb").status, 4);
  EXPECT_EQ(tool({"dt", "diff", "one"}).status, 2);
}

TEST(DtCheck, JsonHasEveryCheck) {
  const TempDir dir;
  BoardTree board;
  board.switch_off();
  board.save(dir / "off.dtb");
  const auto report = tool({"dt", "check", "--json", (dir / "off.dtb").string()}).json();
  EXPECT_EQ(report["verdict"], "findings");
  EXPECT_EQ(report["model"], "Radxa ROCK 5 ITX");
  EXPECT_EQ(report["checks"].size(), 30u);
  EXPECT_EQ(report["checks"][1]["id"], "dt-npu-core0");
  EXPECT_EQ(report["checks"][1]["nodes"][0], "/npu@fdab0000");
  EXPECT_EQ(report["summary"]["fail"], 6);
}

TEST(DtCheck, FolderOfALiveTreeSaysTheSame) {
  const TempDir dir;
  BoardTree board;
  board.remove(BoardTree::pd_npu, "domain-supply");
  board.save(dir / "board.dtb");
  board.save_folder(dir / "base");
  fs::create_symlink("base", dir / "device-tree");
  auto blob = tool({"dt", "check", "--json", (dir / "board.dtb").string()});
  auto live = tool({"dt", "check", "--json", (dir / "device-tree").string()});
  EXPECT_EQ(blob.status, 1);
  EXPECT_EQ(live.status, 1);
  EXPECT_EQ(blob.json()["checks"], live.json()["checks"]);
}

/// Every check that both have is the same.
void expect_agreement(const fs::path& root, const std::string& base) {
  const auto report = audit({root.string()});
  auto dt = read_folder((root / base.substr(1)).string(), nullptr);
  dt.base = base;
  std::size_t shared = 0;
  for (const auto& check : check_tree(dt, find_npu_nodes(dt)))
    if (const auto* told = report.find(check.id)) {
      ++shared;
      const auto state = check.state == DtState::note ? "ok" : to_string(check.state);
      EXPECT_EQ(to_string(told->state), state) << root << " " << check.id;
      EXPECT_EQ(told->evidence, check.evidence);
      EXPECT_EQ(told->remedy, check.remedy);
    }
  EXPECT_EQ(shared, 9u) << root;
}

TEST(DtCheck, AgreesWithTheAudit) {
  const std::string base = "/sys/firmware/devicetree/base";
  for (const int variant : {0, 1, 2}) {
    const TempDir dir;
    BoardTree board;
    if (variant == 1) board.switch_off();
    if (variant == 2) board.cells(BoardTree::core_path(1), "power-domains", {99, 10});
    board.save_folder(dir.path() / base.substr(1));
    expect_agreement(dir.path(), base);
  }
  for (const auto name :
       {"boltzmann-ready", "boltzmann-not-enabled", "opi01-ready", "vendor-kernel"})
    expect_agreement(fs::path(ROSENBLATT_VECTORS_DIR) / "audit" / name, base);
}

TEST(DtCheck, AnOverlayIsNoTree) {
  const TempDir dir;
  BoardTree board;
  board.node("/fragment@0");
  board.node("/fragment@0/__overlay__");
  board.save(dir / "npu.dtbo");
  const auto run = tool({"dt", "check", (dir / "npu.dtbo").string()});
  EXPECT_EQ(run.status, 4);
  EXPECT_THAT(run.err, HasSubstr("is an overlay"));
}

TEST(DtCheck, DamagedBlobsAreRefusedOrJudged) {
  const auto whole = BoardTree().bytes();
  std::size_t refused = 0, judged = 0;
  const auto try_one = [&](std::span<const std::byte> bytes) {
    try {
      const auto dt = read_blob(bytes, "damaged");
      check_tree(dt, find_npu_nodes(dt));
      ++judged;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_file);
      ++refused;
    }
  };
  for (std::size_t size = 0; size < whole.size(); size += 7) try_one(std::span(whole).first(size));
  EXPECT_EQ(judged, 0u);
  std::mt19937 random(1);
  for (int i = 0; i < 3000; ++i) {
    auto bytes = whole;
    for (auto flips = 1 + random() % 4; flips > 0; --flips)
      bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    try_one(bytes);
  }
  EXPECT_GT(refused, 500u);
  EXPECT_GT(judged, 500u);
}

TEST(DtCheck, HostileFoldersEnd) {
  const TempDir dir;
  fs::create_directories(dir / "base/loop");
  spill(dir / "base/compatible", std::string("rockchip,rk3588\0", 16));
  fs::create_directory_symlink("..", dir / "base/loop/up");
  ASSERT_EQ(mkfifo((dir / "base/pipe").c_str(), 0600), 0);
  auto deep = dir / "base/deep";
  for (int i = 0; i < 60; ++i) deep /= "n";
  fs::create_directories(deep);
  EXPECT_EQ(tool({"dt", "check", (dir / "base").string()}).status, 1);
}

}  // namespace
}  // namespace npu::probe::test
