// SPDX-License-Identifier: MIT
// Images and weights in the chip's order: every element where the formula says, zeros elsewhere.
#include "microkernels/layout_convert.hpp"

#include <cstring>

#include "random_matrix.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

using enum DataType;
using Bytes = std::vector<std::byte>;

Bytes random_bytes(std::size_t count, std::mt19937& random) {
  Bytes bytes(count);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

TEST(LayoutConvert, ImagesBecomeCubesAndComeBack) {
  std::mt19937 random(21);
  for (int round = 0; round < 60; ++round)
    for (const DataType type : {i8, i16, f16, i32, f32}) {
      NhwcImage image{pick(random, 1, 12), pick(random, 1, 12), pick(random, 1, 70), 0, 0};
      if (round % 3 != 0) image.pixel_step = image.channels + pick(random, 0, 5);
      const std::size_t pixel = image.pixel_step == 0 ? image.channels : image.pixel_step;
      if (round % 3 == 2) image.row_step = image.width * pixel + pick(random, 0, 9);
      const std::size_t row = image.row_step == 0 ? image.width * pixel : image.row_step;
      const std::size_t size = host_bytes(type), c2 = atom_elements(type);
      const Bytes from = random_bytes(image.height * row * size, random);
      Bytes cube(cube_bytes(type, image), std::byte{7}), want(cube.size());
      Bytes back(from.size(), std::byte{9}), expected = back;
      for (std::size_t y = 0; y < image.height; ++y)
        for (std::size_t x = 0; x < image.width; ++x)
          for (std::size_t c = 0; c < image.channels; ++c) {
            const std::size_t at = (y * row + x * pixel + c) * size;
            const std::size_t to =
                (((c / c2 * image.height + y) * image.width + x) * c2 + c % c2) * size;
            std::memcpy(&want[to], &from[at], size);
            std::memcpy(&expected[at], &from[at], size);
          }
      nhwc_to_cube(type, image, from, cube);
      ASSERT_EQ(cube, want) << to_string(type) << " round " << round;
      cube_to_nhwc(type, image, cube, back);
      ASSERT_EQ(back, expected) << to_string(type) << " round " << round;
    }
}

TEST(LayoutConvert, DenseWeightsOfBothOrders) {
  std::mt19937 random(22);
  for (int round = 0; round < 40; ++round)
    for (const DataType type : {i8, f16, bf16, tf32}) {
      const MacFormat format = mac_format(type);
      ConvWeights w{pick(random, 1, 90), pick(random, 1, 90), pick(random, 1, 3),
                    pick(random, 1, 3)};
      const std::size_t size = host_bytes(type), taps = w.kernel_height * w.kernel_width;
      const std::size_t kernels = w.out_channels + pick(random, 0, 40);
      const std::size_t channels = align_up<std::size_t>(w.in_channels, 16);
      for (const WeightOrder order : {WeightOrder::ohwi, WeightOrder::oihw}) {
        w.order = order;
        const Bytes from = random_bytes(w.out_channels * taps * w.in_channels * size, random);
        Bytes blocks(kernels * taps * channels * size, std::byte{7}), want(blocks.size());
        // Written one after the other, as the chip reads them.
        std::size_t to = 0;
        for (std::size_t group = 0; group < kernels; group += format.kernel_group)
          for (std::size_t block = 0; block < channels; block += format.channel_block)
            for (std::size_t tap = 0; tap < taps; ++tap)
              for (std::size_t o = group;
                   o < std::min<std::size_t>(group + format.kernel_group, kernels); ++o)
                for (std::size_t c = block;
                     c < std::min<std::size_t>(block + format.channel_block, channels); ++c) {
                  if (o < w.out_channels && c < w.in_channels) {
                    const std::size_t at = order == WeightOrder::ohwi
                                               ? (o * taps + tap) * w.in_channels + c
                                               : (o * w.in_channels + c) * taps + tap;
                    std::memcpy(&want[to * size], &from[at * size], size);
                  }
                  ++to;
                }
        pack_conv_weights(type, w, from, kernels, channels, blocks);
        ASSERT_EQ(blocks, want) << to_string(type) << " round " << round;
      }
    }
}

TEST(LayoutConvert, DepthwiseWeightsOfBothOrders) {
  std::mt19937 random(23);
  for (int round = 0; round < 20; ++round)
    for (const DataType type : {i8, f16}) {
      ConvWeights w{0, pick(random, 1, 150), pick(random, 1, 4), pick(random, 1, 4)};
      const std::size_t size = host_bytes(type), taps = w.kernel_height * w.kernel_width;
      const std::size_t group = type == i8 ? 64 : 32;
      for (const WeightOrder order : {WeightOrder::ohwi, WeightOrder::oihw}) {
        w.order = order;
        const Bytes from = random_bytes(taps * w.in_channels * size, random);
        Bytes blocks(align_up(w.in_channels, group) * taps * size, std::byte{7});
        Bytes want(blocks.size());
        for (std::size_t c = 0; c < w.in_channels; ++c)
          for (std::size_t tap = 0; tap < taps; ++tap) {
            const std::size_t at =
                order == WeightOrder::ohwi ? tap * w.in_channels + c : c * taps + tap;
            const std::size_t to = (c / group * taps + tap) * group + c % group;
            std::memcpy(&want[to * size], &from[at * size], size);
          }
        pack_depthwise_weights(type, w, from, blocks);
        ASSERT_EQ(blocks, want) << to_string(type) << " round " << round;
      }
    }
}

TEST(LayoutConvert, SizesThatDoNotFitAreRefused) {
  Bytes image(2 * 2 * 16), cube(2 * 2 * 16), small(63);
  EXPECT_THROW(nhwc_to_cube(i8, {2, 2, 16, 0, 0}, small, cube), Error);
  EXPECT_THROW(nhwc_to_cube(i8, {2, 2, 16, 0, 0}, image, small), Error);
  EXPECT_THROW(nhwc_to_cube(i8, {2, 0, 16, 0, 0}, image, cube), Error);
  EXPECT_THROW(nhwc_to_cube(i8, {2, 2, 16, 0, 15}, image, cube), Error);
  EXPECT_THROW(nhwc_to_cube(i8, {2, 2, 16, 31, 16}, image, cube), Error);
  EXPECT_THROW(cube_to_nhwc(i8, {2, 2, 16, 0, 0}, cube, small), Error);
  Bytes weights(32 * 32), blocks(32 * 32);
  EXPECT_THROW(pack_conv_weights(i8, {32, 32}, small, 32, 32, blocks), Error);
  EXPECT_THROW(pack_conv_weights(i8, {32, 32}, weights, 31, 32, blocks), Error);
  EXPECT_THROW(pack_conv_weights(i8, {32, 32}, weights, 32, 32, small), Error);
  EXPECT_THROW(pack_conv_weights(i4, {32, 32}, weights, 32, 32, blocks), Error);
  EXPECT_THROW(pack_depthwise_weights(i8, {0, 64}, weights, blocks), Error);
  EXPECT_THROW(pack_depthwise_weights(bf16, {0, 64}, weights, blocks), Error);
}

}  // namespace
}  // namespace npu::kernels
