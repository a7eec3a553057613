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
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{}: the buffer holds {} bytes, but {} are needed", what, have, want));
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

// Columns of a cube with so many bytes.
std::size_t cube_columns(DataType type, std::size_t bytes, std::size_t rows) {
  return rows == 0 ? 0 : bytes / (rows * kAtomBytes) * atom_elements(type);
}

// Visits whole atoms and the cut one at the end of each row: move(element of the matrix, byte of
// the cube, count).
template <class T, class Move>
void for_each_atom(std::size_t c2, std::size_t rows, const MatrixView<T>& c, Move move) {
  for (std::size_t begin = 0; begin < c.rows; begin += kRowBlock) {
    const std::size_t end = std::min(c.rows, begin + kRowBlock);
    for (std::size_t channel = 0; channel < c.columns; channel += c2) {
      const std::size_t count = std::min(c2, c.columns - channel);
      for (std::size_t row = begin; row < end; ++row)
        move(row * c.stride + channel, (channel / c2 * rows + row) * kAtomBytes, count);
    }
  }
}

// `Bytes` known to the compiler for whole runs: a memcpy of a constant size is one or two moves.
template <std::size_t Bytes>
void copy_run(std::byte* to, const std::byte* from, std::size_t bytes) {
  if (bytes == Bytes)
    std::memcpy(to, from, Bytes);
  else
    std::memcpy(to, from, bytes);
}

// `count` values of -8 to 7, two to a byte.
void pack_nibbles(std::byte* to, const std::byte* from, std::size_t count) {
  for (std::size_t i = 0; i < count; i += 2) {
    const std::byte high = i + 1 < count ? from[i + 1] << 4 : std::byte{0};
    to[i / 2] = (from[i] & std::byte{0xF}) | high;
  }
}

template <class T, class Use>
void for_each_element(std::span<const std::byte> cube, std::size_t rows,
                      const MatrixView<std::byte>& c, Use use) {
  for_each_atom(kAtomBytes / sizeof(T), rows, c,
                [&](std::size_t to, std::size_t from, std::size_t count) {
                  for (std::size_t i = 0; i < count; ++i) {
                    T value;
                    std::memcpy(&value, cube.data() + from + i * sizeof(T), sizeof(T));
                    use(to + i, value);
                  }
                });
}

template <class T, class Add>
void update(std::byte* data, std::size_t index, Add add) {
  T value;
  std::memcpy(&value, data + index * sizeof(T), sizeof(T));
  value = add(value);
  std::memcpy(data + index * sizeof(T), &value, sizeof(T));
}

std::int32_t wrapping_add(std::int32_t a, std::int32_t b) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(a) + static_cast<std::uint32_t>(b));
}

}  // namespace

void pack_features(DataType type, const MatrixView<const std::byte>& a, std::size_t rows,
                   std::size_t channels, std::span<std::byte> cube) {
  const std::size_t c2 = atom_elements(type), size = host_bytes(type);
  check_size("pack_features", cube.size(), rows * channels * bits(type) / 8);
  check_inside("pack_features", a, rows, channels / c2 * c2);
  if (a.rows < rows || a.columns < channels) std::memset(cube.data(), 0, cube.size());
  if (type == DataType::i4) {
    for_each_atom(c2, rows, a, [&](std::size_t from, std::size_t to, std::size_t count) {
      pack_nibbles(cube.data() + to, a.data + from, count);
    });
    return;
  }
  for_each_atom(c2, rows, a, [&](std::size_t from, std::size_t to, std::size_t count) {
    copy_run<kAtomBytes>(cube.data() + to, a.data + from * size, count * size);
  });
}

void pack_weights(DataType type, const MatrixView<const std::byte>& b, std::size_t kernels,
                  std::size_t channels, std::span<std::byte> blocks) {
  const MacFormat format = mac_format(type);
  const std::size_t group = format.kernel_group, block = format.channel_block;
  const std::size_t size = host_bytes(type);
  check_size("pack_weights", blocks.size(), kernels * channels * bits(type) / 8);
  check_inside("pack_weights", b, kernels / group * group, channels / block * block);
  if (b.rows < kernels || b.columns < channels) std::memset(blocks.data(), 0, blocks.size());
  const auto each_run = [&](auto move) {
    for (std::size_t n0 = 0; n0 < b.rows; n0 += group) {
      const std::size_t n1 = std::min(b.rows, n0 + group);
      for (std::size_t k = 0; k < b.columns; k += block) {
        const std::size_t count = std::min(block, b.columns - k);
        for (std::size_t n = n0; n < n1; ++n)
          move(blocks.data() + weight_index(format, n, k, channels) * bits(type) / 8,
               b.data + (n * b.stride + k) * size, count);
      }
    }
  };
  using Bytes = std::byte;
  if (type == DataType::i4)
    each_run(pack_nibbles);
  else if (size == 1)
    each_run([](Bytes* to, const Bytes* from, std::size_t n) { copy_run<32>(to, from, n); });
  else
    each_run(
        [&](Bytes* to, const Bytes* from, std::size_t n) { copy_run<64>(to, from, n * size); });
}

void unpack(DataType type, std::span<const std::byte> cube, std::size_t rows,
            const MatrixView<std::byte>& c) {
  const std::size_t size = host_bytes(type);
  check_inside("unpack", c, rows, cube_columns(type, cube.size(), rows));
  for_each_atom(atom_elements(type), rows, c,
                [&](std::size_t to, std::size_t from, std::size_t count) {
                  copy_run<kAtomBytes>(c.data + to * size, cube.data() + from, count * size);
                });
}

void add_unpack(DataType type, std::span<const std::byte> cube, std::size_t rows,
                const MatrixView<std::byte>& c) {
  check_inside("add_unpack", c, rows, cube_columns(type, cube.size(), rows));
  switch (type) {
    case DataType::i16:
      for_each_element<std::int16_t>(cube, rows, c, [&](std::size_t at, std::int16_t value) {
        update<std::int32_t>(c.data, at,
                             [&](std::int32_t sum) { return wrapping_add(sum, value); });
      });
      return;
    case DataType::i32:
      for_each_element<std::int32_t>(cube, rows, c, [&](std::size_t at, std::int32_t value) {
        update<std::int32_t>(c.data, at,
                             [&](std::int32_t sum) { return wrapping_add(sum, value); });
      });
      return;
    case DataType::f32:
      for_each_element<float>(cube, rows, c, [&](std::size_t at, float value) {
        update<float>(c.data, at, [&](float sum) { return sum + value; });
      });
      return;
    default:
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("add_unpack: partial sums are no {}", to_string(type)));
  }
}

void widen_unpack(std::span<const std::byte> cube, std::size_t rows,
                  const MatrixView<std::byte>& c) {
  check_inside("widen_unpack", c, rows, cube_columns(DataType::i16, cube.size(), rows));
  for_each_element<std::int16_t>(cube, rows, c, [&](std::size_t at, std::int16_t value) {
    update<std::int32_t>(c.data, at, [&](std::int32_t) { return std::int32_t{value}; });
  });
}

}  // namespace npu::kernels
