// SPDX-License-Identifier: MIT
// Programs of which boards are said to make no end. What counts is the output: a pool raises no
// interrupt that the stock driver waits for, so that the driver retires it either way.
#include <algorithm>
#include <functional>
#include <numeric>

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

// The verdict on a task whose whole output should be `want`.
template <class T>
Answer ends(const RunEnd& end, const Bytes& out, const std::vector<T>& want) {
  if (!end.ended && end.refused) return failed(end);
  const std::vector<T> got = values_of<T>(out, 0, want.size());
  const auto right = static_cast<std::size_t>(
      std::inner_product(got.begin(), got.end(), want.begin(), std::size_t{0}, std::plus<>(),
                         [](T a, T b) { return std::size_t{a == b}; }));
  const std::string seen = std::to_string(right) + " of " + std::to_string(want.size()) +
                           " elements right" + (end.ended ? "" : "; " + end.why);
  if (right == want.size()) return {Verdict::no, "it ends with the right result", seen};
  if (!end.ended) return {Verdict::yes, "it never ends", seen};
  return {Verdict::other, "it ends with a wrong result", seen};
}

// A product of ones, 16x32x16 in fp16, with one register changed.
template <class Change>
Answer product_with(Lab& lab, Change change) {
  kernels::Program program = new_program();
  kernels::emit(program, product(DataType::f16, DataType::f32, 16, 32, 16));
  change(program);
  const std::vector<std::uint16_t> ones(16 * 32, sim::float_to_fp16(1.0f));
  std::vector<Bytes> slots = {bytes_of(ones), bytes_of(ones), blank(16 * 16 * 4), Bytes(64)};
  const RunEnd end = lab.run(program, slots);
  return ends(end, slots[kOut], std::vector<float>(256, 32.0f));
}

Answer core_index(Lab& lab) {
  return product_with(lab, [](kernels::Program& program) {
    using R = regdb::cna::S_POINTER;
    // Bits 29:28 are 3, the index of no core.
    override_word(program, static_cast<std::uint16_t>(R::target), 0x3000000E, R::offset);
  });
}

Answer mrdma_trap(Lab& lab) {
  return product_with(lab, [](kernels::Program& program) {
    auto mode = last_written<regdb::dpu_rdma::RDMA_FEATURE_MODE_CFG>(program);
    mode.mrdma_disable = false;
    override_register(program, mode);
  });
}

Answer mac_gating(Lab& lab) {
  return product_with(lab, [](kernels::Program& program) {
    override_register(program, regdb::core::MAC_GATING{.slcg_op_en = 0x06800800});
  });
}

Answer pooling(Lab& lab, const Pool& pool) {
  kernels::Program program = new_program();
  emit_pool(program, pool, {kIn, 0}, {kOut, 0});
  const std::uint32_t side = pool.side, out = pool.out();
  std::vector<std::int8_t> in(std::size_t{side} * side * pool.channels);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<std::int8_t>(i * 31 % 101) - 50;
  std::vector<std::int8_t> want;
  for (std::uint32_t y = 0; y < out; ++y)
    for (std::uint32_t x = 0; x < out; ++x)
      for (std::uint32_t c = 0; c < pool.channels; ++c) {
        int most = -128;
        for (std::uint32_t ky = 0; ky < pool.window; ++ky)
          for (std::uint32_t kx = 0; kx < pool.window; ++kx) {
            const std::size_t at = std::size_t{y * pool.stride + ky} * side + x * pool.stride + kx;
            most = std::max<int>(most, in[at * kAtomBytes + c]);
          }
        want.push_back(static_cast<std::int8_t>(most));
      }
  std::vector<Bytes> slots = {bytes_of(in), Bytes(1), blank(want.size()), Bytes(1)};
  const RunEnd end = lab.run(program, slots);
  return ends(end, slots[kOut], want);
}

Answer pool_line_buffer(Lab& lab) {
  return pooling(lab, {.side = 37, .channels = 16, .window = 3, .stride = 1});
}
Answer pool_stride(Lab& lab) {
  return pooling(lab, {.side = 8, .channels = 16, .window = 2, .stride = 3});
}

constexpr Question kQuestions[] = {
    {"core_index_in_s_pointer", "does a program that overwrites the core's index never end?", true,
     true, core_index},
    {"mrdma_trap", "does a task with an enabled, unfed main reader never end?", true, true,
     mrdma_trap},
    {"mac_gating_bit_24", "does a task with bit 24 of MAC_GATING clear never end?", true, true,
     mac_gating},
    {"pool_line_buffer", "does a 3x3 pool of stride 1 over 35 columns never end?", true, true,
     pool_line_buffer},
    {"pool_stride_beyond_kernel", "does a 2x2 pool of stride 3 never end?", true, true,
     pool_stride},
};

}  // namespace

std::span<const Question> hang_questions() { return kQuestions; }

}  // namespace npu::probe::calibrate
