// SPDX-License-Identifier: MIT
// One thing is changed in a fixture, and the check that looks at it must notice.
#include <gmock/gmock.h>

#include "tests/npu-probe/audit/fixture.hpp"

namespace npu::probe::test {
namespace {

using testing::HasSubstr;

std::string z(const char* text) { return std::string(text) + '\0'; }

TEST(AuditVariants, AKernelBefore618Fails) {
  for (const auto release : {"6.17.9", "6.12.48+deb13-arm64", "5.10.160-rockchip"}) {
    Copy tree("debian-no-rocket");
    tree.put("proc/sys/kernel/osrelease", std::string(release) + "\n");
    EXPECT_EQ(state(tree.audit(), "kernel-release"), State::fail) << release;
  }
  for (const auto release : {"6.18.0-rc1", "6.18", "6.19.2-arch1-1", "7.0", "10.1.2"}) {
    Copy tree("debian-no-rocket");
    tree.put("proc/sys/kernel/osrelease", std::string(release) + "\n");
    EXPECT_EQ(state(tree.audit(), "kernel-release"), State::ok) << release;
  }
}

TEST(AuditVariants, TheReleaseComesFromProcVersionToo) {
  Copy tree("opi01-ready");
  tree.remove("proc/sys/kernel/osrelease");
  const auto report = tree.audit();
  EXPECT_EQ(report.machine.kernel, "6.18.0");
  EXPECT_THAT(evidence(report, "kernel-release"), HasSubstr("/proc/version"));
}

TEST(AuditVariants, ABackportedDriverOnAnOlderKernelWarns) {
  Copy tree("opi01-ready");
  tree.put("proc/sys/kernel/osrelease", "6.17.0\n");
  EXPECT_EQ(state(tree.audit(), "kernel-release"), State::warn);
}

TEST(AuditVariants, EveryConfigurationSymbolIsLookedAt) {
  const std::pair<const char*, const char*> symbols[]{
      {"config-drm-accel", "CONFIG_DRM_ACCEL"},
      {"config-drm-accel-rocket", "CONFIG_DRM_ACCEL_ROCKET"},
      {"config-rockchip-iommu", "CONFIG_ROCKCHIP_IOMMU"},
      {"config-rockchip-pm-domains", "CONFIG_ROCKCHIP_PM_DOMAINS"}};
  for (const auto& [id, unset] : symbols) {
    Copy tree("boltzmann-not-enabled");
    tree.remove("lib/modules");
    std::string config;
    for (const auto& [other, symbol] : symbols)
      config += std::string(symbol) == unset ? "# " + std::string(symbol) + " is not set\n"
                                             : std::string(symbol) + "=y\n";
    tree.put("boot/config-7.0.0-rosenblatt", config);
    const auto report = tree.audit();
    for (const auto& [other, symbol] : symbols)
      EXPECT_EQ(state(report, other), std::string(other) == id ? State::fail : State::ok)
          << other << " without " << unset;
  }
}

TEST(AuditVariants, TheConfigurationIsFoundBesideTheModulesAndInTheBuildFolder) {
  for (const auto path :
       {"lib/modules/7.0.0-rosenblatt/config", "lib/modules/7.0.0-rosenblatt/build/.config",
        "usr/lib/modules/7.0.0-rosenblatt/config"}) {
    Copy tree("boltzmann-not-enabled");
    fs::create_directories((tree / path).parent_path());
    fs::rename(tree / "boot/config-7.0.0-rosenblatt", tree / path);
    const auto report = tree.audit();
    EXPECT_EQ(state(report, "config-drm-accel-rocket"), State::ok) << path;
    EXPECT_THAT(evidence(report, "config-drm-accel-rocket"), HasSubstr(path));
  }
}

TEST(AuditVariants, CompressedModulesCount) {
  for (const auto suffix : {".xz", ".zst", ".gz"}) {
    Copy tree("boltzmann-not-enabled");
    const std::string file = "lib/modules/7.0.0-rosenblatt/kernel/drivers/accel/rocket/rocket.ko";
    fs::rename(tree / file, tree / (file + suffix));
    tree.put("lib/modules/7.0.0-rosenblatt/modules.dep",
             std::string("kernel/drivers/accel/rocket/rocket.ko") + suffix + ":\n");
    EXPECT_EQ(state(tree.audit(), "module-available"), State::ok) << suffix;
  }
}

TEST(AuditVariants, AModuleThatDepmodDoesNotKnowWarns) {
  Copy tree("boltzmann-not-enabled");
  tree.put("lib/modules/7.0.0-rosenblatt/modules.dep", "");
  const auto report = tree.audit();
  EXPECT_EQ(state(report, "module-available"), State::warn);
  EXPECT_THAT(remedy(report, "module-available"), HasSubstr("depmod"));
}

TEST(AuditVariants, ABuiltInDriverNeedsNoModuleAndNoEarlyLoad) {
  Copy tree("opi01-ready");
  tree.remove("proc/config.gz");
  tree.remove("run/booted-system");
  tree.remove("proc/modules");
  tree.put("lib/modules/6.18.0/modules.builtin", "kernel/drivers/accel/rocket/rocket.ko\n");
  const auto report = tree.audit();
  EXPECT_EQ(state(report, "module-available"), State::ok);
  EXPECT_EQ(state(report, "module-loaded"), State::ok);
  EXPECT_EQ(state(report, "load-order"), State::ok);
}

TEST(AuditVariants, AModuleBuiltOutOfTreeMakesDebianReadyButWarns) {
  Copy tree("debian-no-rocket");
  tree.put("lib/modules/7.3.4+deb13-arm64/updates/rocket.ko", "ELF");
  tree.put("lib/modules/7.3.4+deb13-arm64/modules.dep", "updates/rocket.ko:\n");
  tree.put("proc/modules", "rocket 1 0 - Live 0x0\n");
  tree.put("dev-nodes.txt", "/dev/accel/accel0 c 0666 root render 261:0\n");
  const auto report = tree.audit();
  EXPECT_EQ(state(report, "config-drm-accel-rocket"), State::warn);
  EXPECT_EQ(state(report, "distribution-rocket"), State::ok);
  EXPECT_EQ(state(report, "module-available"), State::ok);
  EXPECT_EQ(report.verdict, Verdict::ready);
}

TEST(AuditVariants, TheLateRegulatorCleanupIsATrapUnlessSomethingPreventsIt) {
  EXPECT_EQ(state(audit_of(fixture("opi01-ready")), "load-order"), State::warn);
  {
    Copy tree("opi01-ready");
    tree.put(dt + "i2c@fea90000/regulator@42/regulator-always-on", "");
    EXPECT_EQ(state(tree.audit(), "load-order"), State::ok);
  }
  {
    Copy tree("opi01-ready");
    tree.put("proc/cmdline", "root=/dev/sda1 regulator_ignore_unused\n");
    EXPECT_EQ(state(tree.audit(), "load-order"), State::ok);
  }
  {
    Copy tree("opi01-ready");
    tree.put("etc/initramfs-tools/modules", "# comment\nrocket\n");
    EXPECT_EQ(state(tree.audit(), "load-order"), State::ok);
    tree.put("etc/initramfs-tools/modules", "#rocket\n");
    EXPECT_EQ(state(tree.audit(), "load-order"), State::warn);
  }
  {
    Copy tree("boltzmann-ready");
    tree.put("dmesg.txt", "[   33.1] vdd_npu_s0: disabling\n");
    const auto report = tree.audit();
    EXPECT_EQ(state(report, "load-order"), State::warn);
    EXPECT_THAT(evidence(report, "load-order"), HasSubstr("vdd_npu_s0: disabling"));
  }
}

// The node's own device is one that rocket makes and binds no driver to.
TEST(AuditVariants, TheNodesDriverIsToldFromItsDeviceWithoutALog) {
  Copy tree("boltzmann-ready");
  tree.remove("dmesg.txt");
  auto report = tree.audit();
  EXPECT_EQ(state(report, "drm-driver"), State::ok);
  EXPECT_THAT(evidence(report, "drm-driver"),
              HasSubstr("rocket (/sys/class/accel/accel0/device/uevent)"));
  tree.put("sys/class/accel/accel0/device/uevent", "DRIVER=amdxdna\n");
  report = tree.audit();
  EXPECT_EQ(state(report, "drm-driver"), State::fail);
  EXPECT_THAT(evidence(report, "drm-driver"), HasSubstr("amdxdna"));
}

TEST(AuditVariants, TheClockIsReadFromTheClockFrameworkFirst) {
  Copy tree("boltzmann-ready");
  tree.put("sys/kernel/debug/clk/scmi_clk_npu/clk_rate", "200000000\n");
  EXPECT_EQ(state(tree.audit(), "npu-clock"), State::warn);
  tree.put("sys/kernel/debug/clk/scmi_clk_npu/clk_rate", "-1\n");
  EXPECT_EQ(state(tree.audit(), "npu-clock"), State::warn) << "falls back to the device tree";
  tree.put(dt + "npu@fdab0000/assigned-clock-rates", std::string("\x35\xa4\xe9\x00", 4));
  EXPECT_EQ(state(tree.audit(), "npu-clock"), State::ok);
}

TEST(AuditVariants, InterruptsOnALittleCoreWarn) {
  Copy tree("boltzmann-ready");
  tree.put("proc/irq/143/effective_affinity_list", "3\n");
  auto report = tree.audit();
  EXPECT_EQ(state(report, "npu-interrupts"), State::warn);
  EXPECT_THAT(remedy(report, "npu-interrupts"), HasSubstr("/proc/irq/143/"));
  EXPECT_THAT(remedy(report, "npu-interrupts"), testing::Not(HasSubstr("/proc/irq/142/")));
  tree.put("proc/irq/143/effective_affinity_list", "7\n");
  EXPECT_EQ(state(tree.audit(), "npu-interrupts"), State::ok);
}

TEST(AuditVariants, NodesAreFoundByRegOrCompatibleWhateverTheirNames) {
  Copy tree("boltzmann-ready");
  for (const auto& [from, to] :
       {std::pair{"npu@fdab0000", "accelerator@a"}, std::pair{"iommu@fdaca000", "mmu@b"}})
    fs::rename(tree / (dt + from), tree / (dt + to));
  const auto report = tree.audit();
  EXPECT_EQ(state(report, "dt-npu-core0"), State::ok);
  EXPECT_EQ(state(report, "dt-iommu1"), State::ok);
  EXPECT_THAT(evidence(report, "dt-npu-core0"), HasSubstr("accelerator@a"));
}

TEST(AuditVariants, ADisabledSecondCoreWarnsAndItsDisabledMmuFailsOnlyIfNeeded) {
  Copy tree("boltzmann-ready");
  tree.put(dt + "npu@fdac0000/status", z("disabled"));
  tree.put(dt + "iommu@fdaca000/status", z("disabled"));
  auto report = tree.audit();
  EXPECT_EQ(state(report, "dt-npu-core1"), State::warn);
  EXPECT_EQ(state(report, "dt-iommu1"), State::warn);
  EXPECT_EQ(report.verdict, Verdict::ready);
  tree.put(dt + "npu@fdac0000/status", z("okay"));
  report = tree.audit();
  EXPECT_EQ(state(report, "dt-iommu1"), State::fail);
  EXPECT_EQ(report.verdict, Verdict::not_ready);
}

TEST(AuditVariants, SuppliesAndPowerDomainsMustLeadSomewhere) {
  Copy tree("boltzmann-ready");
  tree.remove(dt + "npu@fdac0000/sram-supply");
  tree.put(dt + "npu@fdad0000/npu-supply", std::string(4, '\x7f'));
  tree.put(dt + "npu@fdad0000/power-domains", std::string("\0\0\0\x40\0\0\0\x09", 8));
  const auto report = tree.audit();
  EXPECT_THAT(evidence(report, "dt-sram-supply"), HasSubstr("core 1 has none"));
  EXPECT_THAT(evidence(report, "dt-npu-supply"), HasSubstr("core 2 points nowhere"));
  EXPECT_THAT(evidence(report, "dt-power-domains"), HasSubstr("core 2 -> domain 9"));
  EXPECT_EQ(state(report, "dt-sram-supply"), State::warn);
  EXPECT_EQ(state(report, "dt-power-domains"), State::warn);
}

TEST(AuditVariants, AccessIsJudgedByModeOwnerAndGroups) {
  Copy tree("boltzmann-ready");
  tree.put("id.txt", "uid=1000(frank) gid=1000(frank) groups=1000(frank),44(video)\n");
  auto report = tree.audit();
  EXPECT_EQ(state(report, "accel-access"), State::fail);
  EXPECT_THAT(remedy(report, "accel-access"), HasSubstr("usermod -aG render"));
  EXPECT_EQ(report.verdict, Verdict::not_ready);
  tree.remove("id.txt");
  EXPECT_EQ(state(tree.audit(), "accel-access"), State::unknown);
  tree.put("id.txt", "uid=0(root) gid=0(root) groups=0(root)\n");
  EXPECT_EQ(state(tree.audit(), "accel-access"), State::ok);
  tree.put("dev-nodes.txt", "/dev/accel/accel0 c 0600 frank frank 261:0\n");
  tree.put("id.txt", "uid=1000(frank) gid=1000(frank) groups=1000(frank)\n");
  EXPECT_EQ(state(tree.audit(), "accel-access"), State::ok);
}

TEST(AuditVariants, APlainFileMayStandForANodeThatCouldNotBeCaptured) {
  Copy tree("boltzmann-ready");
  tree.remove("dev-nodes.txt");
  tree.put("dev/accel/accel0", "");
  ASSERT_EQ(chmod((tree / "dev/accel/accel0").c_str(), 0644), 0);
  fs::create_directories(tree / "dev/dri");
  fs::create_symlink("../accel/accel0", tree / "dev/dri/renderD180");
  const auto report = tree.audit();
  EXPECT_EQ(state(report, "accel-node"), State::ok);
  EXPECT_EQ(state(report, "accel-access"), State::unknown);
  EXPECT_EQ(state(report, "renderd-symlink"), State::ok);
  tree.put("dev/rknpu0", "");
  EXPECT_EQ(state(tree.audit(), "vendor-driver"), State::fail);
}

TEST(AuditVariants, TheKernelLogIsReadFromEachOfItsPlaces) {
  for (const auto path : {"var/log/kern.log", "var/log/dmesg"}) {
    Copy tree("opi01-ready");
    fs::create_directories((tree / path).parent_path());
    fs::rename(tree / "dmesg.txt", tree / path);
    const auto report = tree.audit();
    EXPECT_EQ(state(report, "npu-core-versions"), State::ok) << path;
    EXPECT_THAT(evidence(report, "npu-core-versions"), HasSubstr(path));
  }
}

TEST(AuditVariants, AMissingCoreAnotherVersionAndErrorsInTheLogWarn) {
  Copy tree("opi01-ready");
  const std::string line = "[ 1.0] rocket fdab0000.npu: Rockchip NPU core 0 version: ";
  tree.put("dmesg.txt", line + "1179210309\n");
  auto report = tree.audit();
  EXPECT_EQ(state(report, "npu-core-versions"), State::warn);
  EXPECT_THAT(remedy(report, "npu-core-versions"), HasSubstr("enables 3 cores, 1 answered"));
  tree.put("dmesg.txt", line +
                            "0\n[ 9.0] rocket fdab0000.npu: NPU job timed out\n"
                            "[ 9.1] rk_iommu fdab9000.iommu: Page fault at 0x1000 of type read\n");
  report = tree.audit();
  EXPECT_EQ(state(report, "npu-core-versions"), State::warn);
  EXPECT_EQ(state(report, "npu-log-errors"), State::warn);
  EXPECT_THAT(evidence(report, "npu-log-errors"), HasSubstr("1 job timeouts, 1 page faults"));
}

TEST(AuditVariants, MesaBefore253Warns) {
  Copy tree("boltzmann-ready");
  tree.put("var/lib/dpkg/status",
           "Package: mesa-teflon-delegate\nStatus: install ok installed\nVersion: 25.2.6-1\n");
  EXPECT_EQ(state(tree.audit(), "mesa-teflon"), State::warn);
  tree.put(
      "var/lib/dpkg/status",
      "Package: mesa-teflon-delegate\nStatus: install ok installed\nVersion: 1:26.0.0~rc1-1\n");
  EXPECT_EQ(state(tree.audit(), "mesa-teflon"), State::ok);
  tree.remove("var/lib/dpkg/status");
  EXPECT_EQ(state(tree.audit(), "mesa-teflon"), State::unknown);
  tree.put("usr/lib/teflon/libteflon.so", std::string("\0Mesa 25.3.4 (git-1)\0", 21));
  EXPECT_EQ(state(tree.audit(), "mesa-teflon"), State::ok);
}

TEST(AuditVariants, MemoryAbove4GiBWarnsUnlessLimited) {
  Copy tree("boltzmann-ready");
  EXPECT_EQ(state(tree.audit(), "iommu-4gib"), State::warn);
  tree.put("proc/cmdline", "mem=3838M\n");
  EXPECT_EQ(state(tree.audit(), "iommu-4gib"), State::ok);
  tree.put("proc/cmdline", "quiet\n");
  tree.put("proc/meminfo", "MemTotal:        3900000 kB\n");
  EXPECT_EQ(state(tree.audit(), "iommu-4gib"), State::ok);
}

TEST(AuditVariants, HeatAndASlowGovernorWarn) {
  Copy tree("boltzmann-ready");
  tree.put("sys/class/thermal/thermal_zone0/temp", "91000\n");
  tree.put("sys/devices/system/cpu/cpufreq/policy4/scaling_governor", "powersave\n");
  const auto report = tree.audit();
  EXPECT_EQ(state(report, "thermal"), State::warn);
  EXPECT_EQ(state(report, "cpu-governor"), State::warn);
}

TEST(AuditVariants, AnRk3588sIsAnRk3588AndAnRk3568IsNot) {
  Copy tree("boltzmann-ready");
  tree.put(dt + "compatible", z("xunlong,orangepi-5") + z("rockchip,rk3588s"));
  EXPECT_EQ(tree.audit().machine.soc, "RK3588S");
  Copy other;
  other.put(dt + "compatible", z("radxa,rock3a") + z("rockchip,rk3568"));
  other.put(dt + "model", z("Radxa ROCK3 Model A"));
  const auto report = other.audit();
  EXPECT_EQ(report.verdict, Verdict::no_rk3588);
  EXPECT_THAT(evidence(report, "soc"), HasSubstr("Radxa ROCK3 Model A"));
}

TEST(AuditVariants, ProcDeviceTreeServesWhereSysWasNotCaptured) {
  Copy tree("boltzmann-ready");
  fs::rename(tree / "sys/firmware/devicetree/base", tree / "proc/device-tree");
  const auto report = tree.audit();
  EXPECT_EQ(report.verdict, Verdict::ready);
  EXPECT_THAT(evidence(report, "board"), HasSubstr("/proc/device-tree"));
}

}  // namespace
}  // namespace npu::probe::test
