// SPDX-License-Identifier: MIT
#include <algorithm>
#include <array>
#include <cctype>

#include "npu-probe/timing_workloads.hpp"

namespace npu::probe {
namespace {

std::uint64_t up(std::uint64_t value, std::uint64_t to) { return (value + to - 1) / to; }

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

// A depthwise 3x3 and the 1x1 behind it.
void separable(std::vector<Layer>& net, std::uint32_t& size, std::uint32_t in, std::uint32_t out,
               std::uint32_t stride) {
  net.push_back({size, in, in, 3, stride, true});
  size = static_cast<std::uint32_t>(up(size, stride));
  net.push_back({size, in, out, 1, 1, false});
}

// Howard et al. 2017, table 1.
std::vector<Layer> mobilenet_v1_body(std::uint32_t& size) {
  std::vector<Layer> net{{size, 3, 32, 3, 2, false}};
  size = static_cast<std::uint32_t>(up(size, 2));
  constexpr std::array<std::array<std::uint32_t, 3>, 13> kBlocks{{{32, 64, 1},
                                                                  {64, 128, 2},
                                                                  {128, 128, 1},
                                                                  {128, 256, 2},
                                                                  {256, 256, 1},
                                                                  {256, 512, 2},
                                                                  {512, 512, 1},
                                                                  {512, 512, 1},
                                                                  {512, 512, 1},
                                                                  {512, 512, 1},
                                                                  {512, 512, 1},
                                                                  {512, 1024, 2},
                                                                  {1024, 1024, 1}}};
  for (const auto& [in, out, stride] : kBlocks) separable(net, size, in, out, stride);
  return net;
}

std::vector<Layer> mobilenet_v1() {
  std::uint32_t size = 224;
  std::vector<Layer> net = mobilenet_v1_body(size);
  net.push_back({1, 1024, 1001, 1, 1, false});
  return net;
}

// Sandler et al. 2018, table 2.
std::vector<Layer> mobilenet_v2() {
  std::vector<Layer> net{{224, 3, 32, 3, 2, false}};
  std::uint32_t size = 112, in = 32;
  constexpr std::array<std::array<std::uint32_t, 4>, 7> kStages{{{1, 16, 1, 1},
                                                                 {6, 24, 2, 2},
                                                                 {6, 32, 3, 2},
                                                                 {6, 64, 4, 2},
                                                                 {6, 96, 3, 1},
                                                                 {6, 160, 3, 2},
                                                                 {6, 320, 1, 1}}};
  for (const auto& [expand, out, repeat, first_stride] : kStages)
    for (std::uint32_t i = 0; i < repeat; ++i) {
      const std::uint32_t wide = in * expand;
      if (expand != 1) net.push_back({size, in, wide, 1, 1, false});
      separable(net, size, wide, out, i == 0 ? first_stride : 1);
      in = out;
    }
  net.push_back({7, 320, 1280, 1, 1, false});
  net.push_back({1, 1280, 1001, 1, 1, false});
  return net;
}

// The TensorFlow object detection model at 300x300: MobileNetV1, four more pairs, six pairs of
// box predictors for 91 classes.
std::vector<Layer> ssd_mobilenet_v1() {
  std::uint32_t size = 300;
  std::vector<Layer> net = mobilenet_v1_body(size);
  std::uint32_t in = 1024;
  std::vector<std::array<std::uint32_t, 3>> heads{{19, 512, 3}, {10, 1024, 6}};
  for (const auto& [narrow, out] :
       {std::array<std::uint32_t, 2>{256, 512}, {128, 256}, {128, 256}, {64, 128}}) {
    net.push_back({size, in, narrow, 1, 1, false});
    net.push_back({size, narrow, out, 3, 2, false});
    size = static_cast<std::uint32_t>(up(size, 2));
    in = out;
    heads.push_back({size, out, 6});
  }
  for (const auto& [at, channels, anchors] : heads) {
    net.push_back({at, channels, anchors * 4, 1, 1, false});
    net.push_back({at, channels, anchors * 91, 1, 1, false});
  }
  return net;
}

// Ultralytics YOLOv5 6.0, the small model.
void c3(std::vector<Layer>& net, std::uint32_t size, std::uint32_t in, std::uint32_t out,
        std::uint32_t repeat) {
  const std::uint32_t half = out / 2;
  net.push_back({size, in, half, 1, 1, false});
  net.push_back({size, in, half, 1, 1, false});
  for (std::uint32_t i = 0; i < repeat; ++i) {
    net.push_back({size, half, half, 1, 1, false});
    net.push_back({size, half, half, 3, 1, false});
  }
  net.push_back({size, out, out, 1, 1, false});
}

std::vector<Layer> yolov5s() {
  std::vector<Layer> net{{640, 3, 32, 6, 2, false}, {320, 32, 64, 3, 2, false}};
  c3(net, 160, 64, 64, 1);
  net.push_back({160, 64, 128, 3, 2, false});
  c3(net, 80, 128, 128, 2);
  net.push_back({80, 128, 256, 3, 2, false});
  c3(net, 40, 256, 256, 3);
  net.push_back({40, 256, 512, 3, 2, false});
  c3(net, 20, 512, 512, 1);
  net.push_back({20, 512, 256, 1, 1, false});
  net.push_back({20, 1024, 512, 1, 1, false});
  net.push_back({20, 512, 256, 1, 1, false});
  c3(net, 40, 512, 256, 1);
  net.push_back({40, 256, 128, 1, 1, false});
  c3(net, 80, 256, 128, 1);
  net.push_back({80, 128, 128, 3, 2, false});
  c3(net, 40, 256, 256, 1);
  net.push_back({40, 256, 256, 3, 2, false});
  c3(net, 20, 512, 512, 1);
  net.push_back({80, 128, 255, 1, 1, false});
  net.push_back({40, 256, 255, 1, 1, false});
  net.push_back({20, 512, 255, 1, 1, false});
  return net;
}

// He et al. 2016: blocks of two 3x3, or of 1x1, 3x3, 1x1 with four times the channels.
std::vector<Layer> resnet(const std::array<std::uint32_t, 4>& repeats, bool bottleneck) {
  std::vector<Layer> net{{224, 3, 64, 7, 2, false}};
  std::uint32_t size = 56, in = 64, width = 64;
  for (std::size_t stage = 0; stage < repeats.size(); ++stage, width *= 2)
    for (std::uint32_t i = 0; i < repeats[stage]; ++i) {
      const std::uint32_t stride = stage != 0 && i == 0 ? 2 : 1;
      const std::uint32_t out = bottleneck ? width * 4 : width;
      const std::uint32_t small = size / stride;
      if (bottleneck) {
        net.push_back({size, in, width, 1, 1, false});
        net.push_back({size, width, width, 3, stride, false});
        net.push_back({small, width, out, 1, 1, false});
      } else {
        net.push_back({size, in, width, 3, stride, false});
        net.push_back({small, width, width, 3, 1, false});
      }
      if (i == 0 && in != out) net.push_back({size, in, out, 1, stride, false});
      size = small;
      in = out;
    }
  net.push_back({1, in, 1000, 1, 1, false});
  return net;
}

constexpr std::array kModels = {
    //           name            layers width  ff     q     kv   vocabulary
    LanguageModel{"qwen2-0.5b", 24, 896, 4864, 896, 128, 151936},
    LanguageModel{"qwen2.5-0.5b", 24, 896, 4864, 896, 128, 151936},
    LanguageModel{"minicpm4-0.5b", 24, 1024, 4096, 1024, 128, 73448},
    LanguageModel{"qwen3-0.6b", 28, 1024, 3072, 2048, 1024, 151936},
    LanguageModel{"tinyllama-1.1b", 22, 2048, 5632, 2048, 256, 32000},
    LanguageModel{"qwen2.5-1.5b", 28, 1536, 8960, 1536, 256, 151936},
    LanguageModel{"internlm2-1.8b", 24, 2048, 8192, 2048, 1024, 92544},
    LanguageModel{"gemma2-2b", 26, 2304, 9216, 2048, 1024, 256000},
    LanguageModel{"phi3-3.8b", 32, 3072, 8192, 3072, 3072, 32064},
    LanguageModel{"chatglm3-6b", 28, 4096, 13696, 4096, 256, 65024},
    LanguageModel{"qwen3-vl-2b", 28, 2048, 6144, 2048, 1024, 151936},
    LanguageModel{"smolvlm2-2.2b", 24, 2048, 8192, 2048, 2048, 49280},
    LanguageModel{"llama-3.2-3b", 28, 3072, 8192, 3072, 1024, 128256},
    LanguageModel{"ministral-3-3b", 26, 3072, 9216, 4096, 1024, 131072},
    LanguageModel{"phi-4-mini", 32, 3072, 8192, 3072, 1024, 200064},
    LanguageModel{"ministral-3-8b", 34, 4096, 14336, 4096, 1024, 131072},
    LanguageModel{"gemma-4-12b", 48, 3840, 15360, 4096, 2048, 262144},
};

}  // namespace

std::optional<std::vector<Layer>> network_layers(std::string_view name) {
  const std::string text = lower(name);
  const auto has = [&text](const char* word) { return text.find(word) != std::string::npos; };
  if (has("ssd") && (has("mobilenetv1") || has("mobilenet v1"))) return ssd_mobilenet_v1();
  if (has("ssd")) return std::nullopt;
  if (has("mobilenetv1") && has("224")) return mobilenet_v1();
  if (has("mobilenetv2") && has("224")) return mobilenet_v2();
  if (has("yolov5s") && has("640")) return yolov5s();
  if ((has("resnet18") || has("resnet-18")) && has("224")) return resnet({2, 2, 2, 2}, false);
  if ((has("resnet50") || has("resnet-50")) && has("224")) return resnet({3, 4, 6, 3}, true);
  return std::nullopt;
}

std::vector<sim::TaskWork> layer_tasks(const Layer& layer, const sim::Calibration& c) {
  const std::uint64_t out_size = up(layer.size, layer.stride);
  // Channels and kernels in whole atoms and groups, as Mesa programs them.
  const std::uint64_t in = layer.in == 3 ? 4 : up(layer.in, 16) * 16;
  const std::uint64_t out = up(layer.out, layer.depthwise ? 64 : 32) * (layer.depthwise ? 64 : 32);
  const std::uint64_t window = std::uint64_t{layer.kernel} * layer.kernel;
  const std::uint64_t weights =
      window * (layer.depthwise ? out : std::max<std::uint64_t>(in, 32) * out);
  const std::uint64_t feature = std::uint64_t{layer.size} * layer.size * in;

  // Rows of the input in tasks, so that a part of it fits beside the weights.
  const auto banks = static_cast<std::uint64_t>(c.cbuf_banks);
  const auto bank = static_cast<std::uint64_t>(c.cbuf_bank_bytes);
  const std::uint64_t weight_banks = std::clamp<std::uint64_t>(up(weights, bank), 1, banks - 1);
  const bool weights_stay = up(weights, bank) < banks;
  const std::uint64_t count =
      std::min<std::uint64_t>(up(up(feature, bank), banks - weight_banks), out_size);
  std::vector<sim::TaskWork> tasks;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t rows = out_size * (i + 1) / count - out_size * i / count;
    sim::TaskWork w;
    w.type = sim::MacType::int8;
    w.depthwise = layer.depthwise;
    w.kernels = static_cast<std::uint32_t>(layer.depthwise ? 1 : out);
    w.channels = static_cast<std::uint32_t>(layer.depthwise ? out : in);
    w.kernel_width = w.kernel_height = layer.kernel;
    w.positions = rows * out_size;
    w.regcmd_words = 130;
    const std::uint64_t in_rows =
        std::min<std::uint64_t>((rows - 1) * layer.stride + layer.kernel, layer.size);
    w.feature_bytes = in_rows * layer.size * in;
    w.weight_bytes = weights;
    w.weight_reuse = weights_stay && i != 0;
    w.operand_bytes = out * 4;
    w.output_elements = w.positions * out;
    w.output_bytes = w.positions * out;
    tasks.push_back(w);
  }
  return tasks;
}

std::uint64_t LanguageModel::layer_weights() const {
  return width * (query + 2 * key_value) + query * width + 3 * width * feed_forward;
}

std::uint64_t LanguageModel::weights() const {
  return layers * layer_weights() + width * vocabulary;
}

const LanguageModel* find_language_model(std::string_view text) {
  const std::string name = lower(text);
  const LanguageModel* best = nullptr;
  for (const LanguageModel& model : kModels)
    if (name.rfind(model.name, 0) == 0 &&
        (best == nullptr || model.name.size() > best->name.size()))
      best = &model;
  return best;
}

}  // namespace npu::probe
