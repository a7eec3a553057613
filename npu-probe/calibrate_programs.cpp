// SPDX-License-Identifier: MIT
#include "npu-probe/calibrate_programs.hpp"

#include "microkernels/layout.hpp"
#include "regdb/registers.hpp"

namespace npu::probe::calibrate {
namespace {

using kernels::DataType;
using kernels::kAtomBytes;
using kernels::MacTask;

constexpr std::uint32_t kBanks = 12, kBankBytes = 32768;  // notes chips/rk3588

std::uint32_t bytes(std::uint64_t elements, DataType type) {
  return static_cast<std::uint32_t>(kernels::type_bytes(type, elements));
}

// One bank more than the bytes need [notes cbuf-bank-slack, HW: int8].
void split_cbuf(MacTask& task, std::uint32_t feature_bytes) {
  task.data_banks = kernels::ceil_div(feature_bytes, kBankBytes) + 1;
  task.weight_banks = kBanks - task.data_banks;
}

// Surfaces that are written for a group of kernels [notes size-e-quirk, HW].
std::uint32_t surfaces(DataType in, DataType out) {
  if (bits(out) == 32) return in == DataType::i8 ? 8 : 4;
  return in == DataType::i4 ? 8 : 2;
}

}  // namespace

MacTask product(DataType in, DataType out, std::uint32_t m, std::uint32_t k, std::uint32_t n) {
  const std::uint32_t planes = surfaces(in, out);
  const bool converted = out == DataType::i8;
  MacTask task{.in = in,
               .out = out,
               .in_width = 1,
               .in_height = m,
               .channels = k,
               .channels_real = k,
               .line_stride = 4,
               .surface_stride = static_cast<std::int32_t>(m) - 4,
               .entries = kernels::ceil_div(bytes(k, in), 64u),
               .grains = converted ? 52 : m + 1,
               .features = {kIn, 0},
               .kernels = n,
               .kernel_bytes = bytes(k, in),
               .weight_bytes = bytes(std::uint64_t{n} * k, in),
               .weights = {kWeights, 0},
               .quantify = converted || is_float(in),
               .output = {.size_e = planes - 1,
                          .od_bypass = !converted,
                          .width = 1,
                          .height = m,
                          .channels = n,
                          .original_channels = n,
                          .surface = m,
                          .surface_add = m * planes,
                          .output = {kOut, 0}},
               .dpu = {}};
  split_cbuf(task, bytes(std::uint64_t{m} * k, in));
  if (out == DataType::f16) kernels::narrow_to_f16(task.dpu);
  if (converted) kernels::add_bias(task.dpu, {kExtra, 0});
  return task;
}

MacTask depthwise(DataType type, std::uint32_t side, std::uint32_t channels, std::uint32_t window) {
  const std::uint32_t plane = side * side;
  const std::uint32_t kernel = bytes(std::uint64_t{window} * window * channels, type);
  MacTask task{.in = type,
               .out = type,
               .in_width = side,
               .in_height = side,
               .channels = channels,
               .channels_real = channels,
               .line_stride = static_cast<std::int32_t>(4 * side),
               .surface_stride = static_cast<std::int32_t>(side) * (static_cast<int>(side) - 4),
               .entries = kernels::ceil_div(bytes(std::uint64_t{side} * channels, type), 64u),
               .grains = 52,
               .features = {kIn, 0},
               .depthwise = true,
               .kernels = 1,
               .kernel_width = window,
               .kernel_height = window,
               .pad_left = window / 2,
               .pad_top = window / 2,
               .kernel_bytes = kernel,
               .weight_bytes = kernel,
               .weights = {kWeights, 0},
               .quantify = true,
               .output = {.size_e = 3,
                          .od_bypass = false,
                          // 2^-17 as an fp16 [notes depthwise-conv, HW].
                          .ow_op = type == DataType::f16 ? 0x80 : 0,
                          .width = side,
                          .height = side,
                          .channels = channels,
                          .original_channels = channels,
                          .surface = plane,
                          .surface_add = plane * 4,
                          .output = {kOut, 0}},
               .dpu = {}};
  split_cbuf(task, bytes(std::uint64_t{plane} * channels, type));
  if (type == DataType::f16) kernels::narrow_to_f16(task.dpu);
  return task;
}

void emit_cube(kernels::Program& program, const Cube& cube) {
  namespace dpu = regdb::dpu;
  namespace rdma = regdb::dpu_rdma;
  kernels::TaskEmitter e(program);
  e.write(
      dpu::S_POINTER{.pointer_pp_mode = true, .executer_pp_en = true, .pointer_pp_en = true},
      rdma::RDMA_S_POINTER{.pointer_pp_mode = true, .executer_pp_en = true, .pointer_pp_en = true});
  const std::uint32_t code = kernels::output_precision(cube.type);
  const std::uint32_t plane = cube.width * cube.height;
  kernels::DpuSetup setup = cube.dpu;
  setup.main_operand = kernels::Place{kIn, 0};
  if (setup.ew_operand && setup.ew_surface == 0) setup.ew_surface = plane;
  if (cube.type == DataType::f16) setup.out_scale.fp32tofp16_en = true;
  kernels::emit_dpu(e, setup,
                    {.size_e = 0,
                     .width = cube.width,
                     .height = cube.height,
                     .channels = cube.channels,
                     .original_channels = cube.channels,
                     .surface = plane,
                     .surface_add = plane,
                     .flying = true,
                     .in_precision = code,
                     .proc_precision = code,
                     .out_precision = code,
                     .output = {kOut, 0}});
  e.end(regdb::enable_mask::dpu | regdb::enable_mask::dpu_rdma);
}

void emit_pool(kernels::Program& program, const Pool& pool, const kernels::Place& in,
               const kernels::Place& out) {
  namespace ppu = regdb::ppu;
  namespace rdma = regdb::ppu_rdma;
  kernels::TaskEmitter e(program);
  const std::uint32_t area = pool.out() * pool.out();
  e.write(
      ppu::S_POINTER{.pointer_pp_mode = true, .executer_pp_en = true, .pointer_pp_en = true},
      rdma::RDMA_S_POINTER{.pointer_pp_mode = true, .executer_pp_en = true, .pointer_pp_en = true},
      ppu::DATA_CUBE_IN_WIDTH{.cube_in_width = pool.side},
      ppu::DATA_CUBE_IN_HEIGHT{.cube_in_height = pool.side},
      ppu::DATA_CUBE_IN_CHANNEL{.cube_in_channel = pool.channels},
      ppu::DATA_CUBE_OUT_WIDTH{.cube_out_width = pool.out()},
      ppu::DATA_CUBE_OUT_HEIGHT{.cube_out_height = pool.out()},
      ppu::DATA_CUBE_OUT_CHANNEL{.cube_out_channel = pool.channels},
      ppu::OPERATION_MODE_CFG{.flying_mode = true, .pooling_method = 1},
      ppu::POOLING_KERNEL_CFG{.kernel_stride_height = pool.stride,
                              .kernel_stride_width = pool.stride,
                              .kernel_height = pool.window,
                              .kernel_width = pool.window},
      ppu::RECIP_KERNEL_WIDTH{}, ppu::RECIP_KERNEL_HEIGHT{}, ppu::POOLING_PADDING_CFG{},
      ppu::PADDING_VALUE_1_CFG{}, ppu::PADDING_VALUE_2_CFG{});
  e.address(ppu::DST_BASE_ADDR{}, out);
  // MISC_CTRL 3 as every proven program has it [allbilly pooling.py, board].
  e.write(ppu::DST_SURF_STRIDE::decode(area * kAtomBytes), ppu::DATA_FORMAT::decode(area << 4),
          ppu::MISC_CTRL::decode(3), rdma::RDMA_CUBE_IN_WIDTH{.cube_in_width = pool.side},
          rdma::RDMA_CUBE_IN_HEIGHT{.cube_in_height = pool.side},
          rdma::RDMA_CUBE_IN_CHANNEL{.cube_in_channel = pool.channels});
  e.address(rdma::RDMA_SRC_BASE_ADDR{}, in);
  e.write(rdma::RDMA_SRC_LINE_STRIDE::decode(pool.side * kAtomBytes),
          rdma::RDMA_SRC_SURF_STRIDE::decode(pool.side * pool.side * kAtomBytes),
          rdma::RDMA_DATA_FORMAT{.in_precision = 1}, rdma::RDMA_OPERATION_ENABLE::decode(1));
  e.end(regdb::enable_mask::ppu | regdb::enable_mask::ppu_rdma);
}

void override_word(kernels::Program& program, std::uint16_t target, std::uint32_t value,
                   std::uint16_t offset) {
  auto& words = program.tasks.back();
  constexpr std::ptrdiff_t kTrailer = 4;
  const std::uint64_t word = regdb::Regcmd{target, value, offset}.pack();
  // Twice: programs are fetched in pairs of words.
  words.insert(words.end() - kTrailer, 2, word);
}

}  // namespace npu::probe::calibrate
