// SPDX-License-Identifier: MIT
// A small tree of an RK3588 board with a working NPU, built by libfdt, for tests to damage.
#pragma once

#include <gtest/gtest.h>
#include <libfdt.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "npu-probe/dt/devicetree.hpp"

namespace npu::probe::test {

class BoardTree {
 public:
  // Phandles, in the order of the nodes below.
  enum : std::uint32_t { gic = 1, cru, scmi, vdd_npu, vdd_cpu, power, mmu0, mmu1, mmu2, spare };

  BoardTree() : blob_(std::size_t{1} << 17) {
    EXPECT_EQ(fdt_create_empty_tree(blob_.data(), static_cast<int>(blob_.size())), 0);
    text("/", "compatible", {"radxa,rock-5-itx", "rockchip,rk3588"});
    text("/", "model", {"Radxa ROCK 5 ITX"});
    cells("/", "#address-cells", {2});
    cells("/", "#size-cells", {2});
    cells("/", "interrupt-parent", {gic});
    node("/interrupt-controller@fe600000", gic);
    text("/interrupt-controller@fe600000", "compatible", {"arm,gic-v3"});
    cells("/interrupt-controller@fe600000", "#interrupt-cells", {4});
    cells("/interrupt-controller@fe600000", "reg", {0, 0xfe600000, 0, 0x10000});
    node("/clock-controller@fd7c0000", cru);
    cells("/clock-controller@fd7c0000", "#clock-cells", {1});
    cells("/clock-controller@fd7c0000", "#reset-cells", {1});
    cells("/clock-controller@fd7c0000", "reg", {0, 0xfd7c0000, 0, 0x5c000});
    node("/scmi", scmi);
    cells("/scmi", "#clock-cells", {1});
    regulator("/i2c@fea90000", "vdd_npu_s0", vdd_npu);
    regulator("/i2c@fd880000", "vdd_cpu_big0_s0", vdd_cpu);
    power_controller();
    for (std::uint32_t i = 0; i < 3; ++i) core(i);
  }

  static std::string core_path(std::size_t i) {
    return std::vector<std::string>{"/npu@fdab0000", "/npu@fdac0000", "/npu@fdad0000"}.at(i);
  }
  static std::string mmu_path(std::size_t i) {
    return std::vector<std::string>{"/iommu@fdab9000", "/iommu@fdaca000", "/iommu@fdada000"}.at(i);
  }
  static inline const std::string controller = "/power-management@fd8d8000/power-controller";
  static inline const std::string pd_npu = controller + "/power-domain@8";
  static inline const std::string rail = "/i2c@fea90000/regulator@42";

  /// Makes a node; its parent must be there.
  void node(const std::string& path, std::uint32_t phandle = 0) {
    const auto slash = path.rfind('/');
    const int parent = at(slash == 0 ? "/" : path.substr(0, slash));
    EXPECT_GE(fdt_add_subnode(blob_.data(), parent, path.c_str() + slash + 1), 0) << path;
    if (phandle != 0) cells(path, "phandle", {phandle});
  }
  void cells(const std::string& path, const char* name,
             std::initializer_list<std::uint32_t> values) {
    std::string bytes;
    for (const auto value : values)
      for (int shift = 24; shift >= 0; shift -= 8)
        bytes += static_cast<char>(value >> shift & 0xff);
    raw(path, name, bytes);
  }
  void text(const std::string& path, const char* name,
            std::initializer_list<std::string_view> list) {
    std::string bytes;
    for (const auto one : list) bytes.append(one).push_back('\0');
    raw(path, name, bytes);
  }
  void raw(const std::string& path, const char* name, const std::string& bytes) {
    EXPECT_EQ(
        fdt_setprop(blob_.data(), at(path), name, bytes.data(), static_cast<int>(bytes.size())), 0);
  }
  void flag(const std::string& path, const char* name) { raw(path, name, {}); }
  void remove(const std::string& path, const char* name) {
    EXPECT_EQ(fdt_delprop(blob_.data(), at(path), name), 0) << path << ":" << name;
  }
  void remove(const std::string& path) { EXPECT_EQ(fdt_del_node(blob_.data(), at(path)), 0); }
  /// A bus with an RK8602 at 0x42.
  void regulator(const std::string& bus, std::string_view name, std::uint32_t phandle) {
    node(bus);
    cells(bus, "#address-cells", {1});
    cells(bus, "#size-cells", {0});
    node(bus + "/regulator@42", phandle);
    cells(bus + "/regulator@42", "reg", {0x42});
    text(bus + "/regulator@42", "regulator-name", {name});
  }
  /// As a kernel has it that does not enable the NPU.
  void switch_off() {
    flag(rail, "regulator-always-on");
    remove(pd_npu, "domain-supply");
    for (std::size_t i = 0; i < 3; ++i) {
      text(core_path(i), "status", {"disabled"});
      text(mmu_path(i), "status", {"disabled"});
      remove(core_path(i), "npu-supply");
      remove(core_path(i), "sram-supply");
    }
  }

  std::vector<std::byte> bytes() const {
    auto packed = blob_;
    EXPECT_EQ(fdt_pack(packed.data()), 0);
    const void* blob = packed.data();
    const auto* first = static_cast<const std::byte*>(blob);
    return {first, first + fdt_totalsize(blob)};
  }
  DeviceTree tree() const { return read_blob(bytes(), "test"); }
  void save(const std::filesystem::path& file) const {
    const auto all = bytes();
    std::ofstream(file, std::ios::binary)
        .write(reinterpret_cast<const char*>(all.data()), static_cast<std::streamsize>(all.size()));
  }
  /// The form in which a running kernel shows it.
  void save_folder(const std::filesystem::path& folder) const {
    for (const auto& one : tree().nodes) {
      const auto here = folder / one.path.substr(1);
      std::filesystem::create_directories(here);
      for (const auto& [name, value] : one.properties)
        std::ofstream(here / name, std::ios::binary) << value;
      std::ofstream(here / "name", std::ios::binary) << here.filename().string();
    }
  }

 private:
  int at(const std::string& path) const {
    const int offset = fdt_path_offset(blob_.data(), path.c_str());
    EXPECT_GE(offset, 0) << path;
    return offset;
  }
  void power_controller() {
    node("/power-management@fd8d8000");
    node(controller, power);
    text(controller, "compatible", {"rockchip,rk3588-power-controller"});
    cells(controller, "#power-domain-cells", {1});
    domain(pd_npu, 8);
    cells(pd_npu, "domain-supply", {vdd_npu});
    domain(pd_npu + "/power-domain@9", 9);
    domain(pd_npu + "/power-domain@9/power-domain@a", 10);
    domain(pd_npu + "/power-domain@9/power-domain@b", 11);
  }
  void domain(const std::string& path, std::uint32_t number) {
    node(path);
    cells(path, "reg", {number});
  }
  void core(std::uint32_t i) {
    const std::uint32_t base = 0xfdab0000 + i * 0x10000, mmu = i == 0 ? 0xfdab9000 : base + 0xa000;
    const auto npu = core_path(i), iommu = mmu_path(i);
    node(npu);
    text(npu, "compatible", {"rockchip,rk3588-rknn-core"});
    text(npu, "status", {"okay"});
    cells(npu, "reg",
          {0, base, 0, 0x1000, 0, base + 0x1000, 0, 0x1000, 0, base + 0x3000, 0, 0x1000});
    text(npu, "reg-names", {"pc", "cna", "core"});
    cells(npu, "interrupts", {0, 110 + i, 4, 0});
    cells(npu, "clocks", {cru, 287 - i, cru, 288 - i, scmi, 6, cru, 291});
    text(npu, "clock-names", {"aclk", "hclk", "npu", "pclk"});
    cells(npu, "assigned-clocks", {scmi, 6});
    cells(npu, "assigned-clock-rates", {200000000});
    cells(npu, "resets", {cru, 272 - i, cru, 274 - i});
    text(npu, "reset-names", {"srst_a", "srst_h"});
    cells(npu, "power-domains", {power, 9 + i});
    cells(npu, "iommus", {mmu0 + i});
    cells(npu, "npu-supply", {vdd_npu});
    cells(npu, "sram-supply", {vdd_npu});
    node(iommu, mmu0 + i);
    text(iommu, "compatible", {"rockchip,rk3588-iommu", "rockchip,rk3568-iommu"});
    text(iommu, "status", {"okay"});
    if (i == 0)
      cells(iommu, "reg", {0, mmu, 0, 0x100, 0, mmu + 0x1000, 0, 0x100});
    else
      cells(iommu, "reg", {0, mmu, 0, 0x100});
    cells(iommu, "interrupts", {0, 110 + i, 4, 0});
    cells(iommu, "clocks", {cru, 287 - i, cru, 288 - i});
    text(iommu, "clock-names", {"aclk", "iface"});
    cells(iommu, "#iommu-cells", {0});
    cells(iommu, "power-domains", {power, 9 + i});
  }

  std::vector<char> blob_;
};

}  // namespace npu::probe::test
