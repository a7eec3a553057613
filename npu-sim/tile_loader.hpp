// SPDX-License-Identifier: MIT
// What CNA's two readers share.
#pragma once

#include <cstddef>
#include <cstdint>

#include "npu-sim/address_space.hpp"
#include "npu-sim/convolution.hpp"

namespace npu::sim {

/// Throws TaskFault(dma_read) at the register `where`.
void read_or_fault(const AddressSpace& space, std::uint64_t address, void* out, std::size_t bytes,
                   const char* where);

/// Two's complement nibbles to int8, the first of each pair in the low half.
void expand_int4(const std::uint8_t* in, std::size_t count, std::int8_t* out);

/// Exponents of the finite values, for mac_float_groups().
FloatRange range_of(Precision precision, const float* values, std::size_t count);

}  // namespace npu::sim
