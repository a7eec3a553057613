// SPDX-License-Identifier: MIT
// regs dump, read, write, watch: names, decoding, refusals; on simulated registers.
#include "npu-probe/regs.hpp"

#include <gmock/gmock.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>

#include <iostream>
#include <map>
#include <thread>

#include "npu-probe/regs_watch.hpp"
#include "regdb/error.hpp"
#include "regdb/registers.hpp"
#include "tool.hpp"

namespace npu::probe {
namespace {

using nlohmann::json;
using test::mesa;
using test::Output;
using test::spill;
using test::TempDir;
using test::tool;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

Output regs(std::vector<std::string> args) {
  args.insert(args.begin(), "regs");
  return tool(args);
}

/// The register of a dump by name.
json find(const json& dump, const std::string& block, const std::string& name) {
  for (const json& reg : dump["registers"])
    if (reg["block"] == block && reg["register"] == name) return reg;
  ADD_FAILURE() << "no " << block << "." << name;
  return {};
}

TEST(RegsDump, ShowsWhatAnIdleCoreHolds) {
  for (const char* device : {"sim", "mmio:sim"}) {
    const Output out = regs({"dump", "--device", device, "--all"});
    EXPECT_EQ(out.status, 0) << out.err;
    EXPECT_THAT(out.out,
                AllOf(HasSubstr("PC.VERSION = 0x46495245"), HasSubstr("CORE.MAC_GATING"),
                      HasSubstr("0x2000 to 0x2fff"), HasSubstr("PC.INTERRUPT_CLEAR (write only)"),
                      HasSubstr("LUT_ACCESS_DATA (reading steps through the table)")));
  }
}

TEST(RegsDump, HidesResetValuesUnlessAsked) {
  const Output brief = regs({"dump", "PC", "--device", "sim"});
  EXPECT_THAT(brief.out,
              AllOf(HasSubstr("at their reset value (--all)"), Not(HasSubstr("PC.TASK_CON"))));
  EXPECT_THAT(regs({"dump", "pc", "--all", "--device", "sim"}).out, HasSubstr("PC.TASK_CON"));
}

TEST(RegsDump, IommuRegistersLieWhereTheCoreHasThem) {
  const json first = regs({"dump", "--json", "--device", "mmio:sim"}).json();
  EXPECT_EQ(find(first, "MMU0", "STATUS")["offset"], 0x9004);
  EXPECT_EQ(find(first, "MMU1", "STATUS")["offset"], 0xA004);
  EXPECT_EQ(find(first, "MMU1", "STATUS")["fields"]["IDLE"], 1);
  for (const json& reg : first["registers"]) {
    EXPECT_NE(reg["block"], "SDMA");
    EXPECT_NE(reg["offset"].get<unsigned>() >> 12, 2u);
  }
  const json second = regs({"dump", "--json", "--device", "mmio:1,sim"}).json();
  EXPECT_EQ(second["core"], 1);
  EXPECT_EQ(find(second, "MMU", "STATUS")["offset"], 0xA004);
  bool sdma = false;
  for (const json& reg : second["registers"]) sdma = sdma || reg["block"] == "SDMA";
  EXPECT_TRUE(sdma);
}

TEST(RegsDump, AfterACaseShowsTheLastTasksRegisters) {
  const std::string dir = mesa("conv3x3_28_1_8").string();
  for (const char* device : {"sim", "mmio:sim", "mmio:2,sim,iommu=bypass"}) {
    const json dump = regs({"dump", "--json", "--device", device, "--after", dir}).json();
    EXPECT_EQ(find(dump, "DPU", "DATA_CUBE_WIDTH")["fields"]["WIDTH"], 28) << device;
    EXPECT_EQ(find(dump, "CNA", "WEIGHT_SIZE2")["fields"]["WEIGHT_WIDTH"], 3) << device;
    EXPECT_TRUE(find(dump, "DPU", "DATA_CUBE_WIDTH").contains("group"));
    EXPECT_FALSE(find(dump, "PC", "BASE_ADDRESS").contains("group"));
  }
}

TEST(RegsDump, AfterAProgramShowsItsWordsWithoutStartingThem) {
  TempDir dir;
  const std::vector<std::uint64_t> words{
      regdb::Regcmd{0x1001, 0xE, regdb::dpu::S_POINTER::offset}.pack(),
      regdb::Regcmd{0x1001, 13, regdb::dpu::DATA_CUBE_WIDTH::offset}.pack(),
      regdb::Regcmd{0x0081, 0x18, 8}.pack()};
  spill(dir / "program.bin",
        std::string(reinterpret_cast<const char*>(words.data()), words.size() * 8));
  const Output out =
      regs({"dump", "DPU", "--device", "sim", "--after", (dir / "program.bin").string()});
  EXPECT_EQ(out.status, 0) << out.err;
  EXPECT_THAT(out.out, HasSubstr("width=14"));
  EXPECT_EQ(regs({"dump", "--after", "/nonexistent"}).status, 4);
  spill(dir / "odd.bin", "123");
  EXPECT_EQ(regs({"dump", "--after", (dir / "odd.bin").string()}).status, 4);
}

TEST(RegsDump, DiffNamesTheFields) {
  TempDir dir;
  const Output before = regs({"dump", "--json", "--device", "sim"});
  spill(dir / "before.json", before.out);
  const std::string file = (dir / "before.json").string();
  const Output same = regs({"dump", "--device", "sim", "--diff", file});
  EXPECT_EQ(same.status, 0);
  EXPECT_THAT(same.out, HasSubstr("0 of "));
  const std::vector<std::string> after{
      "dump", "DPU", "--device", "sim", "--diff", file, "--after", mesa("conv3x3_28_1_8").string()};
  const Output text = regs(after);
  EXPECT_EQ(text.status, 1);
  EXPECT_THAT(text.out, HasSubstr("width 1 -> 28"));
  auto as_json = after;
  as_json.push_back("--json");
  const json report = regs(as_json).json();
  bool found = false;
  for (const json& d : report["differences"])
    if (d["register"] == "DATA_CUBE_WIDTH")
      found = d["fields"]["width"]["after"] == "28" && d["before"] == 0;
  EXPECT_TRUE(found) << report.dump();
}

TEST(RegsDump, BadDumpFilesAreRefused) {
  TempDir dir;
  for (const char* text :
       {"", "{", "[]", "{}", R"({"registers":1})", R"({"registers":[1]})",
        R"({"registers":[{"block":"PC","register":"VERSION"}]})",
        R"({"registers":[{"block":"PC","register":"VERSION","value":-1}]})",
        R"({"registers":[{"block":"PC","register":"VERSION","value":4294967296}]})",
        R"({"registers":[{"block":1,"register":"VERSION","value":1}]})", R"({"registers":[]})"}) {
    spill(dir / "bad.json", text);
    const Output out = regs({"dump", "--device", "sim", "--diff", (dir / "bad.json").string()});
    EXPECT_EQ(out.status, 4) << text;
  }
  EXPECT_EQ(regs({"dump", "--device", "sim", "--diff", "/nonexistent"}).status, 4);
}

TEST(RegsRead, BlocksRegistersAndFields) {
  const Output out = regs({"read", "PC.VERSION", "cna.s_pointer.executer", "PC.VERSION_NUM",
                           "CORE.MAC_GATING", "--device", "mmio:sim"});
  EXPECT_EQ(out.status, 0) << out.err;
  EXPECT_THAT(out.out,
              AllOf(HasSubstr("PC.VERSION = 0x46495245"), HasSubstr("CNA.S_POINTER.EXECUTER = 0"),
                    HasSubstr("CORE.MAC_GATING = 0x07800800")));
  const json object = regs({"read", "PC.VERSION", "--json", "--device", "sim"}).json();
  EXPECT_EQ(object["registers"][0]["value"], 0x46495245);
}

TEST(RegsRead, NamesThatDoNotExistListThoseThatDo) {
  const std::pair<const char*, const char*> cases[] = {
      {"XYZ", "CNA"},
      {"CNA.NOPE", "CONV_CON1"},
      {"CNA.CONV_CON1.nope", "in_precision"},
      {"CNA.CONV_CON1.a.b", "BLOCK.REGISTER.FIELD"},
      {"", "CNA"},
      {"CNA.", "CONV_CON1"},
      {"PC.INTERRUPT_CLEAR", "write only"}};
  for (const auto& [name, hint] : cases) {
    const Output out = regs({"read", name, "--device", "sim"});
    EXPECT_EQ(out.status, 2) << name;
    EXPECT_THAT(out.err, HasSubstr(hint)) << name;
  }
}

TEST(RegsWrite, NeedsYesWhereNobodyCanBeAsked) {
  const Output out = regs({"write", "PC.REGISTER_AMOUNTS=7", "--device", "sim"});
  EXPECT_EQ(out.status, 2);
  EXPECT_THAT(out.err, HasSubstr("--yes"));
}

TEST(RegsWrite, WritesRegistersAndFieldsInTheirOwnTerms) {
  const Output out =
      regs({"write", "DPU.DATA_CUBE_WIDTH.width=14", "PC.BASE_ADDRESS=0x1",
            "PC.INTERRUPT_CLEAR=0x1ffff", "CNA.CONV_CON1=0x20", "--yes", "--device", "mmio:sim"});
  EXPECT_EQ(out.status, 0) << out.err;
  EXPECT_THAT(out.out, AllOf(HasSubstr("DPU.DATA_CUBE_WIDTH <- 0x0000000d"), HasSubstr("width=14"),
                             HasSubstr("PC.BASE_ADDRESS <- 0x00000001  was 0x00000000"),
                             HasSubstr("PC.INTERRUPT_CLEAR <- 0x0001ffff (write only)")));
  const json report =
      regs({"write", "CNA.CONV_CON1=0x20", "-y", "--json", "--device", "sim"}).json();
  EXPECT_EQ(report["writes"][0]["after"], 0x20);
}

TEST(RegsWrite, AFieldLeavesItsNeighboursAlone) {
  const auto all = chip_registers(0, true);
  const RegisterWrite write = parse_write(all, "CNA.S_POINTER.executer_pp_en=1");
  EXPECT_EQ(write.merge(0x1000000A), 0x1000000Eu);
  EXPECT_EQ(parse_write(all, "CNA.S_POINTER.executer_pp_en=0").merge(0x1000000E), 0x1000000Au);
  EXPECT_EQ(parse_write(all, "CNA.S_POINTER=0xE").merge(0x1000000A), 0xEu);
}

TEST(RegsWrite, EveryFieldTakesWhatDecodeShowsOfIt) {
  std::size_t fields = 0;
  for (const ChipRegister& reg : chip_registers(0, true)) {
    if (reg.info->access == regdb::Access::read_only) continue;
    for (const regdb::FieldInfo& info : reg.info->fields) {
      if (info.reserved() || info.name.starts_with("RESERVED")) continue;
      for (const std::uint32_t bits : {0u, info.mask(), info.mask() / 2, 1u}) {
        for (const auto& f : regdb::decode_fields(*reg.info, bits << info.low)) {
          if (f.info != &info) continue;
          const std::string value =
              f.label.empty() ? std::to_string(f.value) : std::string(f.label);
          const auto write = parse_write(chip_registers(0, true),
                                         reg.name() + "." + std::string(info.name) + "=" + value);
          EXPECT_EQ(write.bits, bits) << reg.name() << "." << info.name << "=" << value;
          ++fields;
        }
      }
      break;  // one field of each register: the list is long
    }
  }
  EXPECT_GT(fields, 300u);
}

TEST(RegsWrite, BadValuesAreRefusedBeforeAnythingIsWritten) {
  for (const char* text :
       {"PC.BASE_ADDRESS", "PC=1", "PC.BASE_ADDRESS=", "PC.BASE_ADDRESS=x",
        "PC.BASE_ADDRESS=0x1ffffffff", "PC.BASE_ADDRESS=-1", "PC.VERSION=1", "NOPE.X=1",
        "DPU.DATA_CUBE_WIDTH.width=0", "DPU.DATA_CUBE_WIDTH.width=8193",
        "CNA.S_POINTER.executer_pp_en=2", "CNA.CONV_CON1.nope=1", "=1", "PC.BASE_ADDRESS=1 "}) {
    const Output out = regs({"write", "PC.REGISTER_AMOUNTS=7", text, "--yes", "--device", "sim"});
    EXPECT_EQ(out.status, 2) << text;
    EXPECT_EQ(out.out, "") << text;
  }
}

TEST(RegsDevices, UsageAndMissingOnesHaveTheirCodes) {
  EXPECT_EQ(regs({}).status, 2);
  EXPECT_EQ(regs({"dump", "--core", "3", "--device", "sim"}).status, 2);
  EXPECT_EQ(regs({"dump", "--core", "1", "--device", "mmio:sim"}).status, 2);
  EXPECT_EQ(regs({"dump", "--device", "mmio:sim,x"}).status, 2);
  EXPECT_EQ(regs({"dump", "--device", "rocket:/nonexistent"}).status, 3);
  EXPECT_EQ(regs({"dump", "--device", "mmio:0,uio=/dev/nonexistent"}).status, 3);
  for (const char* command : {"dump", "read", "write", "watch"})
    EXPECT_THAT(regs({command, "--help"}).out, AllOf(HasSubstr("Example: "), HasSubstr("Exit 0")));
}

// --- watch
class Changing final : public device::RegisterAccess {
 public:
  std::map<std::uint32_t, std::uint32_t> values;
  std::vector<unsigned> cores() const override { return {0}; }
  std::uint32_t read(unsigned, std::uint32_t offset) override { return values[offset]; }
  void write(unsigned, std::uint32_t offset, std::uint32_t value) override {
    values[offset] = value;
  }
  bool has_iommu() const override { return false; }
  std::optional<unsigned> last_core() const override { return std::nullopt; }
};

struct Watch : ::testing::Test {
  std::string watch(WatchOptions options) {
    std::ostringstream out;
    const auto registers = select_registers(chip_registers(0, false), "PC").registers;
    watch_registers(access, 0, registers, Group::cpu, options, out, [this](auto) {
      ++rounds;
      if (rounds == 2) access.values[regdb::pc::TASK_CON::offset] = 0x7001;
      return rounds < 5;
    });
    return out.str();
  }
  Changing access;
  unsigned rounds = 0;
};

TEST_F(Watch, PrintsTheFirstRoundWholeAndThenChanges) {
  const std::string out = watch({});
  EXPECT_THAT(out, AllOf(HasSubstr("PC.TASK_CON = 0x00000000"),
                         HasSubstr("PC.TASK_CON = 0x00007001 (was 0x00000000)"),
                         HasSubstr("task_number 0 -> 1")));
  std::size_t lines = 0;
  for (const char c : out) lines += c == '\n';
  const auto readable =
      read_registers(access, 0, select_registers(chip_registers(0, false), "PC").registers,
                     Group::cpu)
          .size();
  EXPECT_EQ(lines, readable + 1);
}

TEST_F(Watch, JsonIsALineForEachChange) {
  WatchOptions options;
  options.json = true;
  std::istringstream lines(watch(options));
  json last;
  for (std::string line; std::getline(lines, line);) last = json::parse(line);
  EXPECT_EQ(last["register"], "TASK_CON");
  EXPECT_EQ(last["was"], 0);
  EXPECT_EQ(last["round"], 2);
}

TEST_F(Watch, ScreenIsRedrawnInPlaceAndTheCursorComesBack) {
  WatchOptions options;
  options.screen = options.colour = true;
  const std::string out = watch(options);
  EXPECT_THAT(out, AllOf(HasSubstr("\x1b[?25l"), HasSubstr("\x1b[1;33mPC.TASK_CON = 0x00007001"),
                         HasSubstr("Ctrl-C ends")));
  EXPECT_TRUE(out.ends_with("\x1b[?25h"));
}

TEST_F(Watch, CountEndsIt) {
  WatchOptions options;
  options.count = 3;
  watch(options);
  EXPECT_EQ(rounds, 2u);
}

TEST_F(Watch, FailureBringsTheCursorBack) {
  struct Failing final : device::RegisterAccess {
    std::vector<unsigned> cores() const override { return {0}; }
    std::uint32_t read(unsigned, std::uint32_t) override {
      if (++reads > 20) throw Error(ErrorCode::no_device, "power went");
      return 0;
    }
    void write(unsigned, std::uint32_t, std::uint32_t) override {}
    bool has_iommu() const override { return false; }
    std::optional<unsigned> last_core() const override { return std::nullopt; }
    unsigned reads = 0;
  } failing;
  WatchOptions options;
  options.screen = true;
  std::ostringstream out;
  EXPECT_THROW(
      watch_registers(failing, 0, select_registers(chip_registers(0, false), "PC").registers,
                      Group::cpu, options, out, [](auto) { return true; }),
      Error);
  EXPECT_TRUE(out.str().ends_with("\x1b[?25h"));
}

TEST(WatchCommand, RunsOnTheSimulator) {
  const Output out =
      regs({"watch", "PC.VERSION", "--device", "mmio:sim", "--count", "3", "--interval", "1"});
  EXPECT_EQ(out.status, 0) << out.err;
  EXPECT_EQ(out.out, "PC.VERSION = 0x46495245\n");
  EXPECT_EQ(regs({"watch", "--interval", "0"}).status, 2);
}

/// Runs the tool in a child on a terminal of its own; `act` works on the terminal.
template <class Act>
std::pair<int, std::string> on_terminal(std::vector<std::string> args, Act act) {
  int terminal = -1;
  const pid_t child = ::forkpty(&terminal, nullptr, nullptr, nullptr);
  if (child == 0) {
    std::vector<const char*> argv{"npu-probe", "regs"};
    for (const auto& arg : args) argv.push_back(arg.c_str());
    Io io{std::cin, std::cout, std::cerr, true, true};
    const int status = run(static_cast<int>(argv.size()), argv.data(), io);
    std::cout.flush();
    ::_exit(status);
  }
  std::string seen;
  char piece[4096];
  bool acted = false;
  for (;;) {
    const ssize_t got = ::read(terminal, piece, sizeof(piece));
    if (got <= 0) break;
    seen.append(piece, static_cast<std::size_t>(got));
    if (!acted) acted = act(terminal, child, seen);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ::close(terminal);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), seen};
}

constexpr const char* kNoTerminals = "this host has no pseudo terminals";
bool terminals() { return ::access("/dev/ptmx", R_OK | W_OK) == 0; }

TEST(OnATerminal, CtrlCEndsWatchingAndRestoresTheCursor) {
  if (!terminals()) GTEST_SKIP() << kNoTerminals;
  const auto [status, seen] =
      on_terminal({"watch", "PC", "--device", "mmio:sim", "--interval", "20"},
                  [](int terminal, pid_t, const std::string& text) {
                    return text.find("round 2") != text.npos && ::write(terminal, "\x03", 1) == 1;
                  });
  EXPECT_EQ(status, 0);
  EXPECT_THAT(seen, HasSubstr("\x1b[?25h"));
}

TEST(OnATerminal, WriteAsks) {
  if (!terminals()) GTEST_SKIP() << kNoTerminals;
  for (const auto& [answer, code, says] :
       {std::tuple("y\n", 0, "<- 0x00000007"), std::tuple("n\n", 2, "nothing was written")}) {
    const char* text = answer;
    const auto [status, seen] =
        on_terminal({"write", "PC.REGISTER_AMOUNTS=7", "--device", "sim"},
                    [text](int terminal, pid_t, const std::string& shown) {
                      return shown.find("[y/N]") != shown.npos && ::write(terminal, text, 2) == 2;
                    });
    EXPECT_EQ(status, code);
    EXPECT_THAT(seen, HasSubstr(says));
  }
}

}  // namespace
}  // namespace npu::probe
