// SPDX-License-Identifier: MIT
// Convolutions that write parts of one tensor, and others that read it, without the host between.
#include "microkernels/concat.hpp"

#include "conv2d_cases.hpp"
#include "microkernels/activation.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

using enum DataType;

template <class T>
struct Reference {
  std::mt19937& random;
  Conv2dTypes types;

  struct Made {
    ConvSequence::Layer layer;
    std::vector<T> weights, out;
    std::vector<std::int32_t> bias;
  };
  // A layer with random weights, and what it makes of `in`.
  Made operator()(const Conv2dShape& s, ConvSequence::Tensor from, ConvSequence::Tensor to,
                  std::uint32_t first, const std::vector<T>& in, const std::vector<T>& addend = {},
                  std::optional<ConvSequence::Tensor> addend_tensor = {}) {
    Made made;
    const std::size_t kernel =
        std::size_t{s.kernel_height} * s.kernel_width * (s.depthwise ? 1 : s.in_channels);
    made.weights = random_tensor<T>(kernel * s.out_channels, random);
    if (sizeof(T) == 2)  // so that no later layer overflows
      for (T& w : made.weights)
        w = static_cast<T>(sim::float_to_fp16(sim::fp16_to_float(static_cast<std::uint16_t>(w)) /
                                              static_cast<float>(kernel)));
    made.bias.resize(s.out_channels);
    for (auto& b : made.bias) {
      b = static_cast<std::int32_t>(random() % 2001) - 1000;
      if (sizeof(T) == 2) b = std::bit_cast<std::int32_t>(static_cast<float>(b) / 1000);
    }
    made.layer = {.shape = s,
                  .from = from,
                  .to = to,
                  .first_channel = first,
                  .input_zero = static_cast<std::int8_t>(sizeof(T) == 1 ? random() % 256 : 0),
                  .post = {},
                  .activation = {},
                  .addend = addend_tensor};
    if (sizeof(T) == 1) made.layer.post.requant = random_requant(kernel, random);
    if (!addend.empty()) made.layer.post.addend = {20000, 6, -3};
    made.layer.post.relu = random() % 2 == 0;
    made.out.resize(std::size_t{s.out_height()} * s.out_width() * s.out_channels);
    ref_conv2d(s, types, made.layer.post, made.bias, made.layer.input_zero, in, made.weights,
               made.out, addend);
    return made;
  }
};

template <class T>
std::vector<T> concatenated(const std::vector<T>& a, std::size_t a_channels,
                            const std::vector<T>& b, std::size_t b_channels) {
  std::vector<T> all;
  for (std::size_t i = 0; i * a_channels < a.size(); ++i) {
    all.insert(all.end(), a.begin() + static_cast<std::ptrdiff_t>(i * a_channels),
               a.begin() + static_cast<std::ptrdiff_t>((i + 1) * a_channels));
    all.insert(all.end(), b.begin() + static_cast<std::ptrdiff_t>(i * b_channels),
               b.begin() + static_cast<std::ptrdiff_t>((i + 1) * b_channels));
  }
  return all;
}

// Two layers make one tensor of both their channels; a third reads it, a depthwise one that, and a
// last one adds the tensor before.
template <class T>
void two_into_one(DataType type, std::uint32_t seed) {
  const Cores cores(1);
  std::mt19937 random(seed);
  Reference<T> make{random, {type, type}};
  const std::uint32_t atom = atom_elements(type);
  const std::uint32_t h = pick(random, 4, 12), w = pick(random, 3, 12), c = pick(random, 1, 40);
  const std::uint32_t a = atom * pick(random, 1, 5), b = pick(random, 1, 50),
                      d = pick(random, 1, 70);
  const auto in = random_tensor<T>(std::size_t{h} * w * c, random);
  ConvSequence net(*cores.first(1)[0], type);
  const auto t_in = net.add_tensor(h, w, c), t_both = net.add_tensor(h, w, a + b),
             t_third = net.add_tensor(h, w, d), t_depth = net.add_tensor(h, w, d),
             t_out = net.add_tensor(h, w, d);
  const Conv2dShape same3{.in_height = h,
                          .in_width = w,
                          .in_channels = c,
                          .out_channels = b,
                          .kernel_height = 3,
                          .kernel_width = 3,
                          .pad_top = 1,
                          .pad_left = 1,
                          .pad_bottom = 1,
                          .pad_right = 1};
  Conv2dShape one = same3;
  one.kernel_height = one.kernel_width = 1;
  one.pad_top = one.pad_left = one.pad_bottom = one.pad_right = 0;
  one.out_channels = a;
  const auto left = make(one, t_in, t_both, 0, in);
  const auto right = make(same3, t_in, t_both, a, in);
  const auto both = concatenated(left.out, a, right.out, b);
  Conv2dShape reader = same3;
  reader.in_channels = a + b, reader.out_channels = d;
  const auto third = make(reader, t_both, t_third, 0, both);
  Conv2dShape depth = same3;
  depth.in_channels = depth.out_channels = d, depth.depthwise = true;
  const auto fourth = make(depth, t_third, t_depth, 0, third.out);
  Conv2dShape last = one;
  last.in_channels = last.out_channels = d;
  const auto fifth = make(last, t_depth, t_out, 0, fourth.out, third.out, t_third);
  for (const auto* made : {&left, &right, &third, &fourth, &fifth})
    net.add_layer(made->layer, made->weights, made->bias);
  for (int again = 0; again < 2; ++again) {
    std::vector<T> out(fifth.out.size()), concat(both.size());
    RunStats stats;
    net.run(in, t_out, out, &stats);
    EXPECT_EQ(stats.submits, 1u);  // all layers in one: the host saw nothing between
    ASSERT_EQ(out, fifth.out) << "seed " << seed;
    net.run(in, t_both, concat);
    ASSERT_EQ(concat, both);
  }
  EXPECT_GT(net.seconds(), 0);
}

TEST(ConvSequence, PartsOfOneTensorAreReadByTheNextLayer) {
  for (std::uint32_t seed = 0; seed < 12; ++seed) {
    two_into_one<std::int8_t>(i8, seed);
    two_into_one<std::uint16_t>(f16, seed);
  }
}

TEST(ConvSequence, FunctionsRunBetweenLayers) {
  const Cores cores(1);
  std::mt19937 random(5);
  Reference<std::uint16_t> make{random, {f16, f16}};
  const auto in = random_tensor<std::uint16_t>(6 * 7 * 10, random);
  ConvSequence net(*cores.first(1)[0], f16);
  const auto t_in = net.add_tensor(6, 7, 10), t_mid = net.add_tensor(6, 7, 24),
             t_out = net.add_tensor(6, 7, 5);
  const Conv2dShape s{.in_height = 6, .in_width = 7, .in_channels = 10, .out_channels = 24};
  auto first = make(s, t_in, t_mid, 0, in);
  first.layer.post = {};
  first.layer.activation = Activation::silu;
  Conv2d alone(cores.first(1), s, {f16, f16}, {Activation::silu, false});
  std::vector<float> bias(24);
  std::memcpy(bias.data(), first.bias.data(), 24 * 4);
  alone.set_weights(first.weights, bias);
  alone.run(in, first.out);
  Conv2dShape next = s;
  next.in_channels = 24, next.out_channels = 5;
  const auto second = make(next, t_mid, t_out, 0, first.out);
  net.add_layer(first.layer, first.weights, first.bias);
  net.add_layer(second.layer, second.weights, second.bias);
  std::vector<std::uint16_t> out(second.out.size());
  net.run(in, t_out, out);
  EXPECT_EQ(out, second.out);
}

TEST(ConvSequence, WhatDoesNotFitIsRefused) {
  const Cores cores(1);
  device::Device& device = *cores.first(1)[0];
  EXPECT_THROW(ConvSequence(device, i32), Error);
  ConvSequence net(device, i8);
  EXPECT_THROW(net.add_tensor(0, 1, 1), Error);
  const auto t_in = net.add_tensor(4, 4, 8), t_out = net.add_tensor(4, 4, 40);
  const std::vector<std::int8_t> weights(8 * 20);
  const ConvSequence::Layer good{
      .shape = {.in_height = 4, .in_width = 4, .in_channels = 8, .out_channels = 20},
      .from = t_in,
      .to = t_out,
      .first_channel = 0,
      .input_zero = 0,
      .post = {},
      .activation = {},
      .addend = {}};
  const auto message = [&](auto change) -> std::string {
    ConvSequence::Layer layer = good;
    change(layer);
    try {
      net.add_layer(layer, weights);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  using testing::HasSubstr;
  EXPECT_THAT(message([](auto& l) { l.to = 0; }), HasSubstr("other than the first"));
  EXPECT_THAT(message([](auto& l) { l.to = 9; }), HasSubstr("tensor 9"));
  EXPECT_THAT(message([](auto& l) { l.from = 1, l.to = 0; }), HasSubstr("other than"));
  EXPECT_THAT(message([](auto& l) { l.shape.in_width = 5; }), HasSubstr("its tensor is 4x4x8"));
  EXPECT_THAT(message([](auto& l) { l.shape.stride_x = 2; }), HasSubstr("its tensor is 4x4x40"));
  EXPECT_THAT(message([](auto& l) { l.first_channel = 32; }), HasSubstr("from channel 32"));
  EXPECT_THAT(message([](auto& l) { l.shape.out_channels = 21; }), HasSubstr("weights"));
  EXPECT_THAT(message([&](auto& l) { l.addend = t_in; }), HasSubstr("addend"));
  EXPECT_EQ(message([](auto&) {}), "no error");
  EXPECT_THAT(message([](auto& l) { l.first_channel = 20; }), HasSubstr("multiples of 16"));
  std::vector<std::int8_t> in(4 * 4 * 8), out(4 * 4 * 40);
  EXPECT_THROW(net.run(in, t_out, out), Error);  // half of the channels
  EXPECT_THROW(net.run(in, t_in, in), Error);
}

}  // namespace
}  // namespace npu::kernels
