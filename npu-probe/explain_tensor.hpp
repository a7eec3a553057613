// SPDX-License-Identifier: MIT
// Where the elements of a tensor lie in memory: from a coordinate to a byte and back.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace npu::probe {

enum class ElementType : std::uint8_t { int4, int8, uint8, int16, fp16, bf16, int32, fp32, tf32 };
std::string_view to_string(ElementType type);
constexpr std::uint32_t bits_of(ElementType type) {
  switch (type) {
    case ElementType::int4: return 4;
    case ElementType::int8:
    case ElementType::uint8: return 8;
    case ElementType::int16:
    case ElementType::fp16:
    case ElementType::bf16: return 16;
    default: return 32;
  }
}

/// Axes of feature tensors are N, H, W, C; kernels use n for the output channel and c for the
/// input channel (O, H, W, I); what there is per channel uses c alone.
struct Coordinate {
  std::uint32_t n = 0, h = 0, w = 0, c = 0;
  friend bool operator==(const Coordinate&, const Coordinate&) = default;
};

/// What a tensor is to its operator.
enum class TensorRole : std::uint8_t {
  input,
  weights,
  bias,         ///< ALU operand per channel of BS or BN
  multiplier,   ///< multiplier operand per channel of BS or BN
  weight_zero,  ///< CPEND per channel: what is added to every weight
  operand,      ///< second operand of EW
  output,
  index,  ///< positions of pooled extrema
};
std::string_view to_string(TensorRole role);

/// How the elements are ordered. Sources: compute.md 2.2, 3.2; notes tile-layouts, HW.
enum class LayoutKind : std::uint8_t {
  cube,         ///< [C/a][H][W][a]: planes of atoms of 16 bytes, a = 128 / bits
  pixels,       ///< [H][W][C]: all channels of a position side by side
  kernels,      ///< [O/g][C/b][KH][KW][g][b], the last blocks as small as what is left
  depthwise,    ///< [C/b][KH][KW][b], the last block as small as what is left
  vector,       ///< [C]
  bias_blocks,  ///< 64 bytes for 8 channels: int32 ALU[8], int16 CPEND[8], int16 MUL[8]
  atoms,        ///< [C/a][a] with a pitch between atoms: EW operand per channel
  transposed,   ///< int16 behind TP_ORG_EN [notes output-transpose-int16, HW]
};

/// A tensor of an operator, or the part of one that a task touches.
struct NpuTensor {
  TensorRole role = TensorRole::input;
  ElementType type = ElementType::int8;
  LayoutKind kind = LayoutKind::cube;
  std::uint64_t iova = 0;  ///< of its first element; TASK_DMA_BASE included

  // Sizes of what means something.
  std::uint32_t n = 1, h = 1, w = 1, c = 1;
  // kernels, depthwise: sizes in memory, padding included.
  std::uint32_t stored_n = 1, stored_c = 1;
  std::uint32_t block_n = 1, block_c = 1;  ///< g and b of the layout

  // cube, pixels, atoms: bytes.
  std::int64_t line_stride = 0, plane_stride = 0;
  std::uint32_t position_stride = 16;  ///< cube: 16; pixels: bytes of a pixel
  /// Planes come in groups that lie group_stride apart, of which the first `group_written` are
  /// there. One plane a group: all lie plane_stride apart.
  std::uint32_t group_planes = 1, group_written = 1;
  std::int64_t group_stride = 0;

  std::uint32_t atom() const { return 128 / bits_of(type); }
  friend bool operator==(const NpuTensor&, const NpuTensor&) = default;
};

/// Byte offset from `iova` of an element (of its low nibble's byte for int4). Empty outside of the
/// tensor, and for planes that are never written.
std::optional<std::uint64_t> offset_of(const NpuTensor& tensor, const Coordinate& at);

/// The element that the byte at `offset` from `iova` belongs to (the first of two int4). Empty for
/// padding, gaps and bytes outside. Where planes overlap, the first of the candidates.
std::optional<Coordinate> coordinate_of(const NpuTensor& tensor, std::uint64_t offset);

/// Bytes from `iova` up to the end of the last element.
std::uint64_t span_bytes(const NpuTensor& tensor);
/// Elements that mean something.
std::uint64_t elements(const NpuTensor& tensor);

/// "[C/16][H][W][16]", "[O/32][I/32][H][W][32][32]", "[H][W][C]".
std::string formula(const NpuTensor& tensor);
/// "planes of 16 channels, lines 192 bytes, planes 2304 bytes apart".
std::string in_words(const NpuTensor& tensor);
/// "1x12x12x17" (N, H, W, C), "24x1x1x17" (O, H, W, I), "24".
std::string dimensions(const NpuTensor& tensor);
/// "(h 3, w 5, c 17)", "(o 2, h 0, w 0, i 31)", "(c 4)".
std::string to_string(const NpuTensor& tensor, const Coordinate& at);

}  // namespace npu::probe
