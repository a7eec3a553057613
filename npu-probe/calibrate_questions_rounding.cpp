// SPDX-License-Identifier: MIT
// How shifts round what lies half-way.
#include <cmath>

#include "microkernels/elementwise.hpp"
#include "microkernels/flying_task.hpp"
#include "microkernels/layout.hpp"
#include "npu-probe/calibrate_programs.hpp"
#include "npu-probe/calibrate_questions.hpp"
#include "regdb/registers.hpp"

namespace npu::probe::calibrate {
namespace {

using kernels::DataType;

// Every tie and every other value of a small range, as int8.
constexpr std::uint32_t kRows = 4, kChannels = 32;
constexpr std::size_t kValues = std::size_t{kRows} * kChannels;
std::vector<std::int8_t> ramp() {
  std::vector<std::int8_t> v(kValues);
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<std::int8_t>(i) - 64;
  return v;
}

double half_even(double x) { return std::nearbyint(x); }
double half_up(double x) { return std::floor(x + 0.5); }
double half_away(double x) { return std::round(x); }

// The ramp divided by 2, then by 4.
std::vector<double> divided(double (*rule)(double)) {
  std::vector<double> values;
  for (const double divisor : {2.0, 4.0})
    for (const std::int8_t v : ramp()) values.push_back(rule(v / divisor));
  return values;
}

std::vector<Reading> ties(bool away_first) {
  if (away_first)
    return {{"half away from zero", divided(half_away)},
            {"half up", divided(half_up)},
            {"half to even", divided(half_even)}};
  return {{"half to even", divided(half_even)},
          {"half up", divided(half_up)},
          {"half away from zero", divided(half_away)}};
}

// The ramp times the identity; `change` sets the shift under test.
template <class Change>
Answer through_convolution(Lab& lab, const std::vector<Reading>& readings, Change change) {
  std::vector<double> got;
  for (const std::uint32_t shift : {1u, 2u}) {
    std::vector<std::int8_t> identity(std::size_t{kChannels} * kChannels);
    for (std::size_t i = 0; i < kChannels; ++i) identity[i * kChannels + i] = 1;
    const std::vector<std::int8_t> values = ramp();
    std::vector<std::int8_t> cube(values.size()), weights(identity.size());
    kernels::pack_features_i8({values.data(), kRows, kChannels, kChannels}, kRows, kChannels, cube);
    kernels::pack_weights_i8({identity.data(), kChannels, kChannels, kChannels}, kChannels,
                             kChannels, weights);
    kernels::Program program{.slots = {"in", "weights", "out", "bias"}};
    kernels::MacTask task = product(DataType::i8, DataType::i8, kRows, kChannels, kChannels);
    change(program, task, shift);
    std::vector<Bytes> slots = {bytes_of(cube), bytes_of(weights), blank(kValues),
                                Bytes(kChannels * 4)};
    if (const RunEnd end = lab.run(program, slots); !end.ended) return failed(end);
    std::vector<std::int8_t> out(kValues);
    kernels::unpack_i8(values_of<std::int8_t>(slots[kOut], 0, kValues), kRows,
                       {out.data(), kRows, kChannels, kChannels});
    got.insert(got.end(), out.begin(), out.end());
  }
  return decide(got, readings);
}

Answer out_cvt(Lab& lab, bool round) {
  return through_convolution(lab, ties(round),
                             [&](kernels::Program& p, kernels::MacTask& t, std::uint32_t shift) {
                               t.dpu.out_scale = {.out_cvt_scale = 1};
                               t.dpu.out_shift = {.cvt_round = round, .out_cvt_shift = shift};
                               kernels::emit(p, t);
                             });
}
Answer out_cvt_tie(Lab& lab) { return out_cvt(lab, false); }
Answer out_cvt_round(Lab& lab) { return out_cvt(lab, true); }

Answer clip_truncate_tie(Lab& lab) {
  return through_convolution(lab, ties(false),
                             [](kernels::Program& p, kernels::MacTask& t, std::uint32_t shift) {
                               t.clip_truncate = shift;
                               kernels::emit(p, t);
                             });
}

// Nothing plus the ramp, which passes the operand's converter.
Answer ew_cvt_tie(Lab& lab) {
  std::vector<double> got;
  for (const std::uint32_t shift : {1u, 2u}) {
    kernels::Program program{.slots = {"in", "weights", "out", "operand"}};
    kernels::FlyingTask task{.type = DataType::i8,
                             .atoms = kValues / kernels::kAtomBytes,
                             .main = {kIn, 0},
                             .output = {kOut, 0},
                             .dpu = {}};
    kernels::set_elementwise(task.dpu, DataType::i8, kernels::ElementwiseOp::add, {kExtra, 0});
    task.dpu.ew_scale = {.ew_op_cvt_shift = shift, .ew_op_cvt_scale = 1};
    kernels::emit(program, task);
    std::vector<Bytes> slots = {Bytes(kValues), Bytes(1), blank(kValues), bytes_of(ramp())};
    if (const RunEnd end = lab.run(program, slots); !end.ended) return failed(end);
    for (const std::int8_t v : values_of<std::int8_t>(slots[kOut], 0, kValues)) got.push_back(v);
  }
  return decide(got, ties(false));
}

constexpr Question kQuestions[] = {
    {"out_cvt_tie", "does OUT_CVT with CVT_ROUND 0 round ties to even?", true, false, out_cvt_tie},
    {"out_cvt_round", "does OUT_CVT with CVT_ROUND 1 round ties away from zero?", false, false,
     out_cvt_round},
    {"clip_truncate_tie", "does CLIP_TRUNCATE with ROUND_TYPE 0 round ties to even?", true, false,
     clip_truncate_tie},
    {"ew_cvt_tie", "does the converter of EW's operand round ties to even?", true, false,
     ew_cvt_tie},
};

}  // namespace

std::span<const Question> rounding_questions() { return kQuestions; }

}  // namespace npu::probe::calibrate
