// SPDX-License-Identifier: MIT
// What the tables of networks are written with: a network under construction and the blocks that
// several families share.
#pragma once

#include <optional>
#include <string>

#include "npu-probe/timing_workloads.hpp"

namespace npu::probe {

/// `size` and `channels` are those of the tensor that the next layer reads.
struct Net {
  std::vector<Layer> layers;
  std::uint32_t size = 0, channels = 3;
  Activation activation = Activation::clip;  ///< of convolutions that do not say otherwise
};

void conv(Net& net, std::uint32_t out, std::uint32_t kernel, std::uint32_t stride = 1);
void conv(Net& net, std::uint32_t out, std::uint32_t kernel, std::uint32_t stride,
          Activation activation);
void depthwise(Net& net, std::uint32_t kernel, std::uint32_t stride);
/// Depthwise, then the 1x1 behind it.
void separable(Net& net, std::uint32_t out, std::uint32_t kernel, std::uint32_t stride);
/// 1x1 to `expand` times the channels, depthwise, 1x1; adds its input where shapes allow.
void inverted_bottleneck(Net& net, std::uint32_t out, std::uint32_t expand, std::uint32_t kernel,
                         std::uint32_t stride, bool linear = true);
void max_pool(Net& net, std::uint32_t kernel, std::uint32_t stride);
/// Nearest neighbour, twice the size.
void upsample(Net& net);
/// A layer elsewhere in the graph: reads `channels` at `size`, leaves `net` at its output.
void at(Net& net, std::uint32_t size, std::uint32_t channels);
/// The last convolution also adds a tensor of its output's shape.
void add_residual(Net& net);
/// Average over the whole plane, then a fully connected layer.
void classifier(Net& net, std::uint32_t classes);

/// Channels times a width multiplier, to a multiple of 8 and not below nine tenths.
std::uint32_t scaled(std::uint32_t channels, double multiplier, std::uint32_t multiple = 8);

/// What a row says of a network besides its family.
struct NetworkName {
  std::string text;    ///< lower case, without spaces, '-' and '_'
  std::uint32_t size;  ///< of the input; 0: not said
  double width;        ///< multiplier; 1 if not said
  bool has(std::string_view word) const { return text.find(word) != std::string::npos; }
};
NetworkName parse_network_name(std::string_view name);

/// The families by kind; nullopt: not of this kind.
std::optional<Net> classifier_network(const NetworkName& name);
std::optional<Net> detector_network(const NetworkName& name);

/// The body of MobileNetV1 up to its last 1x1, that of MobileNetV2 up to its 320 channels.
Net mobilenet_v1_body(std::uint32_t size, double width);
Net mobilenet_v2_body(std::uint32_t size, double width);

}  // namespace npu::probe
