// SPDX-License-Identifier: MIT
// Between row-major matrices and the layouts that the NPU's DMAs read and write.
//
// Feature cube: [channels / C2][rows][C2] where C2 elements fill an atom of 16 bytes.
// int8 weights: [kernels / 32][channels / 32][32 kernels][32 channels].
// [compute.md 2.2; board-proven by mtx512 npu_matmul.c and the recorded Mesa tasks]
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

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

/// Element index of (kernel n, channel k) in int8 weights of `channels` channels (multiple of 32).
constexpr std::size_t weight_index_i8(std::size_t n, std::size_t k, std::size_t channels) {
  return (n / 32 * (channels / 32) + k / 32) * 1024 + n % 32 * 32 + k % 32;
}

/// int8 rows -> cube [channels / 16][rows][16]. `rows` >= a.rows and `channels` (a multiple of 16)
/// >= a.columns are the cube's sizes; what lies outside the matrix becomes 0. `cube` holds exactly
/// rows * channels bytes.
void pack_features_i8(const MatrixView<const std::int8_t>& a, std::size_t rows,
                      std::size_t channels, std::span<std::int8_t> cube);

/// int8 rows (one kernel each, [n][k]) -> weight blocks; `kernels` and `channels` are multiples of
/// 32, the rest as above.
void pack_weights_i8(const MatrixView<const std::int8_t>& b, std::size_t kernels,
                     std::size_t channels, std::span<std::int8_t> blocks);

/// Cube [channels / 4][rows][4] -> c, the first c.rows rows and c.columns channels.
void unpack_i32(std::span<const std::int32_t> cube, std::size_t rows,
                const MatrixView<std::int32_t>& c);
/// The same, but added to what c holds (modulo 2^32).
void add_unpack_i32(std::span<const std::int32_t> cube, std::size_t rows,
                    const MatrixView<std::int32_t>& c);
/// Cube [channels / 16][rows][16] -> c.
void unpack_i8(std::span<const std::int8_t> cube, std::size_t rows,
               const MatrixView<std::int8_t>& c);

}  // namespace npu::kernels
