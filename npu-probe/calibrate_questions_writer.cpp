// SPDX-License-Identifier: MIT
// What of a result reaches memory, and where; what the readers make of their operands.
#include <bit>

#include "microkernels/layout.hpp"
#include "npu-probe/calibrate_programs.hpp"
#include "npu-probe/calibrate_questions.hpp"
#include "npu-sim/float_types.hpp"
#include "regdb/registers.hpp"

namespace npu::probe::calibrate {
namespace {

using kernels::DataType;
using kernels::kAtomBytes;

constexpr double kUnwritten = 0x5A5A5A5A;  // four sentinels

std::uint16_t half(double v) { return sim::float_to_fp16(static_cast<float>(v)); }
std::vector<double> doubles(const std::vector<std::int32_t>& v) { return {v.begin(), v.end()}; }
std::vector<double> from_halves(const std::vector<std::uint16_t>& v) {
  std::vector<double> out;
  for (const std::uint16_t h : v) out.push_back(static_cast<double>(sim::fp16_to_float(h)));
  return out;
}

kernels::Program new_program() { return {.slots = {"in", "weights", "out", "extra"}}; }

// A product of ones: every sum is k.
struct Ones {
  std::uint32_t m, k, n;
  std::vector<Bytes> slots(DataType type, std::size_t out_bytes) const {
    const auto fill = [&](std::size_t count) {
      if (type == DataType::i8) return bytes_of(std::vector<std::int8_t>(count, 1));
      if (type == DataType::tf32) return bytes_of(std::vector<float>(count, 1.0f));
      return bytes_of(std::vector<std::uint16_t>(count, half(1)));
    };
    return {fill(std::size_t{m} * k), fill(std::size_t{n} * k), blank(out_bytes), Bytes(4096)};
  }
};

Answer size_e(Lab& lab) {
  constexpr Ones kOnes{4, 32, 32};
  kernels::Program program = new_program();
  kernels::MacTask task = product(DataType::i8, DataType::i32, kOnes.m, kOnes.k, kOnes.n);
  task.output.size_e = 3;
  kernels::emit(program, task);
  std::vector<Bytes> slots = kOnes.slots(DataType::i8, 4 * 4 * 32);
  if (const RunEnd end = lab.run(program, slots); !end.ended) return failed(end);
  std::vector<double> half_written(128, kUnwritten);
  std::fill_n(half_written.begin(), 64, 32.0);
  return decide(doubles(values_of<std::int32_t>(slots[kOut], 0, 128)),
                {{"SIZE_E + 1 surfaces of each group are written", half_written},
                 {"all surfaces are written", std::vector<double>(128, 32.0)}});
}

// 64 kernels in two groups; the second group goes to SURFACE_ADD, not behind the first.
Answer surface_add(Lab& lab) {
  constexpr Ones kOnes{4, 32, 64};
  constexpr std::uint32_t kGap = 4;  // atoms
  kernels::Program program = new_program();
  kernels::MacTask task = product(DataType::i8, DataType::i8, kOnes.m, kOnes.k, kOnes.n);
  task.output.surface_add += kGap;
  kernels::emit(program, task);
  constexpr std::size_t kGroup = 2 * 4 * kAtomBytes, kHole = kGap * kAtomBytes;
  std::vector<Bytes> slots = kOnes.slots(DataType::i8, 2 * kGroup + kHole);
  if (const RunEnd end = lab.run(program, slots); !end.ended) return failed(end);
  std::vector<double> apart(2 * kGroup + kHole, 32.0), dense = apart;
  std::fill_n(apart.begin() + kGroup, kHole, 0x5A);
  std::fill_n(dense.begin() + 2 * kGroup, kHole, 0x5A);
  const auto got = values_of<std::int8_t>(slots[kOut], 0, apart.size());
  return decide({got.begin(), got.end()}, {{"groups of 32 kernels lie SURFACE_ADD apart", apart},
                                           {"all surfaces lie DST_SURF_STRIDE apart", dense}});
}

Answer dpu_code_7(Lab& lab) {
  constexpr Ones kOnes{4, 16, 16};
  kernels::Program program = new_program();
  kernels::emit(program, product(DataType::tf32, DataType::f32, kOnes.m, kOnes.k, kOnes.n));
  auto format = last_written<regdb::dpu::DATA_FORMAT>(program);
  format.in_precision = format.proc_precision = 7;
  override_register(program, format);
  std::vector<Bytes> slots = kOnes.slots(DataType::tf32, 4 * 4 * 16);
  if (const RunEnd end = lab.run(program, slots); !end.ended) return failed(end);
  const auto bits = values_of<std::uint32_t>(slots[kOut], 0, 64);
  return decide(
      {bits.begin(), bits.end()},
      {{"the task ends and writes nothing", std::vector<double>(64, kUnwritten)},
       {"the product is written", std::vector<double>(64, std::bit_cast<std::uint32_t>(16.0f))}});
}

// Rows that name themselves: row r is r + 1 everywhere.
Answer fc_data_bank(Lab& lab) {
  constexpr Ones kShape{16, 32, 16};
  kernels::Program program = new_program();
  kernels::emit(program, product(DataType::f16, DataType::f32, kShape.m, kShape.k, kShape.n));
  auto cbuf = last_written<regdb::cna::CBUF_CON0>(program);
  cbuf.fc_data_bank = 1;
  override_register(program, cbuf);
  std::vector<Bytes> slots = kShape.slots(DataType::f16, 4 * 16 * 16);
  std::vector<std::uint16_t> features(16 * 32);
  for (std::size_t i = 0; i < features.size(); ++i)
    features[i] = half(static_cast<double>(i / 8 % 16 + 1));
  slots[kIn] = bytes_of(features);
  if (const RunEnd end = lab.run(program, slots); !end.ended) return failed(end);
  std::vector<double> want;
  for (int i = 0; i < 256; ++i) want.push_back(32.0 * (i / 4 % 16 + 1));
  const auto got = values_of<float>(slots[kOut], 0, 256);
  const Answer answer =
      decide({got.begin(), got.end()},
             {{"the features are read from a later bank", std::vector<double>(256, 0.0)},
              {"the field has no effect", want}});
  // What the later bank holds is nobody's business.
  if (answer.verdict == Verdict::other && got[0] != static_cast<float>(want[0]))
    return {Verdict::yes, "the features are read from a later bank", answer.evidence};
  return answer;
}

// Only the top left tap counts, and at the top left pixel it lies in the padding.
Answer pad_byte_lanes(Lab& lab) {
  constexpr std::uint32_t kSide = 8, kChannels = 64, kPlane = kSide * kSide;
  kernels::Program program = new_program();
  kernels::MacTask task = depthwise(DataType::i8, kSide, kChannels, 3);
  task.pad_value = 0x04030201;
  kernels::add_bias(task.dpu, {kExtra, 0});
  kernels::emit(program, task);
  std::vector<std::int8_t> weights(9 * kChannels);
  std::fill_n(weights.begin(), kChannels, 1);
  std::vector<Bytes> slots = {Bytes(kPlane * kChannels), bytes_of(weights),
                              blank(kPlane * kChannels), Bytes(kChannels * 4)};
  if (const RunEnd end = lab.run(program, slots); !end.ended) return failed(end);
  std::vector<double> got, lanes;
  for (std::size_t c = 0; c < kChannels; ++c) {
    got.push_back(static_cast<double>(
        static_cast<std::int8_t>(slots[kOut][c / 16 * kPlane * kAtomBytes + c % 16])));
    lanes.push_back(c < 32 && c % 2 == 1 ? 2 : 1);
  }
  return decide(got, {{"byte 0 pads every channel", std::vector<double>(kChannels, 1.0)},
                      {"byte 1 pads odd channels among the first 32", lanes}});
}

// The operand's planes are constants: plane p holds p + 1. Four positions to a plane, the notch
// rounded up to 12 atoms.
Answer ew_operand_notch(Lab& lab) {
  constexpr std::uint32_t kM = 4, kK = 64, kN = 64, kPlanes = kN / 8, kNotch = 12;
  constexpr std::size_t kPlaneBytes = kM * kAtomBytes;
  kernels::Program program = new_program();
  kernels::MacTask task = product(DataType::f16, DataType::f16, kM, kK, kN);
  kernels::DpuSetup& dpu = task.dpu;
  dpu.ew = regdb::dpu::EW_CFG::decode(0x108202C0);  // a sum, 16 bits [notes k-accumulation, HW]
  dpu.erdma = regdb::dpu_rdma::RDMA_ERDMA_CFG::decode(0x40000008);
  dpu.main_operand = kernels::Place{kExtra, 0};
  dpu.ew_operand = kernels::Place{kExtra, kPlaneBytes};
  dpu.ew_surface = dpu.ew_notch = dpu.main_notch = kNotch;
  dpu.comb_use = 5;
  kernels::emit(program, task);
  std::vector<std::uint16_t> operand(64 * kPlaneBytes / 2);
  for (std::size_t i = 0; i < operand.size(); ++i)
    operand[i] = half(static_cast<double>(i / (kPlaneBytes / 2) + 1));
  std::vector<Bytes> slots = {Bytes(kM * kK * 2), Bytes(kN * kK * 2), blank(kM * kN * 2),
                              bytes_of(operand)};
  if (const RunEnd end = lab.run(program, slots); !end.ended) return failed(end);
  const std::vector<double> out = from_halves(values_of<std::uint16_t>(slots[kOut], 0, kM * kN));
  std::vector<double> got;
  for (std::size_t p = 0; p < kPlanes; ++p) got.push_back(out[p * kPlaneBytes / 2]);
  return decide(got, {{"readers step over a plane and its notch", {1, 2, 5, 6, 9, 10, 13, 14}},
                      {"readers step over the pitch of the two bases", {1, 2, 3, 4, 5, 6, 7, 8}}});
}

// Identity weights, an int8 operand beside them.
Answer int8_operations(Lab& lab) {
  constexpr std::uint32_t kM = 16, kN = 32;
  constexpr struct {
    std::uint32_t ew_cfg;
    int (*op)(int, int);
  } kOps[] = {{0x904002C0, [](int a, int b) { return std::max(a, b); }},
              {0x904102C0, [](int a, int b) { return std::min(a, b); }},
              {0x904402C0, [](int a, int b) { return a - b; }},
              {0x904002C4, [](int a, int b) { return a * b; }}};
  std::vector<std::int8_t> a(kM * kN), b(kM * kN), identity(kN * kN), weights(kN * kN);
  for (std::size_t i = 0; i < a.size(); ++i) {
    a[i] = static_cast<std::int8_t>(i * 7 % 19) - 9;
    b[i] = static_cast<std::int8_t>(i * 5 % 17) - 8;
  }
  for (std::size_t i = 0; i < kN; ++i) identity[i * kN + i] = 1;
  kernels::pack_weights_i8({identity.data(), kN, kN, kN}, kN, kN, weights);
  std::vector<double> got, want;
  for (const auto& op : kOps) {
    kernels::Program program = new_program();
    kernels::MacTask task = product(DataType::i8, DataType::i8, kM, kN, kN);
    task.dpu = {};  // no bias
    kernels::DpuSetup& dpu = task.dpu;
    dpu.ew = regdb::dpu::EW_CFG::decode(op.ew_cfg);
    dpu.erdma = {.erdma_data_mode = 1, .erdma_data_size = 1};
    dpu.main_operand = kernels::Place{kExtra, 0};
    dpu.ew_operand = kernels::Place{kExtra, kM * kAtomBytes};
    dpu.ew_surface = dpu.ew_notch = dpu.main_notch = kM;
    dpu.comb_use = 5;
    kernels::emit(program, task);
    std::vector<Bytes> slots = {bytes_of(a), bytes_of(weights), blank(kM * kN), bytes_of(b)};
    slots[kExtra].resize(65536);
    if (const RunEnd end = lab.run(program, slots); !end.ended) return failed(end);
    for (const std::int8_t v : values_of<std::int8_t>(slots[kOut], 0, a.size())) got.push_back(v);
    for (std::size_t i = 0; i < a.size(); ++i) want.push_back(op.op(a[i], b[i]));
  }
  return decide(got, {{"maximum, minimum, difference, product", want}});
}

constexpr Question kQuestions[] = {
    {"size_e_counts_surfaces", "does SIZE_E + 1 count the surfaces that are written?", true, false,
     size_e},
    {"surface_add_groups", "do groups of kernels lie SURFACE_ADD apart?", false, false,
     surface_add},
    {"dpu_code_7_writes_nothing", "does a tf32 task with code 7 in the DPU write nothing?", true,
     false, dpu_code_7},
    {"fc_data_bank_shifts_features", "does FC_DATA_BANK spoil the features?", true, false,
     fc_data_bank},
    {"pad_byte_lanes", "does byte 0 of PAD_CON1 pad every channel of a depthwise task?", true,
     false, pad_byte_lanes},
    {"ew_operand_notch", "do operand readers step over a plane and its notch?", true, false,
     ew_operand_notch},
    {"int8_operations_behind_convolutions",
     "are max, min, difference and product of int8 behind a convolution what they say?", false,
     true, int8_operations},
};

}  // namespace

std::span<const Question> writer_questions() { return kQuestions; }

}  // namespace npu::probe::calibrate
