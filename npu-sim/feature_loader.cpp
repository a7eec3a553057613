// SPDX-License-Identifier: MIT
// CNA's feature reader and converter. Layout: [C/16][H][W][16], pixels, or rows of a matrix.
#include "npu-sim/tile_loader.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "npu-sim/convolution.hpp"
#include "npu-sim/fault.hpp"
#include "npu-sim/float_types.hpp"
#include "npu-sim/mac_int8.hpp"
#include "npu-sim/rounding.hpp"

namespace npu::sim {
namespace {

constexpr std::uint32_t kAtom = 16;
// A feature tile larger than this cannot come from a 384 KiB CBUF, even with much padding.
constexpr std::uint64_t kMaxTileElements = 64u << 20;

// Rows of the tile and columns of the tile that windows touch, padding included.
std::uint32_t extent(std::uint32_t out, std::uint32_t stride, std::uint32_t kernel,
                     std::uint32_t dilation) {
  return (out - 1) * stride + (kernel - 1) * dilation + 1;
}

// One line of the image as the memory has it, but position by position: [x][bytes of all channels].
void read_row(const ConvConfig& c, const AddressSpace& space, std::uint32_t y, std::uint32_t width,
              std::size_t position_bytes, std::uint8_t* row) {
  const std::uint64_t line =
      c.feature.address + static_cast<std::uint64_t>(y * c.feature.line_stride);
  if (c.feature.row_major) {
    const std::size_t pixel = c.feature.pixel_bytes != 0 ? c.feature.pixel_bytes : position_bytes;
    std::vector<std::uint8_t> packed(pixel != position_bytes ? width * pixel : 0);
    read_or_fault(space, line, packed.empty() ? row : packed.data(), width * pixel,
                  "CNA.FEATURE_DATA_ADDR");
    if (packed.empty()) return;
    std::memset(row, 0, width * position_bytes);
    for (std::uint32_t x = 0; x < width; ++x)
      std::memcpy(row + x * position_bytes, packed.data() + x * pixel, pixel);
    return;
  }
  const std::size_t bytes = std::size_t{width} * kAtom;
  std::vector<std::uint8_t> scratch;
  for (std::size_t group = 0; group < position_bytes / kAtom; ++group) {
    const std::uint64_t address =
        line +
        static_cast<std::uint64_t>(static_cast<std::int64_t>(group) * c.feature.plane_stride);
    const std::span<const std::byte> view = space.resolve(address, bytes);
    const std::uint8_t* from = reinterpret_cast<const std::uint8_t*>(view.data());
    if (view.empty()) {
      scratch.resize(bytes);
      read_or_fault(space, address, scratch.data(), bytes, "CNA.FEATURE_DATA_ADDR");
      from = scratch.data();
    }
    for (std::uint32_t x = 0; x < width; ++x)
      std::memcpy(row + x * position_bytes + group * kAtom, from + std::size_t{x} * kAtom, kAtom);
  }
}

// One byte through CNA's converter; `lane` chooses the constants.
std::uint8_t convert(const InputConverter& c, std::uint8_t byte, std::size_t lane) {
  const std::int64_t x =
      c.is_signed ? std::int64_t{static_cast<std::int8_t>(byte)} : std::int64_t{byte};
  const TieRule rule = c.half_up ? TieRule::half_up : TieRule::half_even;
  const std::int64_t y =
      c.add_first ? round_shift((x + c.offset[lane]) * c.scale[lane], c.shift[lane], rule)
                  : round_shift(x * c.scale[lane], c.shift[lane], rule) + c.offset[lane];
  return static_cast<std::uint8_t>(saturate<std::int8_t>(y));
}

void copy_integer_row(const ConvConfig& c, const AddressSpace& space, std::uint32_t y,
                      std::uint32_t width, std::uint8_t input_xor, std::uint8_t* row) {
  const std::size_t count = std::size_t{width} * c.shape.channels;
  if (c.shape.precision == Precision::int4) {
    std::vector<std::uint8_t> packed(count / 2);
    read_row(c, space, y, width, c.shape.channels / 2, packed.data());
    expand_int4(packed.data(), count, reinterpret_cast<std::int8_t*>(row));
  } else {
    read_row(c, space, y, width, c.shape.channels, row);
    if (c.feature.cvt.active)
      for (std::size_t i = 0; i < count; ++i)
        if ((c.feature.cvt.lanes >> i % kAtom & 1) != 0) row[i] = convert(c.feature.cvt, row[i], 0);
  }
  if (input_xor != 0)
    for (std::size_t i = 0; i < count; ++i) row[i] ^= input_xor;
}

void copy_pixel_row(const ConvConfig& c, const AddressSpace& space, std::uint32_t y,
                    std::uint32_t width, std::uint8_t input_xor, std::uint8_t* row) {
  const std::size_t channels = c.feature.pixel_channels;
  std::vector<std::uint8_t> pixels(width * channels);
  read_or_fault(space, c.feature.address + static_cast<std::uint64_t>(y * c.feature.line_stride),
                pixels.data(), pixels.size(), "CNA.FEATURE_DATA_ADDR");
  // The other channels of the atom meet weights that cancel (zero point): any value will do.
  std::memset(row, input_xor, std::size_t{width} * c.shape.channels);
  for (std::uint32_t x = 0; x < width; ++x)
    for (std::size_t channel = 0; channel < channels; ++channel)
      row[std::size_t{x} * c.shape.channels + channel] =
          convert(c.feature.cvt, pixels[x * channels + channel], channel) ^ input_xor;
}

// Fills the tile line by line: `pad(first, count)` writes padding elements, `body(y, width, at)`
// the elements of an image line. Offsets count elements.
template <class Pad, class Body>
void fill_tile(const FeatureTile& tile, ThreadPool& pool, Pad pad, Body body) {
  const ConvShape& s = tile.shape;
  const std::size_t row_elements = std::size_t{tile.columns} * s.channels;
  // Columns of the image that windows touch.
  const std::uint32_t width =
      s.pad_left >= tile.columns ? 0 : std::min(s.in_width, tile.columns - s.pad_left);
  pool.parallel_for(tile.rows, [&](std::size_t r) {
    const std::size_t row = r * row_elements;
    if (r < s.pad_top || r - s.pad_top >= s.in_height || width == 0) {
      pad(row, row_elements);
      return;
    }
    const std::size_t left = std::size_t{s.pad_left} * s.channels;
    const std::size_t inside = std::size_t{width} * s.channels;
    pad(row, left);
    pad(row + left + inside, row_elements - left - inside);
    body(static_cast<std::uint32_t>(r - s.pad_top), width, row + left);
  });
}

float float_padding(const ConvShape& s) {
  float padding = 0;
  std::uint8_t bytes[4];
  std::memcpy(bytes, &s.pad_value, sizeof bytes);
  decode_floats(s.precision, bytes, 1, &padding);
  return padding;
}

void load_float_features(const ConvConfig& c, const AddressSpace& space, ThreadPool& pool,
                         FeatureTile& tile) {
  const ConvShape& s = c.shape;
  const PrecisionLayout layout = layout_of(s.precision);
  const std::size_t position_bytes = std::size_t{s.channels} * layout.bits / 8;
  const float padding = float_padding(s);
  fill_tile(
      tile, pool,
      [&](std::size_t first, std::size_t count) {
        std::fill_n(tile.values.begin() + static_cast<std::ptrdiff_t>(first), count, padding);
      },
      [&](std::uint32_t y, std::uint32_t width, std::size_t at) {
        std::vector<std::uint8_t> raw(width * position_bytes);
        read_row(c, space, y, width, position_bytes, raw.data());
        decode_floats(s.precision, raw.data(), std::size_t{width} * s.channels,
                      tile.values.data() + at);
      });
}

// Elements [first, first + count) of a tile, whose positions all hold `channels` of them.
template <class T, class At>
void fill_padding(std::vector<T>& out, std::size_t first, std::size_t count, std::size_t channels,
                  At at) {
  for (std::size_t i = first; i < first + count; ++i) out[i] = at(i % channels);
}

// Byte of PAD_CON1 that pads a channel [notes depthwise-conv, HW].
std::uint32_t pad_lane(const ConvShape& s, const Quirks& quirks, std::size_t channel) {
  return quirks.pad_byte_lanes && s.depthwise && channel % 64 < 32 && channel % 2 == 1 ? 1 : 0;
}

// The input on the grid of DECONV: `from` is the tile of the bare input; positions between its
// elements are zero, those around it the padding [notes conv-transpose, HW].
template <class T, class Pad>
void spread_tile(const FeatureTile& tile, const FeatureTile& from, const std::vector<T>& in,
                 std::vector<T>& out, T zero, ThreadPool& pool, Pad pad) {
  const ConvShape& s = tile.shape;
  const std::size_t high = std::size_t{s.spread_y} * (s.in_height - 1) + 1;
  const std::size_t wide = std::size_t{s.spread_x} * (s.in_width - 1) + 1;
  pool.parallel_for(tile.rows, [&](std::size_t r) {
    for (std::size_t x = 0; x < tile.columns; ++x) {
      const std::size_t at = (r * tile.columns + x) * s.channels;
      const std::size_t row = r - s.pad_top, column = x - s.pad_left;  // wraps in the padding
      if (r < s.pad_top || row >= high || x < s.pad_left || column >= wide) {
        pad(at, s.channels);
      } else if (row % s.spread_y != 0 || column % s.spread_x != 0) {
        std::fill_n(out.begin() + static_cast<std::ptrdiff_t>(at), s.channels, zero);
      } else {
        const std::size_t source =
            (row / s.spread_y * from.columns + column / s.spread_x) * s.channels;
        std::copy_n(in.begin() + static_cast<std::ptrdiff_t>(source), s.channels,
                    out.begin() + static_cast<std::ptrdiff_t>(at));
      }
    }
  });
}

// FC_DATA_BANK: the reader starts so many banks into the feature; behind its end it finds nothing
// of use [notes cbuf-reuse, HW; what it finds there is unknown, zeros stand for it].
template <class T>
void shift_banks(std::vector<T>& elements, std::size_t shift, T zero) {
  shift = std::min(shift, elements.size());
  std::move(elements.begin() + static_cast<std::ptrdiff_t>(shift), elements.end(),
            elements.begin());
  std::fill(elements.end() - static_cast<std::ptrdiff_t>(shift), elements.end(), zero);
}

// The bare input, without padding, as one tile.
ConvConfig bare_input(const ConvConfig& c) {
  ConvConfig bare = c;
  ConvShape& s = bare.shape;
  s.spread_x = s.spread_y = s.stride_x = s.stride_y = s.dilation_x = s.dilation_y = 1;
  s.kernel_width = s.kernel_height = 1;
  s.pad_left = s.pad_top = 0;
  s.out_width = s.in_width;
  s.out_height = s.in_height;
  return bare;
}

void add_ranges(FeatureTile& tile, ThreadPool& pool) {
  const ConvShape& s = tile.shape;
  if (s.depthwise) return;
  const PrecisionLayout layout = layout_of(s.precision);
  const std::uint32_t blocks = (s.channels + layout.channel_group - 1) / layout.channel_group;
  tile.ranges.resize(std::size_t{tile.rows} * tile.columns * blocks);
  pool.parallel_for(std::size_t{tile.rows} * tile.columns, [&](std::size_t position) {
    for (std::uint32_t block = 0; block < blocks; ++block) {
      const std::uint32_t first = block * layout.channel_group;
      const std::size_t count = std::min(layout.channel_group, s.channels - first);
      tile.ranges[position * blocks + block] =
          range_of(s.precision, tile.values.data() + position * s.channels + first, count);
    }
  });
}

}  // namespace

FeatureTile load_features(const ConvConfig& c, const AddressSpace& space, ThreadPool& pool,
                          const Quirks& quirks) {
  const ConvShape& s = c.shape;
  FeatureTile tile{s, 0, 0, {}, {}, {}, {}};
  tile.rows = extent(s.out_height, s.stride_y, s.kernel_height, s.dilation_y);
  tile.columns = extent(s.out_width, s.stride_x, s.kernel_width, s.dilation_x);
  const std::uint64_t elements = std::uint64_t{tile.columns} * s.channels * tile.rows;
  if (elements > kMaxTileElements)
    bad_program("CNA.DATA_SIZE0", "the windows span more than any CBUF tile holds");
  const bool is_spread = s.spread_x != 1 || s.spread_y != 1;
  const std::size_t bank_elements =
      std::size_t{c.feature.bank_offset} * 32768 * 8 / layout_of(s.precision).bits;
  FeatureTile bare{s, 0, 0, {}, {}, {}, {}};
  if (is_spread) bare = load_features(bare_input(c), space, pool, quirks);

  if (is_float(s.precision)) {
    tile.values.resize(elements);
    if (is_spread) {
      const float padding = float_padding(s);
      spread_tile(tile, bare, bare.values, tile.values, 0.0f, pool,
                  [&](std::size_t first, std::size_t count) {
                    std::fill_n(tile.values.begin() + static_cast<std::ptrdiff_t>(first), count,
                                padding);
                  });
    } else {
      load_float_features(c, space, pool, tile);
      if (bank_elements != 0) shift_banks(tile.values, bank_elements, 0.0f);
    }
    add_ranges(tile, pool);
    return tile;
  }

  if (s.precision == Precision::int16) {
    tile.wide.resize(elements);
    const auto pad = [&](std::size_t first, std::size_t count) {
      std::fill_n(tile.wide.begin() + static_cast<std::ptrdiff_t>(first), count,
                  static_cast<std::int16_t>(s.pad_value));
    };
    if (is_spread) {
      spread_tile(tile, bare, bare.wide, tile.wide, std::int16_t{0}, pool, pad);
      return tile;
    }
    fill_tile(tile, pool, pad, [&](std::uint32_t y, std::uint32_t width, std::size_t at) {
      read_row(c, space, y, width, std::size_t{s.channels} * 2,
               reinterpret_cast<std::uint8_t*>(tile.wide.data() + at));
    });
    if (bank_elements != 0) shift_banks(tile.wide, bank_elements, std::int16_t{0});
    return tile;
  }

  tile.bytes.resize(elements);
  const std::uint8_t input_xor = mac_layout().input_xor;
  std::uint8_t lanes[2];
  for (unsigned lane : {0u, 1u}) lanes[lane] = static_cast<std::uint8_t>(s.pad_value >> 8 * lane);
  if (s.precision == Precision::int4) {
    const std::uint8_t low = lanes[0];
    std::int8_t nibble;
    expand_int4(&low, 1, &nibble);
    lanes[0] = static_cast<std::uint8_t>(nibble);
  }
  const auto pad = [&](std::size_t first, std::size_t count) {
    if (!s.depthwise || lanes[0] == lanes[1])
      std::memset(tile.bytes.data() + first, lanes[0] ^ input_xor, count);
    else
      fill_padding(tile.bytes, first, count, s.channels, [&](std::size_t channel) {
        return static_cast<std::uint8_t>(lanes[pad_lane(s, quirks, channel)] ^ input_xor);
      });
  };
  if (is_spread) {
    spread_tile(tile, bare, bare.bytes, tile.bytes, input_xor, pool, pad);
    return tile;
  }
  fill_tile(tile, pool, pad, [&](std::uint32_t y, std::uint32_t width, std::size_t at) {
    if (c.feature.pixel_channels != 0)
      copy_pixel_row(c, space, y, width, input_xor, tile.bytes.data() + at);
    else
      copy_integer_row(c, space, y, width, input_xor, tile.bytes.data() + at);
  });
  if (bank_elements != 0) shift_banks(tile.bytes, bank_elements, input_xor);
  return tile;
}

}  // namespace npu::sim
