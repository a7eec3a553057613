// SPDX-License-Identifier: MIT
// The subcommand and the three forms.
#include "npu-probe/audit/audit_command.hpp"

#include <gmock/gmock.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "npu-device/command_line.hpp"
#include "regdb/error.hpp"
#include "tests/npu-probe/audit/fixture.hpp"

namespace npu::probe::test {
namespace {

using testing::HasSubstr;
using testing::Not;

struct Result {
  int status = -1;
  std::string out;
};

Result run(const std::vector<std::string>& arguments) {
  cli::App app({}, "npu-probe");
  std::ostringstream out, err;
  Result result;
  add_audit(app, out, result.status);
  std::vector<const char*> argv{"npu-probe"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  if (const auto ended = app.parse(static_cast<int>(argv.size()), argv.data(), out, err))
    result.status = *ended;
  result.out = out.str();
  return result;
}

TEST(AuditCommand, ExitStatusFollowsTheVerdict) {
  EXPECT_EQ(run({"audit", "--root", fixture("boltzmann-ready")}).status, 0);
  EXPECT_EQ(run({"audit", "--root", fixture("x86-64-pc")}).status, 0);
  EXPECT_EQ(run({"audit", "--root", fixture("boltzmann-not-enabled")}).status, 1);
  EXPECT_EQ(run({"audit", "--root", fixture("broken")}).status, 1);
  EXPECT_THROW(run({"audit", "--root", "/no/such/folder"}), Error);
  EXPECT_EQ(run({"audit", "--format", "yaml"}).status, 2);
}

TEST(AuditCommand, TheRunningSystemCanBeAudited) {
  const auto result = run({"audit", "--format", "json"});
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(result.status, json["verdict"] == "not-ready" ? 1 : 0);
  EXPECT_FALSE(json["machine"]["kernel"].get<std::string>().empty());
  EXPECT_GT(json["machine"]["memory_bytes"].get<std::uint64_t>(), 0u);
#ifdef __x86_64__
  EXPECT_EQ(json["verdict"], "no-rk3588");
  EXPECT_EQ(json["summary"]["fail"], 0);
#endif
}

TEST(AuditCommand, ACapturedTreeOfThisMachineSaysWhatTheMachineSays) {
  const auto script = std::string(ROSENBLATT_SOURCE_DIR) + "/npu-probe/audit/capture-tree.sh";
  Copy tree;
  ASSERT_EQ(std::system(("sh " + script + " " + tree.root().string() + " > /dev/null").c_str()), 0);
  const auto here = audit_of("/"), captured = tree.audit();
  EXPECT_EQ(captured.verdict, here.verdict);
  EXPECT_EQ(captured.machine.kernel, here.machine.kernel);
  EXPECT_EQ(captured.machine.memory_bytes, here.machine.memory_bytes);
  EXPECT_TRUE(fs::exists(tree / "dev-nodes.txt"));
  EXPECT_NE(std::system(("sh " + script + " " + tree.root().string() + " 2> /dev/null").c_str()), 0)
      << "a folder that is not empty is left alone";
}

TEST(AuditCommand, JsonHasTheDocumentedShape) {
  for (const auto& entry : fs::directory_iterator(fixture(""))) {
    if (!entry.is_directory()) continue;
    const auto json = nlohmann::json::parse(
        run({"audit", "--root", entry.path().string(), "--format", "json"}).out);
    for (const auto key : {"soc", "board", "kernel", "arch"})
      EXPECT_TRUE(json["machine"][key].is_string()) << key;
    EXPECT_TRUE(json["machine"]["memory_bytes"].is_number_unsigned());
    std::map<std::string, int> counted{{"ok", 0}, {"warn", 0}, {"fail", 0}, {"unknown", 0}};
    std::set<std::string> ids;
    for (const auto& check : json["checks"]) {
      ASSERT_EQ(check.size(), 5u);
      ASSERT_EQ(counted.count(check["state"]), 1u) << check["state"];
      ++counted[check["state"]];
      EXPECT_TRUE(ids.insert(check["id"]).second) << "twice: " << check["id"];
      EXPECT_FALSE(check["evidence"].get<std::string>().empty()) << check["id"];
      EXPECT_FALSE(check["title"].get<std::string>().empty()) << check["id"];
      if (check["state"] == "fail" || check["state"] == "warn") {
        EXPECT_FALSE(check["remedy"].get<std::string>().empty()) << check["id"];
      }
    }
    for (const auto& [name, count] : counted) EXPECT_EQ(json["summary"][name], count) << name;
    EXPECT_EQ(json["status_table"].size(), 7u);
    EXPECT_EQ(json["configuration"].empty(), json["verdict"] == "no-rk3588");
    for (const auto& symbol : json["configuration"]) {
      ASSERT_EQ(symbol.size(), 6u);
      EXPECT_THAT(symbol["symbol"].get<std::string>(), testing::StartsWith("CONFIG_"));
      EXPECT_FALSE(symbol["reason"].get<std::string>().empty()) << symbol["symbol"];
      EXPECT_EQ(
          symbol["found"].is_null(),
          symbol["state"] == "unknown" || (symbol["state"] == "missing" && symbol["found"] != "n"));
    }
  }
}

TEST(AuditCommand, MarkdownFillsTheStatusTable) {
  for (const auto name : {"boltzmann-not-enabled", "vendor-kernel", "x86-64-pc"}) {
    const auto text = run({"audit", "--root", fixture(name), "--format", "markdown"}).out;
    EXPECT_THAT(text, HasSubstr("| Component | Mainline state | Evidence | Notes |"));
    for (const auto row :
         {"rocket driver", "DT bindings", "NPU power domain", "NPU nodes in rk3588 dtsi",
          "NPU nodes in the board file", "userspace uAPI consumer", "vendor stack"})
      EXPECT_THAT(text, HasSubstr("\n| " + std::string(row) + " | ")) << name;
    EXPECT_THAT(text, Not(HasSubstr("TBD")));
  }
  const auto text =
      run({"audit", "--root", fixture("boltzmann-not-enabled"), "--format", "markdown"}).out;
  EXPECT_THAT(text, HasSubstr("here: built, not loaded"));
  EXPECT_THAT(text, HasSubstr("| NPU nodes in the board file | disabled | Radxa ROCK 5 ITX+: "));
}

TEST(AuditCommand, TextEndsWithTheSummaryAndTheNextStep) {
  const auto text = run({"audit", "--root", fixture("opi01-ready")}).out;
  EXPECT_THAT(text, Not(HasSubstr("\033")));
  EXPECT_THAT(text, HasSubstr("\nready: "));
  EXPECT_THAT(text, HasSubstr(" 0 fail, 0 unknown\nNext: run `npu-probe bringup"));
  const auto pc = run({"audit", "--root", fixture("x86-64-pc")}).out;
  EXPECT_THAT(pc, HasSubstr("no RK3588 here"));
  EXPECT_THAT(pc, HasSubstr("--device sim"));
  EXPECT_THAT(pc, Not(HasSubstr("fail  ")));
}

TEST(AuditCommand, ColourIsAnAdditionOnly) {
  const auto report = audit_of(fixture("vendor-kernel"));
  auto coloured = render_text(report, true);
  EXPECT_THAT(coloured, HasSubstr("\033[31mfail"));
  for (auto at = coloured.find('\033'); at != std::string::npos; at = coloured.find('\033'))
    coloured.erase(at, coloured.find('m', at) - at + 1);
  EXPECT_EQ(coloured, render_text(report, false));
}

}  // namespace
}  // namespace npu::probe::test
