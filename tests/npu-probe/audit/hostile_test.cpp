// SPDX-License-Identifier: MIT
// Nothing in a tree may make the audit crash, hang, look outside, or print raw bytes.
#include <gmock/gmock.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "npu-probe/audit/tree.hpp"
#include "regdb/error.hpp"
#include "tests/npu-probe/audit/fixture.hpp"

namespace npu::probe::test {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(AuditHostile, AMissingRootOrAFileIsABadFile) {
  for (const auto& root : {std::string("/no/such/folder"), std::string(),
                           (fixture("opi01-ready") / "dmesg.txt").string()}) {
    try {
      audit({root});
      ADD_FAILURE() << "no error for " << root;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_file);
      EXPECT_EQ(exit_code(error.code()), 4);
      EXPECT_THAT(error.what(), HasSubstr("cannot audit"));
    }
  }
}

TEST(AuditHostile, AnEmptyTreeIsNoRk3588) {
  Copy tree;
  const auto report = tree.audit();
  EXPECT_EQ(report.verdict, Verdict::no_rk3588);
  EXPECT_EQ(report.count(State::fail), 0);
  EXPECT_TRUE(report.machine.kernel.empty()) << "the host's kernel leaked in";
  EXPECT_TRUE(report.machine.arch.empty()) << "the host's architecture leaked in";
  EXPECT_EQ(report.machine.memory_bytes, 0u) << "the host's memory leaked in";
}

TEST(AuditHostile, FifosWhereFilesAreExpectedDoNotBlock) {
  Copy tree("boltzmann-ready");
  const auto start = std::chrono::steady_clock::now();
  for (const auto& path :
       {std::string("proc/modules"), std::string("proc/config.gz"), std::string("dmesg.txt"),
        std::string("dev-nodes.txt"), std::string("proc/meminfo"), std::string("proc/interrupts"),
        std::string("id.txt"), std::string("proc/sys/kernel/osrelease"), dt + "model",
        dt + "npu@fdab0000/status", std::string("usr/lib/teflon/libteflon.so")}) {
    tree.remove(path);
    ASSERT_EQ(mkfifo((tree / path).c_str(), 0644), 0) << path;
  }
  const auto report = tree.audit();
  EXPECT_EQ(report.verdict, Verdict::not_ready);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(AuditHostile, SymlinkLoopsAndDirectoriesInThePlaceOfFilesAreSkipped) {
  Copy tree("boltzmann-ready");
  tree.remove("proc/modules");
  fs::create_symlink("/proc/modules", tree / "proc/modules");
  fs::create_directory_symlink("..", tree / (dt + "npu@fdab0000/loop"));
  fs::create_directory_symlink("/", tree / "usr/lib/root");
  tree.remove("dmesg.txt");
  fs::create_directories(tree / "dmesg.txt/deeper");
  const auto report = tree.audit();
  EXPECT_EQ(state(report, "npu-core-versions"), State::unknown);
  EXPECT_EQ(state(report, "module-loaded"), State::ok) << "sys/module/rocket still says so";
}

TEST(AuditHostile, NoSymlinkLeavesTheTree) {
  Copy outside;
  outside.put("secret", "outside");
  Copy tree;
  tree.put("secret", "inside");
  fs::create_directories(tree / "deep/er");
  fs::create_symlink("../../../../../../../../secret", tree / "deep/er/up");
  fs::create_symlink("/secret", tree / "deep/absolute");
  fs::create_symlink((outside / "secret").string(), tree / "deep/outside");
  fs::create_symlink(outside.root().string(), tree / "deep/folder");
  const Tree view(tree.root().string());
  EXPECT_EQ(view.read("/deep/er/up"), "inside");
  EXPECT_EQ(view.read("/deep/absolute"), "inside");
  EXPECT_EQ(view.read("/../../../secret"), "inside");
  EXPECT_FALSE(view.read("/deep/outside").has_value());
  EXPECT_FALSE(view.read("/deep/folder/secret").has_value());
  EXPECT_TRUE(view.list("/deep/folder").empty());
}

TEST(AuditHostile, ReadsAreBounded) {
  Copy tree;
  tree.put("small", "0123456789");
  fs::resize_file(tree / "small", std::uintmax_t{1} << 33);  // sparse: 8 GiB of zeros
  const Tree view(tree.root().string());
  EXPECT_EQ(view.read("/small")->size(), max_file_bytes);
  EXPECT_EQ(view.read("/small", 10), "0123456789");
  EXPECT_EQ(view.read_tail("/small", 100), std::string(100, '\0'));
}

TEST(AuditHostile, HugeFilesEverywhereDoNotHang) {
  Copy tree("opi01-ready");
  for (const auto path : {"proc/modules", "dmesg.txt", "proc/interrupts", "proc/meminfo"})
    fs::resize_file(tree / path, std::uintmax_t{1} << 33);
  tree.put(dt + "compatible", std::string(1 << 20, 'x'));
  EXPECT_EQ(tree.audit().machine.board, "Xunlong Orange Pi 5 Plus");
}

TEST(AuditHostile, UnreadableFilesAreUnknownAndNoCrash) {
  Copy tree("boltzmann-ready");
  ASSERT_EQ(chmod((tree / "proc/config.gz").c_str(), 0), 0);
  ASSERT_EQ(chmod((tree / "dmesg.txt").c_str(), 0), 0);
  const auto report = tree.audit();
  // Root reads them all the same.
  EXPECT_EQ(state(report, "config-drm-accel"), geteuid() == 0 ? State::ok : State::unknown);
}

TEST(AuditHostile, EveryFormOfTheBrokenBoardIsCleanText) {
  const auto report = audit_of(fixture("broken"));
  const auto json = nlohmann::json::parse(render_json(report));  // throws on bad UTF-8
  EXPECT_EQ(json["verdict"], "not-ready");
  for (const auto& text : {render_text(report, false), render_markdown(report)}) {
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      EXPECT_TRUE(byte == '\n' || (byte >= 0x20 && byte != 0x7f)) << int(byte);
    }
  }
}

TEST(AuditHostile, AnyFileReplacedByNoiseIsSurvived) {
  for (const auto name : {"boltzmann-ready", "opi01-ready", "vendor-kernel"}) {
    std::vector<std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(fixture(name)))
      if (entry.is_regular_file() && !entry.is_symlink())
        files.push_back(fs::relative(entry.path(), fixture(name)).string());
    ASSERT_GT(files.size(), 20u);
    std::string noise;
    for (int i = 0; i < 300; ++i) noise += static_cast<char>(i * 151 + 7);
    Copy tree(name);
    for (std::size_t i = 0; i < files.size(); ++i) {
      std::ifstream in(fixture(name) / files[i], std::ios::binary);
      const std::string before{std::istreambuf_iterator<char>(in), {}};
      tree.put(files[i], i % 2 ? noise : before.substr(0, before.size() / 2));
      const auto report = tree.audit();
      EXPECT_TRUE(nlohmann::json::accept(render_json(report))) << files[i];
      if (i % 3 == 0) tree.put(files[i], before);  // and otherwise the damage adds up
    }
  }
}

TEST(AuditHostile, MarkdownCellsCannotBeBrokenOut) {
  Copy tree("boltzmann-ready");
  tree.put(dt + "model", std::string("a | b <script>\n| x") + '\0');
  const auto report = tree.audit();
  const auto text = render_markdown(report);
  EXPECT_THAT(text, HasSubstr("a \\| b &lt;script>"));
  EXPECT_THAT(text, Not(HasSubstr("<script>")));
}

}  // namespace
}  // namespace npu::probe::test
