// SPDX-License-Identifier: MIT
#include "microkernels/layout.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <thread>
#include <vector>

#include "microkernels/layout_lanes.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

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

// What is larger goes past the caches; of weights, which only the NPU will read, almost all. Below
// the last size a thread costs more than it saves.
constexpr std::size_t kStreamBytes = std::size_t{4} << 20, kStreamWeights = std::size_t{128} << 10;
constexpr std::size_t kBytesPerThread = std::size_t{2} << 20;

// Calls body(begin, end) for the parts of [0, count), multiples of `step`, on as many threads.
template <class Body>
void in_parts(unsigned threads, std::size_t bytes, std::size_t count, std::size_t step, Body body) {
  const std::size_t steps = ceil_div(count, step);
  std::size_t parts = threads;
  if (threads == 0)
    parts = std::min<std::size_t>(std::thread::hardware_concurrency(), bytes / kBytesPerThread);
  parts = std::clamp<std::size_t>(parts, 1, std::max<std::size_t>(steps, 1));
  const auto edge = [&](std::size_t i) { return std::min(count, steps * i / parts * step); };
  std::vector<std::jthread> others;
  for (std::size_t i = 1; i < parts; ++i)
    others.emplace_back([&, i] { body(edge(i), edge(i + 1)); });
  body(std::size_t{0}, edge(1));
}

// The same for a matrix and its cube: parts of its rows, or of its surfaces if rows are few.
// body(part of the matrix, offset of its first byte in the cube); parts begin with whole lines.
template <class T, class Body>
void in_cube_parts(DataType type, unsigned threads, std::size_t rows, const MatrixView<T>& m,
                   std::size_t element, Body body) {
  constexpr std::size_t kFewRows = 64, kAtomsPerLine = 4;
  const std::size_t bytes = m.rows * m.columns * element, c2 = atom_elements(type);
  if (m.rows >= kFewRows || threads == 1) {
    in_parts(threads, bytes, m.rows, kAtomsPerLine, [&](std::size_t begin, std::size_t end) {
      body(MatrixView<T>{m.data + begin * m.stride * element, end - begin, m.columns, m.stride},
           begin * kAtomBytes);
    });
  } else {
    in_parts(threads, bytes, m.columns, kAtomsPerLine * c2,
             [&](std::size_t begin, std::size_t end) {
               body(MatrixView<T>{m.data + begin * element, m.rows, end - begin, m.stride},
                    begin / c2 * rows * kAtomBytes);
             });
  }
}

// `count` elements of the host, then zeros up to `run` bytes.
void pack_tail(DataType type, const std::byte* from, std::size_t count, std::byte* to,
               std::size_t run) {
  const std::size_t bytes = ceil_div<std::size_t>(count * bits(type), 8);
  if (type == DataType::i4) {
    for (std::size_t i = 0; i < count; i += 2) {
      const std::byte high = i + 1 < count ? from[i + 1] << 4 : std::byte{0};
      to[i / 2] = (from[i] & std::byte{0xF}) | high;
    }
  } else {
    std::memcpy(to, from, bytes);
  }
  std::memset(to + bytes, 0, run - bytes);
}

// The rows of a matrix to runs, `pitch` bytes from one run of a row to the next.
void pack_runs(DataType type, const MatrixView<const std::byte>& a, std::size_t run,
               std::size_t pitch, bool stream, std::byte* to) {
  const std::size_t size = host_bytes(type), lanes = run * 8 / bits(type);
  const RunGrid grid{.rows = a.rows,
                     .runs = a.columns / lanes,
                     .run = run,
                     .row_step = a.stride * size,
                     .pitch = pitch,
                     .stream = stream};
  if (type == DataType::i4)
    gather_nibbles(grid, a.data, to);
  else
    gather_runs(grid, a.data, to);
  const std::size_t rest = a.columns % lanes;
  if (rest == 0) return;
  for (std::size_t r = 0; r < a.rows; ++r)
    pack_tail(type, a.data + (r * a.stride + grid.runs * lanes) * size, rest,
              to + grid.runs * pitch + r * run, run);
}

// Zeros in what pack_runs() leaves of `all_rows` rows and `all_runs` runs.
void zero_rest(std::size_t rows, std::size_t all_rows, std::size_t runs, std::size_t all_runs,
               std::size_t run, std::byte* to) {
  const std::size_t pitch = all_rows * run;
  if (rows < all_rows)
    for (std::size_t j = 0; j < runs; ++j)
      std::memset(to + j * pitch + rows * run, 0, pitch - rows * run);
  if (runs < all_runs) std::memset(to + runs * pitch, 0, (all_runs - runs) * pitch);
}

template <class Value, class Sum, class Add>
void update_tail(const std::byte* values, std::size_t count, std::byte* sums, Add add) {
  for (std::size_t i = 0; i < count; ++i) {
    Value value;
    Sum sum;
    std::memcpy(&value, values + i * sizeof value, sizeof value);
    std::memcpy(&sum, sums + i * sizeof sum, sizeof sum);
    sum = add(sum, value);
    std::memcpy(sums + i * sizeof sum, &sum, sizeof sum);
  }
}

std::int32_t wrapping_add(std::int32_t a, std::int32_t b) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(a) + static_cast<std::uint32_t>(b));
}

void update_tail(RunUpdate update, const std::byte* values, std::size_t count, std::byte* sums) {
  using I = std::int32_t;
  using H = std::int16_t;
  switch (update) {
    case RunUpdate::add_i32: return update_tail<I, I>(values, count, sums, wrapping_add);
    case RunUpdate::add_f32:
      return update_tail<float, float>(values, count, sums, [](float a, float b) { return a + b; });
    case RunUpdate::add_i16: return update_tail<H, I>(values, count, sums, wrapping_add);
    case RunUpdate::widen_i16:
      return update_tail<H, I>(values, count, sums, [](I, H value) { return I{value}; });
  }
}

// Between a matrix and its cube of `rows` rows: the atoms that the matrix fills, `lanes` elements
// each, which take `size` bytes in the matrix.
RunGrid whole_atoms(const MatrixView<std::byte>& m, std::size_t lanes, std::size_t size,
                    std::size_t rows, bool stream) {
  return {.rows = m.rows,
          .runs = m.columns / lanes,
          .run = kAtomBytes,
          .row_step = m.stride * size,
          .pitch = rows * kAtomBytes,
          .stream = stream};
}

// Cube of `type` -> matrix of elements of four bytes.
void update_matrix(RunUpdate update, DataType type, std::span<const std::byte> cube,
                   std::size_t rows, const MatrixView<std::byte>& c, unsigned threads) {
  const std::size_t lanes = atom_elements(type), size = sizeof(std::int32_t);
  in_cube_parts(type, threads, rows, c, size,
                [&](const MatrixView<std::byte>& m, std::size_t offset) {
                  const std::byte* from = cube.data() + offset;
                  const RunGrid grid = whole_atoms(m, lanes, size, rows, false);
                  update_rows(update, grid, from, m.data);
                  if (const std::size_t rest = m.columns % lanes; rest != 0)
                    for (std::size_t r = 0; r < m.rows; ++r)
                      update_tail(update, from + grid.runs * grid.pitch + r * kAtomBytes, rest,
                                  m.data + (r * m.stride + grid.runs * lanes) * size);
                });
}

}  // namespace

void pack_features(DataType type, const MatrixView<const std::byte>& a, std::size_t rows,
                   std::size_t channels, std::span<std::byte> cube, unsigned threads) {
  const std::size_t c2 = atom_elements(type);
  check_size("pack_features", cube.size(), type_bytes(type, rows * channels));
  check_inside("pack_features", a, rows, channels / c2 * c2);
  const bool stream = cube.size() >= kStreamBytes;
  in_cube_parts(type, threads, rows, a, host_bytes(type),
                [&](const MatrixView<const std::byte>& m, std::size_t offset) {
                  pack_runs(type, m, kAtomBytes, rows * kAtomBytes, stream, cube.data() + offset);
                });
  zero_rest(a.rows, rows, ceil_div(a.columns, c2), channels / c2, kAtomBytes, cube.data());
}

void pack_weights(DataType type, const MatrixView<const std::byte>& b, std::size_t kernels,
                  std::size_t channels, std::span<std::byte> blocks, unsigned threads) {
  const MacFormat format = mac_format(type);
  const std::size_t group = format.kernel_group, block = format.channel_block;
  const std::size_t run = type_bytes(type, block), group_bytes = type_bytes(type, group * channels);
  check_size("pack_weights", blocks.size(), type_bytes(type, kernels * channels));
  check_inside("pack_weights", b, kernels / group * group, channels / block * block);
  const bool stream = blocks.size() >= kStreamWeights;
  in_parts(threads, blocks.size(), kernels / group, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t g = begin; g < end; ++g) {
      const std::size_t first = std::min(b.rows, g * group);
      const std::size_t count = std::min(group, b.rows - first);
      std::byte* to = blocks.data() + g * group_bytes;
      if (count != 0)
        pack_runs(type, {b.data + first * b.stride * host_bytes(type), count, b.columns, b.stride},
                  run, group * run, stream, to);
      const std::size_t used = count == 0 ? 0 : ceil_div(b.columns, block);
      zero_rest(count, group, used, channels / block, run, to);
    }
  });
}

void unpack(DataType type, std::span<const std::byte> cube, std::size_t rows,
            const MatrixView<std::byte>& c, unsigned threads) {
  const std::size_t size = host_bytes(type), lanes = atom_elements(type);
  if (type == DataType::i4)
    throw Error(ErrorCode::invalid_argument, "unpack: the DPU writes no i4; ask for i16 or i32");
  check_inside("unpack", c, rows, cube_columns(type, cube.size(), rows));
  const bool stream = c.rows * c.columns * size >= kStreamBytes;
  in_cube_parts(type, threads, rows, c, size,
                [&](const MatrixView<std::byte>& m, std::size_t offset) {
                  const std::byte* from = cube.data() + offset;
                  const RunGrid grid = whole_atoms(m, lanes, size, rows, stream);
                  scatter_runs(grid, from, m.data);
                  if (const std::size_t rest = m.columns % lanes; rest != 0)
                    for (std::size_t r = 0; r < m.rows; ++r)
                      std::memcpy(m.data + (r * m.stride + grid.runs * lanes) * size,
                                  from + grid.runs * grid.pitch + r * kAtomBytes, rest * size);
                });
}

void add_unpack(DataType type, std::span<const std::byte> cube, std::size_t rows,
                const MatrixView<std::byte>& c, unsigned threads) {
  check_inside("add_unpack", c, rows, cube_columns(type, cube.size(), rows));
  if (type != DataType::i16 && type != DataType::i32 && type != DataType::f32)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("add_unpack: partial sums are no {}", to_string(type)));
  const RunUpdate update = type == DataType::i16   ? RunUpdate::add_i16
                           : type == DataType::i32 ? RunUpdate::add_i32
                                                   : RunUpdate::add_f32;
  update_matrix(update, type, cube, rows, c, threads);
}

void widen_unpack(std::span<const std::byte> cube, std::size_t rows, const MatrixView<std::byte>& c,
                  unsigned threads) {
  check_inside("widen_unpack", c, rows, cube_columns(DataType::i16, cube.size(), rows));
  update_matrix(RunUpdate::widen_i16, DataType::i16, cube, rows, c, threads);
}

}  // namespace npu::kernels
