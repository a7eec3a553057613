// SPDX-License-Identifier: MIT
#include "microkernels/layout_convert.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

[[noreturn]] void refuse(const std::string& why) {
  throw Error(ErrorCode::invalid_argument, "layout conversion: " + why);
}

NhwcImage dense(const NhwcImage& image) {
  NhwcImage i = image;
  if (i.pixel_step == 0) i.pixel_step = i.channels;
  if (i.row_step == 0) i.row_step = i.width * i.pixel_step;
  if (i.height == 0 || i.width == 0 || i.channels == 0) refuse("an image without pixels");
  if (i.pixel_step < i.channels || i.row_step < i.width * i.pixel_step)
    refuse(
        fmt::format("steps of {} and {} elements, but a pixel has {} channels and a row {} "
                    "pixels",
                    i.pixel_step, i.row_step, i.channels, i.width));
  return i;
}

void check_sizes(DataType type, const NhwcImage& i, std::size_t host, std::size_t cube) {
  const std::size_t need =
      ((i.height - 1) * i.row_step + (i.width - 1) * i.pixel_step + i.channels) * host_bytes(type);
  if (host < need) refuse(fmt::format("an image of {} bytes needs {}", host, need));
  if (cube != cube_bytes(type, i))
    refuse(fmt::format("the cube holds {} bytes, but {} are needed", cube, cube_bytes(type, i)));
}

// One matrix if the rows follow each other, else one for each.
bool continuous(const NhwcImage& i) { return i.row_step == i.width * i.pixel_step; }

std::size_t surfaces(DataType type, const NhwcImage& image) {
  return ceil_div<std::size_t>(image.channels, atom_elements(type));
}

// Rows of images that are not dense, by hand: each surface of the cube holds all of them.
template <class Byte, class Move>
void by_rows(DataType type, const NhwcImage& i, Byte* host, Move move) {
  const std::size_t size = host_bytes(type), line = i.width * kAtomBytes;
  std::vector<std::byte> row(surfaces(type, i) * line);
  for (std::size_t y = 0; y < i.height; ++y)
    move(MatrixView<Byte>{host + y * i.row_step * size, i.width, i.channels, i.pixel_step}, row,
         y * line);
}

std::size_t checked_bytes(DataType type, const ConvWeights& w, std::size_t host,
                          std::size_t elements) {
  if (w.in_channels == 0 || w.kernel_height == 0 || w.kernel_width == 0)
    refuse("weights without elements");
  if (type == DataType::i4) refuse("the MAC array's i4 blocks hold matrix products only");
  if (host != elements * host_bytes(type))
    refuse(fmt::format("the weights are {} bytes, the shape asks for {}", host,
                       elements * host_bytes(type)));
  return host_bytes(type);
}

// Elements of `size` bytes, `from_step` bytes apart, become neighbours.
template <std::size_t kSize>
void collect(const std::byte* from, std::size_t from_step, std::size_t count, std::byte* to) {
  for (std::size_t i = 0; i < count; ++i) std::memcpy(to + i * kSize, from + i * from_step, kSize);
}
void collect(std::size_t size, const std::byte* from, std::size_t from_step, std::size_t count,
             std::byte* to) {
  if (from_step == size) {
    std::memcpy(to, from, count * size);
  } else if (size == 1) {
    collect<1>(from, from_step, count, to);
  } else if (size == 2) {
    collect<2>(from, from_step, count, to);
  } else {
    collect<4>(from, from_step, count, to);
  }
}

}  // namespace

std::size_t cube_bytes(DataType type, const NhwcImage& image) {
  return surfaces(type, image) * image.height * image.width * kAtomBytes;
}

void nhwc_to_cube(DataType type, const NhwcImage& image, std::span<const std::byte> from,
                  std::span<std::byte> cube, unsigned threads) {
  const NhwcImage i = dense(image);
  check_sizes(type, i, from.size(), cube.size());
  const std::size_t channels = surfaces(type, i) * atom_elements(type);
  const std::size_t pixels = i.height * i.width;
  if (continuous(i))
    return pack_features(type, {from.data(), pixels, i.channels, i.pixel_step}, pixels, channels,
                         cube, threads);
  by_rows(
      type, i, from.data(),
      [&](const MatrixView<const std::byte>& view, std::vector<std::byte>& row, std::size_t at) {
        pack_features(type, view, i.width, channels, row, 1);
        for (std::size_t s = 0; s < surfaces(type, i); ++s)
          std::memcpy(cube.data() + at + s * pixels * kAtomBytes,
                      row.data() + s * i.width * kAtomBytes, i.width * kAtomBytes);
      });
}

void cube_to_nhwc(DataType type, const NhwcImage& image, std::span<const std::byte> cube,
                  std::span<std::byte> to, unsigned threads) {
  const NhwcImage i = dense(image);
  check_sizes(type, i, to.size(), cube.size());
  const std::size_t pixels = i.height * i.width;
  if (continuous(i))
    return unpack(type, cube, pixels, {to.data(), pixels, i.channels, i.pixel_step}, threads);
  by_rows(type, i, to.data(),
          [&](const MatrixView<std::byte>& view, std::vector<std::byte>& row, std::size_t at) {
            for (std::size_t s = 0; s < surfaces(type, i); ++s)
              std::memcpy(row.data() + s * i.width * kAtomBytes,
                          cube.data() + at + s * pixels * kAtomBytes, i.width * kAtomBytes);
            unpack(type, row, i.width, view, 1);
          });
}

void pack_conv_weights(DataType type, const ConvWeights& w, std::span<const std::byte> from,
                       std::size_t kernels, std::size_t channels, std::span<std::byte> blocks,
                       unsigned threads) {
  const MacFormat format = mac_format(type);
  const std::size_t taps = w.kernel_height * w.kernel_width;
  const std::size_t size =
      checked_bytes(type, w, from.size(), w.out_channels * taps * w.in_channels);
  if (kernels < w.out_channels || channels < w.in_channels)
    refuse(fmt::format("{} kernels of {} channels do not fit {} of {}", w.out_channels,
                       w.in_channels, kernels, channels));
  if (blocks.size() != kernels * taps * channels * size)
    refuse(fmt::format("the blocks hold {} bytes, but {} are needed", blocks.size(),
                       kernels * taps * channels * size));
  // Kernels of one tap and whole groups and blocks are a matrix.
  if (taps == 1 && kernels % format.kernel_group == 0 && channels % format.channel_block == 0)
    return pack_weights(type, {from.data(), w.out_channels, w.in_channels, w.in_channels}, kernels,
                        channels, blocks, threads);
  const bool oihw = w.order == WeightOrder::oihw;
  const std::size_t tap_step = (oihw ? 1 : w.in_channels) * size;
  const std::size_t channel_step = (oihw ? taps : 1) * size;
  const bool padded = kernels != w.out_channels || channels != w.in_channels;
  if (padded) std::fill(blocks.begin(), blocks.end(), std::byte{0});
  for (std::size_t group = 0; group < w.out_channels; group += format.kernel_group) {
    const std::size_t in_group = std::min<std::size_t>(format.kernel_group, kernels - group);
    const std::size_t real = std::min(in_group, w.out_channels - group);
    for (std::size_t c = 0; c < w.in_channels; c += format.channel_block) {
      const std::size_t block = std::min<std::size_t>(format.channel_block, channels - c);
      const std::size_t count = std::min(block, w.in_channels - c);
      std::byte* to = blocks.data() + (group * taps * channels + c * taps * in_group) * size;
      for (std::size_t tap = 0; tap < taps; ++tap)
        for (std::size_t n = 0; n < real; ++n)
          collect(size,
                  from.data() + (group + n) * taps * w.in_channels * size + tap * tap_step +
                      c * channel_step,
                  channel_step, count, to + (tap * in_group + n) * block * size);
    }
  }
}

void pack_depthwise_weights(DataType type, const ConvWeights& w, std::span<const std::byte> from,
                            std::span<std::byte> blocks) {
  if (type != DataType::i8 && type != DataType::f16)
    refuse(fmt::format("depthwise convolutions are of i8 and f16, not {}", to_string(type)));
  const std::size_t taps = w.kernel_height * w.kernel_width;
  const std::size_t size = checked_bytes(type, w, from.size(), taps * w.in_channels);
  const std::size_t group = type == DataType::i8 ? 64 : 32;
  const std::size_t channels = align_up(w.in_channels, group);
  if (blocks.size() != channels * taps * size)
    refuse(fmt::format("the blocks hold {} bytes, but {} are needed", blocks.size(),
                       channels * taps * size));
  const bool oihw = w.order == WeightOrder::oihw;
  const std::size_t tap_step = (oihw ? 1 : w.in_channels) * size;
  const std::size_t channel_step = (oihw ? taps : 1) * size;
  if (channels != w.in_channels) std::fill(blocks.begin(), blocks.end(), std::byte{0});
  for (std::size_t c = 0; c < w.in_channels; c += group) {
    const std::size_t real = std::min(group, w.in_channels - c);
    for (std::size_t tap = 0; tap < taps; ++tap)
      collect(size, from.data() + tap * tap_step + c * channel_step, channel_step, real,
              blocks.data() + (c * taps + tap * group) * size);
  }
}

}  // namespace npu::kernels
