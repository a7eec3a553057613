// SPDX-License-Identifier: MIT
#include "microkernels/layout.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

// Rows taken together: their part of a row-major matrix stays in the first cache while the atoms
// of one surface are written or read side by side.
constexpr std::size_t kRowBlock = 32;

void check_size(const char* what, std::size_t have, std::size_t want) {
  if (have != want) {
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("{}: the buffer holds {} elements, but {} are needed", what, have, want));
  }
}

template <class T>
void check_inside(const char* what, const MatrixView<T>& view, std::size_t rows,
                  std::size_t columns) {
  if (view.rows > rows || view.columns > columns || view.stride < view.columns) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{}: a matrix of {} x {} (stride {}) does not fit {} x {}", what,
                            view.rows, view.columns, view.stride, rows, columns));
  }
}

// Visits whole atoms and the cut one at the end of each row: move(element of c, element of cube,
// count). Elements of type T, C2 of them in an atom.
template <class T, class Move>
void for_each_atom(std::size_t rows, const MatrixView<T>& c, Move move) {
  constexpr std::size_t c2 = kAtomBytes / sizeof(T);
  for (std::size_t begin = 0; begin < c.rows; begin += kRowBlock) {
    const std::size_t end = std::min(c.rows, begin + kRowBlock);
    for (std::size_t channel = 0; channel < c.columns; channel += c2) {
      const std::size_t count = std::min(c2, c.columns - channel);
      for (std::size_t row = begin; row < end; ++row) {
        move(row * c.stride + channel, cube_index(row, channel, rows, c2), count);
      }
    }
  }
}

template <class T>
void unpack(const char* what, std::span<const T> cube, std::size_t rows, const MatrixView<T>& c) {
  constexpr std::size_t c2 = kAtomBytes / sizeof(T);
  check_inside(what, c, rows, rows == 0 ? 0 : cube.size() / (rows * c2) * c2);
  for_each_atom(rows, c, [&](std::size_t to, std::size_t from, std::size_t count) {
    if (count == c2) {
      std::memcpy(c.data + to, cube.data() + from, kAtomBytes);
    } else {
      std::memcpy(c.data + to, cube.data() + from, count * sizeof(T));
    }
  });
}

}  // namespace

void pack_features_i8(const MatrixView<const std::int8_t>& a, std::size_t rows,
                      std::size_t channels, std::span<std::int8_t> cube) {
  check_size("pack_features_i8", cube.size(), rows * channels);
  check_inside("pack_features_i8", a, rows, channels / kAtomBytes * kAtomBytes);
  if (a.rows < rows || a.columns < channels) std::memset(cube.data(), 0, cube.size());
  for_each_atom(rows, a, [&](std::size_t from, std::size_t to, std::size_t count) {
    if (count == kAtomBytes) {
      std::memcpy(cube.data() + to, a.data + from, kAtomBytes);
    } else {
      std::memcpy(cube.data() + to, a.data + from, count);
    }
  });
}

void pack_weights_i8(const MatrixView<const std::int8_t>& b, std::size_t kernels,
                     std::size_t channels, std::span<std::int8_t> blocks) {
  check_size("pack_weights_i8", blocks.size(), kernels * channels);
  check_inside("pack_weights_i8", b, kernels / 32 * 32, channels / 32 * 32);
  if (b.rows < kernels || b.columns < channels) std::memset(blocks.data(), 0, blocks.size());
  for (std::size_t n0 = 0; n0 < b.rows; n0 += 32) {
    const std::size_t n1 = std::min(b.rows, n0 + 32);
    for (std::size_t k = 0; k < b.columns; k += 32) {
      const std::size_t count = std::min<std::size_t>(32, b.columns - k);
      for (std::size_t n = n0; n < n1; ++n) {
        std::int8_t* to = blocks.data() + weight_index_i8(n, k, channels);
        if (count == 32) {
          std::memcpy(to, b.data + n * b.stride + k, 32);
        } else {
          std::memcpy(to, b.data + n * b.stride + k, count);
        }
      }
    }
  }
}

void unpack_i32(std::span<const std::int32_t> cube, std::size_t rows,
                const MatrixView<std::int32_t>& c) {
  unpack("unpack_i32", cube, rows, c);
}

void unpack_i8(std::span<const std::int8_t> cube, std::size_t rows,
               const MatrixView<std::int8_t>& c) {
  unpack("unpack_i8", cube, rows, c);
}

void add_unpack_i32(std::span<const std::int32_t> cube, std::size_t rows,
                    const MatrixView<std::int32_t>& c) {
  check_inside("add_unpack_i32", c, rows, rows == 0 ? 0 : cube.size() / (rows * 4) * 4);
  for_each_atom(rows, c, [&](std::size_t to, std::size_t from, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      c.data[to + i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(c.data[to + i]) +
                                                 static_cast<std::uint32_t>(cube[from + i]));
    }
  });
}

}  // namespace npu::kernels
