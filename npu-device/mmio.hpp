// SPDX-License-Identifier: MIT
// The NPU without a kernel driver: a Device over the registers of its cores.
#pragma once

#include <memory>
#include <vector>

#include "npu-device/device.hpp"
#include "npu-device/mmio_platform.hpp"
#include "npu-device/mmio_spec.hpp"
#include "npu-sim/chip.hpp"

namespace npu::device {

/// Opens the platform that `spec` names: a simulated chip (with `options`) or this board.
std::unique_ptr<Device> open_mmio(const MmioSpec& spec, const sim::ChipOptions& options);

/// Over a platform of the caller's. Files (open_another()) are spread over spec.cores.
std::unique_ptr<Device> open_mmio(const MmioSpec& spec, std::unique_ptr<MmioPlatform> platform);

/// A simulated chip behind register windows, with physical memory of its own from `memory_base` on
/// that the NPU reaches through an IOMMU: what the CPU wrote and did not hand over, it does not
/// see.
std::unique_ptr<MmioPlatform> simulated_board(const sim::ChipOptions& options,
                                              std::uint64_t memory_base = 0x40000000,
                                              std::uint64_t memory_bytes = std::uint64_t{2} << 30);

}  // namespace npu::device
