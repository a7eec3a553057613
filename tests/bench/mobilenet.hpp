// SPDX-License-Identifier: MIT
// MobileNetV1 in int8: its layers, the programs that Mesa's driver would emit for them, and
// the same layers on the host.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "npu-sim/thread_pool.hpp"

namespace npu::bench {

struct Layer {
  enum class Kind { convolution, depthwise, average_pool };
  std::string name;
  Kind kind;
  std::uint32_t in_size, in_channels;  ///< maps are square
  std::uint32_t out_size, out_channels;
  std::uint32_t kernel, stride;
  std::uint32_t pad_before, pad_after;  ///< TFLite's SAME
  std::int32_t pad_value;
  std::int32_t ow_op = 0;              ///< added to every weight, as Mesa does with zero points
  std::uint32_t scale = 1, shift = 0;  ///< of OUT_CVT
  std::int32_t offset = 0;
  std::vector<std::int8_t> weights;  ///< [out][ky][kx][in], depthwise [ky][kx][channel]
  std::vector<std::int32_t> bias;
  double macs() const;
  std::uint32_t padded_channels() const { return (in_channels + 15) / 16 * 16; }
};

/// The 29 layers (the average pool counts) with random weights; `multiplier` of the channels,
/// `size` of the image (a multiple of 32).
std::vector<Layer> mobilenet_v1(double multiplier = 1, std::uint32_t size = 224);

/// Weights as the NPU wants them, channels padded to whole atoms, kernels to an even number.
std::vector<std::int8_t> npu_weights(const Layer& layer);

struct LayerBuffers {
  std::uint32_t input, weights, bias, output;
};

/// The tasks of a layer: sliced in height if CBUF is too small, as Mesa does it [compute.md 3.5].
std::vector<std::vector<std::uint64_t>> layer_programs(const Layer& layer, const LayerBuffers& at);

/// The layers on the host, with vectors and threads where a plain program would have them.
class PlainNetwork {
 public:
  explicit PlainNetwork(const std::vector<Layer>& layers);
  /// [y][x][channel] in and out, one layer.
  std::vector<std::int8_t> run(std::size_t layer, const std::vector<std::int8_t>& input);

 private:
  struct Packed {
    std::vector<std::int8_t> weights;
    std::vector<std::int32_t> init;  // bias included
  };
  void dense(std::size_t layer, const std::vector<std::int8_t>& input,
             std::vector<std::int8_t>& output);
  const std::vector<Layer>& layers_;
  std::vector<Packed> packed_;
  sim::ThreadPool pool_{0};
};

}  // namespace npu::bench
