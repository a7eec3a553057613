// SPDX-License-Identifier: MIT
// Programs of the DPU without the MAC array, and what registers remember.
#include <cstdint>
#include <limits>

#include "microkernels/elementwise.hpp"
#include "microkernels/flying_task.hpp"
#include "microkernels/layout.hpp"
#include "npu-probe/calibrate_programs.hpp"
#include "npu-probe/calibrate_questions.hpp"
#include "npu-sim/float_types.hpp"
#include "regdb/registers.hpp"

namespace npu::probe::calibrate {
namespace {

using kernels::DataType;
using kernels::kAtomBytes;

kernels::Program new_program() { return {.slots = {"in", "weights", "out", "extra"}}; }

std::vector<std::uint16_t> halves(const std::vector<double>& x) {
  std::vector<std::uint16_t> h;
  for (const double v : x) h.push_back(sim::float_to_fp16(static_cast<float>(v)));
  return h;
}
std::vector<double> half_results(const Bytes& out, std::size_t count) {
  std::vector<double> values;
  for (const std::uint16_t h : values_of<std::uint16_t>(out, 0, count))
    values.push_back(static_cast<double>(sim::fp16_to_float(h)));
  return values;
}

// 17 channels times multipliers of one.
Answer partial_surface(Lab& lab) {
  constexpr std::uint32_t kChannels = 17, kLanes = 24;
  kernels::Program program = new_program();
  Cube cube{.type = DataType::f16, .channels = kChannels};
  cube.dpu.bs = {.bs_relu_bypass = true, .bs_alu_bypass = true};
  cube.dpu.bs_mul.bs_mul_src = regdb::dpu::BS_MUL_CFG::BS_MUL_SRC::MEMORY;
  cube.dpu.brdma.brdma_data_use = 4;
  cube.dpu.bs_operand = kernels::Place{kExtra, 0};
  emit_cube(program, cube);
  std::vector<double> main;
  for (std::uint32_t i = 0; i < kLanes; ++i) main.push_back(i + 1);
  std::vector<Bytes> slots = {bytes_of(halves(main)), Bytes(1), blank(kLanes * 2),
                              bytes_of(halves(std::vector<double>(kLanes, 1)))};
  if (const RunEnd end = lab.run(program, slots); !end.ended) return failed(end);
  std::vector<double> lost(main.begin(), main.begin() + kChannels), right = lost;
  lost.back() = 0;
  return decide(half_results(slots[kOut], kChannels),
                {{"a partial last surface is multiplied by zero", lost},
                 {"every channel has its multiplier", right}});
}

// A copy of the widest row that the register holds.
Answer width_limit(Lab& lab) {
  constexpr std::uint32_t kWidth = 8191;
  kernels::Program program = new_program();
  emit_cube(program, {.type = DataType::f16, .width = kWidth});
  std::vector<std::uint16_t> main(std::size_t{kWidth} * 8);
  for (std::size_t i = 0; i < main.size(); ++i)
    main[i] = static_cast<std::uint16_t>(i * 37 % 30000 + 1);  // finite, neighbours differ
  std::vector<Bytes> slots = {bytes_of(main), Bytes(1), blank(main.size() * 2)};
  if (const RunEnd end = lab.run(program, slots); !end.ended) return failed(end);
  const auto got = values_of<std::uint16_t>(slots[kOut], 0, main.size());
  std::size_t wrong = 0, first = main.size();
  for (std::size_t i = main.size(); i-- > 0;)
    if (got[i] != main[i]) ++wrong, first = i;
  const std::string seen = wrong == 0
                               ? "all " + std::to_string(main.size()) + " elements right"
                               : std::to_string(wrong) + " elements wrong, the first is " +
                                     std::to_string(first) + " of " + std::to_string(main.size());
  if (wrong == 0) return {Verdict::no, "8191 columns are right", seen};
  return {first >= main.size() - 128 ? Verdict::yes : Verdict::other,
          first >= main.size() - 128 ? "the end of 8191 columns is wrong" : "wrong elsewhere too",
          seen};
}

Answer int32_difference(Lab& lab) {
  constexpr std::int32_t kLeast = std::numeric_limits<std::int32_t>::min(), kMost = ~kLeast;
  kernels::Program program = new_program();
  kernels::FlyingTask task{
      .type = DataType::i32, .atoms = 1, .main = {kIn, 0}, .output = {kOut, 0}, .dpu = {}};
  kernels::set_elementwise(task.dpu, DataType::i32, kernels::ElementwiseOp::sub, {kExtra, 0});
  kernels::emit(program, task);
  std::vector<Bytes> slots = {bytes_of(std::vector<std::int32_t>{1, 0, -5, 7}), Bytes(1), blank(16),
                              bytes_of(std::vector<std::int32_t>{kLeast, kLeast, kLeast, 2})};
  if (const RunEnd end = lab.run(program, slots); !end.ended) return failed(end);
  const auto got = values_of<std::int32_t>(slots[kOut], 0, 4);
  const double least = kLeast;
  return decide({got.begin(), got.end()},
                {{"the operand is negated in 32 bits, then added with saturation",
                  {least + 1, least, least, 5}},
                 {"the exact difference is saturated", {kMost, kMost, kMost - 4.0, 5}},
                 {"the difference wraps", {least + 1, least, kMost - 4.0, 5}}});
}

// fp16 to fp32: SIZE_E 1 writes both surfaces that a group becomes.
Answer widening(Lab& lab) {
  kernels::Program program = new_program();
  emit_cube(program, {.type = DataType::f16, .width = 4});
  auto format = last_written<regdb::dpu::DATA_FORMAT>(program);
  format.out_precision = regdb::dpu::DATA_FORMAT::OUT_PRECISION::FP32;
  override_register(program, format);
  override_register(program, regdb::dpu::OUT_CVT_SCALE{.out_cvt_scale = 1});
  auto write = last_written<regdb::dpu::BS_OW_CFG>(program);
  write.size_e_0 = write.size_e_1 = write.size_e_2 = 1;
  override_register(program, write);
  override_register(program, regdb::dpu::SURFACE_ADD{.surf_add = 8});
  std::vector<double> main;
  for (int i = 0; i < 32; ++i) main.push_back(i + 1);
  std::vector<Bytes> slots = {bytes_of(halves(main)), Bytes(1), blank(128)};
  if (const RunEnd end = lab.run(program, slots); !end.ended) return failed(end);
  std::vector<double> want, half_written;
  for (std::size_t plane = 0; plane < 2; ++plane)
    for (std::size_t column = 0; column < 4; ++column)
      for (std::size_t lane = 0; lane < 4; ++lane)
        want.push_back(main[column * 8 + plane * 4 + lane]);
  const auto got = values_of<float>(slots[kOut], 0, 32);
  half_written = want;
  for (std::size_t i = 16; i < 32; ++i)
    half_written[i] = static_cast<double>(values_of<float>(blank(4), 0, 1).front());
  return decide({got.begin(), got.end()},
                {{"both surfaces are written", want}, {"only the first is written", half_written}});
}

// An fp16 operand whose converter is off: 16 bits, sign extended, as an fp32.
Answer bypassed_converter(Lab& lab) {
  kernels::Program program = new_program();
  kernels::FlyingTask task{
      .type = DataType::f16, .atoms = 1, .main = {kIn, 0}, .output = {kOut, 0}, .dpu = {}};
  kernels::set_elementwise(task.dpu, DataType::f16, kernels::ElementwiseOp::add, {kExtra, 0});
  task.dpu.ew.ew_op_cvt_bypass = true;
  kernels::emit(program, task);
  const std::vector<double> a = {1, 2, 3, 4, 5, 6, 7, 8}, b = {1, -1, 2, -2, 3, -3, 4, -4};
  std::vector<Bytes> slots = {bytes_of(halves(a)), Bytes(1), blank(16), bytes_of(halves(b))};
  if (const RunEnd end = lab.run(program, slots); !end.ended) return failed(end);
  std::vector<double> got = half_results(slots[kOut], 8), passed, sums;
  for (std::size_t i = 0; i < 8; ++i) {
    sums.push_back(a[i] + b[i]);
    // What becomes of a NaN on the way out is not the question.
    passed.push_back(a[i]);
    if (b[i] < 0 && got[i] != a[i] && got[i] != sums[i]) got[i] = passed[i];
  }
  return decide(
      got, {{"elements with a positive operand pass through", passed}, {"the sum is right", sums}});
}

Answer original_channel(Lab& lab) {
  kernels::Program program = new_program();
  kernels::FlyingTask task{
      .type = DataType::f16, .atoms = 1, .main = {kIn, 0}, .output = {kOut, 0}, .dpu = {}};
  kernels::set_elementwise(task.dpu, DataType::f16, kernels::ElementwiseOp::add, {kExtra, 0});
  kernels::emit(program, task);
  auto cube = last_written<regdb::dpu::DATA_CUBE_CHANNEL>(program);
  cube.orig_channel = 1;  // one less is stored
  override_register(program, cube);
  const std::vector<double> a = {1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<Bytes> slots = {bytes_of(halves(a)), Bytes(1), blank(16),
                              bytes_of(halves(std::vector<double>(8, 16)))};
  if (const RunEnd end = lab.run(program, slots); !end.ended) return failed(end);
  std::vector<double> first = a, all = a;
  first[0] += 16;
  for (double& v : all) v += 16;
  return decide(half_results(slots[kOut], 8), {{"lanes above ORIG_CHANNEL get no operand", first},
                                               {"every lane gets its operand", all}});
}

// Three surfaces of 3x3; EW_SURF_STRIDE says 64 bytes more than they have.
Answer surface_stride(Lab& lab) {
  constexpr std::uint32_t kSide = 3, kChannels = 24;
  constexpr std::size_t kCount = kSide * kSide * kChannels;
  kernels::Program program = new_program();
  Cube cube{.type = DataType::f16, .width = kSide, .height = kSide, .channels = kChannels};
  kernels::set_elementwise(cube.dpu, DataType::f16, kernels::ElementwiseOp::add, {kExtra, 0});
  cube.dpu.ew_surface = kSide * kSide + 4;
  emit_cube(program, cube);
  std::vector<double> operand(kCount * 2), dense, apart;
  for (std::size_t i = 0; i < operand.size(); ++i) operand[i] = static_cast<double>(i % 512);
  std::vector<Bytes> slots = {Bytes(kCount * 2), Bytes(1), blank(kCount * 2),
                              bytes_of(halves(operand))};
  if (const RunEnd end = lab.run(program, slots); !end.ended) return failed(end);
  for (std::size_t i = 0; i < kCount; ++i) {
    const std::size_t surface = i / (kSide * kSide * 8);
    dense.push_back(operand[i]);
    apart.push_back(operand[i + surface * 4 * 8]);
  }
  return decide(half_results(slots[kOut], kCount), {{"surfaces lie W * H atoms apart", dense},
                                                    {"surfaces lie EW_SURF_STRIDE apart", apart}});
}

// Two full tasks for the two register groups, then one that only says where to write.
Answer registers_survive(Lab& lab) {
  kernels::Program program = new_program();
  const std::vector<double> a = {1, 2, 3, 4, 5, 6, 7, 8};
  for (std::uint64_t i = 0; i < 2; ++i)
    kernels::emit(program, kernels::FlyingTask{.type = DataType::f16,
                                               .atoms = 1,
                                               .main = {kIn, 0},
                                               .output = {kOut, i * kAtomBytes},
                                               .dpu = {}});
  kernels::TaskEmitter e(program);
  e.address(regdb::dpu::DST_BASE_ADDR{}, {kOut, 2 * kAtomBytes});
  e.end(regdb::enable_mask::dpu | regdb::enable_mask::dpu_rdma);
  std::vector<Bytes> slots = {bytes_of(halves(a)), Bytes(1), blank(3 * kAtomBytes)};
  if (const RunEnd end = lab.run(program, slots); !end.ended)
    return {Verdict::no, "the third task lacks its registers", end.why};
  const std::vector<double> got = half_results(slots[kOut], 24);
  return decide({got.begin() + 16, got.end()},
                {{"a register group keeps its values for the task after the next", a},
                 {"the third task writes nothing",
                  std::vector<double>(8, half_results(blank(2), 1).front())}});
}

constexpr Question kQuestions[] = {
    {"stage_mul_partial_surface", "are channels behind the last whole surface multiplied by zero?",
     true, false, partial_surface},
    {"flying_width_limit", "is the end of 8191 columns of a copy wrong?", true, false, width_limit},
    {"int32_difference", "is a difference of int32 a sum with the operand negated in 32 bits?",
     false, false, int32_difference},
    {"flying_widening", "does SIZE_E 1 write all of fp16 widened to fp32?", false, true, widening},
    {"fp16_operand_without_converter",
     "does an fp16 addend without its converter leave the main operand as it is?", false, false,
     bypassed_converter},
    {"original_channel", "do lanes above ORIG_CHANNEL get no operand from memory?", false, false,
     original_channel},
    {"ew_surface_stride", "is EW_SURF_STRIDE without effect for operands per pixel?", false, false,
     surface_stride},
    {"registers_survive", "does a register group keep its values across tasks?", false, true,
     registers_survive},
};

}  // namespace

std::span<const Question> dpu_questions() { return kQuestions; }

}  // namespace npu::probe::calibrate
