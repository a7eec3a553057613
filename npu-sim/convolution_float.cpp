// SPDX-License-Identifier: MIT
// fp16, bf16 and tf32. The order in which groups are added is the order of the weight stream:
// blocks of channels, then the taps of the kernel [for one tap: K order, board-proven; for more:
// inferred from the layout].
#include <algorithm>
#include <cmath>
#include <utility>

#include "npu-sim/convolution.hpp"
#include "npu-sim/dpu.hpp"
#include "npu-sim/exact_sum.hpp"

namespace npu::sim {
namespace {

constexpr std::size_t kPositions = 64;  // of a work item
constexpr std::size_t kGroups = 4;      // of operands in double at a time: they stay in the caches

// Groups of products in K order.
struct Groups {
  std::uint32_t channel_group, taps, blocks;
  std::size_t count() const { return std::size_t{blocks} * taps; }
};

struct Group {
  std::uint32_t block, tap, first_channel, wide;
};

Group group_of(const Groups& g, const ConvShape& s, std::size_t index) {
  const auto block = static_cast<std::uint32_t>(index / g.taps);
  const std::uint32_t first = block * g.channel_group;
  return {block, static_cast<std::uint32_t>(index % g.taps), first,
          std::min(g.channel_group, s.channels - first)};
}

// Operands of kGroups groups for a work item, in double.
struct Operands {
  explicit Operands(std::size_t lanes)
      : x(kPositions * kGroups * kFloatDepth),
        bound(kPositions * kGroups),
        w(kGroups * kFloatKernels * kFloatDepth),
        x_range(kPositions / lanes * kGroups) {}
  std::vector<double> x;      // [position / lanes][group][depth][lane]
  std::vector<double> bound;  // [position / lanes][group][lane]
  std::vector<double> w;      // [group][kernel][depth]
  std::vector<FloatRange> x_range;
  std::uint8_t depth[kGroups];
};

void take_features(const FeatureTile& tile, const Groups& groups, std::size_t first_position,
                   std::size_t count, std::size_t lanes, std::size_t first_group, std::size_t n,
                   Operands& to) {
  const ConvShape& s = tile.shape;
  for (std::size_t part = 0; part * lanes < count; ++part)
    for (std::size_t i = 0; i < n; ++i) {
      const Group g = group_of(groups, s, first_group + i);
      double* x = to.x.data() + (part * kGroups + i) * kFloatDepth * lanes;
      double* bound = to.bound.data() + (part * kGroups + i) * lanes;
      FloatRange& range = to.x_range[part * kGroups + i] = {};
      const std::size_t live = std::min(lanes, count - part * lanes);
      if (live < lanes) {
        std::fill_n(x, kFloatDepth * lanes, 0.0);
        std::fill_n(bound, lanes, 0.0);
      }
      for (std::size_t lane = 0; lane < live; ++lane) {
        const std::size_t position = first_position + part * lanes + lane;
        const std::size_t y = position / s.out_width * s.stride_y +
                              std::size_t{g.tap / s.kernel_width} * s.dilation_y;
        const std::size_t column = position % s.out_width * s.stride_x +
                                   std::size_t{g.tap % s.kernel_width} * s.dilation_x;
        const std::size_t at = y * tile.columns + column;
        const float* from = tile.values.data() + at * s.channels + g.first_channel;
        for (std::uint32_t c = 0; c < g.wide; ++c)
          x[c * lanes + lane] = static_cast<double>(from[c]);
        const FloatRange one = tile.ranges[at * groups.blocks + g.block];
        range.merge(one);
        bound[lane] = one.top < one.bottom ? 0.0 : std::ldexp(1.0, one.top);
      }
    }
}

// Kernels of one panel; those beyond the last one are zero.
void take_weights(const ConvShape& s, const WeightTile& weights, const Groups& groups,
                  std::size_t panel, std::size_t first_group, std::size_t n, Operands& to) {
  const std::size_t element = layout_of(s.precision).bits / 8;
  const std::size_t kernels =
      std::min<std::size_t>(kFloatKernels, s.kernels - panel * kFloatKernels);
  const std::uint8_t* raw =
      weights.raw.get() + panel * kFloatKernels * groups.taps * s.channels * element;
  if (kernels < kFloatKernels) std::fill(to.w.begin(), to.w.end(), 0.0);
  for (std::size_t i = 0; i < n; ++i) {
    const Group g = group_of(groups, s, first_group + i);
    to.depth[i] = static_cast<std::uint8_t>(g.wide);
    const std::uint8_t* from =
        raw + (std::size_t{g.first_channel} * groups.taps + std::size_t{g.tap} * g.wide) * kernels *
                  element;
    double* w = to.w.data() + i * kFloatKernels * kFloatDepth;
    if (s.precision == Precision::fp16 && g.wide == kFloatDepth) {
      fp16_to_doubles(from, kernels * kFloatDepth, w);
      continue;
    }
    float row[kFloatDepth];
    for (std::size_t o = 0; o < kernels; ++o, from += g.wide * element) {
      decode_floats(s.precision, from, g.wide, row);
      std::copy_n(row, g.wide, w + o * kFloatDepth);
    }
  }
}

// The next panel's kernels lie far from this one's, where no hardware prefetcher looks.
void prefetch_weights(const ConvShape& s, const WeightTile& weights, const Groups& groups,
                      std::size_t panel, std::size_t first_group, std::size_t n) {
  const std::size_t element = layout_of(s.precision).bits / 8;
  const std::size_t kernels =
      std::min<std::size_t>(kFloatKernels, s.kernels - panel * kFloatKernels);
  const Group g = group_of(groups, s, first_group);
  const std::size_t before =
      std::size_t{g.first_channel} * groups.taps + std::size_t{g.tap} * g.wide;
  const std::size_t start =
      (panel * kFloatKernels * groups.taps * s.channels + before * kernels) * element;
  const std::size_t end = std::min(weights.raw_bytes, start + n * g.wide * kernels * element);
  for (std::size_t at = start; at < end; at += 64) __builtin_prefetch(weights.raw.get() + at);
}

void dense(const ConvConfig& c, const FeatureTile& tile, const WeightTile& weights, const Dpu& dpu,
           ThreadPool& pool) {
  const ConvShape& s = c.shape;
  const std::uint32_t channel_group = layout_of(s.precision).channel_group;
  const Groups groups{channel_group, s.kernel_width * s.kernel_height,
                      (s.channels + channel_group - 1) / channel_group};
  const std::size_t lanes = float_lanes();
  const std::size_t positions = std::size_t{s.out_height} * s.out_width;
  const std::size_t blocks = (positions + kPositions - 1) / kPositions;
  // Work items: blocks of positions by strips of kernels, enough of them for all threads. Features
  // are converted once per strip, so strips are not made narrower than that needs.
  std::size_t strip = 32;  // panels
  while (strip > 4 && blocks * ((weights.panels + strip - 1) / strip) < 4 * pool.threads())
    strip /= 2;
  const std::size_t strips = (weights.panels + strip - 1) / strip;
  const std::size_t block_floats = kFloatKernels * lanes;

  pool.parallel_for(blocks * strips, [&](std::size_t item) {
    const std::size_t first = item / strips * kPositions;
    const std::size_t count = std::min(kPositions, positions - first);
    const std::size_t parts = (count + lanes - 1) / lanes;
    const std::size_t panel_first = item % strips * strip;
    const std::size_t panels = std::min<std::size_t>(strip, weights.panels - panel_first);
    Operands operands(lanes);
    std::vector<float> sums(panels * parts * block_floats);  // [panel][part][kernel][lane]
    for (std::size_t group = 0; group < groups.count(); group += kGroups) {
      const std::size_t n = std::min(kGroups, groups.count() - group);
      take_features(tile, groups, first, count, lanes, group, n, operands);
      for (std::size_t p = 0; p < panels; ++p) {
        const std::size_t panel = panel_first + p;
        if (p + 1 < panels) prefetch_weights(s, weights, groups, panel + 1, group, n);
        take_weights(s, weights, groups, panel, group, n, operands);
        for (std::size_t part = 0; part < parts; ++part)
          mac_float_groups(
              {n, operands.x.data() + part * kGroups * kFloatDepth * lanes, operands.w.data(),
               operands.depth, operands.x_range.data() + part * kGroups,
               operands.bound.data() + part * kGroups * lanes,
               weights.ranges.data() + panel * groups.count() + group},
              count - part * lanes, sums.data() + (p * parts + part) * block_floats);
      }
    }
    const auto channel = static_cast<std::uint32_t>(panel_first * kFloatKernels);
    const auto channels =
        std::min(static_cast<std::uint32_t>(panels * kFloatKernels), s.kernels - channel);
    std::vector<float> line(panels * kFloatKernels);
    for (std::size_t i = 0; i < count; ++i) {
      for (std::size_t p = 0; p < panels; ++p) {
        const float* from = sums.data() + (p * parts + i / lanes) * block_floats + i % lanes;
        for (std::size_t o = 0; o < kFloatKernels; ++o)
          line[p * kFloatKernels + o] = from[o * lanes];
      }
      dpu.store_float(static_cast<std::uint32_t>((first + i) / s.out_width),
                      static_cast<std::uint32_t>((first + i) % s.out_width), channel, channels,
                      line.data());
    }
  });
}

// Each channel by itself: the products of a window are summed exactly and rounded once [inferred;
// boards agree bit for bit with fp32 references]. Two doubles hold the sum of fp16 products; where
// they lose a bit, which takes exponents that only bf16 has, the channel is summed again.
void depthwise(const ConvConfig& c, const FeatureTile& tile, const WeightTile& weights,
               const Dpu& dpu, ThreadPool& pool) {
  const ConvShape& s = c.shape;
  pool.parallel_for(s.out_height, [&](std::size_t y) {
    std::vector<double> sums(s.channels), rests(s.channels), lost(s.channels);
    std::vector<float> rounded(s.channels);
    const auto tap = [&](std::uint32_t x, std::uint32_t ky, std::uint32_t kx) {
      const std::size_t position =
          (y * s.stride_y + std::size_t{ky} * s.dilation_y) * tile.columns +
          std::size_t{x} * s.stride_x + std::size_t{kx} * s.dilation_x;
      return std::pair(
          tile.values.data() + position * s.channels,
          weights.floats.data() + (std::size_t{ky} * s.kernel_width + kx) * s.channels);
    };
    for (std::uint32_t x = 0; x < s.out_width; ++x) {
      std::fill(sums.begin(), sums.end(), 0.0);
      std::fill(rests.begin(), rests.end(), 0.0);
      std::fill(lost.begin(), lost.end(), 0.0);
      for (std::uint32_t ky = 0; ky < s.kernel_height; ++ky)
        for (std::uint32_t kx = 0; kx < s.kernel_width; ++kx) {
          const auto [in, w] = tap(x, ky, kx);
          for (std::uint32_t ch = 0; ch < s.channels; ++ch) {
            const auto [sum, low] =
                two_sum(sums[ch], static_cast<double>(in[ch]) * static_cast<double>(w[ch]));
            const auto [rest, lower] = two_sum(rests[ch], low);
            sums[ch] = sum;
            rests[ch] = rest;
            lost[ch] += std::abs(lower);  // NaN where a sum is not finite: that is final as well
          }
        }
      for (std::uint32_t ch = 0; ch < s.channels; ++ch) {
        if (lost[ch] > 0) {
          ExactSum exact;
          for (std::uint32_t ky = 0; ky < s.kernel_height; ++ky)
            for (std::uint32_t kx = 0; kx < s.kernel_width; ++kx) {
              const auto [in, w] = tap(x, ky, kx);
              exact.add(static_cast<double>(in[ch]) * static_cast<double>(w[ch]));
            }
          rounded[ch] = exact.rounded();
        } else {
          rounded[ch] = std::isfinite(sums[ch]) ? round_once(sums[ch], rests[ch])
                                                : static_cast<float>(sums[ch]);
        }
      }
      dpu.store_float(static_cast<std::uint32_t>(y), x, 0, s.channels, rounded.data());
    }
  });
}

}  // namespace

void run_float_convolution(const ConvConfig& config, const FeatureTile& tile,
                           const WeightTile& weights, const Dpu& dpu, ThreadPool& pool) {
  if (config.shape.depthwise)
    depthwise(config, tile, weights, dpu, pool);
  else
    dense(config, tile, weights, dpu, pool);
}

}  // namespace npu::sim
