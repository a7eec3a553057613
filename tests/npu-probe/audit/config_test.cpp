// SPDX-License-Identifier: MIT
// The kernel configuration against kernel/config/rosenblatt.config, and --config.
#include <gmock/gmock.h>
#include <zlib.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "npu-probe/audit/config_fragment.hpp"
#include "regdb/error.hpp"
#include "tests/npu-probe/audit/fixture.hpp"

namespace npu::probe::test {
namespace {

using testing::HasSubstr;
using testing::Not;

/// A configuration that has all that the fragment asks for, but for `changes`.
std::string configuration(const std::map<std::string, std::string>& changes,
                          const std::string& release = "7.3.4") {
  std::string text = "# Linux/arm64 " + release + " Kernel Configuration\n";
  for (const auto& wish : rosenblatt_fragment()) {
    const auto change = changes.find(wish.symbol);
    if (change == changes.end())
      text += wish.symbol + "=" + wish.value + "\n";
    else if (change->second == "n")
      text += "# " + wish.symbol + " is not set\n";
    else if (!change->second.empty())
      text += wish.symbol + "=" + change->second + "\n";
  }
  return text;
}

Report report_on(const std::string& config, const std::string& fixture_name = "x86-64-pc") {
  const Copy files;
  files.put("config", config);
  Options options;
  options.root = fixture(fixture_name).string();
  options.config = (files / "config").string();
  return audit(options);
}

TEST(AuditConfig, EveryLineOfTheFragmentIsRead) {
  const auto& wishes = rosenblatt_fragment();
  std::ifstream file(fs::path(ROSENBLATT_SOURCE_DIR) / "kernel/config/rosenblatt.config");
  std::set<std::string> symbols;
  std::size_t lines = 0;
  for (std::string line; std::getline(file, line);) lines += line.starts_with("CONFIG_");
  for (const auto& wish : wishes) {
    EXPECT_TRUE(symbols.insert(wish.symbol).second) << wish.symbol;
    EXPECT_FALSE(wish.reason.empty()) << wish.symbol;
  }
  EXPECT_EQ(wishes.size(), lines);
  EXPECT_GT(lines, 10u);
  const auto need = [&](std::string_view symbol) {
    const auto it = std::find_if(wishes.begin(), wishes.end(),
                                 [&](const auto& wish) { return wish.symbol == symbol; });
    return it == wishes.end() ? ConfigNeed::optional : it->need;
  };
  EXPECT_EQ(need("CONFIG_DRM_ACCEL_ROCKET"), ConfigNeed::required);
  EXPECT_EQ(need("CONFIG_COMMON_CLK_SCMI"), ConfigNeed::device_tree);
  EXPECT_EQ(need("CONFIG_IKCONFIG"), ConfigNeed::optional);
}

TEST(AuditConfig, AFragmentOfAnyBytesIsReadAsFarAsItMakesSense) {
  const auto wishes = parse_config_fragment(
      "garbage\n# --- Without these nothing goes ---\n\n# first\n# reason\nCONFIG_A=y\n"
      "CONFIG_B=m\n# second\nCONFIG_C=y\n\nCONFIG_D=y\nCONFIG_E=7\nCONFIG_=y\nCONFIG_f=y\n=y\n"
      "# --- Something else ---\n# third \x1b[31m\nCONFIG_G=m");
  ASSERT_EQ(wishes.size(), 5u);
  EXPECT_EQ(wishes[0].reason, "first reason");
  EXPECT_EQ(wishes[1].reason, "first reason");
  EXPECT_EQ(wishes[1].value, 'm');
  EXPECT_EQ(wishes[2].reason, "second");
  EXPECT_EQ(wishes[2].need, ConfigNeed::required);
  EXPECT_EQ(wishes[3].symbol, "CONFIG_D");
  EXPECT_EQ(wishes[3].reason, "");
  EXPECT_EQ(wishes[4].need, ConfigNeed::optional);
  EXPECT_THAT(wishes[4].reason, Not(HasSubstr("\x1b")));
  EXPECT_TRUE(parse_config_fragment("").empty());
}

TEST(AuditConfig, EachSymbolIsOkAModuleOrMissing) {
  const auto symbols = compare_config(
      parse_config_fragment("# r\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_C=y\nCONFIG_D=y\nCONFIG_E=m\n"
                            "CONFIG_F=m\n"),
      "CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_E=m\nCONFIG_F=y\n");
  std::vector<std::string> states;
  for (const auto& s : symbols)
    states.push_back(std::string(1, s.found) + " " + std::string(to_string(s.state)));
  EXPECT_THAT(states,
              testing::ElementsAre("y ok", "m module", "n missing", "? missing", "m ok", "y ok"));
  for (const auto& s : compare_config(rosenblatt_fragment(), ""))
    EXPECT_EQ(s.state, SymbolState::unknown);
}

TEST(AuditConfig, ACompleteConfigurationPassesOnAnyMachine) {
  const auto report = report_on(configuration({}));
  EXPECT_EQ(report.verdict, Verdict::no_rk3588);
  EXPECT_EQ(report.exit_status(), 0);
  EXPECT_EQ(state(report, "config-fragment"), State::ok);
  EXPECT_EQ(state(report, "distribution-rocket"), State::ok);
  EXPECT_EQ(report.configuration.size(), rosenblatt_fragment().size());
  EXPECT_THAT(render_text(report, false), Not(HasSubstr("Configuration, where it differs")));
  EXPECT_TRUE(audit_of(fixture("x86-64-pc")).configuration.empty());
}

TEST(AuditConfig, NewEnoughButBuiltWithoutRocketIsMendedByBuildingTheModule) {
  const auto report = report_on(configuration({{"CONFIG_DRM_ACCEL_ROCKET", "n"}}));
  EXPECT_EQ(report.exit_status(), 1);
  EXPECT_EQ(state(report, "config-drm-accel"), State::ok);
  EXPECT_EQ(state(report, "config-drm-accel-rocket"), State::fail);
  EXPECT_EQ(state(report, "distribution-rocket"), State::fail);
  EXPECT_THAT(evidence(report, "distribution-rocket"), HasSubstr("7.3.4 is new enough"));
  EXPECT_THAT(report.next_step, HasSubstr("build it out of tree"));
  EXPECT_THAT(render_text(report, false), HasSubstr("missing CONFIG_DRM_ACCEL_ROCKET=m\n"));
}

TEST(AuditConfig, WithoutTheAccelFrameworkAModuleIsNoHelp) {
  const auto report = report_on(
      configuration({{"CONFIG_DRM_ACCEL", "n"}, {"CONFIG_DRM_ACCEL_ROCKET", ""}}, "7.2.13"));
  EXPECT_EQ(state(report, "config-drm-accel"), State::fail);
  EXPECT_EQ(state(report, "distribution-rocket"), State::fail);
  EXPECT_THAT(report.next_step, HasSubstr("cannot be added"));
  EXPECT_THAT(report.next_step, Not(HasSubstr("out of tree")));
}

TEST(AuditConfig, TheVersionIsThatOfTheNamedFile) {
  const auto config = configuration({{"CONFIG_DRM_ACCEL_ROCKET", ""}}, "6.12.48");
  const auto report = report_on(config, "debian-no-rocket");
  EXPECT_THAT(evidence(report, "distribution-rocket"), HasSubstr("6.12.48 is too old"));
  EXPECT_THAT(evidence(report, "config-drm-accel-rocket"), HasSubstr("does not appear"));
  EXPECT_EQ(release_of_config("# Linux/arm64 6.18.0-rc3 Kernel Configuration\n"), "6.18.0-rc3");
  EXPECT_EQ(release_of_config("# Linux/arm64 Kernel Configuration\n"), "");
  EXPECT_EQ(release_of_config("CONFIG_A=y\n"), "");
}

TEST(AuditConfig, WhatTheRestOfTheFragmentLacksCountsByItsNeed) {
  auto report = report_on(configuration({{"CONFIG_PM", "n"}}));
  EXPECT_EQ(state(report, "config-fragment"), State::fail);
  EXPECT_THAT(report.next_step, HasSubstr("CONFIG_PM (Runtime power management"));
  report = report_on(configuration({{"CONFIG_COMMON_CLK_SCMI", ""}}));
  EXPECT_EQ(state(report, "config-fragment"), State::warn);
  EXPECT_EQ(report.exit_status(), 0);
  report = report_on(configuration({{"CONFIG_IKCONFIG", "n"}, {"CONFIG_I2C_RK3X", "m"}}));
  EXPECT_EQ(state(report, "config-fragment"), State::ok);
  EXPECT_THAT(evidence(report, "config-fragment"), HasSubstr("1 as a module: CONFIG_I2C_RK3X"));
  EXPECT_THAT(evidence(report, "config-fragment"), HasSubstr("missing: CONFIG_IKCONFIG ("));
  // A board on which rocket runs has proved that it needs no more.
  report = report_on(configuration({{"CONFIG_PM", "n"}}), "boltzmann-ready");
  EXPECT_EQ(state(report, "config-fragment"), State::warn);
}

TEST(AuditConfig, AGzipFileIsReadToo) {
  const Copy files;
  const auto path = (files / "config.gz").string();
  const auto text = configuration({});
  const gzFile out = gzopen(path.c_str(), "wb");
  ASSERT_NE(out, nullptr);
  ASSERT_EQ(gzwrite(out, text.data(), static_cast<unsigned>(text.size())),
            static_cast<int>(text.size()));
  ASSERT_EQ(gzclose(out), Z_OK);
  EXPECT_EQ(read_config_file(path), text);
  fs::resize_file(path, fs::file_size(path) / 2);
  EXPECT_THROW(read_config_file(path), Error);
}

TEST(AuditConfig, WhatIsNoConfigurationIsRefusedWithAReason) {
  const Copy files;
  files.put("empty", "");
  files.put("prose", "A kernel needs DRM_ACCEL.\n");
  for (const auto& path :
       {(files / "empty").string(), (files / "prose").string(), (files / "missing").string(),
        files.root().string(), std::string("/dev/zero")}) {
    try {
      read_config_file(path);
      ADD_FAILURE() << path;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_file);
      EXPECT_THAT(error.what(), HasSubstr(".config of a kernel's source"));
    }
  }
}

}  // namespace
}  // namespace npu::probe::test
