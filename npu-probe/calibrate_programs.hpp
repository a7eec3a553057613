// SPDX-License-Identifier: MIT
// Small programs to measure and to ask with. Each is of a form that boards have run: matrix
// products in cube form, depthwise convolutions, work of the DPU alone, stand-alone pools
// [compute.md 2 to 6].
#pragma once

#include <cstdint>

#include "microkernels/data_type.hpp"
#include "microkernels/mac_task.hpp"
#include "microkernels/program.hpp"
#include "regdb/regcmd.hpp"

namespace npu::probe::calibrate {

/// Slots of the programs.
inline constexpr std::uint32_t kIn = 0, kWeights = 1, kOut = 2, kExtra = 3;

/// C[m][n] = A[m][k] . B[n][k]^T of one task: A in kIn, B in kWeights, C in kOut, all packed as
/// microkernels/layout.hpp has it. int8 results: quantised by the converter, a bias of n int32 in
/// kExtra.
kernels::MacTask product(kernels::DataType in, kernels::DataType out, std::uint32_t m,
                         std::uint32_t k, std::uint32_t n);

/// Depthwise convolution, int8 or fp16, of side x side pixels with padding on the left and on top
/// of half a window.
kernels::MacTask depthwise(kernels::DataType type, std::uint32_t side, std::uint32_t channels,
                           std::uint32_t window);

/// Work of the DPU alone on a cube [channels / atom][height][width][atom]: kIn to kOut.
struct Cube {
  kernels::DataType type = kernels::DataType::f16;
  std::uint32_t width = 1, height = 1, channels = 8;
  kernels::DpuSetup dpu{};
};
void emit_cube(kernels::Program& program, const Cube& cube);

/// Max pool of int8 on side x side pixels, without padding.
struct Pool {
  std::uint32_t side = 4, channels = 16, window = 2, stride = 1;
  std::uint32_t out() const { return (side - window) / stride + 1; }
};
void emit_pool(kernels::Program& program, const Pool& pool, const kernels::Place& in,
               const kernels::Place& out);

/// Puts a word in front of the trailer of the last task: it overrides what the task wrote before.
void override_word(kernels::Program& program, std::uint16_t target, std::uint32_t value,
                   std::uint16_t offset);
template <class R>
void override_register(kernels::Program& program, const R& reg) {
  override_word(program, static_cast<std::uint16_t>(R::target), reg.encode(), R::offset);
}
/// The value that the last task gives a register; 0 if it gives none.
template <class R>
R last_written(const kernels::Program& program) {
  std::uint32_t value = 0;
  for (const std::uint64_t word : program.tasks.back()) {
    const auto w = regdb::Regcmd::unpack(word);
    if (w.target == static_cast<std::uint16_t>(R::target) && w.offset == R::offset) value = w.value;
  }
  return R::decode(value);
}

}  // namespace npu::probe::calibrate
