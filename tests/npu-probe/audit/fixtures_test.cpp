// SPDX-License-Identifier: MIT
// What each fixture tree must give: the verdict and the state of every check.
#include <gmock/gmock.h>

#include "tests/npu-probe/audit/fixture.hpp"

namespace npu::probe::test {
namespace {

using testing::HasSubstr;
using States = std::map<std::string, std::string>;

TEST(AuditFixture, BoltzmannNotEnabled) {
  const auto report = audit_of(fixture("boltzmann-not-enabled"));
  EXPECT_EQ(report.verdict, Verdict::not_ready);
  const States want{
      {"soc", "ok"},
      {"board", "ok"},
      {"kernel-release", "ok"},
      {"config-drm-accel", "ok"},
      {"config-rockchip-iommu", "ok"},
      {"config-rockchip-pm-domains", "ok"},
      {"config-drm-accel-rocket", "ok"},
      {"config-fragment", "ok"},
      {"distribution-rocket", "ok"},
      {"module-available", "ok"},
      {"module-loaded", "fail"},
      {"vendor-driver", "ok"},
      {"dt-npu-core0", "fail"},
      {"dt-npu-core1", "fail"},
      {"dt-npu-core2", "fail"},
      {"dt-iommu0", "fail"},
      {"dt-iommu1", "fail"},
      {"dt-iommu2", "fail"},
      {"dt-power-domains", "warn"},
      {"dt-npu-supply", "warn"},
      {"dt-sram-supply", "warn"},
      {"load-order", "unknown"},
      {"npu-clock", "warn"},
      {"accel-node", "fail"},
      {"accel-access", "unknown"},
      {"drm-driver", "unknown"},
      {"renderd-symlink", "warn"},
      {"npu-core-versions", "unknown"},
      {"npu-log-errors", "ok"},
      {"npu-interrupts", "unknown"},
      {"cpu-governor", "ok"},
      {"thermal", "ok"},
      {"memory", "ok"},
      {"iommu-4gib", "warn"},
      {"mesa-teflon", "warn"},
      {"tensorflow-lite", "warn"},
      {"vendor-runtime", "ok"},
      {"simulated-device", "ok"},
  };
  EXPECT_EQ(states(report), want);
  EXPECT_EQ(report.machine.soc, "RK3588");
  EXPECT_EQ(report.machine.board, "Radxa ROCK 5 ITX+");
  EXPECT_EQ(report.machine.kernel, "7.0.0-rosenblatt");
  EXPECT_EQ(report.machine.arch, "aarch64");
  EXPECT_EQ(report.machine.memory_bytes, 32683412ull * 1024);
  EXPECT_THAT(evidence(report, "dt-npu-core0"), HasSubstr("status = \"disabled\""));
  EXPECT_THAT(evidence(report, "module-available"),
              HasSubstr("/lib/modules/7.0.0-rosenblatt/kernel/drivers/accel/rocket/rocket.ko"));
  EXPECT_THAT(report.next_step, HasSubstr("status = \"okay\""));
}

TEST(AuditFixture, BoltzmannReady) {
  const auto report = audit_of(fixture("boltzmann-ready"));
  EXPECT_EQ(report.verdict, Verdict::ready);
  const States want{
      {"soc", "ok"},
      {"board", "ok"},
      {"kernel-release", "ok"},
      {"config-drm-accel", "ok"},
      {"config-rockchip-iommu", "ok"},
      {"config-rockchip-pm-domains", "ok"},
      {"config-drm-accel-rocket", "ok"},
      {"config-fragment", "ok"},
      {"distribution-rocket", "ok"},
      {"module-available", "ok"},
      {"module-loaded", "ok"},
      {"vendor-driver", "ok"},
      {"dt-npu-core0", "ok"},
      {"dt-npu-core1", "ok"},
      {"dt-npu-core2", "ok"},
      {"dt-iommu0", "ok"},
      {"dt-iommu1", "ok"},
      {"dt-iommu2", "ok"},
      {"dt-power-domains", "ok"},
      {"dt-npu-supply", "ok"},
      {"dt-sram-supply", "ok"},
      {"load-order", "ok"},
      {"npu-clock", "ok"},
      {"accel-node", "ok"},
      {"accel-access", "ok"},
      {"drm-driver", "ok"},
      {"renderd-symlink", "ok"},
      {"npu-core-versions", "ok"},
      {"npu-log-errors", "ok"},
      {"npu-interrupts", "ok"},
      {"cpu-governor", "ok"},
      {"thermal", "ok"},
      {"memory", "ok"},
      {"iommu-4gib", "warn"},
      {"mesa-teflon", "ok"},
      {"tensorflow-lite", "ok"},
      {"vendor-runtime", "ok"},
      {"simulated-device", "ok"},
  };
  EXPECT_EQ(states(report), want);
  EXPECT_THAT(evidence(report, "config-drm-accel-rocket"), HasSubstr("=m (/proc/config.gz)"));
  EXPECT_THAT(evidence(report, "npu-clock"), HasSubstr("600 MHz"));
  EXPECT_THAT(evidence(report, "mesa-teflon"), HasSubstr("Mesa 25.3.1"));
  EXPECT_THAT(evidence(report, "drm-driver"), HasSubstr("rocket 0.0.0"));
  EXPECT_THAT(evidence(report, "accel-access"), HasSubstr("frank is in group render"));
  EXPECT_THAT(report.next_step, HasSubstr("bringup"));
}

TEST(AuditFixture, Opi01Ready) {
  const auto report = audit_of(fixture("opi01-ready"));
  EXPECT_EQ(report.verdict, Verdict::ready);
  const States want{
      {"soc", "ok"},
      {"board", "ok"},
      {"kernel-release", "ok"},
      {"config-drm-accel", "ok"},
      {"config-rockchip-iommu", "ok"},
      {"config-rockchip-pm-domains", "ok"},
      {"config-drm-accel-rocket", "ok"},
      {"config-fragment", "ok"},
      {"distribution-rocket", "ok"},
      {"module-available", "ok"},
      {"module-loaded", "ok"},
      {"vendor-driver", "ok"},
      {"dt-npu-core0", "ok"},
      {"dt-npu-core1", "ok"},
      {"dt-npu-core2", "ok"},
      {"dt-iommu0", "ok"},
      {"dt-iommu1", "ok"},
      {"dt-iommu2", "ok"},
      {"dt-power-domains", "ok"},
      {"dt-npu-supply", "ok"},
      {"dt-sram-supply", "ok"},
      {"load-order", "warn"},
      {"npu-clock", "warn"},
      {"accel-node", "ok"},
      {"accel-access", "ok"},
      {"drm-driver", "ok"},
      {"renderd-symlink", "ok"},
      {"npu-core-versions", "ok"},
      {"npu-log-errors", "ok"},
      {"npu-interrupts", "warn"},
      {"cpu-governor", "ok"},
      {"thermal", "ok"},
      {"memory", "ok"},
      {"iommu-4gib", "warn"},
      {"mesa-teflon", "ok"},
      {"tensorflow-lite", "ok"},
      {"vendor-runtime", "ok"},
      {"simulated-device", "ok"},
  };
  EXPECT_EQ(states(report), want);
  EXPECT_THAT(evidence(report, "npu-core-versions"),
              HasSubstr("core 2 fdad0000.npu version 1179210309"));
  EXPECT_THAT(evidence(report, "accel-node"), HasSubstr("0666 root:render"));
  // The first merged device tree named two MMUs after ...9000; their reg is what counts.
  EXPECT_THAT(evidence(report, "dt-iommu1"), HasSubstr("iommu@fdac9000"));
  EXPECT_THAT(evidence(report, "load-order"), HasSubstr("16.974889 s"));
  EXPECT_THAT(evidence(report, "mesa-teflon"), HasSubstr("mesa-25.3.1"));
  EXPECT_THAT(remedy(report, "npu-interrupts"), HasSubstr("/proc/irq/144/smp_affinity_list"));
}

TEST(AuditFixture, VendorKernel) {
  const auto report = audit_of(fixture("vendor-kernel"));
  EXPECT_EQ(report.verdict, Verdict::not_ready);
  const States want{
      {"soc", "ok"},
      {"board", "ok"},
      {"kernel-release", "fail"},
      {"config-drm-accel", "fail"},
      {"config-rockchip-iommu", "ok"},
      {"config-rockchip-pm-domains", "ok"},
      {"config-drm-accel-rocket", "fail"},
      {"config-fragment", "fail"},
      {"distribution-rocket", "fail"},
      {"module-available", "fail"},
      {"module-loaded", "fail"},
      {"vendor-driver", "fail"},
      {"dt-npu-core0", "fail"},
      {"dt-npu-core1", "fail"},
      {"dt-npu-core2", "fail"},
      {"dt-iommu0", "warn"},
      {"dt-iommu1", "fail"},
      {"dt-iommu2", "fail"},
      {"dt-power-domains", "warn"},
      {"dt-npu-supply", "warn"},
      {"dt-sram-supply", "warn"},
      {"load-order", "unknown"},
      {"npu-clock", "unknown"},
      {"accel-node", "fail"},
      {"accel-access", "unknown"},
      {"drm-driver", "unknown"},
      {"renderd-symlink", "warn"},
      {"npu-core-versions", "unknown"},
      {"npu-log-errors", "ok"},
      {"npu-interrupts", "unknown"},
      {"cpu-governor", "ok"},
      {"thermal", "ok"},
      {"memory", "ok"},
      {"iommu-4gib", "warn"},
      {"mesa-teflon", "warn"},
      {"tensorflow-lite", "warn"},
      {"vendor-runtime", "warn"},
      {"simulated-device", "ok"},
  };
  EXPECT_EQ(states(report), want);
  EXPECT_THAT(evidence(report, "vendor-driver"), HasSubstr("/dev/rknpu"));
  EXPECT_THAT(evidence(report, "vendor-driver"), HasSubstr("6.1 kernel"));
  EXPECT_THAT(remedy(report, "vendor-driver"), HasSubstr("incompatible"));
  EXPECT_THAT(report.next_step, HasSubstr("mainline kernel"));
}

TEST(AuditFixture, X86_64Pc) {
  const auto report = audit_of(fixture("x86-64-pc"));
  EXPECT_EQ(report.verdict, Verdict::no_rk3588);
  const States want{
      {"soc", "unknown"},
      {"memory", "ok"},
      {"simulated-device", "ok"},
  };
  EXPECT_EQ(states(report), want);
  EXPECT_EQ(report.machine.arch, "x86_64");
  EXPECT_EQ(report.exit_status(), 0);
  EXPECT_THAT(report.next_step, HasSubstr("--device sim"));
}

TEST(AuditFixture, DebianNoRocket) {
  const auto report = audit_of(fixture("debian-no-rocket"));
  EXPECT_EQ(report.verdict, Verdict::not_ready);
  const States want{
      {"soc", "ok"},
      {"board", "ok"},
      {"kernel-release", "ok"},
      {"config-drm-accel", "ok"},
      {"config-rockchip-iommu", "ok"},
      {"config-rockchip-pm-domains", "ok"},
      {"config-drm-accel-rocket", "fail"},
      {"config-fragment", "ok"},
      {"distribution-rocket", "fail"},
      {"module-available", "fail"},
      {"module-loaded", "fail"},
      {"vendor-driver", "ok"},
      {"dt-npu-core0", "ok"},
      {"dt-npu-core1", "ok"},
      {"dt-npu-core2", "ok"},
      {"dt-iommu0", "ok"},
      {"dt-iommu1", "ok"},
      {"dt-iommu2", "ok"},
      {"dt-power-domains", "ok"},
      {"dt-npu-supply", "ok"},
      {"dt-sram-supply", "ok"},
      {"load-order", "unknown"},
      {"npu-clock", "warn"},
      {"accel-node", "fail"},
      {"accel-access", "unknown"},
      {"drm-driver", "unknown"},
      {"renderd-symlink", "warn"},
      {"npu-core-versions", "unknown"},
      {"npu-log-errors", "ok"},
      {"npu-interrupts", "unknown"},
      {"cpu-governor", "ok"},
      {"thermal", "ok"},
      {"memory", "ok"},
      {"iommu-4gib", "ok"},
      {"mesa-teflon", "warn"},
      {"tensorflow-lite", "warn"},
      {"vendor-runtime", "ok"},
      {"simulated-device", "ok"},
  };
  EXPECT_EQ(states(report), want);
  EXPECT_THAT(evidence(report, "config-fragment"),
              HasSubstr("2 as a module: CONFIG_I2C_RK3X, CONFIG_REGULATOR_FAN53555; missing: "
                        "CONFIG_DRM_ACCEL_ROCKET, CONFIG_IKCONFIG, CONFIG_IKCONFIG_PROC"));
  EXPECT_THAT(evidence(report, "distribution-rocket"), HasSubstr("CONFIG_DRM_ACCEL=y"));
  EXPECT_THAT(evidence(report, "distribution-rocket"),
              HasSubstr("CONFIG_DRM_ACCEL_ROCKET is not set"));
  EXPECT_THAT(remedy(report, "distribution-rocket"),
              HasSubstr("CONFIG_DRM_ACCEL_ROCKET=m modules"));
  EXPECT_EQ(report.next_step, remedy(report, "distribution-rocket"));
}

TEST(AuditFixture, Broken) {
  const auto report = audit_of(fixture("broken"));
  EXPECT_EQ(report.verdict, Verdict::not_ready);
  const States want{
      {"soc", "ok"},
      {"board", "ok"},
      {"kernel-release", "fail"},
      {"config-drm-accel", "unknown"},
      {"config-rockchip-iommu", "unknown"},
      {"config-rockchip-pm-domains", "unknown"},
      {"config-drm-accel-rocket", "unknown"},
      {"config-fragment", "unknown"},
      {"distribution-rocket", "unknown"},
      {"module-available", "fail"},
      {"module-loaded", "fail"},
      {"vendor-driver", "ok"},
      {"dt-npu-core0", "fail"},
      {"dt-npu-core1", "fail"},
      {"dt-npu-core2", "fail"},
      {"dt-iommu0", "fail"},
      {"dt-iommu1", "fail"},
      {"dt-iommu2", "fail"},
      {"dt-power-domains", "warn"},
      {"dt-npu-supply", "warn"},
      {"dt-sram-supply", "warn"},
      {"load-order", "unknown"},
      {"npu-clock", "unknown"},
      {"accel-node", "fail"},
      {"accel-access", "unknown"},
      {"drm-driver", "unknown"},
      {"renderd-symlink", "warn"},
      {"npu-core-versions", "unknown"},
      {"npu-log-errors", "ok"},
      {"npu-interrupts", "unknown"},
      {"cpu-governor", "unknown"},
      {"thermal", "unknown"},
      {"memory", "unknown"},
      {"iommu-4gib", "unknown"},
      {"mesa-teflon", "warn"},
      {"tensorflow-lite", "warn"},
      {"vendor-runtime", "ok"},
      {"simulated-device", "ok"},
  };
  EXPECT_EQ(states(report), want);
  EXPECT_EQ(report.exit_status(), 1);
  EXPECT_THAT(evidence(report, "soc"), HasSubstr("npu@fdab0000"));
}

}  // namespace
}  // namespace npu::probe::test
