// SPDX-License-Identifier: MIT
// Between row-major matrices and the layouts that the NPU's DMAs read and write.
//
// Feature cube: [channels / C2][rows][C2] where C2 elements fill an atom of 16 bytes.
// Weights: [kernels / G][channels / B][G kernels][B channels]; G and B belong to the type: i8
// 32x32, i4 64x32, f16 and bf16 16x32, tf32 16x16. [compute.md 2.2; board-proven by mtx512
// npu_matmul.c, rocket-userspace and recorded Mesa tasks]
//
// On the host an i4 is an int8 of -8 to 7; in cubes and blocks two of them share a byte, the first
// one in the low half [inferred; docs/open-questions.md].
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "microkernels/data_type.hpp"

namespace npu::kernels {

/// ceil(a / b) and a rounded up to a multiple of b.
template <class T>
constexpr T ceil_div(T a, T b) {
  return (a + b - 1) / b;
}
template <class T>
constexpr T align_up(T a, T b) {
  return ceil_div(a, b) * b;
}

inline constexpr std::uint32_t kAtomBytes = 16;

/// A view of a row-major matrix: `stride` elements from one row to the next (>= columns).
template <class T>
struct MatrixView {
  T* data = nullptr;
  std::size_t rows = 0;
  std::size_t columns = 0;
  std::size_t stride = 0;
};

/// Element index of (row, channel) in a cube of `rows` rows with C2 channels per atom.
constexpr std::size_t cube_index(std::size_t row, std::size_t channel, std::size_t rows,
                                 std::size_t c2) {
  return (channel / c2 * rows + row) * c2 + channel % c2;
}

/// Element index of (kernel n, channel k) in weights of `channels` channels (whole blocks).
constexpr std::size_t weight_index(const MacFormat& format, std::size_t n, std::size_t k,
                                   std::size_t channels) {
  const std::size_t g = format.kernel_group, b = format.channel_block;
  return (n / g * (channels / b) + k / b) * g * b + n % g * b + k % b;
}

/// Bytes of an element in the host's row-major matrices.
constexpr std::size_t host_bytes(DataType type) {
  return type == DataType::i4 ? 1 : bits(type) / 8;
}

/// Rows of host elements of some type -> cube. `rows` >= a.rows and `channels` (whole atoms) >=
/// a.columns are the cube's sizes; what lies outside the matrix becomes 0. `cube` holds exactly
/// rows * channels elements. `a.data` points at host elements, aligned as their type asks; sizes
/// and stride count elements. `threads`: how many share the work, 0 for as many as pay. Throws
/// invalid_argument for sizes that do not fit.
void pack_features(DataType type, const MatrixView<const std::byte>& a, std::size_t rows,
                   std::size_t channels, std::span<std::byte> cube, unsigned threads = 0);

/// Rows (one kernel each, [n][k]) -> weight blocks; `kernels` and `channels` are whole groups and
/// blocks, the rest as above.
void pack_weights(DataType type, const MatrixView<const std::byte>& b, std::size_t kernels,
                  std::size_t channels, std::span<std::byte> blocks, unsigned threads = 0);

/// Cube of `rows` rows -> c, the first c.rows rows and c.columns channels.
void unpack(DataType type, std::span<const std::byte> cube, std::size_t rows,
            const MatrixView<std::byte>& c, unsigned threads = 0);

/// Partial sums of one slice of K, cube -> added to what c holds: i32 modulo 2^32, f32 in fp32;
/// i16 to i32.
void add_unpack(DataType type, std::span<const std::byte> cube, std::size_t rows,
                const MatrixView<std::byte>& c, unsigned threads = 0);
/// i16 cube -> i32, the first of those slices.
void widen_unpack(std::span<const std::byte> cube, std::size_t rows, const MatrixView<std::byte>& c,
                  unsigned threads = 0);

/// The same for one type.
inline void pack_features_i8(const MatrixView<const std::int8_t>& a, std::size_t rows,
                             std::size_t channels, std::span<std::int8_t> cube) {
  pack_features(DataType::i8,
                {reinterpret_cast<const std::byte*>(a.data), a.rows, a.columns, a.stride}, rows,
                channels, std::as_writable_bytes(cube));
}
inline void pack_weights_i8(const MatrixView<const std::int8_t>& b, std::size_t kernels,
                            std::size_t channels, std::span<std::int8_t> blocks) {
  pack_weights(DataType::i8,
               {reinterpret_cast<const std::byte*>(b.data), b.rows, b.columns, b.stride}, kernels,
               channels, std::as_writable_bytes(blocks));
}
inline void unpack_i32(std::span<const std::int32_t> cube, std::size_t rows,
                       const MatrixView<std::int32_t>& c) {
  unpack(DataType::i32, std::as_bytes(cube), rows,
         {reinterpret_cast<std::byte*>(c.data), c.rows, c.columns, c.stride});
}
inline void add_unpack_i32(std::span<const std::int32_t> cube, std::size_t rows,
                           const MatrixView<std::int32_t>& c) {
  add_unpack(DataType::i32, std::as_bytes(cube), rows,
             {reinterpret_cast<std::byte*>(c.data), c.rows, c.columns, c.stride});
}
inline void unpack_i8(std::span<const std::int8_t> cube, std::size_t rows,
                      const MatrixView<std::int8_t>& c) {
  unpack(DataType::i8, std::as_bytes(cube), rows,
         {reinterpret_cast<std::byte*>(c.data), c.rows, c.columns, c.stride});
}

}  // namespace npu::kernels
