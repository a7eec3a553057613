// SPDX-License-Identifier: MIT
#include "npu-sim/convolution.hpp"

#include <algorithm>
#include <cstring>
#include <memory>

#include "npu-sim/dpu.hpp"
#include "npu-sim/fault.hpp"
#include "npu-sim/mac_int8.hpp"
#include "npu-sim/rounding.hpp"

namespace npu::sim {
namespace {

// Sum of all channels at each position of the tile, then of each window: what QD_EN multiplies
// with OW_OP. [out_height][out_width]
std::vector<std::int32_t> window_sums(const FeatureTile& tile, ThreadPool& pool) {
  const ConvShape& s = tile.shape;
  std::vector<std::int32_t> sums(std::size_t{tile.rows} * tile.columns);
  pool.parallel_for(tile.rows, [&](std::size_t row) {
    const std::uint8_t* in = tile.bytes.data() + row * tile.columns * s.channels;
    sum_channels_int8(in, tile.columns, s.channels, sums.data() + row * tile.columns);
  });
  std::vector<std::int32_t> out(std::size_t{s.out_height} * s.out_width);
  pool.parallel_for(s.out_height, [&](std::size_t y) {
    for (std::uint32_t x = 0; x < s.out_width; ++x) {
      std::int32_t sum = 0;
      for (std::uint32_t ky = 0; ky < s.kernel_height; ++ky)
        for (std::uint32_t kx = 0; kx < s.kernel_width; ++kx)
          sum += sums[(y * s.stride_y + std::size_t{ky} * s.dilation_y) * tile.columns +
                      std::size_t{x} * s.stride_x + std::size_t{kx} * s.dilation_x];
      out[y * s.out_width + x] = sum;
    }
  });
  return out;
}

void dense(const ConvConfig& c, const FeatureTile& tile, const WeightTile& weights, const Dpu& dpu,
           ThreadPool& pool) {
  const ConvShape& s = c.shape;
  const std::uint32_t panel_width = mac_layout().panel;
  const std::size_t positions = std::size_t{s.out_height} * s.out_width;
  const std::size_t row_bytes = std::size_t{tile.columns} * s.channels;
  const std::vector<std::int32_t> ow_sums =
      dpu.needs_window_sum() ? window_sums(tile, pool) : std::vector<std::int32_t>();

  // A window row is one run of bytes unless dilation makes holes in it.
  const bool holes = s.dilation_x > 1 && s.kernel_width > 1;
  const std::size_t panel_bytes =
      std::size_t{panel_width} * s.kernel_width * s.kernel_height * s.channels;

  // Work items: blocks of positions by groups of panels, enough of them for all threads.
  const std::size_t block = std::clamp<std::size_t>(positions / (4 * pool.threads()), 12, 192);
  const std::size_t blocks = (positions + block - 1) / block;
  const std::size_t split =
      std::min<std::size_t>(weights.panels, (4 * pool.threads() + blocks - 1) / blocks);
  const std::size_t panels_each = (weights.panels + split - 1) / split;

  pool.parallel_for(blocks * split, [&](std::size_t item) {
    const std::size_t first = item / split * block;
    const std::size_t count = std::min(block, positions - first);
    const std::size_t panel_first = item % split * panels_each;
    const std::size_t panel_last = std::min<std::size_t>(weights.panels, panel_first + panels_each);
    if (panel_first >= panel_last) return;
    std::vector<const std::uint8_t*> windows(count);
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t y = (first + i) / s.out_width, x = (first + i) % s.out_width;
      windows[i] = tile.bytes.data() + y * s.stride_y * row_bytes + x * s.stride_x * s.channels;
    }
    // Not cleared: every sum is written before it is read.
    const std::unique_ptr<std::int32_t[]> sums(new std::int32_t[count * panel_width]);
    const auto store = [&](std::size_t panel) {
      const auto channel = static_cast<std::uint32_t>(panel * panel_width);
      dpu.store({first, count, channel, std::min(panel_width, s.kernels - channel), sums.get(),
                 panel_width, ow_sums.empty() ? nullptr : ow_sums.data() + first, false});
    };
    for (std::size_t panel = panel_first; panel < panel_last; ++panel) {
      const std::int8_t* packed = weights.packed.data() + panel * panel_bytes;
      const std::int32_t* init = weights.init.data() + panel * panel_width;
      std::int32_t* acc = sums.get();
      if (!holes) {
        const MacWindows in{windows.data(), count, s.kernel_height,
                            std::size_t{s.kernel_width} * s.channels,
                            static_cast<std::ptrdiff_t>(s.dilation_y * row_bytes)};
        mac_int8(in, packed, init, acc, panel_width);
        store(panel);
        continue;
      }
      // One row of the kernel at a time; the sums of the rows before are the start of the next.
      std::vector<std::int32_t> part(count * panel_width);
      const std::vector<std::int32_t> zero(panel_width);
      for (std::size_t i = 0; i < count; ++i)
        std::memcpy(acc + i * panel_width, init, panel_width * sizeof(std::int32_t));
      std::vector<const std::uint8_t*> row_windows(count);
      for (std::uint32_t ky = 0; ky < s.kernel_height; ++ky) {
        for (std::size_t i = 0; i < count; ++i)
          row_windows[i] = windows[i] + std::size_t{ky} * s.dilation_y * row_bytes;
        const MacWindows in{row_windows.data(), count, s.kernel_width, s.channels,
                            static_cast<std::ptrdiff_t>(std::size_t{s.dilation_x} * s.channels)};
        mac_int8(in, packed + std::size_t{ky} * s.kernel_width * s.channels * panel_width,
                 zero.data(), part.data(), panel_width);
        for (std::size_t i = 0; i < count; ++i)
          for (std::size_t o = 0; o < panel_width; ++o)
            acc[i * panel_width + o] += part[i * panel_width + o];
      }
      store(panel);
    }
  });
}

// Sums of int16 products in 64 bits; what leaves the accumulator saturates to 32
// [notes output-transpose-int16, HW: exact past 2^35].
void dense_wide(const ConvConfig& c, const FeatureTile& tile, const WeightTile& weights,
                const Dpu& dpu, ThreadPool& pool) {
  const ConvShape& s = c.shape;
  const std::size_t taps = std::size_t{s.kernel_width} * s.kernel_height;
  pool.parallel_for(std::size_t{s.out_height} * s.out_width, [&](std::size_t position) {
    const auto y = static_cast<std::uint32_t>(position / s.out_width);
    const auto x = static_cast<std::uint32_t>(position % s.out_width);
    std::vector<std::int32_t> sums((s.kernels + 15) / 16 * 16);
    for (std::uint32_t o = 0; o < s.kernels; ++o) {
      std::int64_t sum = 0;
      for (std::size_t tap = 0; tap < taps; ++tap) {
        const std::size_t row = y * s.stride_y + tap / s.kernel_width * s.dilation_y;
        const std::size_t column = x * s.stride_x + tap % s.kernel_width * s.dilation_x;
        const std::int16_t* in = tile.wide.data() + (row * tile.columns + column) * s.channels;
        const std::int16_t* w = weights.wide.data() + (o * taps + tap) * s.channels;
        for (std::uint32_t ch = 0; ch < s.channels; ++ch)
          sum += std::int64_t{std::int32_t{in[ch]} * std::int32_t{w[ch]}};
      }
      sums[o] = saturate<std::int32_t>(sum);
    }
    dpu.store({position, 1, 0, s.kernels, sums.data(), sums.size(), nullptr, false});
  });
}

void depthwise(const ConvConfig& c, const FeatureTile& tile, const WeightTile& weights,
               const Dpu& dpu, ThreadPool& pool) {
  const ConvShape& s = c.shape;
  const std::size_t row_bytes = std::size_t{tile.columns} * s.channels;
  const std::size_t taps = std::size_t{s.kernel_width} * s.kernel_height;
  // Positions between two visits to the DPU: their sums stay in the first-level cache.
  const std::size_t chunk = std::clamp<std::size_t>(4096 / s.channels, 1, s.out_width);
  pool.parallel_for(s.out_height, [&](std::size_t y) {
    std::vector<std::int32_t> sums(chunk * s.channels);
    std::vector<std::int32_t> windows(dpu.needs_window_sum() ? sums.size() : 0);
    std::vector<const std::uint8_t*> in(taps);
    for (std::size_t first = 0; first < s.out_width; first += chunk) {
      const std::size_t count = std::min<std::size_t>(chunk, s.out_width - first);
      for (std::size_t i = 0; i < count; ++i) {
        for (std::size_t tap = 0; tap < taps; ++tap)
          in[tap] = tile.bytes.data() +
                    (y * s.stride_y + tap / s.kernel_width * s.dilation_y) * row_bytes +
                    ((first + i) * s.stride_x + tap % s.kernel_width * s.dilation_x) * s.channels;
        mac_depthwise_int8(in.data(), weights.packed.data(), taps, s.channels,
                           sums.data() + i * s.channels,
                           windows.empty() ? nullptr : windows.data() + i * s.channels);
      }
      dpu.store({y * s.out_width + first, count, 0, s.channels, sums.data(), s.channels,
                 windows.empty() ? nullptr : windows.data(), true});
    }
  });
}

}  // namespace

void check_reuse(const ConvConfig& c, const Cbuf& cbuf) {
  if (c.data_reuse && (!cbuf.features || !cbuf.features->same_window(c.shape)))
    bad_program("CNA.CBUF_CON0.data_reuse", "CBUF holds no feature tile of this shape");
  if (c.weight_reuse && (!cbuf.weights || !cbuf.weights->same_size(c.shape)))
    bad_program("CNA.CBUF_CON0.weight_reuse", "CBUF holds no kernels of this size");
}

PoolFeed feed_of(const ConvConfig& c) {
  PoolFeed feed;
  const std::uint32_t atom = 16 / bytes_of(c.out_type);
  const std::uint32_t surfaces = (c.out_channels + atom - 1) / atom;
  for (std::uint32_t s = 0; s < surfaces; ++s) {
    // A surface that the writer leaves out does not reach the PPU, which waits for it.
    if (s % c.group_planes >= c.written_planes)
      hang("DPU.BS_OW_CFG.size_e_0", "the PPU waits for surfaces that the DPU does not write");
    feed.surfaces.push_back(c.surface(s));
  }
  feed.line = c.dst_line;
  feed.width = c.shape.out_width;
  feed.height = c.shape.out_height;
  feed.channels = c.out_channels;
  feed.type = c.out_type;
  return feed;
}

std::uint64_t run_convolution(const ConvolutionInput& input, Cbuf& cbuf) {
  const ConvConfig config = read_conv_config(input.registers, input.dma_base, input.mac_budget,
                                             input.options, input.feed != nullptr);
  const ConvShape& s = config.shape;

  check_reuse(config, cbuf);
  // Look at the outputs before the work, so that a bad address costs nothing.
  const Dpu dpu(config, input.space, input.options.quirks);
  if (input.hook != nullptr) (*input.hook)(record_of(config, input.options.quirks));

  if (!config.data_reuse)
    cbuf.features = load_features(config, input.space, input.pool, input.options.quirks);
  if (!config.weight_reuse) load_weights(config, input.space, input.pool, cbuf.weights);
  std::optional<ThreadPool> alone;
  if (dpu.overlaps()) alone.emplace(1);
  ThreadPool& pool = alone ? *alone : input.pool;
  if (is_float(s.precision))
    run_float_convolution(config, *cbuf.features, *cbuf.weights, dpu, pool);
  else if (s.precision == Precision::int16)
    dense_wide(config, *cbuf.features, *cbuf.weights, dpu, pool);
  else if (s.depthwise)
    depthwise(config, *cbuf.features, *cbuf.weights, dpu, pool);
  else
    dense(config, *cbuf.features, *cbuf.weights, dpu, pool);
  if (config.late_hang) hang(config.late_hang->where, config.late_hang->why);
  if (input.feed != nullptr) *input.feed = feed_of(config);
  return config.macs;
}

}  // namespace npu::sim
