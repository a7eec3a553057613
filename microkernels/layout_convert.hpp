// SPDX-License-Identifier: MIT
// Images and convolution weights between the orders that frameworks have them in and those of the
// NPU. Everything here runs on vectors of the host's CPU, and on several threads where that pays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "microkernels/data_type.hpp"
#include "microkernels/layout.hpp"

namespace npu::kernels {

/// An image [height][width][channels] in host memory. Steps count elements; 0 stands for dense.
struct NhwcImage {
  std::size_t height = 0, width = 0, channels = 0;
  std::size_t row_step = 0;    ///< from row to row, at least width * pixel_step
  std::size_t pixel_step = 0;  ///< from pixel to pixel, at least channels
};

/// Bytes of the cube [channels / C2][height][width][C2] of an image, channels in whole atoms.
std::size_t cube_bytes(DataType type, const NhwcImage& image);

/// NHWC to NC1HWC2 and back, for i8, i16, f16, bf16, i32, f32 and tf32; to a cube also i4 (a byte
/// each on the host). Channels beyond the image's become 0 in a cube, and are left out of an image.
/// `cube` holds exactly cube_bytes(); `threads`: 0 for as many as pay. Throws invalid_argument for
/// sizes and steps that do not fit.
void nhwc_to_cube(DataType type, const NhwcImage& image, std::span<const std::byte> from,
                  std::span<std::byte> cube, unsigned threads = 0);
void cube_to_nhwc(DataType type, const NhwcImage& image, std::span<const std::byte> cube,
                  std::span<std::byte> to, unsigned threads = 0);

/// In which order the host has weights: [O][KH][KW][I] (TFLite, NHWC networks) or [O][I][KH][KW]
/// (PyTorch, ONNX).
enum class WeightOrder : std::uint8_t { ohwi, oihw };

struct ConvWeights {
  std::size_t out_channels = 0, in_channels = 0, kernel_height = 1, kernel_width = 1;
  WeightOrder order = WeightOrder::ohwi;
};

/// The chip's blocks of a dense convolution: [O / G][I / B][KH][KW][G][B] with the kernels padded
/// with zeros to `kernels` and the channels to `channels`; a last block of channels is only as
/// wide as the channels left, a last group of kernels as high as the kernels left [compute.md 3.2,
/// 4]. G and B as in mac_format(type). `blocks` holds kernels * KH * KW * channels elements. Not
/// for i4. Throws invalid_argument for sizes that do not fit.
void pack_conv_weights(DataType type, const ConvWeights& weights, std::span<const std::byte> from,
                       std::size_t kernels, std::size_t channels, std::span<std::byte> blocks,
                       unsigned threads = 0);

/// The same of a depthwise convolution, i8 or f16: [C / G][KH][KW][G], G = 64 channels of i8 or 32
/// of f16, whole groups. The host has [KH][KW][C] (ohwi) or [C][KH][KW] (oihw); `in_channels`
/// counts.
void pack_depthwise_weights(DataType type, const ConvWeights& weights,
                            std::span<const std::byte> from, std::span<std::byte> blocks);

}  // namespace npu::kernels
