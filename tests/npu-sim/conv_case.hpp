// SPDX-License-Identifier: MIT
// Int8 convolution programs for tests, and the plain nested loops that they must equal.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "npu-sim/chip.hpp"

namespace npu::sim::test {

/// One int8 convolution task in the registers' own terms.
struct ConvCase {
  std::uint32_t in_width = 8, in_height = 8, in_channels = 16;
  std::uint32_t out_channels = 16;
  std::uint32_t kernel_width = 3, kernel_height = 3;
  std::uint32_t stride = 1;
  std::uint32_t dilation = 1;
  std::uint32_t pad_left = 0, pad_top = 0, pad_right = 0, pad_bottom = 0;
  std::int32_t pad_value = 0;
  bool depthwise = false;
  std::int32_t ow_op = 0;
  std::uint32_t truncate = 0;
  bool relu = false;
  bool residual = false;
  std::int32_t ew_offset = 0, ew_scale = 1, ew_shift = 0;
  std::int32_t scale = 1, offset = 0;
  std::uint32_t shift = 0;
  std::uint32_t out_precision = 0;  // 0 int8, 4 int32, 5 fp32
  bool weight_reuse = false, data_reuse = false;
  int size_e = -1;  // surfaces of a kernel group less one; -1: all of them

  std::uint32_t out_width() const {
    return (in_width + pad_left + pad_right - (kernel_width - 1) * dilation - 1) / stride + 1;
  }
  std::uint32_t out_height() const {
    return (in_height + pad_top + pad_bottom - (kernel_height - 1) * dilation - 1) / stride + 1;
  }
  std::uint32_t padded_channels() const { return (in_channels + 15) / 16 * 16; }
  /// The writer of int32 sums needs it [userspace cpend_wzp_probe, HW].
  bool bypasses_ow() const { return out_precision == 4 && !depthwise; }
  std::uint32_t kernels() const { return depthwise ? 1 : (out_channels + 1) / 2 * 2; }
};

/// Memory of a case, each in a buffer of its own.
struct ConvMemory {
  std::vector<std::int8_t> input;    // [C/16][H][W][16]
  std::vector<std::int8_t> weights;  // packed
  std::vector<std::int32_t> bias;
  std::vector<std::int8_t> addend;  // [OC/16][OH][OW][16]
};

constexpr std::uint32_t kInputIova = 0x100000, kWeightsIova = 0x800000, kBiasIova = 0x1800000,
                        kAddendIova = 0x1900000, kOutputIova = 0x2000000, kProgramIova = 0x4000000;

ConvMemory random_memory(const ConvCase& c, std::mt19937& rng);

/// Words of the program that the case asks for, trailer included.
std::vector<std::uint64_t> program(const ConvCase& c, std::uint32_t output_iova = kOutputIova);

/// What the program must compute: element [oc][y][x] as int32 (int8 outputs sign-extended).
std::vector<std::int32_t> reference(const ConvCase& c, const ConvMemory& memory);

/// A chip with the case's buffers mapped; run() drives a core as the kernel driver does.
class Bench {
 public:
  explicit Bench(ChipOptions options = {});
  void map(std::uint32_t iova, const void* data, std::size_t bytes, std::size_t room = 0);
  void load(const ConvCase& c, const ConvMemory& memory);
  std::byte* at(std::uint32_t iova, std::size_t bytes);
  /// Maps the words at kProgramIova (plus `slot` pages) and runs them; true if a DPU interrupt
  /// came.
  bool run(const std::vector<std::uint64_t>& words, unsigned core = 0, std::uint32_t tasks = 1);
  bool start(std::uint32_t regcmd, std::uint32_t count, unsigned core = 0, std::uint32_t tasks = 1);
  /// Output element [oc][y][x].
  std::vector<std::int32_t> output(const ConvCase& c, std::uint32_t iova = kOutputIova);

  Chip chip;
  std::shared_ptr<AddressSpace> space = std::make_shared<AddressSpace>();
};

}  // namespace npu::sim::test
