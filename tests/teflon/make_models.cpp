// SPDX-License-Identifier: MIT
// Writes small quantised models (.tflite) with random weights for teflon-e2e.sh: every shape comes
// from a seed. Built with the schema header of Debian's libtensorflow-lite-dev.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <tensorflow/lite/schema/schema_generated.h>

namespace {

struct Conv {
  int kernel = 1;
  int stride = 1;
  bool same = true;
  int channels = 16;  // of the output; a depthwise convolution keeps the input's
  bool depthwise = false;
  tflite::ActivationFunctionType activation = tflite::ActivationFunctionType_NONE;
  // The driver adds to the unrounded result, TFLite to the saturated one: before an addition
  // nothing may saturate.
  bool roomy = false;
};

// A model under construction. Tensors are NHWC with N = 1 and H = W: the driver calls the first
// of the two sizes the width [mesa rkt_ml.c], which only square images forgive.
struct Graph {
  tflite::ModelT model;
  tflite::SubGraphT* sub = nullptr;
  std::mt19937 rng;

  explicit Graph(std::uint32_t seed) : rng(seed) {
    model.version = 3;
    model.description = "random weights, seed " + std::to_string(seed);
    model.buffers.push_back(std::make_unique<tflite::BufferT>());  // 0 means "no data"
    model.subgraphs.push_back(std::make_unique<tflite::SubGraphT>());
    sub = model.subgraphs.front().get();
  }

  int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(rng); }
  bool coin() { return pick(0, 1) == 1; }

  int tensor(const std::string& name, std::vector<std::int32_t> shape, tflite::TensorType type,
             float scale, int zero_point) {
    auto t = std::make_unique<tflite::TensorT>();
    t->name = name;
    t->shape = std::move(shape);
    t->type = type;
    t->quantization = std::make_unique<tflite::QuantizationParametersT>();
    t->quantization->scale = {scale};
    t->quantization->zero_point = {zero_point};
    sub->tensors.push_back(std::move(t));
    return static_cast<int>(sub->tensors.size()) - 1;
  }

  void fill(int index, const void* data, std::size_t bytes) {
    auto buffer = std::make_unique<tflite::BufferT>();
    const auto* first = static_cast<const std::uint8_t*>(data);
    buffer->data.assign(first, first + bytes);
    sub->tensors[static_cast<std::size_t>(index)]->buffer =
        static_cast<std::uint32_t>(model.buffers.size());
    model.buffers.push_back(std::move(buffer));
  }

  tflite::TensorT& at(int index) { return *sub->tensors[static_cast<std::size_t>(index)]; }
  float scale_of(int index) { return at(index).quantization->scale.front(); }
  int zero_of(int index) { return static_cast<int>(at(index).quantization->zero_point.front()); }

  std::uint32_t code(tflite::BuiltinOperator op) {
    for (std::size_t i = 0; i < model.operator_codes.size(); ++i) {
      if (model.operator_codes[i]->builtin_code == op) {
        return static_cast<std::uint32_t>(i);
      }
    }
    auto c = std::make_unique<tflite::OperatorCodeT>();
    c->builtin_code = op;
    c->deprecated_builtin_code = static_cast<std::int8_t>(op);
    c->version = 1;
    model.operator_codes.push_back(std::move(c));
    return static_cast<std::uint32_t>(model.operator_codes.size()) - 1;
  }

  int input(int size, int channels) {
    const int index =
        tensor("input" + std::to_string(sub->inputs.size()), {1, size, size, channels},
               tflite::TensorType_UINT8, 0.0125F, pick(90, 160));
    sub->inputs.push_back(index);
    return index;
  }

  int conv(int from, const Conv& c);
  int add(int left, int right);
};

int Graph::conv(int from, const Conv& c) {
  const int size = at(from).shape[1];
  const int in_channels = at(from).shape[3];
  const int out_channels = c.depthwise ? in_channels : c.channels;
  const int out_size = c.same ? (size + c.stride - 1) / c.stride : (size - c.kernel) / c.stride + 1;
  const int terms = c.kernel * c.kernel * (c.depthwise ? 1 : in_channels);

  // Sums of uniform bytes have this standard deviation.
  const double spread = std::sqrt(static_cast<double>(terms)) * 73.9 * 73.9;
  // A rectifier is the saturation at zero point 0: a quantiser never chooses another one for it,
  // and the driver relies on it [mesa rkt_ml.c: no register is written for it].
  const bool rectified = c.activation != tflite::ActivationFunctionType_NONE;
  const bool six = c.activation == tflite::ActivationFunctionType_RELU6;
  // The delegate takes ReLU6 only if the largest output is not above 6.
  const double weight_scale = six ? 2.5 / (scale_of(from) * spread) : 0.005 + 0.0001 * pick(0, 100);
  const double out_scale =
      six ? 0.0235 : scale_of(from) * weight_scale * spread / (c.roomy ? 18.0 : 45.0);
  const int weight_zero = pick(118, 138);
  const int weights =
      tensor("weights",
             c.depthwise ? std::vector<std::int32_t>{1, c.kernel, c.kernel, in_channels}
                         : std::vector<std::int32_t>{out_channels, c.kernel, c.kernel, in_channels},
             tflite::TensorType_UINT8, static_cast<float>(weight_scale), weight_zero);
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(terms) *
                                  static_cast<std::size_t>(out_channels));
  std::generate(bytes.begin(), bytes.end(),
                [&] { return static_cast<std::uint8_t>(pick(0, 255)); });
  fill(weights, bytes.data(), bytes.size());

  // The bias takes the mean of the sums away, and the output's scale is chosen so that few
  // results saturate: else every output would be 0 or 255.
  const double mean = terms * (127.5 - zero_of(from)) * (127.5 - weight_zero);
  std::vector<std::int32_t> biases(static_cast<std::size_t>(out_channels));
  for (auto& b : biases) {
    b = static_cast<std::int32_t>(-mean + spread * 0.01 * pick(-50, 50));
  }
  const int bias = tensor("bias", {out_channels}, tflite::TensorType_INT32,
                          scale_of(from) * scale_of(weights), 0);
  fill(bias, biases.data(), biases.size() * sizeof(biases[0]));

  const int output = tensor("t" + std::to_string(sub->tensors.size()),
                            {1, out_size, out_size, out_channels}, tflite::TensorType_UINT8,
                            static_cast<float>(out_scale), rectified ? 0 : pick(110, 146));

  auto op = std::make_unique<tflite::OperatorT>();
  op->inputs = {from, weights, bias};
  op->outputs = {output};
  const auto padding = c.same ? tflite::Padding_SAME : tflite::Padding_VALID;
  if (c.depthwise) {
    op->opcode_index = code(tflite::BuiltinOperator_DEPTHWISE_CONV_2D);
    tflite::DepthwiseConv2DOptionsT options;
    options.padding = padding;
    options.stride_w = options.stride_h = c.stride;
    options.depth_multiplier = 1;
    options.fused_activation_function = c.activation;
    op->builtin_options.Set(options);
  } else {
    op->opcode_index = code(tflite::BuiltinOperator_CONV_2D);
    tflite::Conv2DOptionsT options;
    options.padding = padding;
    options.stride_w = options.stride_h = c.stride;
    options.fused_activation_function = c.activation;
    op->builtin_options.Set(options);
  }
  sub->operators.push_back(std::move(op));
  return output;
}

int Graph::add(int left, int right) {
  const int output =
      tensor("sum" + std::to_string(sub->tensors.size()), at(left).shape, tflite::TensorType_UINT8,
             1.2F * std::max(scale_of(left), scale_of(right)), pick(118, 138));
  auto op = std::make_unique<tflite::OperatorT>();
  op->opcode_index = code(tflite::BuiltinOperator_ADD);
  op->inputs = {left, right};
  op->outputs = {output};
  op->builtin_options.Set(tflite::AddOptionsT{});
  sub->operators.push_back(std::move(op));
  return output;
}

tflite::ActivationFunctionType random_activation(Graph& g) {
  const int n = g.pick(0, 3);
  return n == 0   ? tflite::ActivationFunctionType_RELU
         : n == 1 ? tflite::ActivationFunctionType_RELU6
                  : tflite::ActivationFunctionType_NONE;
}

std::string shape_name(const std::string& kind, int size, int in_channels, const Conv& c) {
  return kind + std::to_string(c.kernel) + "x" + std::to_string(c.kernel) + "_" +
         std::to_string(size) + "_" + std::to_string(in_channels) + "_" +
         std::to_string(c.depthwise ? in_channels : c.channels) + (c.stride == 2 ? "_s2" : "") +
         (c.same ? "" : "_valid");
}

// Three faults of Mesa 26.2, seen in the buffers it fills (ROCKET_DEBUG=dump_bos): such models are
// wrong on every device, so they are not made.
bool driver_gets_it_right(bool depthwise, int kernel, int in_channels, int out_channels) {
  if (depthwise) {
    // Of a last group of channels it writes neither the real ones nor a multiple of 16.
    const int last = in_channels % 64;
    return last % 16 == 0 || last < 16 || (in_channels > 64 && last > 48);
  }
  if (in_channels == 1 && out_channels == 1) {
    return false;  // the image is never handed over
  }
  // Of the kernel of zeros behind an odd number of kernels it writes 32 channels where all others
  // have 16, which moves all that follows it.
  const int last = in_channels % 32;
  return out_channels % 2 == 0 || kernel == 1 || in_channels <= 16 || last == 0 || last > 16;
}

// One convolution of a random shape.
std::string single(Graph& g, bool depthwise) {
  Conv c;
  const int kernels[] = {1, 3, 3, 5, 7};
  c.depthwise = depthwise;
  c.kernel = depthwise ? 3 + 2 * g.pick(0, 1) : kernels[g.pick(0, 4)];
  c.stride = g.pick(1, 2);
  c.same = g.coin();
  c.channels = g.coin() ? 8 * g.pick(1, 12) : g.pick(1, 90);
  c.activation = random_activation(g);
  const int size = g.pick(c.same ? 3 : c.kernel, g.pick(0, 4) == 0 ? 112 : 40);
  int in_channels = g.coin() ? 16 * g.pick(1, 6) : g.pick(2, 70);
  if (depthwise) {
    in_channels = g.coin() ? 32 * g.pick(1, 4) : g.pick(2, 130);
  } else if (g.pick(0, 7) == 0) {
    in_channels = 1;  // the pixel path of the CNA
  }
  // The reference kernels run under emulation: some 4 million products at most.
  while (!depthwise &&
         std::int64_t{size} * size * c.kernel * c.kernel * in_channels * c.channels >
             std::int64_t{4'000'000} * c.stride * c.stride &&
         c.channels > 4) {
    c.channels /= 2;
  }
  if (!driver_gets_it_right(depthwise, c.kernel, in_channels, c.channels)) {
    in_channels = 32 * ((in_channels + 31) / 32);
  }
  g.sub->outputs = {g.conv(g.input(size, in_channels), c)};
  return shape_name(depthwise ? "dw" : "conv", size, in_channels, c);
}

// An inverted residual of MobileNetV2: expand, depthwise, project, add.
std::string residual(Graph& g) {
  const int size = g.pick(9, 20);
  const int channels = 16 * g.pick(1, 3);
  const auto relu6 = tflite::ActivationFunctionType_RELU6;
  const int in = g.conv(g.input(size, 16 * g.pick(1, 3)), {.kernel = 1, .channels = channels});
  const int wide = g.conv(in, {.kernel = 1, .channels = 32 * g.pick(1, 3), .activation = relu6});
  const int deep = g.conv(wide, {.kernel = 3, .depthwise = true, .activation = relu6});
  const int thin = g.conv(deep, {.kernel = 1, .channels = channels, .roomy = true});
  g.sub->outputs = {g.add(thin, in)};
  return "residual_" + std::to_string(size) + "_" + std::to_string(channels);
}

// MobileNetV1's pattern: a convolution, then so many depthwise and pointwise ones in turn.
std::string chain(Graph& g, int size, int blocks) {
  const auto relu6 = tflite::ActivationFunctionType_RELU6;
  int channels = 16 * g.pick(1, 2);
  int at = g.conv(g.input(size, 3),
                  {.kernel = 3, .stride = 2, .channels = channels, .activation = relu6});
  for (int i = 0; i < blocks; ++i) {
    const int stride = g.at(at).shape[1] > 4 && g.coin() ? 2 : 1;
    channels = std::min(stride * channels + 16 * g.pick(0, 1), 512);
    at = g.conv(at, {.kernel = 3, .stride = stride, .depthwise = true, .activation = relu6});
    at = g.conv(at, {.kernel = 1, .channels = channels, .activation = relu6});
  }
  g.sub->outputs = {at};
  return "chain_" + std::to_string(size) + "_" + std::to_string(blocks);
}

// MobileNetV2's pattern: stages of inverted residuals, the first of each stage without addition.
// Images stay at 4x4 or larger: for less than 12 positions the driver gives the addend a pitch of
// 12, which its own outputs do not have [mesa rkt_regcmd.c].
std::string residual_chain(Graph& g) {
  const auto relu6 = tflite::ActivationFunctionType_RELU6;
  const int size = 16 * g.pick(3, 8);
  int at =
      g.conv(g.input(size, 3), {.kernel = 3, .stride = 2, .channels = 16, .activation = relu6});
  for (int stage = 0; stage < 4; ++stage) {
    const int channels = 16 * g.pick(1, 3) * (1 + stage);
    const int stride = g.at(at).shape[1] > 7 ? 2 : 1;
    const int repeats = g.pick(2, 4);
    for (int i = 0; i < repeats; ++i) {
      const int expanded = g.pick(3, 6) * g.at(at).shape[3];
      const int wide = g.conv(at, {.kernel = 1, .channels = expanded, .activation = relu6});
      const int deep = g.conv(
          wide,
          {.kernel = 3, .stride = i == 0 ? stride : 1, .depthwise = true, .activation = relu6});
      const int thin = g.conv(deep, {.kernel = 1, .channels = channels, .roomy = i > 0});
      at = i == 0 ? thin : g.add(thin, at);
    }
  }
  g.sub->outputs = {at};
  return "residual_chain_" + std::to_string(size);
}

// Weights and image both larger than the convolution buffer: several jobs of one operator.
std::string wide(Graph& g) {
  const int size = g.pick(22, 24);
  const Conv c{.kernel = 1, .stride = 2, .channels = 32 * g.pick(22, 24)};
  g.sub->outputs = {g.conv(g.input(size, 512), c)};
  return shape_name("wide", size, 512, c);
}

// One convolution of a shape from the list that Mesa's own tests run on boards [mesa
// test_teflon.cpp], as far as the reference kernels are done with it in seconds.
std::string listed(Graph& g, bool depthwise) {
  const int sizes[] = {3, 5, 8, 80, 112};
  const int inputs[] = {1, 32, 120, 128, 256};
  const int outputs[] = {1, 32, 120, 128, 160, 256};
  for (;;) {
    Conv c;
    c.depthwise = depthwise;
    c.kernel = depthwise ? 3 + 2 * g.pick(0, 1) : 1 + 2 * g.pick(0, 2);
    c.stride = g.pick(1, 2);
    c.same = g.coin();
    c.channels = outputs[g.pick(0, 5)];
    const int size = sizes[g.pick(0, 4)];
    const int in_channels = inputs[g.pick(depthwise ? 1 : 0, 4)];
    const std::int64_t products = std::int64_t{size} * size * c.kernel * c.kernel * in_channels *
                                  (depthwise ? 1 : c.channels) / (c.stride * c.stride);
    if (c.kernel <= size && products <= 20'000'000 &&
        driver_gets_it_right(depthwise, c.kernel, in_channels, c.channels)) {
      g.sub->outputs = {g.conv(g.input(size, in_channels), c)};
      return shape_name(depthwise ? "listed_dw" : "listed_conv", size, in_channels, c);
    }
  }
}

std::string build(Graph& g, int index) {
  if (index % 24 == 19) {
    return wide(g);
  }
  if (index % 24 == 17) {
    return residual_chain(g);
  }
  if (index % 6 == 2) {
    return listed(g, index % 24 == 8);
  }
  switch (index % 6) {
    case 3: return single(g, true);
    case 4: return residual(g);
    case 5:
      return index % 24 == 23 ? chain(g, 16 * g.pick(6, 10), 13)
                              : chain(g, g.pick(16, 33), g.pick(1, 3));
    default: return single(g, false);
  }
}

bool write_model(const std::filesystem::path& path, const tflite::ModelT& model) {
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(tflite::Model::Pack(builder, &model), tflite::ModelIdentifier());
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(builder.GetBufferPointer()),
            static_cast<std::streamsize>(builder.GetSize()));
  return static_cast<bool>(out);
}

}  // namespace

int main(int argc, char** argv) {
  char* end = nullptr;
  const unsigned long seed = argc == 4 ? std::strtoul(argv[2], &end, 10) : 0;
  const bool seed_ok = argc == 4 && end != argv[2] && *end == '\0' && seed < 1'000'000;
  const long count = argc == 4 ? std::strtol(argv[3], &end, 10) : 0;
  if (!seed_ok || end == argv[3] || *end != '\0' || count < 1 || count > 10'000) {
    std::cerr << "usage: make_models FOLDER SEED COUNT\n"
                 "Writes COUNT (1 to 10000) random models, e.g.: make_models /tmp/models 1 24\n";
    return 2;
  }
  for (int i = 0; i < count; ++i) {
    Graph graph(static_cast<std::uint32_t>(seed * 10'000 + static_cast<unsigned long>(i)));
    const std::string name = build(graph, i);
    const auto path = std::filesystem::path(argv[1]) / ("r" + std::to_string(seed) + "-" +
                                                        std::to_string(i) + "-" + name + ".tflite");
    if (!write_model(path, graph.model)) {
      std::cerr << "make_models: cannot write " << path << "; is the folder there and "
                << "writable?\n";
      return 4;
    }
    std::cout << path.string() << '\n';
  }
  return 0;
}
