// SPDX-License-Identifier: MIT
// Programs of other projects and of our kernels: what was asked for has to come back.
#include <gtest/gtest.h>

#include <random>

#include "../programs/board.hpp"
#include "../programs/cube_task.hpp"
#include "../programs_dpu/cube.hpp"
#include "../programs_dpu/tables.hpp"
#include "microkernels/gemm_emit.hpp"
#include "npu-probe/explain_group.hpp"
#include "regdb/registers.hpp"

namespace npu::probe::test {
namespace {

namespace board = npu::sim::test;
namespace dpu = npu::sim::programs;
using Words = std::vector<std::uint64_t>;

Operator explain(const Words& words) {
  RegisterState state;
  state.driver_start();
  return explain_task(words, state);
}

// Programs of the DPU alone come without a trailer.
Words ended(Words words) {
  regdb::RegcmdStream end;
  end.end(regdb::enable_mask::dpu | regdb::enable_mask::dpu_rdma);
  words.insert(words.end(), end.words().begin(), end.words().end());
  return words;
}

void expect_clean(const Operator& op) {
  for (const Note& n : op.notes)
    EXPECT_TRUE(n.kind == Note::Kind::info || n.kind == Note::Kind::quirk)
        << headline(op) << ": " << n.text;
  EXPECT_TRUE(op.time.has_value()) << headline(op);
}

TEST(ExplainPrograms, MatrixProductsOfEveryType) {
  using namespace board;
  struct Row {
    std::uint32_t in, out;
    ElementType from, to;
  };
  const Row rows[] = {{code::int8, code::int32, ElementType::int8, ElementType::int32},
                      {code::int4, code::int16, ElementType::int4, ElementType::int16},
                      {code::int16, code::int32, ElementType::int16, ElementType::int32},
                      {code::fp16, code::fp32, ElementType::fp16, ElementType::fp32},
                      {code::fp16, code::fp16, ElementType::fp16, ElementType::fp16},
                      {code::bf16, code::fp32, ElementType::bf16, ElementType::fp32},
                      {code::tf32, code::fp32, ElementType::tf32, ElementType::fp32}};
  std::mt19937 random(5);
  for (const Row& row : rows)
    for (int i = 0; i < 20; ++i) {
      const std::uint32_t m = 4 * (1 + random() % 32), k = 64 * (1 + random() % 4),
                          n = 64 * (1 + random() % 4);
      CubeTask t = matmul(row.in, row.out, m, k, n);
      t.input = 0x10000, t.weights = 0x200000, t.output = 0x400000;
      const Operator op = explain(emit(t));
      SCOPED_TRACE(headline(op));
      EXPECT_EQ(op.kind, OperatorKind::gemm);
      EXPECT_EQ(op.matrix, (MatrixShape{m, k, n}));
      ASSERT_EQ(op.tensors.size(), 3u);
      EXPECT_EQ(op.tensors[0].type, row.from);
      EXPECT_EQ(op.find(TensorRole::output)->type, row.to);
      EXPECT_EQ(op.find(TensorRole::input)->iova, 0x10000u);
      EXPECT_EQ(op.find(TensorRole::weights)->iova, 0x200000u);
      EXPECT_EQ(op.find(TensorRole::output)->iova, 0x400000u);
      expect_clean(op);
      // Where the tests that compare with boards find the same elements.
      const std::uint32_t bits = bits_of(row.from), atom = 128 / bits,
                          out_atom = 128 / bits_of(row.to);
      const std::uint32_t r = random() % m, c = random() % k, o = random() % n;
      EXPECT_EQ(offset_of(*op.find(TensorRole::input), {0, r, 0, c}),
                cube_at(m, 1, atom, c, r, 0) * bits / 8);
      EXPECT_EQ(offset_of(*op.find(TensorRole::output), {0, r, 0, o}),
                cube_at(m, 1, out_atom, o, r, 0) * bits_of(row.to) / 8);
    }
}

TEST(ExplainPrograms, Convolutions) {
  using namespace board;
  const ConvShape2d plain{32, 8, 9, 64, 3, 3, 1, 1, 1, 1};
  EXPECT_EQ(headline(explain(emit(conv_fp16(plain, code::fp32)))),
            "conv 3x3 s1 p1 32->64, fp16 -> fp32, 8x9 -> 8x9");
  const ConvShape2d strided{64, 11, 11, 64, 5, 3, 2, 2, 0, 0};
  EXPECT_EQ(headline(explain(emit(conv_int8(strided)))),
            "conv 5x3 s2 64->64, int8 -> int32, 11x11 -> 4x5");
  const ConvShape2d dilated{32, 12, 12, 32, 3, 3, 1, 1, 2, 2, 2, 2};
  EXPECT_EQ(headline(explain(emit(conv_fp16(dilated, code::fp16)))),
            "conv 3x3 s1 d2 p2 32->32, fp16, 12x12 -> 12x12");
  const ConvShape2d deep{64, 10, 10, 64, 3, 3, 1, 1, 1, 1};
  const Operator dw = explain(emit(conv_int8_out(deep, true, -5, 7, 11, 20000, 20)));
  EXPECT_EQ(dw.kind, OperatorKind::depthwise);
  EXPECT_EQ(dw.find(TensorRole::weights)->kind, LayoutKind::depthwise);
  ASSERT_TRUE(dw.quantisation.has_value());
  EXPECT_EQ(dw.quantisation->input_zero, -5);
  EXPECT_EQ(dw.quantisation->weight_zero, 7);
  EXPECT_EQ(dw.quantisation->output_zero, 11);
  EXPECT_DOUBLE_EQ(dw.quantisation->scale, 20000.0 / (1 << 20));
}

TEST(ExplainPrograms, TransposedConvolutions) {
  using namespace board;
  CubeTask t = conv_fp16({32, 4, 4, 32, 3, 3, 1, 1, 2, 2}, code::fp16);
  t.deconv = 1, t.deconv_x = 1, t.deconv_y = 1;
  t.out_height = t.out_width = 9;
  const Operator op = explain(emit(t));
  EXPECT_EQ(op.kind, OperatorKind::transposed);
  EXPECT_EQ(op.spread_y, 2u);
  EXPECT_EQ(headline(op).substr(0, 13), "deconv 3x3 s2");
}

TEST(ExplainPrograms, ElementWiseOperations) {
  using namespace dpu;
  struct Row {
    std::uint32_t op;
    const char* name;
  };
  for (const Row& row : {Row{kMax, "max"}, Row{kMin, "min"}, Row{kAdd, "add"}, Row{kDiv, "div"},
                         Row{kMinus, "minus"}, Row{dpu::kMul, "mul"}})
    for (const std::uint32_t type : {kFp16, kInt8, kInt16}) {
      if (row.op == kDiv && type != kFp16) continue;
      Cube c;
      c.type = c.out_type = type;
      c.width = 12, c.height = 3, c.channels = 16;
      c.ew = ew_cfg(type, row.op, row.op == dpu::kMul);
      const Operator op = explain(ended(cube_program(c, {0x1000, 0x8000}, 0x20000)));
      SCOPED_TRACE(headline(op));
      EXPECT_EQ(op.kind, OperatorKind::elementwise);
      EXPECT_EQ(op.name, row.name);
      const NpuTensor *in = op.find(TensorRole::input), *operand = op.find(TensorRole::operand),
                      *out = op.find(TensorRole::output);
      ASSERT_TRUE(in != nullptr && operand != nullptr && out != nullptr);
      EXPECT_EQ(in->iova, 0x1000u);
      EXPECT_EQ(operand->iova, 0x8000u);
      EXPECT_EQ(out->iova, 0x20000u);
      EXPECT_EQ(std::vector({in->h, in->w, in->c}), std::vector({3u, 12u, 16u}));
      EXPECT_EQ(std::vector({operand->h, operand->w, operand->c}), std::vector({3u, 12u, 16u}));
      EXPECT_EQ(std::vector({out->h, out->w, out->c}), std::vector({3u, 12u, 16u}));
      EXPECT_EQ(in->type, out->type);
    }
}

TEST(ExplainPrograms, CopiesConstantsAndRectifiers) {
  using namespace dpu;
  Cube copy;
  copy.width = 7;
  EXPECT_EQ(headline(explain(ended(cube_program(copy, {0x1000}, 0x20000)))), "copy 1x7x8, fp16");
  Cube convert;
  convert.type = kInt16, convert.out_type = kInt32, convert.bs_ow = 4;
  const Operator op = explain(ended(cube_program(convert, {0x1000}, 0x20000)));
  EXPECT_EQ(op.name, "convert");
  EXPECT_EQ(op.find(TensorRole::output)->type, ElementType::int32);
  Cube relu;
  relu.bs_cfg = 1u << 4 | 1u << 1;  // neither ALU nor multiplier, the rectifier on
  EXPECT_EQ(explain(ended(cube_program(relu, {0x1000}, 0x20000))).kind, OperatorKind::activation);
  EXPECT_EQ(explain(ended(cube_program(relu, {0x1000}, 0x20000))).name, "relu");
  Cube constant;
  constant.ew = ew_cfg(kFp16, kAdd, false) & ~kFromRegister;
  constant.ew_value = 0x40400000;  // 3.0
  const Operator plus = explain(ended(cube_program(constant, {0x1000}, 0x20000)));
  EXPECT_EQ(plus.name, "add");
  EXPECT_EQ(plus.detail, "constant 3");
}

TEST(ExplainPrograms, Tables) {
  const dpu::Tables tables = dpu::unit_tables([](double x) { return 1 / (1 + std::exp(-x)); });
  const Operator op = explain(ended(dpu::table_program(tables, 512, 0x1000, 0x20000)));
  SCOPED_TRACE(headline(op));
  EXPECT_EQ(op.kind, OperatorKind::activation);
  EXPECT_EQ(op.name, "table");
  EXPECT_EQ(elements(*op.find(TensorRole::input)), 512u);
  expect_clean(op);
}

TEST(ExplainPrograms, OurMatrixProductsComeBackAsPlanned) {
  using namespace npu::kernels;
  std::mt19937 random(4);
  const GemmTypes types[] = {
      {DataType::i8, DataType::i32}, {DataType::i8, DataType::i8}, {DataType::f16, DataType::f32}};
  for (int i = 0; i < 60; ++i) {
    const GemmShape shape{1 + static_cast<std::uint32_t>(random() % 700),
                          1 + static_cast<std::uint32_t>(random() % 900),
                          1 + static_cast<std::uint32_t>(random() % 3000)};
    const GemmPlan plan = plan_gemm(shape, types[i % 3], 1 + random() % 3);
    for (std::size_t core = 0; core < plan.cores.size(); ++core)
      for (std::uint32_t stage = 0; stage < plan.stages.size(); ++stage) {
        std::vector<std::uint32_t> iova;
        while (iova.size() < gemm_slots(plan.cores[core]).size())
          iova.push_back(static_cast<std::uint32_t>(iova.size()) * 0x10000000);
        const BoundProgram bound = kernels::bind(emit_gemm(plan, core, stage), iova);
        RegisterState state;
        std::vector<Operator> ops;
        MatrixShape whole;
        std::size_t planned = 0;
        std::map<std::uint32_t, std::uint32_t> rows, columns;
        for (const GemmTask& task : plan.cores[core].tasks) {
          if (task.stage != stage) continue;
          const BoundProgram::Task& at = bound.tasks.at(planned++);
          state.driver_start();
          ops.push_back(
              explain_task(std::span(bound.words).subspan(at.offset / 8, at.count), state));
          EXPECT_EQ(ops.back().matrix, (MatrixShape{task.m_padded, task.k_padded, task.n_padded}));
          rows[task.m.begin] = task.m_padded;
          columns[task.n.begin] = task.n_padded;
          whole.k = task.k_padded;
          for (const Note& n : ops.back().notes)
            EXPECT_TRUE(n.kind == Note::Kind::info || n.kind == Note::Kind::quirk) << n.text;
        }
        for (const auto& [at, size] : rows) whole.m += size;
        for (const auto& [at, size] : columns) whole.n += size;
        const auto groups = group_tiles(ops);
        ASSERT_EQ(groups.size(), 1u) << to_string(plan);
        EXPECT_EQ(groups[0].whole.matrix, whole) << groups[0].tiling << '\n' << to_string(plan);
        EXPECT_EQ(groups[0].tasks.size(), ops.size());
        EXPECT_EQ(groups[0].tiling.empty(), ops.size() == 1);
      }
  }
}

TEST(ExplainPrograms, RegistersOfEarlierTasksCount) {
  using namespace board;
  CubeTask t = matmul(code::int8, code::int32, 8, 64, 64);
  t.input = 0x10000, t.weights = 0x20000, t.output = 0x30000;
  const Words full = emit(t);
  RegisterState state;
  // Both groups of every block know the shape after two tasks.
  for (int i = 0; i < 2; ++i) {
    state.driver_start();
    explain_task(full, state);
  }
  regdb::RegcmdStream s;  // the third says only where its input is
  s.write(regdb::cna::FEATURE_DATA_ADDR{.feature_base_addr = 0x50000});
  s.end(regdb::enable_mask::cna | regdb::enable_mask::core | regdb::enable_mask::dpu |
        regdb::enable_mask::dpu_rdma);
  state.driver_start();
  const Operator op = explain_task(s.words(), state);
  EXPECT_EQ(op.matrix, (MatrixShape{8, 64, 64}));
  EXPECT_EQ(op.find(TensorRole::input)->iova, 0x50000u);
  EXPECT_TRUE(std::any_of(op.notes.begin(), op.notes.end(),
                          [](const Note& n) { return n.quirk == "registers_survive"; }));
}

TEST(ExplainPrograms, ContradictionsAreSaid) {
  using namespace board;
  Words words = emit(matmul(code::int8, code::int32, 8, 64, 64));
  replace(words, regdb::dpu::DATA_CUBE_HEIGHT::offset, 5);
  const Operator op = explain(words);
  EXPECT_TRUE(std::any_of(op.notes.begin(), op.notes.end(), [](const Note& n) {
    return n.kind == Note::Kind::contradiction && n.where == "DPU.DATA_CUBE_WIDTH";
  }));
  EXPECT_FALSE(op.time.has_value());
  EXPECT_EQ(op.kind, OperatorKind::gemm);
  const Operator nothing = explain({});
  EXPECT_EQ(nothing.kind, OperatorKind::none);
  ASSERT_EQ(nothing.notes.size(), 1u);
  EXPECT_EQ(nothing.notes[0].kind, Note::Kind::hang);
}

}  // namespace
}  // namespace npu::probe::test
