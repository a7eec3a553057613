// SPDX-License-Identifier: MIT
// Pools of other projects' shape: what was asked for has to come back.
#include <gtest/gtest.h>

#include <random>

#include "../programs_dpu/pool_program.hpp"
#include "npu-probe/explain.hpp"

namespace npu::probe::test {
namespace {

Operator explain(const std::vector<std::uint64_t>& words) {
  RegisterState state;
  state.driver_start();
  return explain_task(words, state);
}

void expect_clean(const Operator& op) {
  for (const Note& n : op.notes)
    EXPECT_TRUE(n.kind == Note::Kind::info || n.kind == Note::Kind::quirk)
        << headline(op) << ": " << n.text;
  EXPECT_TRUE(op.time.has_value()) << headline(op);
}

TEST(ExplainPools, Pools) {
  using namespace npu::sim::programs;
  std::mt19937 random(9);
  for (int i = 0; i < 100; ++i) {
    Pool p;
    p.type = random() % 3, p.method = random() % 3;
    p.in_h = 4 + random() % 12, p.in_w = 4 + random() % 12, p.channels = 1 + random() % 40;
    p.kernel_h = 1 + random() % 4, p.kernel_w = 1 + random() % 4;
    p.stride_y = 1 + random() % p.kernel_h, p.stride_x = 1 + random() % p.kernel_w;
    p.top = random() % p.kernel_h, p.left = random() % p.kernel_w;
    p.recip_w = p.type == 2 ? fp17(1.0 / p.kernel_w) : 65536 / p.kernel_w;
    p.recip_h = p.type == 2 ? fp17(1.0 / p.kernel_h) : 65536 / p.kernel_h;
    const Operator op = explain(program(p, 0x1000, 0x20000));
    SCOPED_TRACE(headline(op));
    EXPECT_EQ(op.kind, OperatorKind::pool);
    EXPECT_EQ(op.name, p.method == 0 ? "average pool" : p.method == 1 ? "max pool" : "min pool");
    EXPECT_EQ(std::vector({op.kernel_height, op.kernel_width, op.stride_y, op.stride_x, op.pad_top,
                           op.pad_left}),
              std::vector({p.kernel_h, p.kernel_w, p.stride_y, p.stride_x, p.top, p.left}));
    const NpuTensor *in = op.find(TensorRole::input), *out = op.find(TensorRole::output);
    EXPECT_EQ(std::vector({in->h, in->w, in->c}), std::vector({p.in_h, p.in_w, p.channels}));
    EXPECT_EQ(std::vector({out->h, out->w, out->c}),
              std::vector({p.out_h(), p.out_w(), p.channels}));
    expect_clean(op);
  }
}

}  // namespace
}  // namespace npu::probe::test
