// SPDX-License-Identifier: MIT
#include "npu-probe/audit/parsers.hpp"

#include <gmock/gmock.h>
#include <zlib.h>

namespace npu::probe {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(AuditParsers, KernelReleasesWithTheSuffixesOfDistributions) {
  const auto debian = parse_kernel_release("7.3.4+deb13-arm64\n");
  ASSERT_TRUE(debian);
  EXPECT_EQ(debian->major, 7);
  EXPECT_EQ(debian->minor, 3);
  EXPECT_EQ(debian->patch, 4);
  EXPECT_EQ(debian->suffix, "+deb13-arm64");
  EXPECT_EQ(parse_kernel_release("6.18-rc3")->suffix, "-rc3");
  EXPECT_EQ(parse_kernel_release("6.18.0")->suffix, "");
  for (const auto bad : {"", "6", "6.", "six.one", ".1", "99999999999.1", "6.-1"})
    EXPECT_FALSE(parse_kernel_release(bad)) << bad;
  EXPECT_TRUE(parse_kernel_release("6.18.0")->at_least(6, 18));
  EXPECT_TRUE(parse_kernel_release("7.0")->at_least(6, 18));
  EXPECT_FALSE(parse_kernel_release("6.9.1")->at_least(6, 18));
  EXPECT_FALSE(parse_kernel_release("5.20")->at_least(6, 18));
}

TEST(AuditParsers, AConfigSymbolIsNotMistakenForALongerOne) {
  const std::string config =
      "CONFIG_DRM_ACCEL_ROCKET=m\n# CONFIG_DRM_ACCEL_QAIC is not set\nCONFIG_DRM_ACCEL=y\n"
      "XCONFIG_FAKE=y\n#CONFIG_ODD is not set\nCONFIG_STRING=\"y\"\nCONFIG_END";
  EXPECT_EQ(config_value(config, "CONFIG_DRM_ACCEL"), 'y');
  EXPECT_EQ(config_value(config, "CONFIG_DRM_ACCEL_ROCKET"), 'm');
  EXPECT_EQ(config_value(config, "CONFIG_DRM_ACCEL_QAIC"), 'n');
  EXPECT_EQ(config_value(config, "CONFIG_FAKE"), '?');
  EXPECT_EQ(config_value(config, "CONFIG_STRING"), '?');
  EXPECT_EQ(config_value(config, "CONFIG_END"), '?');
  EXPECT_EQ(config_value(config, "CONFIG_DRM"), '?');
}

TEST(AuditParsers, GunzipStopsAtItsLimitAndRejectsDamage) {
  const std::string plain(1 << 20, 'a');
  std::string packed(compressBound(plain.size()) + 64, '\0');
  z_stream stream{};
  ASSERT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(plain.data()));
  stream.avail_in = static_cast<uInt>(plain.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  ASSERT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  EXPECT_EQ(gunzip(packed, plain.size() + 1), plain);
  EXPECT_FALSE(gunzip(packed, 1000)) << "a bomb";
  EXPECT_FALSE(gunzip(packed.substr(0, packed.size() / 2), plain.size() + 1));
  EXPECT_FALSE(gunzip("no gzip", 1000));
  EXPECT_FALSE(gunzip("", 1000));
}

TEST(AuditParsers, InterruptsWithSharedLinesAndNoise) {
  const auto irqs = parse_interrupts(
      "           CPU0       CPU1\n142:   5   7  GICv3 142 Level     fdab9000.iommu, fdab0000.npu\n"
      "IPI0:  1 2 Rescheduling\nErr: 0\n 12: x\n4294967296: 1\n");
  ASSERT_EQ(irqs.size(), 2u);
  EXPECT_EQ(irqs[0].number, 142u);
  EXPECT_THAT(irqs[0].counts, ElementsAre(5u, 7u));
  EXPECT_EQ(irqs[0].description, "GICv3 142 Level fdab9000.iommu, fdab0000.npu");
  EXPECT_EQ(irqs[1].description, "x");
}

TEST(AuditParsers, CpuLists) {
  EXPECT_THAT(parse_cpu_list("4-7\n"), ElementsAre(4u, 5u, 6u, 7u));
  EXPECT_THAT(parse_cpu_list("6,0,2-3,2"), ElementsAre(0u, 2u, 3u, 6u));
  EXPECT_THAT(parse_cpu_list("7-3,,-,x,0-4294967295,5"), ElementsAre(5u));
  EXPECT_THAT(parse_cpu_list(""), IsEmpty());
}

TEST(AuditParsers, DeviceTreePropertiesAreBigEndianAndMayBeCut) {
  EXPECT_THAT(dt_cells(std::string_view("\xfd\xab\0\0\0\0\0\1\2\3", 10)),
              ElementsAre(0xfdab0000u, 1u));
  EXPECT_THAT(dt_strings(std::string_view("a,b\0c\0\0d", 8)), ElementsAre("a,b", "c", "d"));
}

TEST(AuditParsers, DevManifestLines) {
  const auto nodes = parse_dev_manifest(
      "# path type mode owner group major:minor\n/dev/accel/accel0 c 0666 root render 261:0\n"
      "dev/dri/renderD180 l 777 root root -> ../accel/accel0\n/dev/x c 0999 root root 1:1\n"
      "/dev/y q 0600 root root 1:1\n/dev/z c\n/dev/rknpu c 0660 root video 10:x\n");
  ASSERT_EQ(nodes.size(), 3u);
  EXPECT_EQ(nodes[0].mode, 0666u);
  EXPECT_EQ(nodes[0].group, "render");
  EXPECT_EQ(nodes[0].major, 261u);
  EXPECT_EQ(nodes[1].path, "/dev/dri/renderD180");
  EXPECT_EQ(nodes[1].target, "../accel/accel0");
  EXPECT_EQ(nodes[2].minor, 0u);
}

TEST(AuditParsers, KernelLogLinesOfTheDriver) {
  const auto log = parse_kernel_log(
      "[   16.974889] rocket fdab0000.npu: Rockchip NPU core 0 version: 1179210309\n"
      "Nov  2 10:00:01 opi01 kernel: [   17.005136] rocket fdad0000.npu: Rockchip NPU core 2 "
      "version: 1179210309\n[ 1.0] Rockchip NPU core 99 version: 1\nRockchip NPU core x\n"
      "[   16.9] [drm] Initialized rocket 0.0.0 for rknn on minor 0\n"
      "[   33.0] vdd_npu_s0: disabling\n[ 1.1] rk_iommu fdb60000.iommu: Page fault at 0x1\n");
  EXPECT_EQ(log.core_versions, (std::map<int, std::int64_t>{{0, 1179210309}, {2, 1179210309}}));
  EXPECT_EQ(log.core_devices.at(2), "fdad0000.npu");
  EXPECT_EQ(log.core_times.at(0), "16.974889");
  EXPECT_EQ(log.drm_driver, "rocket 0.0.0");
  EXPECT_EQ(log.page_faults, 0) << "another unit's MMU";
  EXPECT_FALSE(log.npu_regulator_off.empty());
}

TEST(AuditParsers, PackageVersionsAreComparedAsNumbers) {
  EXPECT_EQ(parse_version("1:25.3.1-2"), (Version{25, 3, 1}));
  EXPECT_EQ(parse_version("25.10"), (Version{25, 10, 0}));
  EXPECT_LT((Version{25, 3, 0}), (Version{25, 10, 0}));
  EXPECT_FALSE(parse_version("no digits"));
  const auto packages = parse_dpkg_status(
      "Package: a\nStatus: install ok installed\nVersion: 1.2\n\nPackage: b\n"
      "Status: deinstall ok config-files\nVersion: 3\n");
  EXPECT_EQ(packages, (std::map<std::string, std::string>{{"a", "1.2"}}));
}

TEST(AuditParsers, MemoryAndIdentity) {
  EXPECT_EQ(parse_mem_total("MemFree: 1 kB\nMemTotal:       32683412 kB\n"), 32683412ull * 1024);
  EXPECT_EQ(parse_mem_total("MemTotal: 99999999999999999999 kB"), 0u);
  const auto who = parse_id("uid=1000(me) gid=1000(me) groups=1000(me),105(render),7\n");
  ASSERT_TRUE(who);
  EXPECT_EQ(who->user, "me");
  EXPECT_THAT(who->groups, ElementsAre("me", "render", "7"));
  EXPECT_FALSE(parse_id("me"));
}

TEST(AuditParsers, PrintableKeepsUtf8AndDropsWhatSteersATerminal) {
  EXPECT_EQ(printable("ROCK 5 \xc3\xa9\n"), "ROCK 5 \xc3\xa9 ");
  EXPECT_EQ(printable("\x1b[31m\x07"), "?[31m?");
  EXPECT_EQ(printable("\xff\xc2\x9b\xed\xa0\x80\xc0\xaf"), "???????");
  EXPECT_EQ(printable(std::string(10, 'a'), 4), "aaaa...");
}

}  // namespace
}  // namespace npu::probe
