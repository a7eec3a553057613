// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <random>

#include "tool.hpp"

namespace npu::probe::test {
namespace {

TEST(Decode, EncodingTheJsonGivesTheSameBytes) {
  for (const auto& entry : std::filesystem::directory_iterator(mesa())) {
    if (!entry.is_directory()) continue;
    const std::string file = (entry.path() / "regcmd.bin").string();
    const Output json = tool({"decode", "--json", file});
    ASSERT_EQ(json.status, 0) << json.err;
    const Output bytes = tool({"encode", "-"}, json.out);
    ASSERT_EQ(bytes.status, 0) << bytes.err;
    EXPECT_TRUE(bytes.out == slurp(file)) << file;
  }
}

TEST(Decode, EncodesFromTheFieldsAlone) {
  auto words = tool({"decode", "--json", mesa("add_14_32").string()}).json()["words"];
  for (auto& word : words)
    for (const char* key : {"word", "value", "target", "offset"})
      if (word.contains("fields") && word["block"] != "ENABLE") word.erase(key);
  const Output bytes = tool({"encode", "-"}, words.dump());
  ASSERT_EQ(bytes.status, 0) << bytes.err;
  EXPECT_TRUE(bytes.out == slurp(mesa("add_14_32") / "regcmd.bin"));
}

TEST(Decode, ReadsStandardInputCaseFoldersAndCaseFiles) {
  const std::string bytes = slurp(mesa("add_14_32") / "regcmd.bin");
  const Output from_stdin = tool({"decode", "-"}, bytes);
  EXPECT_EQ(from_stdin.status, 0);
  EXPECT_EQ(tool({"decode", mesa("add_14_32").string()}).out, from_stdin.out);
  EXPECT_EQ(tool({"decode", (mesa("add_14_32") / "case.json").string()}).out, from_stdin.out);
}

TEST(Decode, OnlyChangedShowsWhatDiffersFromTheTaskBefore) {
  const Output all = tool({"decode", mesa("add_14_32").string()});
  const Output changed = tool({"decode", "--only-changed", mesa("add_14_32").string()});
  EXPECT_LT(changed.out.size(), all.out.size());
  const std::string second = changed.out.substr(changed.out.find("task 1"));
  EXPECT_NE(second.find("DPU.EW_CFG = 0x904202c0"), std::string::npos) << second;
  EXPECT_EQ(second.find("CNA.CONV_CON3"), std::string::npos) << second;
}

TEST(Decode, BlockFilterShowsOneBlock) {
  const Output r = tool({"decode", "--block", "CORE", mesa("conv3x3_28_1_8").string()});
  EXPECT_EQ(r.status, 0);
  EXPECT_NE(r.out.find("CORE.MISC_CFG = 0x00000001  "), std::string::npos) << r.out;
  EXPECT_NE(r.out.find("proc_precision=INT8 qd_en=1"), std::string::npos) << r.out;
  EXPECT_EQ(r.out.find("DPU."), std::string::npos);
  EXPECT_EQ(tool({"decode", "--block", "XYZ", mesa("conv3x3_28_1_8").string()}).status, 2);
}

TEST(Decode, ColourOnlyWhenAskedFor) {
  EXPECT_EQ(tool({"decode", mesa("add_14_32").string()}).out.find("\x1b["), std::string::npos);
  EXPECT_NE(tool({"decode", "--color", "always", mesa("add_14_32").string()}).out.find("\x1b["),
            std::string::npos);
}

TEST(Decode, RandomFilesAreListedOrRefused) {
  std::mt19937 rng(99);
  for (int i = 0; i < 500; ++i) {
    std::string bytes(rng() % 200, '\0');
    for (char& c : bytes) c = static_cast<char>(rng());
    const Output text = tool({"decode", "-"}, bytes);
    const bool words = !bytes.empty() && bytes.size() % 8 == 0;
    ASSERT_EQ(text.status, words ? 0 : 4);
    if (!words) continue;
    const Output json = tool({"decode", "--json", "-"}, bytes);
    ASSERT_TRUE(tool({"encode", "-"}, json.out).out == bytes);
  }
}

TEST(Decode, EncodeSaysThatItsOutputIsLost) {
  const std::string json = tool({"decode", "--json", mesa("add_14_32").string()}).out;
  struct Full : std::streambuf {
  } full;  // takes nothing, like a full disk
  std::istringstream in(json);
  std::ostringstream err;
  std::ostream out(&full);
  Io io{in, out, err};
  const char* argv[] = {"npu-probe", "encode", "-"};
  EXPECT_EQ(run(3, argv, io), 4);
  EXPECT_NE(err.str().find("cannot be written"), std::string::npos) << err.str();
}

TEST(Decode, BadFilesEndWithFour) {
  EXPECT_EQ(tool({"decode", "/no/such/file"}).status, 4);
  EXPECT_EQ(tool({"decode", "/"}).status, 4);
  EXPECT_EQ(tool({"encode", "-"}, "not json").status, 4);
  EXPECT_EQ(tool({"encode", "-"}, "{}").status, 4);
  EXPECT_EQ(tool({"encode", "-"}, "[{}]").status, 4);
  EXPECT_EQ(tool({"encode", "-", "-o", "/no/such/dir/x"}, "[]").status, 4);
}

}  // namespace
}  // namespace npu::probe::test
