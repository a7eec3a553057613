// SPDX-License-Identifier: MIT
// Registers as swept on a board [notes encodings/ppu-pooling.md, HW].
#include "pool_spec.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "plain.hpp"
#include "regdb/registers.hpp"

namespace npu::sim::property {

namespace rd = npu::regdb;

namespace {

// A window of the padded image; false outside of it.
bool inside(const PoolSpec& s, std::uint32_t y, std::uint32_t x, std::uint32_t ky, std::uint32_t kx,
            std::uint64_t& offset) {
  const std::int64_t iy = std::int64_t{y} * s.stride_y + ky - s.top;
  const std::int64_t ix = std::int64_t{x} * s.stride_x + kx - s.left;
  if (iy < 0 || ix < 0 || iy >= s.in_height || ix >= s.in_width) return false;
  offset = static_cast<std::uint64_t>(iy) * s.src_line + static_cast<std::uint64_t>(ix) * 16;
  return true;
}

// The element of a lane as a number: an integer, or an fp16's value.
double lane_value(const PoolSpec& s, const Image& m, std::uint64_t lane, bool real,
                  std::uint64_t offset) {
  const auto half = real && s.type != 0 ? m.load<std::uint16_t>(lane + offset)
                                        : static_cast<std::uint16_t>(s.pad_value);
  if (s.type == 2) return fp16_value(half);
  if (s.type == 1) return static_cast<std::int16_t>(half);
  return real ? m.load<std::int8_t>(lane + offset) : static_cast<std::int8_t>(s.pad_value);
}

// An average of integers rounds half to even. All factors of an fp16 average are multiples of a
// power of two, so integers hold the exact product; it is rounded to fp32 and then to fp16 [order
// of the roundings: open question].
double average(const PoolSpec& s, double exact_sum) {
  if (s.type != 2) {
    const Wide product = static_cast<Wide>(exact_sum) * s.recip_width * s.recip_height;
    return static_cast<double>(
        clamp_bits(shift_right(product, 32, Tie::even), s.type == 0 ? 8 : 16));
  }
  // FP17, 6 bits of exponent: 2^-14 is the last place of 1/16.
  const auto units = [](std::uint32_t bits) {
    return static_cast<Wide>(
        std::ldexp(1024 + (bits & 0x3FF), static_cast<int>(bits >> 10) - 41 + 14));
  };
  const Wide product =
      static_cast<Wide>(std::ldexp(exact_sum, 24)) * units(s.recip_width) * units(s.recip_height);
  Wide magnitude = product < 0 ? -product : product;
  int exponent = -24 - 28;
  while (magnitude >> 52 != 0) {  // into a double with a sticky last bit
    magnitude = magnitude >> 1 | (magnitude & 1);
    ++exponent;
  }
  const double exact =
      std::ldexp(static_cast<double>(static_cast<std::int64_t>(magnitude)), exponent);
  return static_cast<double>(static_cast<float>(product < 0 ? -exact : exact));
}

void pool_effect(const PoolSpec& s, Image& m) {
  const Image before = m;
  for (std::uint32_t plane = 0; plane < s.planes; ++plane)
    for (std::uint32_t y = 0; y < s.out_height; ++y)
      for (std::uint32_t x = 0; x < s.out_width; ++x)
        for (std::uint32_t lane = 0; lane < s.lanes(); ++lane) {
          const std::uint32_t size = 16 / s.lanes();
          const std::uint64_t from = s.src + std::uint64_t{plane} * s.src_plane + lane * size;
          const std::uint64_t to = std::uint64_t{plane} * s.dst_plane +
                                   (std::uint64_t{y} * (s.out_width + s.dst_notch) + x) * 16 +
                                   lane * size;
          double sum = 0, best = 0;  // a sum of 256 fp16 values fits a double
          std::uint16_t position = 0;
          for (std::uint32_t ky = 0; ky < s.kernel_height; ++ky)
            for (std::uint32_t kx = 0; kx < s.kernel_width; ++kx) {
              std::uint64_t offset = 0;
              const bool real = inside(s, y, x, ky, kx, offset);
              const double v = lane_value(s, before, from, real, offset);
              sum += v;
              if ((ky == 0 && kx == 0) || (s.method == 1 ? v > best : v < best)) {
                best = v;
                position = static_cast<std::uint16_t>(ky % 8 * 8 + kx % 8);
              }
            }
          const double result = s.method == 0 ? average(s, sum) : best;
          if (s.type == 0) m.store(s.dst + to, static_cast<std::int8_t>(result));
          if (s.type == 1) m.store(s.dst + to, static_cast<std::int16_t>(result));
          if (s.type == 2) m.store(s.dst + to, fp16_bits(result));
          if (s.index) m.store(s.dst_index + to, position);
        }
}

}  // namespace

PoolSpec draw_pool(Draw& d, Arena& arena) {
  PoolSpec s;
  s.type = d.one_of({0u, 1u, 2u, 2u});
  s.method = d.pick(0, 2);
  s.in_width = d.pick(1, 12);
  s.in_height = d.pick(1, 12);
  s.planes = d.pick(1, 4);
  s.kernel_width = d.pick(1, d.once_in(8) ? 16 : 4);
  s.kernel_height = d.pick(1, d.once_in(8) ? 16 : 4);
  // Not wider than the kernel, and eight overlapping rows at most [iree-rocket LIMITS.md, HW].
  s.stride_x = std::min(d.pick(1, d.once_in(8) ? 16 : 3), s.kernel_width);
  s.stride_y = std::min(std::max(d.pick(1, d.once_in(8) ? 16 : 3), (s.kernel_height + 7) / 8),
                        s.kernel_height);
  // 12 columns and their padding: 26 of output at most, where eight rows leave 16.
  if (d.once_in(2) && s.kernel_height <= 4 * s.stride_y) {
    s.left = d.pick(0, std::min(7u, s.kernel_width));
    s.top = d.pick(0, std::min(7u, s.kernel_height));
    s.right = d.pick(0, std::min(7u, s.kernel_width));
    s.bottom = d.pick(0, std::min(7u, s.kernel_height));
  }
  const auto windows = [&](std::uint32_t padded, std::uint32_t kernel, std::uint32_t stride) {
    return padded < kernel ? 1 : (padded - kernel) / stride + 1;
  };
  s.out_width = windows(s.in_width + s.left + s.right, s.kernel_width, s.stride_x);
  s.out_height = windows(s.in_height + s.top + s.bottom, s.kernel_height, s.stride_y);
  const auto reciprocal = [&](std::uint32_t k) -> std::uint32_t {
    // FP17 has the bits of fp16 with another 16 added to the exponent.
    if (s.type == 2) return fp16_bits(1.0 / k) + 0x4000u;
    return d.once_in(6) ? d.pick(0, 0x1FFFF) : 65536 / k;
  };
  s.recip_width = reciprocal(s.kernel_width);
  s.recip_height = reciprocal(s.kernel_height);
  if (s.type == 2)
    s.pad_value = s.method == 0 ? d.pick(0, 0x5000) : s.method == 1 ? 0xFC00 : 0x7C00;
  else
    s.pad_value = static_cast<std::uint32_t>(d.bits());
  s.src_line = (s.in_width + (d.once_in(3) ? d.pick(1, 3) : 0)) * 16;
  s.src_plane = s.src_line * s.in_height + (d.once_in(3) ? 16 * d.pick(1, 3) : 0);
  s.src = arena.reserve(std::size_t{s.src_plane} * s.planes);
  if (s.type == 2) fill(d, arena, s.src, std::size_t{s.src_plane} * s.planes, Type::fp16, -15, 12);
  s.dst_notch = d.once_in(3) ? d.pick(1, 3) : 0;
  s.dst_plane =
      ((s.out_width + s.dst_notch) * s.out_height + (d.once_in(3) ? d.pick(1, 3) : 0)) * 16;
  s.index = s.method != 0 && s.type != 0 && d.once_in(3);
  s.dst = arena.reserve(std::size_t{s.dst_plane} * s.planes * 2);
  s.dst_index = s.dst + s.dst_plane * s.planes;
  return s;
}

Task pool_task(const Arena& arena, const PoolSpec& s) {
  namespace ppu = rd::ppu;
  namespace rdma = rd::ppu_rdma;
  Task t;
  const std::uint32_t channels = s.planes * s.lanes();
  put(t, ppu::S_POINTER::decode(0xE));
  put(t, rdma::RDMA_S_POINTER::decode(0xE));
  put(t, ppu::DATA_CUBE_IN_WIDTH{.cube_in_width = s.in_width});
  put(t, ppu::DATA_CUBE_IN_HEIGHT{.cube_in_height = s.in_height});
  put(t, ppu::DATA_CUBE_IN_CHANNEL{.cube_in_channel = channels});
  put(t, ppu::DATA_CUBE_OUT_WIDTH{.cube_out_width = s.out_width});
  put(t, ppu::DATA_CUBE_OUT_HEIGHT{.cube_out_height = s.out_height});
  put(t, ppu::DATA_CUBE_OUT_CHANNEL{.cube_out_channel = channels});
  put(t, ppu::OPERATION_MODE_CFG{.index_en = s.index,
                                 .notch_addr = s.dst_notch,
                                 .flying_mode = true,
                                 .pooling_method = s.method});
  put(t, ppu::POOLING_KERNEL_CFG{.kernel_stride_height = s.stride_y,
                                 .kernel_stride_width = s.stride_x,
                                 .kernel_height = s.kernel_height,
                                 .kernel_width = s.kernel_width});
  put(t, ppu::RECIP_KERNEL_WIDTH{.recip_kernel_width = s.recip_width});
  put(t, ppu::RECIP_KERNEL_HEIGHT{.recip_kernel_height = s.recip_height});
  put(t, ppu::POOLING_PADDING_CFG{
             .pad_bottom = s.bottom, .pad_right = s.right, .pad_top = s.top, .pad_left = s.left});
  put(t, ppu::PADDING_VALUE_1_CFG{.pad_value_0 = s.pad_value});
  put(t, ppu::PADDING_VALUE_2_CFG{});
  put(t, ppu::DST_BASE_ADDR{.dst_base_addr = arena.address(s.dst)});
  put(t, ppu::DST_SURF_STRIDE{.dst_surf_stride = s.dst_plane / 16});
  put(t, ppu::DATA_FORMAT{.index_add = (s.dst_index - s.dst) / 16, .proc_precision = s.type});
  put(t, ppu::MISC_CTRL{.burst_len = 3});
  put(t, rdma::RDMA_CUBE_IN_WIDTH{.cube_in_width = s.in_width});
  put(t, rdma::RDMA_CUBE_IN_HEIGHT{.cube_in_height = s.in_height});
  put(t, rdma::RDMA_CUBE_IN_CHANNEL{.cube_in_channel = channels});
  put(t, rdma::RDMA_SRC_BASE_ADDR{.src_base_addr = arena.address(s.src)});
  put(t, rdma::RDMA_SRC_LINE_STRIDE{.src_line_stride = s.src_line / 16});
  put(t, rdma::RDMA_SRC_SURF_STRIDE{.src_surf_stride = s.src_plane / 16});
  put(t, rdma::RDMA_DATA_FORMAT{.in_precision = s.type == 0 ? 1u : 2u});
  t.enable = rd::enable_mask::ppu | rd::enable_mask::ppu_rdma;
  t.text =
      fmt::format("pool {} {} {}x{}x{} -> {}x{}, kernel {}x{}, stride {},{}, pads {},{},{},{}",
                  s.type == 0   ? "int8"
                  : s.type == 1 ? "int16"
                                : "fp16",
                  s.method == 0   ? "average"
                  : s.method == 1 ? "max"
                                  : "min",
                  s.in_height, s.in_width, channels, s.out_height, s.out_width, s.kernel_height,
                  s.kernel_width, s.stride_y, s.stride_x, s.left, s.top, s.right, s.bottom);
  t.effect = [s](Image& image, PlainCbuf&) { pool_effect(s, image); };
  return t;
}

}  // namespace npu::sim::property
