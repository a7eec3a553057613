// SPDX-License-Identifier: MIT
#include "microkernels/flying_task.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "microkernels/layout.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {

void emit(Program& program, const FlyingTask& task) {
  namespace dpu = regdb::dpu;
  namespace rdma = regdb::dpu_rdma;
  if (task.atoms == 0 || task.atoms > kMaxFlyingAtoms)
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("a task of the DPU takes 1 to {} atoms, not {}", kMaxFlyingAtoms, task.atoms));
  TaskEmitter e(program);
  e.write(
      dpu::S_POINTER{.pointer_pp_mode = true, .executer_pp_en = true, .pointer_pp_en = true},
      rdma::RDMA_S_POINTER{.pointer_pp_mode = true, .executer_pp_en = true, .pointer_pp_en = true});
  const std::uint32_t code = output_precision(task.type);
  const std::uint32_t channels = atom_elements(task.type);
  DpuSetup setup = task.dpu;
  setup.main_operand = task.main;
  if (setup.ew_operand) setup.ew_surface = task.atoms;
  if (task.type == DataType::f16) setup.out_scale.fp32tofp16_en = true;
  emit_dpu(e, setup,
           {.size_e = 0,
            .od_bypass = true,
            .width = task.atoms,
            .height = 1,
            .channels = channels,
            .original_channels = channels,
            .surface = task.atoms,
            .surface_add = task.atoms,
            .flying = true,
            .in_precision = code,
            .proc_precision = code,
            .out_precision = code,
            .output = task.output});
  namespace on = regdb::enable_mask;
  e.end(on::dpu | on::dpu_rdma);
}

std::vector<std::uint64_t> split_vector(DataType type, std::uint64_t n, std::size_t cores) {
  if (n == 0) throw Error(ErrorCode::invalid_argument, "an operation on an empty vector");
  if (cores == 0)
    throw Error(ErrorCode::invalid_argument,
                "an operation needs one open device per core: open one and pass it");
  const std::uint64_t lanes = atom_elements(type), atoms = ceil_div(n, lanes);
  const std::uint64_t parts = std::min<std::uint64_t>(cores, atoms);
  std::vector<std::uint64_t> sizes;
  std::uint64_t done = 0;
  for (std::uint64_t i = 1; i <= parts; ++i) {
    const std::uint64_t end = std::min(n, atoms * i / parts * lanes);
    sizes.push_back(end - done);
    done = end;
  }
  return sizes;
}

}  // namespace npu::kernels
