// SPDX-License-Identifier: MIT
// Tiles that are one operator, and tasks that only look like it; products split over files; a pool
// behind the DPU.
#include "npu-probe/explain_group.hpp"

#include <gtest/gtest.h>

#include "../programs/cube_task.hpp"
#include "../programs_dpu/cube.hpp"
#include "microkernels/gemm_emit.hpp"
#include "npu-probe/explain_input.hpp"
#include "regdb/registers.hpp"

namespace npu::probe::test {
namespace {

namespace board = npu::sim::test;
namespace dpu = npu::sim::programs;
using Words = std::vector<std::uint64_t>;

std::vector<OperatorGroup> groups_of(const std::vector<Words>& programs) {
  RegisterState state;
  std::vector<Operator> tasks;
  for (const Words& words : programs) {
    state.driver_start();
    tasks.push_back(explain_task(words, state));
  }
  return group_tiles(tasks);
}

TEST(ExplainGroup, TilesOfKernels) {
  board::CubeTask first = board::conv_int8({32, 8, 8, 32, 3, 3, 1, 1, 1, 1});
  first.input = 0x1000, first.weights = 0x10000, first.output = 0x20000;
  board::CubeTask second = first;
  second.weights += 32 * 3 * 3 * 32;
  second.output += 8 * 8 * 8 * 16;  // behind the eight planes of 32 sums
  const auto groups = groups_of({emit(first), emit(second)});
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_EQ(headline(groups[0].whole), "conv 3x3 s1 p1 32->64, int8 -> int32, 8x8 -> 8x8");
  EXPECT_EQ(groups[0].tiling, "in 2 tiles of kernels: 32 each");
  EXPECT_EQ(groups[0].whole.find(TensorRole::output)->c, 64u);

  second.output += 16;  // not where the other channels would be
  EXPECT_EQ(groups_of({emit(first), emit(second)}).size(), 2u);
}

Words add(std::uint32_t main, std::uint32_t operand, std::uint32_t out, std::uint32_t channels) {
  dpu::Cube c;
  c.width = 6, c.height = 4, c.channels = channels;
  c.ew = dpu::ew_cfg(dpu::kFp16, dpu::kAdd, false);
  Words words = cube_program(c, {main, operand}, out);
  regdb::RegcmdStream end;
  end.end(regdb::enable_mask::dpu | regdb::enable_mask::dpu_rdma);
  words.insert(words.end(), end.words().begin(), end.words().end());
  return words;
}

TEST(ExplainGroup, TilesOfRowsAndOfPlanes) {
  constexpr std::uint32_t kPlane = 4 * 6 * 16;
  // One plane each: the second lies right behind the first, as four more rows of it do.
  auto groups = groups_of(
      {add(0x1000, 0x5000, 0x9000, 8), add(0x1000 + kPlane, 0x5000 + kPlane, 0x9000 + kPlane, 8)});
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_EQ(groups[0].tiling, "in 2 tiles of rows of the output: 4 each");
  EXPECT_EQ(groups[0].whole.find(TensorRole::input)->h, 8u);
  // Two planes each.
  groups = groups_of({add(0x1000, 0x5000, 0x9000, 16),
                      add(0x1000 + 2 * kPlane, 0x5000 + 2 * kPlane, 0x9000 + 2 * kPlane, 16)});
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_EQ(groups[0].tiling, "in 2 tiles of channels: 16 each");
  EXPECT_EQ(groups[0].whole.find(TensorRole::output)->c, 32u);
  // A gap in the output.
  groups = groups_of({add(0x1000, 0x5000, 0x9000, 16),
                      add(0x1000 + 2 * kPlane, 0x5000 + 2 * kPlane, 0x9000 + 3 * kPlane, 16)});
  EXPECT_EQ(groups.size(), 2u);
}

TEST(ExplainGroup, ProductsOfOtherMatricesStayApart) {
  board::CubeTask first = board::matmul(board::code::int8, board::code::int32, 8, 64, 64);
  first.input = 0x1000, first.weights = 0x10000, first.output = 0x20000;
  board::CubeTask second = first;
  second.input = 0x4000, second.weights = 0x14000, second.output = 0x30000;
  EXPECT_EQ(groups_of({emit(first), emit(second)}).size(), 2u);
}

TEST(ExplainGroup, AProductSplitOverFiles) {
  using namespace npu::kernels;
  for (const GemmShape shape : {GemmShape{16, 192, 64}, GemmShape{192, 16, 64}}) {
    const GemmPlan plan = plan_gemm(shape, GemmOutput::i32, 3);
    ASSERT_EQ(plan.cores.size(), 3u);
    ASSERT_EQ(plan.slices, 1u);
    const bool by_columns = plan.cores[0].m == plan.cores[1].m;
    device::Capture capture;
    const auto push = [&](auto event) { capture.events.push_back({7, std::move(event)}); };
    MatrixShape whole{0, 64, 0};
    for (std::uint32_t core = 0; core < 3; ++core) {
      std::uint32_t iova[5] = {};
      const std::uint32_t a = 0x10000 * (core + 1), b = 0x100000, c = 0x200000;
      ASSERT_EQ(plan.stages.size(), 1u);
      iova[kGemmA] = a, iova[kGemmB] = b, iova[gemm_c_slot(plan.cores[core])] = c;
      const BoundProgram bound = bind(emit_gemm(plan, core, 0), iova);
      const auto buffer = [&](std::uint32_t handle, std::uint32_t at,
                              std::vector<std::byte> bytes) {
        push(device::CaptureCreate{core, handle, at, bytes.size()});
        push(
            device::CaptureWrite{device::CaptureWrite::By::host, core, handle, 0,
                                 std::make_shared<const std::vector<std::byte>>(std::move(bytes))});
      };
      const std::byte own{static_cast<unsigned char>(core + 1)};
      push(device::CaptureOpen{core});
      buffer(1, a, std::vector<std::byte>(0x4000, by_columns ? std::byte{9} : own));
      buffer(2, b, std::vector<std::byte>(0x4000, by_columns ? own : std::byte{9}));
      const auto bytes = std::as_bytes(std::span(bound.words));
      buffer(3, 0x400000, {bytes.begin(), bytes.end()});
      device::CaptureJob job;
      job.file = core;
      for (const BoundProgram::Task& task : bound.tasks)
        job.job.tasks.push_back({static_cast<std::uint32_t>(0x400000 + task.offset), task.count});
      push(job);
      const GemmTask& task = plan.cores[core].tasks.at(0);
      whole.m = by_columns ? task.m_padded : whole.m + task.m_padded;
      whole.n = by_columns ? whole.n + task.n_padded : task.n_padded;
    }
    const auto products = split_products(explain_capture(capture, {}));
    ASSERT_EQ(products.size(), 1u);
    EXPECT_EQ(products[0].jobs, (std::vector<std::size_t>{0, 1, 2}));
    EXPECT_EQ(products[0].by_columns, by_columns);
    EXPECT_EQ(products[0].shape, whole);
  }
}

TEST(ExplainGroup, APoolBehindTheDpuIsAPartOfItsTask) {
  namespace rd = npu::regdb;
  board::CubeTask task =
      board::conv_int8_out({32, 8, 8, 32, 3, 3, 1, 1, 1, 1}, false, 0, 0, 0, 3, 4);
  task.output = 0x20000;
  Words words = emit(task);
  board::replace(words, rd::dpu::FEATURE_MODE_CFG::offset,
                 rd::dpu::FEATURE_MODE_CFG{.burst_len = 15, .output_mode = 1}.encode());
  words.resize(words.size() - 4);
  rd::RegcmdStream s;
  s.write(rd::ppu::DATA_CUBE_IN_WIDTH{.cube_in_width = 8});
  s.write(rd::ppu::DATA_CUBE_IN_HEIGHT{.cube_in_height = 8});
  s.write(rd::ppu::DATA_CUBE_IN_CHANNEL{.cube_in_channel = 32});
  s.write(rd::ppu::DATA_CUBE_OUT_WIDTH{.cube_out_width = 4});
  s.write(rd::ppu::DATA_CUBE_OUT_HEIGHT{.cube_out_height = 4});
  s.write(rd::ppu::DATA_CUBE_OUT_CHANNEL{.cube_out_channel = 32});
  s.write(rd::ppu::OPERATION_MODE_CFG{.pooling_method = 1});
  s.write(rd::ppu::POOLING_KERNEL_CFG{
      .kernel_stride_height = 2, .kernel_stride_width = 2, .kernel_height = 2, .kernel_width = 2});
  s.write(rd::ppu::DST_BASE_ADDR{.dst_base_addr = 0x30000});
  s.write(rd::ppu::DST_SURF_STRIDE{.dst_surf_stride = 16});
  s.end(0x3D);
  words.insert(words.end(), s.words().begin(), s.words().end());
  const auto groups = groups_of({words});
  const Operator& op = groups.at(0).whole;
  EXPECT_EQ(headline(op), "conv 3x3 s1 p1 32->32, int8, 8x8 -> 4x4, +bias +max pool");
  const NpuTensor* out = op.find(TensorRole::output);
  ASSERT_NE(out, nullptr);
  EXPECT_EQ(out->iova, 0x30000u);
  EXPECT_EQ(dimensions(*out), "1x4x4x32");
  EXPECT_TRUE(op.time.has_value());
}

}  // namespace
}  // namespace npu::probe::test
