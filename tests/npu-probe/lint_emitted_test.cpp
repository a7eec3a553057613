// SPDX-License-Identifier: MIT
// Whatever the microkernels emit is lint-clean: no error and no warning, in the buffers that the
// plan asks for.
#include <gtest/gtest.h>

#include <random>

#include "microkernels/activation.hpp"
#include "microkernels/conv2d_plan.hpp"
#include "microkernels/elementwise.hpp"
#include "microkernels/flying_task.hpp"
#include "microkernels/gemm_emit.hpp"
#include "microkernels/pool_emit.hpp"
#include "microkernels/transposed_conv.hpp"
#include "npu-probe/lint.hpp"
#include "regdb/error.hpp"

namespace npu::probe::test {
namespace {

using namespace npu::kernels;

constexpr std::uint64_t kPage = 4096;
std::uint64_t pages(std::uint64_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

// Lays the buffers and the programs out with holes between them, and lints.
std::string lint_program(const Program& program, const std::vector<std::uint64_t>& bytes,
                         std::string_view expected = {}) {
  LintJob job;
  std::vector<std::uint32_t> iova;
  std::uint64_t next = kPage;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    iova.push_back(static_cast<std::uint32_t>(next));
    if (bytes[i] != 0) job.buffers.push_back({next, bytes[i], program.slots[i]});
    next += pages(bytes[i]) + kPage;
  }
  const BoundProgram bound = kernels::bind(program, iova);
  job.words = bound.words;
  job.buffers.push_back({next, bound.words.size() * 8, "regcmd"});
  for (const BoundProgram::Task& task : bound.tasks) {
    job.tasks.push_back({task.offset / 8, task.count});
    job.task_iova.push_back(static_cast<std::uint32_t>(next + task.offset));
  }
  std::string text;
  for (const regdb::Finding& f : lint_job(job))
    if (f.rule->severity != regdb::Severity::note && f.rule->id != expected)
      text += "\n  task " + std::to_string(f.task) + ": " + f.message + " [" +
              std::string(f.rule->id) + "]";
  return text;
}

TEST(LintEmitted, MatrixProductsOfAllTypes) {
  const ChannelScales channels{std::vector<std::int16_t>(150, 9), 3};
  std::mt19937 rng(5);
  const auto pick = [&](std::uint32_t low, std::uint32_t high) {
    return low + static_cast<std::uint32_t>(rng() % (high - low + 1));
  };
  constexpr GemmTypes kTypes[] = {{DataType::i8, DataType::i32},   {DataType::i8, DataType::i8},
                                  {DataType::i4, DataType::i16},   {DataType::i4, DataType::i32},
                                  {DataType::f16, DataType::f32},  {DataType::f16, DataType::f16},
                                  {DataType::bf16, DataType::f32}, {DataType::tf32, DataType::f32}};
  std::size_t tasks = 0, adds = 0;
  for (int i = 0; i < 160; ++i) {
    const GemmTypes types = kTypes[static_cast<std::size_t>(i) % std::size(kTypes)];
    const bool large = i % 5 == 0;
    GemmShape shape{pick(1, large ? 700 : 90), pick(1, large ? 1500 : 150),
                    pick(1, large ? 4000 : 300)};
    if (types.out == DataType::i16) shape.k = std::min(shape.k, kMaxGemmKInt16);
    GemmOptions options;
    options.on_chip_sums = i % 2 == 1;
    const GemmPlan plan = plan_gemm(shape, types, pick(1, 3), options);
    for (std::size_t c = 0; c < plan.cores.size(); ++c)
      for (std::uint32_t stage = 0; stage < plan.stages.size(); ++stage) {
        const GemmCore& core = plan.cores[c];
        const Program program =
            emit_gemm(plan, c, stage, {-3, 21, -125}, i % 3 == 0 ? channels : ChannelScales{});
        std::vector<std::uint64_t> bytes;
        for (const Slot& slot : gemm_slots(core)) bytes.push_back(slot.bytes);
        for (const GemmTask& task : core.tasks) adds += task.adds;
        tasks += program.tasks.size();
        ASSERT_EQ(lint_program(program, bytes), "")
            << to_string(types) << " m=" << shape.m << " n=" << shape.n << " k=" << shape.k;
      }
  }
  EXPECT_GT(tasks, 300u);
  EXPECT_GT(adds, 10u);
}

TEST(LintEmitted, Convolutions) {
  std::mt19937 rng(6);
  const auto pick = [&](std::uint32_t low, std::uint32_t high) {
    return low + static_cast<std::uint32_t>(rng() % (high - low + 1));
  };
  constexpr Conv2dTypes kTypes[] = {{DataType::i8, DataType::i8},    {DataType::f16, DataType::f16},
                                    {DataType::i8, DataType::i32},   {DataType::f16, DataType::f32},
                                    {DataType::bf16, DataType::f32}, {DataType::i4, DataType::i16}};
  for (int i = 0; i < 320; ++i) {
    const Conv2dTypes types = kTypes[static_cast<std::size_t>(i) % std::size(kTypes)];
    Conv2dShape s;
    s.depthwise = i % 8 < 2 && types.in == types.out;
    s.kernel_height = pick(1, 5), s.kernel_width = pick(1, 5);
    s.stride_y = pick(1, 3), s.stride_x = pick(1, 3);
    if (i % 3 == 0) s.dilation_y = pick(1, 3), s.dilation_x = pick(1, 3);
    const std::uint32_t tall = s.dilation_y * (s.kernel_height - 1);
    const std::uint32_t wide = s.dilation_x * (s.kernel_width - 1);
    s.pad_top = pick(0, std::min(tall, 3u)), s.pad_left = pick(0, std::min(wide, 3u));
    s.pad_bottom = pick(0, std::min(tall, 3u)), s.pad_right = pick(0, std::min(wide, 3u));
    const std::uint32_t side = i % 5 == 0 ? 120 : 30;
    s.in_height = pick(tall + 1, tall + side), s.in_width = pick(wide + 1, wide + side);
    s.in_channels = pick(1, i % 5 == 0 ? 40 : 200);
    if (types.in == DataType::i4)
      s.in_channels = std::min(s.in_channels, 511 / (s.kernel_height * s.kernel_width));
    s.out_channels = s.depthwise ? s.in_channels : pick(1, 150);
    // What may run with it in the same job.
    Conv2dFusion fusion;
    if (types.in == types.out && !s.depthwise && s.out_height() * s.out_width() >= 12)
      fusion.addend = i % 4 == 1;
    if (types.out == DataType::f16 && i % 3 != 0)
      fusion.activation = static_cast<Activation>(i % 8);
    const Conv2dPlan plan = plan_conv2d(s, types, pick(1, 3), fusion);
    Conv2dPost post;
    post.requant = {-3, 21, -125};
    post.relu = i % 2 == 0 && types.out != DataType::i32 && types.out != DataType::i16 &&
                !fusion.activation;
    post.bias = types.in == DataType::f16 && i % 7 != 0;
    if (types.out == DataType::i8 && i % 3 == 0)
      post.channels = {std::vector<std::int16_t>(s.out_channels, 9), 3};
    for (std::size_t c = 0; c < plan.cores.size(); ++c) {
      const Conv2dCore& core = plan.cores[c];
      std::vector<std::uint64_t> bytes(kConvSlots);
      bytes[kConvIn] = core.in_bytes, bytes[kConvWeights] = core.weight_bytes;
      bytes[kConvBias] = core.bias_bytes, bytes[kConvOut] = core.out_bytes;
      bytes[kConvAddend] = core.addend_bytes;
      bytes[kConvBetween] = core.between_bytes, bytes[kConvGate] = core.gate_bytes;
      ASSERT_EQ(lint_program(emit_conv2d(plan, c, 0, post), bytes), "") << to_string(plan);
    }
  }
}

TEST(LintEmitted, VectorOperations) {
  for (const DataType type : {DataType::i8, DataType::i16, DataType::i32, DataType::f16})
    for (const ElementwiseOp op : {ElementwiseOp::add, ElementwiseOp::sub, ElementwiseOp::mul,
                                   ElementwiseOp::max, ElementwiseOp::min})
      for (const std::uint32_t atoms : {1u, 7u, kMaxFlyingAtoms}) {
        if (type == DataType::i32 && op == ElementwiseOp::mul) continue;  // refused
        Program program{.slots = {"a", "b", "c"}, .tasks = {}, .relocations = {}};
        FlyingTask task{.type = type, .atoms = atoms, .main = {0, 0}, .output = {2, 0}, .dpu = {}};
        set_elementwise(task.dpu, type, op, {1, 0});
        emit(program, task);
        const std::uint64_t bytes = std::uint64_t{atoms} * 16;
        ASSERT_EQ(lint_program(program, {bytes, bytes, bytes}), "")
            << to_string(type) << " " << to_string(op) << " " << atoms;
      }
}

// Transposed convolutions run plans of Conv2d; the chip's own spreading is a program of its own.
TEST(LintEmitted, TransposedConvolutions) {
  std::mt19937 rng(7);
  const auto pick = [&](std::uint32_t low, std::uint32_t high) {
    return low + static_cast<std::uint32_t>(rng() % (high - low + 1));
  };
  std::size_t spread = 0;
  for (int i = 0; i < 120; ++i) {
    TransposedShape s{.in_height = pick(1, 30),
                      .in_width = pick(1, 30),
                      .in_channels = pick(1, 100),
                      .out_channels = pick(1, 60),
                      .kernel_height = pick(1, 5),
                      .kernel_width = pick(1, 5),
                      .stride_y = pick(1, 4),
                      .stride_x = pick(1, 4)};
    s.output_pad_y = pick(0, s.stride_y - 1);
    s.pad_left = pick(0, std::min(2u, s.kernel_width - 1));
    for (const TransposedMethod method :
         {TransposedMethod::spread, TransposedMethod::chip_spread, TransposedMethod::phases}) {
      Conv2dShape conv;
      if (s.out_width() == 0 || !transposed_as_conv(s, method, conv)) continue;
      const bool halves = method == TransposedMethod::chip_spread || i % 2 == 0;
      const Conv2dTypes types = halves ? Conv2dTypes{DataType::f16, DataType::f16}
                                       : Conv2dTypes{DataType::i8, DataType::i8};
      Conv2dPlan plan;
      try {
        plan = plan_conv2d(conv, types, pick(1, 3));
      } catch (const Error&) {
        continue;  // a stride of 3 by the chip
      }
      spread += method == TransposedMethod::chip_spread;
      for (std::size_t c = 0; c < plan.cores.size(); ++c) {
        const Conv2dCore& core = plan.cores[c];
        std::vector<std::uint64_t> bytes(kConvSlots);
        bytes[kConvIn] = core.in_bytes, bytes[kConvWeights] = core.weight_bytes;
        bytes[kConvBias] = core.bias_bytes, bytes[kConvOut] = core.out_bytes;
        Conv2dPost post;
        post.requant = {-3, 21, -125};
        ASSERT_EQ(lint_program(emit_conv2d(plan, c, 0, post), bytes), "")
            << to_string(method) << " " << to_string(plan);
      }
    }
  }
  EXPECT_GT(spread, 20u);
}

// A pool on its own waits for the driver's timeout: that is known, and all that is said of it.
TEST(LintEmitted, Pools) {
  std::mt19937 rng(7);
  const auto pick = [&](std::uint32_t low, std::uint32_t high) {
    return low + static_cast<std::uint32_t>(rng() % (high - low + 1));
  };
  std::size_t pools = 0, moves = 0;
  for (int i = 0; i < 120; ++i) {
    Pool2dShape s;
    s.kernel_height = pick(1, i % 5 == 0 ? 16 : 4), s.kernel_width = pick(1, i % 5 == 0 ? 16 : 4);
    s.stride_y = pick(1, 5), s.stride_x = pick(1, 5);
    const auto pad = [&](std::uint32_t kernel) { return pick(0, std::min(kernel - 1, 7u)); };
    s.pad_top = pad(s.kernel_height), s.pad_bottom = pad(s.kernel_height);
    s.pad_left = pad(s.kernel_width), s.pad_right = pad(s.kernel_width);
    s.in_height = pick(s.kernel_height, s.kernel_height + 40);
    s.in_width = pick(s.kernel_width, s.kernel_width + (i % 4 == 0 ? 300 : 40));
    s.channels = pick(1, 70);
    if (i % 6 == 0) s = global_pool(pick(1, 16) * pick(1, 4), pick(1, 16) * pick(1, 4), s.channels);
    const DataType type = i % 2 == 0 ? DataType::i8 : DataType::f16;
    for (const PoolMethod method : {PoolMethod::max, PoolMethod::min, PoolMethod::average})
      for (const PoolPath path : {PoolPath::ppu, PoolPath::shifted}) {
        Pool2dPlan plan;
        try {
          plan = plan_pool2d(s, type, {.method = method, .path = path}, pick(1, 3));
        } catch (const Error&) {
          continue;  // not on this path
        }
        for (const PoolCore& core : plan.cores) {
          const PoolProgram p =
              path == PoolPath::ppu ? emit_ppu_pool(plan, core) : emit_shifted_pool(plan, core);
          std::vector<std::uint64_t> bytes;
          for (const Slot& slot : p.slots) bytes.push_back(slot.bytes);
          (path == PoolPath::ppu ? pools : moves) += p.stage.tasks.size();
          ASSERT_EQ(
              lint_program(p.stage.program, bytes, path == PoolPath::ppu ? "pool-timeout" : ""), "")
              << to_string(plan);
        }
      }
  }
  EXPECT_GT(pools, 300u);
  EXPECT_GT(moves, 300u);
}

}  // namespace
}  // namespace npu::probe::test
