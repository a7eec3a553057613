// SPDX-License-Identifier: MIT
// Registers and arithmetic as swept on a board [notes encodings/ppu-pooling.md, HW]: max and min
// are exact; an average is the window's sum, padding included, times the two reciprocals of the
// registers. Those are FP17 numbers (6 bits of exponent, bias 31) for fp16, so 1/1 exists, and 16
// bits behind the point for integers [allbilly expt/pooling.py, board]. Integers round half to
// even, which with a reciprocal that had to be cut gives the rule that the notes describe (an
// exact half then lies just below it).
#include "npu-sim/pooling.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "npu-sim/fault.hpp"
#include "npu-sim/float_types.hpp"
#include "npu-sim/mac_float.hpp"
#include "npu-sim/precision_codes.hpp"
#include "npu-sim/rounding.hpp"

namespace npu::sim {
namespace {

constexpr std::size_t kMaxOutputBytes = 512u << 20;

// 17 bits: 6 of exponent, 10 of fraction.
double fp17(std::uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 10 & 0x3F);
  const double fraction = static_cast<double>(bits & 0x3FF);
  return exponent == 0 ? std::ldexp(fraction, -40) : std::ldexp(1024 + fraction, exponent - 41);
}

// Three bits of row and three of column, within the window [allbilly expt, 16x16 on a board]; the
// first of equals. Padded windows with a stride show another row on boards, by no known rule.
constexpr std::uint16_t position(std::uint32_t y, std::uint32_t x) {
  return static_cast<std::uint16_t>((y & 7) << 3 | (x & 7));
}

// The lanes of one atom, window by window.
template <class T, class Sum, std::size_t kLanes>
struct Lanes {
  T best[kLanes];
  std::uint16_t index[kLanes];
  Sum sum[kLanes];

  void start(const T* v) {
    for (std::size_t i = 0; i < kLanes; ++i) {
      best[i] = v[i];
      index[i] = position(0, 0);
      sum[i] = Sum{} + static_cast<Sum>(v[i]);  // a negative zero counts as zero
    }
  }
  void take(const T* v, const PoolConfig& c, std::uint16_t where) {
    if (c.method == kPoolAverage) {
      for (std::size_t i = 0; i < kLanes; ++i) sum[i] += static_cast<Sum>(v[i]);
    } else if (c.index) {
      for (std::size_t i = 0; i < kLanes; ++i)
        if (c.method == kPoolMax ? v[i] > best[i] : v[i] < best[i]) {  // the first of equals stays
          best[i] = v[i];
          index[i] = where;
        }
    } else if (c.method == kPoolMax) {
      for (std::size_t i = 0; i < kLanes; ++i) best[i] = v[i] > best[i] ? v[i] : best[i];
    } else {
      for (std::size_t i = 0; i < kLanes; ++i) best[i] = v[i] < best[i] ? v[i] : best[i];
    }
  }
};

// Runs the windows of one output position: `at(y, x)` gives the lanes of an input position, its
// padding included.
template <class T, class Sum, std::size_t kLanes, class At>
Lanes<T, Sum, kLanes> pool_window(const PoolConfig& c, At at) {
  Lanes<T, Sum, kLanes> lanes;
  lanes.start(at(0, 0));
  for (std::uint32_t y = 0; y < c.kernel_height; ++y)
    for (std::uint32_t x = y == 0 ? 1 : 0; x < c.kernel_width; ++x)
      lanes.take(at(y, x), c, position(y, x));
  return lanes;
}

template <class T, std::size_t kLanes, class At>
void pool_integers(const PoolConfig& c, At at, T* out, std::uint16_t* index) {
  const auto lanes = pool_window<T, std::int32_t, kLanes>(c, at);  // at most 256 values
  for (std::size_t i = 0; i < kLanes; ++i) {
    out[i] = lanes.best[i];
    index[i] = lanes.index[i];
    if (c.method != kPoolAverage) continue;
    const std::int64_t product =
        std::int64_t{lanes.sum[i]} * (c.recip_width & 0x1FFFF) * (c.recip_height & 0x1FFFF);
    out[i] = saturate<T>(round_shift(product, 32, TieRule::half_even));
    index[i] = 0;
  }
}

template <class At>
void pool_floats(const PoolConfig& c, At at, std::uint16_t* out, std::uint16_t* index) {
  const auto lanes = pool_window<float, double, 8>(c, at);  // exact: at most 256 fp16 values
  const double width = fp17(c.recip_width), height = fp17(c.recip_height);
  for (std::size_t i = 0; i < 8; ++i) {
    const float average = static_cast<float>(lanes.sum[i] * width * height);
    out[i] = float_to_fp16(c.method == kPoolAverage ? average : lanes.best[i]);
    index[i] = c.method == kPoolAverage ? std::uint16_t{0} : lanes.index[i];
  }
}

void pool_line(const PoolConfig& c, const std::uint8_t* plane, std::uint32_t oy, std::uint8_t* out,
               std::uint8_t* index) {
  std::uint8_t padding[16];
  for (std::uint32_t i = 0; i < 16; ++i)
    padding[i] = static_cast<std::uint8_t>(c.pad_value >> (c.type == kInt8 ? 0 : i % 2 * 8));
  for (std::uint32_t ox = 0; ox < c.out_width; ++ox, out += 16) {
    const auto atom = [&](std::uint32_t ky, std::uint32_t kx) -> const std::uint8_t* {
      const std::int64_t y = std::int64_t{oy} * c.stride_y + ky - c.pad_top;
      const std::int64_t x = std::int64_t{ox} * c.stride_x + kx - c.pad_left;
      if (y < 0 || y >= c.in_height || x < 0 || x >= c.in_width) return padding;
      return plane + static_cast<std::uint64_t>(y) * c.src_line +
             static_cast<std::uint64_t>(x) * 16;
    };
    std::uint16_t positions[16];
    if (c.type == kInt8) {
      std::int8_t in[16], result[16];
      const auto at = [&](std::uint32_t y, std::uint32_t x) {
        std::memcpy(in, atom(y, x), sizeof in);
        return &in[0];
      };
      pool_integers<std::int8_t, 16>(c, at, result, positions);
      std::memcpy(out, result, sizeof result);
    } else if (c.type == kInt16) {
      std::int16_t in[8], result[8];
      const auto at = [&](std::uint32_t y, std::uint32_t x) {
        std::memcpy(in, atom(y, x), sizeof in);
        return &in[0];
      };
      pool_integers<std::int16_t, 8>(c, at, result, positions);
      std::memcpy(out, result, sizeof result);
    } else {
      float in[8];
      std::uint16_t result[8];
      const auto at = [&](std::uint32_t y, std::uint32_t x) {
        fp16_to_floats(atom(y, x), 8, in);
        return &in[0];
      };
      pool_floats(c, at, result, positions);
      std::memcpy(out, result, sizeof result);
    }
    if (index != nullptr && c.type != kInt8)
      std::memcpy(index + std::size_t{ox} * 16, positions, 16);
  }
}

}  // namespace

TaskRecord pooling_record(const PoolRegisters& registers, std::uint32_t dma_base,
                          const Quirks& quirks, const PoolFeed* feed) {
  return record_of(read_pool_config(registers, dma_base, quirks, feed));
}

std::uint64_t run_pooling(const PoolRegisters& registers, const AddressSpace& space,
                          std::uint32_t dma_base, std::uint64_t budget, const Quirks& quirks,
                          ThreadPool& pool, const TaskHook* hook, const PoolFeed* feed) {
  const PoolConfig c = read_pool_config(registers, dma_base, quirks, feed);
  const std::uint32_t planes = c.planes(), lanes = 16 / c.element_bytes();
  // A thousandth of the MAC rate: the PPU takes a few elements a cycle.
  const std::uint64_t work = std::uint64_t{c.out_width} * c.out_height * planes * lanes *
                             c.kernel_width * c.kernel_height * 64;
  if (work > budget) hang("PPU.DATA_CUBE_OUT_WIDTH", "more windows than 500 ms allow");

  // The output is made aside: it may lie over the input.
  const std::size_t in_bytes =
      (std::size_t{c.in_height} - 1) * c.src_line + std::size_t{c.in_width} * 16;
  const std::size_t out_bytes = std::size_t{c.out_width} * c.out_height * 16;
  const std::size_t target_bytes =
      (std::size_t{c.out_height} - 1) * c.dst_line + std::size_t{c.out_width} * 16;
  if (out_bytes * planes > kMaxOutputBytes)
    bad_program("PPU.DATA_CUBE_OUT_WIDTH", "an output of more than 512 MiB");
  const auto target = [&](std::uint64_t address) {
    const auto view = space.resolve_write(address, target_bytes);
    if (view.empty()) dma_fault(FaultKind::dma_write, "PPU.DST_BASE_ADDR", address);
    return reinterpret_cast<std::uint8_t*>(view.data());
  };
  std::vector<const std::uint8_t*> in(planes);
  std::vector<std::uint8_t*> targets;  // values, then positions
  for (std::uint32_t plane = 0; plane < planes; ++plane) {
    const auto view = space.resolve(c.surfaces[plane], in_bytes);
    if (view.empty())
      dma_fault(FaultKind::dma_read, "PPU_RDMA.RDMA_SRC_BASE_ADDR", c.surfaces[plane]);
    in[plane] = reinterpret_cast<const std::uint8_t*>(view.data());
    targets.push_back(target(c.dst + plane * c.dst_plane));
  }
  if (c.index)
    for (std::uint32_t plane = 0; plane < planes; ++plane)
      targets.push_back(target(c.dst_index + plane * c.dst_plane));
  if (hook != nullptr) (*hook)(record_of(c));
  if (c.silent) return work;

  std::vector<std::uint8_t> out(out_bytes * targets.size());
  // Types of 32 bits are accepted and come out as zeros [allbilly expt, board].
  if (c.type < kInt32)
    pool.parallel_for(std::size_t{planes} * c.out_height, [&](std::size_t item) {
      const std::size_t plane = item / c.out_height, y = item % c.out_height;
      const std::size_t line = y * c.out_width * 16;
      pool_line(c, in[plane], static_cast<std::uint32_t>(y), out.data() + plane * out_bytes + line,
                c.index ? out.data() + (planes + plane) * out_bytes + line : nullptr);
    });
  for (std::size_t plane = 0; plane < targets.size(); ++plane)
    for (std::uint32_t y = 0; y < c.out_height; ++y)
      std::memcpy(targets[plane] + y * c.dst_line,
                  out.data() + plane * out_bytes + std::size_t{y} * c.out_width * 16,
                  std::size_t{c.out_width} * 16);
  return work;
}

}  // namespace npu::sim
