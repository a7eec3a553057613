// SPDX-License-Identifier: MIT
// One pass through the DPU alone: values come from memory by DPU_RDMA instead of from the MAC
// array. Vectors as cubes of one atom of channels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "microkernels/data_type.hpp"
#include "microkernels/dpu_setup.hpp"
#include "microkernels/task_emitter.hpp"

namespace npu::kernels {

/// The widest vector of a task, in atoms: 8191 columns spoil the tail [notes dpu-lut-activation,
/// HW].
inline constexpr std::uint32_t kMaxFlyingAtoms = 4096;

struct FlyingTask {
  DataType type = DataType::f16;  ///< of input, operand and output: i8, i16, i32 or f16
  std::uint32_t atoms = 0;        ///< 16 bytes each, at most kMaxFlyingAtoms
  Place main, output;
  DpuSetup dpu;  ///< main_operand is set by emit()
};

/// Appends the task to the program [compute.md 6.1: allbilly elementwise.py, rocket-userspace
/// ew_int_probe; both board-proven].
void emit(Program& program, const FlyingTask& task);

/// Elements of a vector of `n` for each of at most `cores` cores: whole atoms but for the last.
/// Throws invalid_argument for an empty vector or no core.
std::vector<std::uint64_t> split_vector(DataType type, std::uint64_t n, std::size_t cores);

}  // namespace npu::kernels
