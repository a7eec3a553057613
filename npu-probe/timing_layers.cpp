// SPDX-License-Identifier: MIT
// A layer of a network as the tasks that the drivers make of it.
#include <algorithm>

#include "npu-probe/timing_workloads.hpp"

namespace npu::probe {
namespace {

std::uint64_t up(std::uint64_t value, std::uint64_t to) { return (value + to - 1) / to; }

}  // namespace

std::uint64_t Layer::macs() const {
  const std::uint64_t out_size = up(size, stride);
  const std::uint64_t each = out_size * out_size * kernel * height() * out;
  switch (kind) {
    case LayerKind::conv: return each * in;
    case LayerKind::depthwise: return each;
    case LayerKind::pool:
    case LayerKind::upsample: return 0;
  }
  return 0;
}

std::vector<sim::TaskWork> layer_tasks(const Layer& layer, sim::MacType type,
                                       const sim::Calibration& c, unsigned cores) {
  const auto bytes = static_cast<std::uint64_t>(sim::bits_of(type) / 8);
  const std::uint64_t atom = 16 / bytes;
  const bool depthwise = layer.kind == LayerKind::depthwise;
  const std::uint64_t out_size =
      layer.kind == LayerKind::upsample ? layer.size * 2ull : up(layer.size, layer.stride);
  // Channels and kernels in whole atoms and groups, as Mesa programs them.
  const std::uint64_t in = layer.in == 3 ? 4 : up(layer.in, atom) * atom;
  const std::uint64_t group = depthwise ? 64 / bytes : sim::array_block(type).kernels;
  const std::uint64_t out = up(layer.out, group) * group;
  const std::uint64_t window = std::uint64_t{layer.kernel} * layer.height();
  const std::uint64_t row = layer.size * in * bytes;
  // The compiler's list of layers that it shares between cores holds convolutions with clipping
  // activations, not those with a table [RKNN user guide, as quoted by
  // jas-hacks.blogspot.com/2023].
  const bool shared = layer.activation != Activation::table && layer.kind != LayerKind::upsample;
  const std::uint64_t rows_here = shared ? up(out_size, cores) : out_size;

  if (layer.kind == LayerKind::pool || layer.kind == LayerKind::upsample) {
    sim::TaskWork w;
    w.type = type;
    w.regcmd_words = 40;
    w.operand_bytes = row * up(layer.size * rows_here, out_size);
    w.output_elements = rows_here * out_size * in;
    w.output_bytes = w.output_elements * bytes;
    if (layer.kind == LayerKind::pool) w.pool_elements = w.output_elements * window;
    return {w};
  }

  const std::uint64_t weights =
      bytes * window * (depthwise ? out : std::max<std::uint64_t>(in, 32) * out);
  // Rows of the input in tasks, so that a part of it fits beside the weights.
  const auto banks = static_cast<std::uint64_t>(c.cbuf_banks);
  const auto bank = static_cast<std::uint64_t>(c.cbuf_bank_bytes);
  const std::uint64_t weight_banks = std::clamp<std::uint64_t>(up(weights, bank), 1, banks - 1);
  const bool weights_stay = up(weights, bank) < banks;
  const std::uint64_t in_rows =
      std::min<std::uint64_t>((rows_here - 1) * layer.stride + layer.height(), layer.size);
  const std::uint64_t count =
      std::min<std::uint64_t>(up(up(row * in_rows, bank), banks - weight_banks), rows_here);
  std::vector<sim::TaskWork> tasks;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t rows = rows_here * (i + 1) / count - rows_here * i / count;
    sim::TaskWork w;
    w.type = type;
    w.depthwise = depthwise;
    w.kernels = static_cast<std::uint32_t>(depthwise ? 1 : out);
    w.channels = static_cast<std::uint32_t>(depthwise ? out : in);
    w.kernel_width = layer.kernel;
    w.kernel_height = layer.height();
    w.positions = rows * out_size;
    w.regcmd_words = 130;
    w.feature_bytes =
        row * std::min<std::uint64_t>((rows - 1) * layer.stride + layer.height(), layer.size);
    w.weight_bytes = weights;
    w.weight_reuse = weights_stay && i != 0;
    w.output_elements = w.positions * out;
    w.output_bytes = w.output_elements * bytes;
    w.operand_bytes = out * 4 + (layer.residual ? w.output_bytes : 0);
    w.table = layer.activation == Activation::table;
    tasks.push_back(w);
  }
  return tasks;
}

}  // namespace npu::probe
