// SPDX-License-Identifier: MIT
// CNA's two DMA readers. Layouts: features [C/16][H][W][16]; weights [O/32][C/32][KH][KW][32][32]
// with the last blocks as small as the kernels and channels that are left; depthwise
// [C/64][KH][KW][64] [mesa rkt_coefs.c; confirmed by the recorded vectors].
#include <algorithm>
#include <cstring>

#include "npu-sim/convolution.hpp"
#include "npu-sim/fault.hpp"
#include "npu-sim/mac_int8.hpp"
#include "npu-sim/rounding.hpp"

namespace npu::sim {
namespace {

constexpr std::uint32_t kAtom = 16;
// A feature tile larger than this cannot come from a 384 KiB CBUF, even with much padding.
constexpr std::uint64_t kMaxTileBytes = 64u << 20;

void read_or_fault(const AddressSpace& space, std::uint64_t address, void* out, std::size_t bytes,
                   const char* where) {
  std::uint64_t bad = 0;
  if (!space.read(address, out, bytes, &bad)) dma_fault(FaultKind::dma_read, where, bad);
}

// Rows of the tile and columns of the tile that windows touch, padding included.
std::uint32_t extent(std::uint32_t out, std::uint32_t stride, std::uint32_t kernel,
                     std::uint32_t dilation) {
  return (out - 1) * stride + (kernel - 1) * dilation + 1;
}

void copy_cube_row(const ConvConfig& c, const AddressSpace& space, std::uint32_t y,
                   std::uint32_t width, std::uint8_t input_xor, std::uint8_t* row) {
  const std::uint32_t channels = c.shape.channels;
  std::vector<std::uint8_t> scratch;
  for (std::uint32_t group = 0; group < channels / kAtom; ++group) {
    const std::uint64_t address = c.feature.address +
                                  static_cast<std::uint64_t>(group * c.feature.plane_stride) +
                                  static_cast<std::uint64_t>(y * c.feature.line_stride);
    const std::size_t bytes = std::size_t{width} * kAtom;
    const std::span<std::byte> view = space.resolve(address, bytes);
    const std::uint8_t* from = reinterpret_cast<const std::uint8_t*>(view.data());
    if (view.empty()) {
      scratch.resize(bytes);
      read_or_fault(space, address, scratch.data(), bytes, "CNA.FEATURE_DATA_ADDR");
      from = scratch.data();
    }
    std::uint64_t flip;
    std::memset(&flip, input_xor, sizeof flip);
    for (std::uint32_t x = 0; x < width; ++x) {
      std::uint64_t atom[2];
      std::memcpy(atom, from + std::size_t{x} * kAtom, kAtom);
      atom[0] ^= flip;
      atom[1] ^= flip;
      std::memcpy(row + std::size_t{x} * channels + group * kAtom, atom, kAtom);
    }
  }
}

// The converter's effect on a uint8 pixel: sat8(round(x * scale >> truncate) + offset)
// [TRM, CVT_TYPE 0; recorded vectors].
void copy_pixel_row(const ConvConfig& c, const AddressSpace& space, std::uint32_t y,
                    std::uint32_t width, std::uint8_t input_xor, TieRule tie, std::uint8_t* row) {
  std::vector<std::uint8_t> pixels(width);
  read_or_fault(space,
                c.feature.address + static_cast<std::uint64_t>(y * c.feature.line_stride),
                pixels.data(), pixels.size(), "CNA.FEATURE_DATA_ADDR");
  const TieRule rule = c.feature.cvt_half_up ? TieRule::half_up : tie;
  for (std::uint32_t x = 0; x < width; ++x) {
    std::uint8_t* out = row + std::size_t{x} * c.shape.channels;
    // The other channels of the atom meet weights that cancel (zero point): any value will do.
    std::memset(out, input_xor, c.shape.channels);
    const std::int64_t value =
        round_shift(std::int64_t{pixels[x]} * c.feature.cvt_scale, c.feature.cvt_shift, rule) +
        c.feature.cvt_offset;
    out[0] = static_cast<std::uint8_t>(saturate<std::int8_t>(value)) ^ input_xor;
  }
}

}  // namespace

FeatureTile load_features(const ConvConfig& c, const AddressSpace& space, ThreadPool& pool,
                          TieRule tie) {
  const ConvShape& s = c.shape;
  FeatureTile tile{s, 0, 0, {}};
  tile.rows = extent(s.out_height, s.stride_y, s.kernel_height, s.dilation_y);
  tile.columns = extent(s.out_width, s.stride_x, s.kernel_width, s.dilation_x);
  const std::uint64_t row_bytes = std::uint64_t{tile.columns} * s.channels;
  if (row_bytes * tile.rows > kMaxTileBytes)
    bad_program("CNA.DATA_SIZE0", "the windows span more than any CBUF tile holds");
  tile.bytes.resize(row_bytes * tile.rows);

  const std::uint8_t input_xor = mac_layout().input_xor;
  const int padding = static_cast<std::uint8_t>(s.pad_value) ^ input_xor;
  // Columns of the image that windows touch.
  const std::uint32_t width =
      s.pad_left >= tile.columns ? 0 : std::min(s.in_width, tile.columns - s.pad_left);
  pool.parallel_for(tile.rows, [&](std::size_t r) {
    std::uint8_t* row = tile.bytes.data() + r * row_bytes;
    if (r < s.pad_top || r - s.pad_top >= s.in_height) {
      std::memset(row, padding, row_bytes);
      return;
    }
    const auto y = static_cast<std::uint32_t>(r - s.pad_top);
    const std::size_t left = std::min<std::size_t>(s.pad_left, tile.columns) * s.channels;
    const std::size_t body = std::size_t{width} * s.channels;
    std::memset(row, padding, left);
    std::memset(row + left + body, padding, row_bytes - left - body);
    if (width == 0) return;
    if (c.feature.pixels)
      copy_pixel_row(c, space, y, width, input_xor, tie, row + left);
    else
      copy_cube_row(c, space, y, width, input_xor, row + left);
  });
  return tile;
}

namespace {

void pack_depthwise(const ConvShape& s, const std::int8_t* in, WeightTile& tile) {
  // [C/64][KH][KW][64] -> [KH][KW][C]; the last block is as wide as the channels left.
  const std::uint32_t taps = s.kernel_width * s.kernel_height;
  tile.packed.resize(std::size_t{taps} * s.channels);
  for (std::uint32_t c = 0; c < s.channels; c += 64) {
    const std::uint32_t block = std::min(64u, s.channels - c);
    for (std::uint32_t tap = 0; tap < taps; ++tap, in += block)
      std::memcpy(tile.packed.data() + std::size_t{tap} * s.channels + c, in, block);
  }
}

// Kernels [first, last) of one panel.
void pack_panel(const ConvShape& s, const std::int8_t* in, std::uint32_t panel, std::uint32_t width,
                WeightTile& tile) {
  const std::uint32_t taps = s.kernel_width * s.kernel_height;
  const std::size_t k_total = std::size_t{taps} * s.channels;
  std::int8_t* out = tile.packed.data() + std::size_t{panel} * k_total * width;
  const std::uint32_t first = panel * width;
  const std::uint32_t last = std::min(s.kernels, first + width);
  for (std::uint32_t o = first; o < last; ++o) {
    const std::uint32_t block_first = o / 32 * 32;
    const std::uint32_t block_kernels = std::min(32u, s.kernels - block_first);
    const std::int8_t* block = in + std::size_t{block_first} * k_total;
    std::int8_t* lane = out + std::size_t{o - first} * 4;
    std::int32_t sum = 0;
    for (std::uint32_t c = 0; c < s.channels; c += 32) {
      const std::uint32_t wide = std::min(32u, s.channels - c);
      for (std::uint32_t tap = 0; tap < taps; ++tap) {
        const std::int8_t* from = block + (std::size_t{c} * taps + std::size_t{tap} * wide) *
                                              block_kernels +
                                  std::size_t{o - block_first} * wide;
        const std::size_t k = std::size_t{tap} * s.channels + c;
        std::int8_t* to = lane + k * width;
        for (std::uint32_t i = 0; i < wide; i += 4)
          std::memcpy(to + std::size_t{i} * width, from + i, 4);
        for (std::uint32_t i = 0; i < wide; ++i) sum += from[i];
      }
    }
    tile.init[o] = sum * -static_cast<std::int32_t>(mac_layout().input_xor);
  }
}

}  // namespace

WeightTile load_weights(const ConvConfig& c, const AddressSpace& space, ThreadPool& pool) {
  const ConvShape& s = c.shape;
  WeightTile tile{s.kernels, s.channels, s.kernel_width, s.kernel_height, s.depthwise, 0, {}, {}};
  std::span<std::byte> view = space.resolve(c.weights, c.weight_bytes);
  std::vector<std::byte> scratch;
  if (view.empty()) {
    // Either across mappings or a fault; look before reserving memory for it.
    std::uint8_t probe;
    read_or_fault(space, c.weights, &probe, 1, "CNA.DCOMP_ADDR0");
    read_or_fault(space, c.weights + c.weight_bytes - 1, &probe, 1, "CNA.DCOMP_ADDR0");
    scratch.resize(c.weight_bytes);
    read_or_fault(space, c.weights, scratch.data(), scratch.size(), "CNA.DCOMP_ADDR0");
    view = scratch;
  }
  const std::int8_t* in = reinterpret_cast<const std::int8_t*>(view.data());
  if (s.depthwise) {
    pack_depthwise(s, in, tile);
    return tile;
  }
  const std::uint32_t width = mac_layout().panel;
  tile.panels = (s.kernels + width - 1) / width;
  tile.packed.resize(std::size_t{tile.panels} * width * s.kernel_width * s.kernel_height *
                     s.channels);
  tile.init.resize(std::size_t{tile.panels} * width);
  pool.parallel_for(tile.panels, [&](std::size_t panel) {
    pack_panel(s, in, static_cast<std::uint32_t>(panel), width, tile);
  });
  return tile;
}

}  // namespace npu::sim
