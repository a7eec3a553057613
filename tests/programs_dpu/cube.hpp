// SPDX-License-Identifier: MIT
// Programs of the DPU alone, as independent projects have run them on boards
// [allbilly examples/elementwise.py, where.py, expt/elementwise_int.py; userspace ew_int_probe].
#pragma once

#include <cstdint>
#include <optional>

#include "board.hpp"

namespace npu::sim::programs {

constexpr std::uint32_t kInt8 = 0, kInt16 = 1, kFp16 = 2, kInt32 = 4, kFp32 = 5;
constexpr std::uint32_t element_bytes(std::uint32_t type) {
  return type == kInt8 ? 1 : type == kInt32 || type == kFp32 ? 4 : 2;
}
/// EDATA_SIZE and ERDMA_DATA_SIZE.
constexpr std::uint32_t size_code(std::uint32_t type) {
  return type == kInt8 ? 1 : type == kInt32 ? 3 : 2;
}

enum : std::uint32_t { kMax = 0, kMin, kAdd, kDiv, kMinus, kAbs, kNeg, kFloor, kCeil, kMul = 16 };

/// EW_CFG: operand per pixel from memory, ReLU and table bypassed.
constexpr std::uint32_t ew_cfg(std::uint32_t type, std::uint32_t op, bool bypass_converter) {
  return 1u << 28 | size_code(type) << 22 | (op == kMul ? 4u : op << 16) | 1u << 9 |
         (bypass_converter ? 1u << 8 : 0u) | 1u << 7 | 1u << 6;
}
constexpr std::uint32_t kEwOff = 0x108002C1;      ///< the whole stage bypassed
constexpr std::uint32_t kStageOff = 0x53;         ///< BS or BN bypassed
constexpr std::uint32_t kFromRegister = 1u << 6;  ///< clear this bit of ew_cfg()

/// Registers in their own terms; addresses are filled in by run().
struct Cube {
  std::uint32_t type = kFp16, out_type = kFp16;
  std::uint32_t width = 1, channels = 8, height = 1;
  std::optional<std::uint32_t> orig_channels;
  std::uint32_t bs_cfg = kStageOff, bs_alu = 0, bs_mul = 0, bs_relux = 0, bs_ow = 2;
  std::uint32_t bn_cfg = kStageOff, bn_alu = 0, bn_mul = 0, bn_relux = 0;
  std::uint32_t ew = kEwOff, ew_value = 0, ew_scale = 1;
  std::uint32_t brdma = 1, nrdma = 1;
  std::optional<std::uint32_t> erdma;        ///< else as EW_CFG says
  std::optional<std::uint32_t> ew_stride;    ///< bytes between operand surfaces; else one row
  std::optional<std::uint32_t> surface_add;  ///< bytes; else one row per output surface of a group
  std::uint32_t comb_use = 0;
  std::optional<std::uint32_t> out_scale;  ///< OUT_CVT_SCALE; else 0x10001 for fp16, 1
  bool widen = true;                       ///< MRDMA_FP16TOFP32_EN, with fp16
  bool bare = false;  ///< only what allbilly's first program writes: no pointers, BS, BN, strides
  std::uint32_t row() const { return width * height * 16; }
};

struct Operands {
  std::uint32_t main = 0, ew = 0, bs = 0, bn = 0;
};

/// The words of one start, for operands and an output at these addresses.
std::vector<std::uint64_t> cube_program(const Cube& c, const Operands& in, std::uint32_t out);

/// Runs and returns `bytes` of the output; empty if the task did not end.
std::vector<std::uint8_t> run(Board& board, const Cube& c, const Operands& in, std::size_t bytes);

template <class T>
std::vector<T> run_as(Board& board, const Cube& c, const Operands& in, std::size_t n) {
  const auto bytes = run(board, c, in, n * sizeof(T));
  std::vector<T> out(bytes.empty() ? 0 : n);
  if (!bytes.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

}  // namespace npu::sim::programs
