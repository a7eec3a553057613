// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstring>

#include "mobilenet.hpp"
#include "npu-sim/mac_int8.hpp"
#include "npu-sim/rounding.hpp"

namespace npu::bench {
namespace {

using Kind = Layer::Kind;

std::int8_t requantise(const Layer& l, std::int32_t sum) {
  const std::int64_t product = std::int64_t{sum} * l.scale;
  return sim::saturate<std::int8_t>(sim::round_shift(product, l.shift, sim::TieRule::half_even) +
                                    l.offset);
}

// Channels of a position, made a multiple of 4 for the dot products.
std::size_t wide(const Layer& l) { return (l.in_channels + 3) / 4 * 4; }

// The image with its padding and channels made a multiple of 4, xor `flip`.
std::vector<std::uint8_t> padded(const Layer& l, const std::vector<std::int8_t>& input,
                                 std::uint8_t flip) {
  const std::size_t size = l.pad_before + l.in_size + l.pad_after, channels = wide(l);
  std::vector<std::uint8_t> out(size * size * channels,
                                static_cast<std::uint8_t>(l.pad_value) ^ flip);
  for (std::size_t y = 0; y < l.in_size; ++y)
    for (std::size_t x = 0; x < l.in_size; ++x) {
      const std::int8_t* from = input.data() + (y * l.in_size + x) * l.in_channels;
      std::uint8_t* to = out.data() + ((y + l.pad_before) * size + x + l.pad_before) * channels;
      for (std::size_t c = 0; c < l.in_channels; ++c)
        to[c] = static_cast<std::uint8_t>(static_cast<std::uint8_t>(from[c]) ^ flip);
    }
  return out;
}

void depthwise(const Layer& l, const std::vector<std::int8_t>& input,
               std::vector<std::int8_t>& output, sim::ThreadPool& pool) {
  const std::vector<std::uint8_t> image = padded(l, input, 0);
  const std::size_t size = l.pad_before + l.in_size + l.pad_after, channels = l.in_channels;
  pool.parallel_for(l.out_size, [&](std::size_t y) {
    std::vector<std::int32_t> sums(channels);
    for (std::size_t x = 0; x < l.out_size; ++x) {
      std::copy(l.bias.begin(), l.bias.end(), sums.begin());
      for (std::size_t tap = 0; tap < std::size_t{l.kernel} * l.kernel; ++tap) {
        const std::size_t row = y * l.stride + tap / l.kernel,
                          column = x * l.stride + tap % l.kernel;
        const std::uint8_t* in = image.data() + (row * size + column) * channels;
        const std::int8_t* w = l.weights.data() + tap * channels;
        for (std::size_t c = 0; c < channels; ++c)
          sums[c] += static_cast<std::int8_t>(in[c]) * (w[c] + l.ow_op);
      }
      std::int8_t* out = output.data() + (y * l.out_size + x) * channels;
      for (std::size_t c = 0; c < channels; ++c) out[c] = requantise(l, sums[c]);
    }
  });
}

void average_pool(const Layer& l, const std::vector<std::int8_t>& input,
                  std::vector<std::int8_t>& output) {
  // The chip's arithmetic: two reciprocals of 16 bits [compute.md 7].
  const std::int64_t recip = 0x10000 / l.kernel;
  for (std::size_t c = 0; c < l.in_channels; ++c) {
    std::int64_t sum = 0;
    for (std::size_t p = 0; p < std::size_t{l.in_size} * l.in_size; ++p)
      sum += input[p * l.in_channels + c];
    output[c] = sim::saturate<std::int8_t>(
        sim::round_shift(sum * recip * recip, 32, sim::TieRule::half_even));
  }
}

}  // namespace

PlainNetwork::PlainNetwork(const std::vector<Layer>& layers) : layers_(layers) {
  const sim::MacLayout layout = sim::mac_layout();
  for (const Layer& l : layers) {
    Packed& packed = packed_.emplace_back();
    if (l.kind != Kind::convolution) continue;
    const std::size_t taps = std::size_t{l.kernel} * l.kernel, channels = wide(l);
    const std::size_t panels = (l.out_channels + layout.panel - 1) / layout.panel;
    packed.weights.resize(panels * layout.panel * taps * channels);
    packed.init.resize(panels * layout.panel);
    for (std::size_t o = 0; o < l.out_channels; ++o) {
      std::int8_t* to = packed.weights.data() + o / layout.panel * layout.panel * taps * channels +
                        o % layout.panel * 4;
      std::int32_t sum = 0;
      for (std::size_t k = 0; k < taps * channels; ++k) {
        const std::size_t tap = k / channels, c = k % channels;
        if (c >= l.in_channels) continue;
        const std::size_t index = (o * taps + tap) * l.in_channels + c;
        const auto weight = static_cast<std::int8_t>(l.weights[index] + l.ow_op);
        to[k / 4 * 4 * layout.panel + k % 4] = weight;
        sum += weight;
      }
      packed.init[o] = l.bias[o] - sum * layout.input_xor;
    }
  }
}

void PlainNetwork::dense(std::size_t layer, const std::vector<std::int8_t>& input,
                         std::vector<std::int8_t>& output) {
  const Layer& l = layers_[layer];
  const sim::MacLayout layout = sim::mac_layout();
  const std::vector<std::uint8_t> image = padded(l, input, layout.input_xor);
  const std::size_t size = l.pad_before + l.in_size + l.pad_after, channels = wide(l);
  const std::size_t positions = std::size_t{l.out_size} * l.out_size;
  const std::size_t panels = packed_[layer].init.size() / layout.panel;
  const std::size_t panel_bytes = layout.panel * l.kernel * l.kernel * channels;
  constexpr std::size_t kBlock = 48;
  pool_.parallel_for((positions + kBlock - 1) / kBlock, [&](std::size_t block) {
    const std::size_t first = block * kBlock, count = std::min(kBlock, positions - first);
    const std::uint8_t* windows[kBlock];
    for (std::size_t i = 0; i < count; ++i)
      windows[i] = image.data() + ((first + i) / l.out_size * l.stride * size +
                                   (first + i) % l.out_size * l.stride) *
                                      channels;
    std::vector<std::int32_t> sums(count * layout.panel);
    for (std::size_t panel = 0; panel < panels; ++panel) {
      sim::mac_int8({windows, count, l.kernel, l.kernel * channels,
                     static_cast<std::ptrdiff_t>(size * channels)},
                    packed_[layer].weights.data() + panel * panel_bytes,
                    packed_[layer].init.data() + panel * layout.panel, sums.data(), layout.panel);
      const std::size_t kernels =
          std::min<std::size_t>(layout.panel, l.out_channels - panel * layout.panel);
      for (std::size_t i = 0; i < count; ++i)
        for (std::size_t o = 0; o < kernels; ++o)
          output[(first + i) * l.out_channels + panel * layout.panel + o] =
              requantise(l, sums[i * layout.panel + o]);
    }
  });
}

std::vector<std::int8_t> PlainNetwork::run(std::size_t layer,
                                           const std::vector<std::int8_t>& input) {
  const Layer& l = layers_[layer];
  std::vector<std::int8_t> output(std::size_t{l.out_size} * l.out_size * l.out_channels);
  switch (l.kind) {
    case Kind::convolution: dense(layer, input, output); break;
    case Kind::depthwise: depthwise(l, input, output, pool_); break;
    case Kind::average_pool: average_pool(l, input, output); break;
  }
  return output;
}

}  // namespace npu::bench
