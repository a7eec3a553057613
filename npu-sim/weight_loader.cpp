// SPDX-License-Identifier: MIT
// CNA's weight reader. Layout: [O/32][C/32][KH][KW][32][32] with the last blocks as small as the
// kernels and channels that are left; depthwise [C/64][KH][KW][64] [mesa rkt_coefs.c; confirmed by
// the recorded vectors].
#include "npu-sim/tile_loader.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "npu-sim/convolution.hpp"
#include "npu-sim/fault.hpp"
#include "npu-sim/mac_int8.hpp"

namespace npu::sim {
namespace {

// [C/64][KH][KW][64] -> [KH][KW][C]; the last block is as wide as the channels left unless the cube
// was filled up to a whole group.
void pack_depthwise(const ConvShape& s, const std::int8_t* in, std::size_t bytes,
                    WeightTile& tile) {
  const std::uint32_t taps = s.kernel_width * s.kernel_height;
  tile.packed.resize(std::size_t{taps} * s.channels);
  const bool whole = bytes > std::size_t{taps} * s.channels;
  for (std::uint32_t c = 0; c < s.channels; c += 64) {
    const std::uint32_t block = std::min(64u, s.channels - c);
    for (std::uint32_t tap = 0; tap < taps; ++tap, in += whole ? 64 : block)
      std::memcpy(tile.packed.data() + std::size_t{tap} * s.channels + c, in, block);
  }
}

// Kernels [first, last) of one panel.
void pack_panel(const ConvShape& s, const std::int8_t* in, std::uint32_t panel, std::uint32_t width,
                WeightTile& tile) {
  const std::uint32_t group = layout_of(s.precision).kernel_group;
  const std::uint32_t taps = s.kernel_width * s.kernel_height;
  const std::size_t k_total = std::size_t{taps} * s.channels;
  std::int8_t* out = tile.packed.data() + std::size_t{panel} * k_total * width;
  const std::uint32_t first = panel * width;
  const std::uint32_t last = std::min(s.kernels, first + width);
  // A panel lies within one group of kernels, because its width divides the group's.
  const std::uint32_t block_first = first / group * group;
  const std::uint32_t block_kernels = std::min(group, s.kernels - block_first);
  const std::int8_t* block = in + std::size_t{block_first} * k_total;
  for (std::uint32_t c = 0; c < s.channels; c += 32) {
    const std::uint32_t wide = std::min(32u, s.channels - c);
    for (std::uint32_t tap = 0; tap < taps; ++tap) {
      const std::int8_t* from = block +
                                (std::size_t{c} * taps + std::size_t{tap} * wide) * block_kernels +
                                std::size_t{first - block_first} * wide;
      std::int8_t* to = out + (std::size_t{tap} * s.channels + c) * width;
      for (std::uint32_t i = 0; i < wide; i += 4, to += std::size_t{4} * width)
        for (std::uint32_t o = 0; o < last - first; ++o)
          std::memcpy(to + std::size_t{o} * 4, from + std::size_t{o} * wide + i, 4);
    }
  }
  const std::uint8_t input_xor = mac_layout().input_xor;
  if (input_xor == 0) return;
  // Where inputs are stored with an offset every sum starts at minus what it will add: the sum of
  // the weights, which is what a window of ones gives, times the offset.
  const std::vector<std::uint8_t> ones(k_total, 1);
  const std::uint8_t* window = ones.data();
  std::int32_t* init = tile.init.data() + first;
  const std::vector<std::int32_t> zero(width);
  mac_int8({&window, 1, 1, k_total, 0}, out, zero.data(), init, width);
  for (std::uint32_t o = 0; o < width; ++o) init[o] *= -static_cast<std::int32_t>(input_xor);
}

// [O/16][C/32][KH][KW][16][32] -> [kernel][tap][channel].
void pack_wide(const ConvShape& s, const std::uint8_t* in, WeightTile& tile) {
  const std::uint32_t taps = s.kernel_width * s.kernel_height;
  tile.wide.resize(std::size_t{s.kernels} * taps * s.channels);
  for (std::uint32_t first = 0; first < s.kernels; first += 16) {
    const std::uint32_t kernels = std::min(16u, s.kernels - first);
    for (std::uint32_t c = 0; c < s.channels; c += 32) {
      const std::uint32_t wide = std::min(32u, s.channels - c);
      for (std::uint32_t tap = 0; tap < taps; ++tap)
        for (std::uint32_t o = first; o < first + kernels; ++o, in += wide * 2)
          std::memcpy(tile.wide.data() + (std::size_t{o} * taps + tap) * s.channels + c, in,
                      wide * 2);
    }
  }
}

// Depthwise [C/32][KH][KW][32] -> [tap][channel]; dense kernels stay as they lie in memory, a copy
// as CBUF holds one, with the range of every group of products.
void take_floats(const ConvShape& s, std::span<const std::byte> memory, ThreadPool& pool,
                 WeightTile& tile) {
  const PrecisionLayout layout = layout_of(s.precision);
  const auto* in = reinterpret_cast<const std::uint8_t*>(memory.data());
  const std::uint32_t taps = s.kernel_width * s.kernel_height;
  const std::size_t element = layout.bits / 8;
  if (s.depthwise) {
    const bool whole = memory.size() > std::size_t{taps} * s.channels * element;
    tile.floats.resize(std::size_t{taps} * s.channels);
    for (std::uint32_t c = 0; c < s.channels; c += layout.depthwise_group) {
      const std::uint32_t wide = std::min(layout.depthwise_group, s.channels - c);
      for (std::uint32_t tap = 0; tap < taps;
           ++tap, in += (whole ? layout.depthwise_group : wide) * element)
        decode_floats(s.precision, in, wide,
                      tile.floats.data() + std::size_t{tap} * s.channels + c);
    }
    return;
  }
  const std::uint32_t blocks = (s.channels + layout.channel_group - 1) / layout.channel_group;
  constexpr std::uint32_t kKernels = kFloatKernels;
  tile.panels = (s.kernels + kKernels - 1) / kKernels;
  const std::size_t groups = std::size_t{blocks} * taps;
  const std::size_t panel_bytes = std::size_t{taps} * s.channels * kKernels * element;
  tile.raw.reset(new std::uint8_t[memory.size()]);
  tile.raw_bytes = memory.size();
  tile.ranges.resize(tile.panels * groups);
  pool.parallel_for(tile.panels, [&](std::size_t panel) {
    const std::uint32_t kernels =
        std::min(kKernels, s.kernels - static_cast<std::uint32_t>(panel) * kKernels);
    const std::uint8_t* from = in + panel * panel_bytes;
    std::memcpy(tile.raw.get() + panel * panel_bytes, from, panel_bytes / kKernels * kernels);
    float values[kFloatKernels * kFloatDepth];
    for (std::size_t group = 0; group < groups; ++group) {
      const auto block = static_cast<std::uint32_t>(group / taps);
      const std::size_t count =
          std::min(layout.channel_group, s.channels - block * layout.channel_group) * kernels;
      FloatRange& range = tile.ranges[panel * groups + group];
      if (s.precision == Precision::fp16) {
        range = fp16_range(from, count);
      } else {
        decode_floats(s.precision, from, count, values);
        range = range_of(s.precision, values, count);
      }
      from += count * element;
    }
  });
}

// Tasks that cut a product by rows load the same kernels again and again.
bool same_bytes(std::span<const std::byte> memory, const WeightTile& tile, ThreadPool& pool) {
  if (memory.size() != tile.raw_bytes) return false;
  constexpr std::size_t kChunk = 256 << 10;
  std::atomic<bool> same{true};
  pool.parallel_for((memory.size() + kChunk - 1) / kChunk, [&](std::size_t chunk) {
    const std::size_t at = chunk * kChunk, bytes = std::min(kChunk, memory.size() - at);
    if (same && std::memcmp(memory.data() + at, tile.raw.get() + at, bytes) != 0) same = false;
  });
  return same;
}

}  // namespace

void load_weights(const ConvConfig& c, const AddressSpace& space, ThreadPool& pool,
                  std::optional<WeightTile>& slot) {
  const ConvShape& s = c.shape;
  WeightTile tile{
      s.precision, s.kernels, s.channels, s.kernel_width, s.kernel_height, s.depthwise, 0, {}, {},
      {},          {},        {}};
  std::span<const std::byte> view = space.resolve(c.weights, c.weight_bytes);
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
  if (is_float(s.precision)) {
    if (slot && slot->raw && slot->same_size(s) && same_bytes(view, *slot, pool)) return;
    take_floats(s, view, pool, tile);
    slot = std::move(tile);
    return;
  }
  if (s.precision == Precision::int16) {
    pack_wide(s, reinterpret_cast<const std::uint8_t*>(view.data()), tile);
    slot = std::move(tile);
    return;
  }
  const std::int8_t* in = reinterpret_cast<const std::int8_t*>(view.data());
  std::vector<std::int8_t> expanded;
  if (s.precision == Precision::int4) {
    expanded.resize(view.size() * 2);
    expand_int4(reinterpret_cast<const std::uint8_t*>(view.data()), expanded.size(),
                expanded.data());
    in = expanded.data();
  }
  if (s.depthwise) {
    pack_depthwise(s, in, c.weight_bytes, tile);
    slot = std::move(tile);
    return;
  }
  const std::uint32_t width = mac_layout().panel;
  tile.panels = (s.kernels + width - 1) / width;
  tile.packed.resize(std::size_t{tile.panels} * width * s.kernel_width * s.kernel_height *
                     s.channels);
  tile.init.resize(std::size_t{tile.panels} * width);
  pool.parallel_for(tile.panels, [&](std::size_t panel) {
    pack_panel(s, in, static_cast<std::uint32_t>(panel), width, tile);
  });
  slot = std::move(tile);
}

}  // namespace npu::sim
