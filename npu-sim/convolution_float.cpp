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

constexpr std::size_t kPixels = 8;

void dense(const ConvConfig& c, const FeatureTile& tile, const WeightTile& weights, const Dpu& dpu,
           ThreadPool& pool) {
  const ConvShape& s = c.shape;
  const std::uint32_t block_channels = layout_of(s.precision).channel_group;
  const std::uint32_t blocks = (s.channels + block_channels - 1) / block_channels;
  const std::uint32_t taps = s.kernel_width * s.kernel_height;
  const std::size_t positions = std::size_t{s.out_height} * s.out_width;
  const std::size_t items = (positions + kPixels - 1) / kPixels;
  const std::size_t panel_floats = std::size_t{taps} * s.channels * kFloatPanel;
  // Panels in groups that stay in the second-level cache while all positions pass.
  const std::size_t panels_each =
      std::clamp<std::size_t>((256u << 10) / (panel_floats * sizeof(float) + 1), 1, weights.panels);
  for (std::size_t panel_first = 0; panel_first < weights.panels; panel_first += panels_each) {
    const std::size_t panel_last = std::min<std::size_t>(weights.panels, panel_first + panels_each);
    pool.parallel_for(items, [&](std::size_t item) {
      const std::size_t first = item * kPixels;
      const std::size_t count = std::min(kPixels, positions - first);
      std::vector<float> sums(kPixels * kFloatPanel);
      for (std::size_t panel = panel_first; panel < panel_last; ++panel) {
        std::fill(sums.begin(), sums.end(), 0.0f);
        const float* w = weights.floats.data() + panel * panel_floats;
        for (std::uint32_t block = 0; block < blocks; ++block) {
          const std::uint32_t channel = block * block_channels;
          const std::uint32_t wide = std::min(block_channels, s.channels - channel);
          for (std::uint32_t tap = 0; tap < taps; ++tap, w += std::size_t{wide} * kFloatPanel) {
            const float* x[kPixels];
            FloatRange range;
            for (std::size_t i = 0; i < count; ++i) {
              const std::size_t y = (first + i) / s.out_width * s.stride_y +
                                    std::size_t{tap / s.kernel_width} * s.dilation_y;
              const std::size_t column = (first + i) % s.out_width * s.stride_x +
                                         std::size_t{tap % s.kernel_width} * s.dilation_x;
              const std::size_t position = y * tile.columns + column;
              x[i] = tile.values.data() + position * s.channels + channel;
              range.merge(tile.ranges[position * blocks + block]);
            }
            mac_float_group(x, count, w, wide, range,
                            weights.ranges[(panel * blocks + block) * taps + tap], sums.data(),
                            kFloatPanel);
          }
        }
        const auto channel = static_cast<std::uint32_t>(panel * kFloatPanel);
        for (std::size_t i = 0; i < count; ++i)
          dpu.store_float(static_cast<std::uint32_t>((first + i) / s.out_width),
                          static_cast<std::uint32_t>((first + i) % s.out_width), channel,
                          std::min<std::uint32_t>(kFloatPanel, s.kernels - channel),
                          sums.data() + i * kFloatPanel);
      }
    });
  }
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
