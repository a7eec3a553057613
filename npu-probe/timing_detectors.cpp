// SPDX-License-Identifier: MIT
// Networks that find objects: backbones as published, necks and heads as in the exported models.
// Post-processing (boxes, non-maximum suppression) runs on the CPU and is not part of them.
#include <algorithm>
#include <cmath>
#include <utility>

#include "npu-probe/timing_network_parts.hpp"

namespace npu::probe {
namespace {

struct Tap {
  std::uint32_t size, channels;
};

Tap here(const Net& net) { return {net.size, net.channels}; }

// Box and class predictors of TensorFlow's object detection models, 91 classes; 3 boxes at the
// first tap and 6 elsewhere. "Lite": a depthwise before each.
void ssd_heads(Net& net, const std::vector<Tap>& taps, bool lite) {
  for (std::size_t i = 0; i < taps.size(); ++i) {
    const std::uint32_t boxes = i == 0 ? 3 : 6;
    for (const std::uint32_t outputs : {boxes * 4, boxes * 91}) {
      at(net, taps[i].size, taps[i].channels);
      if (lite) depthwise(net, 3, 1);
      conv(net, outputs, 1, 1, Activation::none);
    }
  }
}

// Four more feature maps, each half the size.
void ssd_extras(Net& net, std::vector<Tap>& taps, bool lite) {
  static constexpr std::uint32_t kExtras[][2] = {{256, 512}, {128, 256}, {128, 256}, {64, 128}};
  for (const auto& [narrow, out] : kExtras) {
    conv(net, narrow, 1);
    if (lite)
      separable(net, out, 3, 2);
    else
      conv(net, out, 3, 2);
    taps.push_back(here(net));
  }
}

Net ssd_mobilenet_v1(std::uint32_t size) {
  Net net = mobilenet_v1_body(size, 1);
  std::vector<Tap> taps{{(size + 15) / 16, 512}, here(net)};
  ssd_extras(net, taps, false);
  ssd_heads(net, taps, false);
  return net;
}

Net ssd_mobilenet_v2(std::uint32_t size, bool lite) {
  Net net = mobilenet_v2_body(size, 1);
  conv(net, 1280, 1);
  std::vector<Tap> taps{{(size + 15) / 16, 576}, here(net)};
  ssd_extras(net, taps, lite);
  ssd_heads(net, taps, lite);
  return net;
}

// Xiong et al. 2021, the searched network for Edge TPU that TensorFlow publishes at 320x320.
Net ssdlite_mobiledet(std::uint32_t size) {
  Net net;
  net.size = size;
  const auto fused = [&net](std::uint32_t out, std::uint32_t expand, std::uint32_t kernel,
                            std::uint32_t stride) {
    const std::uint32_t in = net.channels;
    conv(net, in * expand, kernel, stride);
    conv(net, out, 1, 1, Activation::none);
    if (stride == 1 && in == out) add_residual(net);
  };
  conv(net, 32, 3, 2);
  conv(net, 8, 1);  // a Tucker convolution: 1x1, 3x3, 1x1
  conv(net, 12, 3);
  conv(net, 16, 1, 1, Activation::none);
  fused(16, 8, 3, 2);
  fused(16, 4, 3, 1);
  fused(16, 8, 3, 1);
  fused(16, 4, 3, 1);
  fused(40, 8, 5, 2);
  for (int i = 0; i < 3; ++i) fused(40, 4, 3, 1);
  inverted_bottleneck(net, 72, 8, 3, 2);
  inverted_bottleneck(net, 72, 8, 3, 1);
  fused(72, 4, 3, 1);
  fused(72, 4, 3, 1);
  inverted_bottleneck(net, 96, 8, 5, 1);
  inverted_bottleneck(net, 96, 8, 5, 1);
  inverted_bottleneck(net, 96, 8, 3, 1);
  inverted_bottleneck(net, 96, 8, 3, 1);
  std::vector<Tap> taps{here(net)};
  inverted_bottleneck(net, 120, 8, 5, 2);
  inverted_bottleneck(net, 120, 8, 3, 1);
  inverted_bottleneck(net, 120, 4, 5, 1);
  inverted_bottleneck(net, 120, 8, 3, 1);
  inverted_bottleneck(net, 384, 8, 5, 1);
  taps.push_back(here(net));
  ssd_extras(net, taps, true);
  ssd_heads(net, taps, true);
  return net;
}

// The scales of the YOLO families of 2020 and later.
struct YoloScale {
  double width, depth;
  std::uint32_t most;  ///< channels before scaling
};

std::uint32_t times(std::uint32_t repeat, double depth) {
  return std::max(1u, static_cast<std::uint32_t>(std::lround(repeat * depth)));
}

// Pools of 5x5 one behind the other between two 1x1.
void spp(Net& net, std::uint32_t out, std::uint32_t joined) {
  const std::uint32_t half = net.channels / 2;
  conv(net, half, 1);
  for (int i = 0; i < 3; ++i) max_pool(net, 5, 1);
  at(net, net.size, joined * half);
  conv(net, out, 1);
}

void c3(Net& net, std::uint32_t out, std::uint32_t repeat, bool residual) {
  const std::uint32_t in = net.channels, half = out / 2;
  conv(net, half, 1);
  at(net, net.size, in);
  conv(net, half, 1);
  for (std::uint32_t i = 0; i < repeat; ++i) {
    conv(net, half, 1);
    conv(net, half, 3);
    if (residual) add_residual(net);
  }
  at(net, net.size, out);
  conv(net, out, 1);
}

// Ultralytics YOLOv5 6.0; YOLOX (Ge et al. 2021) has the same body with a first layer on 12
// channels at half the size, and separate heads.
Net yolo_v5(std::uint32_t size, const YoloScale& s, bool relu, bool x) {
  Net net;
  net.size = size;
  net.activation = relu ? Activation::clip : Activation::table;
  const auto width = [&s](std::uint32_t channels) { return scaled(channels, s.width); };
  if (x) {
    at(net, size / 2, 12);
    conv(net, width(64), 3);
  } else {
    conv(net, width(64), 6, 2);
  }
  std::vector<Tap> levels;
  static constexpr std::uint32_t kStages[][2] = {{128, 3}, {256, 6}, {512, 9}, {1024, 3}};
  for (const auto& [out, repeat] : kStages) {
    conv(net, width(out), 3, 2);
    if (x && out == 1024) spp(net, net.channels, 4);
    c3(net, width(out), times(x && repeat == 6 ? 9 : repeat, s.depth), !(x && out == 1024));
    levels.push_back(here(net));
  }
  if (!x) spp(net, net.channels, 4);
  const std::uint32_t n = times(3, s.depth);
  std::vector<Tap> lateral;
  for (const std::uint32_t out : {512, 256}) {
    conv(net, width(out), 1);
    lateral.push_back(here(net));
    upsample(net);
    at(net, net.size, net.channels + levels[out == 512 ? 2 : 1].channels);
    c3(net, width(out), n, false);
  }
  std::vector<Tap> outputs{here(net)};
  for (const std::uint32_t out : {256, 512}) {
    conv(net, width(out), 3, 2);
    at(net, net.size, net.channels + lateral[out == 256 ? 1 : 0].channels);
    c3(net, width(out * 2), n, false);
    outputs.push_back(here(net));
  }
  for (const Tap& tap : outputs) {
    at(net, tap.size, tap.channels);
    if (!x) {
      conv(net, 255, 1, 1, Activation::table);
      continue;
    }
    const std::uint32_t w = width(256);
    conv(net, w, 1);
    for (const bool classes : {true, false}) {
      at(net, tap.size, w);
      conv(net, w, 3);
      conv(net, w, 3);
      conv(net, classes ? 80 : 5, 1, 1, Activation::table);
    }
  }
  return net;
}

void c2f(Net& net, std::uint32_t out, std::uint32_t repeat, bool residual) {
  const std::uint32_t half = out / 2;
  conv(net, out, 1);
  for (std::uint32_t i = 0; i < repeat; ++i) {
    at(net, net.size, half);
    conv(net, half, 3);
    conv(net, half, 3);
    if (residual) add_residual(net);
  }
  at(net, net.size, (2 + repeat) * half);
  conv(net, out, 1);
}

// Ultralytics YOLOv8.
Net yolo_v8(std::uint32_t size, const YoloScale& s) {
  Net net;
  net.size = size;
  net.activation = Activation::table;
  const auto width = [&s](std::uint32_t channels) {
    return scaled(std::min(channels, s.most), s.width);
  };
  conv(net, width(64), 3, 2);
  std::vector<Tap> levels;
  static constexpr std::uint32_t kStages[][2] = {{128, 3}, {256, 6}, {512, 6}, {1024, 3}};
  for (const auto& [out, repeat] : kStages) {
    conv(net, width(out), 3, 2);
    c2f(net, width(out), times(repeat, s.depth), true);
    levels.push_back(here(net));
  }
  spp(net, net.channels, 4);
  const std::uint32_t n = times(3, s.depth), deepest = net.channels;
  upsample(net);
  at(net, net.size, net.channels + levels[2].channels);
  c2f(net, width(512), n, false);
  const std::uint32_t middle = net.channels;
  upsample(net);
  at(net, net.size, net.channels + levels[1].channels);
  c2f(net, width(256), n, false);
  std::vector<Tap> outputs{here(net)};
  for (const std::uint32_t out : {256, 512}) {
    conv(net, width(out), 3, 2);
    at(net, net.size, net.channels + (out == 256 ? middle : deepest));
    c2f(net, width(out * 2), n, false);
    outputs.push_back(here(net));
  }
  const std::uint32_t first = outputs.front().channels;
  const std::uint32_t box = std::max({16u, first / 4, 64u}), classes = std::max(first, 80u);
  for (const Tap& tap : outputs)
    for (const bool boxes : {true, false}) {
      at(net, tap.size, tap.channels);
      conv(net, boxes ? box : classes, 3);
      conv(net, boxes ? box : classes, 3);
      conv(net, boxes ? 64 : 80, 1, 1, boxes ? Activation::none : Activation::table);
    }
  return net;
}

std::optional<YoloScale> yolo_scale(const NetworkName& name, std::string_view family, bool v8) {
  const auto found = name.text.find(family);
  if (found == std::string::npos || found + family.size() >= name.text.size()) return std::nullopt;
  switch (name.text[found + family.size()]) {
    case 'n': return YoloScale{0.25, v8 ? 1.0 / 3 : 0.33, 1024};
    case 's': return YoloScale{0.5, v8 ? 1.0 / 3 : 0.33, 1024};
    case 'm': return YoloScale{0.75, 0.67, v8 ? 768u : 1024u};
    case 'l': return YoloScale{1, 1, v8 ? 512u : 1024u};
    case 'x': return YoloScale{1.25, v8 ? 1.0 : 1.33, v8 ? 512u : 1024u};
    default: return std::nullopt;
  }
}

}  // namespace

std::optional<Net> detector_network(const NetworkName& n) {
  const auto size = [&n](std::uint32_t usual) { return n.size != 0 ? n.size : usual; };
  const bool ssd = n.has("ssd");
  if (n.has("mobiledet")) return ssdlite_mobiledet(size(320));
  if (ssd && n.has("mobilenetv1")) return ssd_mobilenet_v1(size(300));
  if (ssd && n.has("mobilenetv2")) return ssd_mobilenet_v2(size(300), n.has("ssdlite"));
  // Heads for masks, key points and rotated boxes are not in the tables.
  if (n.has("seg") || n.has("pose") || n.has("obb")) return std::nullopt;
  if (const auto scale = yolo_scale(n, "yolov5", false))
    return yolo_v5(size(640), *scale, n.has("relu"), false);
  if (const auto scale = yolo_scale(n, "yolox", false))
    return yolo_v5(size(640), *scale, n.has("relu"), true);
  if (const auto scale = yolo_scale(n, "yolov8", true)) return yolo_v8(size(640), *scale);
  return std::nullopt;
}

std::optional<std::vector<Layer>> network_layers(std::string_view name) {
  const NetworkName parsed = parse_network_name(name);
  if (auto net = detector_network(parsed)) return std::move(net->layers);
  // A detector or another part around a known classifier is not that classifier.
  for (const char* word : {"ssd", "yolo", "deeplab", "retina", "efficientdet", "unet", "fpn"})
    if (parsed.has(word)) return std::nullopt;
  if (auto net = classifier_network(parsed)) return std::move(net->layers);
  return std::nullopt;
}

}  // namespace npu::probe
