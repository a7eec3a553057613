// SPDX-License-Identifier: MIT
// The facade of CLI11: what tools rely on.
#include "npu-device/command_line.hpp"

#include <gmock/gmock.h>

#include <new>
#include <sstream>

#include "regdb/error.hpp"

namespace npu::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Options {
  std::string text = "none";
  int number = -1;
  unsigned cores = 3;
  std::uint64_t address = 0;
  float share = 0;
  double mhz = 600;
  std::optional<unsigned> seed;
  std::optional<std::string> name;
  std::vector<unsigned> list;
  std::vector<std::string> files;
  bool quiet = false, csv = false, json = false;
};

struct Outcome {
  int code;
  std::string out, err;
};

class CommandLine : public testing::Test {
 protected:
  CommandLine() {
    app.set_version_flag("--version", "tool 1.2");
    app.add_option("--text", o.text, "a word")->check(IsMember({"one", "two"}));
    app.add_option("--number", o.number, "signed")->check(Range(-5, 5))->capture_default_str();
    app.add_option("--cores", o.cores, "a few")->check(Range(1u, 3u));
    app.add_option("--address", o.address, "large");
    app.add_option("--share", o.share, "of all");
    app.add_option("--mhz", o.mhz, "clock")->check(Range(1.0, 4000.0))->type_name("MHZ");
    app.add_option("--seed", o.seed, "may be left out");
    app.add_option("--name", o.name, "even")
        ->check({[](const std::string& text) {
                   return text.size() % 2 == 0 ? std::string() : text + " is odd";
                 },
                 "EVEN"});
    app.add_option("--list", o.list, "numbers")->delimiter(',');
    app.add_option("FILE", o.files, "the rest");
    app.add_flag("-q,--quiet", o.quiet, "say less");
    Option* json = app.add_flag("--json", o.json, "for machines");
    app.add_flag("--csv", o.csv, "for tables")->excludes(json);
    app.footer("Example: tool --text one");
    app.callback([this] {
      if (o.text == "two" && o.quiet) throw UsageError("--text", "two is never quiet");
      if (thrown) thrown();
      out << "ran\n";
      status = ran_status;
    });
  }

  Outcome run_tool(std::vector<const char*> argv) {
    argv.insert(argv.begin(), "tool");
    out.str("");
    err.str("");
    const int code = run(app, "tool", static_cast<int>(argv.size()), argv.data(), out, err, status);
    return {code, out.str(), err.str()};
  }

  Options o;
  App app{"Does nothing.", "tool"};
  std::ostringstream out, err;
  std::function<void()> thrown;
  int status = 0, ran_status = 0;
};

TEST_F(CommandLine, EveryTypeIsStored) {
  const Outcome r =
      run_tool({"--text",        "one",     "--number", "-4",          "--cores", "2", "--address",
                "0xF0000000000", "--share", "0.5",      "--mhz=800.5", "--seed",  "7", "--name",
                "even",          "--list",  "1,2,3",    "-q",          "--json",  "a", "b"});
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_EQ(r.out, "ran\n");
  EXPECT_EQ(o.text, "one");
  EXPECT_EQ(o.number, -4);
  EXPECT_EQ(o.cores, 2u);
  EXPECT_EQ(o.address, 0xF0000000000u);
  EXPECT_EQ(o.share, 0.5f);
  EXPECT_EQ(o.mhz, 800.5);
  EXPECT_EQ(o.seed, 7u);
  EXPECT_EQ(o.name, "even");
  EXPECT_THAT(o.list, ElementsAre(1u, 2u, 3u));
  EXPECT_THAT(o.files, ElementsAre("a", "b"));
  EXPECT_TRUE(o.quiet && o.json);
  EXPECT_FALSE(o.csv);
}

TEST_F(CommandLine, WhatIsNotGivenKeepsItsValue) {
  EXPECT_EQ(run_tool({}).code, 0);
  EXPECT_EQ(o.text, "none");
  EXPECT_EQ(o.number, -1);
  EXPECT_EQ(o.seed, std::nullopt);
  EXPECT_TRUE(o.list.empty());
}

TEST_F(CommandLine, WrongUsageIsTwoAndSaysWhy) {
  const std::pair<std::vector<const char*>, const char*> wrong[] = {
      {{"--text", "three"}, "three not in {one,two}"},
      {{"--number", "6"}, "6 not in range -5 to 5"},
      {{"--cores", "0"}, "0 not in range 1 to 3"},
      {{"--cores", "x"}, "x not in range 1 to 3"},
      {{"--mhz", "0.5"}, "not in range"},
      {{"--name", "odd"}, "odd is odd"},
      {{"--seed", "x"}, "Could not convert: --seed = x"},
      {{"--json", "--csv"}, "--json excludes --csv"},
      {{"--nosuch"}, "--nosuch"},
      {{"--text"}, "--text"},
      {{"--text", "two", "-q"}, "--text: two is never quiet"},
  };
  for (const auto& [arguments, message] : wrong) {
    const Outcome r = run_tool(arguments);
    EXPECT_EQ(r.code, 2) << message;
    EXPECT_THAT(r.err, HasSubstr(message));
    EXPECT_THAT(r.err, HasSubstr("Run with --help for more information."));
    EXPECT_EQ(r.out, "");
    o = {};
  }
}

TEST_F(CommandLine, HelpAndVersionGoToStdout) {
  const Outcome help = run_tool({"--help"});
  EXPECT_EQ(help.code, 0);
  EXPECT_EQ(help.err, "");
  for (const char* part : {"Does nothing.", "tool [OPTIONS] [FILE...]", "--text TEXT:{one,two}",
                           "--number INT:INT in [-5 - 5]=-1", "--cores UINT:UINT in [1 - 3]",
                           "--mhz MHZ:FLOAT in [1 - 4000]", "--name TEXT:EVEN", "--list UINT ...",
                           "-q,--quiet", "--csv Excludes: --json", "Example: tool --text one"}) {
    EXPECT_THAT(help.out, HasSubstr(part));
  }
  const Outcome version = run_tool({"--version"});
  EXPECT_EQ(version.code, 0);
  EXPECT_EQ(version.out, "tool 1.2\n");
}

TEST_F(CommandLine, WhatTheCallbackThrowsBecomesASentenceAndACode) {
  thrown = [] { throw Error(ErrorCode::bad_file, "a.gguf: no such file"); };
  Outcome r = run_tool({});
  EXPECT_EQ(r.code, 4);
  EXPECT_EQ(r.err, "tool: a.gguf: no such file\n");
  thrown = [] { throw std::bad_alloc(); };
  r = run_tool({});
  EXPECT_EQ(r.code, 5);
  EXPECT_EQ(r.err, "tool: out of memory\n");
  thrown = [] { throw std::logic_error("two twos"); };
  r = run_tool({});
  EXPECT_EQ(r.code, 1);
  EXPECT_EQ(r.err, "tool: internal error: two twos\n");
  thrown = nullptr;
  ran_status = 1;
  EXPECT_EQ(run_tool({}).code, 1);
}

TEST_F(CommandLine, SubcommandsGroupsAndOtherProgramsArguments) {
  App tool("Many things.", "tool");
  tool.require_subcommand(1);
  bool a = false, b = false;
  std::vector<std::string> program;
  std::vector<std::string> each;
  std::string device, called;
  App* list = tool.add_subcommand("list", "lists");
  App* formats = list->add_option_group("Output");
  formats->add_flag("--a", a, "one form");
  formats->add_flag("--b", b, "another");
  formats->require_option(0, 1);
  list->add_option("--device", device, "which")->group("Device")->default_val("sim");
  list->add_option("--each", each, "one at a time")->allow_extra_args(false);
  list->add_flag_callback(
      "--both", [&] { a = b = true; }, "both forms");
  list->require_subcommand(0, 1);
  App* deep = list->add_subcommand("deep", "lists more");
  deep->callback([&] { called += " deep"; });
  list->callback([&] { called += list->got_subcommand() ? " list+" : " list"; });
  App* other = tool.add_subcommand("other", "runs another program");
  other->add_option("PROGRAM", program, "and its arguments")->required();
  other->prefix_command();
  const auto parse = [&](std::vector<const char*> argv) {
    argv.insert(argv.begin(), "tool");
    called.clear();
    err.str("");
    return tool.parse(static_cast<int>(argv.size()), argv.data(), out, err);
  };
  EXPECT_EQ(parse({}), 2);
  EXPECT_THAT(err.str(), HasSubstr("A subcommand is required"));
  EXPECT_EQ(parse({"list", "--a", "--b"}), 2);
  EXPECT_EQ(parse({"list"}), std::nullopt);
  EXPECT_EQ(device, "sim");
  EXPECT_EQ(called, " list");
  EXPECT_EQ(parse({"list", "--each", "1", "--each", "2", "deep"}), std::nullopt);
  EXPECT_EQ(called, " deep list+");
  EXPECT_THAT(each, ElementsAre("1", "2"));
  EXPECT_EQ(parse({"list", "--both"}), std::nullopt);
  EXPECT_TRUE(a && b);
  EXPECT_EQ(parse({"other"}), 2);
  EXPECT_THAT(err.str(), HasSubstr("PROGRAM is required"));
  EXPECT_EQ(parse({"other", "--", "sh", "-c", "--json"}), std::nullopt);
  EXPECT_THAT(program, ElementsAre("sh", "-c", "--json"));
}

}  // namespace
}  // namespace npu::cli
