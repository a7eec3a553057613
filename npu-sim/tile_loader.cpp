// SPDX-License-Identifier: MIT
#include "npu-sim/tile_loader.hpp"

#include <cstring>

#include "npu-sim/fault.hpp"
#include "npu-sim/float_types.hpp"

namespace npu::sim {

void read_or_fault(const AddressSpace& space, std::uint64_t address, void* out, std::size_t bytes,
                   const char* where) {
  std::uint64_t bad = 0;
  if (!space.read(address, out, bytes, &bad)) dma_fault(FaultKind::dma_read, where, bad);
}

// Two's complement nibbles, the first element in the low half [notes: "no swap"; inferred].
void expand_int4(const std::uint8_t* in, std::size_t count, std::int8_t* out) {
  for (std::size_t i = 0; i < count; ++i) {
    const int nibble = in[i / 2] >> (i % 2 * 4) & 0xF;
    out[i] = static_cast<std::int8_t>((nibble ^ 8) - 8);
  }
}

FloatRange range_of(Precision precision, const float* values, std::size_t count) {
  switch (precision) {
    case Precision::fp16: return float_range(values, count, 10, -24);
    case Precision::bf16: return float_range(values, count, 7, -133);
    default: return float_range(values, count, 10, -149);
  }
}

void decode_floats(Precision precision, const std::uint8_t* in, std::size_t count, float* out) {
  if (precision == Precision::fp16) {
    fp16_to_floats(in, count, out);
    return;
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (precision == Precision::tf32) {
      float value;
      std::memcpy(&value, in + i * 4, 4);
      out[i] = round_to_tf32(value);
    } else {
      std::uint16_t half;
      std::memcpy(&half, in + i * 2, 2);
      out[i] = bf16_to_float(half);
    }
  }
}

}  // namespace npu::sim
