// SPDX-License-Identifier: MIT
// The overlays of dts/, which are compiled into the tool.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace npu::probe {

struct Overlay {
  std::string name;                     ///< "rk3588-rock-5-itx"
  std::span<const std::byte> blob;      ///< lives as long as the program
  std::vector<std::string> compatible;  ///< boards that it is for; "rockchip,rk3588": any
  std::string logic_rail, sram_rail;    ///< paths of the regulators; empty: it names none
};

/// All of them, by name.
const std::vector<Overlay>& npu_overlays();

/// By its name, with or without "rk3588-"; "generic" for the one that names no rail. nullptr: none.
const Overlay* find_overlay(std::string_view name);

}  // namespace npu::probe
