// SPDX-License-Identifier: MIT
// The lookup tables of the DPU.
#include <bit>
#include <functional>
#include <memory>

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
using Entry = std::function<int(int)>;

// Both tables with 32 index units to a cell, LE over -16384 to 0 and LO over 0 to 16384; an input
// is its own index. Registers as boards have run them [notes dpu-lut-activation, HW].
struct Tables {
  Entry le, lo;
  float addend = -0.0f;     ///< to the index
  std::int32_t offset = 0;  ///< to the entry
  std::uint32_t minus_exp = 0;
};

kernels::DpuSetup setup(const Tables& t) {
  kernels::DpuSetup s;
  auto tables = std::make_shared<kernels::LutTables>();
  for (int i = 0; i <= 512; ++i) {
    tables->le[static_cast<std::size_t>(i)] = static_cast<std::int16_t>(t.le(i));
    tables->lo[static_cast<std::size_t>(i)] = static_cast<std::int16_t>(t.lo(i));
  }
  s.tables = std::move(tables);
  s.bn = {.bn_alu_algo = regdb::dpu::BN_CFG::BN_ALU_ALGO::ADD, .bn_relu_bypass = true};
  s.bn_mul.bn_mul_operand = sim::float_to_fp16(1.0f);
  s.bn_alu.bn_alu_operand = std::bit_cast<std::uint32_t>(t.addend);
  s.ew = {.ew_relu_bypass = true, .ew_op_cvt_bypass = true, .ew_op_bypass = true};
  s.lut = {.lut_hybrid_priority = true, .lut_oflow_priority = true, .lut_lo_le_mux = 2};
  s.lut_info = {.lut_lo_index_select = 5, .lut_le_index_select = 5};
  s.lut_le_start.lut_le_start = -16384;
  s.lut_lo_end.lut_lo_end = 16384;
  s.out_offset.out_cvt_offset = t.offset;
  s.out_shift = {.cvt_type = regdb::dpu::OUT_CVT_SHIFT::CVT_TYPE::ADD_FIRST,
                 .minus_exp = t.minus_exp};
  return s;
}

// A vector of inputs, whole atoms of eight.
std::vector<std::uint16_t> halves(const std::vector<double>& x) {
  std::vector<std::uint16_t> h;
  for (const double v : x) h.push_back(sim::float_to_fp16(static_cast<float>(v)));
  h.resize((h.size() + 7) / 8 * 8);
  return h;
}

kernels::FlyingTask table_task(const kernels::DpuSetup& dpu, std::size_t inputs,
                               std::uint64_t out = 0) {
  return {.type = DataType::f16,
          .atoms = static_cast<std::uint32_t>((inputs + 7) / 8),
          .main = {kIn, 0},
          .output = {kOut, out},
          .dpu = dpu};
}

std::vector<double> results(const Bytes& out, std::size_t count, std::size_t offset = 0) {
  std::vector<double> values;
  for (const std::uint16_t h : values_of<std::uint16_t>(out, offset, count))
    values.push_back(static_cast<double>(sim::fp16_to_float(h)));
  return values;
}

template <class Change>
Answer through(Lab& lab, const Tables& tables, const std::vector<double>& x,
               const std::vector<Reading>& readings, Change change) {
  kernels::Program program{.slots = {"in", "weights", "out"}};
  kernels::emit(program, table_task(setup(tables), x.size()));
  change(program);
  const auto in = halves(x);
  std::vector<Bytes> slots = {bytes_of(in), Bytes(1), blank(in.size() * 2)};
  if (const RunEnd end = lab.run(program, slots); !end.ended) return failed(end);
  return decide(results(slots[kOut], x.size()), readings);
}
Answer through(Lab& lab, const Tables& tables, const std::vector<double>& x,
               const std::vector<Reading>& readings) {
  return through(lab, tables, x, readings, [](kernels::Program&) {});
}

Answer zero(Lab& lab) {
  constexpr int kEntry = 1000;
  std::vector<double> got, spikes;
  for (const std::uint32_t minus_exp : {10u, 12u, 15u}) {
    const Tables t{.le = [](int) { return kEntry; },
                   .lo = [](int) { return kEntry; },
                   .offset = -kEntry,
                   .minus_exp = minus_exp};
    kernels::Program program{.slots = {"in", "weights", "out"}};
    kernels::emit(program, table_task(setup(t), 8));
    std::vector<Bytes> slots = {bytes_of(halves({-3, -2, -1, 0, 1, 2, 3, 4})), Bytes(1), blank(16)};
    if (const RunEnd end = lab.run(program, slots); !end.ended) return failed(end);
    got.push_back(results(slots[kOut], 1).front());
    spikes.push_back(131072.0 / static_cast<double>(1u << minus_exp));
  }
  return decide(got, {{"a sum of zero comes out as 2^17", spikes}, {"zero is zero", {0, 0, 0}}});
}

// The second task lacks the 1026 words of the tables.
Answer lost(Lab& lab) {
  const Tables t{.le = [](int i) { return 100 + i; }, .lo = [](int i) { return 700 + i; }};
  kernels::Program program{.slots = {"in", "weights", "out"}};
  kernels::DpuSetup dpu = setup(t);
  kernels::emit(program, table_task(dpu, 8));
  dpu.tables.reset();
  kernels::emit(program, table_task(dpu, 8, kAtomBytes));
  std::vector<Bytes> slots = {bytes_of(halves({-160, -96, -32, 0, 32, 96, 160, 320})), Bytes(1),
                              blank(2 * kAtomBytes)};
  const RunEnd end = lab.run(program, slots);
  const std::vector<double> first = results(slots[kOut], 8);
  const std::vector<double> second = results(slots[kOut], 8, kAtomBytes);
  if (!end.ended)
    return {Verdict::yes, "the tables do not survive", "the second task failed: " + end.why};
  if (first == second)
    return {Verdict::no, "the tables survive", "the second task gave the values of the first"};
  Answer answer = decide(second, {{"", first}});
  return {Verdict::yes, "the tables do not survive", answer.evidence};
}

// The output is the index.
const Tables kIndex{.le = [](int i) { return (i - 512) * 32; }, .lo = [](int i) { return i * 32; }};
const std::vector<double> kQuarters = {100, 100.25, 100.5, 100.75, 101, 101.25, 101.5, 101.75};

Answer index_rounding(Lab& lab) {
  return through(lab, kIndex, kQuarters,
                 {{"to nearest, ties to even", {100, 100, 100, 101, 101, 101, 102, 102}},
                  {"down", {100, 100, 100, 100, 101, 101, 101, 101}},
                  {"to nearest, ties up", {100, 100, 101, 101, 101, 101, 102, 102}}});
}

// One step of the table over 32 index units, upwards and downwards.
const std::vector<double> kWithinCell = {320, 321, 328, 335, 336, 337, 344, 351};
Answer interpolation(Lab& lab) {
  const Tables t{.le = [](int i) { return i - 512; }, .lo = [](int i) { return i; }};
  return through(lab, t, kWithinCell,
                 {{"down", std::vector<double>(8, 10)},
                  {"to nearest", {10, 10, 10, 10, 11, 11, 11, 11}},
                  {"to nearest, ties to even", {10, 10, 10, 10, 10, 11, 11, 11}}});
}
Answer interpolation_falling(Lab& lab) {
  const Tables t{.le = [](int i) { return 1512 - i; }, .lo = [](int i) { return 1000 - i; }};
  return through(lab, t, kWithinCell,
                 {{"down", {990, 989, 989, 989, 989, 989, 989, 989}},
                  {"towards the left entry", std::vector<double>(8, 990)},
                  {"to nearest", {990, 990, 990, 990, 990, 989, 989, 989}}});
}

// Negative inputs, indices that BN's addend has made positive.
Answer choice(Lab& lab) {
  const Tables t{.le = [](int) { return 200; }, .lo = [](int) { return 100; }, .addend = 8192};
  return through(lab, t, {-1, -2, -4, -8, -16, -100, -1000, -4000},
                 {{"the index behind the addend chooses", std::vector<double>(8, 100)},
                  {"the sign of the input chooses", std::vector<double>(8, 200)}});
}

Answer operation_behind_table(Lab& lab) {
  const Tables t{.le = [](int) { return 500; }, .lo = [](int) { return 500; }};
  return through(lab, t, {-4, -3, -2, -1, 0, 1, 2, 3},
                 {{"EW's maximum acts behind the table", std::vector<double>(8, 1000)},
                  {"it does not act", std::vector<double>(8, 500)}},
                 [](kernels::Program& program) {
                   override_register(program, regdb::dpu::EW_CFG::decode(0x300));
                   override_register(program, regdb::dpu::EW_OP_VALUE_0::decode(
                                                  std::bit_cast<std::uint32_t>(1000.0f)));
                 });
}

constexpr Question kQuestions[] = {
    {"lut_zero_decodes_as_2_17", "does a table value that its offset cancels come out as 2^17?",
     true, false, zero},
    {"lut_lost_between_starts", "do tables have to be loaded in the start that uses them?", true,
     false, lost},
    {"lut_index_rounding", "is the index rounded to nearest?", false, false, index_rounding},
    {"lut_interpolation", "does interpolation in a rising table round down?", false, false,
     interpolation},
    {"lut_interpolation_falling", "does interpolation in a falling table round down?", false, false,
     interpolation_falling},
    {"lut_choice", "does the index behind BN's addend choose the table?", false, false, choice},
    {"ew_behind_table", "does EW's operation act behind the table?", false, false,
     operation_behind_table},
};

}  // namespace

std::span<const Question> table_questions() { return kQuestions; }

}  // namespace npu::probe::calibrate
