// SPDX-License-Identifier: MIT
// Functions of one fp16 vector: by the DPU's comparators, its tables, or a table and a product.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "microkernels/dpu_setup.hpp"
#include "microkernels/elements.hpp"
#include "microkernels/executor.hpp"
#include "npu-device/device.hpp"

namespace npu::kernels {

/// Largest errors over the ranges, on the simulator, as tests/microkernels/activation_test.cpp
/// holds them (an fp16 near 10 has a last place of 0.008):
///   relu, relu6          all x         exact
///   sigmoid              |x| <= 10     0.0004
///   hard_sigmoid         |x| <= 10     0.001       x / 6 + 1/2, cut to 0 and 1
///   tanh                 all x         0.0005
///   exp                  -16 <= x <= 0 0.0009
///   silu, gelu           |x| <= 10     0.006, 0.002   x times a gate from a table: two passes
/// Tables are flat beyond their range: a gate keeps the value that it has at 10 or -10.
enum class Activation : std::uint8_t { relu, relu6, sigmoid, hard_sigmoid, tanh, exp, silu, gelu };
std::string_view to_string(Activation function);

/// Switches the function's pass on in `setup`; of silu and gelu the gate that x is multiplied with.
/// Table layout and constants: [notes dpu-lut-activation, HW; allbilly silu.py]. Entries that the
/// board decodes wrongly (a zero, or what the converter makes one) are avoided.
void set_activation(DpuSetup& setup, Activation function);

/// Vectors are spread over the devices, one per core, and cut into tasks.
class ActivationF16 {
 public:
  /// Throws invalid_argument for n = 0 or no device, and what Device::create_buffer() throws.
  ActivationF16(std::span<device::Device* const> devices, Activation function, std::uint64_t n);

  /// y[i] = f(x[i]), fp16 as bits. Throws invalid_argument for vectors of another size, and what
  /// Executor::run() throws.
  void run(std::span<const std::uint16_t> x, std::span<std::uint16_t> y, RunStats* stats = nullptr);

 private:
  std::uint64_t n_;
  std::vector<std::uint64_t> sizes_;  ///< elements of each core
  Executor executor_;
};

}  // namespace npu::kernels
