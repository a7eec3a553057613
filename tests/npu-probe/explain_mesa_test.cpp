// SPDX-License-Identifier: MIT
// Mesa's recorded programs against the operator lists that came with them.
#include <gtest/gtest.h>

#include "npu-probe/case.hpp"
#include "npu-probe/explain_group.hpp"
#include "tool.hpp"

namespace npu::probe::test {
namespace {

struct ExplainedJob {
  const CaseJob* job;
  const CaseSubmit* submit;
  std::vector<Operator> tasks;
  std::vector<OperatorGroup> groups;
};

std::vector<ExplainedJob> explain_case(const Case& c) {
  std::vector<ExplainedJob> jobs;
  RegisterState state;
  for (const CaseSubmit& submit : c.submits)
    for (const CaseJob& job : submit.jobs) {
      ExplainedJob e{&job, &submit, {}, {}};
      for (const CaseTask& task : job.tasks) {
        state.driver_start();
        e.tasks.push_back(
            explain_task(std::span(c.regcmd).subspan(task.first_word, task.count), state));
      }
      e.groups = group_tiles(e.tasks);
      jobs.push_back(std::move(e));
    }
  return jobs;
}

const CaseOperator& op_of(const Case& c, int index) {
  for (const CaseOperator& op : c.ops)
    if (op.index == index) return op;
  throw std::runtime_error("no such operator");
}

std::int32_t stored(const Tensor& t, std::size_t i = 0) {
  return t.zero_points.at(i) - (t.type == TensorType::uint8 ? 128 : 0);
}

void check_job(const Case& c, const ExplainedJob& e) {
  const CaseOperator& op = op_of(c, e.job->op);
  ASSERT_EQ(e.groups.size(), 1u) << op.name;
  const OperatorGroup& group = e.groups.front();
  const Operator& o = group.whole;
  SCOPED_TRACE(op.name + " " + std::to_string(op.index) + ": " + headline(o) + " " + group.tiling);
  for (const Note& n : o.notes)
    EXPECT_TRUE(n.kind == Note::Kind::info || n.kind == Note::Kind::quirk) << n.text;
  EXPECT_EQ(group.tasks.size(), e.job->tasks.size());

  const bool depthwise = op.name == "DEPTHWISE_CONV_2D";
  const Tensor &in = c.tensor(op.inputs.at(0)), &weights = c.tensor(op.inputs.at(1)),
               &out = c.tensor(op.outputs.at(0));
  const bool column = in.dims.at(2) == 1 && weights.dims.at(1) == 1 && !depthwise;
  EXPECT_EQ(o.kind, depthwise ? OperatorKind::depthwise
                    : column  ? OperatorKind::gemm
                              : OperatorKind::convolution);
  EXPECT_EQ(o.kernel_height, weights.dims.at(1));
  EXPECT_EQ(o.kernel_width, weights.dims.at(2));
  EXPECT_EQ(o.stride_y, op.stride);
  EXPECT_EQ(o.stride_x, op.stride);
  EXPECT_EQ(o.dilation_y, 1u);

  const NpuTensor *i = o.find(TensorRole::input), *w = o.find(TensorRole::weights),
                  *y = o.find(TensorRole::output), *b = o.find(TensorRole::bias);
  ASSERT_TRUE(i != nullptr && w != nullptr && y != nullptr && b != nullptr);
  EXPECT_EQ(std::vector({i->n, i->h, i->w, i->c}), in.dims);
  EXPECT_EQ(std::vector({y->n, y->h, y->w, y->c}), out.dims);
  EXPECT_EQ(std::vector({w->n, w->h, w->w, w->c}), weights.dims);
  EXPECT_EQ(b->c, out.dims.at(3));
  EXPECT_EQ(y->type, ElementType::int8);

  // Where the recording says that the buffers lie.
  const auto bo_at = [&](std::uint64_t iova) -> const CaseBo* {
    for (const CaseBo& bo : e.submit->bos)
      if (iova >= bo.iova && iova < std::uint64_t{bo.iova} + bo.size) return &bo;
    return nullptr;
  };
  const auto expect_in = [&](const NpuTensor& t, std::uint32_t handle) {
    const CaseBo* bo = bo_at(t.iova);
    ASSERT_NE(bo, nullptr);
    EXPECT_EQ(bo->handle, handle);
    EXPECT_EQ(bo->iova, t.iova);
    EXPECT_LE(span_bytes(t), bo->size);
  };
  expect_in(*i, e.job->in.at(0));
  expect_in(*y, e.job->out.at(0));
  ASSERT_NE(bo_at(w->iova), nullptr);
  EXPECT_EQ(bo_at(w->iova)->role, "weights");
  EXPECT_EQ(bo_at(b->iova)->role, "biases");

  ASSERT_TRUE(o.quantisation.has_value());
  EXPECT_EQ(o.quantisation->weight_zero, stored(weights));
  if (o.quantisation->input_zero && i->kind == LayoutKind::cube) {
    EXPECT_EQ(o.quantisation->input_zero, stored(in));
  }
  // A residual addition comes out of the convolution before it.
  const NpuTensor* operand = o.find(TensorRole::operand);
  EXPECT_EQ(operand != nullptr, e.job->in.size() == 2);
  const Tensor* result = &out;
  if (operand != nullptr) {
    for (const CaseOperator& add : c.ops)
      if (add.name == "ADD" && add.inputs.at(0) == op.outputs.at(0))
        result = &c.tensor(add.outputs.at(0));
    EXPECT_EQ(operand->c, out.dims.at(3));
  }
  EXPECT_EQ(o.quantisation->output_zero, stored(*result));
  EXPECT_EQ(group.timed, group.tasks.size());
  EXPECT_GT(group.seconds, 0);
  // Every multiply-accumulate that the operator needs, and not more than channels padded to 64.
  const std::uint64_t needed = std::uint64_t{out.dims[1]} * out.dims[2] * weights.dims[1] *
                               weights.dims[2] * out.dims[3] * (depthwise ? 1 : in.dims[3]);
  EXPECT_GE(o.macs, needed);
}

TEST(ExplainMesa, EveryJobIsTheOperatorThatTheModelAskedFor) {
  std::size_t cases = 0, jobs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(mesa())) {
    if (!entry.is_directory()) continue;
    const Case c = load_case(entry.path());
    SCOPED_TRACE(c.name);
    // The one whose registers say other channels than its model does.
    for (const ExplainedJob& e : explain_case(c)) {
      check_job(c, e);
      ++jobs;
    }
    ++cases;
  }
  EXPECT_GE(cases, 14u);
  EXPECT_GE(jobs, 42u);
}

// The bytes of the recorded input buffers, read by coordinate, are the model's NHWC input.
TEST(ExplainMesa, CoordinatesFindTheRecordedInputs) {
  for (const char* name : {"conv3x3_66_112_32_s2", "conv1x1_12_17_24", "conv3x3_28_1_8",
                           "conv3x3_96_3_16_s2", "dw3x3_15_64_s2"}) {
    const Case c = load_case(mesa(name));
    const auto jobs = explain_case(c);
    const ExplainedJob& e = jobs.front();
    const NpuTensor* t = e.groups.at(0).whole.find(TensorRole::input);
    const Tensor& model = c.tensor(op_of(c, e.job->op).inputs.at(0));
    const CaseBo* bo = e.submit->find(e.job->in.at(0));
    ASSERT_TRUE(t != nullptr && bo != nullptr && bo->recorded) << name;
    const auto& nhwc = c.references.at(model.id);
    const std::uint8_t flip =
        model.type == TensorType::uint8 && t->type == ElementType::int8 ? 0x80 : 0;
    std::size_t at = 0;
    for (std::uint32_t h = 0; h < t->h; ++h)
      for (std::uint32_t w = 0; w < t->w; ++w)
        for (std::uint32_t ch = 0; ch < t->c; ++ch, ++at) {
          const auto offset = offset_of(*t, {0, h, w, ch});
          ASSERT_TRUE(offset.has_value());
          const std::byte stored_byte =
              *offset < bo->bytes.size() ? bo->bytes[*offset] : std::byte{0};
          ASSERT_EQ(stored_byte ^ std::byte{flip}, nhwc.at(at))
              << name << to_string(*t, {0, h, w, ch});
        }
    EXPECT_EQ(at, nhwc.size());
  }
}

TEST(ExplainMesa, Headlines) {
  const auto first = [](const char* name) {
    const Case c = load_case(mesa(name));
    return headline(explain_case(c).front().groups.at(0).whole);
  };
  EXPECT_EQ(first("conv3x3_56_64_64"), "conv 3x3 s1 p1 64->64, int8, 56x56 -> 56x56, +bias");
  EXPECT_EQ(first("dw3x3_15_64_s2"), "dwconv 3x3 s2 p1 64, int8, 15x15 -> 8x8, +bias");
  EXPECT_EQ(first("conv1x1_1_1024_100"), "gemm m=1 k=1024 n=100, int8, +bias");
  const Case c = load_case(mesa("add_14_32"));
  EXPECT_EQ(headline(explain_case(c).at(1).groups.at(0).whole),
            "conv 1x1 s1 32->32, int8, 14x14 -> 14x14, +bias +add");
  EXPECT_EQ(explain_case(load_case(mesa("conv3x3_66_112_32_s2"))).at(0).groups.at(0).tasks.size(),
            2u);
}

}  // namespace
}  // namespace npu::probe::test
