// SPDX-License-Identifier: MIT
// The tensor types of a GGUF file: their numbers and what a block of each holds.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace npu::llm {

static_assert(std::endian::native == std::endian::little, "GGUF data is used where it lies");

/// Numbers as in the file [ggml.h, enum ggml_type].
enum class TensorType : std::uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q5_0 = 6,
  q8_0 = 8,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  bf16 = 30,
};

/// Values that share scales, along the first axis, and the bytes that hold them.
struct BlockShape {
  std::uint32_t values;
  std::uint32_t bytes;
};

// Layouts [ggml-common.h, ggml-quants.c]. f16 stands for the bits of an IEEE half.
using F16Bits = std::uint16_t;

/// x[i] = d * (q - 8); byte j holds q of value j in its low and of value j + 16 in its high nibble.
struct BlockQ4_0 {
  F16Bits d;
  std::uint8_t qs[16];
};

/// x[i] = d * (q - 16); the nibbles as in Q4_0, bit i of qh is the fifth bit of value i.
struct BlockQ5_0 {
  F16Bits d;
  std::uint8_t qh[4];
  std::uint8_t qs[16];
};

/// x[i] = d * q.
struct BlockQ8_0 {
  F16Bits d;
  std::int8_t qs[32];
};

constexpr std::uint32_t kSuperBlock = 256;  ///< values of a K-quant block

/// Eight groups of 32: x = d * scale[g] * q - dmin * min[g]. `scales` packs eight 6-bit scales and
/// eight 6-bit minima; 32 bytes of qs hold two groups, the first in the low nibbles.
struct BlockQ4_K {
  F16Bits d, dmin;
  std::uint8_t scales[12];
  std::uint8_t qs[128];
};

/// As Q4_K with a fifth bit: bit g of qh[i] belongs to value i of group g.
struct BlockQ5_K {
  F16Bits d, dmin;
  std::uint8_t scales[12];
  std::uint8_t qh[32];
  std::uint8_t qs[128];
};

/// Sixteen groups of 16: x = d * scales[g] * (q - 32); low four bits in ql, high two in qh.
struct BlockQ6_K {
  std::uint8_t ql[128];
  std::uint8_t qh[64];
  std::int8_t scales[16];
  F16Bits d;
};

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ5_0) == 22 && sizeof(BlockQ8_0) == 34);
static_assert(sizeof(BlockQ4_K) == 144 && sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210);

constexpr BlockShape block_shape(TensorType type) {
  switch (type) {
    case TensorType::f32: return {1, 4};
    case TensorType::f16:
    case TensorType::bf16: return {1, 2};
    case TensorType::q4_0: return {32, sizeof(BlockQ4_0)};
    case TensorType::q5_0: return {32, sizeof(BlockQ5_0)};
    case TensorType::q8_0: return {32, sizeof(BlockQ8_0)};
    case TensorType::q4_k: return {kSuperBlock, sizeof(BlockQ4_K)};
    case TensorType::q5_k: return {kSuperBlock, sizeof(BlockQ5_K)};
    case TensorType::q6_k: return {kSuperBlock, sizeof(BlockQ6_K)};
  }
  return {0, 0};
}

/// Bytes of a row of `values`, which must be a multiple of the block's.
constexpr std::size_t row_bytes(TensorType type, std::size_t values) {
  return values / block_shape(type).values * block_shape(type).bytes;
}

/// "Q4_K", as llama.cpp prints it.
constexpr std::string_view to_string(TensorType type) {
  switch (type) {
    case TensorType::f32: return "F32";
    case TensorType::f16: return "F16";
    case TensorType::q4_0: return "Q4_0";
    case TensorType::q5_0: return "Q5_0";
    case TensorType::q8_0: return "Q8_0";
    case TensorType::q4_k: return "Q4_K";
    case TensorType::q5_k: return "Q5_K";
    case TensorType::q6_k: return "Q6_K";
    case TensorType::bf16: return "BF16";
  }
  return "unknown";
}

/// Nothing for a number that names no type of the list above.
constexpr std::optional<TensorType> tensor_type(std::uint32_t number) {
  const auto type = static_cast<TensorType>(number);
  if (block_shape(type).bytes == 0) return std::nullopt;
  return type;
}

/// A matrix where it lies in the file: `rows` outputs of `columns` inputs each, a row after the
/// other. GGUF writes its axes the other way round: {columns, rows}.
struct WeightView {
  TensorType type = TensorType::f32;
  std::uint32_t rows = 0, columns = 0;
  const std::byte* data = nullptr;
};

}  // namespace npu::llm
