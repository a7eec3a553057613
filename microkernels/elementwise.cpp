// SPDX-License-Identifier: MIT
#include "microkernels/elementwise.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "microkernels/flying_task.hpp"
#include "microkernels/layout.hpp"
#include "npu-sim/float_types.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

enum : std::uint32_t { kA, kB, kC };

[[noreturn]] void refuse(const std::string& why) {
  throw Error(ErrorCode::invalid_argument, "element-wise: " + why);
}

// Whole atoms of each core.
std::uint64_t atoms(DataType type, std::uint64_t elements) {
  return ceil_div<std::uint64_t>(elements, atom_elements(type));
}

std::vector<std::vector<Slot>> slots(DataType type, std::span<const std::uint64_t> sizes) {
  std::vector<std::vector<Slot>> cores;
  for (const std::uint64_t size : sizes) {
    const std::uint64_t bytes = atoms(type, size) * kAtomBytes;
    using enum Slot::Role;
    cores.push_back({{"a", bytes, input}, {"b", bytes, input}, {"c", bytes, output}});
  }
  return cores;
}

std::uint32_t size_code(DataType type) {
  using S = regdb::dpu::EW_CFG::EDATA_SIZE;
  return bits(type) == 8 ? S::BITS_8 : bits(type) == 16 ? S::BITS_16 : S::BITS_32;
}

}  // namespace

std::string_view to_string(ElementwiseOp op) {
  switch (op) {
    case ElementwiseOp::add: return "add";
    case ElementwiseOp::sub: return "sub";
    case ElementwiseOp::mul: return "mul";
    case ElementwiseOp::max: return "max";
    case ElementwiseOp::min: return "min";
  }
  return "?";
}

void set_elementwise(DpuSetup& setup, DataType type, ElementwiseOp op, const Place& operand) {
  namespace dpu = regdb::dpu;
  if (type != DataType::i8 && type != DataType::i16 && type != DataType::i32 &&
      type != DataType::f16)
    refuse(fmt::format("the DPU has no {} operands: use i8, i16, i32 or f16", to_string(type)));
  const bool multiply = op == ElementwiseOp::mul;
  if (multiply && type == DataType::i32)
    refuse("products of i32 take 16 bits of the second operand: multiply on the host");
  using A = dpu::EW_CFG::EW_ALU_ALGO;
  const std::uint32_t algo = op == ElementwiseOp::add   ? A::ADD
                             : op == ElementwiseOp::sub ? A::MINUS
                             : op == ElementwiseOp::min ? A::MIN
                                                        : A::MAX;
  setup.ew = {
      .ew_data_mode = dpu::EW_CFG::EW_DATA_MODE::PER_PIXEL,
      .edata_size = size_code(type),
      .ew_alu_algo = multiply ? 0 : algo,
      .ew_relu_bypass = true,
      // The converter is off where it would spoil the operand: products of fp16, and 32 bits.
      .ew_op_cvt_bypass = (multiply && type == DataType::f16) || type == DataType::i32,
      .ew_lut_bypass = true,
      .ew_op_src = dpu::EW_CFG::EW_OP_SRC::MEMORY,
      .ew_op_type = multiply ? dpu::EW_CFG::EW_OP_TYPE::MUL : dpu::EW_CFG::EW_OP_TYPE::ALU};
  setup.erdma = {.erdma_data_mode = regdb::dpu_rdma::RDMA_ERDMA_CFG::ERDMA_DATA_MODE::PER_PIXEL,
                 .erdma_data_size = size_code(type)};
  setup.ew_operand = operand;
}

Elementwise::Elementwise(std::span<device::Device* const> devices, DataType type, ElementwiseOp op,
                         std::uint64_t n, const std::optional<ElementwiseScales>& scales)
    : type_(type), n_(n), executor_(devices, slots(type, split_vector(type, n, devices.size()))) {
  if (scales && type != DataType::i8) refuse("scales are for int8");
  if (scales && (scales->operand.shift > 63 || scales->result.shift > 63))
    refuse("a shift is 0 to 63");
  std::vector<std::vector<Stage>> stages;
  for (const std::uint64_t size : split_vector(type, n, devices.size())) {
    parts_.push_back({parts_.empty() ? 0 : parts_.back().begin + parts_.back().size, size});
    Stage stage{.program = {.slots = {"a", "b", "c"}}, .tasks = {}};
    const std::uint64_t all = atoms(type, size);
    for (std::uint64_t at = 0; at < all; at += kMaxFlyingAtoms) {
      const auto count =
          static_cast<std::uint32_t>(std::min<std::uint64_t>(kMaxFlyingAtoms, all - at));
      const std::uint64_t offset = at * kAtomBytes;
      FlyingTask task{
          .type = type, .atoms = count, .main = {kA, offset}, .output = {kC, offset}, .dpu = {}};
      set_elementwise(task.dpu, type, op, {kB, offset});
      if (scales) {
        scale_operand(task.dpu, scales->operand);
        requantise_output(task.dpu, scales->result);
      }
      emit(stage.program, task);
      stage.tasks.push_back({.macs = 0,
                             .bytes = std::uint64_t{count} * kAtomBytes * 3,
                             .out_slot = kC,
                             .last_atom = offset + (std::uint64_t{count} - 1) * kAtomBytes});
    }
    stages.push_back({std::move(stage)});
  }
  executor_.set_programs(stages);
}

void Elementwise::run(ConstElements a, ConstElements b, Elements c, RunStats* stats) {
  const std::size_t size = host_bytes(type_);
  const auto check = [&](const char* what, std::size_t count, std::size_t element) {
    if (count != n_ || element != size)
      refuse(fmt::format("vector {} has {} elements of {} bytes; {} of {} are needed", what, count,
                         element, n_, to_string(type_)));
  };
  check("a", a.size(), a.element_bytes());
  check("b", b.size(), b.element_bytes());
  check("c", c.size(), c.element_bytes());
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    const std::size_t begin = parts_[i].begin * size, bytes = parts_[i].size * size;
    std::memcpy(executor_.host(i, kA).data(), a.data() + begin, bytes);
    std::memcpy(executor_.host(i, kB).data(), b.data() + begin, bytes);
    executor_.written(i, kA);
    executor_.written(i, kB);
  }
  RunStats run;
  executor_.run(0, run);
  for (std::size_t i = 0; i < parts_.size(); ++i)
    std::memcpy(c.data() + parts_[i].begin * size, executor_.host(i, kC).data(),
                parts_[i].size * size);
  if (stats != nullptr) *stats = run;
}

namespace {

std::int64_t shift_even(std::int64_t value, unsigned shift) {
  if (shift == 0) return value;
  const std::int64_t floor = value >> shift, rest = value - (floor << shift);
  const std::int64_t half = std::int64_t{1} << (shift - 1);
  return floor + (rest > half || (rest == half && (floor & 1) != 0));
}

std::int64_t apply(ElementwiseOp op, std::int64_t a, std::int64_t b) {
  switch (op) {
    case ElementwiseOp::add: return a + b;
    case ElementwiseOp::sub: return a - b;
    case ElementwiseOp::mul: return a * b;
    case ElementwiseOp::max: return std::max(a, b);
    case ElementwiseOp::min: return std::min(a, b);
  }
  return 0;
}

float apply(ElementwiseOp op, float a, float b) {
  switch (op) {
    case ElementwiseOp::add: return a + b;
    case ElementwiseOp::sub: return a - b;
    case ElementwiseOp::mul: return a * b;
    case ElementwiseOp::max: return a < b ? b : a;  // of equal numbers (zeros) the first
    case ElementwiseOp::min: return b < a ? b : a;
  }
  return 0;
}

}  // namespace

std::uint32_t ref_elementwise(DataType type, ElementwiseOp op,
                              const std::optional<ElementwiseScales>& scales, std::uint32_t a,
                              std::uint32_t b) {
  if (type == DataType::f16)
    return sim::float_to_fp16(apply(op, sim::fp16_to_float(static_cast<std::uint16_t>(a)),
                                    sim::fp16_to_float(static_cast<std::uint16_t>(b))));
  const unsigned unused = 32 - bits(type);
  const auto extend = [&](std::uint32_t v) {
    return std::int64_t{static_cast<std::int32_t>(v << unused) >> unused};
  };
  std::int64_t x = extend(a), y = extend(b);
  const auto clamp_bits = [](std::int64_t v, unsigned width) {
    const std::int64_t most = (std::int64_t{1} << (width - 1)) - 1;
    return std::clamp(v, -most - 1, most);
  };
  if (scales)
    y = shift_even((y + scales->operand.offset) * scales->operand.scale, scales->operand.shift);
  std::int64_t result = clamp_bits(apply(op, x, y), 32);
  if (scales)
    result =
        shift_even(result * scales->result.scale, scales->result.shift) + scales->result.offset;
  return static_cast<std::uint32_t>(clamp_bits(result, bits(type)));
}

}  // namespace npu::kernels
