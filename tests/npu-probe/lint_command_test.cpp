// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include "npu-probe/lint.hpp"
#include "tool.hpp"

namespace npu::probe::test {
namespace {

// The recorded convolution with 14 CBUF banks: bytes of the register's second write.
std::string overcommitted() {
  std::string bytes = slurp(mesa("conv1x1_12_17_24") / "regcmd.bin");
  bytes[16 * 8 + 2] = static_cast<char>(0x95);  // weight_bank 9, data_bank 5
  return bytes;
}
std::string with_note() {
  std::string bytes = slurp(mesa("conv1x1_12_17_24") / "regcmd.bin");
  bytes[57 * 8 + 2] = 1;  // CORE.CLIP_TRUNCATE
  return bytes;
}

TEST(LintCommand, PrintsAsACompilerDoes) {
  const Output out = tool({"lint", "-"}, overcommitted());
  EXPECT_EQ(out.status, 1);
  EXPECT_NE(out.out.find("task 0 word 16: error: CNA.CBUF_CON0.weight_bank=9 with "
                         "CNA.CBUF_CON0.data_bank=5 makes 14 banks, the chip has 12 "
                         "[cbuf-overcommit]\n"),
            std::string::npos)
      << out.out;
  const Output clean = tool({"lint", mesa("conv1x1_12_17_24").string()});
  EXPECT_EQ(clean.status, 0);
  EXPECT_NE(clean.out.find("1 task, 130 words: 0 errors, 0 warnings, 0 notes"), std::string::npos)
      << clean.out;
}

TEST(LintCommand, RulesAreSwitchedOffAndRaised) {
  EXPECT_EQ(tool({"lint", "-", "--disable", "cbuf-overcommit", "--disable", "rewritten",
                  "--disable", "contradiction"},
                 overcommitted())
                .status,
            0);
  EXPECT_EQ(
      tool({"lint", "-", "-Wno-cbuf-overcommit", "-Wno-contradiction"}, overcommitted()).status, 0);
  EXPECT_EQ(tool({"lint", "-"}, with_note()).status, 0);
  EXPECT_EQ(tool({"lint", "-"}, with_note()).out.find("[clip-tie]"), std::string::npos);
  EXPECT_NE(tool({"lint", "-", "-Wall"}, with_note()).out.find("note: "), std::string::npos);
  EXPECT_EQ(tool({"lint", "-", "-Werror"}, with_note()).status, 0);
  EXPECT_EQ(tool({"lint", "-", "-Werror=clip-tie"}, with_note()).status, 1);
  const std::string same = mesa("add_14_32").string();  // a handle twice: a warning
  EXPECT_EQ(tool({"lint", same}).status, 0);
  EXPECT_EQ(tool({"lint", same, "-Werror"}).status, 1);
  for (const char* wrong : {"-Wno-such", "-Wnonsense", "-Werror=such"})
    EXPECT_EQ(tool({"lint", "-", wrong}, with_note()).status, 2) << wrong;
  EXPECT_EQ(tool({"lint", "-", "--disable", "such"}, with_note()).status, 2);
  EXPECT_EQ(tool({"lint"}).status, 2);
}

TEST(LintCommand, JsonHoldsEveryFinding) {
  const auto report = tool({"lint", "--json", "-"}, overcommitted()).json();
  EXPECT_EQ(report["errors"], 1);
  const auto& file = report["files"][0];
  EXPECT_EQ(file["words"], 130);
  EXPECT_EQ(file["tasks"], 1);
  bool found = false;
  for (const auto& f : file["findings"]) {
    found |= f["rule"] == "cbuf-overcommit" && f["word"] == 16 && f["severity"] == "error" &&
             f["where"] == "CNA.CBUF_CON0.weight_bank";
    for (const char* key : {"task", "message", "remedy", "source", "confidence"})
      EXPECT_TRUE(f.contains(key)) << key;
  }
  EXPECT_TRUE(found);
}

TEST(LintCommand, UnreadableInputIsNoFinding) {
  EXPECT_EQ(tool({"lint", "/no/such/file"}).status, 4);
  EXPECT_EQ(tool({"lint", "-"}, "1234567").status, 4);
  EXPECT_EQ(tool({"lint", "-"}, "").status, 4);
  const TempDir dir;
  spill(dir / "case.json", "{");
  EXPECT_EQ(tool({"lint", dir.path().string()}).status, 4);
  EXPECT_EQ(tool({"lint", (dir / "case.json").string()}).status, 4);
}

TEST(LintCommand, SeveralFilesAreNamed) {
  const TempDir dir;
  spill(dir / "bad.bin", overcommitted());
  const std::string bad = (dir / "bad.bin").string();
  const Output out = tool({"lint", mesa("conv1x1_12_17_24").string(), bad});
  EXPECT_EQ(out.status, 1);
  EXPECT_NE(out.out.find(bad + ": task 0 word 16: error: "), std::string::npos) << out.out;
}

TEST(LintCommand, TheTableInTheDocsIsTheCodes) {
  const std::string docs = slurp(std::string(ROSENBLATT_SOURCE_DIR) + "/docs/lint.md");
  const std::string table = lint_rules_markdown();
  EXPECT_NE(docs.find(table), std::string::npos)
      << "put the output of `npu-probe lint --rules --markdown` into docs/lint.md";
  EXPECT_EQ(tool({"lint", "--rules", "--markdown"}).out, table);
  const auto rules = tool({"lint", "--rules", "--json"}).json()["rules"];
  EXPECT_EQ(rules.size(), regdb::lint_rules().size() + model_lint_rules().size());
  for (const auto& rule : rules)
    EXPECT_NE(tool({"lint", "--rules"}).out.find(rule["rule"].get<std::string>()),
              std::string::npos);
}

}  // namespace
}  // namespace npu::probe::test
