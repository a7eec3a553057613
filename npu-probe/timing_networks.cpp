// SPDX-License-Identifier: MIT
// Networks that classify, layer by layer as their papers give them.
#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <utility>

#include "npu-probe/timing_network_parts.hpp"

namespace npu::probe {
namespace {

std::uint32_t up(std::uint32_t value, std::uint32_t to) { return (value + to - 1) / to; }

Net start(std::uint32_t size) {
  Net net;
  net.size = size;
  return net;
}

// Howard et al. 2017, table 1.
Net mobilenet_v1(std::uint32_t size, double width) {
  Net net = mobilenet_v1_body(size, width);
  classifier(net, 1001);
  return net;
}

// Sandler et al. 2018, table 2. Narrow networks keep 1280 channels at the end.
Net mobilenet_v2(std::uint32_t size, double width) {
  Net net = mobilenet_v2_body(size, width);
  conv(net, width > 1 ? scaled(1280, width) : 1280, 1);
  classifier(net, 1001);
  return net;
}

// Tan and Le 2019 without squeeze-and-excitation and swish; stem and head are not widened, the
// first and the last block not repeated more often.
Net efficientnet_lite(int version, std::uint32_t said) {
  struct Scale {
    double width, depth;
    std::uint32_t size;
  };
  static constexpr Scale kScales[] = {
      {1, 1, 224}, {1, 1.1, 240}, {1.1, 1.2, 260}, {1.2, 1.4, 280}, {1.4, 1.8, 300}};
  const Scale& s = kScales[version];
  Net net = start(said != 0 ? said : s.size);
  conv(net, 32, 3, 2);
  static constexpr std::uint32_t kStages[][5] = {
      {1, 16, 1, 3, 1},  {6, 24, 2, 3, 2},  {6, 40, 2, 5, 2}, {6, 80, 3, 3, 2},
      {6, 112, 3, 5, 1}, {6, 192, 4, 5, 2}, {6, 320, 1, 3, 1}};
  for (const auto& [expand, out, repeat, kernel, stride] : kStages) {
    const bool fixed = repeat == 1;
    const auto count = fixed ? 1u : static_cast<std::uint32_t>(std::ceil(repeat * s.depth));
    for (std::uint32_t i = 0; i < count; ++i)
      inverted_bottleneck(net, scaled(out, s.width), expand, kernel, i == 0 ? stride : 1);
  }
  conv(net, 1280, 1);
  classifier(net, 1000);
  return net;
}

// He et al. 2016: blocks of two 3x3, or of 1x1, 3x3, 1x1 with four times the channels.
Net resnet(std::uint32_t size, const std::array<std::uint32_t, 4>& repeats, bool bottleneck) {
  Net net = start(size);
  conv(net, 64, 7, 2);
  max_pool(net, 3, 2);
  std::uint32_t width = 64;
  for (std::size_t stage = 0; stage < repeats.size(); ++stage, width *= 2)
    for (std::uint32_t i = 0; i < repeats[stage]; ++i) {
      const std::uint32_t stride = stage != 0 && i == 0 ? 2 : 1;
      const std::uint32_t out = bottleneck ? width * 4 : width;
      const std::uint32_t in = net.channels, before = net.size;
      if (i == 0 && in != out) {
        conv(net, out, 1, stride);
        at(net, before, in);
      }
      if (bottleneck) {
        conv(net, width, 1);
        conv(net, width, 3, stride);
        conv(net, out, 1);
      } else {
        conv(net, width, 3, stride);
        conv(net, width, 3);
      }
      add_residual(net);
    }
  classifier(net, 1000);
  return net;
}

// Simonyan and Zisserman 2015: how many 3x3 stand before each of the five pools.
Net vgg(std::uint32_t size, const std::array<std::uint32_t, 5>& repeats) {
  Net net = start(size);
  static constexpr std::uint32_t kChannels[] = {64, 128, 256, 512, 512};
  for (std::size_t stage = 0; stage < repeats.size(); ++stage) {
    for (std::uint32_t i = 0; i < repeats[stage]; ++i) conv(net, kChannels[stage], 3);
    max_pool(net, 2, 2);
  }
  at(net, 1, net.size * net.size * 512);
  conv(net, 4096, 1);
  conv(net, 4096, 1);
  conv(net, 1000, 1, 1, Activation::none);
  return net;
}

// Iandola et al. 2016, version 1.1.
Net squeezenet(std::uint32_t size) {
  Net net = start(size);
  conv(net, 64, 3, 2);
  const auto fire = [&net](std::uint32_t squeeze, std::uint32_t expand) {
    conv(net, squeeze, 1);
    conv(net, expand, 1);
    at(net, net.size, squeeze);
    conv(net, expand, 3);
    at(net, net.size, 2 * expand);
  };
  max_pool(net, 3, 2);
  fire(16, 64);
  fire(16, 64);
  max_pool(net, 3, 2);
  fire(32, 128);
  fire(32, 128);
  max_pool(net, 3, 2);
  for (const std::uint32_t squeeze : {48, 48, 64, 64}) fire(squeeze, squeeze * 4);
  conv(net, 1000, 1);
  return net;
}

// Szegedy et al. 2015, table 1.
Net inception_v1(std::uint32_t size) {
  Net net = start(size);
  conv(net, 64, 7, 2);
  max_pool(net, 3, 2);
  conv(net, 64, 1);
  conv(net, 192, 3);
  max_pool(net, 3, 2);
  static constexpr std::uint32_t kBlocks[][6] = {
      {64, 96, 128, 16, 32, 32},     {128, 128, 192, 32, 96, 64},   {192, 96, 208, 16, 48, 64},
      {160, 112, 224, 24, 64, 64},   {128, 128, 256, 24, 64, 64},   {112, 144, 288, 32, 64, 64},
      {256, 160, 320, 32, 128, 128}, {256, 160, 320, 32, 128, 128}, {384, 192, 384, 48, 128, 128}};
  int index = 0;
  for (const auto& [one, reduce3, three, reduce5, five, pooled] : kBlocks) {
    const std::uint32_t in = net.channels, here = net.size;
    conv(net, one, 1);
    at(net, here, in);
    conv(net, reduce3, 1);
    conv(net, three, 3);
    at(net, here, in);
    conv(net, reduce5, 1);
    conv(net, five, 3);  // 5x5 in the paper, 3x3 in the published weights
    at(net, here, in);
    max_pool(net, 3, 1);
    conv(net, pooled, 1);
    at(net, here, one + three + five + pooled);
    ++index;
    if (index == 2 || index == 7) max_pool(net, 3, 2);
  }
  classifier(net, 1001);
  return net;
}

// Szegedy et al. 2016 as published in TensorFlow's slim. In the branches below a kernel of 7 is 1x7
// or 7x1, and one of 2 stands for 1x3 or 3x1.
Net inception_v3(std::uint32_t size) {
  Net net = start(size);
  // Without padding the planes lose their border.
  const auto unpadded = [&net](std::uint32_t stride, std::uint32_t before) {
    at(net, before < 3 ? 1 : (before - 3) / stride + 1, net.channels);
  };
  conv(net, 32, 3, 2);
  unpadded(2, size);
  conv(net, 32, 3);
  unpadded(1, net.size);
  conv(net, 64, 3);
  std::uint32_t before = net.size;
  max_pool(net, 3, 2);
  unpadded(2, before);
  conv(net, 80, 1);
  conv(net, 192, 3);
  unpadded(1, net.size);
  before = net.size;
  max_pool(net, 3, 2);
  unpadded(2, before);
  // Branches: each a list of {out, kernel, stride}; all start at the block's input.
  using Branch = std::vector<std::array<std::uint32_t, 3>>;
  const auto block = [&net](const std::vector<Branch>& branches, std::uint32_t out) {
    const std::uint32_t in = net.channels, here = net.size;
    std::uint32_t after = here;
    for (const Branch& branch : branches) {
      at(net, here, in);
      for (const auto& [channels, kernel, stride] : branch) {
        conv(net, channels, kernel == 2 ? 3 : kernel, stride);
        if (kernel == 7 || kernel == 2) net.layers.back().kernel_height = 1;
      }
      after = net.size;
    }
    at(net, after == here || here < 3 ? after : (here - 3) / 2 + 1, out);
  };
  for (const std::uint32_t pooled : {32, 64, 64})
    block({{{64, 1, 1}},
           {{48, 1, 1}, {64, 5, 1}},
           {{64, 1, 1}, {96, 3, 1}, {96, 3, 1}},
           {{pooled, 1, 1}}},
          224 + pooled);
  block({{{384, 3, 2}}, {{64, 1, 1}, {96, 3, 1}, {96, 3, 2}}}, 768);
  for (const std::uint32_t w : {128, 160, 160, 192})
    block({{{192, 1, 1}},
           {{w, 1, 1}, {w, 7, 1}, {192, 7, 1}},
           {{w, 1, 1}, {w, 7, 1}, {w, 7, 1}, {w, 7, 1}, {192, 7, 1}},
           {{192, 1, 1}}},
          768);
  block({{{192, 1, 1}, {320, 3, 2}}, {{192, 1, 1}, {192, 7, 1}, {192, 7, 1}, {192, 3, 2}}}, 1280);
  for (int i = 0; i < 2; ++i)
    block({{{320, 1, 1}},
           {{384, 1, 1}, {384, 2, 1}, {384, 2, 1}},
           {{448, 1, 1}, {384, 3, 1}, {384, 2, 1}, {384, 2, 1}},
           {{192, 1, 1}}},
          2048);
  classifier(net, 1001);
  return net;
}

}  // namespace

void conv(Net& net, std::uint32_t out, std::uint32_t kernel, std::uint32_t stride,
          Activation activation) {
  net.layers.push_back(
      {net.size, net.channels, out, kernel, stride, LayerKind::conv, activation, false, 0});
  net.size = up(net.size, stride);
  net.channels = out;
}

void conv(Net& net, std::uint32_t out, std::uint32_t kernel, std::uint32_t stride) {
  conv(net, out, kernel, stride, net.activation);
}

void depthwise(Net& net, std::uint32_t kernel, std::uint32_t stride) {
  net.layers.push_back({net.size, net.channels, net.channels, kernel, stride, LayerKind::depthwise,
                        net.activation, false, 0});
  net.size = up(net.size, stride);
}

void separable(Net& net, std::uint32_t out, std::uint32_t kernel, std::uint32_t stride) {
  depthwise(net, kernel, stride);
  conv(net, out, 1);
}

void inverted_bottleneck(Net& net, std::uint32_t out, std::uint32_t expand, std::uint32_t kernel,
                         std::uint32_t stride, bool linear) {
  const std::uint32_t in = net.channels;
  if (expand != 1) conv(net, in * expand, 1);
  depthwise(net, kernel, stride);
  conv(net, out, 1, 1, linear ? Activation::none : net.activation);
  if (stride == 1 && in == out) add_residual(net);
}

void max_pool(Net& net, std::uint32_t kernel, std::uint32_t stride) {
  net.layers.push_back({net.size, net.channels, net.channels, kernel, stride, LayerKind::pool,
                        Activation::none, false, 0});
  net.size = up(net.size, stride);
}

void upsample(Net& net) {
  net.layers.push_back({net.size, net.channels, net.channels, 1, 1, LayerKind::upsample,
                        Activation::none, false, 0});
  net.size *= 2;
}

void at(Net& net, std::uint32_t size, std::uint32_t channels) {
  net.size = size;
  net.channels = channels;
}

void add_residual(Net& net) { net.layers.back().residual = true; }

void classifier(Net& net, std::uint32_t classes) {
  at(net, 1, net.channels);
  conv(net, classes, 1, 1, Activation::none);
}

std::uint32_t scaled(std::uint32_t channels, double multiplier, std::uint32_t multiple) {
  const double wanted = channels * multiplier;
  const double step = multiple;
  auto result =
      static_cast<std::uint32_t>(std::max(step, std::floor((wanted + step / 2) / step) * step));
  if (result < 0.9 * wanted) result += multiple;
  return result;
}

Net mobilenet_v1_body(std::uint32_t size, double width) {
  Net net = start(size);
  conv(net, scaled(32, width), 3, 2);
  static constexpr std::uint32_t kBlocks[][2] = {{64, 1},  {128, 2},  {128, 1}, {256, 2}, {256, 1},
                                                 {512, 2}, {512, 1},  {512, 1}, {512, 1}, {512, 1},
                                                 {512, 1}, {1024, 2}, {1024, 1}};
  for (const auto& [out, stride] : kBlocks) separable(net, scaled(out, width), 3, stride);
  return net;
}

Net mobilenet_v2_body(std::uint32_t size, double width) {
  Net net = start(size);
  conv(net, scaled(32, width), 3, 2);
  static constexpr std::uint32_t kStages[][4] = {{1, 16, 1, 1}, {6, 24, 2, 2}, {6, 32, 3, 2},
                                                 {6, 64, 4, 2}, {6, 96, 3, 1}, {6, 160, 3, 2},
                                                 {6, 320, 1, 1}};
  for (const auto& [expand, out, repeat, stride] : kStages)
    for (std::uint32_t i = 0; i < repeat; ++i)
      inverted_bottleneck(net, scaled(out, width), expand, 3, i == 0 ? stride : 1);
  return net;
}

NetworkName parse_network_name(std::string_view name) {
  NetworkName result{{}, 0, 1};
  const auto digit = [&name](std::size_t i) {
    return i < name.size() && std::isdigit(static_cast<unsigned char>(name[i])) != 0;
  };
  for (std::size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    if (c != ' ' && c != '-' && c != '_')
      result.text += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    // A number that stands for itself: neither part of a word nor behind a point.
    const bool starts =
        digit(i) && (i == 0 || (std::isalnum(static_cast<unsigned char>(name[i - 1])) == 0 &&
                                name[i - 1] != '.'));
    if (!starts) continue;
    std::size_t end = i;
    while (digit(end)) ++end;
    if (end + 1 < name.size() && name[end] == '.' && digit(end + 1)) {
      double value = 0;
      const auto parsed = std::from_chars(name.data() + i, name.data() + name.size(), value);
      if (parsed.ec == std::errc() && value >= 0.1 && value <= 2) result.width = value;
    } else {
      std::uint32_t value = 0;
      const auto parsed = std::from_chars(name.data() + i, name.data() + end, value);
      if (parsed.ec == std::errc() && value >= 64 && value <= 2048 && result.size == 0)
        result.size = value;
    }
  }
  return result;
}

std::optional<Net> classifier_network(const NetworkName& n) {
  const auto size = [&n](std::uint32_t usual) { return n.size != 0 ? n.size : usual; };
  if (n.has("mobilenetv1") || n.has("mobilenet1")) return mobilenet_v1(size(224), n.width);
  if (n.has("mobilenetv2") || n.has("mobilenet2")) return mobilenet_v2(size(224), n.width);
  for (int version = 0; version <= 4; ++version)
    if (n.has("efficientnetlite" + std::to_string(version)))
      return efficientnet_lite(version, n.size);
  if (n.has("resnet18")) return resnet(size(224), {2, 2, 2, 2}, false);
  if (n.has("resnet34")) return resnet(size(224), {3, 4, 6, 3}, false);
  if (n.has("resnet50")) return resnet(size(224), {3, 4, 6, 3}, true);
  if (n.has("resnet101")) return resnet(size(224), {3, 4, 23, 3}, true);
  if (n.has("resnet152")) return resnet(size(224), {3, 8, 36, 3}, true);
  if (n.has("vgg16")) return vgg(size(224), {2, 2, 3, 3, 3});
  if (n.has("vgg19")) return vgg(size(224), {2, 2, 4, 4, 4});
  if (n.has("squeezenet")) return squeezenet(size(224));
  if (n.has("inceptionv1") || n.has("googlenet")) return inception_v1(size(224));
  if (n.has("inceptionv3")) return inception_v3(size(299));
  return std::nullopt;
}

}  // namespace npu::probe
