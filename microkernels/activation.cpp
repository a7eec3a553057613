// SPDX-License-Identifier: MIT
#include "microkernels/activation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>

#include "microkernels/elementwise.hpp"
#include "microkernels/flying_task.hpp"
#include "microkernels/layout.hpp"
#include "npu-sim/float_types.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

namespace dpu = regdb::dpu;

enum : std::uint32_t { kX, kGate, kY };

// Cells of 32 index units, 512 on each side of the middle.
constexpr int kCells = 512;
constexpr std::int32_t kReach = 32 * kCells;

std::int16_t quantise(double value, std::int32_t lowest) {
  return static_cast<std::int16_t>(
      std::clamp(std::lround(value * 32768), static_cast<long>(lowest), 32767L));
}

void use_tables(DpuSetup& s, LutTables tables, double index_scale, float index_offset,
                std::int32_t offset, std::uint32_t minus_exp) {
  s.tables = std::make_shared<const LutTables>(std::move(tables));
  s.bn = {.bn_alu_algo = dpu::BN_CFG::BN_ALU_ALGO::ADD, .bn_relu_bypass = true};
  s.bn_mul.bn_mul_operand = sim::float_to_fp16(static_cast<float>(index_scale));
  s.bn_alu.bn_alu_operand = std::bit_cast<std::uint32_t>(index_offset);
  s.ew = {.ew_relu_bypass = true, .ew_op_cvt_bypass = true, .ew_op_bypass = true};
  s.lut = {.lut_hybrid_priority = true, .lut_oflow_priority = true, .lut_lo_le_mux = 2};
  s.lut_info = {.lut_lo_index_select = 5, .lut_le_index_select = 5};
  s.lut_le_start.lut_le_start = -kReach;
  s.lut_lo_end.lut_lo_end = kReach;
  s.out_offset.out_cvt_offset = offset;
  s.out_shift = {.cvt_type = dpu::OUT_CVT_SHIFT::CVT_TYPE::ADD_FIRST, .minus_exp = minus_exp};
}

// f with values in [0, 1] over +-10, and flat beyond. The converter adds 1, so that no entry
// becomes the zero that boards decode as 4.0, and divides by 2^15. A sloped continuation would
// cross zero.
void unit_function(DpuSetup& s, const std::function<double(double)>& f) {
  constexpr double kScale = 1638;  // exact in fp16
  LutTables t;
  for (std::size_t i = 0; i <= kCells; ++i) {
    t.le[i] = quantise(f(-static_cast<double>(kCells - i) * 32 / kScale), 0);
    t.lo[i] = quantise(f(static_cast<double>(i) * 32 / kScale), 0);
  }
  use_tables(s, t, kScale, -0.0f, 1, 15);
}

void tanh_function(DpuSetup& s) {
  constexpr double kScale = 3276;  // +-5.0
  LutTables t;
  const auto entry = [](double x) { return quantise((std::tanh(x) + 1) / 2, 0); };
  for (std::size_t i = 0; i <= kCells; ++i) {
    t.le[i] = entry(-static_cast<double>(kCells - i) * 32 / kScale);
    t.lo[i] = entry(static_cast<double>(i) * 32 / kScale);
  }
  // 16384 - 16384 would be a zero, which boards read as 8: the curve steps over it.
  t.le[kCells] = 16383;
  t.lo[0] = 16385;
  use_tables(s, t, kScale, -0.0f, -16384, 14);
}

// exp over [-16, 0], all of it in LO.
void exp_function(DpuSetup& s) {
  LutTables t;
  for (std::size_t i = 0; i <= kCells; ++i)
    t.lo[i] = quantise(std::exp(-16 + static_cast<double>(i) * 16 / kCells), 1);
  t.le.fill(t.lo[0]);
  use_tables(s, t, kReach / 16.0, kReach, 1, 15);
}

double gelu_gate(double x) { return 0.5 * (1 + std::erf(x / std::sqrt(2.0))); }

bool is_gated(Activation f) { return f == Activation::silu || f == Activation::gelu; }

std::uint64_t atoms(std::uint64_t elements) {
  return ceil_div<std::uint64_t>(elements, atom_elements(DataType::f16));
}

std::vector<std::vector<Slot>> slots(Activation function, std::span<const std::uint64_t> sizes) {
  std::vector<std::vector<Slot>> cores;
  for (const std::uint64_t size : sizes) {
    const std::uint64_t bytes = atoms(size) * kAtomBytes;
    using enum Slot::Role;
    cores.push_back({{"x", bytes, input},
                     {"gate", bytes, is_gated(function) ? scratch : unused},
                     {"y", bytes, output}});
  }
  return cores;
}

}  // namespace

std::string_view to_string(Activation function) {
  switch (function) {
    case Activation::relu: return "relu";
    case Activation::relu6: return "relu6";
    case Activation::sigmoid: return "sigmoid";
    case Activation::hard_sigmoid: return "hard_sigmoid";
    case Activation::tanh: return "tanh";
    case Activation::exp: return "exp";
    case Activation::silu: return "silu";
    case Activation::gelu: return "gelu";
  }
  return "?";
}

void set_activation(DpuSetup& setup, Activation function) {
  const auto logistic = [](double x) { return 1 / (1 + std::exp(-x)); };
  switch (function) {
    case Activation::relu: relu(setup); return;
    case Activation::relu6: relu(setup, std::bit_cast<std::int32_t>(6.0f)); return;
    case Activation::sigmoid:
    case Activation::silu: unit_function(setup, logistic); return;
    case Activation::gelu: unit_function(setup, gelu_gate); return;
    case Activation::hard_sigmoid:
      unit_function(setup, [](double x) { return std::clamp(x / 6 + 0.5, 0.0, 1.0); });
      return;
    case Activation::tanh: tanh_function(setup); return;
    case Activation::exp: exp_function(setup); return;
  }
}

ActivationF16::ActivationF16(std::span<device::Device* const> devices, Activation function,
                             std::uint64_t n)
    : n_(n),
      sizes_(split_vector(DataType::f16, n, devices.size())),
      executor_(devices, slots(function, sizes_)) {
  std::vector<std::vector<Stage>> stages;
  for (const std::uint64_t size : sizes_) {
    Stage stage{.program = {.slots = {"x", "gate", "y"}}, .tasks = {}};
    const std::uint64_t all = atoms(size);
    const auto add = [&](std::uint32_t out, std::uint64_t at, std::uint32_t count, auto set_up) {
      const std::uint64_t offset = at * kAtomBytes;
      FlyingTask task{.type = DataType::f16,
                      .atoms = count,
                      .main = {kX, offset},
                      .output = {out, offset},
                      .dpu = {}};
      set_up(task.dpu, offset);
      emit(stage.program, task);
      stage.tasks.push_back({.macs = 0,
                             .bytes = std::uint64_t{count} * kAtomBytes * 3,
                             .out_slot = out,
                             .last_atom = offset + (std::uint64_t{count} - 1) * kAtomBytes});
    };
    for (std::uint64_t at = 0; at < all; at += kMaxFlyingAtoms) {
      const auto count =
          static_cast<std::uint32_t>(std::min<std::uint64_t>(kMaxFlyingAtoms, all - at));
      const auto table = [&](DpuSetup& s, std::uint64_t) { set_activation(s, function); };
      if (!is_gated(function)) {
        add(kY, at, count, table);
        continue;
      }
      add(kGate, at, count, table);
      add(kY, at, count, [&](DpuSetup& s, std::uint64_t offset) {
        set_elementwise(s, DataType::f16, ElementwiseOp::mul, {kGate, offset});
      });
    }
    stages.push_back({std::move(stage)});
  }
  executor_.set_programs(stages);
}

void ActivationF16::run(std::span<const std::uint16_t> x, std::span<std::uint16_t> y,
                        RunStats* stats) {
  if (x.size() != n_ || y.size() != n_)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("activation: vectors of {} and {} elements; {} are needed", x.size(),
                            y.size(), n_));
  std::uint64_t begin = 0;
  for (std::size_t i = 0; i < sizes_.size(); begin += sizes_[i++]) {
    std::memcpy(executor_.host(i, kX).data(), x.data() + begin, sizes_[i] * 2);
    executor_.written(i, kX);
  }
  RunStats run;
  executor_.run(0, run);
  begin = 0;
  for (std::size_t i = 0; i < sizes_.size(); begin += sizes_[i++])
    std::memcpy(y.data() + begin, executor_.host(i, kY).data(), sizes_[i] * 2);
  if (stats != nullptr) *stats = run;
}

}  // namespace npu::kernels
