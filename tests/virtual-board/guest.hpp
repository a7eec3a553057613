// SPDX-License-Identifier: MIT
// A guest that drives the NPU as the kernel's drivers do [rocket_job.c, rocket_core.c,
// rockchip-iommu.c]: page tables in RAM, a matrix product, the registers of the PC.
#pragma once

#include <cstdint>

namespace guest {

constexpr std::uint64_t kResets = 0xFD7C2000, kCru = 0xFD7C0000, kPmu = 0xFD8D8000,
                        kControl = 0xFD7C1000;

constexpr std::uint64_t core(unsigned index) { return 0xFDAB0000 + 0x10000ull * index; }
constexpr unsigned spi(unsigned index) { return 110 + index; }

/// Program, operands and tables in RAM; the output is wiped.
void lay_out();
/// Whether the output is the product.
bool output_is_right();
/// Takes the page of the first operand from the tables, or gives it back.
void hide_operand(bool hidden);
/// Points the output's first page somewhere else: 0 is where it belongs.
void redirect_output(std::uint64_t physical);

void attach_iommu(unsigned index);
void detach_iommu(unsigned index);
/// Registers of a task, the start included.
void start(unsigned index);
/// What the interrupt handler writes.
void acknowledge(unsigned index);
/// Both reset lines, asserted and released.
void reset(unsigned index);

/// A register of the core's IOMMU (its last window).
std::uint32_t iommu(unsigned index, std::uint32_t offset);

/// Faults to inject, through the control window. Returns what it reads afterwards.
std::uint32_t inject(const char* faults);

}  // namespace guest
